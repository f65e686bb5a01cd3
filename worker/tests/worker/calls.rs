//! What a call is answered: bounds, repeats, hang-ups.

use std::{num::NonZeroU32, path::Path};

use http::{Request, StatusCode};
use http_body_util::Full;
use rollcall_common::{http::Peer, task};
use rollcall_worker::{Exec, Running, Worker};
use tempfile::{TempDir, tempdir};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

use crate::harness::{alive, header, lines, post, send, soon, start, until};

/// A worker whose processes note that they run, and end when the file `go` is there.
async fn patient(dir: &TempDir, concurrency: u32) -> Running {
    let script = "echo $$ >> $0/runs; while [ ! -e $0/go ]; do sleep 0.01; done; cat";
    let words = ["sh".into(), "-c".into(), script.into(), dir.path().to_owned()];
    let worker = Worker::new(Exec::new(words).unwrap());
    let concurrency = NonZeroU32::new(concurrency).unwrap();
    worker.concurrency(concurrency).start().await.unwrap()
}

async fn running(dir: &TempDir, count: usize) {
    let runs = dir.path().join("runs");
    until("so many run", || async { lines(&runs).len() == count }).await;
}

fn go(dir: &Path) {
    std::fs::write(dir.join("go"), "").unwrap();
}

#[tokio::test]
async fn over_the_bound_is_busy_at_once() {
    let dir = tempdir().unwrap();
    let worker = patient(&dir, 1).await;
    let url = worker.url().to_owned();
    let first = task::spawn("first", async move { post(&url, &[], "one").await });
    running(&dir, 1).await;
    let reply = post(worker.url(), &[], "two").await;
    assert_eq!(reply.status, StatusCode::TOO_MANY_REQUESTS);
    assert_eq!(header(&reply, "retry-after"), Some("1"));
    go(dir.path());
    assert_eq!(soon(first).await.unwrap().body, "one");
    assert_eq!(post(worker.url(), &[], "three").await.body, "three");
}

#[tokio::test]
async fn asked_twice_run_once() {
    let dir = tempdir().unwrap();
    let worker = patient(&dir, 1).await;
    let ask = |key: &'static str| {
        let url = worker.url().to_owned();
        task::spawn("caller", async move { post(&url, &[("idempotency-key", key)], "x").await })
    };
    let first = ask("\"k\"");
    running(&dir, 1).await;
    // The bound is 1, so this is answered only if it is the same run.
    let second = ask("\"k\"");
    let url = worker.url();
    let other = [("rollcall-message-id", "other")];
    assert_eq!(post(url, &other, "x").await.status, StatusCode::TOO_MANY_REQUESTS);
    go(dir.path());
    assert_eq!(soon(first).await.unwrap().body, "x");
    assert_eq!(soon(second).await.unwrap().body, "x");
    // After the end, too.
    assert_eq!(soon(ask("\"k\"")).await.unwrap().body, "x");
    assert_eq!(lines(&dir.path().join("runs")).len(), 1);
}

#[tokio::test]
async fn a_failure_is_run_again() {
    let dir = tempdir().unwrap();
    let runs = dir.path().join("runs");
    let words = ["sh".into(), "-c".into(), "echo >> $0; exit 75".into(), runs.clone()];
    let worker = start(Exec::new(words).unwrap()).await;
    for _ in 0..2 {
        let reply = post(worker.url(), &[("rollcall-message-id", "m")], "").await;
        assert_eq!(reply.status.as_u16(), 500);
    }
    assert_eq!(lines(&runs).len(), 2);
}

#[tokio::test]
async fn a_hang_up_ends_the_process() {
    let dir = tempdir().unwrap();
    let worker = patient(&dir, 1).await;
    let peer = Peer::new(worker.url().parse().unwrap(), None);
    let request = Request::post("/").body(Full::from("x")).unwrap();
    tokio::select! {
        reply = peer.send(request, 1) => panic!("{reply:?}"),
        () = running(&dir, 1) => {}
    }
    let pid = lines(&dir.path().join("runs")).remove(0);
    drop(peer);
    until("the process is gone", || async { !alive(&pid) }).await;
}

#[tokio::test]
async fn the_work_goes_on_while_somebody_waits() {
    let dir = tempdir().unwrap();
    let worker = patient(&dir, 1).await;
    let key = [("idempotency-key", "k")];
    let url = worker.url().to_owned();
    let first = task::spawn("first", async move { send(&url, &key, "x").await });
    running(&dir, 1).await;
    let url = worker.url().to_owned();
    let mut second = TcpStream::connect(worker.address()).await.unwrap();
    let call = "POST / HTTP/1.1\r\nhost: w\r\nidempotency-key: k\r\ncontent-length: 0\r\n\
                connection: close\r\n\r\n";
    second.write_all(call.as_bytes()).await.unwrap();
    // An answer on another connection shows that the second call has been read by then, or will
    // be a call of its own, which the bound refuses.
    assert_eq!(post(&url, &[], "").await.status, StatusCode::TOO_MANY_REQUESTS);
    first.abort();
    assert!(soon(first).await.is_err());
    let pid = lines(&dir.path().join("runs")).remove(0);
    assert!(alive(&pid));
    go(dir.path());
    let mut answer = String::new();
    soon(second.read_to_string(&mut answer)).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200") && answer.ends_with('x'), "{answer}");
}

#[tokio::test]
async fn messages_are_bounded() {
    let exec = Exec::new(["cat"]).unwrap();
    let worker = Worker::new(exec).body_limit(10).start().await.unwrap();
    assert_eq!(post(worker.url(), &[], "0123456789").await.status, StatusCode::OK);
    let reply = post(worker.url(), &[], "0123456789x").await;
    assert_eq!(reply.status, StatusCode::PAYLOAD_TOO_LARGE);
}

#[tokio::test]
async fn other_calls_are_told_so() {
    let worker = start(Exec::new(["cat"]).unwrap()).await;
    let ask = async |call: &'static str| {
        let mut stream = TcpStream::connect(worker.address()).await.unwrap();
        stream.write_all(call.as_bytes()).await.unwrap();
        let mut answer = String::new();
        soon(stream.read_to_string(&mut answer)).await.unwrap();
        answer[9..12].to_owned()
    };
    assert_eq!(ask("GET /livez HTTP/1.1\r\nhost: w\r\nconnection: close\r\n\r\n").await, "200");
    assert_eq!(ask("PUT / HTTP/1.1\r\nhost: w\r\nconnection: close\r\n\r\n").await, "405");
    let two_hosts = "POST / HTTP/1.1\r\nhost: w\r\nhost: v\r\nconnection: close\r\n\r\n";
    assert_eq!(ask(two_hosts).await, "400");
}
