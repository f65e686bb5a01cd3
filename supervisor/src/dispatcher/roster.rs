//! The workers: who is there, who is fit, and the random choice among them. All of it is soft;
//! after a restart workers register again.

use std::{collections::BTreeMap, collections::VecDeque, sync::Arc, time::Duration};

use rollcall_common::{backoff, ids::StreamId, time::Time};

use super::{
    attempts::Repute, budget::Budget, hedge::Hedge, outcome::Mark, settings::PoolSettings,
};

/// Longest time for which a worker is taken out.
const LONGEST_EJECTION: Duration = Duration::from_secs(300);
/// First and longest wait before a worker that was not there is asked again.
const MISSING_WAIT: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(5));

/// Calls at once that a worker is not limited to any more.
const LIMITED_BELOW: u32 = 1024;

/// A worker's number in this process.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct WorkerKey(usize);

/// A pool's number in this process. Each stream has one, so it is short.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(super) struct PoolKey(u32);

impl PoolKey {
    fn index(self) -> usize {
        usize::try_from(self.0).unwrap_or(usize::MAX)
    }
}

/// Whether a worker is one of us.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Standing {
    /// It takes work.
    Active,
    /// It finishes what it has.
    Draining,
    /// It is gone.
    Left,
}

/// A worker, as the dispatcher sees it.
#[derive(Clone, Debug)]
pub struct Worker {
    /// Its id.
    pub id: Arc<str>,
    /// Whether it is one of us.
    pub standing: Standing,
    /// Calls at once that it takes.
    pub concurrency: u32,
    /// Calls that it has.
    pub in_flight: u32,
    /// Calls that it has in time.
    pub(super) counting: u32,
    /// Calls in time of messages during whose attempts a worker died.
    pub(super) suspects: u32,
    /// When it counts as silent, if it has to be heard again and again.
    pub silent_at: Option<Time>,
    /// Until when it asked for a pause, or is given one because it wasn't there.
    pub paused_until: Time,
    /// Until when it is taken out.
    pub ejected_until: Time,
    /// Failures in a row that speak against it.
    pub strikes: u32,
    /// How many times in a row it was taken out.
    ejections: u32,
    /// How many times in a row it was not there, or busy.
    misses: u32,
    /// Calls in time that it gets at once, after it was away or too slow.
    limit: Option<u32>,
    /// Answers in time since the limit last grew.
    credit: u32,
    /// When the limit was last made smaller.
    cut_at: Time,
    pool: PoolKey,
    /// Its place among the fit ones of its pool.
    fit_at: Option<usize>,
}

impl Worker {
    /// Whether it may be given work at `now`.
    #[must_use]
    pub fn is_fit(&self, now: Time) -> bool {
        self.is_able(now)
            && self.in_flight < self.concurrency
            && self.limit.is_none_or(|limit| self.counting < limit)
    }

    /// Whether it was taken out and has not done well since.
    pub(super) fn is_on_probation(&self) -> bool {
        self.ejections > 0 && self.standing != Standing::Left
    }

    /// Whether it could be given work at `now` if it had a hand free.
    fn is_able(&self, now: Time) -> bool {
        self.is_willing(now) && self.ejected_until <= now
    }

    /// Whether nothing keeps it from working but that it may have failed, or has enough to do.
    fn is_willing(&self, now: Time) -> bool {
        self.standing == Standing::Active
            && self.silent_at.is_none_or(|at| now < at)
            && self.paused_until <= now
    }

    /// Whether it stands among the fit ones of its pool.
    pub(super) fn is_listed(&self) -> bool {
        self.fit_at.is_some()
    }

    /// The word that the outside sees.
    #[must_use]
    pub fn state(&self, now: Time) -> &'static str {
        match self.standing {
            Standing::Draining => "draining",
            Standing::Left => "left",
            Standing::Active if self.silent_at.is_some_and(|at| at <= now) => "silent",
            Standing::Active if self.ejected_until > now => "ejected",
            Standing::Active if self.paused_until > now => "paused",
            Standing::Active => "active",
        }
    }
}

/// The workers of one name.
#[derive(Debug)]
pub(super) struct Pool {
    name: Arc<str>,
    settings: PoolSettings,
    members: usize,
    fit: Vec<WorkerKey>,
    /// Until when at most somebody is taken out.
    ejected_until: Time,
    budget: Budget,
    pub(super) hedge: Hedge,
    /// Streams that have something for it, in the order of their turns.
    pub(super) queue: VecDeque<StreamId>,
}

impl Pool {
    /// Notes a message that is dispatched for the first time.
    pub(super) fn deposit(&mut self, now: Time) {
        self.budget.deposit(now);
    }

    /// Pays for a retry; whether the budget had something left.
    pub(super) fn withdraw(&mut self, now: Time) -> bool {
        self.budget.withdraw(self.settings.budget, now)
    }

    /// Pays for what can be done without: whether more than half of the budget was left.
    pub(super) fn withdraw_spare(&mut self, now: Time) -> bool {
        self.budget.withdraw_spare(self.settings.budget, now)
    }

    /// Gives back what was paid at `paid`.
    pub(super) fn give_back(&mut self, paid: Time) {
        self.budget.give_back(paid);
    }
}

/// All workers and pools.
#[derive(Debug, Default)]
pub(super) struct Roster {
    workers: Vec<Worker>,
    by_id: BTreeMap<Arc<str>, WorkerKey>,
    pools: Vec<Pool>,
    pools_by_name: BTreeMap<Arc<str>, PoolKey>,
}

#[expect(clippy::indexing_slicing, reason = "keys are given out here and never taken back")]
impl Roster {
    pub(super) fn worker(&self, key: WorkerKey) -> &Worker {
        &self.workers[key.0]
    }

    pub(super) fn workers(&self) -> impl Iterator<Item = (&Arc<str>, &Worker)> {
        self.workers.iter().map(|worker| (&self.pools[worker.pool.index()].name, worker))
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
        (0..).map(PoolKey).take(self.pools.len())
    }

    pub(super) fn has_fit(&self, pool: PoolKey) -> bool {
        !self.pools[pool.index()].fit.is_empty()
    }

    pub(super) fn pool_name(&self, pool: PoolKey) -> Arc<str> {
        Arc::clone(&self.pools[pool.index()].name)
    }

    /// Whether streams stand in line for the pool.
    pub(super) fn has_work(&self, pool: PoolKey) -> bool {
        !self.pools[pool.index()].queue.is_empty()
    }

    /// Whether some worker of the pool could be given work if it had a hand free.
    pub(super) fn has_able(&self, pool: PoolKey, now: Time) -> bool {
        self.workers.iter().any(|worker| worker.pool == pool && worker.is_able(now))
    }

    /// Whether some worker of the pool has work at the moment.
    pub(super) fn is_busy(&self, pool: PoolKey) -> bool {
        self.workers.iter().any(|w| w.pool == pool && w.in_flight > 0)
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
        let key = PoolKey(u32::try_from(self.pools.len()).unwrap_or(u32::MAX));
        self.pools.push(Pool {
            name: Arc::clone(name),
            settings: settings(),
            members: 0,
            fit: Vec::new(),
            ejected_until: Time::default(),
            budget: Budget::default(),
            hedge: Hedge::default(),
            queue: VecDeque::new(),
        });
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
        let key = self.by_id.get(id).copied().unwrap_or(WorkerKey(self.workers.len()));
        if key.0 == self.workers.len() {
            self.by_id.insert(Arc::clone(id), key);
            self.workers.push(Worker {
                id: Arc::clone(id),
                standing: Standing::Left,
                concurrency,
                in_flight: 0,
                counting: 0,
                suspects: 0,
                limit: None,
                credit: 0,
                cut_at: Time::default(),
                silent_at: None,
                paused_until: Time::default(),
                ejected_until: Time::default(),
                strikes: 0,
                ejections: 0,
                misses: 0,
                pool,
                fit_at: None,
            });
        }
        if self.workers[key.0].pool != pool {
            self.leave(key, Time::default());
            self.workers[key.0].pool = pool;
        }
        let worker = &mut self.workers[key.0];
        worker.concurrency = concurrency;
        if worker.standing == Standing::Left {
            // Somebody new behind the id: what was held against the old one is forgotten.
            worker.standing = Standing::Active;
            (worker.strikes, worker.ejections, worker.misses) = (0, 0, 0);
            worker.limit = None;
            worker.paused_until = Time::default();
            worker.ejected_until = Time::default();
            self.pools[pool.index()].members += 1;
        }
        key
    }

    pub(super) fn beat(&mut self, key: WorkerKey, silent_at: Option<Time>) {
        self.workers[key.0].silent_at = silent_at;
    }

    pub(super) fn drain(&mut self, key: WorkerKey, now: Time) {
        let worker = &mut self.workers[key.0];
        if worker.standing == Standing::Active {
            worker.standing = Standing::Draining;
        }
        self.refit(key, now);
    }

    pub(super) fn leave(&mut self, key: WorkerKey, now: Time) {
        let worker = &mut self.workers[key.0];
        if worker.standing != Standing::Left {
            worker.standing = Standing::Left;
            self.pools[worker.pool.index()].members -= 1;
        }
        self.refit(key, now);
    }

    /// Notes a call that goes out.
    pub(super) fn call(&mut self, key: WorkerKey, repute: Repute, now: Time) {
        let worker = &mut self.workers[key.0];
        worker.in_flight += 1;
        worker.counting += 1;
        worker.suspects += u32::from(repute == Repute::Suspect);
        self.refit(key, now);
    }

    /// Notes that a call is no longer in time.
    pub(super) fn uncount(&mut self, key: WorkerKey, repute: Repute, now: Time) {
        let worker = &mut self.workers[key.0];
        worker.counting -= 1;
        worker.suspects -= u32::from(repute == Repute::Suspect);
        self.refit(key, now);
    }

    /// A call took so long that its time was up: the worker gets half as much at once. Calls that
    /// were out already when that was last done say nothing new (as with TCP's congestion
    /// window, which is cut once a round trip).
    pub(super) fn slow_down(&mut self, key: WorkerKey, started_at: Time, now: Time) {
        let worker = &mut self.workers[key.0];
        if started_at >= worker.cut_at {
            worker.limit = Some((worker.counting / 2).max(1));
            worker.cut_at = now;
        }
        self.refit(key, now);
    }

    /// A call was answered in time. A worker that is limited gets one more at once, which doubles
    /// what it has with every round of calls; but only one more a round once its calls take
    /// noticeably longer than usual, for then they wait inside it (TCP's slow start and congestion
    /// avoidance, RFC 5681). When that has gone well for long it gets any number.
    pub(super) fn trust(&mut self, key: WorkerKey, took: Duration, most: Duration, now: Time) {
        let usual = self.pools[self.workers[key.0].pool.index()].hedge.is_usual(took);
        let worker = &mut self.workers[key.0];
        let Some(limit) = worker.limit else { return };
        worker.credit += 1;
        if usual || took * 4 <= most || worker.credit >= limit {
            worker.credit = 0;
            worker.limit = Some(limit + 1).filter(|limit| *limit < LIMITED_BELOW);
        }
        self.refit(key, now);
    }

    /// How long an answer took, if that is how long answers take when nothing is wrong.
    pub(super) fn sample(&mut self, key: WorkerKey, took: Duration) {
        let worker = &self.workers[key.0];
        let hedge = &mut self.pools[worker.pool.index()].hedge;
        if worker.limit.is_none() || hedge.is_unsure() {
            hedge.sample(took);
        }
    }

    /// Notes that a call is over.
    pub(super) fn hang_up(&mut self, key: WorkerKey, now: Time) {
        self.workers[key.0].in_flight -= 1;
        self.refit(key, now);
    }

    /// Notes a good answer.
    pub(super) fn praise(&mut self, key: WorkerKey) {
        let worker = &mut self.workers[key.0];
        (worker.strikes, worker.ejections, worker.misses) = (0, 0, 0);
    }

    /// Notes what a failure says of a worker. Gives back when it may be fit again, if the mark
    /// put it out.
    pub(super) fn mark(
        &mut self,
        key: WorkerKey,
        mark: Mark,
        now: Time,
        rng: &mut fastrand::Rng,
    ) -> Option<Time> {
        let until = match mark {
            Mark::None => None,
            Mark::Strike => self.strike(key, now, rng),
            Mark::Missing | Mark::Pause(None) => Some(self.miss(key, now, rng)),
            Mark::Pause(Some(span)) => {
                let until = now + span;
                self.workers[key.0].paused_until = until;
                Some(until)
            }
        };
        self.refit(key, now);
        until
    }

    fn miss(&mut self, key: WorkerKey, now: Time, rng: &mut fastrand::Rng) -> Time {
        let worker = &mut self.workers[key.0];
        worker.misses = worker.misses.saturating_add(1);
        // When it is asked again, then with one message and not with all that wait.
        worker.limit = Some(1);
        let (first, most) = MISSING_WAIT;
        worker.paused_until = now + backoff::doubling(first, most, worker.misses, rng);
        worker.paused_until
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
        worker.strikes = 0;
        worker.ejections = worker.ejections.saturating_add(1);
        let span = settings.eject_for.saturating_mul(worker.ejections).min(LONGEST_EJECTION);
        // Up to a tenth more, so that workers put out together come back one by one.
        worker.ejected_until = now + span + backoff::below(span / 10, rng);
        let until = worker.ejected_until;
        let pool = &mut self.pools[self.workers[key.0].pool.index()];
        pool.ejected_until = pool.ejected_until.max(until);
        Some(until)
    }

    /// Panic: when none of a pool's workers is able but some were taken out for failing, those
    /// come back at once. Failing workers are better than none, and if all fail, it is hardly
    /// theirs. (Envoy's panic threshold, at its lowest.) Gives back how many came back.
    pub(super) fn pardon(&mut self, pool: PoolKey, now: Time) -> usize {
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
            self.refit(*key, now);
        }
        out.len()
    }

    /// Brings the pool's list of fit workers up to date with one of them.
    pub(super) fn refit(&mut self, key: WorkerKey, now: Time) {
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

    /// A random fit worker of the pool: one that is not in `tried`, if there is one.
    pub(super) fn pick(
        &self,
        pool: PoolKey,
        tried: &[Arc<str>],
        rng: &mut fastrand::Rng,
    ) -> Option<WorkerKey> {
        let fit = &self.pools[pool.index()].fit;
        if fit.is_empty() {
            return None;
        }
        let untried = fit.iter().filter(|key| !tried.contains(&self.workers[key.0].id));
        match if tried.is_empty() { fit.len() } else { untried.clone().count() } {
            0 => fit.get(rng.usize(..fit.len())).copied(),
            all if all == fit.len() => fit.get(rng.usize(..all)).copied(),
            some => untried.copied().nth(rng.usize(..some)),
        }
    }

    /// A random fit worker of the pool among those that are `wanted`: one that is not in `tried`,
    /// if there is one.
    pub(super) fn pick_of(
        &self,
        pool: PoolKey,
        tried: &[Arc<str>],
        rng: &mut fastrand::Rng,
        wanted: impl Fn(WorkerKey) -> bool,
    ) -> Option<WorkerKey> {
        let fit = || self.pools[pool.index()].fit.iter().copied().filter(|key| wanted(*key));
        let untried = || fit().filter(|key| !tried.contains(&self.workers[key.0].id));
        match (untried().count(), fit().count()) {
            (_, 0) => None,
            (0, all) => fit().nth(rng.usize(..all)),
            (some, _) => untried().nth(rng.usize(..some)),
        }
    }

    /// Whether the pool has a fit worker that is not in `tried`.
    pub(super) fn has_untried(&self, pool: PoolKey, tried: &[Arc<str>]) -> bool {
        self.pools[pool.index()].fit.iter().any(|key| !tried.contains(&self.workers[key.0].id))
    }
}
