//! What stands beside a body on the wire: headers that travel with it.

use http::{HeaderMap, HeaderName, HeaderValue};
use rollcall_common::{
    limits::{KEPT_HEADER_BYTES, KEPT_HEADERS},
    message::{Headers, weight_of},
};

/// Takes the headers that `wanted` names out of a request or an answer.
///
/// # Errors
/// When they can't be kept as they are; the text says why.
pub fn keep(headers: &HeaderMap, wanted: impl Fn(&str) -> bool) -> Result<Headers, String> {
    let mut kept: Vec<(Box<str>, Box<str>)> = Vec::new();
    for (name, value) in headers {
        let name = name.as_str();
        if !wanted(name) {
            continue;
        }
        let value = value
            .to_str()
            .map_err(|_| format!("{name} holds something other than visible ASCII"))?;
        // A list may be told in several headers; of anything else there is one.
        if name != "tracestate" && kept.iter().any(|(before, _)| **before == *name) {
            return Err(format!("{name} is there more than once"));
        }
        kept.push((name.into(), value.into()));
    }
    if kept.len() > KEPT_HEADERS || weight_of(&kept) > KEPT_HEADER_BYTES {
        return Err(format!(
            "at most {KEPT_HEADERS} ce-*, traceparent and tracestate headers of \
             {KEPT_HEADER_BYTES} bytes in all travel with a message"
        ));
    }
    Ok(kept.into())
}

/// Puts them into a request or an answer; `None` when one can't stand there.
#[must_use]
pub fn put(headers: &mut HeaderMap, kept: &[(Box<str>, Box<str>)]) -> Option<()> {
    for (name, value) in kept {
        let name = HeaderName::from_bytes(name.as_bytes()).ok()?;
        headers.append(name, HeaderValue::from_str(value).ok()?);
    }
    Some(())
}
