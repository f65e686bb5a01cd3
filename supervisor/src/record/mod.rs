//! What the journal says. State is a fold over these records; whatever must survive is one of
//! them. Their bytes are in [`codec`].

use std::sync::Arc;

use rollcall_common::{
    ids::{MessageId, Position, Sequence, StreamId, StreamName},
    message::{Message, Payload},
    time::Time,
};

use base::Base;

mod alert;
pub mod base;
#[cfg(any(test, feature = "checks"))]
pub mod checks;
pub mod codec;
mod glance;
mod plan;
#[cfg(test)]
mod tests;

pub use alert::{AlertId, AlertRecord, AlertStage, Severity, Subject};
pub use glance::Glance;
pub use plan::{DEFAULT_TIMEOUT, Gap, Origin, PauseReason, Plan, Start, Way};

/// The number of a subscription inside one journal. Dense, from 0, never used again.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
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
    /// [`Record::Passed`].
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
    Arranged {
        /// The subscription.
        subscription: SubscriptionId,
        /// What it is meant to do.
        plan: Arc<Plan>,
    },
    /// The reader of a pull subscription has done everything up to a position.
    Checkpointed {
        /// The subscription.
        subscription: SubscriptionId,
        /// The last position that is done.
        to: Position,
    },
    /// A part of a snapshot of the state.
    Base(Base),
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
    Opened {
        /// Its number from now on.
        stream: StreamId,
        /// Its name.
        name: StreamName,
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
        head: Head,
        /// Why, in a word.
        cause: ParkCause,
        /// Why, for people.
        reason: Box<str>,
    },
    /// The stream has no processing step: its messages from `first` to `last` are their own
    /// results.
    Passed {
        /// The stream.
        stream: StreamId,
        /// The first one.
        first: Sequence,
        /// The last one.
        last: Sequence,
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
        found: Vec<Found>,
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
    Suspected {
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
pub struct Found {
    /// The stream.
    pub stream: StreamId,
    /// The first sequence.
    pub first: Sequence,
    /// The position of the first.
    pub position: Position,
    /// The last sequence.
    pub last: Sequence,
}

/// What identifies a message.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Head {
    /// Its id.
    pub id: MessageId,
    /// When it was taken in.
    pub accepted_at: Time,
}

/// How a message came by its result.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Outcome {
    /// A worker answered.
    Completed,
    /// A person supplied the result.
    Resolved,
    /// There is none, and the stream goes on without it.
    Skipped,
}

impl Outcome {
    /// The word that the outside sees.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Completed => "completed",
            Self::Resolved => "resolved",
            Self::Skipped => "skipped",
        }
    }
}

/// A result: the first accepted answer, with what a reader wants to know beside it, so that one
/// read of the journal is enough.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Answer {
    /// Which message.
    pub head: Head,
    /// How it came by its result.
    pub outcome: Outcome,
    /// The worker that answered; empty when none did.
    pub worker: Box<str>,
    /// Why, for people; empty when there is nothing to say.
    pub reason: Box<str>,
    /// The attempts that were made, the last one last.
    pub history: Vec<Arc<AttemptReport>>,
    /// The number of the last attempt; 0 when none was made.
    pub attempts: u32,
    /// The result itself.
    pub payload: Payload,
}

impl Answer {
    /// The result of a message in a stream without a processing step: the message.
    #[must_use]
    pub fn passed(message: &Message, accepted_at: Time) -> Self {
        Self {
            head: Head { id: message.id, accepted_at },
            outcome: Outcome::Completed,
            worker: "".into(),
            reason: "".into(),
            history: Vec::new(),
            attempts: 0,
            payload: Payload {
                content_type: message.content_type.clone(),
                body: message.body.clone(),
            },
        }
    }

    /// Bytes that it takes up, about.
    #[must_use]
    pub fn weight(&self) -> usize {
        size_of::<Self>() + self.payload.body.len() + self.payload.content_type.len()
    }
}

/// Why an attempt was made.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Reason {
    /// It was the first.
    First,
    /// A copy, because the one before it was slow.
    Hedge,
    /// A person asked for it.
    Manual,
    /// One before it failed.
    Retry,
}

impl Reason {
    /// The word that the outside sees.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::First => "first",
            Self::Hedge => "hedge",
            Self::Manual => "manual",
            Self::Retry => "retry",
        }
    }
}

/// How an attempt ended.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Ending {
    /// Its answer was accepted.
    Accepted,
    /// The worker has no room now.
    Busy,
    /// The connection broke, or the answer was cut off or too large.
    Broken,
    /// The worker answered with an error.
    Error,
    /// The worker is not set up for this.
    Misconfigured,
    /// The worker will never take this message.
    Refused,
    /// The worker asked for another try.
    Retry,
    /// No answer in time.
    Timeout,
    /// The worker was never reached.
    Unreachable,
}

impl Ending {
    /// The word that the outside sees.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Accepted => "ok",
            Self::Broken => "broken",
            Self::Busy => "busy",
            Self::Error => "error",
            Self::Misconfigured => "misconfigured",
            Self::Refused => "refused",
            Self::Retry => "retry",
            Self::Timeout => "timeout",
            Self::Unreachable => "unreachable",
        }
    }
}

/// One attempt, as people want to see it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct AttemptReport {
    /// 1 + the failures counted before it.
    pub attempt: u32,
    /// The worker.
    pub worker: Arc<str>,
    /// Why it was made.
    pub reason: Reason,
    /// When it began.
    pub started_at: Time,
    /// When it ended.
    pub ended_at: Time,
    /// How it ended.
    pub ending: Ending,
    /// The worker's HTTP status, if it answered.
    pub status: Option<u16>,
    /// What else there is to say.
    pub detail: Box<str>,
}
