//! Headers of a subscription's own: what its destination wants to see beside what every delivery
//! has. A value is as secret as a token: it is in no journal, no answer and no log.

use http::{HeaderName, HeaderValue};

use crate::limits::OWN_HEADER_BYTES;

/// A header that each request to a destination has. Its value is never printed.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct OwnHeader {
    /// Its name.
    pub name: HeaderName,
    /// Its value, marked as what must not be shown.
    pub value: HeaderValue,
}

/// Why a header can't be had. The value is not in it.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum BadHeader {
    /// It is no name of a header.
    #[error("is no name of a header")]
    Name,
    /// What it says is the delivery's to say.
    #[error("is set by each delivery itself")]
    Reserved,
    /// The value can't be sent.
    #[error(
        "has a value that can't be sent (not shown); expected 1 to {OWN_HEADER_BYTES} visible \
         ASCII characters and blanks between them"
    )]
    Value,
}

/// Names that a delivery or the connection uses itself.
const RESERVED: &[&str] = &[
    "connection",
    "content-encoding",
    "content-length",
    "content-type",
    "expect",
    "host",
    "idempotency-key",
    "keep-alive",
    "proxy-connection",
    "te",
    "traceparent",
    "tracestate",
    "trailer",
    "transfer-encoding",
    "upgrade",
];
/// What such names begin with.
const RESERVED_PREFIXES: &[&str] = &["ce-", "rollcall-", "webhook-"];

impl OwnHeader {
    /// A header with this name and value.
    ///
    /// # Errors
    /// When the name is none, or not to be had, or the value can't be sent.
    pub fn new(name: &str, value: &str) -> Result<Self, BadHeader> {
        let name: HeaderName = name.parse().map_err(|_| BadHeader::Name)?;
        let text = name.as_str();
        let begins = RESERVED_PREFIXES.iter().any(|prefix| text.starts_with(prefix));
        if begins || RESERVED.contains(&text) {
            return Err(BadHeader::Reserved);
        }
        let visible = value.bytes().all(|byte| byte.is_ascii_graphic() || byte == b' ');
        let fits = (1..=OWN_HEADER_BYTES).contains(&value.len()) && value.trim() == value;
        if !visible || !fits {
            return Err(BadHeader::Value);
        }
        let mut value = HeaderValue::from_str(value).map_err(|_| BadHeader::Value)?;
        value.set_sensitive(true);
        Ok(Self { name, value })
    }

    /// The value, for the file and for the destination alone.
    #[must_use]
    pub fn reveal(&self) -> &str {
        self.value.to_str().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_deliveries_use_are_not_to_be_had() {
        for reserved in [
            "Content-Type",
            "host",
            "Idempotency-Key",
            "Rollcall-Anything",
            "webhook-id",
            "ce-id",
            "TraceParent",
            "transfer-encoding",
        ] {
            assert_eq!(OwnHeader::new(reserved, "x"), Err(BadHeader::Reserved), "{reserved}");
        }
        for bad in ["", "a b", "a:b", "ä"] {
            assert_eq!(OwnHeader::new(bad, "x"), Err(BadHeader::Name), "{bad}");
        }
        let long = "x".repeat(OWN_HEADER_BYTES + 1);
        for bad in ["", " x", "x ", "a\r\nb: c", "ä", &long] {
            assert_eq!(OwnHeader::new("x-key", bad), Err(BadHeader::Value), "{bad:?}");
        }
    }

    #[test]
    fn values_are_never_shown() {
        let header = OwnHeader::new("Authorization", "Bearer canary").unwrap();
        assert!(!format!("{header:?}").contains("canary"));
        assert_eq!((header.name.as_str(), header.reveal()), ("authorization", "Bearer canary"));
        let error = OwnHeader::new("x", "canary\n").unwrap_err().to_string();
        assert!(!error.contains("canary"));
    }
}
