//! The main case and its larger sisters: work that takes longer than the time between messages,
//! done by several workers, arrives once each and in order.

use std::time::Duration;

use futures_util::future::join_all;
use serde_json::json;
use tests::{
    harness::{Setup, Supervisor, checker::check_deliveries, now, scale, spawn, until_within},
    peers::{Act, Destination, FakeWorker},
};

use crate::{ms, urls};

const LONG: Duration = Duration::from_secs(120);

/// A supervisor whose one subscription pushes everything to `destination`.
async fn start(
    workers: &[FakeWorker],
    destination: &Destination,
    streams: &str,
) -> (Setup, Supervisor) {
    let setup = Setup::new(format!(
        "{streams}\n[pools.default]\nworkers = {}\nconcurrency = 64\n\
         [subscriptions.all]\nurl = {:?}\nstart = \"beginning\"\n",
        urls(workers),
        destination.url()
    ));
    let supervisor = setup.start().await;
    (setup, supervisor)
}

async fn until_delivered(destination: &Destination, count: u64) {
    until_within(LONG, "all delivered", || async { destination.count() as u64 >= count }).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_workers_keep_up_with_work_that_takes_three_times_as_long_as_the_interval() {
    let (work, interval, count) = (ms(75), ms(25), 200);
    let mut workers = Vec::new();
    for _ in 0..3 {
        workers.push(FakeWorker::start(move |call| Act::ok_after(work, call.body.clone())).await);
    }
    let destination = Destination::start().await;
    let (_setup, supervisor) = start(&workers, &destination, "").await;
    let mut ticks = tokio::time::interval(interval);
    let mut sent = Vec::new();
    for number in 1..=count {
        ticks.tick().await;
        let at = now();
        assert_eq!(supervisor.send("main", number.to_string()).await, number);
        sent.push(at);
    }
    until_delivered(&destination, count).await;
    let deliveries = destination.deliveries();
    check_deliveries(&deliveries);
    assert_eq!(destination.taken("main"), (1..=count).collect::<Vec<_>>());
    let mut latencies: Vec<_> =
        deliveries.iter().zip(&sent).map(|(one, sent)| one.at.duration_since(*sent)).collect();
    // One worker alone would be 50 ms further behind with each message: 10 s at the end.
    let end = *latencies.last().unwrap();
    latencies.sort();
    let median = latencies[latencies.len() / 2];
    assert!(median < ms(250), "median {median:?}");
    assert!(end < ms(2000), "the last one took {end:?}");
    for worker in &workers {
        assert!(worker.count() > 30, "the work is shared: {}", worker.count());
    }
}

/// Sends `count` numbers as JSON in batches of 500.
async fn send_numbers(supervisor: &Supervisor, stream: &str, count: u64) {
    for first in (1..=count).step_by(500) {
        let last = count.min(first + 499);
        let answer = supervisor.lines(stream, (first..=last).map(|number| json!(number))).await;
        assert_eq!(answer.status, 202, "{}", answer.text());
        assert_eq!(answer.json()["last_sequence"], last);
    }
}

fn assert_numbers(destination: &Destination, stream: &str, count: u64) {
    let deliveries = destination.deliveries();
    check_deliveries(&deliveries);
    assert_eq!(destination.taken(stream), (1..=count).collect::<Vec<_>>());
    for one in deliveries.iter().filter(|one| one.stream == stream) {
        assert_eq!(one.body, one.sequence.to_string());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_thousand_messages_with_random_work_over_ten_workers_arrive_in_order_once() {
    let count = 10_000 * scale();
    let workers = join_all((0..10).map(|seed| FakeWorker::random(seed, 5..=50))).await;
    let destination = Destination::start().await;
    let streams = "[streams.\"*\"]\nhedge = \"off\"\n";
    let (_setup, supervisor) = start(&workers, &destination, streams).await;
    send_numbers(&supervisor, "numbers", count).await;
    until_delivered(&destination, count).await;
    assert_numbers(&destination, "numbers", count);
    let calls: usize = workers.iter().map(FakeWorker::count).sum();
    assert_eq!(calls as u64, count, "nothing was done twice");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_never_has_more_calls_out_than_max_in_flight() {
    use std::sync::{
        Arc,
        atomic::{AtomicI64, Ordering::SeqCst},
    };
    let count = 10_000 * scale();
    let (out, most) = (Arc::new(AtomicI64::new(0)), Arc::new(AtomicI64::new(0)));
    let rng = std::sync::Mutex::new(fastrand::Rng::with_seed(7));
    let (counted, highest) = (Arc::clone(&out), Arc::clone(&most));
    let worker = FakeWorker::start(move |call| {
        highest.fetch_max(counted.fetch_add(1, SeqCst) + 1, SeqCst);
        let after = ms(rng.lock().unwrap().u64(0..=5));
        let counted = Arc::clone(&counted);
        spawn(async move {
            tokio::time::sleep(after).await;
            counted.fetch_sub(1, SeqCst);
        });
        // A little later, so that what is counted out is out.
        Act::ok_after(after + ms(2), call.body.clone())
    })
    .await;
    let destination = Destination::start().await;
    let streams = "[streams.\"*\"]\nmax_in_flight = 100\n";
    let setup = Setup::new(format!(
        "{streams}[pools.default]\nworkers = {}\nconcurrency = 1000\n\
         [subscriptions.all]\nurl = {:?}\nstart = \"beginning\"\n",
        urls([&worker]),
        destination.url()
    ));
    let supervisor = setup.start().await;
    send_numbers(&supervisor, "numbers", count).await;
    until_delivered(&destination, count).await;
    assert_numbers(&destination, "numbers", count);
    let most = most.load(SeqCst);
    assert!((20..=100).contains(&most), "{most} calls at once");
}
