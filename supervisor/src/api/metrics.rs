//! Figures for Prometheus.

use std::sync::{Arc, atomic::AtomicU64};

use axum::{Router, extract::State, response::Response, routing::get};
use http::{HeaderValue, header};
use prometheus_client::{
    encoding::text::encode,
    metrics::{
        counter::ConstCounter,
        family::Family,
        gauge::{ConstGauge, Gauge},
    },
    registry::Registry,
};
use rollcall_common::{problem::Problem, task};

use super::Api;
use crate::{
    dispatcher::Counters,
    web::respond::{Answer, internal},
};

pub(super) fn routes() -> Router<Arc<Api>> {
    Router::new().route("/metrics", get(metrics))
}

async fn metrics(State(api): State<Arc<Api>>) -> Answer {
    Answer(api.metrics())
}

impl Api {
    fn metrics(&self) -> Result<Response, Box<Problem>> {
        let now = self.clock.now();
        let overview = self.views.overview();
        let roll = &overview.roll;
        let in_flight = roll.workers.iter().map(|worker| u64::from(worker.in_flight)).sum();
        let mut registry = Registry::with_prefix("rollcall");
        register_counters(&mut registry, &overview.counters);
        let gauges = [
            ("first_position", "The oldest position that is kept", self.views.first().0),
            ("position", "The last released position", overview.head.0),
            ("streams", "Streams", count(self.views.stream_count())),
            ("parked_messages", "Messages that wait for a person", self.views.parked()),
            ("workers", "Workers", count(roll.workers.len())),
            ("workers_active", "Workers that may be given work", count(roll.active(now))),
            ("alerts_firing", "Alerts that ask for somebody", count(roll.firing)),
            ("calls_in_flight", "Calls to workers that are out", in_flight),
            ("journal_size_bytes", "Bytes of the journal", self.journal.size_bytes()),
            ("tasks", "Tasks that run", count(task::running())),
        ];
        for (name, help, value) in gauges {
            let gauge = ConstGauge::new(i64::try_from(value).unwrap_or(i64::MAX));
            registry.register(name, help, gauge);
        }
        self.register_heads(&mut registry);
        let mut text = String::new();
        encode(&mut text, &registry).map_err(|error| internal(&error))?;
        let mut response = Response::new(text.into());
        let content_type =
            HeaderValue::from_static("application/openmetrics-text; version=1.0.0; charset=utf-8");
        response.headers_mut().insert(header::CONTENT_TYPE, content_type);
        Ok(response)
    }
}

/// Stuck streams that have a figure of their own: there may be any number of streams.
const HEADS: usize = 100;

impl Api {
    /// How old the heads are that wait for somebody.
    fn register_heads(&self, registry: &mut Registry) {
        let ages = Family::<Vec<(&str, String)>, Gauge<f64, AtomicU64>>::default();
        for (name, status) in self.views.stuck(HEADS) {
            let Some(cause) = status.cause else { continue };
            let found = self.views.find(&name).and_then(|id| self.views.status(id)?.1);
            let age = found.map_or(0.0, |at| self.clock.now().since(at).as_secs_f64());
            let labels = vec![("stream", name.to_string()), ("cause", cause.as_str().to_owned())];
            ages.get_or_create(&labels).set(age);
        }
        let help = "Age of the oldest message of streams that stand still, at most 100 of them";
        registry.register("stream_head_age_seconds", help, ages);
    }
}

fn count(items: usize) -> u64 {
    u64::try_from(items).unwrap_or(u64::MAX)
}

fn register_counters(registry: &mut Registry, counters: &Counters) {
    let all = [
        ("intake_messages", "Messages taken in", counters.accepted),
        ("intake_duplicates", "Messages whose key had been seen", counters.duplicates),
        ("intake_refused", "Requests refused", counters.refused),
        ("attempts", "Attempts made", counters.attempts),
        ("attempt_failures", "Attempts that failed in a way that counts", counters.failures),
        ("attempt_timeouts", "Attempts whose time was up", counters.timeouts),
        ("attempts_turned_away", "Attempts that did not count", counters.turned_away),
        ("answers", "Answers accepted", counters.completed),
        ("late_answers", "Answers that came after one was accepted", counters.late_answers),
        ("diverging_answers", "Late answers that differed", counters.diverging_answers),
        ("messages_parked", "Messages parked", counters.parked),
        ("messages_skipped", "Parked messages skipped by settings", counters.skipped),
        ("released", "Results released", counters.released),
        ("delivered", "Results that destinations took", counters.delivered),
        ("deliveries_failed", "Requests that destinations did not take", counters.undelivered),
        ("position_gaps", "Results found missing when they were handed out", counters.gaps),
        ("snapshots", "Snapshots written to the journal", counters.snapshots),
        ("copied", "Messages and results copied before a trim", counters.copied),
        ("worker_ejections", "Workers taken out for failing", counters.ejections),
        ("worker_pardons", "Workers taken back, for want of others", counters.pardons),
        ("retries_deferred", "Retries that waited for the budget", counters.retries_deferred),
        ("hedges", "Copies of slow attempts", counters.hedges),
        ("hedges_won", "Copies whose answer was accepted", counters.hedges_won),
        ("notices", "Notices of alerts that were taken", counters.notices),
        ("notices_failed", "Notices of alerts that were not taken", counters.notices_failed),
        ("poison_suspected", "Messages that workers died of", counters.poison_suspected),
    ];
    for (name, help, value) in all {
        registry.register(name, help, ConstCounter::new(value));
    }
}
