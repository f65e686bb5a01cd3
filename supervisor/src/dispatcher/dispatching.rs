//! Messages out to workers: which stream has its turn, which message of it, and which worker.

use std::{sync::Arc, time::Duration};

use rollcall_common::{
    ids::{Sequence, StreamId},
    limits::CACHE_BYTES,
    message::Message,
    time::Time,
};

use super::{
    Attempt, AttemptStanding, Dispatcher,
    effect::{Dispatch, Effect},
    event::AttemptId,
    roster::{PoolKey, WorkerKey},
    stream::{Held, SlotState, Turn},
    timers::Timer,
};
use crate::record::{Reason, Record};

/// How many messages after the one that is needed are read back with it.
const FETCH_AHEAD: u64 = 4095;

impl Dispatcher {
    /// Finds the stream's pool by its settings.
    pub(super) fn assign_pool(&mut self, stream: StreamId) {
        let settings = Arc::clone(&self.state.stream(stream).settings);
        let pool = settings.pool.as_ref().map(|name| {
            let all = Arc::clone(&self.settings);
            self.roster.pool(name, || all.pool(name))
        });
        self.state.stream_mut(stream).pool = pool;
    }

    /// Puts a stream in line for its pool, if it has something to dispatch and isn't there yet.
    /// A stream without a processing step needs no worker: its messages pass.
    pub(super) fn enqueue(&mut self, stream: StreamId) {
        let entry = self.state.stream_mut(stream);
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
        for pool in self.roster.pool_keys() {
            while !self.draining && self.roster.has_fit(pool) {
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
        self.pump_lanes();
        for pool in self.roster.pool_keys() {
            if self.roster.has_work(pool) && !self.roster.has_fit(pool) {
                self.worry(now);
            }
        }
        self.pump_notices(now);
    }

    fn dispatch(&mut self, stream: StreamId, sequence: Sequence, pool: PoolKey, now: Time) {
        let entry = self.state.stream_mut(stream);
        let (ladder, end) = (entry.settings.ladder, entry.window_end());
        let Some(slot) = entry.reach(sequence) else {
            return;
        };
        if !matches!(slot.state, SlotState::Idle) {
            // A late answer came while it stood in line.
            return;
        }
        let Some(held) = &slot.held else {
            entry.again.insert(sequence);
            entry.turn = Turn::Fetching;
            // A window that was made smaller may end before it.
            let last = end.min(Sequence(sequence.0 + FETCH_AHEAD)).max(sequence);
            self.effects.push_back(Effect::Fetch { stream, first: sequence, last });
            return;
        };
        let Some(worker) = self.roster.pick(pool, &slot.tried, &mut self.rng) else {
            entry.again.insert(sequence);
            return;
        };
        let number = slot.failures + 1;
        let reason = match (slot.manual, number) {
            (true, _) => Reason::Manual,
            (false, 1) => Reason::First,
            (false, _) => Reason::Retry,
        };
        let timeout = ladder.timeout_after(slot.failures);
        let message = Arc::clone(&held.message);
        let attempt = AttemptId(self.next_attempt);
        slot.state = SlotState::Flying;
        slot.out.add(attempt);
        entry.in_flight += 1;
        let stream_name = entry.name.clone();
        let (standing, started_at, deadline) = (AttemptStanding::Counting, now, now + timeout);
        self.start_attempt(
            attempt,
            Attempt { stream, sequence, worker, number, reason, started_at, deadline, standing },
        );
        self.effects.push_back(Effect::Dispatch(Dispatch {
            attempt,
            stream,
            stream_name,
            sequence,
            message,
            worker: Arc::clone(&self.roster.worker(worker).id),
            number,
            max_attempts: ladder.max_attempts,
            reason,
            timeout,
        }));
    }

    fn start_attempt(&mut self, id: AttemptId, attempt: Attempt) {
        self.next_attempt = id.0 + 1;
        self.timers.set(attempt.deadline, Timer::Attempt(id));
        self.roster.call(attempt.worker, attempt.started_at);
        self.counters.attempts += 1;
        self.dirty.insert(attempt.stream);
        self.attempts.insert(id, attempt);
    }

    /// Messages came back from the journal.
    pub(super) fn fetched(
        &mut self,
        stream: StreamId,
        messages: Vec<(Sequence, Time, Arc<Message>)>,
    ) {
        for (sequence, accepted_at, message) in messages {
            // At least the one that is needed, however full the memory is.
            let needed = self.state.stream(stream).again.contains(&sequence);
            if needed || self.state.held_bytes < CACHE_BYTES {
                self.state.hold(stream, sequence, Held { accepted_at, message });
            }
        }
        self.state.stream_mut(stream).turn = Turn::None;
        self.enqueue(stream);
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
        while let Some(sequence) = entry.take_passing() {
            match runs.last_mut() {
                Some((_, last)) if last.next() == sequence => *last = sequence,
                _ => runs.push((sequence, sequence)),
            }
        }
        let at = self.state.last_time();
        for (first, last) in runs {
            self.commit(Record::Passed { stream, first, last, at });
        }
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
        self.roster.refit(worker, now);
    }

    pub(super) fn worker_drained(&mut self, id: &str, now: Time) {
        if let Some(worker) = self.roster.find(id) {
            self.roster.drain(worker, now);
        }
    }

    pub(super) fn worker_left(&mut self, id: &str, now: Time) {
        if let Some(worker) = self.roster.find(id) {
            self.roster.leave(worker, now);
        }
    }

    /// Looks at a worker again when it may be fit, or silent.
    pub(super) fn watch_worker(&mut self, worker: WorkerKey, at: Option<Time>) {
        if let Some(at) = at {
            self.timers.set(at, Timer::Worker(worker));
        }
    }
}
