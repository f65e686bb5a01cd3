//! Readers of every kind beside the load: idle ones, slow ones, ones that leave without a word, and
//! people who look at everything.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use http::Method;
use tokio::{task::JoinHandle, time::sleep};

use super::{Soak, load::stream, lock, until};
use crate::harness::{Raw, spawn};

/// Feeds of a stream on which nothing happens.
const IDLE: usize = 200;
/// Feeds that are opened at the beginning of what is kept, and not read.
const SLOW: usize = 20;
/// Long polls at the head of a busy stream.
const POLLING: usize = 20;
/// How long a reader that takes nothing stays.
const STAY: Duration = Duration::from_secs(20);
/// Every call by which somebody looks.
const LOOKS: &[&str] = &[
    "/livez",
    "/readyz",
    "/metrics",
    "/v1/status",
    "/v1/streams",
    "/v1/streams/stream-0",
    "/v1/workers",
    "/v1/parked",
    "/v1/alerts",
    "/v1/audit",
    "/v1/subscriptions",
    "/v1/subscriptions/once",
    "/v1/results?limit=10",
    "/v1/streams/stream-1/results?limit=10",
];

/// Starts all of them; each ends when the time is over.
pub(super) fn start(soak: &Arc<Soak>, end: Instant) -> Vec<JoinHandle<()>> {
    let mut all = Vec::new();
    for _ in 0..IDLE {
        let soak = Arc::clone(soak);
        all.push(spawn(async move { idle(&soak, end).await }));
    }
    for _ in 0..SLOW {
        let soak = Arc::clone(soak);
        all.push(spawn(async move { slow(&soak, end).await }));
    }
    for index in 0..POLLING {
        let soak = Arc::clone(soak);
        all.push(spawn(async move { poll(&soak, index, end).await }));
    }
    let (leaver, person) = (Arc::clone(soak), Arc::clone(soak));
    all.push(spawn(async move { leave(&leaver, end).await }));
    all.push(spawn(async move { look(&person, end).await }));
    all
}

/// A request for a feed on a connection of its own.
fn request(path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nAccept: text/event-stream\r\n\r\n")
}

/// The supervisor's address at the moment.
fn url(soak: &Soak) -> String {
    lock(&soak.client).url().to_owned()
}

/// Where what is kept begins, as a cursor; `None`: nobody answers.
async fn beginning(soak: &Soak) -> Option<u64> {
    let client = lock(&soak.client).clone();
    let answer = client.try_call(Method::GET, "/v1/results?limit=1", &[], "").await.ok()?;
    if answer.status != 410 {
        return Some(0);
    }
    let first = answer.json()["first"].as_u64();
    first.map(|first| first.saturating_sub(1))
}

/// A feed of all that is kept, of which nothing is read. It stays for a while and goes.
async fn slow(soak: &Soak, end: Instant) {
    while !until(end).is_zero() {
        let connected = Raw::try_connect(&url(soak)).await;
        let Some((mut raw, after)) = connected.zip(beginning(soak).await) else {
            sleep(Duration::from_millis(200)).await;
            continue;
        };
        raw.send(request(&format!("/v1/results?after={after}"))).await;
        sleep(STAY.min(until(end))).await;
    }
}

/// A feed on which nothing happens, opened again whenever it ends.
async fn idle(soak: &Soak, end: Instant) {
    while !until(end).is_zero() {
        let Some(mut raw) = Raw::try_connect(&url(soak)).await else {
            sleep(Duration::from_millis(200)).await;
            continue;
        };
        raw.send(request("/v1/streams/quiet/results")).await;
        while !until(end).is_zero() {
            let (_, closed) = raw.read_for(Duration::from_secs(1)).await;
            if closed {
                break;
            }
        }
    }
}

/// Long polls, one after the other, each from where the last one ended: nothing is missing.
async fn poll(soak: &Soak, index: usize, end: Instant) {
    let mut after = None;
    let name = stream(index % super::STREAMS);
    while !until(end).is_zero() {
        let client = lock(&soak.client).clone();
        let from = after.map(|after: u64| format!("after={after}&")).unwrap_or_default();
        let path = format!("/v1/streams/{name}/results?{from}limit=50&wait=2");
        let Ok(answer) = client.try_call(Method::GET, &path, &[], "").await else {
            sleep(Duration::from_millis(200)).await;
            continue;
        };
        match answer.status {
            200 => {
                let page = answer.json();
                let results = page["results"].as_array().expect("a list");
                if let Some(first) = results.first().filter(|_| after.is_some()) {
                    assert_eq!(first["sequence"].as_u64(), after.map(|after| after + 1), "{path}");
                }
                after = page["next"].as_u64().or(after);
            }
            // It was slower than retention, or the stream is yet to be.
            404 | 410 => after = None,
            status => {
                assert!([429, 503].contains(&status), "{path}: {}", answer.text());
                sleep(Duration::from_millis(200)).await;
            }
        }
    }
}

/// Long polls that nobody waits for.
async fn leave(soak: &Soak, end: Instant) {
    while !until(end).is_zero() {
        if let Some(mut raw) = Raw::try_connect(&url(soak)).await {
            raw.send("GET /v1/streams/quiet/results?wait=60 HTTP/1.1\r\nHost: localhost\r\n\r\n")
                .await;
        }
        sleep(Duration::from_millis(50)).await;
    }
}

/// Everything that can be looked at, again and again.
async fn look(soak: &Soak, end: Instant) {
    while !until(end).is_zero() {
        for path in LOOKS {
            let client = lock(&soak.client).clone();
            if let Ok(answer) = client.try_call(Method::GET, path, &[], "").await {
                // The beginning is not kept for ever.
                let good = [200, 404, 410, 429, 503].contains(&answer.status);
                assert!(good, "{path}: {}", answer.text());
            }
        }
        sleep(Duration::from_millis(500)).await;
    }
}
