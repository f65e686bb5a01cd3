//! Faults that need root, and a machine that may be meddled with:
//! `cargo xtask faults`. See `docs/reliability.md`.

mod clock;
mod disk;
mod limits;
mod network;

use std::process::Command;

use serde_json::Value;
use tests::harness::{Setup, Supervisor, soon};

/// Streams without a processing step.
const PASSING: &str = "[streams.\"*\"]\npool = \"none\"\n";

/// Runs a command of the system, which must succeed.
fn system(line: &str) {
    let done = Command::new("sh").args(["-c", line]).output().expect("a shell");
    assert!(done.status.success(), "{line}: {}", String::from_utf8_lossy(&done.stderr));
}

/// The same for one that may have nothing to do.
fn tidy(line: &str) {
    let _ = Command::new("sh").args(["-c", line]).output();
}

/// Sends messages number `from` and on to a stream, each under its key, until `most` are
/// acknowledged or one is not; gives back how many are.
async fn send(supervisor: &Supervisor, from: u64, most: u64) -> u64 {
    for number in from..most {
        let key = format!("key-{number}");
        let headers = [("idempotency-key", &*key)];
        let path = "/v1/streams/orders/messages";
        let called = supervisor.try_call(http::Method::POST, path, &headers, number.to_string());
        match soon(called).await {
            Ok(answer) if answer.status == 202 => {
                assert_eq!(answer.json()["sequence"], number + 1, "{}", answer.text());
            }
            Ok(_) | Err(_) => return number,
        }
    }
    most
}

/// What was acknowledged is there, in order; gives back a supervisor that runs.
async fn check(setup: &Setup, acknowledged: u64) -> Supervisor {
    let supervisor = setup.start().await;
    if acknowledged == 0 {
        return supervisor;
    }
    let results = supervisor.results("orders").await;
    assert!(results.len() as u64 >= acknowledged, "{} of {acknowledged}", results.len());
    for (at, result) in results.iter().enumerate() {
        assert_eq!(result["data"], Value::from(at.to_string()));
    }
    supervisor
}
