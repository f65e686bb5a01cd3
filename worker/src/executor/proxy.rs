//! A local HTTP service: messages are passed on to it, its answers are given back as they are.

use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use http_body_util::Full;
use rollcall_common::{
    http::{Peer, SendError, Target},
    limits::MESSAGE_BYTES,
    message::{Payload, is_kept},
    protocol::{self, IDEMPOTENCY_KEY, OUTCOME, REASON, SENDER_KEY},
};

use crate::handler::{Handler, Reply, Request};

/// Times that a message is sent again at once because an idle connection had been closed.
const STALE: usize = 8;
/// Messages after which connections that have been idle for too long are closed.
const SWEEP: usize = 256;

/// Passes messages on to an HTTP service.
#[derive(Debug)]
pub struct Proxy {
    peer: Peer,
    output_limit: usize,
    sent: AtomicUsize,
}

impl Proxy {
    /// Passes messages on to `target`.
    #[must_use]
    pub fn new(target: Target) -> Self {
        Self {
            peer: Peer::new(target, None),
            output_limit: usize::try_from(MESSAGE_BYTES).unwrap_or(usize::MAX),
            sent: AtomicUsize::new(0),
        }
    }

    /// Most bytes of a result.
    #[must_use]
    pub fn output_limit(mut self, bytes: usize) -> Self {
        self.output_limit = bytes;
        self
    }

    async fn send(&self, request: &Request) -> Result<Reply, SendError> {
        if self.sent.fetch_add(1, Ordering::Relaxed).is_multiple_of(SWEEP) {
            self.peer.sweep();
        }
        let mut stale = 0;
        loop {
            let call = self.call(request);
            match self.peer.send(call, self.output_limit).await {
                // Every message has its key, so that it may be seen twice does no harm.
                Err(SendError::Stale) if stale < STALE => stale += 1,
                other => return other.map(reply),
            }
        }
    }

    fn call(&self, request: &Request) -> http::Request<Full<Bytes>> {
        let mut call = http::Request::new(Full::new(request.body.clone()));
        *call.method_mut() = Method::POST;
        *call.uri_mut() = self.peer.uri();
        let headers = call.headers_mut();
        for (name, value) in &request.headers {
            if passes(name) {
                headers.append(name, value.clone());
            }
        }
        for (name, value) in described(request) {
            if let Ok(value) = HeaderValue::try_from(value) {
                headers.entry(name).or_insert(value);
            }
        }
        call
    }
}

impl Handler for Proxy {
    async fn handle(&self, request: Request) -> Reply {
        match self.send(&request).await {
            Ok(reply) => reply,
            Err(error @ SendError::Connect(_)) => Reply::busy(1, error.to_string()),
            Err(error @ SendError::TooLarge(_)) => Reply::park(error.to_string()),
            Err(error @ (SendError::Stale | SendError::Broken(_) | SendError::Truncated(_))) => {
                Reply { status: StatusCode::BAD_GATEWAY, ..Reply::retry(error.to_string()) }
            }
        }
    }
}

/// What the request itself says, as headers (contract §4): over a link there are none.
fn described(request: &Request) -> impl Iterator<Item = (HeaderName, String)> {
    let number = |number: u64| (number > 0).then(|| number.to_string());
    let text = |text: &str| (!text.is_empty()).then(|| text.to_owned());
    let millis = request.timeout.and_then(|timeout| u64::try_from(timeout.as_millis()).ok());
    let named = [
        (protocol::STREAM, text(&request.stream)),
        (protocol::SEQUENCE, number(request.sequence)),
        (protocol::MESSAGE_ID, text(&request.id)),
        (protocol::ATTEMPT, number(request.attempt.into())),
        (protocol::MAX_ATTEMPTS, request.max_attempts.and_then(|most| number(most.into()))),
        (protocol::TIMEOUT_MS, millis.and_then(number)),
        (REASON, text(&request.reason)),
        (IDEMPOTENCY_KEY, text(&request.key).map(|key| format!("\"{key}\""))),
        (SENDER_KEY, text(&request.sender_key)),
        (header::CONTENT_TYPE, text(&request.content_type)),
    ];
    named.into_iter().filter_map(|(name, value)| Some((name, value?)))
}

fn passes(name: &HeaderName) -> bool {
    let text = name.as_str();
    [header::CONTENT_TYPE, IDEMPOTENCY_KEY].contains(name)
        || text.starts_with("rollcall-")
        || is_kept(text)
}

fn reply(answer: rollcall_common::http::Reply) -> Reply {
    let text = |name: HeaderName| field(&answer.headers, &name);
    let mut reply = Reply::of_status(answer.status, text(REASON).unwrap_or_default());
    reply.reason = reply.reason.filter(|reason| !reason.is_empty());
    reply.outcome = text(OUTCOME).and_then(|outcome| outcome.parse().ok());
    reply.retry_after = text(header::RETRY_AFTER).map(Into::into);
    // What has no type is given none; that of the message says nothing of it.
    reply.content_type = Some(text(header::CONTENT_TYPE).unwrap_or_default().into());
    let kept = answer.headers.iter().filter(|(name, _)| Payload::keeps(name.as_str()));
    // What is no text shows as such, and is refused.
    let text = |value: &HeaderValue| String::from_utf8_lossy(value.as_bytes()).into();
    reply.headers = kept.map(|(name, value)| (name.as_str().into(), text(value))).collect();
    reply.body = answer.body;
    reply
}

fn field(headers: &HeaderMap, name: &HeaderName) -> Option<String> {
    let value = headers.get(name)?;
    Some(String::from_utf8_lossy(value.as_bytes()).into_owned())
}
