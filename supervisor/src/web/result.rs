//! A result as JSON (contract §5).

use base64::{Engine as _, engine::general_purpose::STANDARD};
use rollcall_common::{
    ids::{MessageId, Position, Sequence},
    time::Time,
};
use serde::Serialize;
use serde_json::value::RawValue;

use crate::views::ReleasedResult;

/// A result's fields.
#[derive(Debug, Serialize)]
pub struct ResultBody<'a> {
    position: Position,
    stream: &'a str,
    sequence: Sequence,
    id: MessageId,
    outcome: &'static str,
    attempts: u32,
    #[serde(skip_serializing_if = "str::is_empty")]
    worker: &'a str,
    accepted_at: Time,
    released_at: Time,
    #[serde(skip_serializing_if = "str::is_empty")]
    datacontenttype: &'a str,
    #[serde(flatten)]
    data: Data<'a>,
    #[serde(skip_serializing_if = "str::is_empty")]
    reason: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    replay: Option<bool>,
}

/// A body, in the plainest way that JSON has for it.
#[derive(Debug)]
enum Data<'a> {
    Absent,
    Bytes(&'a [u8]),
    Json(&'a RawValue),
    /// JSON that stood on several lines.
    Joined(Box<RawValue>),
    Text(&'a str),
}

impl Serialize for Data<'_> {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        use serde::ser::SerializeMap as _;
        let mut map = serializer.serialize_map(None)?;
        match self {
            Self::Absent => {}
            Self::Bytes(bytes) => map.serialize_entry("data_base64", &STANDARD.encode(bytes))?,
            Self::Json(json) => map.serialize_entry("data", json)?,
            Self::Joined(json) => map.serialize_entry("data", json)?,
            Self::Text(text) => map.serialize_entry("data", text)?,
        }
        map.end()
    }
}

impl<'a> ResultBody<'a> {
    /// The fields of a released result.
    #[must_use]
    pub fn of(result: &'a ReleasedResult) -> Self {
        let answer = &*result.answer;
        Self {
            position: result.position,
            stream: result.stream.as_str(),
            sequence: result.sequence,
            id: answer.head.id,
            outcome: answer.outcome.as_str(),
            attempts: answer.attempts,
            worker: &answer.worker,
            accepted_at: answer.head.accepted_at,
            released_at: result.released_at,
            datacontenttype: &answer.payload.content_type,
            data: Data::of(&answer.payload.content_type, &answer.payload.body),
            reason: &answer.reason,
            replay: None,
        }
    }

    /// The same, for a reader to whom results up to `until` are replayed.
    #[must_use]
    pub fn replayed_until(self, until: Option<Position>) -> Self {
        let replay = until.map(|until| self.position <= until);
        Self { replay, ..self }
    }

    /// Adds one line of JSON, without its end, to `text`.
    pub fn write_line(&self, text: &mut Vec<u8>) {
        let before = text.len();
        if serde_json::to_writer(&mut *text, self).is_err() {
            text.truncate(before);
        }
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
        let json = if is_json(content_type) { Self::json(text.trim()) } else { None };
        json.unwrap_or(Self::Text(text))
    }

    /// One line of JSON, if it is any. Line ends in JSON stand between its parts, never inside a
    /// string.
    fn json(text: &'a str) -> Option<Self> {
        if text.contains('\n') || text.contains('\r') {
            let line = text.replace(['\n', '\r'], " ");
            return RawValue::from_string(line).ok().map(Self::Joined);
        }
        serde_json::from_str(text).ok().map(Self::Json)
    }
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
    use super::*;

    fn data(content_type: &str, body: &[u8]) -> String {
        serde_json::to_string(&Data::of(content_type, body)).unwrap()
    }

    #[test]
    fn bodies_are_shown_plainly() {
        assert_eq!(data("application/json", b"{\"a\":\n1}"), r#"{"data":{"a": 1}}"#);
        assert_eq!(data("application/problem+json; x=y", b" 1 "), r#"{"data":1}"#);
        assert_eq!(data("application/json", b"{"), r#"{"data":"{"}"#);
        assert_eq!(data("text/plain", b"a\"b"), r#"{"data":"a\"b"}"#);
        assert_eq!(data("text/plain", b""), r#"{"data":""}"#);
        assert_eq!(data("", b""), "{}");
        assert_eq!(data("application/json", b"\xff"), r#"{"data_base64":"/w=="}"#);
    }
}
