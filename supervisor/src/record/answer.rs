//! What came of a message: its result, and the attempts that led there.

use std::sync::Arc;

use rollcall_common::{
    ids::MessageId,
    message::{Message, Payload, weight_of},
    time::Time,
};

/// What identifies a message.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct MessageRef {
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
    pub head: MessageRef,
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
            head: MessageRef { id: message.id, accepted_at },
            outcome: Outcome::Completed,
            worker: "".into(),
            reason: "".into(),
            history: Vec::new(),
            attempts: 0,
            payload: Payload {
                content_type: (*message.content_type).into(),
                headers: (*message.headers).into(),
                body: message.body.clone(),
            },
        }
    }

    /// Bytes that it takes up, about.
    #[must_use]
    pub fn weight(&self) -> usize {
        let Payload { content_type, headers, body } = &self.payload;
        size_of::<Self>() + content_type.len() + weight_of(headers) + body.len()
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
    /// It was given up, because a person decided what becomes of the message.
    Cancelled,
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
            Self::Cancelled => "cancelled",
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
