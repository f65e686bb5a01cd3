//! What is to be done: all that the dispatcher asks of the shell.

use std::{sync::Arc, time::Duration};

use rollcall_common::{
    ids::{MessageId, Position, Sequence, StreamId, StreamName},
    message::Message,
    time::Time,
};

use super::{
    alert::{AlertStatus, NoticeKind},
    event::{AttemptId, RequestId},
};
use crate::record::{Batching, Reason, Record, SubscriptionId, SubscriptionSpec};

/// Something to be done.
///
/// [`Effect::Append`], [`Effect::Dispatch`] and [`Effect::Probe`] are done at once. Everything else
/// says something to the outside, or reads what was appended, and waits until that is durable.
#[derive(Debug)]
pub enum Effect {
    /// Write this record down. It has been applied already.
    Append(Record),
    /// An attempt's answer is no longer needed: its worker may drop it, if it can be told so.
    Cancel {
        /// The attempt.
        attempt: AttemptId,
        /// Its worker.
        worker: Arc<str>,
    },
    /// What stands before this and what follows need not be in one entry of the journal.
    Cut,
    /// A worker was gone for so long that nothing is known of it any more.
    Forget {
        /// The worker.
        worker: Arc<str>,
    },
    /// An attempt is given up: it is over, whatever its worker makes of it. Over plain HTTP its
    /// connection is closed.
    GiveUp {
        /// The attempt.
        attempt: AttemptId,
        /// Its worker.
        worker: Arc<str>,
    },
    /// Hand results of one stream to a subscription's destination.
    Deliver(Delivery),
    /// Hand a message to a worker.
    Dispatch(Dispatch),
    /// Read messages back from the journal, from `first` to at most `last`, in order.
    Fetch {
        /// Their stream.
        stream: StreamId,
        /// The first; it is needed.
        first: Sequence,
        /// The last that makes sense.
        last: Sequence,
        /// Bytes of them that there is room for; the first comes in any case.
        bytes: usize,
    },
    /// Look whether a worker is there: a new connection, within
    /// [`PROBE_TIMEOUT`](rollcall_common::limits::PROBE_TIMEOUT).
    Probe {
        /// The worker.
        worker: Arc<str>,
    },
    /// Senders of a subscription that set out in an earlier revision are to come back.
    Recall {
        /// The subscription.
        subscription: SubscriptionId,
        /// Its revision now.
        revision: u32,
    },
    /// A result has its turn: it is there for readers from now on.
    Release(Released),
    /// Answer a request.
    Reply(RequestId, Reply),
    /// Tell somebody of an alert.
    Tell(Notice),
    /// Look at the results after `after`, up to the newest, for a subscription that catches up.
    Scan {
        /// The subscription.
        subscription: SubscriptionId,
        /// Its revision, to be told with what was found.
        revision: u32,
        /// The last position that it has looked at.
        after: Position,
    },
}

/// One attempt to be made.
#[derive(Clone, Debug)]
pub struct Dispatch {
    /// The attempt; the answer names it.
    pub attempt: AttemptId,
    /// The message's stream.
    pub stream: StreamId,
    /// That stream's name.
    pub stream_name: StreamName,
    /// The message's place in it.
    pub sequence: Sequence,
    /// The message.
    pub message: Arc<Message>,
    /// The worker.
    pub worker: Arc<str>,
    /// 1 + the failures counted so far.
    pub number: u32,
    /// Of how many.
    pub max_attempts: u32,
    /// Why.
    pub reason: Reason,
    /// How long it has.
    pub timeout: Duration,
}

/// What somebody is told of an alert.
#[derive(Clone, Debug)]
pub struct Notice {
    /// The alert, as it stands.
    pub alert: AlertStatus,
    /// Who is told.
    pub target: Arc<str>,
    /// What.
    pub kind: NoticeKind,
    /// Tells apart what a target is told of one alert, and is the same on every try of a notice.
    pub number: u64,
    /// 1 + the notices that the target has not taken since the last one that it took.
    pub attempt: u32,
}

/// Results to be delivered: those of one stream from `first` to at most `last`, in order.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Delivery {
    /// The subscription.
    pub subscription: SubscriptionId,
    /// Its name.
    pub name: Arc<str>,
    /// What it is meant to do.
    pub plan: Arc<SubscriptionSpec>,
    /// The subscription's revision; when it grows, the sender is to come back.
    pub revision: u32,
    /// The stream.
    pub stream: StreamId,
    /// The first that is not done.
    pub first: Sequence,
    /// The last that is there.
    pub last: Sequence,
    /// 1 + the tries of the first one that failed.
    pub attempt: u32,
    /// Results up to this position are replayed.
    pub replay_until: Position,
    /// How its results travel together, where that is fixed; otherwise one by one. No more than
    /// this is about is sent.
    pub batching: Option<Batching>,
    /// Those of the stream's results that people have it go on without, in order.
    pub passed_over: Box<[Sequence]>,
    /// How often the subscription was rewound.
    pub generation: u32,
}

/// A result's turn.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Released {
    /// Its position.
    pub position: Position,
    /// Its stream.
    pub stream: StreamId,
    /// Its place in the stream.
    pub sequence: Sequence,
    /// When.
    pub at: Time,
    /// Whether there is nothing to push: the message was skipped.
    pub skipped: bool,
}

/// An answer to a request.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Reply {
    /// The messages are taken in.
    Accepted {
        /// Each message's place, in the order of the request.
        taken: Vec<Taken>,
    },
    /// The alert is resolved already.
    AlertResolved,
    /// The stream's unreleased messages are at their bound.
    Backlogged {
        /// The bound.
        limit: u64,
        /// How many there are.
        waiting: u64,
    },
    /// A key was seen with other content.
    Conflict {
        /// Which message of the request, from 0.
        index: usize,
        /// Where the key was seen.
        sequence: Sequence,
    },
    /// Several parked messages are decided.
    DecidedMany {
        /// How many.
        count: u64,
    },
    /// It is done.
    Done,
    /// The journal has only its reserve left.
    Full,
    /// The message has its result already.
    HasResult,
    /// There are more messages than the stream may ever have unreleased.
    NeverFits {
        /// How many it may have.
        limit: u64,
    },
    /// The message is not parked.
    NotParked,
    /// The messages of the request do not fit into one entry of the journal.
    TooLarge {
        /// How many bytes they take up there.
        bytes: usize,
        /// How many they may.
        limit: usize,
    },
    /// There are as many streams as there may be.
    TooManyStreams {
        /// The bound.
        limit: usize,
    },
    /// An answer about a subscription.
    Subscription(SubscriptionReply),
    /// There is no such alert.
    UnknownAlert,
    /// There is no such message.
    UnknownMessage,
    /// There is no such stream.
    UnknownStream,
}

/// An answer about a subscription.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum SubscriptionReply {
    /// The position is beyond the head.
    Beyond(Position),
    /// It stands in the configuration, which alone can change it.
    Configured,
    /// It is there now, and was not before.
    Created,
    /// It is done.
    Done,
    /// It has no such result to deliver: it has, it will later, or never.
    NotDue,
    /// A push subscription's checkpoint is its destination's to move.
    NotPull,
    /// The reader of a pull subscription passes over what it likes by itself.
    NotPush,
    /// There are as many as there may be.
    TooMany,
    /// As many results are passed over as may be.
    TooManyPassedOver,
    /// The configuration named it once, and has to name it again before it goes on.
    Unconfigured,
    /// There is no such subscription.
    Unknown,
}

/// A message's place.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Taken {
    /// Its place in the stream.
    pub sequence: Sequence,
    /// Its id.
    pub id: MessageId,
    /// Whether its key was seen before with the same content.
    pub duplicate: bool,
}
