//! The `worker` binary as a process.

use rollcall_common::task;
use tempfile::tempdir;
use tokio::process::Command;

use crate::harness::{Process, Supervisor, alive, lines, post, send, soon, until};

async fn exit_code(arguments: &[&str]) -> (Option<i32>, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_worker"));
    let output = soon(command.args(arguments).kill_on_drop(true).output()).await;
    let output = output.unwrap();
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    (output.status.code(), errors)
}

#[tokio::test]
async fn wrong_usage_ends_with_2() {
    let listen = ["serve", "--listen", "127.0.0.1:0"];
    for wrong in [
        &[][..],
        &["--exec"],
        &["--exec", "--exec-stream", "--", "cat"],
        &["--builtin", "nonsense"],
        &["--builtin", "echo", "--proxy", "http://127.0.0.1:1"],
        &["--builtin", "echo", "--", "cat"],
        &["--proxy", "ftp://example"],
        &["--builtin", "echo", "--concurrency", "0"],
        &["--builtin", "echo", "--id", "a/b"],
        &["--builtin", "echo", "--supervisor", "nowhere"],
        &["--builtin", "echo", "--unknown"],
        &["--builtin", "echo", "--listen", "nowhere"],
    ] {
        let (code, errors) = exit_code(&[&listen, wrong].concat()).await;
        assert_eq!(code, Some(2), "{wrong:?}: {errors}");
        assert!(!errors.is_empty());
    }
    assert_eq!(exit_code(&[]).await.0, Some(2));
    assert_eq!(exit_code(&["--help"]).await.0, Some(0));
}

#[tokio::test]
async fn what_fails_ends_with_1() {
    let missing = ["serve", "--listen", "127.0.0.1:0", "--exec", "--", "no-such-command-here"];
    let (code, errors) = exit_code(&missing).await;
    assert_eq!(code, Some(1));
    assert!(errors.contains("not found"), "{errors}");
    let first = Process::worker(&["--builtin", "echo"]).await;
    let taken = first.url.trim_start_matches("http://");
    let (code, errors) = exit_code(&["serve", "--listen", taken, "--builtin", "echo"]).await;
    assert_eq!(code, Some(1));
    assert!(errors.contains("can't listen"), "{errors}");
}

#[tokio::test]
async fn it_says_where_it_is_and_drains_on_a_signal() {
    let supervisor = Supervisor::start().await;
    let arguments = ["--supervisor", &supervisor.url, "--id", "w1", "--exec", "--", "rev"];
    for signal in ["TERM", "INT"] {
        let mut worker = Process::worker(&arguments).await;
        assert!(worker.first_line.starts_with("worker w1 listening on http://127.0.0.1:"));
        assert_eq!(post(&worker.url, &[], "abc").await.body, "cba");
        supervisor.hears("PUT /v1/workers/w1", 1).await;
        worker.signal(signal).await;
        assert_eq!(worker.exit_code().await, Some(0));
    }
    assert_eq!(supervisor.count("DELETE /v1/workers/w1"), 2);
    let version = &supervisor.heard()[0].body;
    assert!(version.contains("exec rev") && version.contains("\"concurrency\":32"), "{version}");
}

#[tokio::test]
async fn a_second_signal_stops_at_once_and_leaves_nobody() {
    let dir = tempdir().unwrap();
    let pids = dir.path().join("pids");
    // Only the first message is long work: one that comes before the signal has arrived is not to
    // wait for ever.
    let script = "test $(cat) = x || exit 0; sleep 1000 & echo $! >> $0; echo $$ >> $0; wait";
    let file = pids.to_str().unwrap();
    let mut worker = Process::worker(&["--exec", "--", "sh", "-c", script, file]).await;
    let url = worker.url.clone();
    let call = task::spawn("call", async move { send(&url, &[], "x").await });
    until("it runs", || async { lines(&pids).len() == 2 }).await;
    worker.signal("TERM").await;
    // Signals of one kind that come together count as one.
    until("it drains", || async { post(&worker.url, &[], "y").await.status.as_u16() == 503 }).await;
    for pid in lines(&pids) {
        assert!(alive(&pid), "draining ends nothing");
    }
    worker.signal("TERM").await;
    assert_eq!(worker.exit_code().await, Some(1));
    // It may just have had the time to say that it stops.
    assert!(soon(call).await.unwrap().map_or(true, |reply| reply.status.as_u16() == 503));
    for pid in lines(&pids) {
        until("nobody is left", || async { !alive(&pid) }).await;
    }
}

#[tokio::test]
async fn children_do_not_see_the_token() {
    let script = "echo token: $ROLLCALL_TOKEN";
    let worker = Process::worker(&["--token", "t", "--exec", "--", "sh", "-c", script]).await;
    assert_eq!(post(&worker.url, &[], "").await.body, "token:\n");
}
