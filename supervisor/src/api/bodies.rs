//! The bytes of one message, and of its result: for whoever has to decide what becomes of it.

use std::sync::Arc;

use axum::{
    Router,
    body::Body,
    extract::{Path, State},
    response::Response,
    routing::get,
};
use bytes::Bytes;
use http::{HeaderValue, StatusCode, header};
use rollcall_common::{
    ids::{Sequence, StreamId, StreamName},
    problem::Problem,
    protocol,
};

use super::{Api, messages::parse_sequence};
use crate::{
    record::{self, Outcome},
    views::ReadFailed,
    web::respond::{ApiResult, internal, look_at, overloaded},
};

/// What strangers have sent is not to act in an operator's browser.
const SANDBOX: HeaderValue = HeaderValue::from_static("sandbox; default-src 'none'");

pub(super) fn routes() -> Router<Arc<Api>> {
    Router::new()
        .route("/v1/streams/{stream}/messages/{sequence}/body", get(body))
        .route("/v1/streams/{stream}/messages/{sequence}/result", get(result))
}

type Place = Path<(String, String)>;

async fn body(State(api): State<Arc<Api>>, Path(place): Place) -> ApiResult {
    ApiResult(api.message_body(place).await)
}

async fn result(State(api): State<Arc<Api>>, Path(place): Place) -> ApiResult {
    ApiResult(api.message_result(place).await)
}

/// Bytes with their type, as a file: they are shown by nobody who does not mean to.
fn file(
    (name, sequence): (&StreamName, Sequence),
    kind: &str,
    (content_type, body): (&str, Body),
) -> Response {
    let mut response = Response::new(body);
    *response.status_mut() = StatusCode::OK;
    let headers = response.headers_mut();
    // A type was a header's value once; one that is none is left away.
    if let Some(value) = HeaderValue::from_str(content_type).ok().filter(|value| !value.is_empty())
    {
        headers.insert(header::CONTENT_TYPE, value);
    }
    // A stream's name has nothing to escape.
    let disposition = format!("attachment; filename=\"{name}-{sequence}.{kind}\"");
    if let Ok(value) = HeaderValue::from_str(&disposition) {
        headers.insert(header::CONTENT_DISPOSITION, value);
    }
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(header::CONTENT_SECURITY_POLICY, SANDBOX);
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(protocol::SEQUENCE, sequence.0.into());
    response
}

impl Api {
    /// Bytes as a body, if there is room for them.
    fn sent(&self, bytes: &Bytes) -> Result<Body, Box<Problem>> {
        let body = self.large.body(bytes.clone());
        body.ok_or_else(|| overloaded("large bodies are being sent to many").into())
    }

    async fn message_body(
        &self,
        (stream, sequence): (String, String),
    ) -> Result<Response, Box<Problem>> {
        let sequence = parse_sequence(&sequence)?;
        let (name, stream) = self.stream(&stream)?;
        let place = (&name, sequence);
        let views = Arc::clone(&self.views);
        let read = move || views.message(stream, sequence);
        let found = tokio::task::spawn_blocking(read).await.map_err(|error| internal(&error))?;
        if let Some(message) = found.map_err(|error| internal(&error))? {
            let body = self.sent(&message.body)?;
            return Ok(file(place, "body", (&message.content_type, body)));
        }
        let gone = || {
            let detail = format!(
                "the message {name}/{sequence} has its result, and the message itself is no \
                 longer kept"
            );
            Problem::new(410, "no-longer-kept", "No longer kept", detail)
        };
        if let Some(answer) = self.answer(stream, sequence).await? {
            // Without a processing step the result is the message.
            let passed = answer.outcome == Outcome::Completed && answer.worker.is_empty();
            let payload = &answer.payload;
            if !passed {
                return Err(gone().into());
            }
            let body = self.sent(&payload.body)?;
            return Ok(file(place, "body", (&payload.content_type, body)));
        }
        Err(self.gone_or_unknown(&name, stream, sequence).into())
    }

    async fn message_result(
        &self,
        (stream, sequence): (String, String),
    ) -> Result<Response, Box<Problem>> {
        let sequence = parse_sequence(&sequence)?;
        let (name, stream) = self.stream(&stream)?;
        let mut answer = self.answer(stream, sequence).await?;
        let mut open = false;
        if answer.is_none() {
            open =
                look_at(&self.handle, move |d| d.message_state(stream, sequence).is_some()).await?;
            // It may have got one between the two.
            answer = self.answer(stream, sequence).await?;
        }
        if let Some(answer) = answer {
            let payload = &answer.payload;
            let body = self.sent(&payload.body)?;
            let bytes = (&*payload.content_type, body);
            let mut response = file((&name, sequence), "result", bytes);
            let outcome = HeaderValue::from_static(answer.outcome.as_str());
            response.headers_mut().insert(protocol::OUTCOME, outcome);
            return Ok(response);
        }
        if open {
            let detail = format!("the message {name}/{sequence} has no result yet");
            return Err(Problem::new(404, "no-result-yet", "No result yet", detail).into());
        }
        Err(self.gone_or_unknown(&name, stream, sequence).into())
    }

    /// The answer of a message, released or not.
    async fn answer(
        &self,
        stream: StreamId,
        sequence: Sequence,
    ) -> Result<Option<Arc<record::Answer>>, Box<Problem>> {
        let views = Arc::clone(&self.views);
        let read = move || views.waiting_answer(stream, sequence);
        let waiting = tokio::task::spawn_blocking(read).await.map_err(|error| internal(&error))?;
        let waiting = waiting.map_err(|error: ReadFailed| internal(&error))?;
        if waiting.is_some() {
            return Ok(waiting);
        }
        Ok(self.released_result(stream, sequence).await?.map(|result| result.answer))
    }
}
