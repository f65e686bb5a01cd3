//! One fault after the other.

use std::time::Duration;

use serde_json::json;
use tokio::time::sleep;

use super::{Soak, lock};
use crate::{
    harness::{Signal, Supervisor, WorkerProcess},
    peers::Act,
};

/// A worker's place, and who is there.
type Place = (String, Option<WorkerProcess>);

/// Lets something go wrong, and ends it again; gives back the supervisor that runs then.
pub(super) async fn next(
    soak: &Soak,
    (workers, supervisor): (&mut [Place], Supervisor),
    dice: &mut fastrand::Rng,
) -> Supervisor {
    revive(workers).await;
    let span = Duration::from_millis(dice.u64(500..4_000));
    let which = dice.usize(..workers.len());
    match dice.u8(..9) {
        0 => {
            if let Some(worker) = workers[which].1.take() {
                worker.into_process().kill().await;
            }
        }
        1 => {
            if let (_, Some(worker)) = &workers[which] {
                worker.process().signal(Signal::STOP);
                sleep(span).await;
                worker.process().signal(Signal::CONT);
            }
        }
        2 => {
            soak.destination.set(|_| Act::status(503));
            sleep(span).await;
            soak.destination.set(|_| Act::status(200));
        }
        3 => {
            soak.destination.set(|_| Act::Close);
            sleep(span / 4).await;
            soak.destination.set(|_| Act::status(200));
        }
        4 => {
            supervisor.kill().await;
            sleep(span / 4).await;
            let supervisor = soak.setup.start().await;
            *lock(&soak.client) = supervisor.client();
            return supervisor;
        }
        5 => {
            let state = supervisor.json("/v1/subscriptions/again").await;
            let to = state["head"].as_u64().unwrap_or_default().saturating_sub(500);
            let order = json!({ "position": to }).to_string();
            let headers = [("content-type", "application/json")];
            let answer = supervisor.post("/v1/subscriptions/again/rewind", &headers, order).await;
            assert_eq!(answer.status, 200, "{}", answer.text());
        }
        6 => supervisor.process().signal(Signal::HUP),
        7 => {
            decide(&supervisor, "pause").await;
            sleep(span).await;
            decide(&supervisor, "resume").await;
        }
        _ => {
            supervisor.process().signal(Signal::STOP);
            sleep(span).await;
            supervisor.process().signal(Signal::CONT);
        }
    }
    supervisor
}

/// A person stops a stream, or lets it go on.
async fn decide(supervisor: &Supervisor, what: &str) {
    let headers = [("content-type", "application/json")];
    let path = format!("/v1/streams/stream-0/{what}");
    let answer = supervisor.post(&path, &headers, json!({ "reason": "soak" }).to_string()).await;
    // Nothing may have come onto it yet.
    assert!([200, 404].contains(&answer.status), "{what}: {}", answer.text());
}

/// Ends whatever is wrong.
pub(super) async fn heal(soak: &Soak, workers: &mut [Place]) {
    soak.destination.set(|_| Act::status(200));
    revive(workers).await;
}

/// Starts workers that are gone, each where it was.
async fn revive(workers: &mut [Place]) {
    for (url, worker) in workers {
        if worker.is_none() {
            let place = url.trim_start_matches("http://").trim_end_matches('/');
            *worker = Some(WorkerProcess::start_at(place, &["--builtin", "sleep=5ms"]).await);
        }
    }
}
