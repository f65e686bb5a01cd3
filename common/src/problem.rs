//! Errors as the outside sees them: RFC 9457 `application/problem+json`.

use std::borrow::Cow;

use serde::Serialize;
use serde_json::{Map, Value};

/// The content type of a problem.
pub const CONTENT_TYPE: &str = "application/problem+json";

/// What went wrong, for people and for programs.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Problem {
    /// Which kind of problem: a URI, `urn:rollcall:problem:` and a name.
    #[serde(rename = "type")]
    pub kind: Cow<'static, str>,
    /// The kind in words; the same each time.
    pub title: Cow<'static, str>,
    /// The HTTP status.
    pub status: u16,
    /// What happened this time.
    pub detail: String,
    /// What a program needs to act: `limit_bytes`, `line`, `first`, ….
    #[serde(flatten)]
    pub members: Map<String, Value>,
    /// After how many seconds another try makes sense (sent as `Retry-After`).
    #[serde(skip)]
    pub retry_after: Option<u64>,
}

impl Problem {
    /// A problem of the kind `name`, a word like `message-too-large`.
    #[must_use]
    pub fn new(status: u16, name: &str, title: &'static str, detail: impl Into<String>) -> Self {
        Self {
            kind: format!("urn:rollcall:problem:{name}").into(),
            title: title.into(),
            status,
            detail: detail.into(),
            members: Map::new(),
            retry_after: None,
        }
    }

    /// The same with one more member.
    #[must_use]
    pub fn with(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.members.insert(name.to_owned(), value.into());
        self
    }

    /// The same with a `Retry-After` of so many seconds.
    #[must_use]
    pub fn retry_after(mut self, seconds: u64) -> Self {
        self.retry_after = Some(seconds);
        self
    }

    /// The body.
    #[must_use]
    pub fn to_json(&self) -> Vec<u8> {
        serde_json::to_vec(self).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_stand_beside_the_fixed_ones() {
        let problem = Problem::new(413, "message-too-large", "Message too large", "2 MiB")
            .with("limit_bytes", 1_048_576)
            .retry_after(3);
        let value: Value = serde_json::from_slice(&problem.to_json()).unwrap();
        assert_eq!(value["limit_bytes"], 1_048_576);
        assert_eq!(value["type"], "urn:rollcall:problem:message-too-large");
        assert_eq!(value.get("retry_after"), None);
    }
}
