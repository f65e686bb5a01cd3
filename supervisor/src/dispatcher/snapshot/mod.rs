//! Snapshots: the state as records ([`SnapshotPart`]), so that the journal can be trimmed and the
//! fold begin there. What is taken apart here field by field is taken apart whole, so that whoever
//! adds a field is asked by the compiler whether it must survive.

use std::{collections::VecDeque, sync::Arc};

use rollcall_common::{
    ids::{Position, Sequence, StreamId, StreamName},
    time::Time,
};

use super::{
    Dispatcher,
    effect::{Effect, Reply},
    event::{LaggingSubscribers, RequestId},
    settings::Settings,
    state::{Seen, State, index},
    stream::Stream,
    subscription::Subscription,
};
use crate::record::{
    Record, SubscriptionId,
    snapshot::{
        SnapshotHeader, SnapshotKey, SnapshotPart, SnapshotSlot, SnapshotStream,
        SnapshotSubscriptionMore,
    },
};

mod facts;
mod parts;

/// What a state was folded from.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(super) enum FoldOrigin {
    /// Nothing yet: a snapshot that comes now is where it begins.
    #[default]
    Empty,
    /// The records from the first on, or from a snapshot on that is complete.
    Folded,
    /// A snapshot of which there is more to come; so many parts were there.
    Loading(u64),
}

impl FoldOrigin {
    /// A record came that is no part of a snapshot.
    pub(super) fn folded(&mut self) {
        let broken = matches!(self, Self::Loading(_));
        assert!(!broken, "nothing stands between the parts of a snapshot");
        *self = Self::Folded;
    }
}

/// How far a snapshot that is being written has come.
#[derive(Debug)]
pub(super) struct Export {
    /// Who wants to know when it is done.
    request: RequestId,
    /// What is to be taken apart next.
    next: Stage,
    /// What was taken apart and is not yet written.
    waiting: VecDeque<SnapshotPart>,
    /// Parts so far, without the beginning.
    parts: u64,
}

/// What of a snapshot is to be written next.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Stage {
    Alerts,
    Ended,
    Stream(StreamId),
    Subscription(SubscriptionId),
}

impl Dispatcher {
    /// A snapshot is to be written. It is, by [`Dispatcher::export`].
    pub(super) fn begin_snapshot(&mut self, request: RequestId) {
        let (next, waiting) = (self.stage(StreamId(0)), VecDeque::from([self.state.begun()]));
        self.export = Some(Export { request, next, waiting, parts: 0 });
    }

    /// Whether a snapshot is to be written before anything else is handled.
    #[must_use]
    pub fn is_exporting(&self) -> bool {
        self.export.is_some()
    }

    /// Writes the next part of a snapshot.
    pub fn export(&mut self) {
        let Some(mut export) = self.export.take() else {
            return;
        };
        while export.waiting.is_empty() && export.next != Stage::Ended {
            let (snapshots, next) = self.take_apart(export.next);
            export.waiting.extend(snapshots);
            export.next = next;
        }
        let Some(part) = export.waiting.pop_front() else {
            let StreamId(streams) = StreamId::after(self.state.streams.len());
            self.commit(Record::Snapshot(SnapshotPart::Ended { streams, parts: export.parts }));
            self.counters.snapshots += 1;
            self.effects.push_back(Effect::Reply(export.request, Reply::Done));
            return;
        };
        export.parts += u64::from(!matches!(part, SnapshotPart::Header(_)));
        self.commit(Record::Snapshot(part));
        self.export = Some(export);
    }

    fn take_apart(&self, stage: Stage) -> (Vec<SnapshotPart>, Stage) {
        let items = self.settings.bounds.items();
        match stage {
            Stage::Alerts => (self.state.export_alerts(), Stage::Ended),
            Stage::Ended => (Vec::new(), Stage::Ended),
            Stage::Stream(stream) => {
                (self.state.export_stream(stream, items), self.stage(stream.next()))
            }
            Stage::Subscription(id) => {
                let later = SubscriptionId(id.0 + 1)..;
                let after = self.state.subscriptions.range(later).next().map(|(id, _)| *id);
                let after = after.map_or(Stage::Alerts, Stage::Subscription);
                (self.state.export_subscription(id, items), after)
            }
        }
    }

    fn stage(&self, stream: StreamId) -> Stage {
        if index(stream) < self.state.streams.len() {
            return Stage::Stream(stream);
        }
        let first = self.state.subscriptions.keys().next().copied();
        first.map_or(Stage::Alerts, Stage::Subscription)
    }

    /// Copies of what is still needed are written down again. What was settled meanwhile may be
    /// among them; that costs room, and nothing else.
    pub(super) fn copied(&mut self, request: RequestId, copies: Vec<Record>) {
        for copy in copies {
            if matches!(copy, Record::Copied { .. } | Record::CopiedResult { .. }) {
                self.counters.copied += 1;
                self.commit(copy);
                self.cut();
            }
        }
        self.effects.push_back(Effect::Reply(request, Reply::Done));
    }

    /// Results up to `through` are no longer kept, unless a subscription has come meanwhile that
    /// wants some of them.
    pub(super) fn trim(
        &mut self,
        request: RequestId,
        (through, below): (Position, u64),
        slow: LaggingSubscribers,
    ) {
        if slow == LaggingSubscribers::Dropped || through <= self.state.slowest() {
            self.commit(Record::Trimmed { through, below });
        }
        self.effects.push_back(Effect::Reply(request, Reply::Done));
    }
}

impl State {
    /// The journal's own time at the clock's `now`: time that was spent down does not count. So
    /// neither a wall clock that jumps between two runs nor a long rest makes anything old.
    #[must_use]
    pub fn age_clock(&self, now: Time) -> Time {
        Time::from_micros(now.as_micros().saturating_sub(self.down))
    }

    /// The last position of which every subscription's destination has all up to it.
    #[must_use]
    pub fn slowest(&self) -> Position {
        let all = self.subscriptions.values().map(|one| one.checkpoint(self.head));
        all.min().unwrap_or(self.head)
    }

    /// Idempotency keys that are known.
    #[must_use]
    pub fn key_count(&self) -> usize {
        self.keys.len()
    }

    /// Whether it was folded from the journal's beginning, or from a whole snapshot.
    #[must_use]
    pub fn is_rooted(&self) -> bool {
        !matches!(self.origin, FoldOrigin::Loading(_))
    }

    /// The streams, each with the sequence that its next message gets.
    pub fn ends(&self) -> impl Iterator<Item = (StreamId, &StreamName, Sequence)> {
        let streams = (0..).map(StreamId).zip(self.streams.iter());
        streams.map(|(id, stream)| (id, &stream.name, stream.next))
    }

    pub(super) fn started(&mut self, at: Time) {
        if self.last > Time::default() {
            let gap = at.as_micros().saturating_sub(self.last.as_micros());
            self.down = self.down.saturating_add(gap);
        }
        self.last = self.last.max(at);
    }

    pub(super) fn trimmed(&mut self, through: Position) {
        self.floor = self.floor.max(through);
        let floor = self.floor;
        while let Some((_, stream, digest)) =
            self.spent.pop_front_if(|(position, ..)| *position <= floor)
        {
            self.keys.remove(&(stream, digest));
        }
    }

    /// Takes in a part of a snapshot, if that is what this state begins with.
    pub(super) fn apply_snapshot(&mut self, part: &SnapshotPart, settings: &Settings) {
        match (&mut self.origin, part) {
            (FoldOrigin::Empty, SnapshotPart::Header(begun)) => {
                let SnapshotHeader { last, down, head, next_subscription, last_alert } = *begun;
                (self.last, self.down, self.head, self.floor) = (last, down, head, head);
                self.next_subscription = next_subscription;
                self.alerts.number_after(last_alert);
                self.origin = FoldOrigin::Loading(0);
            }
            (FoldOrigin::Loading(parts), SnapshotPart::Ended { streams, parts: all }) => {
                let whole = *parts == *all && index(StreamId(*streams)) == self.streams.len();
                assert!(whole, "a snapshot is whole where its end is");
                self.origin = FoldOrigin::Folded;
            }
            (FoldOrigin::Loading(parts), part) => {
                *parts += 1;
                self.import(part, settings);
            }
            (FoldOrigin::Empty | FoldOrigin::Folded, _) => {}
        }
    }

    fn begun(&self) -> SnapshotPart {
        let Self {
            head,
            next_subscription,
            last,
            down,
            // In parts of their own.
            streams: _,
            names: _,
            keys: _,
            keyed: _,
            subscriptions: _,
            linkage: _,
            alerts,
            outages: _,
            audit: _,
            // What the slots and the streams say again.
            parked: _,
            unreleased: _,
            // What lies before the snapshot is gone for those who begin there.
            spent: _,
            floor: _,
            // A subscription that catches up finds the same in the views.
            recent: _,
            origin: _,
            // Soft.
            held_bytes: _,
        } = self;
        SnapshotPart::Header(SnapshotHeader {
            last: *last,
            down: *down,
            head: *head,
            next_subscription: *next_subscription,
            last_alert: alerts.last(),
        })
    }

    fn export_stream(&self, id: StreamId, items: usize) -> Vec<SnapshotPart> {
        let stream = self.stream(id);
        let mut snapshots = vec![SnapshotPart::Stream(stream.export(id))];
        snapshots.extend(stream.numbered_slots().filter_map(|(sequence, slot)| {
            let slot = Box::new(slot.export()?);
            Some(SnapshotPart::Slot { stream: id, sequence, slot })
        }));
        snapshots.extend(stream.decided.iter().map(|(sequence, outcome)| {
            let slot = Box::new(SnapshotSlot::done(outcome));
            SnapshotPart::Slot { stream: id, sequence, slot }
        }));
        let keyed = self.keyed.range((id, Sequence(0))..=(id, Sequence(u64::MAX)));
        let mut keys = Vec::new();
        for ((_, sequence), digest) in keyed {
            let Some(Seen { id: message, fingerprint, .. }) = self.keys.get(&(id, *digest)) else {
                continue;
            };
            let (id, fingerprint) = (*message, *fingerprint);
            keys.push(SnapshotKey { sequence: *sequence, id, digest: *digest, fingerprint });
        }
        let keys = keys.chunks(items);
        snapshots.extend(keys.map(|keys| SnapshotPart::Keys { stream: id, keys: keys.to_vec() }));
        snapshots
    }

    fn export_alerts(&self) -> Vec<SnapshotPart> {
        let alerts = self.alerts.export().into_iter().map(SnapshotPart::Alert);
        let outages = self.outages.iter();
        let outages =
            outages.map(|(pool, at)| SnapshotPart::Outage { pool: Arc::clone(pool), at: *at });
        alerts.chain(self.audit.iter().cloned().map(SnapshotPart::Audit)).chain(outages).collect()
    }

    fn export_subscription(&self, id: SubscriptionId, items: usize) -> Vec<SnapshotPart> {
        let Some(subscription) = self.subscriptions.get(&id) else {
            return Vec::new();
        };
        let (head, cursors) = subscription.export(id);
        let mut snapshots = vec![SnapshotPart::Subscription(head)];
        let more = subscription.export_more(id);
        if more
            != (SnapshotSubscriptionMore {
                subscription: id,
                ..SnapshotSubscriptionMore::default()
            })
        {
            snapshots.push(SnapshotPart::More(more));
        }
        let cursors = cursors.chunks(items);
        snapshots.extend(
            cursors.map(|cursors| SnapshotPart::Cursors {
                subscription: id,
                cursors: cursors.to_vec(),
            }),
        );
        let batches = subscription.export_batches();
        snapshots.extend(batches.chunks(items).map(|batches| {
            let (subscription, batches) = (id, batches.to_vec());
            SnapshotPart::Batches { subscription, batches }
        }));
        snapshots
    }

    fn import(&mut self, part: &SnapshotPart, settings: &Settings) {
        match part {
            SnapshotPart::Alert(record) => self.alerts.apply(record),
            SnapshotPart::Audit(audit) => self.audit.push_back(audit.clone()),
            SnapshotPart::Batches { subscription, batches } => {
                if let Some(entry) = self.subscriptions.get_mut(subscription) {
                    batches.iter().for_each(|(stream, batching)| entry.batched(*stream, *batching));
                }
            }
            SnapshotPart::Header(_) | SnapshotPart::Ended { .. } => {}
            SnapshotPart::More(more) => {
                if let Some(entry) = self.subscriptions.get_mut(&more.subscription) {
                    entry.import_more(more);
                }
            }
            SnapshotPart::Keys { stream, keys } => {
                for SnapshotKey { sequence, id, digest, fingerprint } in keys {
                    let (sequence, id, fingerprint) = (*sequence, *id, *fingerprint);
                    self.keys.insert((*stream, *digest), Seen { sequence, id, fingerprint });
                    self.keyed.insert((*stream, sequence), *digest);
                }
            }
            SnapshotPart::Cursors { subscription, cursors } => {
                if let Some(entry) = self.subscriptions.get_mut(subscription) {
                    cursors.iter().for_each(|cursor| entry.import_cursor(cursor));
                }
            }
            SnapshotPart::Outage { pool, at } => {
                self.outages.insert(Arc::clone(pool), *at);
            }
            SnapshotPart::Slot { stream, sequence, slot } => {
                self.stream_mut(*stream).import_slot(*sequence, slot);
                if !self.stream(*stream).parked.is_empty() {
                    self.parked.insert(*stream);
                }
            }
            SnapshotPart::Stream(part) => {
                let SnapshotStream { stream, name, next, released, skips, paused, head_since } =
                    part;
                assert_eq!(self.streams.len(), index(*stream), "streams come in order");
                let mut entry = Stream::new(name.clone(), settings.stream(name));
                (entry.next, entry.released) = (*next, *released);
                (entry.skips, entry.paused, entry.head_since) = (*skips, *paused, *head_since);
                entry.cursor = released.next();
                self.add(entry);
            }
            SnapshotPart::Subscription(part) => {
                let entry = Subscription::import(part);
                self.subscriptions.insert(part.subscription, entry);
                self.link();
            }
        }
    }
}
