//! Answers: problems as RFC 9457 says, JSON, and a refusal's words.

use axum::{
    body::Body,
    response::{IntoResponse, Response},
};
use http::{HeaderValue, StatusCode, header};
use rollcall_common::{
    limits::COMMIT_STALL,
    problem::{self, Problem},
};
use serde::Serialize;
use tokio::time::timeout;

use crate::{
    dispatcher::{Dispatcher, Reply},
    driver::{Gone, Handle},
};

/// An answer, or why there is none.
#[derive(Debug)]
pub struct ApiResult(pub Result<Response, Box<Problem>>);

impl IntoResponse for ApiResult {
    fn into_response(self) -> Response {
        self.0.unwrap_or_else(|refusal| problem(&refusal))
    }
}

/// A problem as an answer.
#[must_use]
pub fn problem(problem: &Problem) -> Response {
    let mut response = Response::new(Body::from(problem.to_json()));
    *response.status_mut() =
        StatusCode::from_u16(problem.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(problem::CONTENT_TYPE));
    if let Some(seconds) = problem.retry_after {
        headers.insert(header::RETRY_AFTER, seconds.into());
    }
    response
}

/// A value as a JSON answer.
#[must_use]
pub fn json(status: StatusCode, value: &impl Serialize) -> Response {
    let mut response = Response::new(Body::from(serde_json::to_vec(value).unwrap_or_default()));
    *response.status_mut() = status;
    let json = HeaderValue::from_static("application/json");
    response.headers_mut().insert(header::CONTENT_TYPE, json);
    response
}

/// The supervisor is on its way down.
#[must_use]
pub fn stopping() -> Problem {
    Problem::new(503, "draining", "Draining", "this supervisor is going down").retry_after(1)
}

impl From<Gone> for Box<Problem> {
    fn from(_: Gone) -> Self {
        Self::new(stopping())
    }
}

/// The client is to come back in a second.
#[must_use]
pub fn overloaded(detail: &str) -> Problem {
    Problem::new(503, "overloaded", "Overloaded", detail).retry_after(1)
}

/// Looks at the dispatcher between two turns, for an answer.
///
/// # Errors
/// When what was seen is not durable within [`COMMIT_STALL`], or the driver is gone.
pub async fn look_at<T: Send + 'static>(
    handle: &Handle,
    look: impl FnOnce(&Dispatcher) -> T + Send + 'static,
) -> Result<T, Box<Problem>> {
    match timeout(COMMIT_STALL, handle.query(look)).await {
        Ok(seen) => Ok(seen?),
        Err(_) => Err(Box::new(overloaded("the journal's disk is slow"))),
    }
}

/// There is no such stream.
#[must_use]
pub fn unknown_stream(name: &str) -> Problem {
    let detail = format!("there is no stream {name:?}");
    Problem::new(404, "unknown-stream", "Unknown stream", detail)
}

/// A request that makes no sense.
#[must_use]
pub fn bad_request(detail: impl Into<String>) -> Problem {
    Problem::new(400, "bad-request", "Bad request", detail)
}

/// Something that should not have happened.
#[must_use]
pub fn internal(error: &dyn std::error::Error) -> Problem {
    tracing::error!(%error, "a request could not be served");
    Problem::new(500, "internal", "Internal error", "the supervisor's log says more")
}

/// Messages that go in together take up too much in the journal.
#[must_use]
pub fn too_large_together(bytes: usize, limit: usize) -> Problem {
    let detail = format!(
        "with what stands beside each message, they take up {bytes} bytes in the journal, and may \
         take up {limit}; send them in several batches"
    );
    Problem::new(413, "batch-too-large", "Batch too large", detail)
        .with("limit_bytes", limit)
        .with("bytes", bytes)
}

/// What the dispatcher's refusal is to the outside; `on` is what the request was about: a stream,
/// a message (`orders/17`), or an alert.
#[must_use]
pub fn refused(on: &str, reply: &Reply) -> Problem {
    match reply {
        Reply::Accepted { .. }
        | Reply::DecidedMany { .. }
        | Reply::Done
        | Reply::Subscription(_) => bad_request("not understood"),
        Reply::AlertResolved => {
            let detail = format!("alert {on} is resolved already");
            Problem::new(409, "alert-resolved", "Alert resolved", detail)
        }
        Reply::Backlogged { limit, waiting } => {
            let detail = format!(
                "{on} has {waiting} unreleased messages, and may have {limit} (max_backlog): there \
                 is no room for these as well"
            );
            Problem::new(429, "backlog-full", "Too many unreleased messages", detail)
                .with("limit_messages", *limit)
                .with("waiting_messages", *waiting)
                .retry_after(1)
        }
        Reply::Conflict { index, sequence } => {
            let detail = format!("the key was seen with other content, as {on}/{sequence}");
            Problem::new(422, "key-reused", "Idempotency key reused", detail)
                .with("sequence", sequence.0)
                .with("index", *index)
        }
        Reply::Full => {
            let detail = "the journal's disk is full; nothing new is taken in until there is room";
            Problem::new(507, "journal-full", "Insufficient storage", detail).retry_after(5)
        }
        Reply::HasResult => {
            let detail = format!("{on} has its result already, and keeps it");
            Problem::new(409, "has-result", "It has its result", detail)
        }
        Reply::NeverFits { limit } => {
            let detail = format!(
                "{on} may have {limit} unreleased messages (max_backlog), and these are more: they \
                 would never fit"
            );
            Problem::new(413, "batch-too-large", "Batch too large", detail)
                .with("limit_messages", *limit)
        }
        Reply::NotParked => {
            Problem::new(409, "not-parked", "Not parked", format!("{on} is not parked"))
        }
        Reply::TooLarge { bytes, limit } => too_large_together(*bytes, *limit),
        Reply::TooManyStreams { limit } => {
            let detail = format!("{on} would be one stream more than the {limit} that may be");
            Problem::new(507, "too-many-streams", "Too many streams", detail)
                .with("limit_streams", *limit)
        }
        Reply::UnknownAlert => {
            let detail = format!("there is no alert {on}");
            Problem::new(404, "unknown-alert", "Unknown alert", detail)
        }
        Reply::UnknownMessage => {
            let detail = format!("there is no message {on}");
            Problem::new(404, "unknown-message", "Unknown message", detail)
        }
        Reply::UnknownStream => unknown_stream(on),
    }
}
