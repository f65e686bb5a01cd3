//! Where and how a subscription's results are pushed.

use std::{
    sync::{Mutex, PoisonError},
    time::Duration,
};

use rollcall_common::{
    http::{Address, OwnHeader, Peer, Route, Trust},
    net::Network,
    time::Time,
};

use super::{
    places::{Place, PlaceKind},
    socket::SocketPeer,
};
use crate::secrets::Secret;

/// Most records that are on their way to a plain connection before the first is answered.
const PIPELINED: usize = 64;

/// What makes a destination, to compare with what there is.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct DestinationSettings {
    /// Its places, tried in this order.
    pub addresses: Vec<Address>,
    /// The secrets that sign.
    pub secrets: Vec<Secret>,
    /// Headers of its own that each request has.
    pub headers: Vec<OwnHeader>,
    /// How many results travel in one request.
    pub batch: usize,
    /// How long a request may take.
    pub timeout: Duration,
    /// Replayed results per second at most; 0: no bound.
    pub replay_rate: u32,
}

/// Where and how a subscription's results are pushed.
#[derive(Debug)]
pub struct Destination {
    /// Its places, tried in this order.
    pub(super) places: Vec<Place>,
    /// The secrets that sign.
    pub(super) secrets: Vec<Secret>,
    /// Headers of its own that each request has.
    pub(super) headers: Vec<OwnHeader>,
    /// How many records travel at a time over a plain connection, at least.
    batch: usize,
    /// How long a request may take.
    pub(super) timeout: Duration,
    replay_rate: u32,
    /// When the next replayed result may go out.
    next_replay: Mutex<Time>,
}

impl Destination {
    /// The destination that these settings make, reached over this network by this route, with
    /// these believed where it speaks TLS (without: the public authorities).
    #[must_use]
    pub fn new(
        settings: &DestinationSettings,
        (network, route): (&Network, &Route),
        trust: Option<&Trust>,
    ) -> Self {
        let place = |address: &Address| match address {
            Address::Http(target) => {
                let peer = Peer::new(target.clone(), None).over(network.clone()).by(route.clone());
                Place::new(PlaceKind::Http(match trust {
                    Some(trust) => peer.trusting(trust.clone()),
                    None => peer,
                }))
            }
            Address::Socket(target) => {
                let peer = SocketPeer::new(target.clone(), network.clone(), route.clone());
                Place::new(PlaceKind::Socket(peer))
            }
        };
        Self {
            places: settings.addresses.iter().map(place).collect(),
            secrets: settings.secrets.clone(),
            headers: settings.headers.clone(),
            batch: settings.batch.max(1),
            timeout: settings.timeout,
            replay_rate: settings.replay_rate,
            next_replay: Mutex::default(),
        }
    }

    /// How many results go out at a time where they are not batched.
    pub(super) fn piece(&self) -> usize {
        let sockets = self.places.iter().all(Place::is_socket);
        if sockets { self.batch.max(PIPELINED) } else { 1 }
    }

    /// Whether each result is answered by itself although several travel together.
    pub(super) fn tells_of_each(&self) -> bool {
        self.places.iter().any(Place::is_socket)
    }

    /// How long so many replayed results have to wait; their turn is taken by asking.
    pub(super) fn replay_wait(&self, count: usize, now: Time) -> Duration {
        if self.replay_rate == 0 {
            return Duration::ZERO;
        }
        let count = u64::try_from(count).unwrap_or(u64::MAX);
        let micros = count.saturating_mul(1_000_000) / u64::from(self.replay_rate);
        let mut next = self.next_replay.lock().unwrap_or_else(PoisonError::into_inner);
        let turn = (*next).max(now);
        *next = turn + Duration::from_micros(micros);
        turn.since(now)
    }

    /// Closes connections that have been idle for too long.
    pub fn sweep(&self) {
        self.places.iter().for_each(Place::sweep);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replayed_results_wait_for_their_turn() {
        let settings = DestinationSettings {
            addresses: vec!["http://x".parse().unwrap()],
            secrets: Vec::new(),
            headers: Vec::new(),
            batch: 1,
            timeout: Duration::from_secs(1),
            replay_rate: 4,
        };
        let destination = Destination::new(&settings, (&Network::default(), &Route::Open), None);
        let now = Time::from_micros(1_000_000_000);
        let wait = |count, now| destination.replay_wait(count, now).as_millis();
        assert_eq!([wait(1, now), wait(2, now), wait(1, now)], [0, 250, 750]);
        let later = now + Duration::from_secs(10);
        assert_eq!(wait(1, later), 0, "what was not used is not saved up");
    }
}
