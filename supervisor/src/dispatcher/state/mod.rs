//! What must survive, folded from the records. It changes in [`State::apply`] and nowhere else;
//! live running, recovery and a standby are the same calls. (Fields that say "soft" in
//! `stream.rs` and `subscription.rs` belong to the dispatcher and mean nothing after a restart.)

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::Arc,
};

use rollcall_common::{
    chunked::Chunked,
    ids::{MessageId, Position, Sequence, StreamId, StreamName},
    limits::AUDIT_KEPT,
    message::Message,
    time::Time,
};

mod subscriptions;

use super::{
    alert::Alerts,
    effect::Released,
    names::Names,
    settings::Settings,
    slot::{Held, Parking, Slot, SlotState},
    snapshot::FoldOrigin,
    stream::Stream,
    subscription::Subscription,
};
use crate::record::{Audit, Outcome, Record, SequenceRange, SubscriptionId};

/// The fold of a journal.
#[derive(Debug, Default)]
pub struct State {
    pub(super) streams: Chunked<Stream>,
    pub(super) names: Names,
    /// Idempotency keys that were seen, by digest.
    pub(super) keys: BTreeMap<(StreamId, [u8; 16]), Seen>,
    /// Keys of unreleased messages: their digests.
    pub(super) keyed: BTreeMap<(StreamId, Sequence), [u8; 16]>,
    /// Keys of released messages, the oldest first, until the messages are no longer kept.
    pub(super) spent: VecDeque<(Position, StreamId, [u8; 16])>,
    /// The last position given.
    pub(super) head: Position,
    /// The last position that is no longer kept.
    pub(super) floor: Position,
    /// Messages of all streams that are not released.
    pub(super) unreleased: u64,
    /// The newest releases, the last one at `head`.
    pub(super) recent: VecDeque<(StreamId, Sequence)>,
    pub(super) subscriptions: BTreeMap<SubscriptionId, Subscription>,
    pub(super) alerts: Alerts,
    /// Streams that have parked messages.
    pub(super) parked: BTreeSet<StreamId>,
    /// Pools that are in an outage, and since when.
    pub(super) outages: BTreeMap<Arc<str>, Time>,
    /// What people did, the newest last.
    pub(super) audit: VecDeque<Audit>,
    pub(super) next_subscription: u32,
    /// How often it changed which streams are sent to which subscription.
    pub(super) linkage: u32,
    /// The latest moment that a record speaks of.
    pub(super) last: Time,
    /// How much of the time until then was spent down, in microseconds.
    pub(super) down: u64,
    /// What it was folded from.
    pub(super) origin: FoldOrigin,
    /// Bytes of messages that slots hold. Soft.
    pub(super) held_bytes: usize,
}

/// What an idempotency key stood for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Seen {
    pub(super) sequence: Sequence,
    pub(super) id: MessageId,
    pub(super) fingerprint: [u8; 16],
}

impl State {
    /// The latest moment that the journal speaks of. A clock must not start before it.
    #[must_use]
    pub fn last_time(&self) -> Time {
        self.last
    }

    /// The last position given.
    #[must_use]
    pub fn head(&self) -> Position {
        self.head
    }

    /// The last position that is no longer kept.
    #[must_use]
    pub fn floor(&self) -> Position {
        self.floor
    }

    /// Streams that there are.
    #[must_use]
    pub fn stream_count(&self) -> usize {
        self.streams.len()
    }

    /// The streams' numbers.
    pub(super) fn stream_ids(&self) -> impl Iterator<Item = StreamId> + use<> {
        (0..StreamId::after(self.streams.len()).0).map(StreamId)
    }

    /// The name of a stream.
    #[must_use]
    pub fn stream_name(&self, stream: StreamId) -> Option<&StreamName> {
        self.streams.get(index(stream)).map(|stream| &stream.name)
    }

    /// The stream `name`.
    #[must_use]
    pub fn find_stream(&self, name: &str) -> Option<StreamId> {
        self.names.find(&self.streams, name)
    }

    /// The subscription `name`.
    #[must_use]
    pub fn find_subscription(&self, name: &str) -> Option<SubscriptionId> {
        let mut all = self.subscriptions.iter();
        all.find(|(_, subscription)| &*subscription.name == name).map(|(id, _)| *id)
    }

    /// How often senders and scans of a subscription were called back.
    #[must_use]
    pub fn subscription_revision(&self, id: SubscriptionId) -> Option<u32> {
        self.subscriptions.get(&id).map(|subscription| subscription.revision)
    }

    /// Names of the subscriptions, with their numbers.
    pub fn subscription_names(&self) -> impl Iterator<Item = (SubscriptionId, &str)> {
        self.subscriptions.iter().map(|(id, subscription)| (*id, &*subscription.name))
    }

    /// Takes in one record. What it releases is added to `released`; `settings` only tells new
    /// streams how they are treated.
    ///
    /// # Panics
    /// When the record contradicts those before it: the journal is not one that this program
    /// wrote.
    pub fn apply(&mut self, record: &Record, settings: &Settings, released: &mut Vec<Released>) {
        if let Record::Snapshot(part) = record {
            return self.apply_snapshot(part, settings);
        }
        self.origin.folded();
        match record {
            Record::Accepted { stream, sequence, at, message } => {
                self.last = self.last.max(*at);
                self.take_in((*stream, *sequence), *at, message);
            }
            Record::Alert(record) => self.alerts.apply(record),
            Record::Answered { stream, sequence, at, answer } => {
                self.settle(*stream, *sequence, answer.outcome);
                self.release(*stream, *at, (settings.recent, released));
            }
            Record::Audited(audit) => self.note(audit),
            Record::Failed { stream, sequence, due, report } => {
                self.last = self.last.max(report.ended_at);
                self.slot(*stream, *sequence).fail(*due, report);
            }
            Record::StreamCreated { stream, name } => self.open(*stream, name, settings),
            Record::OutageBegan { .. } | Record::OutageEnded { .. } | Record::WorkerDied { .. } => {
                self.apply_trouble(record);
            }
            Record::Parked { stream, sequence, at, head, cause, reason } => {
                self.last = self.last.max(*at);
                let (cause, reason) = (*cause, reason.clone());
                let parking = Parking { head: *head, at: *at, cause, reason };
                self.park(*stream, *sequence, parking);
            }
            Record::PassedThrough { stream, first, last, at } => {
                for sequence in first.0..=last.0 {
                    self.settle(*stream, Sequence(sequence), Outcome::Completed);
                }
                self.release(*stream, *at, (settings.recent, released));
            }
            Record::Paused { stream, at } => self.set_paused(*stream, *at),
            Record::Resumed { stream, at } => {
                self.set_resumed((*stream, *at), (settings.recent, released));
            }
            Record::Retried { stream, sequence, at, .. } => {
                self.last = self.last.max(*at);
                self.unpark(*stream, *sequence);
                self.slot(*stream, *sequence).start_over();
            }
            Record::Started { at } => self.started(*at),
            Record::Trimmed { through, .. } => self.trimmed(*through),
            Record::Snapshot(_) | Record::Copied { .. } | Record::CopiedResult { .. } => {}
            Record::SubscriptionConfigured { .. }
            | Record::Batched { .. }
            | Record::Checkpointed { .. }
            | Record::Delivered { .. }
            | Record::PassedOver { .. }
            | Record::Rewound { .. }
            | Record::Scanned { .. }
            | Record::Subscribed { .. }
            | Record::SubscriptionPaused { .. }
            | Record::SubscriptionResumed { .. }
            | Record::Unsubscribed { .. } => self.apply_to_subscriptions(record),
        }
    }

    fn note(&mut self, audit: &Audit) {
        self.last = self.last.max(audit.at);
        self.audit.push_back(audit.clone());
        while self.audit.len() > AUDIT_KEPT {
            self.audit.pop_front();
        }
    }

    fn set_resumed(
        &mut self,
        (stream, at): (StreamId, Time),
        released: (usize, &mut Vec<Released>),
    ) {
        self.stream_mut(stream).paused = false;
        self.release(stream, at, released);
    }

    fn set_paused(&mut self, stream: StreamId, at: Time) {
        self.last = self.last.max(at);
        self.stream_mut(stream).paused = true;
    }

    /// The number that the next subscription gets.
    pub(super) fn next_subscription(&self) -> SubscriptionId {
        SubscriptionId(self.next_subscription)
    }

    /// What was released after `after`, for the patterns of a subscription: `None` when that is
    /// longer ago than is kept at hand.
    pub(super) fn recent_after(
        &self,
        after: Position,
        wanted: &Subscription,
        limit: usize,
    ) -> Option<(Position, Vec<SequenceRange>)> {
        let behind = usize::try_from(self.head.0.saturating_sub(after.0)).ok()?;
        let skip = self.recent.len().checked_sub(behind)?;
        let mut runs: BTreeMap<StreamId, SequenceRange> = BTreeMap::new();
        let mut to = after;
        for (stream, sequence) in self.recent.iter().skip(skip).take(limit) {
            to = to.next();
            let position = to;
            if self.stream_name(*stream).is_some_and(|name| wanted.wants(name)) {
                let first = *sequence;
                let fresh = SequenceRange { stream: *stream, first, position, last: first };
                runs.entry(*stream).or_insert(fresh).last = *sequence;
            }
        }
        Some((to, runs.into_values().collect()))
    }

    pub(super) fn stream(&self, stream: StreamId) -> &Stream {
        self.streams.get(index(stream)).expect("a stream's number is given at its opening")
    }

    pub(super) fn stream_mut(&mut self, stream: StreamId) -> &mut Stream {
        self.streams.get_mut(index(stream)).expect("a stream's number is given at its opening")
    }

    /// Keeps a message in its slot, unless it has its result or is there already.
    pub(super) fn hold(&mut self, stream: StreamId, sequence: Sequence, held: Held) {
        let weight = held.message.weight();
        let Some(slot) = self.stream_mut(stream).reach(sequence) else {
            return;
        };
        let settled = matches!(slot.state, SlotState::Done { .. } | SlotState::Parked(_));
        if !settled && slot.held.is_none() {
            slot.held = Some(held);
            self.held_bytes += weight;
        }
    }

    fn open(&mut self, stream: StreamId, name: &StreamName, settings: &Settings) {
        assert_eq!(self.streams.len(), index(stream), "streams are numbered without a gap");
        let mut entry = Stream::new(name.clone(), settings.stream(name));
        entry.linked = self.linkage;
        entry.subscriptions = self.subscriptions_of(name);
        self.add(entry);
    }

    /// Adds a stream; its number is how many there were.
    pub(super) fn add(&mut self, entry: Stream) {
        let stream = StreamId::after(self.streams.len());
        self.unreleased += entry.backlog();
        self.streams.push(entry);
        self.names.add(&self.streams, stream);
    }

    fn take_in(&mut self, (stream, sequence): (StreamId, Sequence), at: Time, message: &Message) {
        let entry = self.stream_mut(stream);
        if entry.backlog() == 0 {
            entry.head_since = at;
        }
        assert_eq!(entry.next, sequence, "sequences of a stream have no gap");
        entry.next = sequence.next();
        self.unreleased += 1;
        if let Some(key) = &message.key {
            let (fingerprint, id, digest) = (key.fingerprint, message.id, digest(&key.text));
            self.keys.insert((stream, digest), Seen { sequence, id, fingerprint });
            self.keyed.insert((stream, sequence), digest);
        }
    }

    fn park(&mut self, stream: StreamId, sequence: Sequence, parking: Parking) {
        self.stream_mut(stream).parked.insert(sequence);
        self.parked.insert(stream);
        let slot = self.slot(stream, sequence);
        slot.state = SlotState::Parked(Box::new(parking));
        slot.due = None;
        let held = slot.held.take();
        self.held_bytes -= held.map_or(0, |held| held.message.weight());
    }

    /// A message is parked no more, if it was.
    fn unpark(&mut self, stream: StreamId, sequence: Sequence) {
        let parked = &mut self.stream_mut(stream).parked;
        if !parked.is_empty() {
            parked.remove(sequence);
            if parked.is_empty() {
                self.parked.remove(&stream);
            }
        }
    }

    /// The slot of a message that a record speaks of.
    pub(super) fn slot(&mut self, stream: StreamId, sequence: Sequence) -> &mut Slot {
        let slot = self.stream_mut(stream).reach(sequence);
        slot.expect("such records are of unreleased messages")
    }

    fn settle(&mut self, stream: StreamId, sequence: Sequence, outcome: Outcome) {
        self.unpark(stream, sequence);
        let held = self.stream_mut(stream).finish(sequence, outcome);
        self.held_bytes -= held.map_or(0, |held| held.message.weight());
    }

    fn release(
        &mut self,
        stream: StreamId,
        at: Time,
        (recent, released): (usize, &mut Vec<Released>),
    ) {
        self.last = self.last.max(at);
        while let Some((sequence, skipped)) = self.stream_mut(stream).release() {
            self.relink(stream);
            self.head = self.head.next();
            self.unreleased -= 1;
            self.stream_mut(stream).head_since = at;
            let position = self.head;
            if let Some(digest) = self.keyed.remove(&(stream, sequence)) {
                self.spent.push_back((position, stream, digest));
            }
            self.recent.push_back((stream, sequence));
            while self.recent.len() > recent {
                self.recent.pop_front();
            }
            let wanting = self.streams.get(index(stream)).into_iter();
            for subscription in wanting.flat_map(|stream| &stream.subscriptions) {
                if let Some(entry) = self.subscriptions.get_mut(subscription) {
                    entry.released(stream, sequence, position);
                }
            }
            released.push(Released { position, stream, sequence, at, skipped });
        }
    }
}

pub(super) fn index(stream: StreamId) -> usize {
    usize::try_from(stream.0).unwrap_or(usize::MAX)
}

/// A digest of an idempotency key: keys are kept for as long as their messages, so they should
/// be short.
pub(super) fn digest(key: &str) -> [u8; 16] {
    use sha2::Digest as _;
    let mut digest = [0; 16];
    let whole = sha2::Sha256::digest(key.as_bytes());
    digest.iter_mut().zip(whole).for_each(|(short, byte)| *short = byte);
    digest
}
