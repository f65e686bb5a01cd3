//! Subscriptions: how far each is.

use std::sync::Arc;

use axum::{
    Router,
    extract::{Path, State},
    response::Response,
    routing::get,
};
use http::StatusCode;
use rollcall_common::{ids::Position, problem::Problem};
use serde_json::{Value, json};

use super::Api;
use crate::{
    dispatcher::SubscriptionStatus,
    web::respond::{Answer, json},
};

pub(super) fn routes() -> Router<Arc<Api>> {
    Router::new().route("/v1/subscriptions", get(list)).route("/v1/subscriptions/{name}", get(one))
}

async fn list(State(api): State<Arc<Api>>) -> Answer {
    Answer(
        api.subscriptions().await.map(|all| json(StatusCode::OK, &json!({ "subscriptions": all }))),
    )
}

async fn one(State(api): State<Arc<Api>>, Path(name): Path<String>) -> Answer {
    Answer(api.subscription(&name).await)
}

impl Api {
    async fn subscription(&self, name: &str) -> Result<Response, Box<Problem>> {
        let all = self.subscriptions().await?;
        let found = all.iter().find(|subscription| subscription["name"] == name);
        let found = found.ok_or_else(|| {
            let detail = format!("there is no subscription {name:?}");
            Problem::new(404, "unknown-subscription", "Unknown subscription", detail)
        })?;
        Ok(json(StatusCode::OK, found))
    }

    async fn subscriptions(&self) -> Result<Vec<Value>, Box<Problem>> {
        let look = self.handle.look(|dispatcher| {
            let state = dispatcher.state();
            let all = state.subscription_names().map(|(id, _)| id);
            let all = all.filter_map(|id| dispatcher.subscription_status(id));
            all.map(|status| show(&status, state.head())).collect::<Vec<_>>()
        });
        Ok(look.await?)
    }
}

fn show(status: &SubscriptionStatus, head: Position) -> Value {
    json!({
        "name": &*status.name,
        "checkpoint": status.checkpoint,
        "head": head,
        "lag": head.0 - status.checkpoint.0,
        "mode": status.mode.as_str(),
        "last_error": status.last_error.as_deref(),
        "held_streams": status.held,
        "paused": status.gone,
        "gap": null,
    })
}
