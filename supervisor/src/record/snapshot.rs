//! A snapshot of the state as records, so that what lies before it can be trimmed away. It is
//! written in one go: no other record stands between [`SnapshotPart::Header`] and
//! [`SnapshotPart::Ended`]. Who folds on takes no notice of it; who begins there builds its state
//! from it.

use std::sync::Arc;

use rollcall_common::{
    ids::{MessageId, Position, Sequence, StreamId, StreamName},
    time::Time,
};

use super::{
    AlertRecord, AttemptReport, Audit, Batching, MessageRef, ParkCause, PauseReason,
    SubscriptionId, SubscriptionSpec,
};

/// A part of a snapshot, in this order: the beginning, the streams by their numbers, each with
/// its slots and keys behind it, the subscriptions, each with its cursors and what is more behind
/// it, the alerts, what people did, the end.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum SnapshotPart {
    /// What makes an alert as it stands: the records of its life that still matter.
    Alert(AlertRecord),
    /// What a person did.
    Audit(Audit),
    /// Batches that are fixed.
    Batches {
        /// The subscription.
        subscription: SubscriptionId,
        /// Stream by stream, of those that have a cursor.
        batches: Vec<(StreamId, Batching)>,
    },
    /// It begins. The first record of its entry.
    Header(SnapshotHeader),
    /// It is complete.
    Ended {
        /// How many streams there are.
        streams: u32,
        /// How many parts it has, without the beginning and this one.
        parts: u64,
    },
    /// Idempotency keys of unreleased messages.
    Keys {
        /// Their stream.
        stream: StreamId,
        /// The keys.
        keys: Vec<SnapshotKey>,
    },
    /// What a destination has yet to take.
    Cursors {
        /// The subscription.
        subscription: SubscriptionId,
        /// Stream by stream.
        cursors: Vec<SnapshotCursor>,
    },
    /// What is more to be said of a subscription.
    More(SnapshotSubscriptionMore),
    /// A pool that is in an outage.
    Outage {
        /// The pool.
        pool: Arc<str>,
        /// Since when.
        at: Time,
    },
    /// An unreleased message that has a history, or its result.
    Slot {
        /// Its stream.
        stream: StreamId,
        /// Its place in the stream.
        sequence: Sequence,
        /// How it stands.
        slot: Box<SnapshotSlot>,
    },
    /// A stream.
    Stream(SnapshotStream),
    /// A subscription.
    Subscription(SnapshotSubscription),
}

/// What stands at the beginning of a snapshot.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct SnapshotHeader {
    /// The latest moment that a record spoke of.
    pub last: Time,
    /// How much of the time before was spent down, in microseconds.
    pub down: u64,
    /// The last position given.
    pub head: Position,
    /// The number that the next subscription gets.
    pub next_subscription: u32,
    /// The number of the last alert.
    pub last_alert: u64,
}

/// A stream in a snapshot.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct SnapshotStream {
    /// Its number.
    pub stream: StreamId,
    /// Its name.
    pub name: StreamName,
    /// The sequence that the next message gets.
    pub next: Sequence,
    /// The last released one.
    pub released: Sequence,
    /// How many of the last released ones were skipped, one behind the other.
    pub skips: u32,
    /// Whether it stands still.
    pub paused: bool,
    /// Since when its oldest unreleased message is the oldest.
    pub head_since: Time,
}

/// An unreleased message in a snapshot.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct SnapshotSlot {
    /// Where it stands.
    pub state: SnapshotSlotState,
    /// What identified it when it was parked.
    pub known: Option<MessageRef>,
    /// Failures that were counted.
    pub failures: u32,
    /// Whether the next attempt is one that a person asked for.
    pub manual: bool,
    /// The worker that refused it.
    pub refused_by: Option<Arc<str>>,
    /// Workers that were tried.
    pub tried: Vec<Arc<str>>,
    /// Attempts that are over.
    pub history: Vec<Arc<AttemptReport>>,
    /// Workers that died during its attempts.
    pub deaths: Vec<Arc<str>>,
    /// When the first attempt began that failed.
    pub tried_since: Option<Time>,
}

/// Where an unreleased message stands.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum SnapshotSlotState {
    /// It has its result, or its skip.
    Done {
        /// Whether it was skipped.
        skipped: bool,
    },
    /// It is to be dispatched.
    Idle,
    /// It waits for a person.
    Parked {
        /// Which message.
        head: MessageRef,
        /// Since when.
        at: Time,
        /// Why, in a word.
        cause: ParkCause,
        /// Why.
        reason: Box<str>,
    },
    /// It waits for its next attempt, or is at it.
    Waiting {
        /// When the attempt is due.
        due: Time,
    },
}

/// An idempotency key in a snapshot.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct SnapshotKey {
    /// The message that came with it.
    pub sequence: Sequence,
    /// That message's id.
    pub id: MessageId,
    /// A digest of the key.
    pub digest: [u8; 16],
    /// A digest of the message's content.
    pub fingerprint: [u8; 16],
}

/// A subscription in a snapshot.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct SnapshotSubscription {
    /// Its number.
    pub subscription: SubscriptionId,
    /// Its name.
    pub name: Box<str>,
    /// What it is meant to do.
    pub plan: Arc<SubscriptionSpec>,
    /// How often its senders were called back.
    pub revision: u32,
    /// What the reader of a pull subscription has done.
    pub pulled: Position,
    /// Why it stands still.
    pub paused: Option<PauseReason>,
    /// The last position that was looked at, while it catches up.
    pub scan: Option<Position>,
    /// Results up to here are replayed.
    pub replay_until: Position,
}

/// What is more to be said of a subscription in a snapshot. Without it: nothing.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct SnapshotSubscriptionMore {
    /// Its number.
    pub subscription: SubscriptionId,
    /// How often it was rewound.
    pub generation: u32,
    /// Names of the headers of its own.
    pub headers: Box<[Box<str>]>,
    /// Results that it goes on without.
    pub passed_over: Vec<(StreamId, Sequence)>,
}

/// What a destination has yet to take of one stream, in a snapshot.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct SnapshotCursor {
    /// The stream.
    pub stream: StreamId,
    /// The first that is not done.
    pub next: Sequence,
    /// The last that is there.
    pub last: Sequence,
    /// The lowest position that `next` can have.
    pub floor: Position,
}
