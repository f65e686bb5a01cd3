//! Who wants something, and why: for the audit.

use axum::body::Body;
use http::HeaderMap;
use rollcall_common::{limits::REASON_BYTES, problem::Problem};
use serde::Deserialize;

use crate::web::{actor, read_body, respond::bad_request, without_mark};

/// Who, and why.
pub(super) struct AuditNote {
    pub(super) by: Box<str>,
    pub(super) reason: Box<str>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Given {
    #[serde(default)]
    reason: Box<str>,
}

/// Reads an optional `{"reason": "…"}`.
pub(super) async fn because(headers: &HeaderMap, body: Body) -> Result<AuditNote, Box<Problem>> {
    let body = read_body(headers, body, 4 * REASON_BYTES).await?;
    let by = actor(headers);
    if body.iter().all(u8::is_ascii_whitespace) {
        return Ok(AuditNote { by, reason: "".into() });
    }
    let given: Given = serde_json::from_slice(without_mark(&body))
        .map_err(|error| bad_request(error.to_string()))?;
    Ok(AuditNote { by, reason: checked(given.reason)? })
}

/// A reason that is not too long.
pub(super) fn checked(reason: Box<str>) -> Result<Box<str>, Box<Problem>> {
    if reason.len() > REASON_BYTES {
        return Err(bad_request(format!("a reason has at most {REASON_BYTES} bytes")).into());
    }
    Ok(reason)
}
