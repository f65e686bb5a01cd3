//! Figures for Prometheus.

use std::{
    collections::BTreeSet,
    sync::{Arc, atomic::AtomicU64},
};

use axum::{Router, extract::State, response::Response, routing::get};
use http::{HeaderMap, HeaderValue, header};
use prometheus_client::{
    encoding::text::encode,
    metrics::{
        counter::ConstCounter,
        family::Family,
        gauge::{ConstGauge, Gauge},
    },
    registry::Registry,
};
use rollcall_common::{limits::STUCK_SHOWN, problem::Problem, task};

use super::{Api, results::weight};
use crate::{
    dispatcher::Counters,
    web::respond::{ApiResult, internal},
};

pub(super) fn routes() -> Router<Arc<Api>> {
    Router::new().route("/metrics", get(metrics))
}

async fn metrics(State(api): State<Arc<Api>>, headers: HeaderMap) -> ApiResult {
    let format = Format::wanted(&headers);
    ApiResult(api.metrics().map(|text| format.answer(text)))
}

/// How figures are written.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Format {
    /// OpenMetrics 1.0, for those who ask for it.
    Open,
    /// The text format of Prometheus, which all tools read.
    Text,
}

impl Format {
    fn wanted(headers: &HeaderMap) -> Self {
        let open = weight(headers, "application/openmetrics-text");
        if open > 0.0 && open >= weight(headers, "text/plain") { Self::Open } else { Self::Text }
    }

    /// Figures that are written as OpenMetrics, as they are wanted.
    fn answer(self, open: String) -> Response {
        let (text, content_type) = match self {
            Self::Open => (open, "application/openmetrics-text; version=1.0.0; charset=utf-8"),
            Self::Text => (as_text(&open), "text/plain; version=0.0.4; charset=utf-8"),
        };
        let mut response = Response::new(text.into());
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
        headers.insert(header::VARY, HeaderValue::from_static("accept"));
        response
    }
}

/// OpenMetrics in the text format of Prometheus: there a counter is called as its samples are, and
/// nothing says that it is the end.
fn as_text(open: &str) -> String {
    let told =
        |line: &str| line.strip_prefix("# TYPE ")?.strip_suffix(" counter").map(str::to_owned);
    let counters: BTreeSet<String> = open.lines().filter_map(told).collect();
    let mut text = String::with_capacity(open.len());
    for line in open.lines() {
        if line == "# EOF" || line.starts_with("# UNIT ") {
            continue;
        }
        let mut words = line.splitn(4, ' ');
        let said = [words.next(), words.next(), words.next(), words.next()];
        match said {
            [Some("#"), Some(what), Some(name), Some(rest)] if counters.contains(name) => {
                text.push_str(&["# ", what, " ", name, "_total ", rest].concat());
            }
            _ => text.push_str(line),
        }
        text.push('\n');
    }
    text
}

impl Api {
    fn metrics(&self) -> Result<String, Box<Problem>> {
        let now = self.clock.now();
        let overview = self.views.overview();
        let fleet = &overview.fleet;
        let in_flight = fleet.workers.iter().map(|worker| u64::from(worker.in_flight)).sum();
        let out_bytes = fleet.workers.iter().map(|worker| count(worker.out_bytes)).sum();
        let mut registry = Registry::with_prefix("rollcall");
        register_counters(&mut registry, &overview.counters);
        let gauges = [
            ("first_position", "The oldest position that is kept", self.views.first().0),
            ("position", "The last released position", overview.head.0),
            ("streams", "Streams", count(self.views.stream_count())),
            ("parked_messages", "Messages that wait for a person", self.views.parked()),
            ("workers", "Workers", count(fleet.workers.len())),
            ("workers_active", "Workers that may be given work", count(fleet.active(now))),
            ("alerts_firing", "Alerts that fire", count(fleet.firing)),
            ("calls_in_flight", "Calls to workers that are out", in_flight),
            ("calls_in_flight_bytes", "Bytes of the messages of these calls", out_bytes),
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
        Ok(text)
    }
}

/// Stuck streams that have a figure of their own: there may be any number of streams.
const HEADS: usize = STUCK_SHOWN;

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
        (
            "attempts_rejected_uncounted",
            "Attempts rejected that do not count",
            counters.rejected_uncounted,
        ),
        ("answers", "Answers accepted", counters.completed),
        ("late_answers", "Answers that came after one was accepted", counters.late_answers),
        ("diverging_answers", "Late answers that differed", counters.diverging_answers),
        ("messages_parked", "Messages parked", counters.parked),
        ("messages_skipped", "Parked messages skipped by settings", counters.skipped),
        ("released", "Results released", counters.released),
        ("delivered", "Results that destinations took", counters.delivered),
        ("deliveries_failed", "Requests that destinations did not take", counters.undelivered),
        ("quarantined", "Streams and subscriptions found inconsistent", counters.quarantined),
        ("position_gaps", "Results found missing when they were handed out", counters.gaps),
        ("snapshots", "Snapshots written to the journal", counters.snapshots),
        ("journal_copied_records", "Messages and results copied before a trim", counters.copied),
        ("worker_ejections", "Workers taken out for failing", counters.ejections),
        (
            "worker_readmissions",
            "Ejected workers readmitted for lack of others",
            counters.readmissions,
        ),
        ("retries_deferred", "Retries that waited for the budget", counters.retries_deferred),
        ("hedges", "Copies of slow attempts", counters.hedges),
        ("hedges_won", "Copies whose answer was accepted", counters.hedges_won),
        (
            "notifications_sent",
            "Notifications of alerts that targets took",
            counters.notifications_sent,
        ),
        (
            "notifications_failed",
            "Notifications of alerts that failed",
            counters.notifications_failed,
        ),
        ("poison_suspected", "Attempts during which a worker died", counters.poison_suspected),
    ];
    for (name, help, value) in all {
        registry.register(name, help, ConstCounter::new(value));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_format_is_the_one_that_is_asked_for() {
        let wanted = |accept: &str| {
            let value = HeaderValue::from_str(accept).unwrap();
            Format::wanted(&HeaderMap::from_iter([(header::ACCEPT, value)]))
        };
        let prometheus = "application/openmetrics-text;version=1.0.0,\
                          application/openmetrics-text;version=0.0.1;q=0.75,\
                          text/plain;version=0.0.4;q=0.5,*/*;q=0.1";
        assert_eq!(wanted(prometheus), Format::Open);
        assert_eq!(wanted("application/openmetrics-text"), Format::Open);
        for other in [
            "text/plain;version=0.0.4",
            "*/*",
            "",
            "application/openmetrics-text;q=0",
            "application/openmetrics-text;q=0.2, text/plain;q=0.3",
            "application/json",
        ] {
            assert_eq!(wanted(other), Format::Text, "{other}");
        }
        assert_eq!(Format::wanted(&HeaderMap::new()), Format::Text);
    }

    #[test]
    fn every_figure_has_its_help_and_its_type_in_either_format() {
        let mut registry = Registry::with_prefix("rollcall");
        register_counters(&mut registry, &Counters::default());
        registry.register("streams", "Streams", ConstGauge::new(3_i64));
        let mut open = String::new();
        encode(&mut open, &registry).unwrap();
        assert!(open.ends_with("# EOF\n") && open.contains("# TYPE rollcall_attempts counter"));
        let text = as_text(&open);
        assert!(!text.contains("# EOF"));
        let (mut helped, mut typed) = (BTreeSet::new(), BTreeSet::new());
        for line in text.lines() {
            let words: Vec<&str> = line.splitn(4, ' ').collect();
            match words[..] {
                ["#", "HELP", name, help] => assert!(!help.is_empty() && helped.insert(name)),
                ["#", "TYPE", name, kind] => {
                    assert_eq!(kind == "counter", name.ends_with("_total"), "{line}");
                    assert!(typed.insert(name));
                }
                [name, value] => {
                    assert!(helped.contains(name) && typed.contains(name), "{line}");
                    assert!(value.parse::<u64>().is_ok());
                }
                _ => panic!("{line}"),
            }
        }
        assert!(typed.contains("rollcall_attempts_total") && typed.contains("rollcall_streams"));
    }
}
