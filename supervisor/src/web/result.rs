//! A result as JSON (contract §5). It is written by hand: a replay is hundreds of thousands of
//! these a second, and most of each is copied as it is.

use std::io::Write as _;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use rollcall_common::{ids::Position, time::Time};
use serde_json::value::RawValue;

use super::decode_attribute;
use crate::{
    record::Beside,
    views::{ReleasedResult, ResultRef},
};

/// Bytes of a line, about, beside the result's own.
pub const LINE_BYTES: usize = 384;

/// Levels of JSON that a result is shown with as it is; what is deeper is shown as a text.
const DEPTH: usize = 100;

/// A result, to be written as JSON.
#[derive(Clone, Copy, Debug)]
pub struct ResultBody<'a> {
    shown: ResultRef<'a>,
    replay: Option<bool>,
}

/// A body, in the plainest way that JSON has for it.
#[derive(Debug)]
enum Data<'a> {
    Absent,
    Bytes(&'a [u8]),
    Json(&'a str),
    /// JSON that stood on several lines.
    Joined(Box<RawValue>),
    Text(&'a str),
}

impl<'a> ResultBody<'a> {
    /// The fields of a released result.
    #[must_use]
    pub fn of(result: &'a ReleasedResult) -> Self {
        Self::shown(ResultRef::of(result))
    }

    /// The same, where it lies.
    #[must_use]
    pub fn shown(shown: ResultRef<'a>) -> Self {
        Self { shown, replay: None }
    }

    /// The same, for a reader to whom results up to `until` are replayed.
    #[must_use]
    pub fn replayed_until(self, until: Option<Position>) -> Self {
        let replay = until.map(|until| self.shown.position <= until);
        Self { replay, ..self }
    }

    /// Adds one line of JSON, without its end, to `text`.
    pub fn write_line(&self, text: &mut Vec<u8>) {
        let ResultRef { position, stream, sequence, released_at, result } = self.shown;
        text.reserve(result.body.len() + LINE_BYTES);
        number(text, b"{\"position\":", position.0);
        // A stream's name has nothing to escape.
        quoted(text, b",\"stream\":", stream.as_str().as_bytes());
        number(text, b",\"sequence\":", sequence.0);
        let mut id = [0; uuid::fmt::Hyphenated::LENGTH];
        quoted(text, b",\"id\":", result.id.0.hyphenated().encode_lower(&mut id).as_bytes());
        quoted(text, b",\"outcome\":", result.outcome.as_str().as_bytes());
        number(text, b",\"attempts\":", result.attempts.into());
        said(text, b",\"worker\":", result.worker);
        moment(text, b",\"accepted_at\":", result.accepted_at);
        moment(text, b",\"released_at\":", released_at);
        said(text, b",\"datacontenttype\":", result.content_type);
        if !result.headers.is_empty() {
            beside(text, result.headers);
        }
        let encoded = result.headers.iter().any(|(name, _)| name == "content-encoding");
        let data = if encoded {
            Data::Bytes(result.body)
        } else {
            Data::of(result.content_type, result.body)
        };
        data.write(text);
        said(text, b",\"reason\":", result.reason);
        match self.replay {
            Some(true) => text.extend_from_slice(b",\"replay\":true"),
            Some(false) => text.extend_from_slice(b",\"replay\":false"),
            None => {}
        }
        text.push(b'}');
    }
}

/// What stands beside the body: of which trace it is, how it is encoded, and the attributes of an
/// event, as the JSON format of events has them.
fn beside(text: &mut Vec<u8>, headers: Beside<'_>) {
    let mut attributes: Vec<(&str, &str)> = Vec::new();
    for (name, value) in headers.iter() {
        if let Some(attribute) = name.strip_prefix("ce-")
            && attributes.iter().all(|(before, _)| *before != attribute)
        {
            attributes.push((attribute, value));
        }
    }
    for (index, (name, value)) in attributes.iter().enumerate() {
        text.extend_from_slice(if index == 0 { b",\"ce\":{" } else { b"," });
        escaped(text, name);
        text.push(b':');
        escaped(text, &decode_attribute(value).unwrap_or_else(|| (*value).to_owned()));
    }
    if !attributes.is_empty() {
        text.push(b'}');
    }
    let all = |wanted| {
        let values = headers.iter().filter(move |(name, _)| *name == wanted);
        values.map(|(_, value)| value).collect::<Vec<_>>().join(",")
    };
    said(text, b",\"traceparent\":", &all("traceparent"));
    said(text, b",\"tracestate\":", &all("tracestate"));
    said(text, b",\"contentencoding\":", &all("content-encoding"));
}

/// A field with a number.
fn number(text: &mut Vec<u8>, name: &[u8], value: u64) {
    text.extend_from_slice(name);
    // Writing to memory does not fail.
    let _ = write!(text, "{value}");
}

/// A field with a moment.
fn moment(text: &mut Vec<u8>, name: &[u8], at: Time) {
    text.extend_from_slice(name);
    text.push(b'"');
    at.write_rfc3339(text);
    text.push(b'"');
}

/// A field with a text in which there is nothing to escape.
fn quoted(text: &mut Vec<u8>, name: &[u8], value: &[u8]) {
    text.extend_from_slice(name);
    text.push(b'"');
    text.extend_from_slice(value);
    text.push(b'"');
}

/// A field with a text, if it says anything.
fn said(text: &mut Vec<u8>, name: &[u8], value: &str) {
    if !value.is_empty() {
        text.extend_from_slice(name);
        escaped(text, value);
    }
}

/// A text between quotes.
fn escaped(text: &mut Vec<u8>, value: &str) {
    if value.bytes().fold(false, |any, byte| any | (byte < 0x20 || byte == b'"' || byte == b'\\')) {
        // Writing to memory does not fail.
        let _ = serde_json::to_writer(text, value);
    } else {
        quoted(text, b"", value.as_bytes());
    }
}

impl<'a> Data<'a> {
    fn of(content_type: &str, body: &'a [u8]) -> Self {
        let Ok(text) = std::str::from_utf8(body) else {
            return Self::Bytes(body);
        };
        if text.is_empty() && content_type.is_empty() {
            return Self::Absent;
        }
        let json = is_json(content_type) && !is_deep(text);
        let json = if json { Self::json(text.trim_start_matches('\u{feff}').trim()) } else { None };
        json.unwrap_or(Self::Text(text))
    }

    /// One line of JSON, if it is any. Line ends in JSON stand between its parts, never inside a
    /// string.
    fn json(text: &'a str) -> Option<Self> {
        if text.contains('\n') || text.contains('\r') {
            let line = text.replace(['\n', '\r'], " ");
            return RawValue::from_string(line).ok().map(Self::Joined);
        }
        serde_json::from_str(text).ok().map(|json: &RawValue| Self::Json(json.get()))
    }

    fn write(&self, text: &mut Vec<u8>) {
        match self {
            Self::Absent => {}
            Self::Bytes(bytes) => {
                quoted(text, b",\"data_base64\":", STANDARD.encode(bytes).as_bytes());
            }
            Self::Json(json) => {
                text.extend_from_slice(b",\"data\":");
                text.extend_from_slice(json.as_bytes());
            }
            Self::Joined(json) => {
                text.extend_from_slice(b",\"data\":");
                text.extend_from_slice(json.get().as_bytes());
            }
            Self::Text(body) => {
                text.extend_from_slice(b",\"data\":");
                escaped(text, body);
            }
        }
    }
}

/// Whether JSON is nested so deeply that readers give up on it, and on all that stands beside it
/// (`serde_json` at 128 levels, others at 1,000).
fn is_deep(text: &str) -> bool {
    let opens = |byte: u8| matches!(byte, b'[' | b'{');
    if text.bytes().filter(|byte| opens(*byte)).count() <= DEPTH {
        return false;
    }
    let (mut depth, mut quoted, mut escaped) = (0_usize, false, false);
    text.bytes().any(|byte| {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = quoted,
            b'"' => quoted = !quoted,
            _ if quoted => {}
            b'[' | b'{' => depth += 1,
            b']' | b'}' => depth = depth.saturating_sub(1),
            _ => {}
        }
        depth > DEPTH
    })
}

fn is_json(content_type: &str) -> bool {
    if content_type == "application/json" {
        return true;
    }
    let essence = content_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    essence == "application/json" || essence == "text/json" || essence.ends_with("+json")
}

#[cfg(test)]
mod tests {
    use rollcall_common::ids::{MessageId, Sequence};
    use serde_json::{Value, json};

    use super::*;
    use crate::record::{AnswerRef, Outcome};

    fn data(content_type: &str, body: &[u8]) -> String {
        let mut text = Vec::new();
        Data::of(content_type, body).write(&mut text);
        String::from_utf8(text).unwrap()
    }

    #[test]
    fn bodies_are_shown_plainly() {
        assert_eq!(data("application/json", b"{\"a\":\n1}"), r#","data":{"a": 1}"#);
        assert_eq!(data("application/problem+json; x=y", b" 1 "), r#","data":1"#);
        assert_eq!(data("application/json", b"{"), r#","data":"{""#);
        assert_eq!(data("application/json", b"\xef\xbb\xbf{}"), r#","data":{}"#);
        assert_eq!(data("text/plain", b"a\"b\n"), r#","data":"a\"b\n""#);
        assert_eq!(data("text/plain", b""), r#","data":"""#);
        assert_eq!(data("", b""), "");
        assert_eq!(data("application/json", b"\xff"), r#","data_base64":"/w==""#);
    }

    #[test]
    fn what_is_nested_too_deeply_is_a_text() {
        let nested = |depth: usize| ["[".repeat(depth), "]".repeat(depth)].concat();
        let shown = |body: &str| data("application/json", body.as_bytes());
        assert_eq!(shown(&nested(DEPTH)), format!(r#","data":{}"#, nested(DEPTH)));
        assert_eq!(shown(&nested(DEPTH + 1)), format!(r#","data":"{}""#, nested(DEPTH + 1)));
        let wide = format!("[{}[]]", "[],".repeat(DEPTH));
        assert_eq!(shown(&wide), format!(r#","data":{wide}"#));
        let quoted = format!(r#"["\"{}"]"#, "[".repeat(DEPTH));
        assert_eq!(shown(&quoted), format!(r#","data":{quoted}"#));
    }

    #[test]
    fn a_line_has_all_that_there_is() {
        let stream = "s1".parse().unwrap();
        let result = AnswerRef {
            id: MessageId(uuid::Uuid::from_u128(7)),
            accepted_at: Time::from_micros(1_500),
            outcome: Outcome::Resolved,
            worker: "w\"1",
            reason: "",
            attempts: 2,
            content_type: "text/plain",
            headers: Beside::NOTHING,
            body: b"x",
        };
        let (sequence, released_at) = (Sequence(3), Time::from_micros(2_000_000));
        let position = Position(4);
        let shown = ResultRef { position, stream: &stream, sequence, released_at, result };
        let line = |until| {
            let mut line = Vec::new();
            ResultBody::shown(shown).replayed_until(until).write_line(&mut line);
            serde_json::from_slice::<Value>(&line).unwrap()
        };
        let mut all = json!({
            "position": 4,
            "stream": "s1",
            "sequence": 3,
            "id": "00000000-0000-0000-0000-000000000007",
            "outcome": "resolved",
            "attempts": 2,
            "worker": "w\"1",
            "accepted_at": "1970-01-01T00:00:00.001Z",
            "released_at": "1970-01-01T00:00:02.000Z",
            "datacontenttype": "text/plain",
            "data": "x",
        });
        assert_eq!(line(None), all);
        all["replay"] = true.into();
        assert_eq!(line(Some(Position(4))), all);
        all["replay"] = false.into();
        assert_eq!(line(Some(Position(3))), all);
    }
}
