//! What travels: a message on its way in, and an answer on its way out.

use bytes::Bytes;

use crate::ids::MessageId;

/// The content type of a message or an answer whose sender named none.
pub const OCTET_STREAM: &str = "application/octet-stream";

/// A message, as taken in. Nothing of it changes afterwards.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Message {
    /// Its identity.
    pub id: MessageId,
    /// The producer's idempotency key, if it gave one.
    pub key: Option<Key>,
    /// The body's type, as received.
    pub content_type: Box<str>,
    /// `ce-*`, `traceparent` and `tracestate`, as received, names in lower case.
    pub headers: Box<[(Box<str>, Box<str>)]>,
    /// The body.
    pub body: Bytes,
}

impl Message {
    /// Bytes that it takes up, about.
    #[must_use]
    pub fn weight(&self) -> usize {
        let headers: usize =
            self.headers.iter().map(|(name, value)| name.len() + value.len()).sum();
        size_of::<Self>() + self.content_type.len() + headers + self.body.len()
    }
}

/// A producer's idempotency key, with a digest of what it stands for.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Key {
    /// The key, as given.
    pub text: Box<str>,
    /// A digest of the message's bytes and type: the same key with another one is a mistake.
    pub fingerprint: [u8; 16],
}

/// A body with its type: what a worker, or a person in its place, says a message's result is.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Payload {
    /// The body's type; empty when there is none (as with `204`).
    pub content_type: Box<str>,
    /// The body.
    pub body: Bytes,
}

/// Bodies below this size are copied out of what they were read with.
const COPIED_BYTES: usize = 64 << 10;

/// The same bytes, without the buffer around them: a small body that is kept must not keep the
/// whole read, or the whole batch, that it came with.
#[must_use]
pub fn compact(body: Bytes) -> Bytes {
    if body.len() < COPIED_BYTES { Bytes::copy_from_slice(&body) } else { body }
}
