//! One message between the oldest unreleased one of its stream and the newest dispatched one.

use std::sync::Arc;

use rollcall_common::{ids::Sequence, limits::ATTEMPT_HISTORY, message::Message, time::Time};

use super::event::AttemptId;
use crate::record::{AttemptReport, Ending, MessageRef, Outcome, ParkCause, Reason};

/// Where a message stands.
#[derive(Clone, Debug)]
pub(super) enum SlotState {
    /// It has its result, or its skip.
    Done { skipped: bool },
    /// It is with a worker.
    InFlight,
    /// It is to be dispatched.
    Idle,
    /// It waits for a person.
    Parked(Box<Parking>),
    /// It waits for its next attempt.
    Waiting { due: Time },
}

impl SlotState {
    /// That of a message that came by its result like this.
    pub(super) fn done(outcome: Outcome) -> Self {
        Self::Done { skipped: outcome == Outcome::Skipped }
    }
}

/// A message in memory.
#[derive(Clone, Debug)]
pub(super) struct Held {
    pub(super) accepted_at: Time,
    pub(super) message: Arc<Message>,
}

/// A parked message.
#[derive(Clone, Debug)]
pub struct Parking {
    /// Which message.
    pub head: MessageRef,
    /// Since when.
    pub at: Time,
    /// Why, in a word.
    pub cause: ParkCause,
    /// Why, for people.
    pub reason: Box<str>,
}

/// Two workers said different things of one message.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Divergence {
    /// Which message.
    pub sequence: Sequence,
    /// When the later answer came.
    pub at: Time,
    /// Whose answer was accepted.
    pub accepted: Arc<str>,
    /// Whose was another.
    pub other: Arc<str>,
}

/// A message that was dispatched, or has records.
#[derive(Debug)]
pub(super) struct Slot {
    pub(super) state: SlotState,
    /// The message, while it may be dispatched. Soft: it is read back when it isn't there.
    pub(super) held: Option<Held>,
    /// What identified it when it was parked: a late answer may come before it is read back.
    pub(super) known: Option<MessageRef>,
    /// What identified it when it was let go, for want of room. Soft.
    pub(super) left: Option<Box<MessageRef>>,
    /// When its next attempt is, or was, due: its state may have gone on since.
    pub(super) due: Option<Time>,
    pub(super) failures: u32,
    /// Tries that did not count, since the last one that did.
    pub(super) rounds: u32,
    /// Attempts that may still answer. Soft.
    pub(super) out: Out,
    /// Whether the next attempt is one that a person asked for.
    pub(super) manual: bool,
    /// What records say of its attempts.
    pub(super) counted: Trials,
    /// What this process alone knows of its attempts: no record speaks of it. Soft.
    pub(super) noted: Option<Box<Trials>>,
    /// When the first attempt began that failed, since a person last sent it back.
    pub(super) tried_since: Option<Time>,
    /// The worker that was tried last. Soft.
    pub(super) last_tried: Option<Arc<str>>,
    /// What speaks against it; nearly always nothing.
    pub(super) suspicion: Option<Box<Suspicion>>,
}

/// What is known of a message's attempts that are over.
#[derive(Clone, Debug, Default)]
pub(super) struct Trials {
    /// The worker that refused it for good.
    pub(super) refused_by: Option<Arc<str>>,
    /// Workers that were tried since a person last sent it back.
    pub(super) tried: Vec<Arc<str>>,
    /// The attempts, the oldest first.
    pub(super) history: Vec<Arc<AttemptReport>>,
}

/// What speaks against a message.
#[derive(Debug, Default)]
pub(super) struct Suspicion {
    /// The workers that died during its attempts, each once.
    deaths: Vec<Arc<str>>,
    /// Since when it waits for a worker without another suspect. Soft.
    apart_since: Option<Time>,
}

impl Slot {
    /// Whether it is to be dispatched, and its message is not at hand.
    pub(super) fn is_without_message(&self) -> bool {
        matches!(self.state, SlotState::Idle) && self.held.is_none()
    }

    pub(super) fn new() -> Self {
        Self {
            state: SlotState::Idle,
            held: None,
            known: None,
            left: None,
            due: None,
            failures: 0,
            rounds: 0,
            out: Out::default(),
            manual: false,
            counted: Trials::default(),
            noted: None,
            tried_since: None,
            last_tried: None,
            suspicion: None,
        }
    }

    /// It has its result, in whose record the rest stands. Gives back the message, if it held it.
    pub(super) fn settle(&mut self, outcome: Outcome) -> Option<Held> {
        let out = std::mem::take(&mut self.out);
        let settled = Self { state: SlotState::done(outcome), out, ..Self::new() };
        std::mem::replace(self, settled).held
    }

    /// Lets go of a message that waits: it is read back when its turn comes. Gives it back, if it
    /// was there.
    pub(super) fn let_go(&mut self) -> Option<Held> {
        let waits = matches!(self.state, SlotState::Idle | SlotState::Waiting { .. });
        if !waits || self.held.is_none() {
            return None;
        }
        self.left = self.head().map(Box::new);
        self.held.take()
    }

    /// An attempt failed in a way that counts.
    pub(super) fn fail(&mut self, due: Time, report: &Arc<AttemptReport>) {
        self.failures += 1;
        self.rounds = 0;
        self.state = SlotState::Waiting { due };
        self.due = Some(due);
        self.tried_since.get_or_insert(report.started_at);
        self.last_tried = Some(Arc::clone(&report.worker));
        self.counted.tried.retain(|other| *other != report.worker);
        self.counted.tried.push(Arc::clone(&report.worker));
        if self.counted.history.len() >= ATTEMPT_HISTORY {
            // How it began, and how it goes, tell more than what was between.
            self.counted.history.remove(ATTEMPT_HISTORY / 2);
        }
        self.counted.history.push(Arc::clone(report));
        if report.ending == Ending::Refused {
            self.counted.refused_by = Some(Arc::clone(&report.worker));
        }
    }

    /// Notes an attempt that ended without its counting, or whose counting waits for its partner.
    pub(super) fn note(&mut self, report: AttemptReport) {
        self.last_tried = Some(Arc::clone(&report.worker));
        let known = self.counted.history.len();
        let noted = self.noted.get_or_insert_default();
        if !noted.tried.contains(&report.worker) {
            noted.tried.push(Arc::clone(&report.worker));
        }
        if report.ending == Ending::Refused {
            noted.refused_by = Some(Arc::clone(&report.worker));
        }
        if noted.history.len() + known < ATTEMPT_HISTORY {
            noted.history.push(Arc::new(report));
        }
    }

    /// Workers that were tried since a person last sent it back, whether that counted or not. The
    /// last one is the one that was tried last.
    pub(super) fn tried(&self) -> Vec<Arc<str>> {
        let noted = self.noted.iter().flat_map(|noted| &noted.tried);
        let all = self.counted.tried.iter().chain(noted);
        let others = all.filter(|worker| Some(*worker) != self.last_tried.as_ref());
        others.chain(&self.last_tried).cloned().collect()
    }

    /// Whether a worker other than this one has refused it for good.
    pub(super) fn is_refused_by_another(&self, worker: &str) -> bool {
        let noted = self.noted.as_ref().and_then(|noted| noted.refused_by.as_ref());
        self.counted.refused_by.iter().chain(noted).any(|other| **other != *worker)
    }

    /// The attempts that are over, whether they counted or not, in the order of their ends.
    pub(super) fn history(&self) -> Vec<Arc<AttemptReport>> {
        let mut all = self.counted.history.clone();
        if let Some(noted) = &self.noted {
            all.extend(noted.history.iter().cloned());
            all.sort_by_key(|report| report.ended_at);
        }
        all
    }

    /// A person sent it back to the workers.
    pub(super) fn start_over(&mut self) {
        self.known = self.head();
        self.state = SlotState::Idle;
        (self.failures, self.rounds, self.manual) = (0, 0, true);
        self.due = None;
        for trials in [Some(&mut self.counted), self.noted.as_deref_mut()].into_iter().flatten() {
            trials.tried.clear();
            trials.refused_by = None;
        }
        (self.tried_since, self.last_tried) = (None, None);
        self.suspicion = None;
    }

    /// A worker died during one of its attempts.
    pub(super) fn suspect(&mut self, worker: &Arc<str>) {
        let suspicion = self.suspicion.get_or_insert_default();
        suspicion.deaths.push(Arc::clone(worker));
    }

    /// The workers that died during its attempts, each once.
    pub(super) fn deaths(&self) -> &[Arc<str>] {
        self.suspicion.as_ref().map_or(&[], |suspicion| &suspicion.deaths)
    }

    /// Since when it waits for a worker without another suspect: since now, if it didn't yet.
    pub(super) fn apart_since(&mut self, now: Time) -> Time {
        *self.suspicion.get_or_insert_default().apart_since.get_or_insert(now)
    }

    /// It waits no longer.
    pub(super) fn found_worker(&mut self) {
        if let Some(suspicion) = &mut self.suspicion {
            suspicion.apart_since = None;
        }
    }

    /// Why its next attempt is made.
    pub(super) fn next_reason(&self) -> Reason {
        match (self.manual, self.failures) {
            (true, _) => Reason::Manual,
            (false, 0) => Reason::First,
            (false, _) => Reason::Retry,
        }
    }

    /// Why it waits for a person, if it does.
    pub(super) fn parking(&self) -> Option<&Parking> {
        if let SlotState::Parked(parking) = &self.state { Some(parking) } else { None }
    }

    /// What identifies the message, where that is known: while it is held, parked, or was sent
    /// back by a person, and from when on it was held and let go.
    pub(super) fn head(&self) -> Option<MessageRef> {
        match (&self.held, &self.state) {
            (Some(held), _) => {
                Some(MessageRef { id: held.message.id, accepted_at: held.accepted_at })
            }
            (None, SlotState::Parked(parking)) => Some(parking.head),
            (None, _) => self.left.as_deref().copied().or(self.known),
        }
    }
}

/// A set of attempts; nearly always one, which needs no allocation.
#[derive(Clone, Debug, Default)]
pub(super) struct Out {
    one: Option<AttemptId>,
    more: Vec<AttemptId>,
}

impl Out {
    pub(super) fn add(&mut self, attempt: AttemptId) {
        match self.one {
            None => self.one = Some(attempt),
            Some(_) => self.more.push(attempt),
        }
    }

    pub(super) fn remove(&mut self, attempt: AttemptId) {
        if self.one == Some(attempt) {
            self.one = self.more.pop();
        } else {
            self.more.retain(|other| *other != attempt);
        }
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = AttemptId> + '_ {
        self.one.iter().chain(&self.more).copied()
    }
}
