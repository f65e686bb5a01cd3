//! What a backlog costs: it is on the disk, not in memory.

use std::sync::atomic::{AtomicU64, Ordering};

use bytes::{BufMut as _, Bytes, BytesMut};
use serde_json::json;
use tests::{
    harness::{Raw, Setup, scale, until, until_within},
    peers::{Act, Destination, FakeWorker},
};

use crate::ms;

const MIB: u64 = 1 << 20;

/// A thousand messages of 1 KiB that begin with their numbers.
fn frames(first: u64) -> Bytes {
    let mut frames = BytesMut::new();
    for number in first..first + 1000 {
        frames.put_u32(1024);
        frames.put_slice(format!("{number:>24}").as_bytes());
        frames.put_bytes(b'.', 1000);
    }
    frames.freeze()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backlog_stays_on_the_disk_and_is_worked_off_in_order() {
    let count = 50_000 * scale();
    let destination = Destination::start().await;
    let setup = Setup::new(format!(
        "[subscriptions.all]\nstart = \"beginning\"\nbatch = 1000\nurl = {:?}\n",
        destination.url()
    ));
    let supervisor = setup.start().await;
    let kind = [("content-type", "application/vnd.rollcall.frames")];
    let mut most = 0;
    for first in (1..=count).step_by(1000) {
        let path = "/v1/streams/numbers/messages:batch";
        let answer = supervisor.post(path, &kind, frames(first)).await;
        assert_eq!(answer.json()["last_sequence"], first + 999);
        most = supervisor.process().resident_bytes().max(most);
    }
    let bound = 200 * MIB + count / 10_000 * MIB;
    assert!(most < bound, "{} MiB while it came in", most / MIB);
    // A restart reads it all, and keeps little of it.
    supervisor.kill().await;
    let supervisor = setup.start().await;
    let restarted = supervisor.process().resident_bytes();
    assert!(restarted < bound, "{} MiB after a restart", restarted / MIB);
    let worker = FakeWorker::start(|call| Act::ok(call.body.slice(..24))).await;
    let mut most = restarted;
    until_within(ms(600_000), "all done", || async {
        let registration = json!({ "url": worker.url(), "pool": "default" });
        assert_eq!(supervisor.put("/v1/workers/w", &registration).await.status, 200);
        let state = supervisor.json("/v1/subscriptions/all").await;
        state["checkpoint"] == count
    })
    .await;
    most = supervisor.process().resident_bytes().max(most);
    assert!(most < bound, "{} MiB while it was worked off", most / MIB);
    let mut next = 1;
    for delivery in destination.deliveries() {
        for line in String::from_utf8_lossy(&delivery.body).lines() {
            let result: serde_json::Value = serde_json::from_str(line).unwrap();
            assert_eq!(result["sequence"], next);
            assert_eq!(result["data"].as_str().unwrap().trim(), next.to_string());
            next += 1;
        }
    }
    assert_eq!(next, count + 1);
    println!("{} MiB at most", most / MIB);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn large_messages_go_out_a_few_at_a_time() {
    let worker = FakeWorker::start(|_| Act::ok_after(ms(2_500), "done")).await;
    let setup = Setup::new(format!(
        "[streams.\"*\"]\ntimeout = \"60s\"\nhedge = \"off\"\n[pools.default]\nworkers = [{:?}]\n",
        worker.url()
    ));
    let supervisor = setup.start().await;
    let (body, count) = (Bytes::from(vec![b'x'; 1 << 20]), 100);
    for number in 0..count {
        supervisor.send(&format!("s{}", number % 10), body.clone()).await;
    }
    let (most, resident) = (AtomicU64::new(0), AtomicU64::new(0));
    until_within(ms(60_000), "all done", || async {
        resident.fetch_max(supervisor.process().resident_bytes(), Ordering::Relaxed);
        let out = supervisor.metric("rollcall_calls_in_flight_bytes").await;
        most.fetch_max(out, Ordering::Relaxed);
        supervisor.metric("rollcall_released_total").await == count
    })
    .await;
    let (most, resident) = (most.into_inner() / MIB, resident.into_inner() / MIB);
    assert!((1..66).contains(&most), "{most} MiB were out");
    assert!(resident < 200, "{resident} MiB of memory");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clients_that_take_nothing_of_large_results_hold_so_much_and_no_more() {
    let setup = Setup::new(
        "[limits]\nmessage_bytes = \"24 MiB\"\nbatch_bytes = \"24 MiB\"\n\
         [streams.\"*\"]\npool = \"none\"\n",
    );
    let supervisor = setup.start().await;
    // Three of them are 63 of the 64 MiB that there are for all.
    for (stream, mib) in [("large", 21), ("other", 2)] {
        supervisor.send(stream, vec![b'.'; mib * (1 << 20)]).await;
        supervisor.until_released(stream, 1).await;
    }
    let ask = |stream: &str| {
        format!("GET /v1/streams/{stream}/messages/1/result HTTP/1.1\r\nHost: localhost\r\n\r\n")
    };
    let mut idle = Vec::new();
    for _ in 0..3 {
        let mut client = Raw::connect_small(supervisor.url()).await;
        client.send(ask("large")).await;
        assert!(client.read_some().await.starts_with(b"HTTP/1.1 200 OK"));
        idle.push(client);
    }
    let result = || supervisor.get("/v1/streams/other/messages/1/result");
    assert_eq!(result().await.problem(503)["type"], "urn:rollcall:problem:overloaded");
    // A sender that waits for such a result is told where it is.
    let prefer = [("prefer", "wait=10")];
    let path = "/v1/streams/third/messages";
    let answer = supervisor.post(path, &prefer, vec![b'.'; 2 << 20]).await;
    assert_eq!(answer.status, 202);
    drop(idle.pop().unwrap());
    until("there is room again", || async { result().await.status == 200 }).await;
    let answer = supervisor.post(path, &prefer, vec![b'.'; 2 << 20]).await;
    assert_eq!((answer.status, answer.body.len()), (200, 2 << 20));
    assert_eq!(idle.len(), 2, "the others are still there");
}
