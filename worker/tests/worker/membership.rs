//! Registration, heartbeats, drain.

use rollcall_common::{
    protocol::Registration,
    shutdown::{Phase, Shutdown},
    task,
};
use rollcall_worker::{Builtin, Ended, Reply, Request, Running, Worker, from_fn};
use tokio::{net::TcpListener, sync::Semaphore};

use crate::harness::{ACTIVE, DRAINING, Supervisor, header, post, send, soon};

fn echo() -> Worker {
    Worker::new("echo".parse::<Builtin>().unwrap()).id("w1")
}

const PUT: &str = "PUT /v1/workers/w1";
const DRAIN: &str = "POST /v1/workers/w1/drain";
const DELETE: &str = "DELETE /v1/workers/w1";

#[tokio::test]
async fn a_worker_registers_again_and_again_and_signs_off() {
    let (one, two) = (Supervisor::start().await, Supervisor::start().await);
    let worker = echo()
        .supervisor(&one.url)
        .supervisor(&two.url)
        .pool("fast")
        .token("secret")
        .version("test");
    let worker = worker.start().await.unwrap();
    one.hears(PUT, 3).await;
    two.hears(PUT, 3).await;
    let heard = one.heard().remove(0);
    assert_eq!(heard.authorization.as_deref(), Some("Bearer secret"));
    let said: Registration = serde_json::from_str(&heard.body).unwrap();
    let expected = Registration {
        url: format!("http://{}", worker.address()),
        pool: "fast".to_owned(),
        concurrency: None,
        version: Some("test".to_owned()),
        link: Some(rollcall_common::link::VERSION),
    };
    assert_eq!(said, expected);
    assert_eq!(soon(worker.drain()).await, Ended::Drained);
    for supervisor in [one, two] {
        assert!(supervisor.count(DRAIN) >= 1);
        assert_eq!(supervisor.count(DELETE), 1);
        assert_eq!(supervisor.heard().pop().unwrap().what, DELETE);
    }
}

#[tokio::test]
async fn a_supervisor_that_comes_late_or_refuses_is_tried_on() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let url = format!("http://{address}");
    let worker = echo().supervisor(url).start().await.unwrap();
    assert_eq!(post(worker.url(), &[], "x").await.body, "x");
    let supervisor = Supervisor::on(TcpListener::bind(address).await.unwrap());
    supervisor.answer(503, "");
    supervisor.hears(PUT, 2).await;
    supervisor.answer(200, ACTIVE);
    let before = supervisor.count(PUT);
    supervisor.hears(PUT, before + 3).await;
}

#[tokio::test]
async fn a_supervisor_can_ask_it_to_go() {
    let supervisor = Supervisor::start().await;
    let worker = echo().supervisor(&supervisor.url).start().await.unwrap();
    supervisor.hears(PUT, 1).await;
    supervisor.answer(200, DRAINING);
    assert_eq!(soon(worker.ended()).await, Ended::Drained);
    assert_eq!(supervisor.count(DELETE), 1);
    assert!(send(worker.url(), &[], "x").await.is_err());
}

/// A worker whose messages end when `go` gets a permit, and say so in `entered` when they begin.
struct Held {
    worker: Running,
    entered: &'static Semaphore,
    go: &'static Semaphore,
}

async fn held(supervisor: &Supervisor, shutdown: Shutdown) -> Held {
    let new = || -> &'static Semaphore { Box::leak(Box::new(Semaphore::new(0))) };
    let (entered, go) = (new(), new());
    let handler = from_fn(move |request: Request| async move {
        entered.add_permits(1);
        go.acquire().await.unwrap().forget();
        Reply::ok(request.body)
    });
    let worker = Worker::new(handler).id("w1").supervisor(&supervisor.url);
    let worker = worker.shutdown(shutdown).start().await.unwrap();
    Held { worker, entered, go }
}

#[tokio::test]
async fn draining_finishes_what_runs_and_takes_nothing_new() {
    let supervisor = Supervisor::start().await;
    let (trigger, shutdown) = Shutdown::new();
    let Held { worker, entered, go } = held(&supervisor, shutdown).await;
    let url = worker.url().to_owned();
    let call = task::spawn("call", async move { post(&url, &[], "one").await });
    soon(entered.acquire()).await.unwrap().forget();
    supervisor.hears(PUT, 1).await;
    trigger.advance(Phase::Draining);
    supervisor.hears(DRAIN, 1).await;
    let reply = post(worker.url(), &[], "two").await;
    assert_eq!(reply.status.as_u16(), 503);
    assert_eq!(header(&reply, "retry-after"), Some("1"));
    let beats = supervisor.count(PUT);
    supervisor.hears(PUT, beats + 2).await;
    assert_eq!(supervisor.count(DELETE), 0);
    go.add_permits(1);
    assert_eq!(soon(call).await.unwrap().body, "one");
    assert_eq!(soon(worker.ended()).await, Ended::Drained);
    assert_eq!(supervisor.count(DELETE), 1);
}

#[tokio::test]
async fn a_second_word_stops_at_once() {
    let supervisor = Supervisor::start().await;
    let (trigger, shutdown) = Shutdown::new();
    let held = held(&supervisor, shutdown).await;
    let url = held.worker.url().to_owned();
    let call = task::spawn("call", async move { send(&url, &[], "x").await });
    soon(held.entered.acquire()).await.unwrap().forget();
    trigger.advance(Phase::Draining);
    trigger.advance(Phase::Now);
    assert_eq!(soon(held.worker.ended()).await, Ended::Stopped);
    // It may still be told to go elsewhere, which counts as no attempt.
    assert!(soon(call).await.unwrap().map_or(true, |reply| reply.status.as_u16() == 503));
    assert!(send(held.worker.url(), &[], "x").await.is_err());
}
