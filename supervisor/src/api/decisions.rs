//! What people decide on one message.

use std::sync::Arc;

use axum::{
    Router,
    body::Body,
    extract::{Path, State},
    response::Response,
    routing::post,
};
use http::{HeaderMap, HeaderValue, StatusCode, header};
use rollcall_common::{
    ids::Sequence,
    message::{Headers, Payload, compact, is_kept},
    problem::Problem,
    protocol,
};
use serde_json::json;

use super::{
    Api,
    audit_note::{AuditNote, because, checked},
    messages::parse_sequence,
};
use crate::{
    dispatcher::{Event, Reply, event::Decision},
    web::{
        actor, beside, read_body,
        respond::{ApiResult, bad_request, internal, json, refused},
    },
};

pub(super) fn routes() -> Router<Arc<Api>> {
    Router::new()
        .route("/v1/streams/{stream}/messages/{sequence}/retry", post(retry))
        .route("/v1/streams/{stream}/messages/{sequence}/resolve", post(resolve))
        .route("/v1/streams/{stream}/messages/{sequence}/skip", post(skip))
}

type Place = Path<(String, String)>;

async fn retry(
    State(api): State<Arc<Api>>,
    Path(place): Place,
    headers: HeaderMap,
    body: Body,
) -> ApiResult {
    ApiResult(match because(&headers, body).await {
        Ok(AuditNote { by, reason }) => api.decide(place, by, Decision::Retry { reason }).await,
        Err(refusal) => Err(refusal),
    })
}

async fn skip(
    State(api): State<Arc<Api>>,
    Path(place): Place,
    headers: HeaderMap,
    body: Body,
) -> ApiResult {
    ApiResult(match because(&headers, body).await {
        Ok(AuditNote { reason, .. }) if reason.is_empty() => {
            Err(bad_request("a skip needs a reason: {\"reason\": \"…\"}").into())
        }
        Ok(AuditNote { by, reason }) => api.decide(place, by, Decision::Skip { reason }).await,
        Err(refusal) => Err(refusal),
    })
}

async fn resolve(
    State(api): State<Arc<Api>>,
    Path(place): Place,
    headers: HeaderMap,
    body: Body,
) -> ApiResult {
    ApiResult(api.resolve(place, &headers, body).await)
}

impl Api {
    async fn resolve(
        &self,
        place: (String, String),
        headers: &HeaderMap,
        body: Body,
    ) -> Result<Response, Box<Problem>> {
        let limit = self.sizes.load().message;
        let content_type = headers.get(header::CONTENT_TYPE).map(HeaderValue::to_str).transpose();
        let content_type = content_type.map_err(|_| bad_request("Content-Type is no text"))?;
        let content_type = content_type.unwrap_or_default().into();
        let beside = beside::keep(headers, is_kept).map_err(bad_request)?;
        // The body is the result, so the reason travels beside it.
        let reason = headers.get(protocol::REASON).and_then(|value| value.to_str().ok());
        let reason = checked(reason.unwrap_or_default().into())?;
        let body = compact(read_body(headers, body, limit).await?);
        let payload = Payload { content_type, headers: beside, body };
        let payload = payload.traced(&self.trace(&place).await?);
        self.decide(place, actor(headers), Decision::Resolve { payload, reason }).await
    }

    /// What says of which trace a message is, where it has no result yet: a result that a person
    /// gives is of that one, too.
    async fn trace(&self, (stream, sequence): &(String, String)) -> Result<Headers, Box<Problem>> {
        let sequence = parse_sequence(sequence)?;
        let (_, stream) = self.stream(stream)?;
        let views = Arc::clone(&self.views);
        let read = move || views.messages(stream, sequence..=sequence, 1);
        let messages = tokio::task::spawn_blocking(read).await.map_err(|error| internal(&error))?;
        let messages = messages.map_err(|error| internal(&error))?;
        Ok(messages.first().map(|(_, _, message)| message.trace()).unwrap_or_default())
    }

    async fn decide(
        &self,
        (stream, sequence): (String, String),
        by: Box<str>,
        decision: Decision,
    ) -> Result<Response, Box<Problem>> {
        let sequence: Sequence = parse_sequence(&sequence)?;
        let (name, id) = self.stream(&stream)?;
        let head = self.head(id, sequence).await?;
        let event = {
            let stream = name.clone();
            move |request| Event::Decided { request, stream, sequence, head, by, decision }
        };
        let reply = self.handle.request(event).await?;
        if reply != Reply::Done {
            return Err(refused(&format!("{name}/{sequence}"), &reply).into());
        }
        Ok(json(StatusCode::OK, &json!({ "stream": name, "sequence": sequence })))
    }
}
