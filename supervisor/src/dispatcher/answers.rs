//! Answers in: the first good one is the answer. A failure leads to another try, or to a person.

use std::{
    hash::{DefaultHasher, Hash as _, Hasher as _},
    sync::Arc,
    time::Duration,
};

use rollcall_common::{
    backoff,
    ids::{Sequence, StreamId},
    message::{Payload, is_trace},
    time::Time,
};

use super::{
    Dispatcher,
    attempts::{Attempt, AttemptState, HedgeLink},
    budget::RetryCost,
    classify::{Failure, Mark, Verdict, classify},
    event::{AttemptId, Presence, WorkerReply},
    settings::OnExhausted,
    slot::{Divergence, Slot, SlotState},
    timers::Timer,
    worker::{Impediment, WorkerKey},
};
use crate::record::{Answer, AttemptReport, Ending, Outcome, ParkCause, Reason, Record};

/// First and longest wait of a message that every worker has turned away without its counting.
const TURNED_AWAY_WAIT: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(5));

impl Dispatcher {
    pub(super) fn answered(&mut self, id: AttemptId, reply: WorkerReply, now: Time) {
        // An attempt that was given up may still end.
        let Some(attempt) = self.finish_attempt(id, now) else {
            return;
        };
        let counting = attempt.standing == AttemptState::Active;
        match &reply {
            WorkerReply::Broken(_) | WorkerReply::Stale if counting => self.broke(&attempt, now),
            WorkerReply::Cancelled if !counting => return,
            WorkerReply::Unreachable(_) => self.probed(attempt.worker, Presence::Absent, now),
            WorkerReply::Answer { .. }
            | WorkerReply::Broken(_)
            | WorkerReply::Cancelled
            | WorkerReply::Stale => {}
        }
        match classify(reply) {
            Verdict::Accept { outcome, payload, status, reason } => {
                self.record_success(&attempt, now);
                if let AttemptState::Superseded(accepted, winner) = attempt.standing {
                    return self.compare(&attempt, (accepted, winner), &payload, now);
                }
                let report = self.report(&attempt, (Ending::Accepted, Some(status)), "", now);
                self.accept(&attempt, Accepted { report, outcome, payload, reason }, now);
            }
            Verdict::Park { status, reason } => {
                if counting {
                    let place = (attempt.stream, attempt.sequence);
                    self.stop_counting(place.0, place.1, now);
                    let refused = (Ending::Refused, Some(status));
                    let report = self.report(&attempt, refused, &reason, now);
                    self.count(&attempt, report, now);
                    self.park(place, (ParkCause::Asked, &reason), now);
                }
            }
            Verdict::Fail(failure) => {
                if failure.status.is_some() {
                    // It has looked at the message.
                    self.roster.impede(attempt.worker, None);
                }
                self.record_failure(attempt.worker, failure.mark, now);
                if counting {
                    self.failed(&attempt, &failure, now);
                }
            }
            Verdict::Elsewhere(failure) => {
                if failure.ending == Ending::Misconfigured {
                    self.impede(attempt.worker, Impediment::Misconfigured, now);
                }
                self.record_failure(attempt.worker, failure.mark, now);
                if counting {
                    self.rejected_uncounted(&attempt, &failure, now);
                }
            }
        }
        self.decide_poison(attempt.worker, now);
        self.let_go((attempt.stream, attempt.sequence));
    }

    /// A good answer speaks for its worker, and tells how long answers take.
    fn record_success(&mut self, attempt: &Attempt, now: Time) {
        self.roster.record_success(attempt.worker, now);
        let pool = self.roster.pool_of(attempt.worker);
        self.served(pool);
        self.pool_succeeded(pool, now);
        let took = now.since(attempt.started_at);
        self.roster.sample(attempt.worker, took);
        if attempt.standing == AttemptState::Active {
            let most = attempt.deadline.since(attempt.started_at);
            self.roster.trust(attempt.worker, took, most, now);
        }
        let pool = self.roster.pool_mut(pool);
        if attempt.cost == RetryCost::Paid {
            pool.give_back(attempt.started_at);
        }
    }

    fn accept(&mut self, attempt: &Attempt, accepted: Accepted, now: Time) {
        let (stream, sequence) = (attempt.stream, attempt.sequence);
        let Some(slot) = self.open_slot(stream, sequence) else {
            return;
        };
        let head = slot.head();
        let others: Vec<AttemptId> = slot.out.iter().collect();
        let mut history = slot.history();
        history.push(Arc::new(accepted.report));
        let Some(head) = head else { return };
        self.supersede(&others, (&accepted.payload, attempt.worker), now);
        self.counters.completed += 1;
        self.counters.hedges_won += u64::from(attempt.reason == Reason::Hedge);
        let answer = Answer {
            head,
            outcome: accepted.outcome,
            worker: (*self.roster.worker(attempt.worker).id).into(),
            reason: accepted.reason,
            history,
            attempts: attempt.number,
            payload: accepted.payload,
        };
        self.commit(Record::Answered { stream, sequence, at: now, answer: Arc::new(answer) });
        self.settle_head(stream, now);
        self.enqueue(stream);
    }

    fn compare(
        &mut self,
        attempt: &Attempt,
        (accepted, winner): (u64, WorkerKey),
        payload: &Payload,
        now: Time,
    ) {
        self.counters.late_answers += 1;
        if fingerprint(payload) != accepted {
            self.note_divergence(attempt, winner, now);
        }
    }

    /// Two workers said different things of one message.
    fn note_divergence(&mut self, attempt: &Attempt, winner: WorkerKey, now: Time) {
        self.counters.diverging_answers += 1;
        self.diverged((attempt.stream, attempt.sequence), attempt.worker, now);
        let id = |worker| Arc::clone(&self.roster.worker(worker).id);
        let (accepted, other) = (id(winner), id(attempt.worker));
        let divergence = Divergence { sequence: attempt.sequence, at: now, accepted, other };
        self.state.stream_mut(attempt.stream).divergence = Some(Box::new(divergence));
        self.dirty.insert(attempt.stream);
    }

    /// A failure that counts: another try after a random wait, or a person.
    pub(super) fn failed(&mut self, attempt: &Attempt, failure: &Failure, now: Time) {
        let (ending, detail) = (failure.ending, &failure.detail);
        let report = self.report(attempt, (ending, failure.status), detail, now);
        if self.survives(attempt, HedgeLink::PartnerFailed) {
            return self.note(attempt, report);
        }
        let Some(slot) = self.open_slot(attempt.stream, attempt.sequence) else {
            return;
        };
        let worker = Arc::clone(&self.roster.worker(attempt.worker).id);
        let refused_before = slot.is_refused_by_another(&worker);
        let pool = self.roster.pool_of(attempt.worker);
        if ending != Ending::Refused && self.is_out(pool) {
            return self.note_in_outage(attempt, report);
        }
        if ending == Ending::Refused {
            self.outages.refused(attempt.worker, now);
        }
        let failures = self.count(attempt, report, now);
        let alone = self.roster.members(pool) <= 1;
        let agreed = alone || refused_before;
        let ladder = self.state.stream(attempt.stream).settings.ladder;
        let said = match failure.status {
            Some(status) if detail.is_empty() => format!("status {status}"),
            Some(status) => format!("status {status}, {detail}"),
            None => detail.to_string(),
        };
        if self.pool_failed(attempt, (ending, &said), now) {
            // It is not this message that fails.
        } else if ending == Ending::Refused && agreed {
            let reason = format!("refused: {said}");
            self.park((attempt.stream, attempt.sequence), (ParkCause::Refused, &reason), now);
        } else if failures >= ladder.max_attempts && self.is_tried_enough(attempt, now) {
            let reason = format!("{failures} failures, the last: {said}");
            self.park((attempt.stream, attempt.sequence), (ParkCause::Exhausted, &reason), now);
        }
    }

    /// Whether a message has been tried for as long as its stream's settings say.
    fn is_tried_enough(&self, attempt: &Attempt, now: Time) -> bool {
        let entry = self.state.stream(attempt.stream);
        let since = entry.slot(attempt.sequence).and_then(|slot| slot.tried_since);
        let tried = since.map(|since| now.since(since)).unwrap_or_default();
        entry.settings.retry_for.is_none_or(|least| tried >= least)
    }

    /// Writes a failure down; gives back how many there are now.
    fn count(&mut self, attempt: &Attempt, report: AttemptReport, now: Time) -> u32 {
        let (stream, sequence) = (attempt.stream, attempt.sequence);
        let ladder = self.state.stream(stream).settings.ladder;
        let Some(slot) = self.open_slot(stream, sequence) else {
            return 0;
        };
        let failures = slot.failures + 1;
        let due = now + ladder.wait_after(failures, &mut self.rng);
        self.counters.failures += 1;
        self.commit(Record::Failed { stream, sequence, due, report: Arc::new(report) });
        self.timers.set(due, Timer::Retry(stream, sequence));
        self.dirty.insert(stream);
        failures
    }

    /// Hands a message to people. An attempt of it that is out no longer counts.
    pub(super) fn park(
        &mut self,
        (stream, sequence): (StreamId, Sequence),
        (cause, reason): (ParkCause, &str),
        now: Time,
    ) {
        self.stop_counting(stream, sequence, now);
        let Some(head) = self.open_slot(stream, sequence).and_then(|slot| slot.head()) else {
            return;
        };
        self.counters.parked += 1;
        let reason = reason.into();
        self.commit(Record::Parked { stream, sequence, at: now, head, cause, reason });
        self.dirty.insert(stream);
        self.settle_head(stream, now);
        // A skip has moved the window.
        self.enqueue(stream);
    }

    /// A parked head is skipped, where the stream's settings say so, and the next one as well.
    pub(super) fn settle_head(&mut self, stream: StreamId, now: Time) {
        for _ in 0..self.settings.bounds.work.max(1) {
            let entry = self.state.stream(stream);
            if entry.settings.on_exhausted != OnExhausted::Skip || entry.paused {
                return;
            }
            let Some(slot) = entry.front() else { return };
            let SlotState::Parked(parking) = &slot.state else {
                return;
            };
            let answer = Answer {
                head: parking.head,
                outcome: Outcome::Skipped,
                worker: "".into(),
                reason: parking.reason.clone(),
                history: slot.history(),
                attempts: slot.failures,
                payload: Payload::default(),
            };
            let sequence = entry.released.next();
            self.counters.skipped += 1;
            self.commit(Record::Answered { stream, sequence, at: now, answer: Arc::new(answer) });
            self.cut();
        }
        self.defer(stream);
    }

    /// A try that does not count: another worker now, or, when all have turned the message away,
    /// the same ones again after a while.
    fn rejected_uncounted(&mut self, attempt: &Attempt, failure: &Failure, now: Time) {
        let (stream, sequence) = (attempt.stream, attempt.sequence);
        if attempt.pair == HedgeLink::PartnerFailed {
            return self.failed(attempt, failure, now);
        }
        let ending = failure.ending;
        let report = self.report(attempt, (ending, failure.status), &failure.detail, now);
        let survives = self.survives(attempt, HedgeLink::Single);
        let pool = self.roster.pool_of(attempt.worker);
        self.counters.rejected_uncounted += 1;
        let Some(slot) = self.state.stream_mut(stream).slot_mut(sequence) else {
            return;
        };
        if !matches!(slot.state, SlotState::InFlight) {
            return;
        }
        slot.note(report);
        if survives {
            return;
        }
        slot.rounds += 1;
        let (tried, rounds) = (slot.tried(), slot.rounds);
        if self.roster.has_untried(pool, &tried) {
            self.set_state(stream, sequence, SlotState::Idle);
            return self.redispatch(stream, sequence);
        }
        let (first, most) = TURNED_AWAY_WAIT;
        let due = now + backoff::doubling(first, most, rounds, &mut self.rng);
        self.set_state(stream, sequence, SlotState::Waiting { due });
        self.timers.set(due, Timer::Retry(stream, sequence));
    }

    /// One of two failed, and the other is still in time.
    fn note(&mut self, attempt: &Attempt, report: AttemptReport) {
        if let Some(slot) = self.state.stream_mut(attempt.stream).slot_mut(attempt.sequence) {
            slot.note(report);
        }
    }

    fn set_state(&mut self, stream: StreamId, sequence: Sequence, state: SlotState) {
        if let Some(slot) = self.state.stream_mut(stream).slot_mut(sequence) {
            slot.state = state;
        }
    }

    pub(super) fn record_failure(&mut self, worker: WorkerKey, mark: Mark, now: Time) {
        match mark {
            Mark::Missing => return self.lose(worker, now),
            Mark::Pause(_) => self.impede(worker, Impediment::Busy, now),
            // It is the pool that fails.
            Mark::Strike if self.is_out(self.roster.pool_of(worker)) => return,
            Mark::None | Mark::Strike => {}
        }
        let until = self.roster.record_failure(worker, mark, now, &mut self.rng);
        if mark == Mark::Strike && until.is_some() {
            self.counters.ejections += 1;
            self.worker_ejected(worker, now);
        }
        self.watch_worker(worker, until);
    }

    /// The slot of a message that has no result yet.
    pub(super) fn open_slot(&self, stream: StreamId, sequence: Sequence) -> Option<&Slot> {
        let slot = self.state.stream(stream).slot(sequence)?;
        if matches!(slot.state, SlotState::Done { .. }) { None } else { Some(slot) }
    }

    pub(super) fn report(
        &self,
        attempt: &Attempt,
        (ending, status): (Ending, Option<u16>),
        detail: &str,
        now: Time,
    ) -> AttemptReport {
        AttemptReport {
            attempt: attempt.number,
            worker: Arc::clone(&self.roster.worker(attempt.worker).id),
            reason: attempt.reason,
            started_at: attempt.started_at,
            ended_at: now,
            ending,
            status,
            detail: detail.into(),
        }
    }
}

/// An answer that is about to be accepted.
struct Accepted {
    report: AttemptReport,
    outcome: Outcome,
    payload: Payload,
    reason: Box<str>,
}

/// Only ever compared within one process.
pub(super) fn fingerprint(payload: &Payload) -> u64 {
    let mut hasher = DefaultHasher::new();
    payload.content_type.hash(&mut hasher);
    payload.body.hash(&mut hasher);
    // Each attempt has a trace of its own.
    let told = payload.headers.iter().filter(|(name, _)| !is_trace(name));
    told.for_each(|header| header.hash(&mut hasher));
    hasher.finish()
}
