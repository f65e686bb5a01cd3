//! Answers in: the first good one is the answer. A failure leads to another try, or to a person.

use std::{
    hash::{DefaultHasher, Hash as _, Hasher as _},
    sync::Arc,
    time::Duration,
};

use rollcall_common::{
    backoff,
    ids::{Sequence, StreamId},
    limits::{ATTEMPT_HISTORY, LATE_ANSWER},
    message::Payload,
    time::Time,
};

use super::{
    Attempt, AttemptStanding, Dispatcher,
    event::{AttemptId, WorkerReply},
    outcome::{Failure, Mark, Verdict, classify},
    settings::OnExhausted,
    stream::{Slot, SlotState},
    timers::Timer,
};
use crate::record::{Answer, AttemptReport, Ending, Outcome, Record};

/// First and longest wait of a message that every worker has turned away without its counting.
const TURNED_AWAY_WAIT: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(5));

impl Dispatcher {
    pub(super) fn answered(&mut self, id: AttemptId, reply: WorkerReply, now: Time) {
        // An attempt that was given up may still end.
        let Some(attempt) = self.hang_up(id, now) else {
            return;
        };
        match classify(reply) {
            Verdict::Accept { outcome, payload, status, reason } => {
                self.roster.praise(attempt.worker);
                if let AttemptStanding::Beaten(accepted) = attempt.standing {
                    return self.compare(&attempt, accepted, &payload, now);
                }
                let report = self.report(&attempt, (Ending::Accepted, Some(status)), "", now);
                self.accept(&attempt, Accepted { report, outcome, payload, reason }, now);
            }
            Verdict::Park { status, reason } => {
                if attempt.standing == AttemptStanding::Counting {
                    let refused = (Ending::Refused, Some(status));
                    let report = self.report(&attempt, refused, &reason, now);
                    self.count(&attempt, report, now);
                    self.park(&attempt, &reason, now);
                }
            }
            Verdict::Fail(failure) => {
                self.mark(attempt.worker, failure.mark, now);
                if attempt.standing == AttemptStanding::Counting {
                    self.failed(&attempt, &failure, now);
                }
            }
            Verdict::Elsewhere(failure) => {
                self.mark(attempt.worker, failure.mark, now);
                if attempt.standing == AttemptStanding::Counting {
                    self.turned_away(&attempt, &failure, now);
                }
            }
        }
    }

    /// An attempt's time is up. It is not withdrawn: its answer is welcome for as long as there
    /// is none.
    pub(super) fn timed_out(&mut self, id: AttemptId, now: Time) {
        let Some(attempt) = self.attempts.get_mut(&id) else {
            return;
        };
        let failed = Attempt { deadline: now + LATE_ANSWER, ..*attempt };
        attempt.standing = AttemptStanding::Late;
        attempt.deadline = failed.deadline;
        self.timers.set(failed.deadline, Timer::Forget(id));
        self.state.stream_mut(failed.stream).in_flight -= 1;
        self.counters.timeouts += 1;
        self.mark(failed.worker, Mark::Strike, now);
        let (ending, status, mark) = (Ending::Timeout, None, Mark::Strike);
        let detail = "no answer in time".into();
        self.failed(&failed, &Failure { ending, status, detail, mark }, now);
        // It no longer counts, so another one may go out.
        self.enqueue(failed.stream);
    }

    /// A late attempt is given up: its worker may have work again.
    pub(super) fn forget(&mut self, id: AttemptId, now: Time) {
        self.hang_up(id, now);
    }

    /// Ends an attempt.
    fn hang_up(&mut self, id: AttemptId, now: Time) -> Option<Attempt> {
        let attempt = self.attempts.remove(&id)?;
        self.roster.hang_up(attempt.worker, now);
        let timer = match attempt.standing {
            AttemptStanding::Counting => Timer::Attempt(id),
            AttemptStanding::Beaten(_) | AttemptStanding::Late => Timer::Forget(id),
        };
        self.timers.stop(attempt.deadline, timer);
        let stream = self.state.stream_mut(attempt.stream);
        if let Some(slot) = stream.slot_mut(attempt.sequence) {
            slot.out.remove(id);
        }
        if attempt.standing == AttemptStanding::Counting {
            stream.in_flight -= 1;
            self.enqueue(attempt.stream);
        }
        self.dirty.insert(attempt.stream);
        Some(attempt)
    }

    fn accept(&mut self, attempt: &Attempt, accepted: Accepted, now: Time) {
        let (stream, sequence) = (attempt.stream, attempt.sequence);
        let Some(slot) = self.open_slot(stream, sequence) else {
            return;
        };
        let head = slot.head();
        let others: Vec<AttemptId> = slot.out.iter().collect();
        let mut history = slot.history.clone();
        history.push(Arc::new(accepted.report));
        let Some(head) = head else { return };
        self.beat(&others, &accepted.payload);
        self.counters.completed += 1;
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

    /// Attempts that have lost: what they still bring is compared with what was accepted.
    fn beat(&mut self, others: &[AttemptId], accepted: &Payload) {
        for id in others {
            let Some(other) = self.attempts.get_mut(id) else {
                continue;
            };
            if other.standing == AttemptStanding::Counting {
                self.state.stream_mut(other.stream).in_flight -= 1;
                self.timers.stop(other.deadline, Timer::Attempt(*id));
                other.deadline = other.started_at + LATE_ANSWER;
                self.timers.set(other.deadline, Timer::Forget(*id));
            }
            other.standing = AttemptStanding::Beaten(fingerprint(accepted));
        }
    }

    fn compare(&mut self, attempt: &Attempt, accepted: u64, payload: &Payload, now: Time) {
        self.counters.late_answers += 1;
        if fingerprint(payload) != accepted {
            self.counters.diverging_answers += 1;
            self.diverged((attempt.stream, attempt.sequence), attempt.worker, now);
        }
    }

    /// A failure that counts: another try after a random wait, or a person.
    fn failed(&mut self, attempt: &Attempt, failure: &Failure, now: Time) {
        let (ending, detail) = (failure.ending, &failure.detail);
        let report = self.report(attempt, (ending, failure.status), detail, now);
        let Some(slot) = self.open_slot(attempt.stream, attempt.sequence) else {
            return;
        };
        let refused_before = slot.refused_by.clone();
        let failures = self.count(attempt, report, now);
        let worker = Arc::clone(&self.roster.worker(attempt.worker).id);
        let pool = self.roster.pool_of(attempt.worker);
        let alone = self.roster.members(pool) <= 1;
        let agreed = alone || refused_before.is_some_and(|other| other != worker);
        let ladder = self.state.stream(attempt.stream).settings.ladder;
        if ending == Ending::Refused && agreed {
            self.park(attempt, &format!("refused: {detail}"), now);
        } else if failures >= ladder.max_attempts {
            self.park(attempt, &format!("{failures} failures, the last: {detail}"), now);
        }
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

    fn park(&mut self, attempt: &Attempt, reason: &str, now: Time) {
        let (stream, sequence) = (attempt.stream, attempt.sequence);
        let Some(head) = self.open_slot(stream, sequence).and_then(|slot| slot.head()) else {
            return;
        };
        self.counters.parked += 1;
        self.commit(Record::Parked { stream, sequence, at: now, head, reason: reason.into() });
        self.settle_head(stream, now);
        // A skip has moved the window.
        self.enqueue(stream);
    }

    /// A parked head is skipped, where the stream's settings say so.
    pub(super) fn settle_head(&mut self, stream: StreamId, now: Time) {
        loop {
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
                history: slot.history.clone(),
                attempts: slot.failures,
                payload: Payload::default(),
            };
            let sequence = entry.released.next();
            self.counters.skipped += 1;
            self.commit(Record::Answered { stream, sequence, at: now, answer: Arc::new(answer) });
        }
    }

    /// A try that does not count: another worker now, or, when all have turned the message away,
    /// the same ones again after a while.
    fn turned_away(&mut self, attempt: &Attempt, failure: &Failure, now: Time) {
        let (stream, sequence) = (attempt.stream, attempt.sequence);
        let ending = failure.ending;
        let report = self.report(attempt, (ending, failure.status), &failure.detail, now);
        let worker = Arc::clone(&self.roster.worker(attempt.worker).id);
        let pool = self.roster.pool_of(attempt.worker);
        self.counters.turned_away += 1;
        let Some(slot) = self.state.stream_mut(stream).slot_mut(sequence) else {
            return;
        };
        if !matches!(slot.state, SlotState::Flying) {
            return;
        }
        slot.rounds += 1;
        if slot.history.len() < ATTEMPT_HISTORY {
            slot.history.push(Arc::new(report));
        }
        if !slot.tried.contains(&worker) {
            slot.tried.push(worker);
        }
        let (tried, rounds) = (slot.tried.clone(), slot.rounds);
        if self.roster.has_untried(pool, &tried) {
            self.set_state(stream, sequence, SlotState::Idle);
            return self.redispatch(stream, sequence);
        }
        let (first, most) = TURNED_AWAY_WAIT;
        let due = now + backoff::doubling(first, most, rounds, &mut self.rng);
        self.set_state(stream, sequence, SlotState::Waiting { due });
        self.timers.set(due, Timer::Retry(stream, sequence));
    }

    fn set_state(&mut self, stream: StreamId, sequence: Sequence, state: SlotState) {
        if let Some(slot) = self.state.stream_mut(stream).slot_mut(sequence) {
            slot.state = state;
        }
    }

    fn mark(&mut self, worker: super::WorkerKey, mark: Mark, now: Time) {
        let until = self.roster.mark(worker, mark, now, &mut self.rng);
        if mark == Mark::Strike && until.is_some() {
            self.counters.ejections += 1;
            self.worker_ejected(worker, now);
        }
        self.watch_worker(worker, until);
    }

    /// The slot of a message that has no result yet.
    fn open_slot(&self, stream: StreamId, sequence: Sequence) -> Option<&Slot> {
        let slot = self.state.stream(stream).slot(sequence)?;
        if matches!(slot.state, SlotState::Done { .. }) { None } else { Some(slot) }
    }

    fn report(
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
fn fingerprint(payload: &Payload) -> u64 {
    let mut hasher = DefaultHasher::new();
    payload.content_type.hash(&mut hasher);
    payload.body.hash(&mut hasher);
    hasher.finish()
}
