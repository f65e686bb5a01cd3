//! What is kept, and for how long (contract §5): old results go by whole files, and nothing that
//! is still needed goes with them (fault F-72).

use std::fs;

use serde_json::{Value, json};
use tests::{
    harness::{Setup, Supervisor, checker::check_deliveries, until},
    peers::{Act, Destination, FakeWorker, Reply},
};

use crate::urls;

/// Small files, and nothing is kept longer than it must be.
const SHORT: &str = "[journal]\nsegment_bytes = \"64 KiB\"\nreserve_bytes = \"16 KiB\"\n\
    [streams.\"*\"]\nretention = \"0s\"\n[streams.\"plain.*\"]\npool = \"none\"\n";

/// Sends messages of 1 KiB that begin with their numbers.
async fn fill(supervisor: &Supervisor, stream: &str, count: u64) {
    for _ in 0..count.div_ceil(100) {
        let lines = (0..100).map(|_| json!(".".repeat(1024)));
        assert_eq!(supervisor.lines(stream, lines).await.status, 202);
    }
}

async fn first(supervisor: &Supervisor) -> u64 {
    supervisor.json("/v1/status").await["first"].as_u64().unwrap()
}

#[tokio::test]
async fn old_results_go_and_what_is_needed_stays() {
    let worker = FakeWorker::start(|call| match &*call.body {
        b"bad" => Act::Answer(Reply::new(200, "").with("rollcall-outcome", "park")),
        body => Act::ok(body.to_vec()),
    })
    .await;
    let destination = Destination::start().await;
    let setup = Setup::new(format!(
        "{SHORT}[pools.default]\nworkers = {}\n\
         [subscriptions.all]\nstart = \"beginning\"\nurl = {:?}\n",
        urls([&worker]),
        destination.url()
    ));
    let supervisor = setup.start().await;
    let key = [("idempotency-key", "k")];
    supervisor.send("stuck", "bad").await;
    let path = "/v1/streams/stuck/messages";
    let second = supervisor.post(path, &key, "second").await.json();
    supervisor.until_state("stuck", 1, "parked").await;
    supervisor.until_state("stuck", 2, "completed").await;
    fill(&supervisor, "plain.a", 600).await;
    until("the first results go", || async { first(&supervisor).await > 300 }).await;
    assert!(supervisor.metric("rollcall_first_position").await > 300);
    assert!(supervisor.json("/v1/status").await["snapshots"].as_u64().unwrap() > 0);
    // Readers are told where to go on.
    let problem = supervisor.get("/v1/results?after=0").await.problem(410);
    let from = problem["first"].as_u64().unwrap();
    let page = supervisor.json(&format!("/v1/results?after={}&limit=1000", from - 1)).await;
    let results = page["results"].as_array().unwrap();
    let positions: Vec<u64> = results.iter().map(|one| one["position"].as_u64().unwrap()).collect();
    assert_eq!(positions, (from..=600).collect::<Vec<_>>());
    let problem = supervisor.get("/v1/streams/plain.a/results?after=0").await.problem(410);
    let from = problem["first"].as_u64().unwrap();
    let path_a = format!("/v1/streams/plain.a/results?after={}&limit=1000", from - 1);
    let kept = supervisor.json(&path_a).await["results"].as_array().unwrap().len() as u64;
    assert_eq!(kept, 601 - from);
    let shown = setup.run(&["results", "plain.a", "--url", supervisor.url()]).await;
    assert_eq!((shown.code, shown.stdout.lines().count() as u64), (Some(0), kept), "{shown:?}");
    assert!(shown.stderr.contains(&format!("before {from} is no longer kept")), "{shown:?}");
    let gone = supervisor.get("/v1/streams/plain.a/messages/1").await.problem(410);
    assert_eq!(gone["first"], from);
    // A restart finds it all, without the index, which is derived.
    supervisor.kill().await;
    fs::remove_dir_all(setup.data().join("views")).unwrap();
    let supervisor = setup.start().await;
    let again = supervisor.post(path, &key, "second").await.json();
    assert_eq!((&again["sequence"], &again["id"]), (&json!(2), &second["id"]));
    assert_eq!(again["duplicate"], true);
    assert_eq!(supervisor.timeline("stuck", 1).await["state"], "parked");
    assert_eq!(supervisor.timeline("stuck", 2).await["id"], second["id"]);
    let path = "/v1/streams/stuck/messages/1/resolve";
    assert_eq!(supervisor.post(path, &[], "by hand").await.status, 200);
    until("all is delivered", || async { destination.taken("stuck").len() == 2 }).await;
    assert_eq!(destination.taken("stuck"), [1, 2]);
    assert_eq!(supervisor.send("plain.a", "next").await, 601);
    until("it goes on", || async { destination.taken("plain.a").len() == 601 }).await;
    check_deliveries(&destination.deliveries());
    let head = supervisor.json("/v1/status").await["head"].clone();
    assert_eq!(head, Value::from(603));
}

#[tokio::test]
async fn a_slow_subscription_holds_them_back() {
    let destination = Destination::start().await;
    destination.set(|_| Act::status(503));
    let setup = Setup::new(format!(
        "{SHORT}[subscriptions.all]\nstart = \"beginning\"\nurl = {:?}\n",
        destination.url()
    ));
    let supervisor = setup.start().await;
    let mut sent = 0;
    while supervisor.json("/v1/status").await["snapshots"].as_u64().unwrap() < 3 {
        fill(&supervisor, "plain.a", 100).await;
        sent += 100;
    }
    assert_eq!(first(&supervisor).await, 1, "nothing has been taken");
    destination.set(|_| Act::ok(""));
    until("all is taken", || async { destination.taken("plain.a").len() as u64 == sent }).await;
    check_deliveries(&destination.deliveries());
    until("what was taken goes", || async { first(&supervisor).await > 1 }).await;
}

#[tokio::test]
async fn a_strict_retention_waits_for_nobody() {
    let destination = Destination::start().await;
    destination.set(|_| Act::status(503));
    let config = SHORT.replace("[journal]", "[journal]\nretention_strict = true");
    let setup = Setup::new(format!(
        "{config}[subscriptions.all]\nstart = \"beginning\"\nurl = {:?}\n",
        destination.url()
    ));
    let supervisor = setup.start().await;
    fill(&supervisor, "plain.a", 600).await;
    until("the first results go", || async { first(&supervisor).await > 1 }).await;
    destination.set(|_| Act::ok(""));
    assert_eq!(supervisor.send("plain.a", "next").await, 601);
    until("the newest is taken", || async { destination.taken("plain.a").last() == Some(&601) })
        .await;
    assert!(destination.taken("plain.a").len() < 601);
}

#[tokio::test]
async fn a_journal_stays_below_its_bound() {
    let setup = Setup::new(
        SHORT
            .replace("retention = \"0s\"", "retention = \"30days\"")
            .replace("[journal]", "[journal]\nretention_bytes = \"1 MiB\""),
    );
    let supervisor = setup.start().await;
    fill(&supervisor, "plain.a", 900).await;
    assert_eq!(first(&supervisor).await, 1, "the bound has not been reached");
    let snapshots = || async { supervisor.json("/v1/status").await["snapshots"].as_u64().unwrap() };
    for _ in 0..10 {
        let before = snapshots().await;
        fill(&supervisor, "plain.a", 200).await;
        until("a snapshot is there", || async { snapshots().await > before }).await;
    }
    until("it is below its bound", || async {
        let bytes = supervisor.json("/v1/status").await["journal_bytes"].as_u64().unwrap();
        first(&supervisor).await > 1 && bytes <= 1 << 20
    })
    .await;
    assert!(first(&supervisor).await < 2600, "{} is first", first(&supervisor).await);
}

#[tokio::test]
async fn files_that_were_not_trimmed_are_missed() {
    let setup = Setup::new(SHORT.replace("retention = \"0s\"", "retention = \"1day\""));
    let supervisor = setup.start().await;
    fill(&supervisor, "plain.a", 400).await;
    until("a snapshot is there", || async {
        supervisor.json("/v1/status").await["snapshots"].as_u64().unwrap() > 0
    })
    .await;
    supervisor.kill().await;
    fs::remove_file(setup.data().join("00000001.seg")).unwrap();
    let ended = setup.fail().await;
    assert_eq!(ended.code, Some(1), "{}", ended.stderr);
    assert!(ended.stderr.contains("the files before it are missing"), "{}", ended.stderr);
}
