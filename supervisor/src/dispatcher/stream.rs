//! One stream: its counters, and the resequencer, a ring with a slot for each message between
//! the oldest unreleased one and the newest dispatched one. What is beyond has no slot: memory
//! grows with the window, not with the backlog.

use std::{collections::VecDeque, sync::Arc};

use rollcall_common::{
    ids::{Sequence, StreamName},
    limits::ATTEMPT_HISTORY,
    message::Message,
    time::Time,
};

use super::{event::AttemptId, pool::PoolKey, sequences::Sequences, settings::StreamSettings};
use crate::record::{AttemptReport, Ending, Head, ParkCause, SubscriptionId};

/// Where a message stands.
#[derive(Clone, Debug)]
pub(super) enum SlotState {
    /// It has its result, or its skip.
    Done { skipped: bool },
    /// It is with a worker.
    Flying,
    /// It is to be dispatched.
    Idle,
    /// It waits for a person.
    Parked(Box<Parking>),
    /// It waits for its next attempt.
    Waiting { due: Time },
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
    pub head: Head,
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
    pub(super) known: Option<Head>,
    /// When its next attempt is, or was, due: its state may have gone on since.
    pub(super) due: Option<Time>,
    pub(super) failures: u32,
    /// Tries that did not count, since the last one that did.
    pub(super) rounds: u32,
    /// Attempts that may still answer. Soft.
    pub(super) out: Out,
    /// Whether the next attempt is one that a person asked for.
    pub(super) manual: bool,
    pub(super) refused_by: Option<Arc<str>>,
    pub(super) tried: Vec<Arc<str>>,
    pub(super) history: Vec<Arc<AttemptReport>>,
    /// What speaks against it; nearly always nothing.
    pub(super) suspicion: Option<Box<Suspicion>>,
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
    fn new() -> Self {
        Self {
            state: SlotState::Idle,
            held: None,
            known: None,
            due: None,
            failures: 0,
            rounds: 0,
            out: Out::default(),
            manual: false,
            refused_by: None,
            tried: Vec::new(),
            history: Vec::new(),
            suspicion: None,
        }
    }
}

impl Slot {
    /// An attempt failed in a way that counts.
    pub(super) fn fail(&mut self, due: Time, report: &Arc<AttemptReport>) {
        self.failures += 1;
        self.rounds = 0;
        self.state = SlotState::Waiting { due };
        self.due = Some(due);
        self.tried.push(Arc::clone(&report.worker));
        self.history.push(Arc::clone(report));
        if report.ending == Ending::Refused {
            self.refused_by = Some(Arc::clone(&report.worker));
        }
    }

    /// An attempt ended without its counting, or not yet. Soft.
    pub(super) fn note(&mut self, report: AttemptReport) {
        if !self.tried.contains(&report.worker) {
            self.tried.push(Arc::clone(&report.worker));
        }
        if report.ending == Ending::Refused {
            self.refused_by = Some(Arc::clone(&report.worker));
        }
        if self.history.len() < ATTEMPT_HISTORY {
            self.history.push(Arc::new(report));
        }
    }

    /// A person sent it back to the workers.
    pub(super) fn start_over(&mut self) {
        self.known = self.head();
        self.state = SlotState::Idle;
        (self.failures, self.rounds, self.manual) = (0, 0, true);
        self.due = None;
        self.tried.clear();
        self.refused_by = None;
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

    /// Why it waits for a person, if it does.
    pub(super) fn parking(&self) -> Option<&Parking> {
        if let SlotState::Parked(parking) = &self.state { Some(parking) } else { None }
    }

    /// What identifies the message, where that is known: while it is held, parked, or was sent
    /// back by a person.
    pub(super) fn head(&self) -> Option<Head> {
        match (&self.held, &self.state) {
            (Some(held), _) => Some(Head { id: held.message.id, accepted_at: held.accepted_at }),
            (None, SlotState::Parked(parking)) => Some(parking.head),
            (None, _) => self.known,
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

/// One stream.
#[derive(Debug)]
pub(super) struct Stream {
    pub(super) name: StreamName,
    pub(super) settings: Arc<StreamSettings>,
    /// The pool that the settings name; `None`: no processing step.
    pub(super) pool: Option<PoolKey>,
    /// The sequence that the next message gets.
    pub(super) next: Sequence,
    /// The last released one; 0 when there is none.
    pub(super) released: Sequence,
    /// How many of the last released ones were skipped, one behind the other.
    pub(super) skips: u32,
    pub(super) paused: bool,
    /// Since when its oldest unreleased message is the oldest.
    pub(super) head_since: Time,
    /// `slots[i]` is message `released + 1 + i`.
    pub(super) slots: VecDeque<Slot>,
    /// Answered, not yet their turn.
    pub(super) waiting: u32,
    /// The parked ones.
    pub(super) parked: Sequences,
    /// Push subscriptions that get its results.
    pub(super) subscriptions: Box<[SubscriptionId]>,
    // Soft from here on.
    /// The first message that was not looked at for dispatch.
    pub(super) cursor: Sequence,
    /// Messages behind the cursor that are to be dispatched now.
    pub(super) again: Sequences,
    /// Attempts in time.
    pub(super) in_flight: u32,
    /// The last late answer that differed from the accepted one.
    pub(super) divergence: Option<Box<Divergence>>,
    /// What it waits for at the moment.
    pub(super) turn: Turn,
    /// When somebody looks whether the head stands still.
    pub(super) head_watch: Alarm,
}

/// A moment, or none, in half of the room of an `Option`: there is one for each stream.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Alarm(Time);

impl Alarm {
    /// At a moment after 1970, as all are.
    pub(super) const fn at(time: Time) -> Self {
        Self(time)
    }

    /// The moment, if there is one.
    pub(super) fn get(self) -> Option<Time> {
        (self.0 > Time::default()).then_some(self.0)
    }
}

/// What a stream waits for before it may dispatch.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Turn {
    /// A message is being read back from the journal.
    Fetching,
    /// It stands in no queue.
    None,
    /// It stands in its pool's queue.
    Queued,
}

impl Stream {
    pub(super) fn new(name: StreamName, settings: Arc<StreamSettings>) -> Self {
        Self {
            name,
            settings,
            pool: None,
            next: Sequence::FIRST,
            released: Sequence(0),
            skips: 0,
            paused: false,
            head_since: Time::default(),
            slots: VecDeque::new(),
            waiting: 0,
            parked: Sequences::default(),
            subscriptions: Box::default(),
            cursor: Sequence::FIRST,
            again: Sequences::default(),
            in_flight: 0,
            divergence: None,
            turn: Turn::None,
            head_watch: Alarm::default(),
        }
    }

    /// Messages that are not released.
    pub(super) fn backlog(&self) -> u64 {
        self.next.0 - 1 - self.released.0
    }

    pub(super) fn slot(&self, sequence: Sequence) -> Option<&Slot> {
        self.slots.get(self.offset(sequence)?)
    }

    pub(super) fn slot_mut(&mut self, sequence: Sequence) -> Option<&mut Slot> {
        let offset = self.offset(sequence)?;
        self.slots.get_mut(offset)
    }

    /// How many slots there are.
    pub(super) fn slot_count(&self) -> usize {
        self.slots.len()
    }

    /// The slots with their messages' sequences.
    pub(super) fn numbered_slots(&self) -> impl Iterator<Item = (Sequence, &Slot)> {
        (self.released.0 + 1..).map(Sequence).zip(&self.slots)
    }

    /// Bytes of messages that the slots hold.
    pub(super) fn held_bytes(&self) -> usize {
        let held = self.slots.iter().filter_map(|slot| slot.held.as_ref());
        held.map(|held| held.message.weight()).sum()
    }

    /// The slot of an unreleased message; the ring grows up to it.
    pub(super) fn reach(&mut self, sequence: Sequence) -> Option<&mut Slot> {
        let offset = self.offset(sequence)?;
        while self.slots.len() <= offset {
            self.slots.push_back(Slot::new());
        }
        self.slots.get_mut(offset)
    }

    /// The oldest unreleased message, if it has a slot.
    pub(super) fn front(&self) -> Option<&Slot> {
        self.slots.front()
    }

    /// Takes out the oldest message if its result is there and the stream does not stand still:
    /// its sequence, and whether it was skipped.
    pub(super) fn release(&mut self) -> Option<(Sequence, bool)> {
        let SlotState::Done { skipped } = self.slots.front()?.state else {
            return None;
        };
        if self.paused {
            return None;
        }
        self.slots.pop_front();
        self.waiting -= 1;
        self.released = self.released.next();
        self.skips = if skipped { self.skips.saturating_add(1) } else { 0 };
        self.cursor = self.cursor.max(self.released.next());
        if self.slots.is_empty() {
            // Room for four slots is more than all else of an idle stream.
            self.slots = VecDeque::new();
        }
        Some((self.released, skipped))
    }

    /// Takes the next message that is to be dispatched now, if the window has room for it:
    /// what is due again before what is new, and the oldest first.
    pub(super) fn take_ready(&mut self) -> Option<Sequence> {
        if let Some(sequence) = self.again.pop_first() {
            return Some(sequence);
        }
        while self.window_has_room() {
            let sequence = self.cursor;
            self.cursor = sequence.next();
            if self.slot(sequence).is_none_or(|slot| matches!(slot.state, SlotState::Idle)) {
                return Some(sequence);
            }
        }
        None
    }

    /// Takes the next message that passes, in a stream without a processing step.
    pub(super) fn take_passing(&mut self) -> Option<Sequence> {
        while let Some(sequence) = self.again.pop_first() {
            // A late answer may have come while it stood in line.
            let slot = self.slot(sequence);
            if slot.is_some_and(|slot| matches!(slot.state, SlotState::Idle)) {
                return Some(sequence);
            }
        }
        while self.cursor < self.next {
            let sequence = self.cursor;
            self.cursor = sequence.next();
            if self.slot(sequence).is_none_or(|slot| matches!(slot.state, SlotState::Idle)) {
                return Some(sequence);
            }
        }
        None
    }

    /// The last message that the window reaches now.
    pub(super) fn window_end(&self) -> Sequence {
        Sequence((self.released.0 + u64::from(self.settings.window)).min(self.next.0 - 1))
    }

    /// Messages that wait for their next attempt, and since when it is due.
    pub(super) fn due_slots(&self) -> Vec<(Sequence, Time)> {
        let mut sequence = self.released;
        let mut due_slots = Vec::new();
        for slot in &self.slots {
            sequence = sequence.next();
            if let SlotState::Waiting { due } = slot.state {
                due_slots.push((sequence, due));
            }
        }
        due_slots
    }

    /// Whether there may be something to dispatch now.
    pub(super) fn wants_turn(&self) -> bool {
        !self.paused
            && self.in_flight < self.settings.max_in_flight
            && (!self.again.is_empty() || self.window_has_room())
    }

    fn window_has_room(&self) -> bool {
        self.cursor < self.next
            && self.cursor.0 <= self.released.0 + u64::from(self.settings.window)
    }

    fn offset(&self, sequence: Sequence) -> Option<usize> {
        let ahead = sequence.0.checked_sub(self.released.0 + 1)?;
        usize::try_from(ahead).ok()
    }
}
