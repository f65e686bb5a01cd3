//! One call to one worker over plain HTTP: the request that the contract describes (§4), and the
//! reply in the dispatcher's words.

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Method, Request, StatusCode, header};
use http_body_util::Full;
use rollcall_common::{
    http::{Reply, SendError},
    limits::REASON_BYTES,
    message::{OCTET_STREAM, Payload, compact},
    protocol,
};

use super::registry::Member;
use crate::{
    dispatcher::{Dispatch, WorkerReply},
    web::retry_after,
};

/// Makes the call, and reads an answer of at most `limit` bytes.
pub(super) async fn call(member: &Member, dispatch: &Dispatch, limit: usize) -> WorkerReply {
    let Some(request) = request(member, dispatch) else {
        return WorkerReply::Broken("the message's headers can't be sent".into());
    };
    match member.peer.send(request, limit).await {
        Ok(reply) => answer(reply),
        Err(error @ SendError::Connect(_)) => WorkerReply::Unreachable(text(&error)),
        Err(SendError::Stale) => WorkerReply::Stale,
        Err(error @ (SendError::Broken(_) | SendError::Truncated(_) | SendError::TooLarge(_))) => {
            WorkerReply::Broken(text(&error))
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
    *request.uri_mut() = member.peer.uri();
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

pub(super) fn answer(reply: Reply) -> WorkerReply {
    let Reply { status, headers, body } = reply;
    let outcome = headers.get(protocol::OUTCOME).and_then(|value| value.to_str().ok());
    let content_type = if status == StatusCode::NO_CONTENT {
        ""
    } else {
        headers.get(header::CONTENT_TYPE).map_or(OCTET_STREAM, |value| typed(value.as_bytes()))
    };
    WorkerReply::Answer {
        status: status.as_u16(),
        outcome: outcome.and_then(|word| word.parse().ok()),
        reason: said(headers.get(protocol::REASON).map(HeaderValue::as_bytes).unwrap_or_default()),
        retry_after: retry_after(&headers),
        payload: Payload { content_type: content_type.into(), body: compact(body) },
    }
}

/// A type as it can be sent on, in one header: anything but visible ASCII is no type.
pub(super) fn typed(bytes: &[u8]) -> &str {
    let plain = |byte: &u8| matches!(byte, b'\t' | b' '..=b'~');
    std::str::from_utf8(bytes).ok().filter(|_| bytes.iter().all(plain)).unwrap_or(OCTET_STREAM)
}

/// What a worker says to people: shown in logs and on pages, so without control characters.
pub(super) fn said(bytes: &[u8]) -> Box<str> {
    let start = bytes.get(..REASON_BYTES.min(bytes.len())).unwrap_or_default();
    let text = String::from_utf8_lossy(start);
    text.chars().filter(|c| !c.is_control()).collect::<String>().into()
}
