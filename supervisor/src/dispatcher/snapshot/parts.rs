//! The parts of a snapshot: streams, slots, subscriptions and cursors, taken apart and put
//! together.

use std::sync::Arc;

use rollcall_common::ids::{Sequence, StreamId};

use super::super::{
    cursor::StreamCursor,
    slot::{Parking, Slot, SlotState, Trials},
    stream::Stream,
    subscription::Subscription,
};
use crate::record::{
    Batching, Outcome, SequenceRange, SubscriptionId, SubscriptionSpec,
    snapshot::{
        SnapshotCursor, SnapshotSlot, SnapshotSlotState, SnapshotStream, SnapshotSubscription,
        SnapshotSubscriptionMore,
    },
};

impl Stream {
    pub(super) fn export(&self, id: StreamId) -> SnapshotStream {
        let Self {
            name,
            next,
            released,
            skips,
            paused,
            head_since,
            // From the settings.
            settings: _,
            adopted: _,
            pool: _,
            // In parts of their own, or what those say again.
            slots: _,
            decided: _,
            waiting: _,
            parked: _,
            subscriptions: _,
            linked: _,
            // Soft.
            cursor: _,
            again: _,
            in_flight: _,
            divergence: _,
            turn: _,
            head_watch: _,
        } = self;
        SnapshotStream {
            stream: id,
            name: name.clone(),
            next: *next,
            released: *released,
            skips: *skips,
            paused: *paused,
            head_since: *head_since,
        }
    }

    pub(super) fn import_slot(&mut self, sequence: Sequence, part: &SnapshotSlot) {
        if let SnapshotSlotState::Done { skipped } = part.state {
            let outcome = if skipped { Outcome::Skipped } else { Outcome::Completed };
            self.finish(sequence, outcome);
            return;
        }
        let slot = self.reach(sequence).expect("a snapshot has slots of unreleased messages");
        slot.import(part);
        if matches!(part.state, SnapshotSlotState::Parked { .. }) {
            self.parked.insert(sequence);
        }
    }
}

impl SnapshotSlot {
    /// That of a message of which nothing is known but that it has its result.
    pub(super) fn done(outcome: Outcome) -> Self {
        Self {
            state: SnapshotSlotState::Done { skipped: outcome == Outcome::Skipped },
            known: None,
            failures: 0,
            manual: false,
            refused_by: None,
            tried: Vec::new(),
            history: Vec::new(),
            deaths: Vec::new(),
            tried_since: None,
        }
    }
}

impl Slot {
    /// What must survive of it; `None`: nothing that a new one doesn't have.
    pub(super) fn export(&self) -> Option<SnapshotSlot> {
        let Self {
            state,
            known,
            due,
            failures,
            manual,
            counted: Trials { refused_by, tried, history },
            tried_since,
            // Its soft side is not looked at.
            suspicion: _,
            // Soft.
            held: _,
            left: _,
            noted: _,
            last_tried: _,
            rounds: _,
            out: _,
        } = self;
        let state = match state {
            // Its answer has the rest.
            SlotState::Done { skipped } => {
                let outcome = if *skipped { Outcome::Skipped } else { Outcome::Completed };
                return Some(SnapshotSlot::done(outcome));
            }
            SlotState::Parked(parking) => {
                let Parking { head, at, cause, reason } = (**parking).clone();
                SnapshotSlotState::Parked { head, at, cause, reason }
            }
            // What has gone out since, or waits for what is no record, is not known to a fold.
            SlotState::InFlight | SlotState::Idle | SlotState::Waiting { .. } => match due {
                Some(due) => SnapshotSlotState::Waiting { due: *due },
                None if *manual || !self.deaths().is_empty() => SnapshotSlotState::Idle,
                None => return None,
            },
        };
        Some(SnapshotSlot {
            state,
            known: *known,
            failures: *failures,
            manual: *manual,
            refused_by: refused_by.clone(),
            tried: tried.clone(),
            history: history.clone(),
            deaths: self.deaths().to_vec(),
            tried_since: *tried_since,
        })
    }

    pub(super) fn import(&mut self, part: &SnapshotSlot) {
        let SnapshotSlot { state, known, failures, manual, refused_by, tried, history, .. } = part;
        let SnapshotSlot { deaths, tried_since, .. } = part;
        self.tried_since = *tried_since;
        self.state = match state {
            SnapshotSlotState::Done { skipped } => SlotState::Done { skipped: *skipped },
            SnapshotSlotState::Idle => SlotState::Idle,
            SnapshotSlotState::Parked { head, at, cause, reason } => {
                let (head, at, cause) = (*head, *at, *cause);
                let parking = Parking { head, at, cause, reason: reason.clone() };
                SlotState::Parked(Box::new(parking))
            }
            SnapshotSlotState::Waiting { due } => SlotState::Waiting { due: *due },
        };
        if let SnapshotSlotState::Waiting { due } = state {
            self.due = Some(*due);
        }
        (self.known, self.failures, self.manual) = (*known, *failures, *manual);
        self.counted.refused_by.clone_from(refused_by);
        self.counted.tried.clone_from(tried);
        self.last_tried = tried.last().cloned();
        self.counted.history.clone_from(history);
        deaths.iter().for_each(|worker| self.suspect(worker));
    }
}

impl Subscription {
    pub(super) fn export(&self, id: SubscriptionId) -> (SnapshotSubscription, Vec<SnapshotCursor>) {
        let Self {
            name,
            plan,
            scan,
            replay_until,
            cursors,
            revision,
            pulled,
            paused,
            // In a part of their own.
            generation: _,
            passed_over: _,
            // What the plan and the cursors say again.
            patterns: _,
            floors: _,
            // Soft.
            leaving: _,
            ready: _,
            sending: _,
            scanning: _,
            health: _,
            rate: _,
            gap: _,
            mark: _,
        } = self;
        let part = SnapshotSubscription {
            subscription: id,
            name: (**name).into(),
            plan: Arc::clone(plan),
            revision: *revision,
            pulled: *pulled,
            paused: *paused,
            scan: *scan,
            replay_until: *replay_until,
        };
        // An empty cursor stays only while the subscription catches up, or for its sender's sake.
        let kept = cursors.iter().filter(|(_, cursor)| scan.is_some() || !cursor.is_empty());
        let cursors = kept.map(|(stream, cursor)| {
            let StreamCursor {
                next,
                last,
                floor,
                // In a part of its own.
                batching: _,
                // Soft.
                state: _,
                tries: _,
                rejections: _,
                error: _,
            } = cursor;
            SnapshotCursor { stream: *stream, next: *next, last: *last, floor: *floor }
        });
        (part, cursors.collect())
    }

    /// What is more to be said of it.
    pub(super) fn export_more(&self, id: SubscriptionId) -> SnapshotSubscriptionMore {
        SnapshotSubscriptionMore {
            subscription: id,
            generation: self.generation,
            headers: self.plan.headers.clone(),
            passed_over: self.passed_over.iter().copied().collect(),
        }
    }

    pub(super) fn import_more(&mut self, part: &SnapshotSubscriptionMore) {
        let SnapshotSubscriptionMore { subscription: _, generation, headers, passed_over } = part;
        self.generation = *generation;
        self.plan = Arc::new(SubscriptionSpec { headers: headers.clone(), ..(*self.plan).clone() });
        self.passed_over = passed_over.iter().copied().collect();
    }

    /// Its batches that are fixed.
    pub(super) fn export_batches(&self) -> Vec<(StreamId, Batching)> {
        let fixed =
            |(stream, cursor): (&StreamId, &StreamCursor)| Some((*stream, cursor.batching?));
        self.cursors.iter().filter_map(fixed).collect()
    }

    pub(super) fn import(part: &SnapshotSubscription) -> Self {
        let SnapshotSubscription {
            subscription: _,
            name,
            plan,
            revision,
            pulled,
            paused,
            scan,
            replay_until,
        } = part;
        let mut entry = Self::new((**name).into(), Arc::clone(plan), *replay_until, *replay_until);
        (entry.scan, entry.pulled, entry.paused) = (*scan, *pulled, *paused);
        entry.revision = *revision;
        entry
    }

    pub(super) fn import_cursor(&mut self, part: &SnapshotCursor) {
        let SnapshotCursor { stream, next, last, floor } = *part;
        let run = SequenceRange { stream, first: next, position: floor, last };
        let cursor = StreamCursor::new(run);
        if !cursor.is_empty() {
            self.floors.insert((floor, stream));
        }
        self.cursors.insert(stream, cursor);
    }
}
