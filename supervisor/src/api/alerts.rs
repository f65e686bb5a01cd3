//! Alerts, and what people did (contract §6).

use std::{collections::BTreeMap, sync::Arc};

use axum::{
    Router,
    body::Body,
    extract::{Path, Query, State},
    response::Response,
    routing::{get, post},
};
use http::{HeaderMap, StatusCode};
use rollcall_common::{limits::AUDIT_KEPT, problem::Problem};
use serde_json::{Value, json};

use super::{
    Api,
    audit_note::{AuditNote, because},
};
use crate::{
    access::Caller,
    dispatcher::{AlertStatus, Event, Reply},
    record::{AlertId, AlertStage, Audit},
    web::respond::{ApiResult, bad_request, json, look_at, refused},
};

pub(super) fn routes() -> Router<Arc<Api>> {
    Router::new()
        .route("/v1/alerts", get(list))
        .route("/v1/alerts/{id}", get(one))
        .route("/v1/alerts/{id}/acknowledge", post(acknowledge))
        .route("/v1/audit", get(audit))
}

async fn list(
    State(api): State<Arc<Api>>,
    caller: Caller,
    Query(query): Query<BTreeMap<String, String>>,
) -> ApiResult {
    ApiResult(api.list_alerts(caller, query.get("state").map(String::as_str)).await)
}

async fn one(State(api): State<Arc<Api>>, caller: Caller, Path(id): Path<String>) -> ApiResult {
    ApiResult(api.show_alert(&caller, &id).await)
}

async fn acknowledge(
    State(api): State<Arc<Api>>,
    caller: Caller,
    Path(id): Path<String>,
    headers: HeaderMap,
    body: Body,
) -> ApiResult {
    ApiResult(match because(&headers, body).await {
        Ok(because) => api.acknowledge(&caller, &id, because).await,
        Err(refusal) => Err(refusal),
    })
}

async fn audit(
    State(api): State<Arc<Api>>,
    Query(query): Query<BTreeMap<String, String>>,
) -> ApiResult {
    ApiResult(api.audit(query.get("limit")).await)
}

/// An alert of no stream speaks of all.
fn sees(caller: &Caller, alert: &AlertStatus) -> bool {
    match &alert.stream {
        Some(stream) => caller.sees(stream.as_str()),
        None => caller.bounds().is_none(),
    }
}

impl Api {
    async fn list_alerts(
        &self,
        caller: Caller,
        state: Option<&str>,
    ) -> Result<Response, Box<Problem>> {
        let stages = [AlertStage::Firing, AlertStage::Acknowledged, AlertStage::Resolved];
        let wanted = state.map(|state| {
            let detail = "state is one of firing, acknowledged, resolved";
            let found = stages.into_iter().find(|stage| stage.as_str() == state);
            found.ok_or_else(|| Box::new(bad_request(detail).with("parameter", "state")))
        });
        let wanted = wanted.transpose()?;
        // The newest first: those are what a person is looking for.
        let all = look_at(&self.handle, move |dispatcher| {
            let all = dispatcher.alerts().rev();
            all.filter(|alert| wanted.is_none_or(|stage| stage == alert.stage))
                .filter(|alert| sees(&caller, alert))
                .map(|alert| show(&alert))
                .collect::<Vec<Value>>()
        });
        Ok(json(StatusCode::OK, &json!({ "alerts": all.await? })))
    }

    async fn show_alert(&self, caller: &Caller, id: &str) -> Result<Response, Box<Problem>> {
        let number = parse(id)?;
        let alert = look_at(&self.handle, move |dispatcher| dispatcher.alert(number)).await?;
        // One that the caller may not see is not there.
        let alert = alert.filter(|alert| sees(caller, alert));
        let alert = alert.ok_or_else(|| refused(id, &Reply::UnknownAlert))?;
        Ok(json(StatusCode::OK, &show(&alert)))
    }

    async fn acknowledge(
        &self,
        caller: &Caller,
        id: &str,
        because: AuditNote,
    ) -> Result<Response, Box<Problem>> {
        self.show_alert(caller, id).await?;
        let alert = parse(id)?;
        let event = move |request| Event::Acknowledged {
            request,
            alert,
            by: because.by,
            reason: because.reason,
        };
        let reply = self.handle.request(event).await?;
        if reply != Reply::Done {
            return Err(refused(id, &reply).into());
        }
        self.show_alert(caller, id).await
    }

    async fn audit(&self, limit: Option<&String>) -> Result<Response, Box<Problem>> {
        let limit = super::limit(limit, AUDIT_KEPT, AUDIT_KEPT)?;
        let all = look_at(&self.handle, move |dispatcher| {
            dispatcher.audited().rev().take(limit).map(entry).collect::<Vec<Value>>()
        });
        Ok(json(StatusCode::OK, &json!({ "audit": all.await? })))
    }
}

fn parse(id: &str) -> Result<AlertId, Box<Problem>> {
    // What is no number is no alert's.
    id.parse().map(AlertId).map_err(|_| refused(id, &Reply::UnknownAlert).into())
}

fn show(alert: &AlertStatus) -> Value {
    json!({
        "id": alert.id.0.to_string(),
        "state": alert.stage.as_str(),
        "severity": alert.severity.as_str(),
        "kind": alert.kind,
        "stream": alert.stream,
        "sequence": alert.sequence,
        "subscription": alert.subscription,
        "worker": alert.worker,
        "title": alert.title,
        "detail": alert.detail,
        "count": alert.count,
        "first": alert.span.map(|(first, _)| first),
        "last": alert.span.map(|(_, last)| last),
        "since": alert.since,
        "until": alert.until,
        "acknowledged_by": alert.acknowledged_by,
    })
}

fn entry(audit: &Audit) -> Value {
    json!({
        "at": audit.at,
        "by": audit.by,
        "act": audit.act,
        "on": audit.on,
        "reason": audit.reason,
    })
}
