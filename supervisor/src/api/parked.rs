//! Parked messages, and what people decide on them.

use std::{collections::BTreeMap, sync::Arc};

use axum::{
    Router,
    body::Body,
    extract::{Path, Query, State},
    response::Response,
    routing::{get, post},
};
use http::{HeaderMap, StatusCode, header};
use rollcall_common::{
    ids::Sequence,
    limits::REASON_BYTES,
    message::{OCTET_STREAM, Payload, compact},
    problem::Problem,
};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{
    Api,
    messages::{parse_sequence, unknown_message},
};
use crate::{
    dispatcher::{Event, Reply, event::Decision},
    web::{
        read_body,
        respond::{Answer, bad_request, json, unknown_stream},
    },
};

pub(super) fn routes() -> Router<Arc<Api>> {
    Router::new()
        .route("/v1/parked", get(list))
        .route("/v1/streams/{stream}/messages/{sequence}/retry", post(retry))
        .route("/v1/streams/{stream}/messages/{sequence}/resolve", post(resolve))
        .route("/v1/streams/{stream}/messages/{sequence}/skip", post(skip))
}

async fn list(
    State(api): State<Arc<Api>>,
    Query(query): Query<BTreeMap<String, String>>,
) -> Answer {
    Answer(api.list_parked(query.get("stream").cloned()).await)
}

type Place = Path<(String, String)>;

async fn retry(
    State(api): State<Arc<Api>>,
    Path(place): Place,
    headers: HeaderMap,
    body: Body,
) -> Answer {
    let reason = read_reason(&headers, body).await;
    Answer(match reason {
        Ok(reason) => api.decide(place, Decision::Retry { reason }).await,
        Err(refusal) => Err(refusal),
    })
}

async fn skip(
    State(api): State<Arc<Api>>,
    Path(place): Place,
    headers: HeaderMap,
    body: Body,
) -> Answer {
    let reason = read_reason(&headers, body).await;
    Answer(match reason {
        Ok(reason) if reason.is_empty() => {
            Err(bad_request("a skip needs a reason: {\"reason\": \"…\"}").into())
        }
        Ok(reason) => api.decide(place, Decision::Skip { reason }).await,
        Err(refusal) => Err(refusal),
    })
}

async fn resolve(
    State(api): State<Arc<Api>>,
    Path(place): Place,
    headers: HeaderMap,
    body: Body,
) -> Answer {
    let limit = api.sizes.load().message;
    let content_type = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    Answer(match read_body(&headers, body, limit).await {
        Ok(body) => {
            let content_type = content_type.unwrap_or(OCTET_STREAM).into();
            let payload = Payload { content_type, body: compact(body) };
            api.decide(place, Decision::Resolve(payload)).await
        }
        Err(refusal) => Err(refusal),
    })
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Reasoned {
    #[serde(default)]
    reason: Box<str>,
}

async fn read_reason(headers: &HeaderMap, body: Body) -> Result<Box<str>, Box<Problem>> {
    let body = read_body(headers, body, 4 * REASON_BYTES).await?;
    if body.iter().all(u8::is_ascii_whitespace) {
        return Ok("".into());
    }
    let reasoned: Reasoned =
        serde_json::from_slice(&body).map_err(|error| bad_request(error.to_string()))?;
    if reasoned.reason.len() > REASON_BYTES {
        return Err(bad_request(format!("a reason has at most {REASON_BYTES} bytes")).into());
    }
    Ok(reasoned.reason)
}

impl Api {
    async fn list_parked(&self, stream: Option<String>) -> Result<Response, Box<Problem>> {
        let only = stream.map(|name| self.stream(&name)).transpose()?.map(|(_, id)| id);
        let parked = self.handle.look(move |dispatcher| {
            let all =
                dispatcher.parked().filter(|(stream, ..)| only.is_none_or(|id| id == *stream));
            all.map(|(stream, sequence, parking, attempts)| {
                let behind = dispatcher.stream_status(stream).next.0 - 1 - sequence.0;
                json!({
                    "stream": dispatcher.state().stream_name(stream),
                    "sequence": sequence,
                    "id": parking.head.id,
                    "reason": &*parking.reason,
                    "attempts": attempts,
                    "parked_at": parking.at,
                    "waiting_behind": behind,
                })
            })
            .collect::<Vec<Value>>()
        });
        Ok(json(StatusCode::OK, &json!({ "parked": parked.await? })))
    }

    async fn decide(
        &self,
        (stream, sequence): (String, String),
        decision: Decision,
    ) -> Result<Response, Box<Problem>> {
        let sequence: Sequence = parse_sequence(&sequence)?;
        let (name, _) = self.stream(&stream)?;
        let event = {
            let stream = name.clone();
            move |request| Event::Decided { request, stream, sequence, decision }
        };
        match self.handle.ask(event).await? {
            Reply::Done => {
                Ok(json(StatusCode::OK, &json!({ "stream": name, "sequence": sequence })))
            }
            Reply::UnknownMessage => Err(unknown_message(&name, sequence).into()),
            Reply::NotParked => {
                let detail = format!("{name}/{sequence} is not parked");
                Err(Problem::new(409, "not-parked", "Not parked", detail).into())
            }
            Reply::Accepted { .. }
            | Reply::Backlogged { .. }
            | Reply::Conflict { .. }
            | Reply::Full
            | Reply::UnknownStream => Err(unknown_stream(&stream).into()),
        }
    }
}
