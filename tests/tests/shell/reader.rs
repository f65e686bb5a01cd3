//! The reader's host: it follows the feed of all results, and in the end reads all of it again.
//! It is also the person who sends parked messages back.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use http::{Method, Request, StatusCode};
use http_body_util::Full;
use rollcall_common::{http::Peer, net::Network};
use serde_json::{Value, json};
use tests::oracle::{Outcome, ResultSeen};
use tokio::time::{sleep, timeout};
use uuid::Uuid;

use crate::{
    clients::ALL_MESSAGES,
    history::{History, STREAMS, Something, result_of},
    supervisor,
};

/// How long it waits for an answer.
const PATIENCE: Duration = Duration::from_secs(4);
/// The longest answer that it reads.
const ANSWER_BYTES: usize = 8 << 20;
/// Results that it asks for at once.
const PAGE: u64 = 50;

/// What the reader is told.
#[derive(Debug, Default)]
pub(crate) struct Orders {
    /// All trouble is over.
    pub(crate) healed: AtomicBool,
}

/// The reader's life: it ends when all is done, and it has read all again.
pub(crate) async fn run(
    orders: Arc<Orders>,
    network: Network,
    history: Arc<History>,
) -> turmoil::Result {
    let peer = Peer::new(supervisor::AT.parse()?, None).over(network);
    let mut after = 0;
    let mut looks = 0_u32;
    while !history.is_done(ALL_MESSAGES) {
        after = read(&peer, &history, after).await;
        looks += 1;
        // Seldom while there is trouble, so that what is parked stays parked for a while.
        let seldom = if orders.healed.load(Ordering::Relaxed) { 4 } else { 30 };
        if looks.is_multiple_of(seldom) {
            retry(&peer, &history).await;
        }
    }
    // What a crash changed of what was seen before shows now.
    let (mut again, end) = (0, after);
    while again < end {
        again = read(&peer, &history, again).await;
    }
    Ok(())
}

/// Reads a page after a position; gives back where the next begins.
async fn read(peer: &Peer, history: &History, after: u64) -> u64 {
    let path = format!("/v1/results?after={after}&limit={PAGE}&wait=1");
    let Some(page) = ask(peer, Method::GET, &path, Bytes::new()).await else {
        history.note(Something::ReaderFailed);
        sleep(Duration::from_millis(200)).await;
        return after;
    };
    let mut last = after;
    for result in page["results"].as_array().expect("results") {
        let number = |key: &str| result[key].as_u64().unwrap_or_else(|| panic!("{key}: {result}"));
        let text = |key: &str| result[key].as_str().unwrap_or_else(|| panic!("{key}: {result}"));
        let (position, stream) = (number("position"), text("stream"));
        assert_eq!(position, last + 1, "the feed goes from {last} to {position}");
        last = position;
        let body = Bytes::from(text("data").to_owned());
        let began = result_of(stream.as_bytes());
        assert!(body.starts_with(&began), "{result} is not what a worker makes of a message");
        let outcome = match text("outcome") {
            "completed" => Outcome::Completed,
            other => panic!("nobody asked for {other}: {result}"),
        };
        let id = text("id").parse::<Uuid>().expect("an id").as_u128();
        let seen = ResultSeen { position, id, outcome, body };
        history.released((stream.into(), number("sequence")), seen);
    }
    last
}

/// Sends all that is parked back to the workers.
async fn retry(peer: &Peer, history: &History) {
    for stream in STREAMS {
        let wanted = json!({ "stream": stream }).to_string();
        let answer = ask(peer, Method::POST, "/v1/parked/retry", wanted.into()).await;
        if answer.is_some_and(|answer| answer["count"].as_u64() > Some(0)) {
            history.note(Something::PersonRetried);
        }
    }
}

async fn ask(peer: &Peer, method: Method, path: &str, body: Bytes) -> Option<Value> {
    let mut request = Request::new(Full::new(body));
    *request.method_mut() = method;
    *request.uri_mut() = path.parse().expect("a path");
    let json = "application/json".parse().expect("a type");
    request.headers_mut().insert("content-type", json);
    let reply = timeout(PATIENCE, peer.send(request, ANSWER_BYTES)).await.ok()?.ok()?;
    if reply.status == StatusCode::SERVICE_UNAVAILABLE {
        return None;
    }
    assert_eq!(reply.status, StatusCode::OK, "{path}: {:?}", reply.body);
    Some(serde_json::from_slice(&reply.body).expect("JSON"))
}
