//! One stream in trouble, and a destination that is away or hangs: what the others feel of it.

use std::{collections::HashMap, time::Duration};

use futures_util::future::join_all;
use serde_json::json;
use tests::{
    harness::{Setup, Supervisor, checker::check_deliveries, now, spawn, until},
    peers::{Act, Call, Destination, FakeWorker},
};

use crate::{ms, urls};

/// How many streams there are beside the one in trouble.
const OTHERS: u64 = 150;
/// Messages to each of them in one round.
const EACH: u64 = 12;

/// Fails at poison, hangs at what hangs, refuses what stands before a queue.
fn by_body(call: &Call) -> Act {
    match &call.body[..] {
        b"poison" => Act::status(500),
        b"hang" => Act::Hang,
        b"refused" => Act::status(422),
        _ => Act::ok_after(ms(10), call.body.clone()),
    }
}

/// Sends `EACH` messages to each of the others within about five seconds. Gives back the p99 from
/// the moment before sending to the arrival of the result.
async fn round(supervisor: &Supervisor, destination: &Destination, name: &str) -> Duration {
    let sending = (0..OTHERS).map(|number| {
        let (client, stream) = (supervisor.client(), format!("{name}.{number}"));
        spawn(async move {
            tokio::time::sleep(ms(number * 400 / OTHERS)).await;
            let mut ticks = tokio::time::interval(ms(400));
            let mut sent = Vec::new();
            for sequence in 1..=EACH {
                ticks.tick().await;
                let at = now();
                assert_eq!(client.send(&stream, "well").await, sequence);
                sent.push(((stream.clone(), sequence), at));
            }
            sent
        })
    });
    let sent = join_all(sending).await.into_iter().flat_map(Result::unwrap);
    let sent: HashMap<_, _> = sent.collect();
    let of_this = |stream: &str| stream.split_once('.').is_some_and(|(first, _)| first == name);
    until("all of the others' are delivered", || async {
        let all = destination.deliveries();
        all.iter().filter(|one| one.taken && of_this(&one.stream)).count() >= sent.len()
    })
    .await;
    let deliveries = destination.deliveries();
    let of_this = deliveries.iter().filter(|one| of_this(&one.stream));
    let mut took: Vec<_> =
        of_this.map(|one| one.at - sent[&(one.stream.clone(), one.sequence)]).collect();
    took.sort_unstable();
    let (median, p99) = (took[took.len() / 2], took[took.len() * 99 / 100]);
    println!("{name}: p50 {median:?}, p99 {p99:?}");
    p99
}

/// F-55, F-59, F-61, F-62, F-69: poison, a stuck head with thousands behind it, a dead and a
/// hanging destination. The exact figures, for a thousand streams, stand in the simulator
/// (`tests/src/sim/steady/isolation.rs`).
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_stream_in_trouble_and_dead_destinations_leave_the_others_alone() {
    let workers = join_all((0..4).map(|_| FakeWorker::start(by_body))).await;
    let (well, dead, hanging) =
        (Destination::start().await, Destination::start().await, Destination::start().await);
    let setup = Setup::new(format!(
        "[streams.\"*\"]\ntimeout = \"1s\"\njitter = \"200ms\"\n\
         [pools.default]\nworkers = {}\nconcurrency = 16\n\
         [subscriptions.well]\nurl = {:?}\nstart = \"beginning\"\n\
         [subscriptions.dead]\nurl = {:?}\nstart = \"beginning\"\n\
         [subscriptions.hanging]\nurl = {:?}\nstart = \"beginning\"\n",
        urls(&workers),
        well.url(),
        dead.url(),
        hanging.url()
    ));
    let supervisor = setup.start().await;
    // Connections and streams come into being here.
    round(&supervisor, &well, "warm").await;
    let before = round(&supervisor, &well, "before").await;
    dead.go_down();
    hanging.set(|_| Act::Hang);
    for body in ["poison", "hang"] {
        supervisor.send(body, body).await;
    }
    supervisor.send("stuck", "refused").await;
    supervisor.until_state("stuck", 1, "parked").await;
    let behind = (0..3_000).map(|number| json!(number));
    assert_eq!(supervisor.lines("stuck", behind).await.status, 202);
    let during = round(&supervisor, &well, "during").await;
    let head = supervisor.json("/v1/streams/stuck").await;
    assert_eq!((&head["released"], &head["head"]["cause"]), (&json!(0), &json!("parked")));
    for name in ["poison", "hang"] {
        assert_eq!(supervisor.json(&format!("/v1/streams/{name}")).await["released"], 0);
    }
    for name in ["dead", "hanging"] {
        let state = supervisor.json(&format!("/v1/subscriptions/{name}")).await;
        assert!(state["lag"].as_u64() >= Some(OTHERS * EACH), "{state}");
    }
    // The machine does other things, too.
    assert!(during <= before * 3 + ms(250), "{during:?}, before it {before:?}");
    check_deliveries(&well.deliveries());
}
