//! What people and programs ask and decide over HTTP: results, streams, messages, workers,
//! subscriptions, alerts, health and figures. It reads the views; what only the dispatcher knows,
//! it asks between two turns.

mod alerts;
mod audit_note;
mod background;
mod bodies;
mod decisions;
mod events;
mod form;
mod health;
mod messages;
mod metrics;
mod page;
mod parked;
mod prefetch;
mod prepared;
mod readers;
mod results;
mod signature;
mod streams;
mod subscription_body;
pub mod subscription_feed;
mod subscriptions;

pub use background::BackgroundPool;
pub use readers::Readers;
use std::sync::Arc;

use axum::{Router, response::Response, routing::get};
use rollcall_common::{
    http::AddressPolicy,
    ids::{StreamId, StreamName, parse_number},
    net::Network,
    problem::Problem,
    shutdown::Shutdown,
    time::Clock,
};

use crate::{
    driver::Handle,
    journal::Journal,
    secrets::Secrets,
    views::Views,
    web::{
        BodyLimits, LargeBodies,
        respond::{bad_request, look_at, problem, unknown_stream},
    },
};

/// What the API needs.
#[derive(Debug)]
pub struct Api {
    /// The way to the driver.
    pub handle: Handle,
    /// Held by whoever decides on parked messages in bulk: one at a time.
    pub bulk: tokio::sync::Mutex<()>,
    /// What readers see.
    pub views: Arc<Views>,
    /// The journal, for its figures.
    pub journal: Arc<dyn Journal>,
    /// How large a result may be.
    pub sizes: Arc<arc_swap::ArcSwap<BodyLimits>>,
    /// The time.
    pub clock: Clock,
    /// How far the process is on its way down.
    pub shutdown: Shutdown,
    /// Secrets of the subscriptions that are made here.
    pub secrets: Arc<Secrets>,
    /// Where their destinations may be.
    pub guard: Arc<AddressPolicy>,
    /// The network in which they are looked for.
    pub network: Network,
    /// Who reads much at once.
    pub background: BackgroundPool,
    /// Places of those who read results.
    pub readers: Readers,
    /// Room for large bodies that are being sent.
    pub large: LargeBodies,
    /// Whoever makes, changes or removes a subscription.
    pub arranging: tokio::sync::Mutex<()>,
    /// Whether all that is configured is there, durably.
    pub ready: tokio::sync::watch::Receiver<bool>,
}

/// The routes of the API.
pub fn routes(api: Arc<Api>) -> Router {
    Router::new()
        .merge(alerts::routes())
        .merge(bodies::routes())
        .merge(decisions::routes())
        .merge(health::routes())
        .merge(messages::routes())
        .merge(metrics::routes())
        .merge(parked::routes())
        .merge(results::routes())
        .merge(streams::routes())
        .merge(subscriptions::routes())
        .route("/", get(front))
        .with_state(api)
}

/// What answers where nothing else does.
pub async fn not_found() -> Response {
    problem(&Problem::new(404, "not-found", "Not found", "there is nothing at this path"))
}

/// What answers a method that a path does not know.
pub async fn wrong_method() -> Response {
    let detail = "this path does not know this method";
    problem(&Problem::new(405, "method-not-allowed", "Method not allowed", detail))
}

async fn front() -> &'static str {
    "Rollcall: parallel work, arrival order.\n\n\
     GET  /v1/status /v1/streams /v1/workers /v1/subscriptions /v1/results\n\
     GET  /v1/parked /v1/alerts /v1/audit\n\
     POST /v1/streams/{stream}/messages\n\
     PUT  /v1/subscriptions/{name}\n\
     GET  /livez /readyz /metrics\n"
}

impl Api {
    /// Whether a stream comes into being with its first message.
    async fn makes_streams(&self) -> bool {
        look_at(&self.handle, |dispatcher| dispatcher.settings().create_streams)
            .await
            .unwrap_or(false)
    }

    fn stream(&self, name: &str) -> Result<(StreamName, StreamId), Box<Problem>> {
        let parsed: StreamName = name.parse().map_err(|error| {
            let detail = format!("{name:?}: {error}");
            Problem::new(400, "bad-stream-name", "Bad stream name", detail)
        })?;
        let id = self.views.find(&parsed).ok_or_else(|| unknown_stream(name))?;
        Ok((parsed, id))
    }
}

/// A number in a query, where it is given.
fn number<T: std::str::FromStr>(
    name: &str,
    value: Option<&String>,
) -> Result<Option<T>, Box<Problem>> {
    let parsed = value.map(|text| parse_digits(text).ok_or(text)).transpose();
    parsed.map_err(|_| {
        let detail = format!("{name} is a whole number that is not negative");
        bad_request(detail).with("parameter", name).into()
    })
}

/// A number of digits alone, that is not too large to count on from it: what is parsed otherwise
/// takes a sign too.
fn parse_digits<T: std::str::FromStr>(text: &str) -> Option<T> {
    parse_number(text).ok()?;
    text.parse().ok()
}

/// How many are asked for in a query: at least one, `usual` when it does not say, and never more
/// than `most`.
fn limit(value: Option<&String>, usual: usize, most: usize) -> Result<usize, Box<Problem>> {
    match number("limit", value)? {
        Some(0) => {
            let detail = "limit is a whole number from 1 on";
            Err(bad_request(detail).with("parameter", "limit").into())
        }
        Some(limit) => Ok(most.min(limit)),
        None => Ok(usual),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_in_a_query_are_digits_that_fit() {
        let parsed = |text: &str| number::<u64>("after", Some(&text.to_owned())).ok().flatten();
        assert_eq!(parsed("0"), Some(0));
        assert_eq!(parsed("9223372036854775807"), Some(u64::MAX >> 1));
        for bad in [
            "9223372036854775808",
            "18446744073709551615",
            "18446744073709551616",
            "-1",
            "+1",
            "",
            " 1",
            "1e3",
            "0x1",
            "\u{661}",
        ] {
            assert_eq!(parsed(bad), None, "{bad}");
        }
    }

    #[test]
    fn nobody_asks_for_nothing() {
        let asked = |text: &str| limit(Some(&text.to_owned()), 7, 100).ok();
        assert_eq!(limit(None, 7, 100).ok(), Some(7));
        assert_eq!((asked("1"), asked("100"), asked("101")), (Some(1), Some(100), Some(100)));
        assert_eq!(asked("9223372036854775807"), Some(100));
        assert_eq!((asked("0"), asked("-1"), asked("x")), (None, None, None));
    }
}
