//! Streams: how each stands, and to make one stand still.

use std::{collections::BTreeMap, sync::Arc};

use axum::{
    Router,
    extract::{Path, Query, State},
    response::Response,
    routing::{get, post},
};
use http::StatusCode;
use rollcall_common::{
    ids::{StreamId, StreamName},
    limits::PAGE_RESULTS,
    problem::Problem,
};
use serde_json::{Value, json};

use super::{Api, number};
use crate::{
    dispatcher::{Event, Reply},
    web::respond::{Answer, json, unknown_stream},
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
    Query(query): Query<BTreeMap<String, String>>,
) -> Answer {
    Answer(api.list_streams(&query))
}

async fn one(State(api): State<Arc<Api>>, Path(stream): Path<String>) -> Answer {
    Answer(api.stream(&stream).map(|(name, id)| json(StatusCode::OK, &api.show(&name, id))))
}

async fn pause(State(api): State<Arc<Api>>, Path(stream): Path<String>) -> Answer {
    Answer(api.set_paused(&stream, Standstill::Paused).await)
}

async fn resume(State(api): State<Arc<Api>>, Path(stream): Path<String>) -> Answer {
    Answer(api.set_paused(&stream, Standstill::Resumed).await)
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Standstill {
    Paused,
    Resumed,
}

impl Api {
    fn list_streams(&self, query: &BTreeMap<String, String>) -> Result<Response, Box<Problem>> {
        let limit = number("limit", query.get("limit"))?.unwrap_or(PAGE).min(PAGE_RESULTS);
        let after = query.get("after").map(|name| name.parse::<StreamName>());
        let after = after.transpose().map_err(|error| {
            Problem::new(400, "bad-stream-name", "Bad stream name", error.to_string())
        })?;
        let page = self.views.streams(after.as_ref(), limit);
        let next = page.last().filter(|_| page.len() == limit).map(|(name, _)| name.clone());
        let streams: Vec<Value> = page.iter().map(|(name, id)| self.show(name, *id)).collect();
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
            "paused": status.paused,
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

    async fn set_paused(
        &self,
        name: &str,
        standstill: Standstill,
    ) -> Result<Response, Box<Problem>> {
        let (stream, id) = self.stream(name)?;
        let paused = standstill == Standstill::Paused;
        let event = {
            let stream = stream.clone();
            move |request| Event::Paused { request, stream, paused }
        };
        match self.handle.ask(event).await? {
            Reply::Done => Ok(json(StatusCode::OK, &self.show(&stream, id))),
            Reply::Accepted { .. }
            | Reply::Backlogged { .. }
            | Reply::Conflict { .. }
            | Reply::Full
            | Reply::NotParked
            | Reply::UnknownMessage
            | Reply::UnknownStream => Err(unknown_stream(name).into()),
        }
    }
}
