//! Producers: one message after the other, each until it is acknowledged.

use std::time::{Duration, Instant};

use http::Method;
use tokio::time::sleep;

use super::{STREAMS, Soak, lock, until};

/// What one producer knows.
#[derive(Debug, Default)]
pub(super) struct Producer {
    /// How many of its messages were acknowledged.
    pub(super) next: u64,
}

/// A stream's name.
pub(super) fn stream(index: usize) -> String {
    format!("stream-{index}")
}

/// Sends at its share of the rate until the time is over; what is late is made up for.
pub(super) async fn produce(
    soak: &Soak,
    index: usize,
    (rate, begun, span): (u64, Instant, Duration),
) {
    let (path, pace) = (format!("/v1/streams/{}/messages", stream(index)), STREAMS as u32);
    let step = Duration::from_secs(1) * pace / u32::try_from(rate.max(1)).unwrap_or(u32::MAX);
    let padding = "x".repeat(500);
    while begun.elapsed() < span {
        let number = lock(&soak.producers[index]).next;
        sleep(until(begun + step * u32::try_from(number).unwrap_or(u32::MAX))).await;
        let key = format!("key-{number}");
        let headers = [("idempotency-key", &*key)];
        let client = lock(&soak.client).clone();
        let body = format!("{number} {padding}");
        match client.try_call(Method::POST, &path, &headers, body).await {
            Ok(answer) if answer.status == 202 => {
                assert_eq!(answer.json()["sequence"], number + 1, "{path}: its place");
                lock(&soak.producers[index]).next += 1;
            }
            Ok(answer) => {
                assert!([429, 503, 507].contains(&answer.status), "{}", answer.text());
                sleep(Duration::from_millis(100)).await;
            }
            Err(_) => sleep(Duration::from_millis(100)).await,
        }
    }
}
