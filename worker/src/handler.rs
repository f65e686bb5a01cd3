//! What a user of the library writes: a [`Handler`] that turns a [`Request`] into a [`Reply`].

use std::{fmt, future::Future, sync::Arc, time::Duration};

use bytes::Bytes;
use futures_util::{FutureExt as _, future::BoxFuture};
use http::{HeaderMap, StatusCode};
use rollcall_common::{limits::REASON_BYTES, message::Headers, protocol::Outcome};

/// A message to work on.
#[derive(Clone, Debug, Default)]
pub struct Request {
    /// Its stream; empty when the caller named none.
    pub stream: Box<str>,
    /// Its number in the stream; 0 when the caller gave none.
    pub sequence: u64,
    /// Its identity; empty when the caller gave none.
    pub id: Box<str>,
    /// The same on every attempt at this message; empty when the caller gave none.
    pub key: Box<str>,
    /// 1 + the failures counted so far.
    pub attempt: u32,
    /// Of how many.
    pub max_attempts: Option<u32>,
    /// How long this attempt may take. Advice only: a late answer still counts.
    pub timeout: Option<Duration>,
    /// Why this attempt is made: `first`, `retry`, `hedge`, `manual`; empty when not said.
    pub reason: Box<str>,
    /// The sender's own idempotency key; empty when it gave none.
    pub sender_key: Box<str>,
    /// The body's type, as the producer gave it; empty when it gave none.
    pub content_type: Box<str>,
    /// Headers that came with the message, `ce-*`, `traceparent` and `tracestate` among them.
    pub headers: HeaderMap,
    /// The body.
    pub body: Bytes,
}

/// What became of a message.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Reply {
    /// The HTTP status. What it means is in the contract, unless `outcome` says otherwise.
    pub status: StatusCode,
    /// The outcome, where the status alone doesn't say it.
    pub outcome: Option<Outcome>,
    /// Text for people.
    pub reason: Option<Box<str>>,
    /// The body's type; absent: that of the message.
    pub content_type: Option<Box<str>>,
    /// What else is said of the result: `ce-*` makes it an event, and `traceparent`, `tracestate`
    /// and `content-encoding` travel with it, too. Others stay behind.
    pub headers: Headers,
    /// The value of `Retry-After`.
    pub retry_after: Option<Box<str>>,
    /// The result.
    pub body: Bytes,
}

impl Reply {
    /// The result, of the same content type as the message.
    #[must_use]
    pub fn ok(body: impl Into<Bytes>) -> Self {
        Self { outcome: Some(Outcome::Ok), ..Self::bare(StatusCode::OK, body.into()) }
    }

    /// It failed; another try may help.
    #[must_use]
    pub fn retry(reason: impl AsRef<str>) -> Self {
        Self::failed(StatusCode::INTERNAL_SERVER_ERROR, Outcome::Retry, reason)
    }

    /// It failed and will again: a person has to decide.
    #[must_use]
    pub fn park(reason: impl AsRef<str>) -> Self {
        Self::failed(StatusCode::UNPROCESSABLE_ENTITY, Outcome::Park, reason)
    }

    /// There is no result, and that is right.
    #[must_use]
    pub fn skip(reason: impl AsRef<str>) -> Self {
        Self::failed(StatusCode::OK, Outcome::Skip, reason)
    }

    /// Not now: another worker, and this one again after `seconds`.
    #[must_use]
    pub fn busy(seconds: u64, reason: impl AsRef<str>) -> Self {
        Self::of_status(StatusCode::SERVICE_UNAVAILABLE, reason)
            .with_retry_after(seconds.to_string())
    }

    /// A bare HTTP status with a reason; the contract says what the status means.
    #[must_use]
    pub fn of_status(status: StatusCode, reason: impl AsRef<str>) -> Self {
        Self { reason: Some(clean(reason.as_ref())), ..Self::bare(status, Bytes::new()) }
    }

    /// The same with a content type of its own.
    #[must_use]
    pub fn with_content_type(mut self, content_type: impl Into<Box<str>>) -> Self {
        self.content_type = Some(content_type.into());
        self
    }

    /// The same with one more header that travels with the result (see [`Reply::headers`]).
    #[must_use]
    pub fn with_header(mut self, name: &str, value: &str) -> Self {
        let header = (name.to_ascii_lowercase().into(), value.into());
        self.headers = std::mem::take(&mut self.headers).into_iter().chain([header]).collect();
        self
    }

    /// The same with a `Retry-After`.
    #[must_use]
    pub fn with_retry_after(mut self, value: impl Into<Box<str>>) -> Self {
        self.retry_after = Some(value.into());
        self
    }

    /// Whether the body is the message's result.
    #[must_use]
    pub fn is_ok(&self) -> bool {
        match self.outcome {
            Some(outcome) => outcome == Outcome::Ok,
            None => self.status.is_success(),
        }
    }

    fn failed(status: StatusCode, outcome: Outcome, reason: impl AsRef<str>) -> Self {
        Self { outcome: Some(outcome), ..Self::of_status(status, reason) }
    }

    fn bare(status: StatusCode, body: Bytes) -> Self {
        Self {
            status,
            outcome: None,
            reason: None,
            content_type: None,
            headers: Headers::default(),
            retry_after: None,
            body,
        }
    }
}

/// `text` as it can stand in a header: control characters become spaces, and it ends after
/// [`REASON_BYTES`].
fn clean(text: &str) -> Box<str> {
    let mut clean = String::with_capacity(text.len().min(REASON_BYTES));
    let text = text.trim_matches(|letter: char| letter.is_control() || letter.is_whitespace());
    for letter in text.chars() {
        let letter = if letter.is_control() { ' ' } else { letter };
        if clean.len() + letter.len_utf8() > REASON_BYTES {
            break;
        }
        clean.push(letter);
    }
    clean.into()
}

/// Turns messages into results. The future is dropped when nobody waits for the answer any more.
///
/// ```
/// use rollcall_worker::{Handler, Reply, Request};
///
/// struct Upper;
///
/// impl Handler for Upper {
///     async fn handle(&self, request: Request) -> Reply {
///         Reply::ok(request.body.to_ascii_uppercase())
///     }
/// }
/// ```
pub trait Handler: Send + Sync + 'static {
    /// Works on one message.
    fn handle(&self, request: Request) -> impl Future<Output = Reply> + Send;
}

/// A handler made of a function; see [`from_fn`].
#[derive(Clone, Copy, Debug)]
pub struct FromFn<F>(F);

/// The handler that calls `function`.
pub fn from_fn<F, A>(function: F) -> FromFn<F>
where
    F: Fn(Request) -> A + Send + Sync + 'static,
    A: Future<Output = Reply> + Send,
{
    FromFn(function)
}

impl<F, A> Handler for FromFn<F>
where
    F: Fn(Request) -> A + Send + Sync + 'static,
    A: Future<Output = Reply> + Send,
{
    fn handle(&self, request: Request) -> impl Future<Output = Reply> + Send {
        (self.0)(request)
    }
}

/// A handler of which kind is known only at run time. Cheap to clone.
#[derive(Clone)]
pub struct AnyHandler(Arc<dyn Boxed>);

trait Boxed: Send + Sync {
    fn handle(self: Arc<Self>, request: Request) -> BoxFuture<'static, Reply>;
}

impl<H: Handler> Boxed for H {
    fn handle(self: Arc<Self>, request: Request) -> BoxFuture<'static, Reply> {
        async move { Handler::handle(&*self, request).await }.boxed()
    }
}

impl AnyHandler {
    /// Hides which kind of handler it is.
    #[must_use]
    pub fn new(handler: impl Handler) -> Self {
        Self(Arc::new(handler))
    }

    /// Works on one message; the future borrows nothing.
    pub fn start(&self, request: Request) -> BoxFuture<'static, Reply> {
        Arc::clone(&self.0).handle(request)
    }
}

impl Handler for AnyHandler {
    fn handle(&self, request: Request) -> impl Future<Output = Reply> + Send {
        self.start(request)
    }
}

impl fmt::Debug for AnyHandler {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AnyHandler")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reasons_are_cleaned_and_cut() {
        let reply = Reply::park("a\nb\0c\u{7f}");
        assert_eq!(reply.reason.as_deref(), Some("a b c"));
        let reply = Reply::retry("ü".repeat(REASON_BYTES));
        assert_eq!(reply.reason.map(|reason| reason.len()), Some(REASON_BYTES));
    }

    #[test]
    fn the_outcome_overrides_the_status() {
        assert!(Reply::ok("x").is_ok());
        assert!(!Reply::skip("x").is_ok());
        assert!(!Reply::of_status(StatusCode::CONFLICT, "").is_ok());
    }
}
