//! Bodies in: whole, within their limit, and not too slowly.

use std::fmt;

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, header};
use http_body_util::BodyExt as _;
use hyper::body::Body;
use rollcall_common::{
    limits::{BODY_STALL, BODY_TIME},
    problem::Problem,
};
use tokio::time::timeout;

use super::respond::bad_request;

/// Reads a whole body of at most `limit` bytes.
///
/// # Errors
/// When it is larger, broken off, compressed, or stands still for too long.
pub async fn read_body(
    headers: &HeaderMap,
    body: impl Body<Data = Bytes, Error: fmt::Display> + Unpin,
    limit: usize,
) -> Result<Bytes, Box<Problem>> {
    read_rationed(headers, body, limit, |_| Ok(())).await
}

/// The same, asking `ration` for room: for all of it before it is read, where its length is
/// announced, and piece by piece otherwise.
///
/// # Errors
/// As [`read_body`], and when there is no room.
pub async fn read_rationed(
    headers: &HeaderMap,
    body: impl Body<Data = Bytes, Error: fmt::Display> + Unpin,
    limit: usize,
    ration: impl FnMut(usize) -> Result<(), Box<Problem>>,
) -> Result<Bytes, Box<Problem>> {
    let read = timeout(BODY_TIME, read_all(headers, body, limit, ration)).await;
    read.unwrap_or_else(|_| Err(slow("the body took too long to come")))
}

async fn read_all(
    headers: &HeaderMap,
    mut body: impl Body<Data = Bytes, Error: fmt::Display> + Unpin,
    limit: usize,
    mut ration: impl FnMut(usize) -> Result<(), Box<Problem>>,
) -> Result<Bytes, Box<Problem>> {
    refuse_encoded(headers)?;
    let announced = headers.get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok());
    let announced = announced.and_then(|text| text.parse::<usize>().ok());
    if announced.is_some_and(|length| length > limit) {
        return Err(too_large(limit));
    }
    if let Some(length) = announced {
        ration(length)?;
    }
    let mut first: Option<Bytes> = None;
    let mut rest = BytesMut::new();
    let mut length = 0;
    loop {
        let frame = match timeout(BODY_STALL, body.frame()).await {
            Ok(None) => break,
            Ok(Some(Ok(frame))) => frame,
            Ok(Some(Err(error))) => {
                return Err(bad_request(format!("the body broke off: {error}")).into());
            }
            Err(_) => return Err(slow("the body stood still for too long")),
        };
        let Ok(data) = frame.into_data() else {
            continue;
        };
        length += data.len();
        if announced.is_none() {
            ration(data.len())?;
        }
        if length > limit {
            return Err(too_large(limit));
        }
        // Most bodies are one piece, which needs no copy.
        if first.is_none() && rest.is_empty() {
            first = Some(data);
        } else {
            rest.reserve(announced.unwrap_or_default().saturating_sub(rest.len()));
            rest.extend_from_slice(&first.take().unwrap_or_default());
            rest.extend_from_slice(&data);
        }
    }
    Ok(first.unwrap_or_else(|| rest.freeze()))
}

/// A text without the byte order mark that some editors and exports put before it, which is no part
/// of JSON and may be passed over (RFC 8259 §8.1).
#[must_use]
pub fn without_mark(text: &[u8]) -> &[u8] {
    text.strip_prefix(b"\xef\xbb\xbf").unwrap_or(text)
}

/// Compressed bodies are not taken: they would be kept, and handed on, as they are.
fn refuse_encoded(headers: &HeaderMap) -> Result<(), Box<Problem>> {
    let mut all = headers.get_all(header::CONTENT_ENCODING).iter();
    let encoded = all.find(|one| !one.as_bytes().eq_ignore_ascii_case(b"identity"));
    let Some(encoding) = encoded else {
        return Ok(());
    };
    let detail = format!("Content-Encoding {encoding:?} is not taken; send it plain");
    Err(Problem::new(415, "encoded-body", "Unsupported media type", detail).into())
}

fn slow(detail: &str) -> Box<Problem> {
    Box::new(Problem::new(408, "slow-body", "Request timeout", detail))
}

fn too_large(limit: usize) -> Box<Problem> {
    let detail = format!("the body is larger than {limit} bytes");
    let problem = Problem::new(413, "message-too-large", "Message too large", detail);
    Box::new(problem.with("limit_bytes", limit))
}
