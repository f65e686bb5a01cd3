//! Calls whose time is up. They stay open for their late answers, but only for as long as nobody
//! needs the places that they hold at their workers: so a pool is never frozen by calls that hang.

use std::collections::{BTreeMap, BTreeSet};

use rollcall_common::time::Time;

use super::{
    Dispatcher,
    attempts::{Attempt, AttemptState},
    effect::Effect,
    event::AttemptId,
    pool::PoolKey,
    worker::WorkerKey,
};

/// The late calls of each worker. Their numbers rise with their age.
#[derive(Debug, Default)]
pub(super) struct LateCalls(BTreeMap<WorkerKey, BTreeSet<AttemptId>>);

impl LateCalls {
    /// Notes a call that is late from now on.
    pub(super) fn add(&mut self, worker: WorkerKey, call: AttemptId) {
        self.0.entry(worker).or_default().insert(call);
    }

    /// Notes that a late call is over.
    pub(super) fn remove(&mut self, worker: WorkerKey, call: AttemptId) {
        if let Some(calls) = self.0.get_mut(&worker) {
            calls.remove(&call);
            if calls.is_empty() {
                self.0.remove(&worker);
            }
        }
    }

    /// The oldest one of those of some workers.
    pub(super) fn oldest_of(&self, wanted: impl Fn(WorkerKey) -> bool) -> Option<AttemptId> {
        let theirs = self.0.iter().filter(|(worker, _)| wanted(**worker));
        theirs.filter_map(|(_, calls)| calls.first().copied()).min()
    }

    /// All of them, for who checks.
    pub(super) fn iter(&self) -> impl Iterator<Item = (WorkerKey, AttemptId)> {
        self.0.iter().flat_map(|(worker, calls)| calls.iter().map(|call| (*worker, *call)))
    }
}

impl Dispatcher {
    /// Whether a pool in which something waits may have another call for all that is out: gives up
    /// its late calls for it, the oldest first.
    pub(super) fn has_room(&mut self, pool: PoolKey, now: Time) -> bool {
        let most = self.settings.bounds.in_flight_bytes;
        while self.roster.has_work(pool) && !self.roster.has_room(pool, most) {
            let Some(oldest) = self.oldest_of_pool(pool) else {
                return false;
            };
            self.counters.given_up += 1;
            self.end_call(oldest, now);
        }
        true
    }

    fn oldest_of_pool(&self, pool: PoolKey) -> Option<AttemptId> {
        self.late.oldest_of(|worker| self.roster.pool_of(worker) == pool)
    }

    /// Something waits, and no fit worker of the pool has a place free: gives up the oldest late
    /// call that holds one. Whether there was such a call.
    pub(super) fn make_place(&mut self, pool: PoolKey, now: Time) -> bool {
        let Some(oldest) = self.oldest_in_the_way(pool, now) else {
            return false;
        };
        self.counters.given_up += 1;
        self.end_call(oldest, now);
        true
    }

    /// The oldest late call that holds the place of one that waits.
    pub(super) fn oldest_in_the_way(&self, pool: PoolKey, now: Time) -> Option<AttemptId> {
        self.late.oldest_of(|worker| {
            let worker = self.roster.worker(worker);
            worker.pool == pool && worker.lacks_only_a_place(now)
        })
    }

    /// Ends a call whose answer is not waited for any more: its worker may have work again.
    pub(super) fn end_call(&mut self, call: AttemptId, now: Time) -> Option<Attempt> {
        let attempt = self.finish_attempt(call, now)?;
        let worker = self.roster.worker(attempt.worker).id.clone();
        self.effects.push_back(Effect::GiveUp { attempt: call, worker });
        Some(attempt)
    }

    /// Whether something waits that could go out if less were out.
    pub(super) fn is_full(&self) -> bool {
        let most = self.settings.bounds.in_flight_bytes;
        let stands = |pool| self.roster.has_fit(pool) && !self.roster.has_room(pool, most);
        self.roster.pool_keys().any(|pool| self.roster.has_work(pool) && stands(pool))
    }

    /// What is out is counted, and bounded: but for one message of each pool.
    pub(super) fn verify_room(&self) -> Result<(), String> {
        let mut pools: BTreeMap<PoolKey, (usize, usize)> = BTreeMap::new();
        for attempt in self.attempts.values() {
            let (sum, largest) = pools.entry(self.roster.pool_of(attempt.worker)).or_default();
            *sum += attempt.bytes;
            *largest = attempt.bytes.max(*largest);
        }
        let whole: usize = pools.values().map(|(sum, _)| sum).sum();
        let beside: usize = pools.values().map(|(sum, largest)| sum - largest).sum();
        let most = self.settings.bounds.in_flight_bytes;
        let counted = |pool: &PoolKey| {
            let sum = pools.get(pool).map_or(0, |(sum, _)| *sum);
            sum == self.roster.pool_ref(*pool).out_bytes
        };
        let noted =
            whole == self.roster.out_bytes() && self.roster.pool_keys().all(|p| counted(&p));
        if !noted || beside > most {
            return Err(format!("{whole} bytes are out, {most} at most: {pools:?}, {noted}"));
        }
        Ok(())
    }

    /// Late calls are known as such, and none is in anybody's way.
    pub(super) fn verify_late(&self, now: Time) -> Result<(), String> {
        let late = self.attempts.iter().filter(|(_, one)| one.standing != AttemptState::Active);
        let late: BTreeSet<_> = late.map(|(id, one)| (one.worker, *id)).collect();
        let noted: BTreeSet<_> = self.late.iter().collect();
        if late != noted {
            return Err(format!("{late:?} are late, {noted:?} are noted"));
        }
        let mut pools = self.roster.pool_keys().filter(|pool| self.roster.has_work(*pool));
        let in_the_way =
            |pool: &PoolKey| !self.draining && self.oldest_in_the_way(*pool, now).is_some();
        let stands = |pool: &PoolKey| !self.roster.has_fit(*pool) && !self.is_out(*pool);
        let most = self.settings.bounds.in_flight_bytes;
        let lacks_room = |pool: &PoolKey| {
            let full = !self.draining && !self.roster.has_room(*pool, most);
            full && (self.roster.has_fit(*pool) && !self.is_out(*pool))
        };
        let hold_room = |pool: &PoolKey| lacks_room(pool) && self.oldest_of_pool(*pool).is_some();
        match pools.find(|pool| stands(pool) && in_the_way(pool) || hold_room(pool)) {
            Some(pool) => Err(format!("late calls of {pool:?} are in the way")),
            None => Ok(()),
        }
    }
}
