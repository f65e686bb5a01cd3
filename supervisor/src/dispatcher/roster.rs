//! The workers: who is there, who is fit, and the random choice among them. All of it is soft;
//! after a restart workers register again.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use rollcall_common::time::Time;

use super::{
    attempts::Suspicion,
    classify::Mark,
    pool::{Pool, PoolKey},
    settings::PoolSettings,
    worker::{CallSpeed, Impediment, STRETCH_AFTER, Standing, Worker, WorkerKey},
};

/// All workers and pools.
#[derive(Debug, Default)]
pub(super) struct Roster {
    workers: Vec<Worker>,
    by_id: BTreeMap<Arc<str>, WorkerKey>,
    /// Places of workers that are forgotten.
    free: Vec<WorkerKey>,
    pools: Vec<Pool>,
    pools_by_name: BTreeMap<Arc<str>, PoolKey>,
    /// Bytes of messages that are out at workers.
    out_bytes: usize,
}

#[expect(clippy::indexing_slicing, reason = "keys are given out here and never taken back")]
impl Roster {
    pub(super) fn worker(&self, key: WorkerKey) -> &Worker {
        &self.workers[key.0]
    }

    pub(super) fn workers(&self) -> impl Iterator<Item = (&Arc<str>, &Worker)> {
        let known = self.by_id.values().map(|key| &self.workers[key.0]);
        known.map(|worker| (&self.pools[worker.pool.index()].name, worker))
    }

    pub(super) fn keyed(&self) -> impl Iterator<Item = (WorkerKey, &Worker)> {
        (0..).map(WorkerKey).zip(&self.workers)
    }

    pub(super) fn find(&self, id: &str) -> Option<WorkerKey> {
        self.by_id.get(id).copied()
    }

    pub(super) fn pool_of(&self, key: WorkerKey) -> PoolKey {
        self.workers[key.0].pool
    }

    pub(super) fn pool_mut(&mut self, pool: PoolKey) -> &mut Pool {
        &mut self.pools[pool.index()]
    }

    pub(super) fn pool_keys(&self) -> impl Iterator<Item = PoolKey> + use<> {
        (0..self.pools.len()).map(PoolKey::after)
    }

    pub(super) fn has_fit(&self, pool: PoolKey) -> bool {
        !self.pools[pool.index()].fit.is_empty()
    }

    pub(super) fn pool_name(&self, pool: PoolKey) -> Arc<str> {
        Arc::clone(&self.pools[pool.index()].name)
    }

    /// Whether streams stand in line for the pool.
    pub(super) fn has_work(&self, pool: PoolKey) -> bool {
        let pool = &self.pools[pool.index()];
        !pool.queue.is_empty() || !pool.unread.is_empty()
    }

    /// Bytes of messages that are out at workers.
    pub(super) fn out_bytes(&self) -> usize {
        self.out_bytes
    }

    /// Whether the pool may have another call, when `most` bytes may be out: it has none, or less
    /// than is left. So there is always something left for another pool (after the dynamic
    /// thresholds of Choudhury and Hahne, IEEE/ACM Transactions on Networking, 1998).
    pub(super) fn has_room(&self, pool: PoolKey, most: usize) -> bool {
        let out = self.pools[pool.index()].out_bytes;
        let left = most.saturating_sub(self.out_bytes);
        out == 0 || out < left
    }

    /// Whether some worker of the pool could be given work if it had a hand free, and would do it.
    pub(super) fn has_use(&self, pool: PoolKey, now: Time) -> bool {
        self.workers.iter().any(|worker| worker.pool == pool && worker.is_of_use(now))
    }

    /// Notes what a worker's last call says of it.
    pub(super) fn impede(&mut self, key: WorkerKey, impediment: Option<Impediment>) {
        self.workers[key.0].impediment = impediment;
    }

    /// A worker can't be connected to. Gives back when it is looked at again.
    pub(super) fn lose(&mut self, key: WorkerKey, now: Time, rng: &mut fastrand::Rng) -> Time {
        let at = self.workers[key.0].lose(now, rng);
        self.update_fitness(key, now);
        at
    }

    /// A worker can be connected to again.
    pub(super) fn find_again(&mut self, key: WorkerKey, now: Time) {
        self.workers[key.0].find();
        self.update_fitness(key, now);
    }

    /// Whether some worker of the pool has work at the moment, and is in time with it.
    pub(super) fn is_busy(&self, pool: PoolKey) -> bool {
        self.workers.iter().any(|w| w.pool == pool && w.counting > 0)
    }

    pub(super) fn pool_ref(&self, pool: PoolKey) -> &Pool {
        &self.pools[pool.index()]
    }

    pub(super) fn members(&self, pool: PoolKey) -> usize {
        self.pools[pool.index()].members
    }

    /// The pool `name`; it comes into being when it is first named.
    pub(super) fn pool(&mut self, name: &Arc<str>, settings: impl Fn() -> PoolSettings) -> PoolKey {
        if let Some(key) = self.pools_by_name.get(name) {
            return *key;
        }
        let key = PoolKey::after(self.pools.len());
        self.pools.push(Pool::new(Arc::clone(name), settings()));
        self.pools_by_name.insert(Arc::clone(name), key);
        key
    }

    pub(super) fn set_pool_settings(&mut self, settings: impl Fn(&str) -> PoolSettings) {
        for pool in &mut self.pools {
            pool.settings = settings(&pool.name);
        }
    }

    /// Notes that a worker is there.
    pub(super) fn seen(&mut self, id: &Arc<str>, pool: PoolKey, concurrency: u32) -> WorkerKey {
        let key = self.find(id).unwrap_or_else(|| self.add(Worker::new(Arc::clone(id), pool, 0)));
        if self.workers[key.0].pool != pool {
            self.leave(key, Time::default());
            let bytes = self.workers[key.0].out_bytes;
            self.pools[self.workers[key.0].pool.index()].out_bytes -= bytes;
            self.pools[pool.index()].out_bytes += bytes;
            self.workers[key.0].pool = pool;
        }
        let worker = &mut self.workers[key.0];
        worker.concurrency = concurrency;
        if worker.standing == Standing::Left {
            worker.begin();
            self.pools[pool.index()].members += 1;
        }
        key
    }

    /// How many workers of the pool are there, as far as is known.
    pub(super) fn present(&self, pool: PoolKey, now: Time) -> usize {
        let there = |one: &&Worker| {
            let silent = one.silent_at.is_some_and(|at| at <= now);
            let left = one.standing == Standing::Left;
            one.pool == pool && !left && !silent && one.unreachable_since.is_none()
        };
        self.workers.iter().filter(there).count()
    }

    /// A pool's outage is over. Gives back its workers.
    pub(super) fn come_back(&mut self, pool: PoolKey, now: Time) -> Vec<WorkerKey> {
        let all = (0..).map(WorkerKey).zip(&self.workers);
        let all = all.filter(|(_, worker)| worker.pool == pool).map(|(key, _)| key);
        let all: Vec<WorkerKey> = all.collect();
        for key in &all {
            self.workers[key.0].come_back(now);
            self.update_fitness(*key, now);
        }
        all
    }

    /// Nobody of the pool is fit: those whose limits alone keep them from work get one more call,
    /// see [`Worker::stretch`]. Gives back when that is to be looked at again.
    pub(super) fn stretch(&mut self, pool: PoolKey, now: Time) -> Time {
        for index in 0..self.workers.len() {
            if self.workers[index].pool == pool {
                self.workers[index].stretch(now);
                self.update_fitness(WorkerKey(index), now);
            }
        }
        let next = now + STRETCH_AFTER;
        self.pools[pool.index()].stretch_at = next;
        next
    }

    fn add(&mut self, worker: Worker) -> WorkerKey {
        let id = Arc::clone(&worker.id);
        let key = self.free.pop().unwrap_or(WorkerKey(self.workers.len()));
        match self.workers.get_mut(key.0) {
            Some(place) => *place = worker,
            None => self.workers.push(worker),
        }
        self.by_id.insert(id, key);
        key
    }

    /// Forgets a worker that has no calls. Its place is another one's from now on.
    pub(super) fn forget(&mut self, key: WorkerKey, now: Time) {
        self.leave(key, now);
        let worker = &mut self.workers[key.0];
        let id = std::mem::replace(&mut worker.id, "".into());
        (worker.left_at, worker.silent_at) = (None, None);
        self.by_id.remove(&id);
        self.free.push(key);
    }

    pub(super) fn beat(&mut self, key: WorkerKey, silent_at: Option<Time>) {
        self.workers[key.0].silent_at = silent_at;
    }

    pub(super) fn drain(&mut self, key: WorkerKey, now: Time) {
        let worker = &mut self.workers[key.0];
        if worker.standing == Standing::Active {
            worker.standing = Standing::Draining;
        }
        self.update_fitness(key, now);
    }

    /// It is to get work again, now: it no longer drains, and a pause that it asked for is over.
    pub(super) fn resume(&mut self, key: WorkerKey, now: Time) {
        let worker = &mut self.workers[key.0];
        if worker.standing == Standing::Draining {
            worker.standing = Standing::Active;
        }
        worker.paused_until = worker.paused_until.min(now);
        worker.impediment = worker.impediment.filter(|why| *why != Impediment::Busy);
        self.update_fitness(key, now);
    }

    pub(super) fn leave(&mut self, key: WorkerKey, now: Time) {
        let worker = &mut self.workers[key.0];
        if worker.standing != Standing::Left {
            worker.standing = Standing::Left;
            worker.left_at = Some(now);
            self.pools[worker.pool.index()].members -= 1;
        }
        self.update_fitness(key, now);
    }

    /// Notes a call that goes out.
    pub(super) fn call(&mut self, key: WorkerKey, suspicion: Suspicion, bytes: usize, now: Time) {
        let worker = &mut self.workers[key.0];
        worker.call(now);
        worker.out_bytes += bytes;
        self.pools[worker.pool.index()].out_bytes += bytes;
        self.out_bytes += bytes;
        worker.suspects += u32::from(suspicion == Suspicion::Suspect);
        self.update_fitness(key, now);
    }

    /// Notes that a call is no longer in time.
    pub(super) fn uncount(&mut self, key: WorkerKey, suspicion: Suspicion, now: Time) {
        let worker = &mut self.workers[key.0];
        worker.counting -= 1;
        worker.suspects -= u32::from(suspicion == Suspicion::Suspect);
        self.update_fitness(key, now);
    }

    /// A call took so long that its time was up; see [`Worker::slow_down`].
    pub(super) fn slow_down(&mut self, key: WorkerKey, started_at: Time, now: Time) {
        self.workers[key.0].slow_down(started_at, now);
        self.update_fitness(key, now);
    }

    /// A call was answered in time; see [`Worker::trust`]. A quarter of what it may take at `most`
    /// is never slow.
    pub(super) fn trust(&mut self, key: WorkerKey, took: Duration, most: Duration, now: Time) {
        let usual = self.pools[self.workers[key.0].pool.index()].hedge.is_usual(took);
        let speed = if usual || took * 4 <= most { CallSpeed::Usual } else { CallSpeed::Slow };
        self.workers[key.0].trust(speed);
        self.update_fitness(key, now);
    }

    /// How long an answer took, if that is how long answers take when nothing is wrong.
    pub(super) fn sample(&mut self, key: WorkerKey, took: Duration) {
        let worker = &self.workers[key.0];
        let hedge = &mut self.pools[worker.pool.index()].hedge;
        if !worker.is_limited() || hedge.is_unsure() {
            hedge.sample(took);
        }
    }

    /// Notes that a call is over.
    pub(super) fn finish_attempt(&mut self, key: WorkerKey, bytes: usize, now: Time) {
        let worker = &mut self.workers[key.0];
        worker.in_flight -= 1;
        worker.out_bytes -= bytes;
        self.pools[worker.pool.index()].out_bytes -= bytes;
        self.out_bytes -= bytes;
        self.update_fitness(key, now);
    }

    /// Notes a good answer.
    pub(super) fn record_success(&mut self, key: WorkerKey, now: Time) {
        self.workers[key.0].record_success();
        self.workers[key.0].answered_at = now;
    }

    /// Notes what a failure says of a worker. Gives back when it may be fit again, if the mark
    /// put it out.
    pub(super) fn record_failure(
        &mut self,
        key: WorkerKey,
        mark: Mark,
        now: Time,
        rng: &mut fastrand::Rng,
    ) -> Option<Time> {
        let until = match mark {
            // Who can't be connected to is looked at again: see `reach`.
            Mark::None | Mark::Missing => None,
            Mark::Strike => self.strike(key, now, rng),
            Mark::Pause(None) => Some(self.workers[key.0].miss(now, rng)),
            Mark::Pause(Some(span)) => {
                let until = now + span;
                self.workers[key.0].paused_until = until;
                Some(until)
            }
        };
        self.update_fitness(key, now);
        until
    }

    fn strike(&mut self, key: WorkerKey, now: Time, rng: &mut fastrand::Rng) -> Option<Time> {
        let pool = &self.pools[self.workers[key.0].pool.index()];
        let (members, settings) = (pool.members, pool.settings.clone());
        let out = |w: &&Worker| w.pool == self.workers[key.0].pool && w.ejected_until > now;
        let ejected = self.workers.iter().filter(out).count();
        let worker = &mut self.workers[key.0];
        worker.strikes = worker.strikes.saturating_add(1);
        let enough = worker.strikes >= settings.eject_after;
        if !enough || worker.ejected_until > now || (ejected + 1) * 2 > members {
            return None;
        }
        let until = worker.eject(settings.eject_for, now, rng);
        let pool = &mut self.pools[self.workers[key.0].pool.index()];
        pool.ejected_until = pool.ejected_until.max(until);
        Some(until)
    }

    /// Panic: when none of a pool's workers is able but some were taken out for failing, those
    /// come back at once. Failing workers are better than none, and if all fail, it is hardly
    /// theirs. (Envoy's panic threshold, at its lowest.) Gives back how many came back.
    pub(super) fn readmit(&mut self, pool: PoolKey, now: Time) -> usize {
        if self.pools[pool.index()].ejected_until <= now {
            return 0;
        }
        let willing = |w: &Worker| w.pool == pool && w.is_willing(now);
        if self.workers.iter().any(|worker| willing(worker) && worker.ejected_until <= now) {
            return 0;
        }
        let keys = (0..self.workers.len()).map(WorkerKey);
        let out: Vec<_> = keys.filter(|key| willing(&self.workers[key.0])).collect();
        for key in &out {
            self.workers[key.0].ejected_until = now;
            self.update_fitness(*key, now);
        }
        out.len()
    }

    /// Brings the pool's list of fit workers up to date with one of them.
    pub(super) fn update_fitness(&mut self, key: WorkerKey, now: Time) {
        let worker = &self.workers[key.0];
        let (fit, at) = (worker.is_fit(now), worker.fit_at);
        let list = &mut self.pools[worker.pool.index()].fit;
        match (fit, at) {
            (true, None) => {
                self.workers[key.0].fit_at = Some(list.len());
                list.push(key);
            }
            (false, Some(at)) => {
                list.swap_remove(at);
                let moved = list.get(at).copied();
                self.workers[key.0].fit_at = None;
                if let Some(moved) = moved {
                    self.workers[moved.0].fit_at = Some(at);
                }
            }
            (true, Some(_)) | (false, None) => {}
        }
    }

    /// A random fit worker of the pool: one that is not in `tried`, if there is one; otherwise any
    /// but the last one of them, if there is another.
    pub(super) fn pick(
        &self,
        pool: PoolKey,
        tried: &[Arc<str>],
        rng: &mut fastrand::Rng,
    ) -> Option<WorkerKey> {
        let fit = &self.pools[pool.index()].fit;
        if tried.is_empty() {
            return if fit.is_empty() { None } else { fit.get(rng.usize(..fit.len())).copied() };
        }
        self.pick_of(pool, tried, rng, |_| true)
    }

    /// The same among those that are `wanted`.
    pub(super) fn pick_of(
        &self,
        pool: PoolKey,
        tried: &[Arc<str>],
        rng: &mut fastrand::Rng,
        wanted: impl Fn(WorkerKey) -> bool,
    ) -> Option<WorkerKey> {
        let fit = || self.pools[pool.index()].fit.iter().copied().filter(|key| wanted(*key));
        let untried = || fit().filter(|key| !tried.contains(&self.workers[key.0].id));
        let others = || fit().filter(|key| tried.last() != Some(&self.workers[key.0].id));
        match (untried().count(), others().count()) {
            (0, 0) => fit().next(),
            (0, others_count) => others().nth(rng.usize(..others_count)),
            (untried_count, _) => untried().nth(rng.usize(..untried_count)),
        }
    }

    /// Whether the pool has a fit worker that is not in `tried`.
    pub(super) fn has_untried(&self, pool: PoolKey, tried: &[Arc<str>]) -> bool {
        self.pools[pool.index()].fit.iter().any(|key| !tried.contains(&self.workers[key.0].id))
    }
}
