//! One call to one worker over plain HTTP: the request that the contract describes (§4), and the
//! reply in the dispatcher's words.

use std::sync::Arc;

use arc_swap::ArcSwap;
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, StatusCode, header};
use http_body_util::Full;
use rollcall_common::{
    http::{Reply, SendError},
    limits::{LATE_ANSWER, PROBE_TIMEOUT, REASON_BYTES},
    message::{Payload, compact},
    protocol, task,
};

use super::registry::{Member, Registry};
use crate::{
    dispatcher::{Dispatch, Event, WorkerReply, event::Presence},
    driver::Handle,
    web::{Sizes, retry_after},
};

/// Hands messages to workers.
#[derive(Debug)]
pub struct Link {
    /// Where they are.
    pub registry: Arc<Registry>,
    /// Where answers go.
    pub handle: Handle,
    /// How large a result may be.
    pub sizes: Arc<ArcSwap<Sizes>>,
}

impl Link {
    /// Makes an attempt. It does not block; the answer goes to the driver.
    pub fn dispatch(self: &Arc<Self>, dispatch: Dispatch) {
        let link = Arc::clone(self);
        task::spawn("attempt", async move {
            let attempt = dispatch.attempt;
            // An attempt whose time is up is not withdrawn; but no call is for ever.
            let longest = dispatch.timeout + LATE_ANSWER;
            let Ok(reply) = tokio::time::timeout(longest, link.call(dispatch)).await else {
                return;
            };
            // Err: the driver has ended, and nobody waits.
            let _ = link.handle.tell(Event::Answered { attempt, reply }).await;
        });
    }

    /// Looks whether a worker takes connections. It does not block; the answer goes to the driver.
    pub fn probe(self: &Arc<Self>, worker: Arc<str>) {
        let link = Arc::clone(self);
        task::spawn("probe", async move {
            let member = link.registry.find(&worker);
            let presence = match member {
                Some(member) if member.peer.probe(PROBE_TIMEOUT).await => Presence::Present,
                Some(_) | None => Presence::Absent,
            };
            // Err: the driver has ended, and nobody waits.
            let _ = link.handle.tell(Event::Probed { worker, presence }).await;
        });
    }

    async fn call(&self, dispatch: Dispatch) -> WorkerReply {
        let Some(member) = self.registry.find(&dispatch.worker) else {
            return WorkerReply::Unreachable("the worker has left".into());
        };
        let Some(request) = request(&member, &dispatch) else {
            return WorkerReply::Broken("the message's headers can't be sent".into());
        };
        match member.peer.send(request, self.sizes.load().message).await {
            Ok(reply) => answer(reply),
            Err(error @ SendError::Connect(_)) => WorkerReply::Unreachable(text(&error)),
            Err(SendError::Stale) => WorkerReply::Stale,
            Err(
                error @ (SendError::Broken(_) | SendError::Truncated(_) | SendError::TooLarge(_)),
            ) => WorkerReply::Broken(text(&error)),
        }
    }
}

fn text(error: &SendError) -> Box<str> {
    error.to_string().into()
}

fn request(member: &Member, dispatch: &Dispatch) -> Option<Request<Full<Bytes>>> {
    let message = &dispatch.message;
    let body = Full::new(message.body.clone());
    let mut request = Request::new(body);
    *request.method_mut() = Method::POST;
    *request.uri_mut() = member.peer.target().path().parse().ok()?;
    let headers = request.headers_mut();
    headers.reserve(16);
    for (name, value) in &message.headers {
        let name = HeaderName::from_bytes(name.as_bytes()).ok()?;
        headers.append(name, HeaderValue::from_str(value).ok()?);
    }
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_str(&message.content_type).ok()?);
    headers.insert(protocol::STREAM, HeaderValue::from_str(dispatch.stream_name.as_str()).ok()?);
    headers.insert(protocol::SEQUENCE, dispatch.sequence.0.into());
    let id = message.id.to_string();
    headers.insert(protocol::MESSAGE_ID, HeaderValue::from_str(&id).ok()?);
    headers.insert(protocol::IDEMPOTENCY_KEY, HeaderValue::from_str(&format!("\"{id}\"")).ok()?);
    headers.insert(protocol::ATTEMPT, dispatch.number.into());
    headers.insert(protocol::MAX_ATTEMPTS, dispatch.max_attempts.into());
    let timeout = u64::try_from(dispatch.timeout.as_millis()).unwrap_or(u64::MAX);
    headers.insert(protocol::TIMEOUT_MS, timeout.into());
    headers.insert(protocol::REASON, HeaderValue::from_static(dispatch.reason.as_str()));
    Some(request)
}

fn answer(reply: Reply) -> WorkerReply {
    let Reply { status, headers, body } = reply;
    let outcome = headers.get(protocol::OUTCOME).and_then(|value| value.to_str().ok());
    let content_type = if status == StatusCode::NO_CONTENT {
        ""
    } else {
        let stated = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
        stated.unwrap_or(rollcall_common::message::OCTET_STREAM)
    };
    WorkerReply::Answer {
        status: status.as_u16(),
        outcome: outcome.and_then(|word| word.parse().ok()),
        reason: reason(&headers),
        retry_after: retry_after(&headers),
        payload: Payload { content_type: content_type.into(), body: compact(body) },
    }
}

/// What a worker says to people: shown in logs and on pages, so without control characters.
fn reason(headers: &HeaderMap) -> Box<str> {
    let bytes = headers.get(protocol::REASON).map(HeaderValue::as_bytes).unwrap_or_default();
    let start = bytes.get(..REASON_BYTES.min(bytes.len())).unwrap_or_default();
    let text = String::from_utf8_lossy(start);
    text.chars().filter(|c| !c.is_control()).collect::<String>().into()
}
