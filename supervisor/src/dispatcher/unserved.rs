//! Pools that have work and nobody for it, whatever the reason: their workers are gone, taken out,
//! busy, not set up for it, or let everything run out of time. Only time tells: nobody is told
//! before it has been so for a while.

use std::{collections::BTreeMap, time::Duration};

use rollcall_common::time::Time;

use super::{
    Dispatcher,
    pool::PoolKey,
    worker::{Impediment, WorkerKey},
};
use crate::record::{Severity, Subject};

/// How long a pool may have work and nobody for it before somebody is told. (Workers need a moment
/// to register after a restart.)
const NO_WORKER_AFTER: Duration = Duration::from_secs(5);
/// Workers that the alert names.
const NAMED: usize = 5;

/// Pools that have work and nobody for it. Soft: the alerts are records.
#[derive(Debug, Default)]
pub(super) struct Unserved(BTreeMap<PoolKey, Since>);

#[derive(Clone, Copy, Debug)]
struct Since {
    at: Time,
    /// Whether it has been so for long enough.
    told: bool,
}

impl Unserved {
    /// Whether the pool has had nobody for so long that people are told.
    pub(super) fn is_told(&self, pool: PoolKey) -> bool {
        self.0.get(&pool).is_some_and(|since| since.told)
    }

    /// Notes that the pool has nobody; whether it has just been so for long enough.
    fn note(&mut self, pool: PoolKey, now: Time) -> bool {
        let since = self.0.entry(pool).or_insert(Since { at: now, told: false });
        let due = now.since(since.at) >= NO_WORKER_AFTER;
        let fresh = due && !since.told;
        since.told = due;
        fresh
    }

    /// Notes that it has somebody, or no work; whether people had been told otherwise.
    fn clear(&mut self, pool: PoolKey) -> bool {
        self.0.remove(&pool).is_some_and(|since| since.told)
    }
}

impl Dispatcher {
    /// A worker's last call says that it is of no use at the moment.
    pub(super) fn impede(&mut self, worker: WorkerKey, impediment: Impediment, now: Time) {
        self.roster.impede(worker, Some(impediment));
        self.schedule_check(now);
    }

    /// Whether a pool has work and nobody for it.
    pub(super) fn look_at_pool(&mut self, pool: PoolKey, now: Time) -> bool {
        let name = self.roster.pool_name(pool);
        // An outage is told by itself, as long as somebody is there to be probed.
        let told = self.is_out(pool) && self.roster.members(pool) > 0;
        let unserved = !told && !self.roster.has_use(pool, now) && self.has_waiting(pool);
        if !unserved {
            if self.unserved.clear(pool) {
                self.show_streams_of(pool);
            }
            self.resolve_alert(&Subject::Pool(name), now);
            return false;
        }
        let fresh = self.unserved.note(pool, now);
        if !self.unserved.is_told(pool) {
            self.resolve_alert(&Subject::Pool(name), now);
        } else if fresh {
            let detail = self.explain_unserved(pool);
            self.raise(Subject::Pool(name), (Severity::Critical, 1), detail, now);
            self.show_streams_of(pool);
        }
        true
    }

    /// A worker of the pool has done something: what was so before counts no more.
    pub(super) fn served(&mut self, pool: PoolKey) {
        if self.unserved.clear(pool) {
            self.show_streams_of(pool);
        }
    }

    /// Whether something waits for a worker of the pool, or is at one.
    fn has_waiting(&self, pool: PoolKey) -> bool {
        let mut streams = self.state.streams.iter();
        // Looking at a million streams takes milliseconds.
        self.roster.has_work(pool)
            || self.state.unreleased > 0
                && streams.any(|stream| stream.pool == Some(pool) && stream.waits_for_worker())
    }

    fn explain_unserved(&self, pool: PoolKey) -> String {
        let members = self.roster.members(pool);
        let all = self.roster.workers().map(|(_, worker)| worker);
        let of = all.filter(|worker| worker.pool == pool && worker.impediment.is_some());
        let named = of.take(NAMED).map(|worker| {
            let why = worker.impediment.map_or("", Impediment::as_str);
            format!("; {} is {why}", worker.id)
        });
        let named: String = named.collect();
        format!("{members} workers are known, and none can take work now{named}")
    }
}
