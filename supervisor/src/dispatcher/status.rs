//! What the dispatcher tells of itself.

use std::sync::Arc;

use rollcall_common::{
    ids::{Position, Sequence, StreamId, StreamName},
    limits::FAILING_SHOWN,
    time::Time,
};

use super::{
    Dispatcher,
    event::AttemptId,
    health::Rate,
    slot::{Divergence, Parking, SlotState},
    worker::Worker,
};
use crate::record::{AttemptReport, Gap, Origin, PauseReason, SubscriptionId, SubscriptionSpec};

/// Totals since the process began.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Counters {
    /// Messages taken in.
    pub accepted: u64,
    /// Messages whose key had been seen.
    pub duplicates: u64,
    /// Requests refused.
    pub refused: u64,
    /// Attempts made.
    pub attempts: u64,
    /// Attempts that failed in a way that counts.
    pub failures: u64,
    /// Attempts whose time was up.
    pub timeouts: u64,
    /// Late attempts that were given up because somebody needed their places.
    pub given_up: u64,
    /// Outages of pools that have begun.
    pub outages: u64,
    /// Outages of pools that are over.
    pub outages_over: u64,
    /// Probes of workers in outages.
    pub probes: u64,
    /// Attempts that were turned away without counting.
    pub rejected_uncounted: u64,
    /// Answers accepted.
    pub completed: u64,
    /// Answers that came after one was accepted.
    pub late_answers: u64,
    /// Those of them that differed from it.
    pub diverging_answers: u64,
    /// Messages parked.
    pub parked: u64,
    /// Parked messages skipped by the stream's settings.
    pub skipped: u64,
    /// Results released.
    pub released: u64,
    /// Results that destinations took.
    pub delivered: u64,
    /// Requests that destinations did not take.
    pub undelivered: u64,
    /// Places where a result was missing when results were handed out.
    pub gaps: u64,
    /// Streams and subscriptions that were paused because they contradict the journal.
    pub quarantined: u64,
    /// Workers taken out.
    pub ejections: u64,
    /// Notices of alerts that were taken.
    pub notifications_sent: u64,
    /// Notices of alerts that were not.
    pub notifications_failed: u64,
    /// Workers that came back early because no other one of their pool was able.
    pub readmissions: u64,
    /// Retries that had to wait for the budget.
    pub retries_deferred: u64,
    /// Copies of slow attempts.
    pub hedges: u64,
    /// Those of them whose answer was accepted.
    pub hedges_won: u64,
    /// Messages parked because workers died of them.
    pub poison_suspected: u64,
    /// Snapshots written.
    pub snapshots: u64,
    /// Messages and results copied, because the place where they lay was trimmed away.
    pub copied: u64,
}

/// Why a stream stands where it stands.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Cause {
    /// No worker is fit.
    NoWorker,
    /// Its head waits for a person.
    Parked,
    /// A person told it to.
    Paused,
    /// Its pool fails whatever it is given.
    PoolOutage,
    /// Its head waits for, or is at, another attempt.
    Retrying,
    /// Its head waits for its turn or for its worker.
    Waiting,
}

impl Cause {
    /// The word that the outside sees.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::NoWorker => "no_worker",
            Self::Parked => "parked",
            Self::Paused => "paused",
            Self::PoolOutage => "pool_outage",
            Self::Retrying => "retrying",
            Self::Waiting => "waiting",
        }
    }
}

/// Whether a stream has room for new messages.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Room {
    /// It takes at least one more.
    Enough,
    /// It has as many unreleased ones as it may have, and refuses new ones.
    Full,
}

/// A stream, as people want to see it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct StreamStatus {
    /// The sequence that the next message gets.
    pub next: Sequence,
    /// The last released one; 0 when there is none.
    pub released: Sequence,
    /// Calls that are out.
    pub in_flight: u32,
    /// Answered, not yet their turn.
    pub waiting: u32,
    /// Waiting for a person.
    pub parked: u32,
    /// Whether it stands because a person told it to.
    pub paused: bool,
    /// Whether it takes new messages.
    pub room: Room,
    /// Why it stands where it stands; absent when nothing waits.
    pub cause: Option<Cause>,
}

/// Where an unreleased message stands.
#[derive(Clone, Debug)]
pub enum MessageState {
    /// Taken in, not yet dispatched.
    Accepted,
    /// Answered, waiting for its turn.
    Completed,
    /// With a worker, for the first time.
    Dispatched,
    /// Waiting for a person.
    Parked(Parking),
    /// It failed, and is or will be tried again.
    Retrying,
}

/// What a subscription is given.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Mode {
    /// What is new.
    Live,
    /// What was there when it was created.
    Replaying,
}

impl Mode {
    /// The word that the outside sees.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Live => "live",
            Self::Replaying => "replaying",
        }
    }
}

/// A subscription, as people want to see it.
#[derive(Clone, Debug)]
pub struct SubscriptionStatus {
    /// Its name.
    pub name: Arc<str>,
    /// The last position of which the destination has all up to it.
    pub checkpoint: Position,
    /// Whether it has yet to reach the head as it stood when it was created or rewound.
    pub mode: Mode,
    /// What it is meant to do.
    pub plan: Arc<SubscriptionSpec>,
    /// Why it stands still.
    pub paused: Option<PauseReason>,
    /// Streams that the destination keeps refusing.
    pub held: Vec<StreamName>,
    /// Streams that stand because their next result was tried and not taken, some of them.
    pub failing: Vec<FailingStream>,
    /// Whether it refuses whatever it is given.
    pub outage: bool,
    /// What the destination last said when it did not take something that it has not taken since.
    pub last_error: Option<Box<str>>,
    /// Since when there is something that was tried and is not taken.
    pub failing_since: Option<Time>,
    /// Requests in a row that failed.
    pub failures: u32,
    /// A hole that was found in what was to be handed out.
    pub gap: Option<Gap>,
    /// What went out lately.
    pub rate: Rate,
    /// Results up to here are replayed.
    pub replay_until: Position,
    /// Grows whenever its senders are called back.
    pub revision: u32,
    /// How often it was rewound.
    pub generation: u32,
}

/// A stream whose next result was tried and not taken.
#[derive(Clone, Debug)]
pub struct FailingStream {
    /// The stream.
    pub stream: StreamName,
    /// The result.
    pub sequence: Sequence,
    /// How often it was tried.
    pub tries: u32,
    /// Whether the stream is held for it.
    pub held: bool,
    /// What the destination said last.
    pub error: Box<str>,
    /// When it is tried again, where that is known.
    pub next_try: Option<Time>,
}

impl SubscriptionStatus {
    /// Why it stands still, in the word that the outside sees.
    #[must_use]
    pub fn paused_reason(&self) -> Option<&'static str> {
        match self.plan.origin {
            Origin::Unconfigured => Some("unconfigured"),
            Origin::Api | Origin::Configuration => self.paused.map(PauseReason::as_str),
        }
    }
}

impl Dispatcher {
    /// Totals since the process began.
    #[must_use]
    pub fn counters(&self) -> &Counters {
        &self.counters
    }

    /// Streams whose status may have changed since the last call.
    pub fn take_dirty(&mut self) -> impl Iterator<Item = StreamId> + use<> {
        std::mem::take(&mut self.dirty).into_iter()
    }

    /// The workers, with their pools' names.
    pub fn workers(&self) -> impl Iterator<Item = (&Arc<str>, &Worker)> {
        self.roster.workers()
    }

    /// The worker `id`.
    #[must_use]
    pub fn worker(&self, id: &str) -> Option<&Worker> {
        self.roster.find(id).map(|key| self.roster.worker(key))
    }

    /// Whether an attempt may still answer.
    #[must_use]
    pub fn is_out_there(&self, attempt: AttemptId) -> bool {
        self.attempts.contains_key(&attempt)
    }

    /// Whether a worker is remembered, by its name.
    #[must_use]
    pub fn remembers(&self, worker: &str) -> bool {
        self.roster.find(worker).is_some()
    }

    /// A stream's status.
    #[must_use]
    pub fn stream_status(&self, stream: StreamId) -> StreamStatus {
        let entry = self.state.stream(stream);
        StreamStatus {
            next: entry.next,
            released: entry.released,
            in_flight: entry.in_flight,
            waiting: entry.waiting,
            parked: u32::try_from(entry.parked.len()).unwrap_or(u32::MAX),
            paused: entry.paused,
            room: if entry.backlog() < entry.settings.max_backlog {
                Room::Enough
            } else {
                Room::Full
            },
            cause: (entry.backlog() > 0).then(|| self.cause(stream)),
        }
    }

    fn cause(&self, stream: StreamId) -> Cause {
        let entry = self.state.stream(stream);
        if entry.paused {
            return Cause::Paused;
        }
        let front = entry.front().map(|slot| (&slot.state, slot.failures));
        if let Some((SlotState::Parked(_), _)) = front {
            return Cause::Parked;
        }
        if entry.pool.is_some_and(|pool| self.is_out(pool)) {
            return Cause::PoolOutage;
        }
        if entry.pool.is_some_and(|pool| self.unserved.is_told(pool)) {
            return Cause::NoWorker;
        }
        let idle = match front {
            None | Some((SlotState::Idle, _)) => true,
            // It has not failed: all who were asked turned it away, or were not there.
            Some((SlotState::Waiting { .. }, 0)) => true,
            Some((SlotState::Waiting { .. }, _)) => return Cause::Retrying,
            Some((SlotState::InFlight, failures)) if failures > 0 => return Cause::Retrying,
            Some((SlotState::InFlight | SlotState::Done { .. } | SlotState::Parked(_), _)) => false,
        };
        let fit = entry.pool.is_none_or(|pool| self.roster.has_fit(pool));
        let busy = entry.pool.is_some_and(|pool| self.roster.is_busy(pool));
        if idle && !fit && !busy { Cause::NoWorker } else { Cause::Waiting }
    }

    /// Where an unreleased message stands, and the attempts that are over (of one that has its
    /// answer, they are there). `None` when it is released or not there.
    #[must_use]
    pub fn message_state(
        &self,
        stream: StreamId,
        sequence: Sequence,
    ) -> Option<(MessageState, Vec<Arc<AttemptReport>>)> {
        let entry = self.state.stream(stream);
        if sequence <= entry.released || sequence >= entry.next {
            return None;
        }
        let Some(slot) = entry.slot(sequence) else {
            let done = entry.is_done(sequence);
            let state = if done { MessageState::Completed } else { MessageState::Accepted };
            return Some((state, Vec::new()));
        };
        let state = match &slot.state {
            SlotState::Done { .. } => MessageState::Completed,
            SlotState::Parked(parking) => MessageState::Parked((**parking).clone()),
            SlotState::Waiting { .. } => MessageState::Retrying,
            SlotState::InFlight if slot.failures == 0 => MessageState::Dispatched,
            SlotState::InFlight => MessageState::Retrying,
            SlotState::Idle if slot.failures == 0 => MessageState::Accepted,
            SlotState::Idle => MessageState::Retrying,
        };
        Some((state, slot.history()))
    }

    /// Attempts of a message that are still out: number, worker, reason, start.
    pub fn attempts_out(&self, stream: StreamId, sequence: Sequence) -> Vec<AttemptReport> {
        let slot = self.state.stream(stream).slot(sequence);
        let ids = slot.map(|slot| slot.out.iter().collect::<Vec<_>>()).unwrap_or_default();
        let out = ids.iter().filter_map(|id| self.attempts.get(id));
        out.filter(|attempt| attempt.standing == super::attempts::AttemptState::Active)
            .map(|attempt| AttemptReport {
                attempt: attempt.number,
                worker: Arc::clone(&self.roster.worker(attempt.worker).id),
                reason: attempt.reason,
                started_at: attempt.started_at,
                ended_at: Time::default(),
                ending: crate::record::Ending::Accepted,
                status: None,
                detail: "".into(),
            })
            .collect()
    }

    /// The last message of a stream of which two workers said different things, since the process
    /// began.
    #[must_use]
    pub fn divergence(&self, stream: StreamId) -> Option<&Divergence> {
        self.state.stream(stream).divergence.as_deref()
    }

    /// The parked messages, in the order of their streams' numbers.
    pub fn parked(&self) -> impl Iterator<Item = (StreamId, Sequence, &Parking, u32)> {
        self.parked_after((StreamId(0), Sequence(0)))
    }

    /// The same, after that place.
    pub fn parked_after(
        &self,
        (first, after): (StreamId, Sequence),
    ) -> impl Iterator<Item = (StreamId, Sequence, &Parking, u32)> {
        self.state.parked.range(first..).flat_map(move |id| {
            let (id, stream) = (*id, self.state.stream(*id));
            let after = if id == first { after } else { Sequence(0) };
            stream.parked.above(after).filter_map(move |sequence| {
                let slot = stream.slot(sequence)?;
                match &slot.state {
                    SlotState::Parked(parking) => Some((id, sequence, &**parking, slot.failures)),
                    SlotState::Done { .. }
                    | SlotState::InFlight
                    | SlotState::Idle
                    | SlotState::Waiting { .. } => None,
                }
            })
        })
    }

    /// A subscription's status.
    #[must_use]
    pub fn subscription_status(&self, id: SubscriptionId) -> Option<SubscriptionStatus> {
        let entry = self.state.subscriptions.get(&id)?;
        let checkpoint = entry.checkpoint(self.state.head);
        let name = |stream| self.state.stream(stream).name.clone();
        let failing = entry.health.troubled().iter().take(FAILING_SHOWN).filter_map(|stream| {
            let cursor = entry.cursors.get(stream)?;
            Some(FailingStream {
                stream: name(*stream),
                sequence: cursor.next,
                tries: cursor.tries,
                held: cursor.is_held() && !entry.health.outage,
                error: cursor.error.clone().unwrap_or_default(),
                next_try: cursor.due().or(entry.health.closed_until),
            })
        });
        Some(SubscriptionStatus {
            name: Arc::clone(&entry.name),
            checkpoint,
            mode: if checkpoint < entry.replay_until { Mode::Replaying } else { Mode::Live },
            plan: Arc::clone(&entry.plan),
            paused: entry.paused,
            held: entry.held().map(|(stream, _)| name(stream)).collect(),
            failing: failing.collect(),
            outage: entry.health.outage,
            last_error: entry.health.last_error.clone(),
            failing_since: entry.health.failing_since,
            failures: entry.health.failures,
            gap: entry.gap.clone(),
            rate: entry.rate,
            replay_until: entry.replay_until,
            revision: entry.revision,
            generation: entry.generation,
        })
    }
}
