//! Whether the process lives, and whether it is ready for work.

use std::sync::Arc;

use axum::{Router, extract::State, response::Response, routing::get};
use http::StatusCode;
use rollcall_common::{problem::Problem, shutdown::Phase};
use serde_json::json;

use super::Api;
use crate::{
    journal::Space,
    web::respond::{json, problem, stopping},
};

pub(super) fn routes() -> Router<Arc<Api>> {
    Router::new()
        .route("/livez", get(live))
        .route("/readyz", get(ready))
        .route("/v1/status", get(status))
}

/// The driver turns, whether its disk answers or not.
async fn live(State(api): State<Arc<Api>>) -> Response {
    match api.handle.turns().await {
        Ok(()) => json(StatusCode::OK, &json!({ "status": "ok" })),
        Err(gone) => problem(&Box::<Problem>::from(gone)),
    }
}

/// It takes messages in, for all that is configured.
async fn ready(State(api): State<Arc<Api>>) -> Response {
    if api.shutdown.phase() > Phase::Running {
        return problem(&stopping());
    }
    if !*api.ready.borrow() {
        let detail = "what is configured is not durable yet";
        return problem(&Problem::new(503, "starting", "Starting", detail).retry_after(1));
    }
    if api.journal.tail().borrow().failed.is_some() {
        let detail = "the journal has failed";
        return problem(&Problem::new(503, "journal-failed", "Journal failed", detail));
    }
    live(State(api)).await
}

async fn status(State(api): State<Arc<Api>>) -> Response {
    api.status()
}

impl Api {
    fn status(&self) -> Response {
        let now = self.clock.now();
        let overview = self.views.overview();
        let (counters, fleet) = (&overview.counters, &overview.fleet);
        let alerts = json!({
            "firing": fleet.firing,
            "worst": fleet.worst.as_ref().map(|alert| json!({
                "id": alert.id.0.to_string(),
                "severity": alert.severity.as_str(),
                "title": alert.title,
            })),
        });
        let running = self.shutdown.phase() == Phase::Running;
        let phase = if running { "running" } else { "draining" };
        let low = self.journal.tail().borrow().space == Space::Low;
        json(
            StatusCode::OK,
            &json!({
                "version": env!("CARGO_PKG_VERSION"),
                "phase": phase,
                "streams": self.views.stream_count(),
                "accepted": counters.accepted,
                "released": counters.released,
                "delivered": counters.delivered,
                "head": overview.head,
                "parked": self.views.parked(),
                "workers": fleet.workers.len(),
                "workers_active": fleet.active(now),
                "first": self.views.first(),
                "journal_bytes": self.journal.size_bytes(),
                "snapshots": counters.snapshots,
                "journal_space": if low { "low" } else { "enough" },
                "stuck": self.stuck(),
                "full": self.views.full(10),
                "alerts": alerts,
            }),
        )
    }

    /// Streams whose head waits for somebody, at most ten.
    fn stuck(&self) -> Vec<serde_json::Value> {
        let stuck = self.views.stuck(10).into_iter().filter_map(|(name, status)| {
            let (sequence, cause) = (status.released.next(), status.cause?.as_str());
            Some(json!({ "stream": name, "sequence": sequence, "cause": cause }))
        });
        stuck.collect()
    }
}
