//! Attempts: how they begin, and how they end. A message has one in time, or two: a slow one and
//! its copy (see `hedge`). Two of them are one try: it has failed when both have.

use std::sync::Arc;

use rollcall_common::{
    ids::{Sequence, StreamId},
    limits::LATE_ANSWER,
    message::Payload,
    time::Time,
};

use super::{
    Dispatcher,
    answers::fingerprint,
    budget::RetryCost,
    classify::{Failure, Mark},
    effect::{Dispatch, Effect},
    event::AttemptId,
    slot::SlotState,
    timers::Timer,
    worker::{Impediment, WorkerKey},
};
use crate::record::{AttemptReport, Ending, Reason};

/// One attempt that may still answer.
#[derive(Clone, Copy, Debug)]
pub(super) struct Attempt {
    pub(super) stream: StreamId,
    pub(super) sequence: Sequence,
    pub(super) worker: WorkerKey,
    pub(super) number: u32,
    pub(super) reason: Reason,
    pub(super) started_at: Time,
    /// When its time is up, or when it is given up for good once it is late.
    pub(super) deadline: Time,
    pub(super) standing: AttemptState,
    pub(super) pair: HedgeLink,
    pub(super) cost: RetryCost,
    pub(super) suspicion: Suspicion,
    /// Bytes of its message.
    pub(super) bytes: usize,
}

/// What an attempt's answer is worth.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum AttemptState {
    /// It is in time.
    Active,
    /// Its time was up, and it was counted as a failure. Its answer is still welcome.
    TimedOut,
    /// Another answer, this worker's, was accepted; this is a digest of it, to compare with.
    Superseded(u64, WorkerKey),
}

/// Whether an attempt in time has another one beside it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum HedgeLink {
    /// It is the only one.
    Single,
    /// It is the only one left: the other has failed in a way that counts once this one fails.
    PartnerFailed,
    /// The other one.
    Partner(AttemptId),
}

/// What is held against an attempt's message when it goes out.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Suspicion {
    /// Nothing.
    Clean,
    /// A worker died during an earlier attempt.
    Suspect,
}

impl Dispatcher {
    /// Sends a message out. Its slot is there, and holds the message.
    pub(super) fn start_attempt(&mut self, attempt: Attempt) -> Option<AttemptId> {
        let id = AttemptId(self.next_attempt);
        let entry = self.state.stream_mut(attempt.stream);
        let (stream_name, ladder) = (entry.name.clone(), entry.settings.ladder);
        let slot = entry.slot_mut(attempt.sequence)?;
        let message = slot.held.as_ref()?.message.clone();
        slot.state = SlotState::InFlight;
        slot.out.add(id);
        entry.in_flight += 1;
        self.next_attempt += 1;
        self.timers.set(attempt.deadline, Timer::Attempt(id));
        self.roster.call(attempt.worker, attempt.suspicion, attempt.bytes, attempt.started_at);
        self.counters.attempts += 1;
        self.dirty.insert(attempt.stream);
        self.attempts.insert(id, attempt);
        self.effects.push_back(Effect::Dispatch(Dispatch {
            attempt: id,
            stream: attempt.stream,
            stream_name,
            sequence: attempt.sequence,
            message,
            worker: self.roster.worker(attempt.worker).id.clone(),
            number: attempt.number,
            max_attempts: ladder.max_attempts.max(attempt.number),
            reason: attempt.reason,
            timeout: attempt.deadline.since(attempt.started_at),
        }));
        Some(id)
    }

    /// An attempt's time is up. It is not withdrawn: its answer is welcome for as long as there
    /// is none.
    pub(super) fn timed_out(&mut self, id: AttemptId, now: Time) {
        let Some(failed) = self.time_out(id, now) else {
            return;
        };
        self.counters.timeouts += 1;
        // A call that began before the worker's last good answer is not one in a row with others.
        if self.roster.worker(failed.worker).answered_at <= failed.started_at {
            self.impede(failed.worker, Impediment::Hanging, now);
            self.record_failure(failed.worker, Mark::Strike, now);
        }
        self.roster.slow_down(failed.worker, failed.started_at, now);
        let (ending, status, mark) = (Ending::Timeout, None, Mark::Strike);
        let detail = "no answer in time".into();
        self.failed(&failed, &Failure { ending, status, detail, mark }, now);
        self.decide_poison(failed.worker, now);
        self.let_go((failed.stream, failed.sequence));
        // It no longer counts, so another one may go out.
        self.enqueue(failed.stream);
    }

    /// Ends an attempt.
    pub(super) fn finish_attempt(&mut self, id: AttemptId, now: Time) -> Option<Attempt> {
        let attempt = self.attempts.remove(&id)?;
        self.roster.finish_attempt(attempt.worker, attempt.bytes, now);
        let timer = match attempt.standing {
            AttemptState::Active => Timer::Attempt(id),
            AttemptState::Superseded(..) | AttemptState::TimedOut => {
                self.late.remove(attempt.worker, id);
                Timer::Forget(id)
            }
        };
        self.timers.stop(attempt.deadline, timer);
        if let Some(slot) = self.state.stream_mut(attempt.stream).slot_mut(attempt.sequence) {
            slot.out.remove(id);
        }
        if attempt.standing == AttemptState::Active {
            self.uncount(&attempt, now);
            self.enqueue(attempt.stream);
        }
        self.dirty.insert(attempt.stream);
        Some(attempt)
    }

    /// Attempts that have lost: what they still bring is compared with what was accepted. Those
    /// that were in time are copies, and their workers may as well have their hands free. (Those
    /// whose time was up are not withdrawn: contract §4.)
    pub(super) fn supersede(
        &mut self,
        others: &[AttemptId],
        (accepted, winner): (&Payload, WorkerKey),
        now: Time,
    ) {
        for id in others {
            let Some(other) = self.attempts.get_mut(id) else {
                continue;
            };
            let before = *other;
            other.standing = AttemptState::Superseded(fingerprint(accepted), winner);
            if before.standing == AttemptState::Active {
                other.deadline = before.started_at + LATE_ANSWER;
                self.timers.stop(before.deadline, Timer::Attempt(*id));
                self.timers.set(other.deadline, Timer::Forget(*id));
                self.late.add(before.worker, *id);
                self.uncount(&before, now);
                self.cancel(*id, before.worker);
            }
        }
    }

    fn cancel(&mut self, attempt: AttemptId, worker: WorkerKey) {
        let worker = Arc::clone(&self.roster.worker(worker).id);
        self.effects.push_back(Effect::Cancel { attempt, worker });
    }

    /// Attempts of a message that a person has decided are given up; gives back those that were in
    /// time.
    pub(super) fn give_up(
        &mut self,
        stream: StreamId,
        sequence: Sequence,
        now: Time,
    ) -> Vec<AttemptReport> {
        let slot = self.state.stream(stream).slot(sequence);
        let out: Vec<AttemptId> = slot.map(|slot| slot.out.iter().collect()).unwrap_or_default();
        let mut reports = Vec::new();
        for id in out {
            let Some(attempt) = self.end_call(id, now) else { continue };
            if attempt.standing == AttemptState::Active {
                let given_up = (Ending::Cancelled, None);
                reports.push(self.report(&attempt, given_up, "a person decided", now));
            }
        }
        reports
    }

    /// Attempts of a message that is decided without them: they no longer count, and their
    /// answers are still welcome.
    pub(super) fn stop_counting(&mut self, stream: StreamId, sequence: Sequence, now: Time) {
        let slot = self.state.stream(stream).slot(sequence);
        let out: Vec<AttemptId> = slot.map(|slot| slot.out.iter().collect()).unwrap_or_default();
        for id in out {
            self.time_out(id, now);
        }
    }

    /// Whether the other one of a pair is still in time. From now on it is alone; `owing` says
    /// whether this one's failure counts once it fails too.
    pub(super) fn survives(&mut self, attempt: &Attempt, owing: HedgeLink) -> bool {
        let HedgeLink::Partner(id) = attempt.pair else {
            return false;
        };
        match self.attempts.get_mut(&id) {
            Some(other) if other.standing == AttemptState::Active => {
                other.pair = owing;
                true
            }
            Some(_) | None => false,
        }
    }

    /// Makes an attempt late that was in time.
    fn time_out(&mut self, id: AttemptId, now: Time) -> Option<Attempt> {
        let attempt = self.attempts.get_mut(&id)?;
        if attempt.standing != AttemptState::Active {
            return None;
        }
        let before = *attempt;
        (attempt.standing, attempt.deadline) = (AttemptState::TimedOut, now + LATE_ANSWER);
        let late = *attempt;
        self.timers.stop(before.deadline, Timer::Attempt(id));
        self.timers.set(late.deadline, Timer::Forget(id));
        self.late.add(late.worker, id);
        self.uncount(&before, now);
        Some(late)
    }

    fn uncount(&mut self, attempt: &Attempt, now: Time) {
        self.state.stream_mut(attempt.stream).in_flight -= 1;
        self.roster.uncount(attempt.worker, attempt.suspicion, now);
    }
}
