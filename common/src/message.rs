//! What travels: a message on its way in, and an answer on its way out.

use std::sync::Arc;

use bytes::Bytes;

use crate::{ids::MessageId, limits::KEY_BYTES};

/// The content type of bytes of which nothing is known.
pub const OCTET_STREAM: &str = "application/octet-stream";

/// Headers that travel with a body, names in lower case, in the order in which they came.
pub type Headers = Box<[(Box<str>, Box<str>)]>;

/// The same, where several messages have them.
pub type SharedHeaders = Arc<[(Box<str>, Box<str>)]>;

/// A message, as taken in. Nothing of it changes afterwards.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Message {
    /// Its identity.
    pub id: MessageId,
    /// The producer's idempotency key, if it gave one.
    pub key: Option<Key>,
    /// The body's type, as received; empty when its sender named none. Messages of one request
    /// share it.
    pub content_type: Arc<str>,
    /// `ce-*`, `traceparent` and `tracestate`, as received. Messages of one request share them.
    pub headers: SharedHeaders,
    /// The body.
    pub body: Bytes,
}

impl Message {
    /// Bytes that it takes up, about.
    #[must_use]
    pub fn weight(&self) -> usize {
        let headers = weight_of(&self.headers);
        size_of::<Self>() + self.content_type.len() + headers + self.body.len()
    }

    /// The headers that say of which trace it is: its result is of the same one.
    #[must_use]
    pub fn trace(&self) -> Headers {
        self.headers.iter().filter(|(name, _)| is_trace(name)).cloned().collect()
    }
}

/// Headers that are shared; most messages have none, and those need no room.
#[must_use]
pub fn shared(headers: Headers) -> SharedHeaders {
    if headers.is_empty() { Arc::default() } else { headers.into() }
}

/// Bytes of names and values.
#[must_use]
pub fn weight_of(headers: &[(Box<str>, Box<str>)]) -> usize {
    headers.iter().map(|(name, value)| name.len() + value.len()).sum()
}

/// Whether a header of this name, in lower case, says of which trace something is.
#[must_use]
pub fn is_trace(name: &str) -> bool {
    matches!(name, "traceparent" | "tracestate")
}

/// Whether a header of this name, in lower case, is of the message itself: an attribute of an
/// event, or its trace context.
#[must_use]
pub fn is_kept(name: &str) -> bool {
    name.starts_with("ce-") || is_trace(name)
}

/// A producer's idempotency key, with a digest of what it stands for.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Key {
    /// The key, as given.
    pub text: Box<str>,
    /// A digest of the message's bytes and type: the same key with another one is a mistake.
    pub fingerprint: [u8; 16],
}

impl Key {
    /// The key of an event that has no other: what its source and its id make. Control characters
    /// keep it apart from any key that a header can carry; one that is long or strange is its
    /// digest.
    #[must_use]
    pub fn of_event(source: &str, id: &str, digest: impl FnOnce(&str) -> [u8; 32]) -> Box<str> {
        let whole = format!("\u{1}{source}\u{1}{id}");
        let plain = !source.contains('\u{1}') && !id.contains('\u{1}');
        if plain && whole.len() <= KEY_BYTES {
            return whole.into();
        }
        // Two that differ are never the same text.
        let whole = format!("{}{whole}", source.len());
        let digits = digest(&whole).into_iter().map(|byte| format!("{byte:02x}"));
        format!("\u{2}{}", digits.collect::<String>()).into()
    }

    /// The key as its sender gave it; `None` when it was made of an event's source and id.
    #[must_use]
    pub fn given(&self) -> Option<&str> {
        let made = self.text.starts_with(['\u{1}', '\u{2}']);
        (!made).then_some(&*self.text)
    }
}

/// A body with its type: what a worker, or a person in its place, says a message's result is.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Payload {
    /// The body's type; empty when there is none (as with `204`).
    pub content_type: Box<str>,
    /// What else is said of it: `ce-*`, `traceparent`, `tracestate`, `content-encoding`.
    pub headers: Headers,
    /// The body.
    pub body: Bytes,
}

impl Payload {
    /// Whether a header of this name, in lower case, is kept of an answer.
    #[must_use]
    pub fn keeps(name: &str) -> bool {
        is_kept(name) || name == "content-encoding"
    }

    /// The same, of the message's trace, unless it says of which one it is.
    #[must_use]
    pub fn traced(mut self, trace: &[(Box<str>, Box<str>)]) -> Self {
        if !trace.is_empty() && !self.headers.iter().any(|(name, _)| is_trace(name)) {
            let own = std::mem::take(&mut self.headers);
            self.headers = own.into_iter().chain(trace.iter().cloned()).collect();
        }
        self
    }
}

/// Bodies below this size are copied out of what they were read with.
const COPIED_BYTES: usize = 64 << 10;

/// The same bytes, without the buffer around them: a small body that is kept must not keep the
/// whole read, or the whole batch, that it came with.
#[must_use]
pub fn compact(body: Bytes) -> Bytes {
    if body.len() < COPIED_BYTES { Bytes::copy_from_slice(&body) } else { body }
}

/// The same bytes, without the `whole` that they came in, unless they are most of it: a message of
/// a batch must not keep the others in memory.
#[must_use]
pub fn apart(body: Bytes, whole: usize) -> Bytes {
    if body.len() < whole / 2 { Bytes::copy_from_slice(&body) } else { compact(body) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_keeps_only_what_is_mostly_its_own() {
        let whole = Bytes::from(vec![1; 400 << 10]);
        let kept = |part: &Bytes| whole.as_ptr_range().contains(&part.as_ptr());
        for (bytes, shares) in [(1, false), (100, false), (199, false), (200, true), (400, true)] {
            let part = apart(whole.slice(..bytes << 10), whole.len());
            assert_eq!((part.len(), kept(&part)), (bytes << 10, shares));
        }
    }

    fn headers(all: &[(&str, &str)]) -> Headers {
        all.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect()
    }

    #[test]
    fn an_answer_is_of_its_messages_trace_unless_it_has_its_own() {
        let trace = headers(&[("traceparent", "a"), ("tracestate", "b")]);
        let event = Payload { headers: headers(&[("ce-id", "1")]), ..Payload::default() };
        let traced = event.traced(&trace);
        let all = headers(&[("ce-id", "1"), ("traceparent", "a"), ("tracestate", "b")]);
        assert_eq!(traced.headers, all);
        let own = Payload { headers: headers(&[("traceparent", "c")]), ..Payload::default() };
        assert_eq!(own.clone().traced(&trace), own);
        assert_eq!(Payload::default().traced(&[]), Payload::default());
    }

    #[test]
    fn long_keys_of_events_are_digests_and_no_sender_gave_them() {
        let short = Key::of_event("/s", "7", |_| [0; 32]);
        assert_eq!(&*short, "\u{1}/s\u{1}7");
        let long = Key::of_event("/s", &"7".repeat(KEY_BYTES), |whole| {
            assert!(whole.ends_with("777"));
            [0xab; 32]
        });
        assert_eq!(*long, format!("\u{2}{}", "ab".repeat(32)));
        let whole_of = |source, id| {
            let mut seen = String::new();
            let _ = Key::of_event(source, id, |whole| {
                whole.clone_into(&mut seen);
                [0; 32]
            });
            seen
        };
        assert_ne!(whole_of("a\u{1}b", "c"), whole_of("a", "b\u{1}c"));
        for text in [short, long] {
            assert_eq!(Key { text, fingerprint: [0; 16] }.given(), None);
        }
        assert_eq!(Key { text: "k".into(), fingerprint: [0; 16] }.given(), Some("k"));
    }
}
