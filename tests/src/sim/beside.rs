//! What stands beside a body: the oracle compares it as a part of the body, from end to end.

use bytes::Bytes;
use rollcall_common::message::{Headers, Message, Payload};

/// What is said of a body: always the same of the same one.
fn said(body: &[u8], name: &str) -> (Box<str>, Headers) {
    let sum = body.iter().fold(0_u8, |sum, byte| sum.wrapping_add(*byte));
    let content_type = if sum.is_multiple_of(2) { "text/plain" } else { "" };
    let id = (name.into(), sum.to_string().into());
    let trace = ("traceparent".into(), format!("00-{sum}").into());
    let headers = match sum % 5 {
        0 => Headers::from([id]),
        1 => Headers::from([id, trace]),
        _ => Headers::default(),
    };
    (content_type.into(), headers)
}

/// What a client says of its message.
pub(super) fn sent(body: &[u8]) -> (Box<str>, Headers) {
    said(body, "ce-id")
}

/// A result, with what is said of it.
pub(super) fn payload(body: Bytes) -> Payload {
    let (content_type, headers) = said(&body, "ce-subject");
    Payload { content_type, headers, body }
}

/// A body and what stands beside it.
fn whole(content_type: &str, headers: &[(Box<str>, Box<str>)], body: &[u8]) -> Bytes {
    let lines: String = headers.iter().map(|(name, value)| format!("{name}: {value}\n")).collect();
    [format!("{content_type}\n{lines}\n").as_bytes(), body].concat().into()
}

/// A message's.
pub(super) fn of_message(message: &Message) -> Bytes {
    whole(&message.content_type, &message.headers, &message.body)
}

/// That of a message that a client sends.
pub(super) fn of_sent(body: &[u8]) -> Bytes {
    let (content_type, headers) = sent(body);
    whole(&content_type, &headers, body)
}

/// A result's.
pub(super) fn of_payload(payload: &Payload) -> Bytes {
    whole(&payload.content_type, &payload.headers, &payload.body)
}
