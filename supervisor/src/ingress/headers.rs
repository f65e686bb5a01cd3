//! What a message's request headers say: its type, its key, and what is passed on.

use std::sync::Arc;

use http::{HeaderMap, HeaderName, HeaderValue, header};
use rollcall_common::{
    limits::KEY_BYTES,
    message::{Headers, is_kept},
    problem::Problem,
    protocol::IDEMPOTENCY_KEY,
};

use super::structured;
use crate::web::{beside, respond::bad_request};

/// The body's type; empty where the sender names none.
pub(super) fn content_type(headers: &HeaderMap) -> Result<Arc<str>, Box<Problem>> {
    Ok(single(headers, &header::CONTENT_TYPE)?.unwrap_or_default().into())
}

/// The producer's key: bare, or as a quoted string (draft-ietf-httpapi-idempotency-key-header).
pub(super) fn idempotency_key(headers: &HeaderMap) -> Result<Option<Box<str>>, Box<Problem>> {
    let Some(text) = single(headers, &IDEMPOTENCY_KEY)? else {
        return Ok(None);
    };
    let text = text.trim();
    let key = if text.starts_with('"') {
        structured::string(text).ok_or_else(|| {
            bad_request("Idempotency-Key begins with a quote and is no quoted string")
        })?
    } else {
        text.to_owned()
    };
    if key.is_empty() || key.len() > KEY_BYTES {
        return Err(bad_request(format!("Idempotency-Key has 1 to {KEY_BYTES} bytes")).into());
    }
    Ok(Some(key.into()))
}

/// `ce-*`, `traceparent` and `tracestate`, which travel with the message.
pub(super) fn kept(headers: &HeaderMap) -> Result<Headers, Box<Problem>> {
    beside::keep(headers, is_kept).map_err(|detail| bad_request(detail).into())
}

/// `traceparent` and `tracestate`, which travel with each message of a batch.
pub(super) fn kept_of_batch(headers: &HeaderMap) -> Result<Headers, Box<Problem>> {
    if let Some(name) = headers.keys().find(|name| name.as_str().starts_with("ce-")) {
        let detail = format!(
            "{name} is an attribute of one event; the events of a batch have theirs in the body"
        );
        return Err(bad_request(detail).into());
    }
    kept(headers)
}

/// `Prefer: wait=N` (RFC 7240): how many seconds.
pub(super) fn wait(headers: &HeaderMap) -> Option<u64> {
    let all = headers.get_all("prefer").iter().filter_map(|value| value.to_str().ok());
    let mut preferences = all.flat_map(|value| value.split([',', ';'])).map(str::trim);
    preferences.find_map(|preference| {
        let (name, value) = preference.split_once('=')?;
        let waits = name.trim().eq_ignore_ascii_case("wait");
        waits.then(|| value.trim().trim_matches('"').parse().ok())?
    })
}

pub(super) fn single<'a>(
    headers: &'a HeaderMap,
    name: &HeaderName,
) -> Result<Option<&'a str>, Box<Problem>> {
    let mut values = headers.get_all(name).iter();
    let (first, second) = (values.next(), values.next());
    if second.is_some() {
        return Err(bad_request(format!("{name} is there more than once")).into());
    }
    first.map(|value| text(name.as_str(), value)).transpose()
}

fn text<'a>(name: &str, value: &'a HeaderValue) -> Result<&'a str, Box<Problem>> {
    value.to_str().map_err(|_| {
        Box::new(bad_request(format!("{name} holds something other than visible ASCII")))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(value: &'static [u8]) -> Result<Option<Box<str>>, Box<Problem>> {
        let value =
            HeaderValue::from_bytes(value).map_err(|error| bad_request(error.to_string()))?;
        let headers = HeaderMap::from_iter([(IDEMPOTENCY_KEY, value)]);
        idempotency_key(&headers)
    }

    #[test]
    fn keys_are_bare_or_quoted() {
        assert_eq!(key(b"abc").unwrap().as_deref(), Some("abc"));
        assert_eq!(key(b"\"abc\"").unwrap().as_deref(), Some("abc"));
        assert_eq!(key(br#""a\"b\\""#).unwrap().as_deref(), Some(r#"a"b\"#));
        assert_eq!(key(b" \"abc\"; a=b ").unwrap().as_deref(), Some("abc"));
        // A key without quotes is what it is.
        assert_eq!(key(b"a;b=c").unwrap().as_deref(), Some("a;b=c"));
        for bad in [&b""[..], b"\"\"", b"\"abc", br#""a"b""#, br#""a\x""#, b"\xff"] {
            assert!(key(bad).is_err(), "{bad:?}");
        }
        assert_eq!(idempotency_key(&HeaderMap::new()).unwrap(), None);
    }

    #[test]
    fn preferences_combine() {
        let mut headers = HeaderMap::new();
        headers.insert("prefer", HeaderValue::from_static("respond-async, Wait=10"));
        assert_eq!(wait(&headers), Some(10));
        headers.insert("prefer", HeaderValue::from_static("wait=x"));
        assert_eq!(wait(&headers), None);
    }
}
