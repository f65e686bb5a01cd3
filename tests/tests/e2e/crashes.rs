//! What a `kill -9` leaves: everything that was acknowledged, in order, and repeats that can be
//! known as such (faults A: F-01, F-09).

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
    time::Duration,
};

use http::Method;
use serde_json::{Value, json};
use tests::{
    harness::{Client, Setup, checker::check_deliveries, scale, spawn, until_within},
    peers::{Act, Destination, FakeWorker},
};

use crate::{ms, urls};

const STREAMS: usize = 3;

/// What one producer knows: its stream's next message, and the sequence of each that was
/// acknowledged, by key.
#[derive(Default)]
struct Producer {
    next: u64,
    acknowledged: BTreeMap<u64, u64>,
}

/// Sends messages one by one until the supervisor is gone. What was not acknowledged is sent
/// again, under the same key, to the next one.
async fn produce(client: Client, index: usize, producer: Arc<Mutex<Producer>>) {
    loop {
        let number = producer.lock().unwrap().next;
        let key = format!("key-{number}");
        let path = format!("/v1/streams/stream-{index}/messages");
        let headers = [("idempotency-key", &*key)];
        let sent = client.try_call(Method::POST, &path, &headers, number.to_string()).await;
        let Ok(answer) = sent else { return };
        assert_eq!(answer.status, 202, "{}", answer.text());
        let sequence = answer.json()["sequence"].as_u64().unwrap();
        let mut producer = producer.lock().unwrap();
        producer.acknowledged.insert(number, sequence);
        producer.next += 1;
    }
}

fn config(workers: &[FakeWorker], destination: &Destination) -> String {
    format!(
        "[streams.\"*\"]\ntimeout = \"500ms\"\njitter = \"20ms\"\nmax_attempts = 1000\n\
         [journal]\nsegment_bytes = \"64 KiB\"\n\
         [pools.default]\nworkers = {}\n\
         [subscriptions.all]\nurl = {:?}\nstart = \"beginning\"\n",
        urls(workers),
        destination.url()
    )
}

/// Every answer tells which of the worker's calls it is, so that answers differ.
async fn careless_worker(seed: u64) -> FakeWorker {
    let state = Mutex::new((fastrand::Rng::with_seed(seed), 0));
    FakeWorker::start(move |call| {
        let mut state = state.lock().unwrap();
        state.1 += 1;
        let body =
            format!("{} by {seed} in its call {}", String::from_utf8_lossy(&call.body), state.1);
        match state.0.u32(0..100) {
            0..5 => Act::status(500),
            5..8 => Act::Reset,
            8 => Act::ok_after(ms(700), body),
            _ => Act::ok_after(ms(state.0.u64(0..15)), body),
        }
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kills_at_random_moments_lose_nothing_and_keep_the_order() {
    let cycles = 20 * scale();
    let mut rng = fastrand::Rng::with_seed(9);
    let mut workers = Vec::new();
    for seed in 0..4 {
        workers.push(careless_worker(seed).await);
    }
    let destination = Destination::start().await;
    let lost = Mutex::new(fastrand::Rng::with_seed(3));
    // Now and then it takes a delivery and its answer is lost.
    destination.set(move |_| match lost.lock().unwrap().u32(0..200) {
        0 => Act::Close,
        _ => Act::status(200),
    });
    let setup = Setup::new(config(&workers, &destination));
    let producers: Vec<Arc<Mutex<Producer>>> = (0..STREAMS).map(|_| Arc::default()).collect();
    for _ in 0..cycles {
        let supervisor = setup.start().await;
        let sending = producers.iter().enumerate().map(|(index, producer)| {
            let sending = produce(supervisor.client(), index, Arc::clone(producer));
            spawn(sending)
        });
        let sending: Vec<_> = sending.collect();
        tokio::time::sleep(ms(rng.u64(20..500))).await;
        supervisor.kill().await;
        for task in sending {
            task.await.unwrap();
        }
    }
    let supervisor = setup.start().await;
    for (index, producer) in producers.iter().enumerate() {
        let (next, acknowledged) = {
            let producer = producer.lock().unwrap();
            (producer.next, producer.acknowledged.clone())
        };
        assert!(next > 20, "there was some load: {next}");
        // Keys were sent one after the other, so each has the sequence after the one before.
        for (number, sequence) in acknowledged {
            assert_eq!(sequence, number + 1, "stream-{index}");
        }
        let stream = format!("stream-{index}");
        let status = supervisor.json(&format!("/v1/streams/{stream}")).await;
        let count = status["next_sequence"].as_u64().unwrap() - 1;
        assert!(count == next || count == next + 1, "{count} of {next}");
        until_within(Duration::from_secs(120), "all delivered", || async {
            destination
                .deliveries()
                .iter()
                .any(|one| one.taken && one.stream == stream && one.sequence == count)
        })
        .await;
        for (at, result) in supervisor.results(&stream).await.iter().enumerate() {
            let data = result["data"].as_str().unwrap();
            assert!(data.starts_with(&format!("{at} by ")), "{stream}: {data} at {at}");
        }
    }
    let deliveries = destination.deliveries();
    check_deliveries(&deliveries);
    // What was delivered is what everybody reads.
    for result in supervisor.all_results("/v1/results").await {
        let seen = deliveries.iter().find(|one| json!(one.position) == result["position"]).unwrap();
        assert_eq!(json!(seen.sequence), result["sequence"]);
        assert_eq!(result["data"], Value::from(String::from_utf8_lossy(&seen.body).as_ref()));
    }
}

#[tokio::test]
async fn a_restart_keeps_attempts_due_times_and_what_is_parked() {
    let worker = FakeWorker::start(|call| match &*call.stream {
        "parked" => Act::status(422),
        "failing" => Act::status(500),
        _ => Act::ok("fine"),
    })
    .await;
    let setup = Setup::new(format!(
        "[streams.failing]\njitter = \"100ms\"\nmax_attempts = 8\n\
         [pools.default]\nworkers = {}\neject_after = 1000\n",
        urls([&worker])
    ));
    let supervisor = setup.start().await;
    for stream in ["parked", "failing", "fine"] {
        supervisor.send(stream, "x").await;
    }
    supervisor.send("parked", "behind").await;
    supervisor.until_released("fine", 1).await;
    let parked = supervisor.until_state("parked", 1, "parked").await;
    let mut attempts = 0;
    for _ in 0..3 {
        tokio::time::sleep(ms(150)).await;
        let calls = worker.calls();
        let failing: Vec<_> = calls.iter().filter(|call| call.stream == "failing").collect();
        attempts = failing.last().map_or(0, |call| call.attempt);
    }
    let results = supervisor.all_results("/v1/results").await;
    supervisor.kill().await;
    let before = worker.count();
    let supervisor = setup.start().await;
    // Parked as it was, with its history.
    let again = supervisor.timeline("parked", 1).await;
    assert_eq!(again["state"], "parked");
    for field in ["attempts", "accepted_at", "parked_at", "reason", "id"] {
        assert_eq!(again[field], parked[field], "{field}");
    }
    assert_eq!(supervisor.json("/v1/parked").await["parked"][0]["waiting_behind"], 1);
    assert_eq!(supervisor.all_results("/v1/results").await, results);
    // The count of attempts goes on from where it was; one that was out may be made again.
    let failing = supervisor.until_state("failing", 1, "parked").await;
    let calls = worker.calls();
    let next = calls[before..].iter().find(|call| call.stream == "failing");
    if let Some(next) = next {
        assert!(next.attempt >= attempts, "{} after {attempts}", next.attempt);
    }
    let numbers: Vec<_> =
        calls.iter().filter(|call| call.stream == "failing").map(|call| call.attempt).collect();
    assert_eq!(numbers.last(), Some(&8), "{failing}");
    assert!(
        numbers.windows(2).all(|pair| pair[1] == pair[0] || pair[1] == pair[0] + 1),
        "{numbers:?}"
    );
    assert!(numbers.len() <= 9, "{numbers:?}");
}

#[tokio::test]
async fn a_stream_is_all_there_from_the_first_answer_on() {
    let setup = Setup::new("");
    let supervisor = setup.start().await;
    for number in 0..50 {
        supervisor.send(&format!("stream-{number}"), "x").await;
    }
    supervisor.kill().await;
    for _ in 0..10 {
        let supervisor = setup.start().await;
        let all = supervisor.json("/v1/streams").await["streams"].clone();
        let all = all.as_array().unwrap();
        assert_eq!(all.len(), 50);
        assert!(all.iter().all(|stream| stream["next_sequence"] == 2), "{all:?}");
        supervisor.kill().await;
    }
}

#[tokio::test]
async fn positions_and_checkpoints_are_the_same_after_a_restart() {
    let workers = [FakeWorker::upper().await];
    let destination = Destination::start().await;
    let setup = Setup::new(config(&workers, &destination));
    let supervisor = setup.start().await;
    for number in 0..50 {
        supervisor.send(&format!("stream-{}", number % 5), number.to_string()).await;
    }
    until_within(ms(20_000), "all delivered", || async { destination.count() == 50 }).await;
    let results = supervisor.all_results("/v1/results").await;
    assert_eq!(supervisor.terminate().await.code, Some(0));
    let supervisor = setup.start().await;
    assert_eq!(supervisor.all_results("/v1/results").await, results);
    supervisor.send("stream-0", "new").await;
    until_within(ms(20_000), "the new one", || async { destination.count() == 51 }).await;
    let last = destination.deliveries().pop().unwrap();
    assert_eq!((last.position, last.sequence, last.previous), (51, 11, 10));
    check_deliveries(&destination.deliveries());
    let state = supervisor.json("/v1/subscriptions/all").await;
    until_within(ms(20_000), "checkpoint", || async {
        supervisor.json("/v1/subscriptions/all").await["checkpoint"] == 51
    })
    .await;
    assert_eq!(state["gap"], Value::Null);
}
