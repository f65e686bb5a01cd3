//! CloudEvents 1.0 over HTTP (the HTTP protocol binding, and the JSON event format): what makes
//! one, and what it is called by when it has no idempotency key.

use std::{borrow::Cow, collections::BTreeMap, fmt};

use base64::{
    Engine as _,
    alphabet::STANDARD,
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig},
};
use http::HeaderMap;
use rollcall_common::{message::Key, problem::Problem, time::is_rfc3339};
use serde::{
    Deserialize, Deserializer,
    de::{Error as _, IgnoredAny, MapAccess, Visitor},
};
use serde_json::value::RawValue;
use sha2::{Digest as _, Sha256};

use crate::web::{decode_attribute, without_mark};

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
/// The content type of a list of events.
const BATCH: &str = "application/cloudevents-batch+json";

impl Mode {
    /// By the type of the body.
    pub(super) fn of(content_type: &str) -> Self {
        let essence = content_type.split(';').next().unwrap_or_default().trim();
        if essence.eq_ignore_ascii_case(BATCH) {
            Self::Batch
        } else if essence.eq_ignore_ascii_case(STRUCTURED) {
            Self::Structured
        } else {
            Self::Binary
        }
    }
}

/// What is said of an event in JSON: an object (a list of the same values is none).
#[derive(Default)]
struct Event<'a> {
    /// The attributes that say something, and their values.
    attributes: BTreeMap<Cow<'a, str>, Attribute<'a>>,
    has_data: bool,
}

/// A value of an attribute.
enum Attribute<'a> {
    Text(Cow<'a, str>),
    /// A number, or whether something is so.
    Plain,
}

impl<'de> Deserialize<'de> for Event<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(Members)
    }
}

struct Members;

impl<'de> Visitor<'de> for Members {
    type Value = Event<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an event, which is a JSON object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Event<'de>, A::Error> {
        let mut event = Event::default();
        while let Some(Name(name)) = members.next_key()? {
            if name == "data" {
                if event.has_data {
                    return Err(A::Error::custom("data is there twice"));
                }
                event.has_data = members.next_value::<Option<IgnoredAny>>()?.is_some();
                continue;
            }
            let value: &RawValue = members.next_value()?;
            let value = match value.get().bytes().next() {
                // What is null is not set.
                Some(b'n') => continue,
                Some(b'"') => {
                    let Name(text) = serde_json::from_str(value.get()).map_err(A::Error::custom)?;
                    Attribute::Text(text)
                }
                Some(b'{' | b'[') => {
                    let detail = format!("{name} is an object or a list, which no attribute is");
                    return Err(A::Error::custom(detail));
                }
                Some(_) | None => Attribute::Plain,
            };
            if event.attributes.contains_key(&name) {
                return Err(A::Error::custom(format!("{name} is there twice")));
            }
            event.attributes.insert(name, value);
        }
        Ok(event)
    }
}

/// A text that is borrowed where nothing in it is escaped.
#[derive(Deserialize)]
struct Name<'a>(#[serde(borrow)] Cow<'a, str>);

/// Checks an event in JSON; gives back the key that its source and id make.
pub(super) fn structured(body: &[u8]) -> Result<Box<str>, Box<Problem>> {
    // What is only looked over is not looked at inside of its strings.
    let text =
        std::str::from_utf8(without_mark(body)).map_err(|error| invalid(&error.to_string()))?;
    let event: Event<'_> =
        serde_json::from_str(text).map_err(|error| invalid(&error.to_string()))?;
    let mut texts = BTreeMap::new();
    for (name, value) in &event.attributes {
        match value {
            Attribute::Text(text) => {
                texts.insert(&**name, &**text);
            }
            Attribute::Plain if is_text(name) => {
                return Err(invalid(&format!("{name} is no string")));
            }
            Attribute::Plain => {}
        }
    }
    if let Some(encoded) = texts.remove("data_base64") {
        if event.has_data {
            return Err(invalid("it has both data and data_base64"));
        }
        if BASE64.decode(encoded).is_err() {
            return Err(invalid("data_base64 is no base64"));
        }
    }
    key(&texts)
}

/// Either padded or not.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// Whether an attribute of this name is a string, and nothing else.
fn is_text(name: &str) -> bool {
    let strings = [
        "specversion",
        "id",
        "source",
        "type",
        "datacontenttype",
        "dataschema",
        "subject",
        "time",
        "data_base64",
    ];
    strings.contains(&name)
}

/// The events of a batch, each as it stands there.
pub(super) fn batch(body: &[u8]) -> Result<Vec<&RawValue>, Box<Problem>> {
    serde_json::from_slice(without_mark(body)).map_err(|error| invalid(&error.to_string()))
}

/// Checks an event in headers, if there is one; gives back the key that its source and id make.
pub(super) fn binary(headers: &HeaderMap) -> Result<Option<Box<str>>, Box<Problem>> {
    if !headers.contains_key("ce-specversion") {
        return Ok(None);
    }
    if headers.contains_key("ce-datacontenttype") {
        return Err(invalid("the type of its data is the Content-Type, not ce-datacontenttype"));
    }
    let mut attributes = BTreeMap::new();
    for (header, value) in headers {
        let Some(name) = header.as_str().strip_prefix("ce-") else { continue };
        let value = value.to_str().ok().and_then(decode_attribute);
        let value = value.ok_or_else(|| {
            invalid(&format!("{header} is badly quoted or percent-encoded, or no UTF-8"))
        })?;
        attributes.insert(name, value);
    }
    let texts = attributes.iter().map(|(name, value)| (*name, &**value)).collect();
    key(&texts).map(Some)
}

/// Checks attributes that are texts; gives back the key that source and id make.
fn key(texts: &BTreeMap<&str, &str>) -> Result<Box<str>, Box<Problem>> {
    let attribute = |name: &str| {
        let text = texts.get(name).ok_or_else(|| invalid(&format!("{name} is missing")))?;
        if text.is_empty() { Err(invalid(&format!("{name} is empty"))) } else { Ok(*text) }
    };
    let (version, _) = (attribute("specversion")?, attribute("type")?);
    if version != "1.0" {
        return Err(invalid(&format!("specversion {version:?} is not 1.0")));
    }
    if texts.get("time").is_some_and(|text| !is_rfc3339(text)) {
        return Err(invalid("time is no time of RFC 3339, as 2026-11-30T12:00:00Z"));
    }
    Ok(Key::of_event(attribute("source")?, attribute("id")?, |whole| Sha256::digest(whole).into()))
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
        assert_eq!(Mode::of("application/cloudevents+json ;charset=utf-8"), Mode::Structured);
        for other in ["application/json", "application/cloudevents+jsonl", "", "é"] {
            assert_eq!(Mode::of(other), Mode::Binary);
        }
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
            br#"["1.0","7","/s","t",1,null]"#,
            b"[]",
            br#"{"specversion":"1.0","id":7,"source":"/s","type":"t"}"#,
            br#"{"specversion":"1.0","id":"7","id":"8","source":"/s","type":"t"}"#,
            br#"{"specversion":"1.0","id":"7","source":"/s","type":"t","data":1,"data":2}"#,
            b"{\"specversion\":\"1.0\",\"id\":\"7\",\"source\":\"/s\",\"type\":\"\xff\"}",
            b"{\"specversion\":\"1.0\",\"id\":\"7\",\"source\":\"/s\",\"type\":\"t\",\
              \"data\":\"\xff\"}",
        ] {
            assert!(structured(bad).is_err(), "{}", String::from_utf8_lossy(bad));
        }
    }

    #[test]
    fn further_attributes_are_looked_at() {
        let event = |more: &str| {
            let text =
                format!(r#"{{"specversion":"1.0","id":"7","source":"/s","type":"t"{more}}}"#);
            structured(text.as_bytes())
        };
        for good in [
            "",
            r#","time":"2018-04-05T17:31:00Z""#,
            r#","time":"2018-04-05T17:31:00.123456789+02:00","subject":null"#,
            r#","data_base64":"AAE=""#,
            r#","data_base64":"AAE","ext1":7,"ext2":true,"ext3":"x""#,
            r#","data":null,"data_base64":"""#,
            r#","data":{"id":["any"]},"dataschema":"http://x""#,
            r#","sub\u006aect":"x""#,
        ] {
            assert_eq!(event(good).as_deref(), Ok("\u{1}/s\u{1}7"), "{good}");
        }
        for bad in [
            r#","time":"yesterday""#,
            r#","time":1522949460"#,
            r#","data_base64":"*""#,
            r#","data_base64":7"#,
            r#","ext":{"a":1}"#,
            r#","ext":[]"#,
            r#","subject":7"#,
            r#","ext":1,"ext":1"#,
        ] {
            assert_eq!(event(bad).map_err(|problem| problem.status), Err(400), "{bad}");
        }
        let with_mark =
            "\u{feff}{\"specversion\":\"1.0\",\"id\":\"7\",\"source\":\"/s\",\"type\":\"t\"}";
        assert!(structured(with_mark.as_bytes()).is_ok());
    }

    #[test]
    fn long_names_are_keys_all_the_same() {
        let event = |id: &str| {
            let text = format!(r#"{{"specversion":"1.0","id":"{id}","source":"/s","type":"t"}}"#);
            structured(text.as_bytes()).unwrap()
        };
        let long = "i".repeat(50_000);
        let (key, other) = (event(&long), event(&format!("{long}j")));
        assert!(key.len() <= rollcall_common::limits::KEY_BYTES);
        assert_ne!(key, other);
        assert_eq!(key, event(&long));
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
        for (id, means) in [(r#""a\"b""#, "a\"b"), ("a%22b", "a\"b")] {
            headers.insert("ce-id", HeaderValue::from_static(id));
            assert_eq!(binary(&headers).unwrap().unwrap(), format!("\u{1}/s\u{1}{means}").into());
        }
        for bad in ["%c0%80", "%", ""] {
            headers.insert("ce-id", HeaderValue::from_static(bad));
            assert!(binary(&headers).is_err(), "{bad}");
        }
        headers.insert("ce-id", HeaderValue::from_static("1"));
        for (name, bad) in [("ce-subject", "%C0%A0"), ("ce-extra", "%FF"), ("ce-time", "now")] {
            headers.insert(name, HeaderValue::from_static(bad));
            assert!(binary(&headers).is_err(), "{name}");
            headers.remove(name);
        }
        assert!(binary(&headers).is_ok());
    }
}
