//! One message: where it stands, and every attempt that was made.

use std::sync::Arc;

use axum::{
    Router,
    extract::{Path, State},
    response::Response,
    routing::get,
};
use http::StatusCode;
use rollcall_common::{
    ids::{Sequence, StreamId, StreamName},
    problem::Problem,
};
use serde_json::{Value, json};

use super::Api;
use crate::{
    dispatcher::MessageState,
    record::{self, AttemptReport, MessageRef},
    views::{ReadFailed, ReleasedResult, Views},
    web::respond::{ApiResult, bad_request, internal, json, look_at},
};

pub(super) fn routes() -> Router<Arc<Api>> {
    Router::new().route("/v1/streams/{stream}/messages/{sequence}", get(message))
}

async fn message(
    State(api): State<Arc<Api>>,
    Path((stream, sequence)): Path<(String, String)>,
) -> ApiResult {
    ApiResult(api.message(&stream, &sequence).await)
}

/// A path's sequence.
pub(super) fn parse_sequence(text: &str) -> Result<Sequence, Box<Problem>> {
    let sequence = text.parse().ok().filter(|sequence| *sequence >= Sequence::FIRST);
    sequence.ok_or_else(|| {
        Box::new(bad_request(format!("{text:?} is no sequence: a whole number from 1 on")))
    })
}

/// There is no such message.
pub(super) fn unknown_message(stream: &StreamName, sequence: Sequence) -> Problem {
    let detail = format!("{stream} has no message {sequence}");
    Problem::new(404, "unknown-message", "Unknown message", detail)
}

/// What the journal has of an unreleased message.
struct Known {
    head: MessageRef,
    /// The attempts, where it has its answer.
    history: Option<Vec<Arc<AttemptReport>>>,
}

impl Api {
    async fn message(&self, stream: &str, sequence: &str) -> Result<Response, Box<Problem>> {
        let sequence = parse_sequence(sequence)?;
        let (name, stream) = self.stream(stream)?;
        let result = self.released_result(stream, sequence).await?;
        if let Some(result) = result {
            return Ok(json(StatusCode::OK, &released(&result)));
        }
        let look = look_at(&self.handle, move |dispatcher| {
            let (state, history) = dispatcher.message_state(stream, sequence)?;
            Some((state, history, dispatcher.attempts_out(stream, sequence)))
        })
        .await?;
        let known = if look.is_some() { self.known(stream, sequence).await? } else { None };
        let (Some((state, history, out)), Some(known)) = (look, known) else {
            // It was released meanwhile, or isn't there: not any more, or not yet.
            let result = self.released_result(stream, sequence).await?;
            let result = result.ok_or_else(|| self.gone_or_unknown(&name, stream, sequence))?;
            return Ok(json(StatusCode::OK, &released(&result)));
        };
        // What has its answer has its last attempt there.
        let history = known.history.unwrap_or(history);
        let head = known.head;
        let mut attempts: Vec<Value> = history.iter().map(|report| over(report)).collect();
        attempts.extend(out.iter().map(under_way));
        let mut value = json!({
            "stream": name,
            "sequence": sequence,
            "id": head.id,
            "state": word(&state),
            "attempts": attempts,
            "accepted_at": head.accepted_at,
            "released_at": null,
            "position": null,
        });
        if let (MessageState::Parked(parking), Some(members)) = (&state, value.as_object_mut()) {
            members.insert("parked_at".to_owned(), parking.at.to_string().into());
            members.insert("reason".to_owned(), parking.reason.to_string().into());
        }
        Ok(json(StatusCode::OK, &value))
    }

    /// What the journal has of an unreleased message.
    async fn known(
        &self,
        stream: StreamId,
        sequence: Sequence,
    ) -> Result<Option<Known>, Box<Problem>> {
        let views = Arc::clone(&self.views);
        let answered = move |views: &Views| {
            let answer = views.waiting_answer(stream, sequence)?;
            let known = |answer: Arc<record::Answer>| Known {
                head: answer.head,
                history: Some(answer.history.clone()),
            };
            Ok::<_, ReadFailed>(answer.map(known))
        };
        let read = move || {
            if let Some(known) = answered(&views)? {
                return Ok(Some(known));
            }
            let messages = views.messages(stream, sequence..=sequence, usize::MAX)?;
            if let Some((_, at, message)) = messages.first() {
                let head = MessageRef { id: message.id, accepted_at: *at };
                return Ok(Some(Known { head, history: None }));
            }
            // It may have got its answer between the two.
            answered(&views)
        };
        let known = tokio::task::spawn_blocking(read).await.map_err(|error| internal(&error))?;
        known.map_err(|error: ReadFailed| internal(&error).into())
    }

    /// What identifies an unreleased message, if it is durable.
    pub(super) async fn head(
        &self,
        stream: StreamId,
        sequence: Sequence,
    ) -> Result<Option<MessageRef>, Box<Problem>> {
        Ok(self.known(stream, sequence).await?.map(|known| known.head))
    }

    /// What is not there: not any more, or not yet.
    pub(super) fn gone_or_unknown(
        &self,
        name: &StreamName,
        stream: StreamId,
        sequence: Sequence,
    ) -> Problem {
        let first = self.views.first_sequence(stream);
        if sequence >= first {
            return unknown_message(name, sequence);
        }
        let detail = format!("messages of {name} before {first} are no longer kept");
        Problem::new(410, "no-longer-kept", "No longer kept", detail).with("first", first.0)
    }

    pub(super) async fn released_result(
        &self,
        stream: StreamId,
        sequence: Sequence,
    ) -> Result<Option<ReleasedResult>, Box<Problem>> {
        if self.views.position(stream, sequence).is_none() {
            return Ok(None);
        }
        let views = Arc::clone(&self.views);
        let before = sequence.before();
        let read = move || views.stream_results(stream, before, 1, usize::MAX);
        let results = tokio::task::spawn_blocking(read).await.map_err(|error| internal(&error))?;
        Ok(results.map_err(|error| internal(&error))?.pop())
    }
}

fn word(state: &MessageState) -> &'static str {
    match state {
        MessageState::Accepted => "accepted",
        MessageState::Completed => "completed",
        MessageState::Dispatched => "dispatched",
        MessageState::Parked(_) => "parked",
        MessageState::Retrying => "retrying",
    }
}

fn released(result: &ReleasedResult) -> Value {
    let answer = &result.answer;
    let mut value = json!({
        "stream": result.stream,
        "sequence": result.sequence,
        "id": answer.head.id,
        "state": "released",
        "outcome": answer.outcome.as_str(),
        "attempts": answer.history.iter().map(|report| over(report)).collect::<Vec<_>>(),
        "accepted_at": answer.head.accepted_at,
        "released_at": result.released_at,
        "position": result.position,
    });
    if let Some(members) = value.as_object_mut().filter(|_| !answer.reason.is_empty()) {
        members.insert("reason".to_owned(), (*answer.reason).into());
    }
    value
}

fn over(report: &AttemptReport) -> Value {
    json!({
        "attempt": report.attempt,
        "worker": &*report.worker,
        "reason": report.reason.as_str(),
        "started_at": report.started_at,
        "ended_at": report.ended_at,
        "outcome": report.ending.as_str(),
        "status": report.status,
        "detail": &*report.detail,
    })
}

fn under_way(report: &AttemptReport) -> Value {
    json!({
        "attempt": report.attempt,
        "worker": &*report.worker,
        "reason": report.reason.as_str(),
        "started_at": report.started_at,
        "ended_at": null,
        "outcome": null,
        "status": null,
        "detail": "",
    })
}
