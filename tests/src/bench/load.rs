//! The client: so many connections, each sending one message after the other.

use std::{
    io::Write as _,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use http::{Method, Request};
use http_body_util::Full;
use rollcall_common::{
    http::{Peer, SendError, Target},
    task,
    time::{Clock, Time},
};
use serde_json::json;

/// What is to be sent.
#[derive(Clone, Debug)]
pub struct Load {
    /// To which server: `http://host:port`.
    pub url: String,
    /// How many messages.
    pub messages: u64,
    /// Of how many bytes.
    pub bytes: usize,
    /// Over how many connections.
    pub connections: usize,
    /// To how many streams; 0: to the path `/` (a plain proxy).
    pub streams: u64,
}

/// Sends; prints what it took as one line of JSON.
///
/// # Errors
/// When a request fails in any way: what is measured has to work.
pub async fn load(plan: Load) -> Result<(), String> {
    let clock = Clock::start(Time::default());
    let target: Target = plan.url.parse().map_err(|error| format!("{error}"))?;
    let peer = Arc::new(Peer::new(target, None));
    let next = Arc::new(AtomicU64::new(0));
    let started = clock.now();
    let mut senders = Vec::new();
    for _ in 0..plan.connections {
        let (plan, peer, next) = (plan.clone(), Arc::clone(&peer), Arc::clone(&next));
        senders.push(task::spawn("sender", async move {
            let mut latencies = Vec::new();
            let body = Bytes::from(vec![b'x'; plan.bytes]);
            loop {
                let number = next.fetch_add(1, Ordering::Relaxed);
                if number >= plan.messages {
                    return Ok::<_, String>(latencies);
                }
                let before = clock.now();
                send(&peer, &plan, number, body.clone()).await?;
                latencies.push(clock.now().since(before));
            }
        }));
    }
    let mut latencies = Vec::new();
    for sender in senders {
        latencies.extend(sender.await.map_err(|error| error.to_string())??);
    }
    let took = clock.now().since(started);
    latencies.sort_unstable();
    let share = |percent: usize| {
        let index = (latencies.len().saturating_sub(1)) * percent / 100;
        latencies.get(index).copied().unwrap_or_default().as_secs_f64() * 1e3
    };
    let line = json!({
        "seconds": took.as_secs_f64(),
        "p50_ms": share(50),
        "p99_ms": share(99),
    });
    writeln!(std::io::stdout(), "{line}").map_err(|error| error.to_string())
}

async fn send(peer: &Peer, plan: &Load, number: u64, body: Bytes) -> Result<(), String> {
    let path = match plan.streams {
        0 => "/".to_owned(),
        streams => format!("/v1/streams/s{}/messages", number % streams),
    };
    for _ in 0..8 {
        let request = Request::builder()
            .method(Method::POST)
            .uri(&path)
            .header("content-type", "application/octet-stream")
            .body(Full::new(body.clone()))
            .map_err(|error| error.to_string())?;
        match tokio::time::timeout(Duration::from_secs(60), peer.send(request, 1 << 20)).await {
            Ok(Ok(reply)) if reply.status.is_success() => return Ok(()),
            Ok(Ok(reply)) => return Err(format!("message {number}: status {}", reply.status)),
            Ok(Err(SendError::Stale)) => {}
            Ok(Err(error)) => return Err(format!("message {number}: {error}")),
            Err(_) => return Err(format!("message {number}: no answer within a minute")),
        }
    }
    Err(format!("message {number}: no connection lasted"))
}
