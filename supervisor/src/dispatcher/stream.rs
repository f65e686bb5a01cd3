//! One stream: its counters, and the resequencer, a ring with a slot for each message between
//! the oldest unreleased one and the newest dispatched one. What is beyond has no slot: memory
//! grows with the window, not with the backlog.

use std::{collections::VecDeque, sync::Arc};

use rollcall_common::{
    ids::{Sequence, StreamName},
    time::Time,
};

use super::{
    decided::Decided,
    pool::PoolKey,
    sequences::Sequences,
    settings::StreamSettings,
    slot::{Divergence, Held, Slot, SlotState},
};
use crate::record::{Outcome, SubscriptionId};

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
    /// Messages beyond the last slot that have their result.
    pub(super) decided: Decided,
    /// Answered, not yet their turn.
    pub(super) waiting: u32,
    /// The parked ones.
    pub(super) parked: Sequences,
    /// Push subscriptions that get its results, as of [`Stream::linked`].
    pub(super) subscriptions: Box<[SubscriptionId]>,
    /// The revision of all subscriptions that this is true for.
    pub(super) linked: u32,
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
    /// The revision of the settings that it has.
    pub(super) adopted: u16,
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
    /// It stands in its pool's line of those that are to have a message read back.
    Unread,
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
            decided: Decided::default(),
            waiting: 0,
            parked: Sequences::default(),
            subscriptions: Box::default(),
            linked: 0,
            cursor: Sequence::FIRST,
            again: Sequences::default(),
            in_flight: 0,
            divergence: None,
            turn: Turn::None,
            head_watch: Alarm::default(),
            adopted: 0,
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
            let sequence = self.beyond();
            let mut slot = Slot::new();
            if let Some(outcome) = self.decided.take(sequence) {
                slot.settle(outcome);
            }
            self.slots.push_back(slot);
        }
        self.slots.get_mut(offset)
    }

    /// An unreleased message has its result. Gives back the message, if its slot held it.
    pub(super) fn finish(&mut self, sequence: Sequence, outcome: Outcome) -> Option<Held> {
        assert!(sequence > self.released, "such records are of unreleased messages");
        assert!(!self.is_done(sequence), "a message gets one result");
        self.waiting += 1;
        // One that was never dispatched is a person's decision: slots are for what workers have.
        let reached = sequence < self.cursor || sequence == self.released.next();
        if !reached && self.slot(sequence).is_none() {
            self.decided.insert(sequence, outcome);
            return None;
        }
        self.reach(sequence)?.settle(outcome)
    }

    /// Whether an unreleased message has its result.
    pub(super) fn is_done(&self, sequence: Sequence) -> bool {
        match self.slot(sequence) {
            Some(slot) => matches!(slot.state, SlotState::Done { .. }),
            None => self.decided.contains(sequence),
        }
    }

    /// The first message that has no slot.
    fn beyond(&self) -> Sequence {
        let slots = u64::try_from(self.slots.len()).unwrap_or(u64::MAX);
        Sequence(self.released.next().0 + slots)
    }

    /// Whether a message is to be dispatched, or may pass, for all that is known of it.
    fn is_idle(&self, sequence: Sequence) -> bool {
        match self.slot(sequence) {
            Some(slot) => matches!(slot.state, SlotState::Idle),
            None => !self.decided.contains(sequence),
        }
    }

    /// The oldest unreleased message, if it has a slot.
    pub(super) fn front(&self) -> Option<&Slot> {
        self.slots.front()
    }

    /// Takes out the oldest message if its result is there and the stream does not stand still:
    /// its sequence, and whether it was skipped.
    pub(super) fn release(&mut self) -> Option<(Sequence, bool)> {
        if self.paused {
            return None;
        }
        let skipped = match self.slots.front().map(|slot| &slot.state) {
            Some(SlotState::Done { skipped }) => *skipped,
            Some(
                SlotState::InFlight
                | SlotState::Idle
                | SlotState::Parked(_)
                | SlotState::Waiting { .. },
            ) => return None,
            None => self.decided.take(self.released.next())? == Outcome::Skipped,
        };
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
        self.again.pop_first().or_else(|| self.take_new())
    }

    /// Takes the one behind `after` of those that are to be dispatched now; the first one, when
    /// there is none.
    pub(super) fn take_after(&mut self, after: Sequence) -> Option<Sequence> {
        let again = self.again.above(after).next();
        if let Some(sequence) = again {
            self.again.remove(sequence);
            return again;
        }
        self.take_new().or_else(|| self.again.pop_first())
    }

    fn take_new(&mut self) -> Option<Sequence> {
        while self.window_has_room() {
            let sequence = self.cursor;
            self.cursor = sequence.next();
            if self.is_idle(sequence) {
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
            if self.is_idle(sequence) {
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

    /// Whether something waits for a worker, or is at one.
    pub(super) fn waits_for_worker(&self) -> bool {
        let waits = |slot: &Slot| matches!(slot.state, SlotState::Waiting { .. });
        let open = self.in_flight > 0 || !self.again.is_empty() || self.window_has_room();
        !self.paused && (open || self.slots.iter().any(waits))
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
