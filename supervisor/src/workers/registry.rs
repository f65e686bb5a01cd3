//! Where each worker is: the one map that many tasks share. No guard is held across an await or
//! another access.

use std::{net::SocketAddr, sync::Arc};

use dashmap::DashMap;
use rollcall_common::http::{Peer, Target};

/// A worker's place.
#[derive(Debug)]
pub struct Member {
    /// Its connections.
    pub peer: Peer,
    /// Its URL, as given.
    pub url: Box<str>,
    /// What it runs, in its own words.
    pub version: Option<Box<str>>,
}

/// Where each worker is.
#[derive(Debug, Default)]
pub struct Registry(DashMap<Arc<str>, Arc<Member>>);

impl Registry {
    /// Where the worker `id` is.
    #[must_use]
    pub fn find(&self, id: &str) -> Option<Arc<Member>> {
        self.0.get(id).map(|member| Arc::clone(&member))
    }

    /// Notes where a worker is. Its connections stay if it was there already.
    pub fn set(
        &self,
        id: &Arc<str>,
        target: Target,
        address: Option<SocketAddr>,
        version: Option<Box<str>>,
    ) {
        let known = self.find(id);
        if known.is_some_and(|known| *known.peer.target() == target && known.version == version) {
            return;
        }
        let url = target.to_string().into();
        let member = Member { peer: Peer::new(target, address), url, version };
        self.0.insert(Arc::clone(id), Arc::new(member));
    }

    /// Forgets a worker. Calls that are out go on.
    pub fn remove(&self, id: &str) {
        self.0.remove(id);
    }

    /// Closes connections that have been idle for too long.
    pub fn sweep(&self) {
        let members: Vec<_> = self.0.iter().map(|member| Arc::clone(&member)).collect();
        members.iter().for_each(|member| member.peer.sweep());
    }
}
