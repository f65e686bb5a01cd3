//! One call to one worker over plain HTTP: the request that the contract describes (§4), and the
//! reply in the dispatcher's words.

use std::borrow::Cow;

use std::io;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Request, StatusCode, header};
use http_body_util::Full;
use rollcall_common::{
    exhaustion::is_exhausted,
    http::{AnswerShare, Reply, SendError},
    limits::{NO_ROOM_PAUSE, REASON_BYTES},
    message::{Headers, Key, Payload, compact},
    protocol,
};

use super::registry::Member;
use crate::{
    dispatcher::{Dispatch, WorkerReply},
    web::{beside, retry_after},
};

/// Makes the call, and reads an answer of at most `limit` bytes, a large one when its share has
/// room for it.
pub(super) async fn call(
    member: &Member,
    dispatch: &Dispatch,
    limit: usize,
    share: &mut AnswerShare,
) -> WorkerReply {
    let Some(request) = request(member, dispatch) else {
        return WorkerReply::Broken("the message's headers can't be sent".into());
    };
    match member.peer.send_within(request, limit, Some(share)).await {
        Ok(reply) => answer(reply, &dispatch.message.trace()),
        Err(SendError::Connect(error)) if is_exhausted(&error) => no_room(&error),
        Err(error @ SendError::Connect(_)) => WorkerReply::Unreachable(text(&error)),
        Err(SendError::Stale) => WorkerReply::Stale,
        Err(error @ (SendError::Broken(_) | SendError::Truncated(_) | SendError::TooLarge(_))) => {
            broken(&error)
        }
    }
}

/// There is no whole answer, of a call that can have been seen.
pub(super) fn broken(error: &SendError) -> WorkerReply {
    WorkerReply::Broken(text(error))
}

/// This machine has no room for a connection, which is nobody's fault. It is as if the worker was
/// busy: nothing counts, and there is a pause before the next call.
fn no_room(error: &io::Error) -> WorkerReply {
    WorkerReply::Answer {
        status: StatusCode::SERVICE_UNAVAILABLE.as_u16(),
        outcome: None,
        reason: format!("the supervisor has no room for a connection: {error}").into(),
        retry_after: Some(NO_ROOM_PAUSE),
        payload: Payload::default(),
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
    beside::put(headers, &message.headers)?;
    if !message.content_type.is_empty() {
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_str(&message.content_type).ok()?);
    }
    if let Some(key) = message.key.as_ref().and_then(Key::given) {
        headers.insert(protocol::SENDER_KEY, HeaderValue::from_str(&as_header(key)).ok()?);
    }
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

/// Reads an answer to a message of this trace.
pub(super) fn answer(reply: Reply, trace: &[(Box<str>, Box<str>)]) -> WorkerReply {
    let Reply { status, headers, body } = reply;
    let outcome = headers.get(protocol::OUTCOME).and_then(|value| value.to_str().ok());
    let outcome = outcome.and_then(|word| word.parse().ok());
    let payload = match described(&headers) {
        Ok((content_type, headers)) => Payload { content_type, headers, body: compact(body) },
        Err(detail) if is_result(status.as_u16(), outcome) => return unfit(&detail),
        // Of a failure, only its status and its words count.
        Err(_) => Payload { body: compact(body), ..Payload::default() },
    };
    WorkerReply::Answer {
        status: status.as_u16(),
        outcome,
        reason: said(headers.get(protocol::REASON).map(HeaderValue::as_bytes).unwrap_or_default()),
        retry_after: retry_after(&headers),
        payload: payload.traced(trace),
    }
}

/// The type of an answer's body, and what else is kept of what is said of it; or why it can't be.
pub(super) fn described(headers: &HeaderMap) -> Result<(Box<str>, Headers), String> {
    let mut types = headers.get_all(header::CONTENT_TYPE).iter();
    let content_type = types.next().map(|value| std::str::from_utf8(value.as_bytes()));
    let content_type = content_type.transpose();
    let content_type = content_type.map_err(|_| "its Content-Type is no text".to_owned())?;
    if types.next().is_some() {
        return Err("it has more than one Content-Type".to_owned());
    }
    Ok((content_type.unwrap_or_default().into(), beside::keep(headers, Payload::keeps)?))
}

/// Whether a header can have this value.
pub(super) fn is_text(value: &str) -> bool {
    value.bytes().all(|byte| matches!(byte, b'\t' | b' '..=b'~'))
}

/// Whether an answer brings a result, and is no failure.
pub(super) fn is_result(status: u16, outcome: Option<protocol::Outcome>) -> bool {
    match outcome {
        Some(word) => word == protocol::Outcome::Ok,
        None => (200..=299).contains(&status),
    }
}

/// An answer of which not everything could be kept is none: nothing is dropped in silence.
pub(super) fn unfit(detail: &str) -> WorkerReply {
    WorkerReply::Broken(format!("the answer can't be kept as it is: {detail}").into())
}

/// A key as it was given: bare, or as a quoted string (RFC 9651 §3.3.3) where it can't stand bare.
fn as_header(key: &str) -> Cow<'_, str> {
    if !key.starts_with('"') && key.trim() == key {
        return key.into();
    }
    format!("\"{}\"", key.replace('\\', r"\\").replace('"', "\\\"")).into()
}

/// What a worker says to people: shown in logs and on pages, so without control characters.
pub(super) fn said(bytes: &[u8]) -> Box<str> {
    let start = bytes.get(..REASON_BYTES.min(bytes.len())).unwrap_or_default();
    let text = String::from_utf8_lossy(start);
    text.chars().filter(|c| !c.is_control()).collect::<String>().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_this_machine_lacks_is_not_the_workers_fault() {
        // EMFILE
        let WorkerReply::Answer { status, outcome, retry_after, .. } =
            no_room(&io::Error::from_raw_os_error(24))
        else {
            panic!("it is not taken for busy");
        };
        assert_eq!((status, outcome, retry_after), (503, None, Some(NO_ROOM_PAUSE)));
    }
}
