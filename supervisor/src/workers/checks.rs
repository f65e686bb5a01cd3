//! What holds for any bytes. Asked by random tests, and by `tests/fuzz`.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use rollcall_common::{
    frame::HEAD,
    http::Reply,
    limits::{KEPT_HEADER_BYTES, REASON_BYTES},
    link::{FromSupervisor, FromWorker},
    message::weight_of,
};

use super::{link, plain};
use crate::dispatcher::WorkerReply;

/// The inside of a frame of the link is read or refused; a call or an answer that is read is
/// written as the same bytes, and an answer is a reply like any other.
///
/// # Panics
/// When that is not so.
pub fn frame(frame: &[u8]) {
    let mut out = BytesMut::new();
    if let Ok(FromSupervisor::Call(call)) = FromSupervisor::read(frame) {
        call.put(&mut out);
    }
    if let Ok(FromWorker::Answer(answer)) = FromWorker::read(frame) {
        answer.put(&mut out);
        reply(&link::reply(&answer, &[]));
    }
    assert!(out.is_empty() || out.get(HEAD..) == Some(frame), "{frame:?}");
}

/// Lines of the head of a reply over plain HTTP, as far as they are headers, make a reply like any
/// other; when it wants to be asked again is a time that can be added to any other.
///
/// # Panics
/// When that is not so.
pub fn plain_reply(status: u16, lines: &[u8]) {
    let Ok(status) = StatusCode::from_u16(status) else { return };
    let mut headers = HeaderMap::new();
    for line in lines.split(|byte| *byte == b'\n') {
        let mut parts = line.splitn(2, |byte| *byte == b':');
        let name = parts.next().and_then(|name| HeaderName::from_bytes(name).ok());
        let value = parts.next().and_then(|value| HeaderValue::from_bytes(value).ok());
        if let (Some(name), Some(value)) = (name, value) {
            headers.append(name, value);
        }
    }
    let reply = plain::answer(Reply { status, headers, body: Bytes::new() }, &[]);
    if let WorkerReply::Answer { retry_after: Some(wait), .. } = &reply {
        // A date may lie as far away as dates go: the year 9999.
        assert!(*wait < Duration::from_secs(8_000 * 366 * 86_400), "{wait:?}");
    }
    self::reply(&reply);
}

/// What a worker replies has a bound, and never becomes more than one header.
///
/// # Panics
/// When that is not so, or it is no whole reply.
pub(super) fn reply(reply: &WorkerReply) {
    let (reason, payload) = match reply {
        WorkerReply::Answer { reason, payload, .. } => (reason, payload),
        // It says something of its body that can't be kept.
        WorkerReply::Broken(_) => return,
        WorkerReply::Cancelled | WorkerReply::Unreachable(_) | WorkerReply::Stale => {
            unreachable!("a whole reply is an answer")
        }
    };
    assert!(HeaderValue::from_bytes(payload.content_type.as_bytes()).is_ok());
    for (_, value) in &payload.headers {
        assert!(HeaderValue::from_str(value).is_ok() && value.is_ascii(), "{value:?}");
    }
    assert!(weight_of(&payload.headers) <= KEPT_HEADER_BYTES);
    // Broken characters are shown as one of three bytes.
    assert!(reason.len() <= 3 * REASON_BYTES && !reason.contains(char::is_control), "{reason:?}");
}
