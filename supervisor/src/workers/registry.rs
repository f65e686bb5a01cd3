//! Where each worker is: the one map that many tasks share. No guard is held across an await or
//! another access.

use std::{
    collections::BTreeMap,
    io,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use arc_swap::ArcSwap;
use dashmap::DashMap;
use rollcall_common::{
    http::{AddressPolicy, Peer, Route, Target, Trust, allowed},
    limits::{CONNECT_TIMEOUT, PROBE_TIMEOUT},
    net::Network,
};
use tokio::time::timeout;

use super::link::Link;
use crate::dispatcher::event::Presence;

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
    /// Whether it could not be connected to when that was last tried.
    absent: AtomicBool,
}

impl Member {
    /// Looks whether it takes connections.
    pub(super) async fn look(&self, id: &str) -> Presence {
        if self.peer.probe(PROBE_TIMEOUT).await {
            self.note(id, Ok(()));
            return Presence::Present;
        }
        self.note(id, Err("it takes no connection, or closes it at once"));
        Presence::Absent
    }

    /// Notes whether it could be connected to; a change is logged, once.
    pub(super) fn note(&self, id: &str, reached: Result<(), &str>) {
        let absent = reached.is_err();
        if self.absent.swap(absent, Ordering::Relaxed) == absent {
            return;
        }
        let url = &self.url;
        match reached {
            Ok(()) => tracing::info!(id, %url, "the worker can be connected to again"),
            Err(error) => tracing::warn!(id, %url, error, "the worker can't be connected to"),
        }
    }
}

/// Whose certificates are believed when workers are spoken to, and which one is shown to them.
#[derive(Clone, Debug, Default)]
pub struct Trusts {
    /// In each pool that says so.
    pub pools: BTreeMap<Arc<str>, Trust>,
    /// In the others; `None`: the public authorities.
    pub others: Option<Trust>,
}

/// Where each worker is.
#[derive(Debug, Default)]
pub struct Registry {
    members: DashMap<Arc<str>, Arc<Member>>,
    trusts: ArcSwap<Trusts>,
    network: Network,
    /// Where workers may be that have registered; `None`: anywhere.
    guard: Option<Arc<AddressPolicy>>,
}

impl Registry {
    /// An empty one of workers that are reached over `network`; those that are at no address of
    /// their own, because they registered, where `guard` lets them be.
    #[must_use]
    pub fn over(network: Network, guard: Arc<AddressPolicy>) -> Self {
        Self { network, guard: Some(guard), ..Self::default() }
    }

    /// Refuses a worker that can be seen to be where it must not be. One whose name leads nowhere
    /// may lead somewhere later; where it leads is checked at each connection.
    ///
    /// # Errors
    /// When none of its addresses may be connected to.
    pub async fn check(&self, id: &str, target: &Target) -> io::Result<()> {
        let known = self.find(id).is_some_and(|known| known.peer.target() == target);
        let Some(guard) = self.guard.as_ref().filter(|_| !known) else {
            return Ok(());
        };
        let place = (target.host(), target.port());
        match timeout(CONNECT_TIMEOUT, allowed(&self.network, place, guard)).await {
            Ok(Err(error)) if error.kind() == io::ErrorKind::PermissionDenied => Err(error),
            Ok(Ok(_) | Err(_)) | Err(_) => Ok(()),
        }
    }

    /// The network over which workers are reached.
    #[must_use]
    pub fn network(&self) -> &Network {
        &self.network
    }

    /// Where the worker `id` is.
    #[must_use]
    pub fn find(&self, id: &str) -> Option<Arc<Member>> {
        self.members.get(id).map(|member| Arc::clone(&member))
    }

    /// From now on these are believed. Each worker hears of it when it is seen again.
    pub fn trust(&self, trusts: Trusts) {
        self.trusts.store(Arc::new(trusts));
    }

    /// Notes where a worker of `pool` is, and gives back its place. Its
    /// connections stay if it was there already.
    pub fn set(
        &self,
        id: &Arc<str>,
        pool: &str,
        (target, address): (Target, Option<SocketAddr>),
        version: Option<Box<str>>,
    ) -> Arc<Member> {
        let trusts = self.trusts.load();
        let trust = trusts.pools.get(pool).or(trusts.others.as_ref());
        let same = |known: &&Arc<Member>| {
            let trusted = match (known.peer.trust(), trust) {
                (None, None) => true,
                (Some(old), Some(new)) => old.is(new),
                (Some(_), None) | (None, Some(_)) => false,
            };
            trusted && *known.peer.target() == target && known.version == version
        };
        let known = self.find(id);
        if let Some(known) = known.as_ref().filter(same) {
            return Arc::clone(known);
        }
        let url = target.to_string().into();
        let route = match (address, &self.guard) {
            (Some(address), _) => Route::Fixed(address),
            (None, Some(guard)) => Route::Guarded(Arc::clone(guard)),
            (None, None) => Route::Open,
        };
        let peer = Peer::new(target, address).over(self.network.clone()).by(route);
        let peer = trust.cloned().into_iter().fold(peer, Peer::trusting);
        let member = Arc::new(Member {
            peer,
            link: Link::default(),
            url,
            version,
            absent: AtomicBool::default(),
        });
        let before = self.members.insert(Arc::clone(id), Arc::clone(&member));
        before.iter().for_each(|before| before.link.close());
        member
    }

    /// Forgets a worker. Calls that are out go on.
    pub fn remove(&self, id: &str) {
        if let Some((_, member)) = self.members.remove(id) {
            member.link.close();
        }
    }

    /// Closes connections that have been idle for too long.
    pub fn sweep(&self) {
        let members: Vec<_> = self.members.iter().map(|member| Arc::clone(&member)).collect();
        members.iter().for_each(|member| member.peer.sweep());
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use http_body_util::Full;
    use rollcall_common::http::SendError;

    use super::*;

    #[tokio::test]
    async fn a_worker_that_registers_is_not_called_where_it_must_not_be() {
        let registry = Registry::over(Network::default(), Arc::default());
        let target: Target = "http://127.0.0.1:9/".parse().unwrap();
        assert!(registry.check("w", &target).await.is_err());
        // Its name may have led elsewhere when it registered.
        let member = registry.set(&"w".into(), "p", (target.clone(), None), None);
        let request = http::Request::new(Full::new(Bytes::new()));
        let failed = member.peer.send(request, 1).await.unwrap_err();
        let SendError::Connect(error) = failed else { panic!("{failed}") };
        assert_eq!(error.kind(), io::ErrorKind::PermissionDenied);
        assert!(registry.check("w", &target).await.is_ok(), "a heartbeat is no news");
        // The configuration's word.
        let at = Some(([127, 0, 0, 1], 9).into());
        let member = registry.set(&"c".into(), "p", (target, at), None);
        let request = http::Request::new(Full::new(Bytes::new()));
        let SendError::Connect(error) = member.peer.send(request, 1).await.unwrap_err() else {
            panic!("nobody listens there");
        };
        assert_ne!(error.kind(), io::ErrorKind::PermissionDenied);
    }
}
