//! Messages out to workers: which stream has its turn, which message of it, and which worker.

use std::{sync::Arc, time::Duration};

use rollcall_common::{
    ids::{Sequence, StreamId},
    time::Time,
};

use super::{
    Dispatcher,
    attempts::{Attempt, AttemptState, HedgeLink, Suspicion},
    budget::{Budget, RetryCost},
    event::Presence,
    pool::PoolKey,
    settings::Hedging,
    slot::SlotState,
    stream::Turn,
    timers::Timer,
    worker::WorkerKey,
};
use crate::record::{Reason, Record};

impl Dispatcher {
    /// Finds the stream's pool by its settings.
    pub(super) fn assign_pool(&mut self, stream: StreamId) {
        let settings = Arc::clone(&self.state.stream(stream).settings);
        let pool = settings.pool.as_ref().map(|name| {
            let all = Arc::clone(&self.settings);
            self.roster.pool(name, || all.pool(name))
        });
        self.state.stream_mut(stream).pool = pool;
        if let Some(pool) = pool {
            self.sweeps.note_used(pool);
        }
    }

    /// Puts a stream in line for its pool, if it has something to dispatch and isn't there yet.
    /// A stream without a processing step needs no worker: its messages pass.
    pub(super) fn enqueue(&mut self, stream: StreamId) {
        let revision = self.sweeps.revision();
        let entry = self.state.stream_mut(stream);
        if entry.adopted != revision {
            return self.adopt(stream);
        }
        let Some(pool) = entry.pool else {
            return self.pass(stream);
        };
        if entry.turn == Turn::None && entry.wants_turn() {
            entry.turn = Turn::Queued;
            self.roster.pool_mut(pool).queue.push_back(stream);
        }
    }

    /// Hands out work until there is no worker or nothing to do. Streams take turns, one message
    /// each, so one with a million waiting does not delay one with a single message.
    pub(super) fn pump(&mut self, now: Time) {
        loop {
            let given_up = self.counters.given_up;
            self.pump_calls(now);
            let queued = self.pump_fetches(now);
            // What one pool gives up makes room for the others.
            if !queued && self.counters.given_up == given_up {
                break;
            }
        }
        self.pump_cursors();
        for pool in self.roster.pool_keys() {
            if self.roster.has_work(pool) && !self.may_call(pool) {
                self.schedule_check(now);
            }
        }
        self.pump_notices(now);
    }

    fn pump_calls(&mut self, now: Time) {
        for pool in self.roster.pool_keys() {
            if !self.draining && self.is_out(pool) {
                self.pump_probes(pool, now);
                continue;
            }
            while !self.draining && self.has_fit(pool, now) && self.has_room(pool, now) {
                let Some(stream) = self.roster.pool_mut(pool).queue.pop_front() else {
                    break;
                };
                let entry = self.state.stream_mut(stream);
                entry.turn = Turn::None;
                if entry.wants_turn()
                    && let Some(sequence) = entry.take_ready()
                {
                    self.dispatch(stream, sequence, pool, now);
                }
                self.enqueue(stream);
            }
        }
    }

    /// Whether somebody can take work; see [`Roster::readmit`](super::roster::Roster::readmit).
    fn has_fit(&mut self, pool: PoolKey, now: Time) -> bool {
        if self.roster.has_fit(pool) {
            return true;
        }
        if !self.roster.has_work(pool) {
            return false;
        }
        self.counters.readmissions +=
            u64::try_from(self.roster.readmit(pool, now)).unwrap_or_default();
        self.roster.has_fit(pool) || self.make_place(pool, now) || self.stretch_limits(pool, now)
    }

    /// Nobody of the pool is fit: whether somebody is, once limits give way to calls that take
    /// long.
    fn stretch_limits(&mut self, pool: PoolKey, now: Time) -> bool {
        if self.roster.pool_ref(pool).stretch_at > now {
            return false;
        }
        let next = self.roster.stretch(pool, now);
        self.timers.set(next, Timer::Limits(pool));
        self.roster.has_fit(pool)
    }

    /// Whether somebody can take work, and there is room for it.
    pub(super) fn may_call(&self, pool: PoolKey) -> bool {
        let most = self.settings.bounds.in_flight_bytes;
        self.roster.has_fit(pool) && self.roster.has_room(pool, most)
    }

    fn dispatch(&mut self, stream: StreamId, sequence: Sequence, pool: PoolKey, now: Time) {
        let entry = self.state.stream_mut(stream);
        let (ladder, hedge) = (entry.settings.ladder, entry.settings.hedge);
        let Some(slot) = entry.reach(sequence) else {
            return;
        };
        if !matches!(slot.state, SlotState::Idle) {
            // A late answer came while it stood in line.
            return;
        }
        let Some(bytes) = slot.held.as_ref().map(|held| held.message.weight()) else {
            return self.fetch_for((stream, sequence));
        };
        let (failures, rounds, reason) = (slot.failures, slot.rounds, slot.next_reason());
        let place = (stream, sequence);
        if let Some(until) = self.doubted_until(place, now) {
            return self.put_off(place, until);
        }
        let (worker, suspicion) = match self.pick_worker(place, pool, now) {
            Ok(Some(picked)) => picked,
            Ok(None) => {
                self.state.stream_mut(stream).again.insert(sequence);
                return;
            }
            Err(due) => return self.put_off(place, due),
        };
        let Some(cost) = self.cost(pool, (failures, rounds), now) else {
            self.counters.retries_deferred += 1;
            let due = now + Budget::wait(&mut self.rng);
            return self.put_off(place, due);
        };
        let number = failures + 1;
        let (standing, pair, started_at) = (AttemptState::Active, HedgeLink::Single, now);
        let deadline = now + ladder.timeout_after(failures);
        let attempt = Attempt {
            stream,
            sequence,
            worker,
            number,
            reason,
            started_at,
            deadline,
            standing,
            pair,
            cost,
            suspicion,
            bytes,
        };
        let id = self.start_attempt(attempt);
        let by_hand = reason == Reason::Manual;
        if let (Some(id), Hedging::Auto, false, Suspicion::Clean) = (id, hedge, by_hand, suspicion)
        {
            self.watch_slow(id, pool, now);
        }
    }

    /// Lets a try pay, if it has to. The first one of a message is free, and so are those that
    /// follow at once because a worker turned it away, until all workers may have. `None`: there
    /// is nothing to pay with.
    fn cost(
        &mut self,
        pool: PoolKey,
        (failures, rounds): (u32, u32),
        now: Time,
    ) -> Option<RetryCost> {
        let members = u32::try_from(self.roster.members(pool)).unwrap_or(u32::MAX);
        let budget = self.roster.pool_mut(pool);
        if failures == 0 && rounds <= members {
            if rounds == 0 {
                budget.deposit(now);
            }
            return Some(RetryCost::Free);
        }
        budget.withdraw(now).then_some(RetryCost::Paid)
    }

    /// Lets a message wait. It has not failed by that, and after a restart it doesn't wait.
    pub(super) fn put_off(&mut self, (stream, sequence): (StreamId, Sequence), due: Time) {
        if let Some(slot) = self.state.stream_mut(stream).slot_mut(sequence) {
            slot.state = SlotState::Waiting { due };
            self.timers.set(due, Timer::Retry(stream, sequence));
            self.let_go((stream, sequence));
        }
    }

    /// A message's wait is over.
    pub(super) fn retry_due(&mut self, stream: StreamId, sequence: Sequence, now: Time) {
        let entry = self.state.stream_mut(stream);
        let Some(slot) = entry.slot_mut(sequence) else {
            return;
        };
        // A timer may be left from an earlier wait.
        if matches!(slot.state, SlotState::Waiting { due } if due <= now) {
            slot.state = SlotState::Idle;
            self.redispatch(stream, sequence);
        }
    }

    /// Puts a message back in line; the cursor may have passed it.
    pub(super) fn redispatch(&mut self, stream: StreamId, sequence: Sequence) {
        let entry = self.state.stream_mut(stream);
        if sequence < entry.cursor {
            entry.again.insert(sequence);
        }
        self.enqueue(stream);
    }

    /// Messages of a stream without a processing step are their own results.
    fn pass(&mut self, stream: StreamId) {
        let entry = self.state.stream_mut(stream);
        if entry.paused {
            return;
        }
        let mut runs: Vec<(Sequence, Sequence)> = Vec::new();
        let mut left = self.settings.bounds.passes.max(1);
        while left > 0
            && let Some(sequence) = entry.take_passing()
        {
            left -= 1;
            match runs.last_mut() {
                Some((_, last)) if last.next() == sequence => *last = sequence,
                _ => runs.push((sequence, sequence)),
            }
        }
        let at = self.state.last_time();
        let many = runs.len() > 1;
        for (first, last) in runs {
            self.commit(Record::PassedThrough { stream, first, last, at });
            if many {
                self.cut();
            }
        }
        if left == 0 {
            self.defer(stream);
        }
        // What is at the head now may have been parked when the stream still had workers.
        self.settle_head(stream, at);
    }

    pub(super) fn worker_seen(
        &mut self,
        (id, pool): (&Arc<str>, &Arc<str>),
        concurrency: Option<u32>,
        silence: Option<Duration>,
        now: Time,
    ) {
        let settings = Arc::clone(&self.settings);
        let pool = self.roster.pool(pool, || settings.pool(pool));
        let worker = self.roster.seen(id, pool, concurrency.unwrap_or(u32::MAX));
        let silent_at = silence.map(|silence| now + silence);
        self.roster.beat(worker, silent_at);
        self.watch_worker(worker, silent_at);
        self.roster.update_fitness(worker, now);
    }

    pub(super) fn worker_drained(&mut self, id: &str, now: Time) {
        if let Some(worker) = self.roster.find(id) {
            self.roster.drain(worker, now);
        }
    }

    pub(super) fn worker_resumed(&mut self, id: &str, now: Time) {
        if let Some(worker) = self.roster.find(id) {
            self.roster.resume(worker, now);
        }
    }

    pub(super) fn worker_left(&mut self, id: &str, now: Time) {
        if let Some(worker) = self.roster.find(id) {
            self.roster.leave(worker, now);
            self.watch_departed(worker, now);
            // On its way out after a break: it is not there any more.
            self.probed(worker, Presence::Absent, now);
        }
    }

    /// Looks at a worker again when it may be fit, or silent.
    pub(super) fn watch_worker(&mut self, worker: WorkerKey, at: Option<Time>) {
        if let Some(at) = at {
            self.timers.set(at, Timer::Worker(worker));
        }
    }
}
