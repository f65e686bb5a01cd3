//! Parked messages, and what people decide on them.

use std::{collections::BTreeMap, sync::Arc};

use axum::{
    Router,
    body::Body,
    extract::{Path, Query, State},
    response::Response,
    routing::{get, post},
};
use http::{HeaderMap, HeaderValue, StatusCode, header};
use rollcall_common::{
    ids::{MessageId, Sequence, StreamId, StreamName},
    limits::REASON_BYTES,
    message::{Headers, Payload, compact, is_kept},
    problem::Problem,
    protocol,
    time::Time,
};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{
    Api,
    messages::parse_sequence,
    reason::{Because, because, checked},
};
use crate::{
    access::Caller,
    dispatcher::{
        Dispatcher, Event, Reply,
        event::{Bulk, Decision},
    },
    web::{
        actor, beside, read_body,
        respond::{Answer, bad_request, internal, json, refused},
    },
};

/// Parked messages that one turn of the driver sends back.
const BULK: usize = 256;

/// Parked messages that are looked up between two turns of the driver, for a list.
const LISTED: usize = 256;

pub(super) fn routes() -> Router<Arc<Api>> {
    Router::new()
        .route("/v1/parked", get(list))
        .route("/v1/parked/retry", post(retry_many))
        .route("/v1/streams/{stream}/messages/{sequence}/retry", post(retry))
        .route("/v1/streams/{stream}/messages/{sequence}/resolve", post(resolve))
        .route("/v1/streams/{stream}/messages/{sequence}/skip", post(skip))
}

async fn list(
    State(api): State<Arc<Api>>,
    caller: Caller,
    Query(query): Query<BTreeMap<String, String>>,
) -> Answer {
    Answer(api.list_parked(caller, query.get("stream").cloned()).await)
}

type Place = Path<(String, String)>;

async fn retry(
    State(api): State<Arc<Api>>,
    Path(place): Place,
    headers: HeaderMap,
    body: Body,
) -> Answer {
    Answer(match because(&headers, body).await {
        Ok(Because { by, reason }) => api.decide(place, by, Decision::Retry { reason }).await,
        Err(refusal) => Err(refusal),
    })
}

async fn skip(
    State(api): State<Arc<Api>>,
    Path(place): Place,
    headers: HeaderMap,
    body: Body,
) -> Answer {
    Answer(match because(&headers, body).await {
        Ok(Because { reason, .. }) if reason.is_empty() => {
            Err(bad_request("a skip needs a reason: {\"reason\": \"…\"}").into())
        }
        Ok(Because { by, reason }) => api.decide(place, by, Decision::Skip { reason }).await,
        Err(refusal) => Err(refusal),
    })
}

async fn resolve(
    State(api): State<Arc<Api>>,
    Path(place): Place,
    headers: HeaderMap,
    body: Body,
) -> Answer {
    Answer(api.resolve(place, &headers, body).await)
}

async fn retry_many(
    State(api): State<Arc<Api>>,
    caller: Caller,
    headers: HeaderMap,
    body: Body,
) -> Answer {
    Answer(api.retry_many(&caller, &headers, body).await)
}

/// What is sent back in bulk, and why.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Wanted {
    stream: Option<String>,
    #[serde(default)]
    matching: Box<str>,
    #[serde(default)]
    reason: Box<str>,
    limit: Option<usize>,
    #[serde(default)]
    dry_run: bool,
}

/// A parked message, to be shown.
struct Row {
    place: (StreamId, Sequence),
    stream: StreamName,
    id: MessageId,
    reason: Box<str>,
    attempts: u32,
    at: Time,
    behind: u64,
}

impl Row {
    /// The next ones of a stream, or of all.
    fn piece(
        dispatcher: &Dispatcher,
        after: (StreamId, Sequence),
        only: Option<StreamId>,
    ) -> Vec<Self> {
        let wanted = dispatcher
            .parked_after(after)
            .take_while(|(stream, ..)| only.is_none_or(|only| only == *stream));
        let rows = wanted.filter_map(|(stream, sequence, parking, attempts)| {
            Some(Self {
                place: (stream, sequence),
                stream: dispatcher.state().stream_name(stream)?.clone(),
                id: parking.head.id,
                reason: parking.reason.clone(),
                attempts,
                at: parking.at,
                behind: dispatcher.stream_status(stream).next.0 - 1 - sequence.0,
            })
        });
        rows.take(LISTED).collect()
    }

    fn shown(&self) -> Value {
        json!({
            "stream": self.stream,
            "sequence": self.place.1,
            "id": self.id,
            "reason": &*self.reason,
            "attempts": self.attempts,
            "parked_at": self.at,
            "waiting_behind": self.behind,
        })
    }
}

fn named(stream: Option<&String>) -> Vec<Box<str>> {
    stream.map(|name| name.as_str().into()).into_iter().collect()
}

impl Api {
    async fn list_parked(
        &self,
        caller: Caller,
        stream: Option<String>,
    ) -> Result<Response, Box<Problem>> {
        caller.must_see(&named(stream.as_ref()))?;
        let only = stream.map(|name| self.stream(&name)).transpose()?.map(|(_, id)| id);
        let mut after = (only.unwrap_or(StreamId(0)), Sequence(0));
        let mut parked = Vec::new();
        loop {
            let piece =
                self.handle.look(move |dispatcher| Row::piece(dispatcher, after, only)).await?;
            let last = piece.last().filter(|_| piece.len() == LISTED).map(|row| row.place);
            let seen = piece.iter().filter(|row| caller.sees(row.stream.as_str()));
            parked.extend(seen.map(Row::shown));
            let Some(last) = last else {
                return Ok(json(StatusCode::OK, &json!({ "parked": parked })));
            };
            after = last;
        }
    }

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

    /// Sends parked messages back piece by piece, so that nobody waits for all of them.
    async fn retry_many(
        &self,
        caller: &Caller,
        headers: &HeaderMap,
        body: Body,
    ) -> Result<Response, Box<Problem>> {
        let body = read_body(headers, body, 8 * REASON_BYTES).await?;
        let wanted: Wanted =
            serde_json::from_slice(&body).map_err(|error| bad_request(error.to_string()))?;
        match &wanted.stream {
            Some(name) => caller.must_see(&named(Some(name)))?,
            None => caller.sees_everything("a retry that names no stream")?,
        }
        let stream = wanted.stream.map(|name| self.stream(&name)).transpose()?;
        let mut bulk = Bulk {
            stream: stream.map(|(_, id)| id),
            matching: wanted.matching,
            after: None,
            limit: wanted.limit.unwrap_or(usize::MAX),
            by: actor(headers),
            reason: checked(wanted.reason)?,
        };
        if wanted.dry_run {
            let look = self.handle.look(move |dispatcher| dispatcher.parked_for(&bulk).len());
            return Ok(json(StatusCode::OK, &json!({ "count": look.await? })));
        }
        let Ok(_alone) = self.bulk.try_lock() else {
            let detail = "parked messages are being sent back in bulk already";
            return Err(Problem::new(409, "bulk-under-way", "Bulk under way", detail).into());
        };
        let (mut left, mut count) = (bulk.limit, 0);
        loop {
            bulk.limit = left.min(BULK);
            let piece = bulk.clone();
            let event = move |request| Event::RetriedMany { request, bulk: piece };
            let reply = self.handle.ask(event).await?;
            let Reply::Retried { found } = reply else {
                return Err(refused("bulk", &reply).into());
            };
            count += found.len();
            left -= found.len();
            if found.len() < bulk.limit || left == 0 {
                return Ok(json(StatusCode::OK, &json!({ "count": count })));
            }
            // What went back may be parked again by now; it had its turn.
            bulk.after = found.last().copied();
        }
    }

    async fn decide(
        &self,
        (stream, sequence): (String, String),
        by: Box<str>,
        decision: Decision,
    ) -> Result<Response, Box<Problem>> {
        let sequence: Sequence = parse_sequence(&sequence)?;
        let (name, _) = self.stream(&stream)?;
        let event = {
            let stream = name.clone();
            move |request| Event::Decided { request, stream, sequence, by, decision }
        };
        let reply = self.handle.ask(event).await?;
        if reply != Reply::Done {
            return Err(refused(&format!("{name}/{sequence}"), &reply).into());
        }
        Ok(json(StatusCode::OK, &json!({ "stream": name, "sequence": sequence })))
    }
}
