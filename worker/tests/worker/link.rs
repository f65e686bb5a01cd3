//! Calls over a link: they finish in any order, are cancelled, and survive a drain.

use std::{fmt::Write as _, num::NonZeroU32, path::Path};

use bytes::{Buf as _, BytesMut};
use http::{Method, Request as HttpRequest, header};
use http_body_util::Full;
use rollcall_common::{
    frame,
    http::{Peer, Upgraded},
    ids::MessageId,
    limits::KEPT_HEADER_BYTES,
    link::{self, Answer, Call, FromSupervisor, FromWorker},
    task,
};
use rollcall_worker::{Ended, Exec, Reply, Request, Running, Worker, from_fn};
use tempfile::{TempDir, tempdir};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use uuid::Uuid;

use crate::harness::{lines, post, soon, start, until};

/// The supervisor's end.
struct Link {
    connection: Upgraded,
    arrived: BytesMut,
}

/// What a worker said.
#[derive(Debug, Eq, PartialEq)]
enum Said {
    Answer(u64, u16, String),
    Cancelled(u64),
    Closing,
    Pong,
}

impl Link {
    async fn to(worker: &Running, limit: usize) -> Self {
        let peer = Peer::new(worker.url().parse().unwrap(), None);
        let mut request = HttpRequest::new(Full::default());
        *request.method_mut() = Method::GET;
        let headers = request.headers_mut();
        headers.insert(header::CONNECTION, "upgrade".parse().unwrap());
        headers.insert(header::UPGRADE, link::UPGRADE.parse().unwrap());
        headers.insert(link::LIMIT, limit.into());
        let (headers, connection) = soon(peer.upgrade(request)).await.unwrap().unwrap();
        let credit = headers.get(link::CREDIT).unwrap().to_str().unwrap();
        assert!(credit.parse::<usize>().unwrap() > 0);
        Self { connection, arrived: BytesMut::new() }
    }

    async fn write(&mut self, out: BytesMut) {
        self.connection.write_all(&out).await.unwrap();
    }

    async fn call(&mut self, number: u64, body: &str) {
        let mut out = BytesMut::new();
        call(number, body).put(&mut out);
        self.write(out).await;
    }

    async fn cancel(&mut self, number: u64) {
        let mut out = BytesMut::new();
        FromSupervisor::put_cancel(&mut out, number);
        self.write(out).await;
    }

    /// What comes next; `None`: the worker has closed.
    async fn next(&mut self) -> Option<Said> {
        loop {
            if let Some(frame) = frame::next(&self.arrived, 1 << 24).unwrap() {
                let said = match FromWorker::read(frame).unwrap() {
                    FromWorker::Answer(Answer { number, status, headers, body, .. }) => {
                        let mut text = String::from_utf8(body.to_vec()).unwrap();
                        for (name, value) in headers {
                            write!(text, ", {name}: {value}").unwrap();
                        }
                        Said::Answer(number, status, text)
                    }
                    FromWorker::Cancelled(number) => Said::Cancelled(number),
                    FromWorker::Closing => Said::Closing,
                    FromWorker::Pong => Said::Pong,
                };
                let length = frame.len();
                self.arrived.advance(frame::HEAD + length);
                return Some(said);
            }
            if soon(self.connection.read_buf(&mut self.arrived)).await.unwrap() == 0 {
                return None;
            }
        }
    }

    async fn answer(&mut self) -> (u64, String) {
        match self.next().await {
            Some(Said::Answer(number, 200, body)) => (number, body),
            other => panic!("no result: {other:?}"),
        }
    }
}

fn call(number: u64, body: &str) -> Call<'_> {
    Call {
        number,
        stream: "orders",
        sequence: number,
        id: MessageId(Uuid::from_u128(number.into())),
        attempt: 2,
        max_attempts: 5,
        timeout_ms: 2000,
        reason: "retry",
        sender_key: "k",
        content_type: "text/plain",
        headers: vec![("ce-id", "7")],
        body: body.as_bytes(),
    }
}

/// A worker whose processes note what they run, and end when a file of that name is there.
async fn patient(dir: &TempDir) -> Running {
    let script = "read what; echo $what >> $0/runs; while [ ! -e $0/$what ]; do sleep 0.01; done; \
                  echo done $what";
    let words = ["sh".into(), "-c".into(), script.into(), dir.path().to_owned()];
    let worker = Worker::new(Exec::new(words).unwrap());
    worker.concurrency(NonZeroU32::new(8).unwrap()).start().await.unwrap()
}

async fn running(dir: &TempDir, count: usize) {
    let runs = dir.path().join("runs");
    until("so many run", || async { lines(&runs).len() == count }).await;
}

fn go(dir: &Path, what: &str) {
    std::fs::write(dir.join(what), "").unwrap();
}

#[tokio::test]
async fn a_sign_of_life_comes_beside_the_work() {
    let dir = tempdir().unwrap();
    let worker = patient(&dir).await;
    let mut link = Link::to(&worker, 100).await;
    link.call(1, "a").await;
    running(&dir, 1).await;
    let mut out = BytesMut::new();
    FromSupervisor::put_ping(&mut out);
    link.write(out).await;
    assert_eq!(link.next().await, Some(Said::Pong));
    go(dir.path(), "a");
    assert_eq!(link.answer().await, (1, "done a\n".to_owned()));
}

#[tokio::test]
async fn a_handler_sees_the_same_as_over_http() {
    let describe = from_fn(|request| async move {
        let headers = request.headers.get("ce-id").map(|value| value.to_str().unwrap().to_owned());
        Reply::ok(format!(
            "{} {} {} {} {:?} {:?} {} {} {} {headers:?} {}",
            request.stream,
            request.sequence,
            request.id,
            request.attempt,
            request.max_attempts,
            request.timeout,
            request.reason,
            request.sender_key,
            request.content_type,
            String::from_utf8_lossy(&request.body),
        ))
    });
    let worker = start(describe).await;
    let id = Uuid::from_u128(3).to_string();
    let headers = [
        ("rollcall-stream", "orders"),
        ("rollcall-sequence", "3"),
        ("rollcall-message-id", &id),
        ("rollcall-attempt", "2"),
        ("rollcall-max-attempts", "5"),
        ("rollcall-timeout-ms", "2000"),
        ("rollcall-reason", "retry"),
        ("rollcall-sender-key", "k"),
        ("content-type", "text/plain"),
        ("ce-id", "7"),
    ];
    let over_http = post(worker.url(), &headers, "body").await;
    let mut link = Link::to(&worker, 1 << 20).await;
    link.call(3, "body").await;
    assert_eq!(link.answer().await, (3, String::from_utf8(over_http.body.to_vec()).unwrap()));
}

#[tokio::test]
async fn what_stands_beside_a_result_goes_over_the_link_or_is_refused() {
    let worker = start(from_fn(|request: Request| async move {
        let value = match &*request.body {
            b"long" => "9".repeat(KEPT_HEADER_BYTES),
            b"strange" => "ü".to_owned(),
            _ => "9".to_owned(),
        };
        Reply::ok("done").with_header("ce-id", &value).with_header("x-other", "stays")
    }))
    .await;
    let mut link = Link::to(&worker, 1 << 20).await;
    link.call(1, "short").await;
    assert_eq!(link.answer().await, (1, "done, ce-id: 9".to_owned()));
    for (number, body) in [(2, "long"), (3, "strange")] {
        link.call(number, body).await;
        let refused = link.next().await;
        let expected = matches!(refused, Some(Said::Answer(n, 502, _)) if n == number);
        assert!(expected, "{refused:?}");
        let over_http = post(worker.url(), &[], body).await;
        assert_eq!(over_http.status.as_u16(), 502);
    }
}

#[tokio::test]
async fn answers_leave_as_they_finish_and_what_is_cancelled_stops() {
    let dir = tempdir().unwrap();
    let worker = patient(&dir).await;
    let mut link = Link::to(&worker, 1 << 20).await;
    for (number, what) in [(1, "one\n"), (2, "two\n"), (3, "three\n")] {
        link.call(number, what).await;
    }
    running(&dir, 3).await;
    go(dir.path(), "two");
    assert_eq!(link.answer().await, (2, "done two\n".to_owned()));
    link.cancel(1).await;
    assert_eq!(link.next().await, Some(Said::Cancelled(1)));
    // It has been answered already, so there is nothing to cancel.
    link.cancel(2).await;
    go(dir.path(), "three");
    assert_eq!(link.answer().await, (3, "done three\n".to_owned()));
    assert_eq!(soon(worker.drain()).await, Ended::Drained, "the first one no longer runs");
}

#[tokio::test]
async fn a_link_says_that_its_worker_goes_and_answers_until_it_is_closed() {
    let dir = tempdir().unwrap();
    let worker = patient(&dir).await;
    let mut link = Link::to(&worker, 1 << 20).await;
    link.call(1, "one\n").await;
    running(&dir, 1).await;
    let draining = task::spawn("drain", async move { worker.drain().await });
    // What comes from now on is turned away, as it is over HTTP.
    let mut number = 1;
    loop {
        number += 1;
        link.call(number, "more\n").await;
        go(dir.path(), "more");
        if let Some(Said::Answer(_, 503, _)) = link.next().await {
            break;
        }
    }
    go(dir.path(), "one");
    assert_eq!(link.answer().await, (1, "done one\n".to_owned()));
    assert_eq!(link.next().await, Some(Said::Closing));
    link.call(100, "late\n").await;
    assert!(matches!(link.next().await, Some(Said::Answer(100, 503, _))));
    drop(link);
    assert_eq!(soon(draining).await.unwrap(), Ended::Drained);
}

#[tokio::test]
async fn bounds_hold_over_a_link() {
    let echo = from_fn(|request| async move { Reply::ok(request.body) });
    let worker = Worker::new(echo).body_limit(2000).start().await.unwrap();
    let mut link = Link::to(&worker, 1000).await;
    link.call(1, &"x".repeat(1000)).await;
    assert_eq!(link.answer().await.1.len(), 1000);
    link.call(2, &"x".repeat(1001)).await;
    assert!(matches!(link.next().await, Some(Said::Answer(2, 502, _))));
    // What is too large for this worker, though not for others, is refused; the rest goes on.
    for (number, length) in [(3, 2001), (4, 1 << 20)] {
        link.call(number, &"x".repeat(length)).await;
        let said = link.next().await;
        assert!(matches!(&said, Some(Said::Answer(of, 413, _)) if *of == number), "{said:?}");
    }
    link.call(5, "on").await;
    assert_eq!(link.answer().await, (5, "on".to_owned()));
    // A frame that no message can be as large as ends the link.
    link.write(BytesMut::from(&u32::MAX.to_be_bytes()[..])).await;
    assert_eq!(link.next().await, None);
}
