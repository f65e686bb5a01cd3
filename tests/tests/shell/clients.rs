//! The clients' hosts. Each message has a key, and is sent until it is acknowledged.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use futures_util::future::join_all;
use http::{Method, Request, StatusCode};
use http_body_util::Full;
use rollcall_common::{
    http::{Peer, SendError},
    net::Network,
};
use serde_json::Value;
use tokio::time::{sleep, timeout};
use uuid::Uuid;

use crate::{
    history::{History, STREAMS, Something},
    supervisor,
};

/// How many there are.
pub(crate) const CLIENTS: usize = 2;
/// How many messages each has under way at once.
const LANES: usize = 4;
/// How many messages a lane sends.
const MESSAGES: usize = 40;
/// Messages of all clients.
pub(crate) const ALL_MESSAGES: usize = CLIENTS * LANES * MESSAGES;
/// How long a client waits for an answer.
const PATIENCE: Duration = Duration::from_secs(3);
/// The longest answer that is read.
const ANSWER_BYTES: usize = 64 << 10;

pub(crate) fn name(number: usize) -> String {
    format!("client{number}")
}

/// A client's life: it ends when all is acknowledged.
pub(crate) async fn run(
    number: usize,
    seed: u64,
    network: Network,
    history: Arc<History>,
) -> turmoil::Result {
    let peer = Peer::new(supervisor::AT.parse()?, None).over(network);
    let mut seeds = fastrand::Rng::with_seed(seed);
    let lanes = (0..LANES).map(|lane| {
        let (name, rng) = (format!("{}-{lane}", name(number)), seeds.fork());
        lane_of(name, rng, (&peer, &history))
    });
    join_all(lanes).await;
    Ok(())
}

async fn lane_of(name: String, mut rng: fastrand::Rng, (peer, history): (&Peer, &History)) {
    for message in 0..MESSAGES {
        sleep(Duration::from_millis(rng.u64(..1000))).await;
        let stream = STREAMS[rng.usize(..STREAMS.len())];
        let key: Arc<str> = format!("{name}-{message}").into();
        // Some are larger than a sector of the disk, so that they can be torn.
        let body = Bytes::from(format!("{stream} {key} {}", "x".repeat(rng.usize(..3000))));
        let mut again = false;
        let mut wait = Duration::from_millis(50);
        while !send((stream, &key, &body), (peer, history), again).await {
            again = true;
            wait = (wait * 2).min(Duration::from_secs(2));
            sleep(wait.mul_f64(rng.f64())).await;
        }
    }
}

/// Sends a message once; gives back whether it is acknowledged.
async fn send(
    (stream, key, body): (&str, &Arc<str>, &Bytes),
    (peer, history): (&Peer, &History),
    again: bool,
) -> bool {
    let mut request = Request::new(Full::new(body.clone()));
    *request.method_mut() = Method::POST;
    *request.uri_mut() = format!("/v1/streams/{stream}/messages").parse().expect("a path");
    let headers = request.headers_mut();
    headers.insert("content-type", "text/plain".parse().expect("a type"));
    headers.insert("idempotency-key", key.parse().expect("a key"));
    let reply = match timeout(PATIENCE, peer.send(request, ANSWER_BYTES)).await {
        Ok(Ok(reply)) => reply,
        Ok(Err(SendError::Connect(_))) => {
            history.note(Something::ClientRefused);
            return false;
        }
        Ok(Err(_)) => return false,
        Err(_) => {
            history.note(Something::ClientWaited);
            return false;
        }
    };
    match reply.status {
        StatusCode::ACCEPTED => {}
        StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE => return false,
        other => panic!("{key} is answered {other}: {:?}", reply.body),
    }
    let said: Value = serde_json::from_slice(&reply.body).expect("JSON");
    if said["duplicate"] == true {
        assert!(again, "{key} is new: {said}");
        history.note(Something::AckLost);
    }
    assert_eq!(said["stream"], stream, "{said}");
    let sequence = said["sequence"].as_u64().expect("a sequence");
    let id = said["id"].as_str().and_then(|id| id.parse::<Uuid>().ok()).expect("an id").as_u128();
    history.acknowledged((stream.into(), sequence), (id, body.clone()), Arc::clone(key));
    true
}
