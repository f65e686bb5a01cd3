//! What of a result its readers see.

use rollcall_common::{ids::MessageId, time::Time};

use super::{Answer, Outcome};

/// A result as its readers see it, borrowed from wherever it lies.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Glance<'a> {
    /// Of which message.
    pub id: MessageId,
    /// When that was taken in.
    pub accepted_at: Time,
    /// How it came by its result.
    pub outcome: Outcome,
    /// The worker that answered; empty when none did.
    pub worker: &'a str,
    /// Why, for people; empty when there is nothing to say.
    pub reason: &'a str,
    /// The number of the last attempt; 0 when none was made.
    pub attempts: u32,
    /// The type of the result.
    pub content_type: &'a str,
    /// The result itself.
    pub body: &'a [u8],
}

impl<'a> Glance<'a> {
    /// At a result in memory.
    #[must_use]
    pub fn at(answer: &'a Answer) -> Self {
        Self {
            id: answer.head.id,
            accepted_at: answer.head.accepted_at,
            outcome: answer.outcome,
            worker: &answer.worker,
            reason: &answer.reason,
            attempts: answer.attempts,
            content_type: &answer.payload.content_type,
            body: &answer.payload.body,
        }
    }
}
