//! More than there is room for (faults F): what is refused, what is kept, and what goes on.

use std::time::Duration;

use serde_json::json;
use tests::{
    harness::{Setup, Signal, Supervisor, now, spawn, until, until_within},
    peers::{Act, Destination, FakeWorker},
};
use tokio::net::TcpStream;

use crate::{ms, urls};

/// What came of an open loop: accepted ones, refused ones, how long refusals took, and how many
/// were released a second.
struct Offered {
    accepted: u64,
    refusals: Vec<Duration>,
    goodput: u64,
}

/// Offers so many messages every 20 ms for four seconds, to four streams, whatever becomes of
/// them; measures what is released after the first second.
async fn offer(supervisor: &Supervisor, each: u64) -> Offered {
    let mut ticks = tokio::time::interval(ms(20));
    let mut sending = Vec::new();
    let released = || async { supervisor.metric("rollcall_released_total").await };
    let mut begun = None;
    for tick in 0..200 {
        ticks.tick().await;
        for number in 0..each {
            let client = supervisor.client();
            sending.push(spawn(async move {
                let at = now();
                let stream = format!("s{}", (tick + number) % 4);
                let answer = client.message(&stream, &[], "x").await;
                assert!([202, 429, 503].contains(&answer.status), "{answer:?}");
                (answer.status == 202, at.elapsed())
            }));
        }
        if tick == 50 {
            begun = Some((released().await, now()));
        }
    }
    let (before, begun) = begun.expect("a second has passed");
    let goodput = (released().await - before) * 1_000 / begun.elapsed().as_millis() as u64;
    let mut offered = Offered { accepted: 0, refusals: Vec::new(), goodput };
    for one in sending {
        match one.await.unwrap() {
            (true, _) => offered.accepted += 1,
            (false, took) => offered.refusals.push(took),
        }
    }
    offered.refusals.sort_unstable();
    offered
}

/// F-64: an open loop at several times of what the workers can do.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_too_much_is_refused_at_once_and_the_rest_is_done_as_fast_as_ever() {
    let work = |call: &tests::peers::Call| Act::ok_after(ms(80), call.body.clone());
    let (one, two) = (FakeWorker::start(work).await, FakeWorker::start(work).await);
    // Eight at once, 80 ms each: 100/s.
    let setup = Setup::new(format!(
        "[streams.\"*\"]\nmax_backlog = 25\nhedge = \"off\"\ntimeout = \"10s\"\n\
         [pools.default]\nworkers = {}\nconcurrency = 4\n",
        urls([&one, &two])
    ));
    let supervisor = setup.start().await;
    // A little more than they can do: 150/s; then six times that.
    let full = offer(&supervisor, 3).await;
    let over = offer(&supervisor, 18).await;
    let median = over.refusals[over.refusals.len() / 2];
    println!(
        "{}/s at capacity, {}/s at nine times of it; {} of 3600 accepted, refusals: median \
         {median:?}, p99 {:?}",
        full.goodput,
        over.goodput,
        over.accepted,
        over.refusals[over.refusals.len() * 99 / 100]
    );
    assert!(over.goodput * 100 >= full.goodput * 80, "{} of {}", over.goodput, full.goodput);
    assert!(over.refusals.len() > 1_800, "{} refused", over.refusals.len());
    assert!(median < ms(20), "{median:?}");
    let accepted = full.accepted + over.accepted;
    until("all that was accepted is released", || async {
        supervisor.metric("rollcall_released_total").await >= accepted
    })
    .await;
    let mut results = 0;
    for stream in 0..4 {
        let all = supervisor.results(&format!("s{stream}")).await;
        for (sequence, result) in (1..).zip(&all) {
            let seen = (&result["sequence"], &result["outcome"]);
            assert_eq!(seen, (&json!(sequence), &json!("completed")));
        }
        results += all.len() as u64;
    }
    assert_eq!(results, accepted, "what was accepted, and nothing else");
}

/// F-69: the first of a stream hangs, and what follows it is done: up to its window is
/// dispatched, up to its backlog taken in, and others go on.
#[tokio::test]
async fn a_stream_whose_head_hangs_fills_its_window_and_no_other() {
    let worker = FakeWorker::start(|call| match &call.body[..] {
        b"head" => Act::Hang,
        _ => Act::ok(call.body.clone()),
    })
    .await;
    let setup = Setup::new(format!(
        "[streams.\"*\"]\nwindow = 10\nmax_backlog = 20\nhedge = \"off\"\ntimeout = \"2s\"\n\
         jitter = \"10ms\"\nmultiplier = 1.0\nmax_attempts = 100\n\
         [pools.default]\nworkers = {}\n",
        urls([&worker])
    ));
    let supervisor = setup.start().await;
    supervisor.send("slow", "head").await;
    for _ in 2..=20 {
        supervisor.send("slow", "x").await;
    }
    let refused = supervisor.message("slow", &[], "one too many").await;
    assert_eq!(refused.status, 429, "{}", refused.text());
    assert_ne!(refused.header("retry-after"), "");
    for number in 1..=50 {
        supervisor.send("quick", "x").await;
        supervisor.until_released("quick", number).await;
    }
    until("the window is used", || async {
        worker.calls().iter().any(|call| call.stream == "slow" && call.sequence == 10)
    })
    .await;
    let calls = worker.calls();
    let furthest = calls.iter().filter(|call| call.stream == "slow").map(|call| call.sequence);
    assert_eq!(furthest.max(), Some(10), "nothing beyond the window");
    assert_eq!(supervisor.json("/v1/streams/slow").await["released"], 0);
    worker.set(|call| Act::ok(call.body.clone()));
    supervisor.until_released("slow", 20).await;
    assert_eq!(supervisor.send("slow", "there is room again").await, 21);
    supervisor.until_released("slow", 21).await;
    let results = supervisor.results("slow").await;
    let sequences: Vec<_> = results.iter().filter_map(|one| one["sequence"].as_u64()).collect();
    assert_eq!(sequences, (1..=21).collect::<Vec<_>>());
}

/// F-68: no descriptor is left for a connection.
#[tokio::test]
async fn connections_without_a_descriptor_wait_and_nothing_spins() {
    let worker = FakeWorker::upper().await;
    let setup = Setup::new(format!("[pools.default]\nworkers = {}\n", urls([&worker])));
    let supervisor = setup.start_with_files(64).await;
    supervisor.send("orders", "before").await;
    supervisor.until_released("orders", 1).await;
    let place = supervisor.url().trim_start_matches("http://").to_owned();
    let mut connections = Vec::new();
    for _ in 0..100 {
        connections.push(TcpStream::connect(&place).await.expect("the system takes it"));
    }
    until("it has none left", || async {
        supervisor.process().log().contains("no connection could be taken")
    })
    .await;
    let (computed, begun) = (supervisor.process().computed(), now());
    tokio::time::sleep(ms(2_000)).await;
    let computed = supervisor.process().computed() - computed;
    let share = computed * 1_000 / begun.elapsed().as_millis() as u64;
    println!("{computed} hundredths of a second while there was none");
    assert!(share < 25, "{share} hundredths of a second in each");
    drop(connections);
    let client = tests::harness::Client::new(supervisor.url());
    assert_eq!(client.send("orders", "after").await, 2);
    supervisor.until_released("orders", 2).await;
}

/// F-71: the log is a pipe that is full, and nobody reads it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_log_that_nobody_reads_stops_nothing() {
    let worker = FakeWorker::upper().await;
    let destination = Destination::start().await;
    let config = format!(
        "[pools.default]\nworkers = {}\n[subscriptions.all]\nurl = {:?}\nstart = \"beginning\"\n",
        urls([&worker]),
        destination.url()
    );
    let setup = Setup::new(&config);
    let supervisor = setup.start_unread().await;
    supervisor.send("orders", "before").await;
    // What is wrong is named in the log: more than a pipe takes, again and again.
    setup.configure(format!("{config}[{}]\n", "x".repeat(100_000)));
    for number in 1..=20 {
        supervisor.process().signal(Signal::HUP);
        supervisor.send("orders", number.to_string()).await;
    }
    until("all are delivered", || async { destination.taken("orders").len() == 21 }).await;
    assert_eq!(supervisor.get("/v1/status").await.status, 200);
    supervisor.process().signal(Signal::TERM);
    let ended = spawn(supervisor.ended());
    until_within(ms(20_000), "it goes when it is asked to", || async { ended.is_finished() }).await;
    assert_eq!(ended.await.unwrap().code, Some(0));
}
