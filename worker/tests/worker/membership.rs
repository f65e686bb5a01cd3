//! Registration, heartbeats, drain.

use rollcall_common::{
    protocol::Registration,
    shutdown::{Phase, Shutdown},
    task,
};
use rollcall_worker::{Builtin, Ended, Running, Worker, from_fn};
use tokio::{net::TcpListener, sync::Semaphore};

use crate::harness::{ACTIVE, DRAINING, Supervisor, header, post, send, soon, until};

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

/// A worker whose one message ends when the semaphore gets a permit.
async fn held(supervisor: &Supervisor, shutdown: Shutdown) -> (Running, &'static Semaphore) {
    let gate: &'static Semaphore = Box::leak(Box::new(Semaphore::new(0)));
    let handler = from_fn(move |request: rollcall_worker::Request| async move {
        gate.acquire().await.unwrap().forget();
        rollcall_worker::Reply::ok(request.body)
    });
    let worker = Worker::new(handler).id("w1").supervisor(&supervisor.url);
    (worker.shutdown(shutdown).start().await.unwrap(), gate)
}

#[tokio::test]
async fn draining_finishes_what_runs_and_takes_nothing_new() {
    let supervisor = Supervisor::start().await;
    let (trigger, shutdown) = Shutdown::new();
    let (worker, gate) = held(&supervisor, shutdown).await;
    let url = worker.url().to_owned();
    let first = task::spawn("first", async move { post(&url, &[], "one").await });
    supervisor.hears(PUT, 1).await;
    // A second one proves that the first is being worked on: both wait at the gate.
    let url = worker.url().to_owned();
    let other = task::spawn("other", async move { post(&url, &[], "two").await });
    gate.add_permits(1);
    until("one of two is done", || async {
        gate.available_permits() == 0 && (first.is_finished() || other.is_finished())
    })
    .await;
    until("both were taken", || async {
        first.is_finished() ^ other.is_finished()
    })
    .await;
    trigger.advance(Phase::Draining);
    supervisor.hears(DRAIN, 1).await;
    let reply = post(worker.url(), &[], "three").await;
    assert_eq!(reply.status.as_u16(), 503);
    assert_eq!(header(&reply, "retry-after"), Some("1"));
    assert_eq!(supervisor.count(DELETE), 0);
    gate.add_permits(1);
    let bodies = [
        soon(first).await.unwrap().body,
        soon(other).await.unwrap().body,
    ];
    assert_eq!(bodies, ["one", "two"]);
    assert_eq!(soon(worker.ended()).await, Ended::Drained);
    assert_eq!(supervisor.count(DELETE), 1);
}

#[tokio::test]
async fn a_second_word_stops_at_once() {
    let supervisor = Supervisor::start().await;
    let (trigger, shutdown) = Shutdown::new();
    let (worker, _gate) = held(&supervisor, shutdown).await;
    let url = worker.url().to_owned();
    let call = task::spawn("call", async move { send(&url, &[], "x").await });
    supervisor.hears(PUT, 1).await;
    trigger.advance(Phase::Draining);
    trigger.advance(Phase::Now);
    soon(worker.ended()).await;
    let _ = soon(call).await;
    assert!(send(worker.url(), &[], "x").await.is_err());
}
