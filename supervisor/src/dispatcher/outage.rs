//! Outages: a pool that fails whatever it is given (contract §4). It is the pool that fails then,
//! and not the messages: failures are noted and not counted, and instead of all that waits only
//! probes go out, until one of them succeeds.
//!
//! That a pool is in an outage is a record; who is probed when, and with what, is soft.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::Arc,
    time::Duration,
};

use rollcall_common::{
    backoff,
    ids::{Sequence, StreamId},
    time::Time,
};

use super::{
    Dispatcher,
    attempts::{Attempt, AttemptState, HedgeLink, Suspicion},
    budget::RetryCost,
    event::AttemptId,
    pool::PoolKey,
    settings::OutageDetection,
    slot::SlotState,
    state::State,
    stream::Turn,
    timers::Timer,
    worker::WorkerKey,
};
use crate::record::{AttemptReport, Ending, Record, Severity, Subject};

/// First and longest wait between two probes of one worker.
const PROBE_WAIT: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(15));

/// A failure that counted.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
struct Failed {
    message: (StreamId, Sequence),
    worker: WorkerKey,
}

/// How pools fail.
#[derive(Debug, Default)]
pub(super) struct Outages {
    /// The last failures of each pool that counted, since its last success.
    failures: BTreeMap<PoolKey, VecDeque<Failed>>,
    /// When each pool last succeeded.
    succeeded_at: BTreeMap<PoolKey, Time>,
    /// When each worker of a pool in an outage is probed, and how often it was.
    probes: BTreeMap<WorkerKey, Probe>,
    /// The last message of each stream that a probe went out with.
    turns: BTreeMap<StreamId, Sequence>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Probe {
    due: Time,
    count: u32,
    /// The last one, and when it is waited for no longer.
    last: Option<(AttemptId, Time)>,
}

impl Probe {
    /// Notes one more. Gives back when the next one is due.
    fn next(&mut self, now: Time, rng: &mut fastrand::Rng) -> Time {
        let (first, most) = PROBE_WAIT;
        self.count = self.count.saturating_add(1);
        self.due = now + backoff::doubling(first, most, self.count, rng);
        self.due
    }
}

impl Outages {
    /// Nothing is known of a worker any more.
    pub(super) fn forget(&mut self, worker: WorkerKey) {
        self.probes.remove(&worker);
        self.failures.values_mut().for_each(|all| all.retain(|one| one.worker != worker));
    }

    /// A worker has refused a message for good: that speaks of the message, and the worker answers.
    /// The next probe need not wait.
    pub(super) fn refused(&mut self, worker: WorkerKey, now: Time) {
        if let Some(probe) = self.probes.get_mut(&worker) {
            (probe.due, probe.count) = (now, 0);
        }
    }

    /// Notes a failure. Whether the last ones make an outage: so many, of two messages and of
    /// `workers` workers.
    fn add(&mut self, pool: PoolKey, failed: Failed, (after, workers): (usize, usize)) -> bool {
        let failures = self.failures.entry(pool).or_default();
        failures.push_back(failed);
        while failures.len() > after {
            failures.pop_front();
        }
        let messages: BTreeSet<_> = failures.iter().map(|one| one.message).collect();
        let by: BTreeSet<_> = failures.iter().map(|one| one.worker).collect();
        failures.len() >= after && messages.len() >= 2 && by.len() >= workers
    }
}

impl State {
    /// What is known of workers and pools in trouble.
    pub(super) fn apply_trouble(&mut self, record: &Record) {
        if let Record::OutageBegan { pool, at } = record {
            self.last = self.last.max(*at);
            self.outages.insert(Arc::clone(pool), *at);
        } else if let Record::OutageEnded { pool, at } = record {
            self.last = self.last.max(*at);
            self.outages.remove(pool);
        } else if let Record::WorkerDied { stream, sequence, at, worker } = record {
            self.last = self.last.max(*at);
            self.slot(*stream, *sequence).suspect(worker);
        }
    }
}

impl Dispatcher {
    /// Whether a pool is in an outage.
    pub(super) fn is_out(&self, pool: PoolKey) -> bool {
        let out = &self.state.outages;
        !out.is_empty() && out.contains_key(&self.roster.pool_ref(pool).name)
    }

    /// A worker of the pool has given a good answer.
    pub(super) fn pool_succeeded(&mut self, pool: PoolKey, now: Time) {
        self.outages.failures.remove(&pool);
        self.outages.succeeded_at.insert(pool, now);
        if self.is_out(pool) {
            self.end_outage(pool, now);
        }
    }

    /// A failure has been counted. Whether it is the pool's, from this one on.
    pub(super) fn pool_failed(
        &mut self,
        attempt: &Attempt,
        (ending, detail): (Ending, &str),
        now: Time,
    ) -> bool {
        let pool = self.roster.pool_of(attempt.worker);
        let settings = &self.roster.pool_ref(pool).settings;
        // What ran out of time while others were answered says nothing of now.
        let succeeded_at = self.outages.succeeded_at.get(&pool);
        let stale =
            ending == Ending::Timeout && succeeded_at.is_some_and(|at| attempt.started_at <= *at);
        // A refusal speaks of the message.
        if stale || ending == Ending::Refused || settings.outage == OutageDetection::Off {
            return false;
        }
        let after = usize::try_from(settings.outage_after).unwrap_or(usize::MAX);
        let workers = self.roster.present(pool, now).clamp(1, 2);
        let message = (attempt.stream, attempt.sequence);
        let failed = Failed { message, worker: attempt.worker };
        let begins = self.outages.add(pool, failed, (after, workers));
        if begins {
            self.begin_outage(pool, detail, now);
        }
        begins
    }

    fn begin_outage(&mut self, pool: PoolKey, last: &str, now: Time) {
        let name = self.roster.pool_name(pool);
        self.outages.failures.remove(&pool);
        self.counters.outages += 1;
        self.commit(Record::OutageBegan { pool: Arc::clone(&name), at: now });
        let detail = format!(
            "all that it is given fails, the last: {last}; nothing is charged to messages, and its \
             workers are probed until one succeeds"
        );
        self.raise(Subject::Outage(name), (Severity::Critical, 1), detail, now);
        let members = self.roster.keyed().filter(|(_, worker)| worker.pool == pool);
        let members: Vec<WorkerKey> = members.map(|(key, _)| key).collect();
        for worker in members {
            let due = Probe::default().next(now, &mut self.rng);
            self.outages.probes.insert(worker, Probe { due, count: 1, last: None });
            self.timers.set(due, Timer::Probe(pool));
        }
        self.show_streams_of(pool);
    }

    /// The outage is over: work comes back as after an absence.
    pub(super) fn end_outage(&mut self, pool: PoolKey, now: Time) {
        let name = self.roster.pool_name(pool);
        self.counters.outages_over += 1;
        self.commit(Record::OutageEnded { pool: Arc::clone(&name), at: now });
        self.resolve_alert(&Subject::Outage(name), now);
        for worker in self.roster.come_back(pool, now) {
            self.outages.probes.remove(&worker);
        }
        let of_pool = |stream: &StreamId| self.state.stream(*stream).pool == Some(pool);
        self.outages.turns.retain(|stream, _| !of_pool(stream));
        self.show_streams_of(pool);
    }

    /// A failure in an outage: it is noted, and its message waits for its turn again.
    pub(super) fn note_in_outage(&mut self, attempt: &Attempt, report: AttemptReport) {
        let (stream, sequence) = (attempt.stream, attempt.sequence);
        let Some(slot) = self.state.stream_mut(stream).slot_mut(sequence) else {
            return;
        };
        slot.note(report);
        if matches!(slot.state, SlotState::InFlight) {
            slot.state = SlotState::Idle;
            self.dirty.insert(stream);
            self.redispatch(stream, sequence);
        }
    }

    /// Sends probes to those workers of a pool in an outage that are due for one.
    pub(super) fn pump_probes(&mut self, pool: PoolKey, now: Time) {
        let due = self.roster.keyed().filter(|(key, worker)| {
            worker.pool == pool && worker.is_willing(now) && self.probe_due(*key) <= now
        });
        let due: Vec<WorkerKey> = due.map(|(key, _)| key).collect();
        for worker in due {
            let work = self.roster.has_work(pool) && self.has_room(pool, now);
            if work && self.free_place(worker, now) {
                self.probe_with_next((worker, pool), now);
            }
        }
    }

    /// When a worker may be probed: with one probe at a time, but one that takes long is not waited
    /// for. What else it works on is no matter.
    pub(super) fn probe_due(&self, worker: WorkerKey) -> Time {
        let probe = self.outages.probes.get(&worker).copied().unwrap_or_default();
        let in_time = |id: &AttemptId| {
            self.attempts.get(id).is_some_and(|one| one.standing == AttemptState::Active)
        };
        let waits = probe.last.filter(|(id, _)| in_time(id)).map(|(_, until)| until);
        probe.due.max(waits.unwrap_or_default())
    }

    /// Whether a worker has a place free, if need be that of its oldest late call.
    fn free_place(&mut self, worker: WorkerKey, now: Time) -> bool {
        while !self.roster.worker(worker).has_place() {
            let Some(oldest) = self.late.oldest_of(|other| other == worker) else {
                return false;
            };
            self.counters.given_up += 1;
            self.end_call(oldest, now);
        }
        true
    }

    /// Sends a worker the next message, of the next stream that has one.
    fn probe_with_next(&mut self, (worker, pool): (WorkerKey, PoolKey), now: Time) {
        for _ in 0..self.roster.pool_ref(pool).queue.len() {
            let Some(stream) = self.roster.pool_mut(pool).queue.pop_front() else {
                return;
            };
            let after = self.outages.turns.get(&stream).copied().unwrap_or(Sequence(0));
            let entry = self.state.stream_mut(stream);
            entry.turn = Turn::None;
            let next = if entry.wants_turn() { entry.take_after(after) } else { None };
            let sent = next.and_then(|sequence| self.probe_with((stream, sequence), worker, now));
            self.enqueue(stream);
            if self.state.stream(stream).turn == Turn::Unread {
                // The probe goes out when it has been read.
                return;
            }
            if let Some(id) = sent {
                self.counters.probes += 1;
                let probe = self.outages.probes.entry(worker).or_default();
                let (due, until) = (probe.next(now, &mut self.rng), now + PROBE_WAIT.1);
                probe.last = Some((id, until));
                self.timers.set(due, Timer::Probe(pool));
                self.timers.set(until, Timer::Probe(pool));
                return;
            }
        }
    }

    /// Sends a worker this message, if it can go out now.
    fn probe_with(
        &mut self,
        place: (StreamId, Sequence),
        worker: WorkerKey,
        now: Time,
    ) -> Option<AttemptId> {
        let (stream, sequence) = place;
        let entry = self.state.stream_mut(stream);
        let ladder = entry.settings.ladder;
        let slot = entry.reach(sequence).filter(|slot| matches!(slot.state, SlotState::Idle))?;
        let Some(bytes) = slot.held.as_ref().map(|held| held.message.weight()) else {
            self.fetch_for(place);
            return None;
        };
        let (failures, reason) = (slot.failures, slot.next_reason());
        let suspicion =
            if slot.deaths().is_empty() { Suspicion::Clean } else { Suspicion::Suspect };
        if let Some(until) = self.doubted_until(place, now) {
            self.put_off(place, until);
            return None;
        }
        self.outages.turns.insert(stream, sequence);
        // Whatever it has failed, the next probe does not wait for longer.
        let most = ladder.timeout.max(PROBE_WAIT.1);
        self.start_attempt(Attempt {
            stream,
            sequence,
            worker,
            number: failures + 1,
            reason,
            started_at: now,
            deadline: now + ladder.timeout_after(failures).min(most),
            standing: AttemptState::Active,
            pair: HedgeLink::Single,
            cost: RetryCost::Free,
            suspicion,
            bytes,
        })
    }

    /// Outages of pools that are not to have any, or that no stream uses any more, are over.
    pub(super) fn review_outages(&mut self, now: Time) {
        if self.sweeps.is_adopting() {
            return;
        }
        for pool in self.roster.pool_keys().filter(|pool| self.is_out(*pool)).collect::<Vec<_>>() {
            let off = self.roster.pool_ref(pool).settings.outage == OutageDetection::Off;
            if off || !self.sweeps.is_used(pool) {
                self.end_outage(pool, now);
            }
        }
    }
}
