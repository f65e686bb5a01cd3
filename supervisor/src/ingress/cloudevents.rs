//! CloudEvents 1.0 over HTTP (the HTTP protocol binding, and the JSON event format): what makes
//! one, and what it is called by when it has no idempotency key.

use http::HeaderMap;
use rollcall_common::{limits::KEY_BYTES, problem::Problem};
use serde::Deserialize;
use serde_json::value::RawValue;

/// How a request carries events.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Mode {
    /// A JSON array of events.
    Batch,
    /// In the headers, or not at all.
    Binary,
    /// The body is an event.
    Structured,
}

/// The content type of one event.
pub(super) const STRUCTURED: &str = "application/cloudevents+json";

impl Mode {
    /// By the type of the body; a batch is asked for first, since its type begins like the other.
    pub(super) fn of(content_type: &str) -> Self {
        let starts = |prefix: &str| {
            content_type.get(..prefix.len()).is_some_and(|text| text.eq_ignore_ascii_case(prefix))
        };
        if starts("application/cloudevents-batch+json") {
            Self::Batch
        } else if starts(STRUCTURED) {
            Self::Structured
        } else {
            Self::Binary
        }
    }
}

#[derive(Deserialize)]
struct Attributes {
    specversion: String,
    id: String,
    source: String,
    #[serde(rename = "type")]
    kind: String,
    data: Option<Box<RawValue>>,
    data_base64: Option<Box<RawValue>>,
}

/// Checks an event in JSON; gives back the key that its source and id make.
pub(super) fn structured(body: &[u8]) -> Result<Box<str>, Box<Problem>> {
    let attributes: Attributes =
        serde_json::from_slice(body).map_err(|error| invalid(&error.to_string()))?;
    if attributes.data.is_some() && attributes.data_base64.is_some() {
        return Err(invalid("it has both data and data_base64"));
    }
    key(&attributes.specversion, &attributes.id, &attributes.source, &attributes.kind)
}

/// The events of a batch, each as it stands there.
pub(super) fn batch(body: &[u8]) -> Result<Vec<&RawValue>, Box<Problem>> {
    serde_json::from_slice(body).map_err(|error| invalid(&error.to_string()))
}

/// Checks an event in headers, if there is one; gives back the key that its source and id make.
pub(super) fn binary(headers: &HeaderMap) -> Result<Option<Box<str>>, Box<Problem>> {
    if !headers.contains_key("ce-specversion") {
        return Ok(None);
    }
    if headers.contains_key("ce-datacontenttype") {
        return Err(invalid("the type of its data is the Content-Type, not ce-datacontenttype"));
    }
    let attribute = |name: &str| {
        let value = headers.get(name).and_then(|value| value.to_str().ok());
        let value = value.ok_or_else(|| invalid(&format!("{name} is missing")))?;
        decode(value).ok_or_else(|| invalid(&format!("{name} is badly percent-encoded")))
    };
    let (version, id) = (attribute("ce-specversion")?, attribute("ce-id")?);
    key(&version, &id, &attribute("ce-source")?, &attribute("ce-type")?).map(Some)
}

fn key(version: &str, id: &str, source: &str, kind: &str) -> Result<Box<str>, Box<Problem>> {
    if version != "1.0" {
        return Err(invalid(&format!("specversion {version:?} is not 1.0")));
    }
    for (name, value) in [("id", id), ("source", source), ("type", kind)] {
        if value.is_empty() {
            return Err(invalid(&format!("{name} is empty")));
        }
    }
    if source.len() + id.len() + 2 > KEY_BYTES {
        return Err(invalid(&format!("source and id together have more than {KEY_BYTES} bytes")));
    }
    // Control characters keep it apart from any key that a header can carry.
    Ok(format!("\u{1}{source}\u{1}{id}").into())
}

/// Undoes one round of percent-encoding.
fn decode(value: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(value.len());
    let mut rest = value.trim_matches('"').bytes();
    while let Some(byte) = rest.next() {
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let digit = |byte: u8| char::from(byte).to_digit(16);
        let (high, low) = (digit(rest.next()?)?, digit(rest.next()?)?);
        bytes.push(u8::try_from(high * 16 + low).ok()?);
    }
    String::from_utf8(bytes).ok()
}

fn invalid(detail: &str) -> Box<Problem> {
    let detail = format!("no valid CloudEvent: {detail}");
    Box::new(Problem::new(400, "invalid-cloudevent", "Invalid CloudEvent", detail))
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn the_type_tells_the_mode() {
        assert_eq!(Mode::of("application/cloudevents-batch+json; charset=utf-8"), Mode::Batch);
        assert_eq!(Mode::of("Application/CloudEvents+JSON"), Mode::Structured);
        assert_eq!(Mode::of("application/json"), Mode::Binary);
    }

    #[test]
    fn events_need_their_attributes() {
        let good = br#"{"specversion":"1.0","id":"7","source":"/s","type":"t","data":1}"#;
        assert_eq!(&*structured(good).unwrap(), "\u{1}/s\u{1}7");
        for bad in [
            &b"x"[..],
            b"{}",
            br#"{"specversion":"0.3","id":"7","source":"/s","type":"t"}"#,
            br#"{"specversion":"1.0","id":"","source":"/s","type":"t"}"#,
            br#"{"specversion":"1.0","id":"7","source":"/s","type":"t","data":1,"data_base64":""}"#,
        ] {
            assert!(structured(bad).is_err(), "{}", String::from_utf8_lossy(bad));
        }
    }

    #[test]
    fn binary_events_are_percent_decoded_once() {
        let mut headers = HeaderMap::new();
        assert_eq!(binary(&headers).unwrap(), None);
        for (name, value) in [("ce-specversion", "1.0"), ("ce-id", "a%20b%2525"), ("ce-type", "t")]
        {
            headers.insert(name, HeaderValue::from_static(value));
        }
        assert!(binary(&headers).is_err());
        headers.insert("ce-source", HeaderValue::from_static("/s"));
        assert_eq!(binary(&headers).unwrap().as_deref(), Some("\u{1}/s\u{1}a b%25"));
        headers.insert("ce-id", HeaderValue::from_static("%c0%80"));
        assert!(binary(&headers).is_err());
    }
}
