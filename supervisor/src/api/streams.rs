//! Streams: how each stands, and to make one stand still.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use axum::{
    Router,
    body::Body,
    extract::{Path, Query, State},
    response::Response,
    routing::{get, post},
};
use http::{HeaderMap, StatusCode};
use rollcall_common::{
    ids::{StreamId, StreamName},
    limits::PAGE_RESULTS,
    problem::Problem,
};
use serde_json::{Value, json};

use super::{
    Api,
    audit_note::{AuditNote, because},
    limit,
};
use crate::{
    access::Caller,
    dispatcher::{Event, Reply, Room, event::Wish, settings::OnExhausted},
    web::respond::{ApiResult, json, look_at, refused},
};

/// Streams in a page, where the reader does not say.
const PAGE: usize = 1000;

pub(super) fn routes() -> Router<Arc<Api>> {
    Router::new()
        .route("/v1/streams", get(list))
        .route("/v1/streams/{stream}", get(one))
        .route("/v1/streams/{stream}/pause", post(pause))
        .route("/v1/streams/{stream}/resume", post(resume))
}

async fn list(
    State(api): State<Arc<Api>>,
    caller: Caller,
    Query(query): Query<BTreeMap<String, String>>,
) -> ApiResult {
    ApiResult(api.list_streams(&caller, &query))
}

async fn one(State(api): State<Arc<Api>>, Path(stream): Path<String>) -> ApiResult {
    ApiResult(api.show_stream(&stream).await)
}

async fn pause(
    State(api): State<Arc<Api>>,
    Path(stream): Path<String>,
    headers: HeaderMap,
    body: Body,
) -> ApiResult {
    ApiResult(api.set_paused(&stream, Wish::Pause, because(&headers, body).await).await)
}

async fn resume(
    State(api): State<Arc<Api>>,
    Path(stream): Path<String>,
    headers: HeaderMap,
    body: Body,
) -> ApiResult {
    ApiResult(api.set_paused(&stream, Wish::Resume, because(&headers, body).await).await)
}

impl Api {
    fn list_streams(
        &self,
        caller: &Caller,
        query: &BTreeMap<String, String>,
    ) -> Result<Response, Box<Problem>> {
        let limit = limit(query.get("limit"), PAGE, PAGE_RESULTS)?;
        let after = query.get("after").map(|name| name.parse::<StreamName>());
        let after = after.transpose().map_err(|error| {
            Problem::new(400, "bad-stream-name", "Bad stream name", error.to_string())
        })?;
        let page = self.views.streams(after.as_ref(), limit);
        let next = page.last().filter(|_| page.len() == limit).map(|(name, _)| name.clone());
        let seen = page.iter().filter(|(name, _)| caller.sees(name.as_str()));
        let streams: Vec<Value> = seen.map(|(name, id)| self.show(name, *id)).collect();
        Ok(json(StatusCode::OK, &json!({ "streams": streams, "next": next })))
    }

    fn show(&self, name: &StreamName, id: StreamId) -> Value {
        let Some((status, oldest)) = self.views.status(id) else {
            return json!({ "stream": name });
        };
        let mut value = json!({
            "stream": name,
            "next_sequence": status.next,
            "released": status.released,
            "in_flight": status.in_flight,
            "waiting": status.waiting,
            "parked": status.parked,
            "backlog": status.next.0 - 1 - status.released.0,
            "paused": status.paused,
            "full": status.room == Room::Full,
        });
        if let (Some(cause), Some(members)) = (status.cause, value.as_object_mut()) {
            let now = self.clock.now();
            let age = oldest.map(|at| u64::try_from(now.since(at).as_millis()).unwrap_or(u64::MAX));
            let head = json!({
                "sequence": status.released.next(),
                "age_ms": age.unwrap_or_default(),
                "cause": cause.as_str(),
            });
            members.insert("head".to_owned(), head);
        }
        value
    }

    /// A stream, with how it is treated.
    async fn show_stream(&self, stream: &str) -> Result<Response, Box<Problem>> {
        let (name, id) = self.stream(stream)?;
        let of = name.clone();
        let look = look_at(&self.handle, move |dispatcher| dispatcher.settings().stream(&of));
        let settings = look.await?;
        let mut value = self.show(&name, id);
        let millis = |span: Duration| u64::try_from(span.as_millis()).unwrap_or(u64::MAX);
        let shown = json!({
            "pool": settings.pool.as_deref(),
            "timeout_ms": millis(settings.ladder.timeout),
            "max_attempts": settings.ladder.max_attempts,
            "max_in_flight": settings.max_in_flight,
            "window": settings.window,
            "max_backlog": settings.max_backlog,
            "on_exhausted": match settings.on_exhausted {
                OnExhausted::Hold => "hold",
                OnExhausted::Skip => "skip",
            },
        });
        if let Some(members) = value.as_object_mut() {
            members.insert("settings".to_owned(), shown);
        }
        Ok(json(StatusCode::OK, &value))
    }

    async fn set_paused(
        &self,
        name: &str,
        wish: Wish,
        because: Result<AuditNote, Box<Problem>>,
    ) -> Result<Response, Box<Problem>> {
        let (stream, id) = self.stream(name)?;
        let AuditNote { by, reason } = because?;
        let event = {
            let stream = stream.clone();
            move |request| Event::StreamCommand { request, stream, by, reason, wish }
        };
        let reply = self.handle.request(event).await?;
        if reply != Reply::Done {
            return Err(refused(name, &reply).into());
        }
        Ok(json(StatusCode::OK, &self.show(&stream, id)))
    }
}
