//! What happened: everything that the dispatcher can be told. A closed list, so that all that can
//! start work is seen here.

use std::{sync::Arc, time::Duration};

use rollcall_common::{
    ids::{Position, Sequence, StreamId, StreamName},
    message::{Message, Payload},
    protocol,
    time::Time,
};

use super::settings::Settings;
pub use crate::record::Start;
use crate::record::{
    AlertId, Gap, MessageRef, Record, SequenceRange, SubscriptionId, SubscriptionSpec,
};

/// Something that happened.
///
/// What comes from outside is survived in any order, and whatever it says: an answer to an attempt
/// that never was, a report on a subscription that is gone, a list that is empty, in another order
/// or of what nobody asked for. What callers have to see to is little:
///
/// - The number of a stream ([`StreamId`]) is one that the dispatcher has given out.
/// - What was read of the journal or the views says what stands there: a message under its own
///   sequence; no position beyond the head.
/// - What is to go into one entry is not larger than the [`Bounds`](super::settings::Bounds)
///   allow: an answer with what stands beside it, a result that a person gives, texts, names and
///   plans are bounded where they come in (`limits`). Messages that come in are looked at here.
#[derive(Debug)]
pub enum Event {
    /// Somebody has seen an alert.
    Acknowledged {
        /// Whom to answer.
        request: RequestId,
        /// Which alert.
        alert: AlertId,
        /// Who, as far as is known.
        by: Box<str>,
        /// In their words.
        reason: Box<str>,
    },
    /// An attempt came to an end.
    AttemptEnded {
        /// Which attempt.
        attempt: AttemptId,
        /// What the worker said, or why nothing came.
        reply: WorkerReply,
    },
    /// Messages came in.
    Arrived(Arrival),
    /// What is still needed was read where the journal is to be trimmed, and is to be written
    /// down again.
    Copied {
        /// Whom to answer.
        request: RequestId,
        /// [`Record::Copied`] and [`Record::CopiedResult`].
        copies: Vec<Record>,
    },
    /// A person decided on a message.
    Decided {
        /// Whom to answer.
        request: RequestId,
        /// The message's stream.
        stream: StreamName,
        /// The message's place in it.
        sequence: Sequence,
        /// What identifies it, as the journal has it; of a parked one that is known.
        head: Option<MessageRef>,
        /// Who, as far as is known.
        by: Box<str>,
        /// What they decided.
        decision: Decision,
    },
    /// A destination has taken results, up to and with `through`.
    Delivered {
        /// Whether the sender goes on with the next ones by itself.
        more: bool,
        /// The subscription.
        subscription: SubscriptionId,
        /// The stream.
        stream: StreamId,
        /// The last one that it took. What is not released yet does not count.
        through: Sequence,
        /// The lowest position that the next one of this stream can have. Beyond the head it does
        /// not count.
        floor: Position,
    },
    /// A destination has not taken a result.
    Undelivered {
        /// The subscription.
        subscription: SubscriptionId,
        /// The stream.
        stream: StreamId,
        /// Why.
        refusal: Refusal,
        /// For people.
        detail: Box<str>,
    },
    /// Nothing new is to be dispatched: the process is on its way down.
    Drain,
    /// Messages were read back from the journal, or are not needed any more.
    Fetched {
        /// Their stream, and the first that was asked for.
        at: (StreamId, Sequence),
        /// The messages, in order, with the moments at which they were taken in.
        messages: Vec<(Sequence, Time, Arc<Message>)>,
    },
    /// Where results were to be handed out, one is missing.
    GapFound {
        /// The subscription.
        subscription: SubscriptionId,
        /// What was found.
        gap: Gap,
    },
    /// A person says what a subscription is to do now.
    SubscriptionCommand {
        /// Whom to answer.
        request: RequestId,
        /// The subscription.
        name: Box<str>,
        /// Who says so, as far as is known.
        by: Box<str>,
        /// What it is to do.
        order: Order,
    },
    /// A stream is paused or resumed.
    StreamCommand {
        /// Whom to answer.
        request: RequestId,
        /// The stream.
        stream: StreamName,
        /// Who wants it, as far as is known.
        by: Box<str>,
        /// In their words.
        reason: Box<str>,
        /// Whether it is to stand.
        wish: Wish,
    },
    /// The same is decided of several parked messages.
    DecidedMany {
        /// Whom to answer.
        request: RequestId,
        /// Of which, and what.
        bulk: Bulk,
    },
    /// A look at whether a worker is there is done.
    Probed {
        /// The worker.
        worker: Arc<str>,
        /// Whether it takes connections.
        presence: Presence,
    },
    /// A look at the next results for a subscription that catches up is done.
    Scanned {
        /// The subscription.
        subscription: SubscriptionId,
        /// The revision of the subscription in which it was asked for.
        revision: u32,
        /// The last position that was looked at.
        to: Position,
        /// What there was for it.
        found: Vec<SequenceRange>,
    },
    /// The settings changed.
    Settings(Arc<Settings>),
    /// A snapshot is wanted. Nothing else is handled until it is written: see
    /// [`Dispatcher::is_exporting`](super::Dispatcher::is_exporting).
    Snapshot {
        /// Whom to answer, when it is durable.
        request: RequestId,
    },
    /// The journal has room again, or has not.
    Space {
        /// Whether only the reserve is left.
        low: bool,
    },
    /// A target has taken a notice of an alert, or has not.
    Notified {
        /// The alert.
        alert: AlertId,
        /// The target.
        target: Arc<str>,
        /// Whether it was taken.
        outcome: Result<(), TellFailure>,
    },
    /// A subscription is wanted, or is to do something else.
    Subscribe {
        /// Whom to answer, and who that is, as far as is known; `None`: nobody.
        request: Option<(RequestId, Box<str>)>,
        /// Its name.
        name: Box<str>,
        /// What it is meant to do.
        plan: Arc<SubscriptionSpec>,
    },
    /// All that the journal needs of what lies before a snapshot has been copied: the rest is
    /// no longer kept.
    Trim {
        /// Whom to answer.
        request: RequestId,
        /// The head at the snapshot.
        through: Position,
        /// The journal's entry in which it begins.
        below: u64,
        /// What becomes of results that a subscription has yet to take.
        slow: LaggingSubscribers,
    },
    /// A subscription is no longer wanted.
    Unsubscribe {
        /// Whom to answer, and who that is, as far as is known; `None`: the configuration has it no
        /// more.
        request: Option<(RequestId, Box<str>)>,
        /// Its name.
        name: Box<str>,
    },
    /// A worker is there: it registered, sent its heartbeat, or stands in the configuration.
    WorkerSeen {
        /// Its id.
        id: Arc<str>,
        /// Its pool.
        pool: Arc<str>,
        /// How many calls it takes at once; `None`: no bound of ours.
        concurrency: Option<u32>,
        /// Whether it has to be heard again and again to stay (registered workers do).
        beats: bool,
    },
    /// A worker is to finish what it has and get nothing more.
    WorkerDrained {
        /// Its id.
        id: Arc<str>,
    },
    /// A worker is to get work again: it no longer drains, nor is the pause kept that it asked for.
    WorkerResumed {
        /// Its id.
        id: Arc<str>,
    },
    /// A worker is gone.
    WorkerLeft {
        /// Its id.
        id: Arc<str>,
    },
}

/// What becomes of results that a subscription has yet to take, when they are old enough to go.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum LaggingSubscribers {
    /// They go with the others.
    Dropped,
    /// They are kept.
    Kept,
}

/// Messages for one stream, from one request. All of them are taken in, or none.
#[derive(Debug)]
pub struct Arrival {
    /// Whom to answer.
    pub request: RequestId,
    /// The stream.
    pub stream: StreamName,
    /// The messages, in order.
    pub messages: Vec<Arc<Message>>,
}

/// Whom to answer. The shell gives them out.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct RequestId(pub u64);

/// One dispatch of one message to one worker, for as long as it lasts.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct AttemptId(pub u64);

/// What a worker said, or why nothing came.
#[derive(Clone, Debug)]
pub enum WorkerReply {
    /// A whole answer.
    Answer {
        /// Its HTTP status.
        status: u16,
        /// The worker's own word on the outcome.
        outcome: Option<protocol::Outcome>,
        /// What the worker says to people.
        reason: Box<str>,
        /// When it wants to be asked again.
        retry_after: Option<Duration>,
        /// Body and type.
        payload: Payload,
    },
    /// The connection broke after the request went out, or the answer is cut off or too large.
    Broken(Box<str>),
    /// The worker has dropped it, as it was asked to ([`Effect::Cancel`](super::Effect::Cancel)).
    Cancelled,
    /// The worker was not reached.
    Unreachable(Box<str>),
    /// A reused connection was closed before any byte of an answer.
    Stale,
}

/// Whether a worker takes connections.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Presence {
    /// Nobody answers at its address.
    Absent,
    /// It does.
    Present,
}

/// Why a destination has not taken a result.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Refusal {
    /// It takes nothing now, whatever it is: nobody listens there, or it said so (`429`, `503`).
    Away {
        /// When it wants to be asked again.
        retry_after: Option<Duration>,
    },
    /// It failed at this one: an error, a broken connection, or no answer in time.
    Failed,
    /// It is gone for good (`410`).
    Gone,
    /// It refuses this one (`4xx`).
    Rejected,
    /// This one can't be sent there, now or ever.
    Unfit,
}

/// What a person wants of a subscription.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Order {
    /// Its reader has everything up to here.
    Checkpoint(Position),
    /// Stand still.
    Pause,
    /// Go on; what was held is tried again.
    Resume,
    /// Begin again after this position.
    Rewind(Position),
    /// Go on without this result.
    Skip {
        /// Its stream.
        stream: StreamName,
        /// Its place in the stream.
        sequence: Sequence,
        /// In the person's words.
        reason: Box<str>,
    },
}

/// Why somebody could not be told of an alert.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct TellFailure {
    /// When the target wants to be asked again.
    pub retry_after: Option<Duration>,
}

/// What a person wants of a stream.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Wish {
    /// It is to stand.
    Pause,
    /// It is to go on.
    Resume,
}

/// What a person decided on a message.
#[derive(Clone, Debug)]
pub enum Decision {
    /// This is the result.
    Resolve {
        /// Body and type.
        payload: Payload,
        /// In the person's words.
        reason: Box<str>,
    },
    /// Back to the workers.
    Retry {
        /// In the person's words.
        reason: Box<str>,
    },
    /// There is no result; go on without it.
    Skip {
        /// In the person's words.
        reason: Box<str>,
    },
}

/// What is decided of several parked messages together.
#[derive(Clone, Debug)]
pub struct Bulk {
    /// The messages. Of those that are parked no more, nothing is decided.
    pub places: Vec<(StreamId, Sequence)>,
    /// What is decided of each.
    pub decision: Decision,
    /// Who decides, as far as is known.
    pub by: Box<str>,
}
