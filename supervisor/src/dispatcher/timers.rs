//! One table of deadlines. Nothing else in the dispatcher waits.

use std::collections::BTreeSet;

use rollcall_common::{
    ids::{Sequence, StreamId},
    time::Time,
};

use super::{event::AttemptId, pool::PoolKey, worker::WorkerKey};
use crate::record::{AlertId, SubscriptionId};

/// What is due at a deadline.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(super) enum Timer {
    /// Somebody may have to be told of an alert.
    Alert(AlertId),
    /// An attempt's time is up.
    Attempt(AttemptId),
    /// A worker that is gone may be forgotten.
    Departed(WorkerKey),
    /// A subscription's destination may be asked again, with one request first.
    Destination(SubscriptionId),
    /// A late attempt is given up.
    Forget(AttemptId),
    /// A stream's head may have stood still for too long.
    Held(StreamId),
    /// An attempt in this pool may be slow enough for a copy.
    Hedge(PoolKey),
    /// Limits alone may keep the workers of a pool from work.
    Limits(PoolKey),
    /// A subscription's destination may be asked again for one stream.
    StreamCursor(SubscriptionId, StreamId),
    /// Something may be amiss.
    Check,
    /// Workers of a pool in an outage may be due for a probe.
    Probe(PoolKey),
    /// A worker that can't be connected to is looked at again.
    Reach(WorkerKey),
    /// A message may be tried again.
    Retry(StreamId, Sequence),
    /// A target of alerts may be asked again.
    Target,
    /// A worker's pause, ejection or silence may have come to its end.
    Worker(WorkerKey),
}

/// The deadlines, soonest first.
#[derive(Debug, Default)]
pub(super) struct Timers(BTreeSet<(Time, Timer)>);

impl Timers {
    pub(super) fn set(&mut self, at: Time, timer: Timer) {
        self.0.insert((at, timer));
    }

    pub(super) fn stop(&mut self, at: Time, timer: Timer) {
        self.0.remove(&(at, timer));
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether this one is there.
    pub(super) fn has(&self, at: Time, timer: Timer) -> bool {
        self.0.contains(&(at, timer))
    }

    /// The soonest deadline.
    pub(super) fn next(&self) -> Option<Time> {
        self.0.first().map(|(at, _)| *at)
    }

    /// Takes out one that is due.
    pub(super) fn pop_due(&mut self, now: Time) -> Option<Timer> {
        if self.next()? > now {
            return None;
        }
        self.0.pop_first().map(|(_, timer)| timer)
    }
}
