//! Who does something, as far as is known.

use http::HeaderMap;
use rollcall_common::{limits::WORKER_ID_BYTES, protocol};

/// Who a request says that it is from: the header `Rollcall-Actor`, for the audit. Nothing proves
/// it.
#[must_use]
pub fn actor(headers: &HeaderMap) -> Box<str> {
    let given = headers.get(protocol::ACTOR).and_then(|value| value.to_str().ok());
    given.map_or("", str::trim).chars().take(WORKER_ID_BYTES).collect::<String>().into()
}
