//! What of a result its readers see.

use rollcall_common::{ids::MessageId, time::Time};

use super::{Answer, Outcome, codec::first_header};

/// A result as its readers see it, borrowed from wherever it lies.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct AnswerRef<'a> {
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
    /// The type of the result; empty when it has none.
    pub content_type: &'a str,
    /// What else is said of it.
    pub headers: Beside<'a>,
    /// The result itself.
    pub body: &'a [u8],
}

impl<'a> AnswerRef<'a> {
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
            headers: Beside::Held(&answer.payload.headers),
            body: &answer.payload.body,
        }
    }
}

/// Headers that stand beside a body, borrowed.
#[derive(Clone, Copy, Debug)]
pub enum Beside<'a> {
    /// In memory.
    Held(&'a [(Box<str>, Box<str>)]),
    /// As they were written to the journal, and looked through.
    Written(&'a [u8]),
}

impl<'a> Beside<'a> {
    /// There are none.
    pub const NOTHING: Self = Self::Held(&[]);

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(self) -> bool {
        match self {
            Self::Held(headers) => headers.is_empty(),
            Self::Written(written) => written.is_empty(),
        }
    }

    /// The headers, in the order in which they came.
    pub fn iter(self) -> impl Iterator<Item = (&'a str, &'a str)> {
        let mut rest = self;
        std::iter::from_fn(move || rest.take_first())
    }

    fn take_first(&mut self) -> Option<(&'a str, &'a str)> {
        match self {
            Self::Held(headers) => {
                let ((name, value), rest) = headers.split_first()?;
                *headers = rest;
                Some((name, value))
            }
            Self::Written(written) => {
                let (header, rest) = first_header(written)?;
                *written = rest;
                Some(header)
            }
        }
    }
}

impl PartialEq for Beside<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.iter().eq(other.iter())
    }
}

impl Eq for Beside<'_> {}
