//! Work that hangs is ended, with all that it has started; and a worker can always be stopped.

use std::{num::NonZeroU32, path::Path, time::Duration};

use http::StatusCode;
use rollcall_common::task;
use rollcall_worker::{Ended, Exec, Handler as _, Proxy, Reply, Request, Worker, from_fn};
use tempfile::tempdir;

use crate::harness::{Process, alive, header, lines, post, soon, until};

/// A command that notes its process and a second one that it starts, and hangs.
const HANGS: &str = "sleep 1000 & echo $! >> \"$0\"; echo $$ >> \"$0\"; wait";
/// The same, and nobody in it minds being asked to end.
const STUBBORN: &str = "trap '' TERM; sleep 1000 & echo $! >> \"$0\"; echo $$ >> \"$0\"; \
                        while :; do sleep 1000; done";

fn exec(script: &str, pids: &Path) -> Exec {
    Exec::new(["sh".into(), "-c".into(), script.into(), pids.to_owned()]).unwrap()
}

async fn all_gone(pids: &Path) {
    let pids = lines(pids);
    until("all are gone", || async { !pids.iter().any(|pid| alive(pid)) }).await;
}

#[tokio::test]
async fn work_is_ended_after_twice_its_time_and_frees_its_place() {
    let dir = tempdir().unwrap();
    for (number, script) in [HANGS, STUBBORN].into_iter().enumerate() {
        let pids = dir.path().join(number.to_string());
        let worker = Worker::new(exec(script, &pids)).overtime(2).concurrency(NonZeroU32::MIN);
        let worker = worker.start().await.unwrap();
        for time in ["300", "1"] {
            // The second one finds its place free.
            let reply = post(worker.url(), &[("rollcall-timeout-ms", time)], "x").await;
            assert_eq!(reply.status, StatusCode::GATEWAY_TIMEOUT);
            assert!(header(&reply, "rollcall-reason").unwrap().contains("more than 2 times"));
        }
        assert_eq!(lines(&pids).len(), 4);
        all_gone(&pids).await;
    }
}

#[tokio::test]
async fn a_call_that_is_passed_on_is_ended_after_twice_its_time() {
    let service = from_fn(|_| std::future::pending::<Reply>());
    let service = Worker::new(service).concurrency(NonZeroU32::MIN).start().await.unwrap();
    let proxy = Proxy::new(service.url().parse().unwrap());
    let worker = Worker::new(proxy).overtime(2).start().await.unwrap();
    for _ in 0..2 {
        // The service has one place: the second call finds it free only if the first was given up.
        let reply = post(worker.url(), &[("rollcall-timeout-ms", "1")], "x").await;
        assert_eq!(reply.status, StatusCode::GATEWAY_TIMEOUT);
    }
}

#[tokio::test]
async fn a_drain_is_bounded_and_sends_what_runs_elsewhere() {
    let dir = tempdir().unwrap();
    let pids = dir.path().join("pids");
    let worker = Worker::new(exec(HANGS, &pids)).drain_within(Duration::from_millis(100));
    let worker = worker.start().await.unwrap();
    let url = worker.url().to_owned();
    let call = task::spawn("call", async move { post(&url, &[], "x").await });
    until("it runs", || async { lines(&pids).len() == 2 }).await;
    assert_eq!(soon(worker.drain()).await, Ended::Stopped);
    let reply = soon(call).await.unwrap();
    assert_eq!(reply.status, StatusCode::SERVICE_UNAVAILABLE, "it is not counted");
    assert_eq!(header(&reply, "retry-after"), Some("1"));
    all_gone(&pids).await;
}

#[tokio::test]
async fn the_binary_ends_within_its_drain_and_leaves_nobody() {
    let dir = tempdir().unwrap();
    for (number, script) in [HANGS, STUBBORN].into_iter().enumerate() {
        let pids = dir.path().join(number.to_string());
        let file = pids.to_str().unwrap();
        let arguments = ["--drain", "100ms", "--exec", "--", "sh", "-c", script, file];
        let mut worker = Process::worker(&arguments).await;
        let url = worker.url.clone();
        let call = task::spawn("call", async move { post(&url, &[], "x").await });
        until("it runs", || async { lines(&pids).len() == 2 }).await;
        worker.signal("TERM").await;
        assert_eq!(worker.exit_code().await, Some(1), "it was stopped with work under way");
        assert_eq!(soon(call).await.unwrap().status, StatusCode::SERVICE_UNAVAILABLE);
        all_gone(&pids).await;
    }
}

#[tokio::test]
async fn who_is_asked_to_end_has_time_for_it() {
    let dir = tempdir().unwrap();
    let (pids, last) = (dir.path().join("pids"), dir.path().join("pids.last"));
    let script = "trap 'sleep 0.1; echo >> \"$0.last\"; exit' TERM; echo $$ >> \"$0\"; \
                  while :; do sleep 0.01; done";
    let exec = exec(script, &pids).longest(Some(Duration::from_millis(300)));
    let reply = exec.handle(Request::default()).await;
    assert_eq!(reply, Reply::retry("no answer within 300ms"));
    until("it has tidied up", || async { lines(&last).len() == 1 }).await;
    all_gone(&pids).await;
}

/// Descriptors run out long before all that may run at once does.
#[tokio::test]
async fn what_finds_no_descriptor_waits_or_is_sent_elsewhere() {
    let worker = env!("CARGO_BIN_EXE_worker");
    let script = format!(
        "ulimit -n 40; exec {worker} serve --listen 127.0.0.1:0 --concurrency 64 \
         --exec -- sh -c 'sleep 0.05; cat'"
    );
    let worker = Process::start("sh", &["-c", &script]).await;
    let calls = (0..15).map(|number| {
        let url = worker.url.clone();
        task::spawn("call", async move { post(&url, &[], number.to_string()).await })
    });
    let calls: Vec<_> = calls.collect();
    let mut done = 0;
    for call in calls {
        let reply = soon(call).await.unwrap();
        done += usize::from(reply.status == StatusCode::OK);
        assert!([200, 429, 503].contains(&reply.status.as_u16()), "{reply:?}");
    }
    assert!(done >= 2, "{done}");
}
