//! What the journal says. State is a fold over these records; whatever must survive is one of
//! them. Their bytes are in [`codec`].

use std::sync::Arc;

use rollcall_common::{
    ids::{Position, Sequence, StreamId, StreamName},
    message::Message,
    time::Time,
};

use snapshot::SnapshotPart;

mod alert;
mod answer;
mod answer_ref;
#[cfg(any(test, feature = "checks"))]
pub mod checks;
pub mod codec;
pub mod snapshot;
mod subscription_spec;
#[cfg(test)]
mod tests;

pub use alert::{AlertId, AlertRecord, AlertStage, Severity, Subject};
pub use answer::{Answer, AttemptReport, Ending, MessageRef, Outcome, Reason};
pub use answer_ref::{AnswerRef, Beside};
pub use subscription_spec::{
    Batching, DEFAULT_TIMEOUT, DeliveryMode, Gap, Origin, PauseReason, Start, SubscriptionSpec,
};

/// The number of a subscription inside one journal. Dense, from 0, never used again.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct SubscriptionId(pub u32);

/// One fact.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Record {
    /// A message was taken in.
    Accepted {
        /// Its stream.
        stream: StreamId,
        /// Its place in the stream.
        sequence: Sequence,
        /// When.
        at: Time,
        /// The message.
        message: Arc<Message>,
    },
    /// Something of an alert.
    Alert(AlertRecord),
    /// A message has its result. There is exactly one of these for each message that isn't
    /// [`Record::PassedThrough`].
    Answered {
        /// The message's stream.
        stream: StreamId,
        /// The message's place in the stream.
        sequence: Sequence,
        /// When the answer was accepted.
        at: Time,
        /// The result.
        answer: Arc<Answer>,
    },
    /// A person did something. What it changes is in a record of its own.
    Audited(Audit),
    /// What a subscription is meant to do is said, or said anew. One that nothing is said of is a
    /// push subscription of the configuration.
    SubscriptionConfigured {
        /// The subscription.
        subscription: SubscriptionId,
        /// What it is meant to do.
        plan: Arc<SubscriptionSpec>,
    },
    /// A stream's results go to a subscription's destination in these batches. It is durable before
    /// the first of them is sent: so what is sent again under a batch's key is the same.
    Batched {
        /// The subscription.
        subscription: SubscriptionId,
        /// The stream.
        stream: StreamId,
        /// How its next results travel together.
        batching: Batching,
    },
    /// The reader of a pull subscription has done everything up to a position.
    Checkpointed {
        /// The subscription.
        subscription: SubscriptionId,
        /// The last position that is done.
        to: Position,
    },
    /// A part of a snapshot of the state.
    Snapshot(SnapshotPart),
    /// A message that is still needed was copied here, because the place where it lay is to be
    /// trimmed away. It is unreleased, or its own result.
    Copied {
        /// Its stream.
        stream: StreamId,
        /// Its place in the stream.
        sequence: Sequence,
        /// When it was taken in.
        at: Time,
        /// The message.
        message: Arc<Message>,
    },
    /// A result that is still needed was copied here, as [`Record::Copied`] is.
    CopiedResult {
        /// The message's stream.
        stream: StreamId,
        /// The message's place in the stream.
        sequence: Sequence,
        /// When the answer was accepted.
        at: Time,
        /// The result.
        answer: Arc<Answer>,
    },
    /// A push subscription's destination has taken a stream's results up to and with `through`.
    Delivered {
        /// The subscription.
        subscription: SubscriptionId,
        /// The stream.
        stream: StreamId,
        /// The last sequence that is done.
        through: Sequence,
        /// The lowest position that the next one of this stream can have.
        floor: Position,
    },
    /// An attempt failed in a way that counts.
    Failed {
        /// The message's stream.
        stream: StreamId,
        /// The message's place in the stream.
        sequence: Sequence,
        /// When the next attempt is due.
        due: Time,
        /// The attempt.
        report: Arc<AttemptReport>,
    },
    /// A stream came into being.
    StreamCreated {
        /// Its number from now on.
        stream: StreamId,
        /// Its name.
        name: StreamName,
    },
    /// A pool fails whatever it is given.
    OutageBegan {
        /// The pool.
        pool: Arc<str>,
        /// When.
        at: Time,
    },
    /// A pool has done something again.
    OutageEnded {
        /// The pool.
        pool: Arc<str>,
        /// When.
        at: Time,
    },
    /// A message waits for a person.
    Parked {
        /// The message's stream.
        stream: StreamId,
        /// The message's place in the stream.
        sequence: Sequence,
        /// When.
        at: Time,
        /// Which message.
        head: MessageRef,
        /// Why, in a word.
        cause: ParkCause,
        /// Why, for people.
        reason: Box<str>,
    },
    /// The stream has no processing step: its messages from `first` to `last` are their own
    /// results.
    PassedThrough {
        /// The stream.
        stream: StreamId,
        /// The first one.
        first: Sequence,
        /// The last one.
        last: Sequence,
        /// When.
        at: Time,
    },
    /// A person has a subscription go on without one result.
    PassedOver {
        /// The subscription.
        subscription: SubscriptionId,
        /// The result's stream.
        stream: StreamId,
        /// The result's place in the stream.
        sequence: Sequence,
        /// When.
        at: Time,
    },
    /// Dispatch and release of a stream stop.
    Paused {
        /// The stream.
        stream: StreamId,
        /// When.
        at: Time,
    },
    /// Dispatch and release of a stream go on.
    Resumed {
        /// The stream.
        stream: StreamId,
        /// When.
        at: Time,
    },
    /// A person sent a parked message back to the workers, with all its attempts.
    Retried {
        /// The message's stream.
        stream: StreamId,
        /// The message's place in the stream.
        sequence: Sequence,
        /// When.
        at: Time,
        /// Why, in the person's words.
        reason: Box<str>,
    },
    /// A subscription begins again, after a position.
    Rewound {
        /// The subscription.
        subscription: SubscriptionId,
        /// The position after which it begins.
        to: Position,
    },
    /// A subscription that catches up has looked at all results up to `to`.
    Scanned {
        /// The subscription.
        subscription: SubscriptionId,
        /// The last position that was looked at.
        to: Position,
        /// What it is to be given: for each stream the first and last sequence found, and the
        /// first one's position.
        found: Vec<SequenceRange>,
    },
    /// A supervisor took over the journal. The first record under each epoch.
    Started {
        /// When.
        at: Time,
    },
    /// A subscription came into being.
    Subscribed {
        /// Its number from now on.
        subscription: SubscriptionId,
        /// Its name.
        name: Box<str>,
        /// Which streams, as patterns with `*`.
        streams: Box<[Box<str>]>,
        /// The position that it has done: the one after it is the first to come.
        after: Position,
    },
    /// A worker died during an attempt of a message.
    WorkerDied {
        /// The message's stream.
        stream: StreamId,
        /// The message's place in the stream.
        sequence: Sequence,
        /// When.
        at: Time,
        /// The worker.
        worker: Arc<str>,
    },
    /// A subscription stands still.
    SubscriptionPaused {
        /// The subscription.
        subscription: SubscriptionId,
        /// Why.
        reason: PauseReason,
        /// When.
        at: Time,
    },
    /// A subscription goes on.
    SubscriptionResumed {
        /// The subscription.
        subscription: SubscriptionId,
        /// When.
        at: Time,
    },
    /// Results up to `through` are no longer kept, and neither are their messages' keys: all
    /// before `below`, where a snapshot begins, may be removed.
    Trimmed {
        /// The last position that is no longer kept.
        through: Position,
        /// The number of the journal's entry in which the snapshot begins.
        below: u64,
    },
    /// A subscription is gone.
    Unsubscribed {
        /// The subscription.
        subscription: SubscriptionId,
    },
}

/// What a person did.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Audit {
    /// When.
    pub at: Time,
    /// Who, as far as is known.
    pub by: Box<str>,
    /// What they did, in a word: `retry`, `resolve`, `skip`, `pause`, …
    pub act: Box<str>,
    /// With what: a message (`orders/17`), a stream, a subscription or an alert.
    pub on: Box<str>,
    /// Why, in the person's words.
    pub reason: Box<str>,
}

/// Why a message was parked.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum ParkCause {
    /// A worker asked for a person.
    Asked,
    /// Its attempts are used up.
    Exhausted,
    /// Workers died during its attempts.
    Poison,
    /// It was refused for good.
    Refused,
}

/// A run of one stream's results.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct SequenceRange {
    /// The stream.
    pub stream: StreamId,
    /// The first sequence.
    pub first: Sequence,
    /// The position of the first.
    pub position: Position,
    /// The last sequence.
    pub last: Sequence,
}
