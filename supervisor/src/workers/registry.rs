//! Where each worker is: the one map that many tasks share. No guard is held across an await or
//! another access.

use std::{net::SocketAddr, sync::Arc};

use dashmap::DashMap;
use rollcall_common::http::{Peer, Target};

use super::link::Link;

/// A worker's place.
#[derive(Debug)]
pub struct Member {
    /// Its connections.
    pub peer: Peer,
    /// The link to it, if it speaks that.
    pub(super) link: Link,
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

    /// Notes where a worker is, and gives back its place. Its connections stay if it was there
    /// already.
    pub fn set(
        &self,
        id: &Arc<str>,
        target: Target,
        address: Option<SocketAddr>,
        version: Option<Box<str>>,
    ) -> Arc<Member> {
        let known = self.find(id);
        let same =
            |known: &&Arc<Member>| *known.peer.target() == target && known.version == version;
        if let Some(known) = known.as_ref().filter(same) {
            return Arc::clone(known);
        }
        let url = target.to_string().into();
        let (peer, link) = (Peer::new(target, address), Link::default());
        let member = Arc::new(Member { peer, link, url, version });
        let before = self.0.insert(Arc::clone(id), Arc::clone(&member));
        before.iter().for_each(|before| before.link.close());
        member
    }

    /// Forgets a worker. Calls that are out go on.
    pub fn remove(&self, id: &str) {
        if let Some((_, member)) = self.0.remove(id) {
            member.link.close();
        }
    }

    /// Closes connections that have been idle for too long.
    pub fn sweep(&self) {
        let members: Vec<_> = self.0.iter().map(|member| Arc::clone(&member)).collect();
        members.iter().for_each(|member| member.peer.sweep());
    }
}
