//! Destinations that are no good: what they do stops nobody else, and what they took is known.

use std::time::Duration;

use serde_json::{Value, json};
use tests::{
    harness::{Setup, Supervisor, now, until},
    peers::{Act, Destination, Records, Reply, Sink, SinkAct},
};

use crate::ms;

const AS_IT_IS: &str = "[streams.\"*\"]\npool = \"none\"\n";

async fn state(supervisor: &Supervisor, name: &str) -> Value {
    supervisor.json(&format!("/v1/subscriptions/{name}")).await
}

async fn until_at(supervisor: &Supervisor, name: &str, checkpoint: u64) {
    until(&format!("{name} is at {checkpoint}"), || async {
        state(supervisor, name).await["checkpoint"] == checkpoint
    })
    .await;
}

/// What is taken is done, also while what comes behind it hangs; and after a crash it does not
/// come again.
#[tokio::test]
async fn what_is_taken_is_in_the_checkpoint_while_the_next_one_hangs() {
    let destination = Destination::start().await;
    destination.set(|one| if one.sequence == 4 { Act::Hang } else { Act::status(200) });
    let setup = Setup::new(format!(
        "{AS_IT_IS}[subscriptions.all]\nstart = \"beginning\"\nurl = {:?}\n",
        destination.url()
    ));
    let supervisor = setup.start().await;
    assert_eq!(supervisor.lines("orders", (1..=4).map(|n| json!(n))).await.status, 202);
    until_at(&supervisor, "all", 3).await;
    supervisor.kill().await;
    destination.set(|_| Act::status(200));
    let supervisor = setup.start().await;
    until_at(&supervisor, "all", 4).await;
    let seen: Vec<_> = destination.deliveries().iter().map(|one| one.sequence).collect();
    assert_eq!(seen, [1, 2, 3, 4, 4]);
}

/// The same where many records are on their way over one connection.
#[tokio::test]
async fn records_that_were_answered_are_in_the_checkpoint_while_the_next_one_is_not() {
    let act = |count, _: &[u8]| if count >= 3 { SinkAct::Silence } else { SinkAct::Answer };
    let sink = Sink::start(Records::Lines, act).await;
    let setup = Setup::new(format!(
        "{AS_IT_IS}[subscriptions.all]\nstart = \"beginning\"\nurl = \"tcp://{}\"\n",
        sink.address()
    ));
    let supervisor = setup.start().await;
    assert_eq!(supervisor.lines("orders", (1..=9).map(|n| json!(n))).await.status, 202);
    until_at(&supervisor, "all", 3).await;
}

/// A list of URLs is there for redundancy: nothing that the first one says or does keeps the next
/// one from being asked.
#[tokio::test]
async fn whatever_is_wrong_with_one_url_the_next_one_is_asked() {
    let (first, second) = (Destination::start().await, Destination::start().await);
    let secure = first.url().replace("http:", "https:");
    for (name, url) in [("plain", first.url()), ("secure", secure)] {
        let setup = Setup::new(format!(
            "{AS_IT_IS}[subscriptions.all]\nstart = \"beginning\"\nurl = [{url:?}, {:?}]\n",
            second.url()
        ));
        let supervisor = setup.start().await;
        let acts = [
            Act::status(410),
            Act::status(404),
            Act::status(422),
            Act::Answer(Reply::new(308, "").with("location", "http://127.0.0.1:1/")),
            Act::status(500),
            Act::status(503),
            Act::Close,
        ];
        for (sequence, act) in (1..).zip(acts) {
            first.set(move |_| act.clone());
            supervisor.send(name, "x").await;
            until_at(&supervisor, "all", sequence).await;
        }
        let state = state(&supervisor, "all").await;
        assert_eq!((&state["paused"], &state["last_error"]), (&json!(false), &Value::Null));
        assert_eq!(second.taken(name), (1..=7).collect::<Vec<_>>());
    }
}

#[tokio::test]
async fn a_list_of_urls_is_gone_when_all_of_them_say_so() {
    let (first, second) = (Destination::start().await, Destination::start().await);
    first.set(|_| Act::status(410));
    let setup = Setup::new(format!(
        "{AS_IT_IS}[subscriptions.all]\nstart = \"beginning\"\nurl = [{:?}, {:?}]\n",
        first.url(),
        second.url()
    ));
    let supervisor = setup.start().await;
    for sequence in 1..=3 {
        supervisor.send("orders", "x").await;
        until_at(&supervisor, "all", sequence).await;
    }
    assert_eq!(first.count(), 1, "one that is gone is not asked each time");
    second.set(|_| Act::status(410));
    supervisor.send("orders", "x").await;
    until("it is paused", || async { state(&supervisor, "all").await["paused"] == true }).await;
    first.set(|_| Act::status(200));
    let resumed = supervisor.post("/v1/subscriptions/all/resume", &[], "").await;
    assert_eq!(resumed.status, 200);
    until_at(&supervisor, "all", 4).await;
}

/// A destination that keeps its caller busy, or lets it wait, keeps nobody else waiting.
#[tokio::test]
async fn a_destination_that_never_ends_its_answer_delays_no_other() {
    let interim = "HTTP/1.1 100 Continue\r\n\r\n".repeat(200);
    let header = "x: y\r\n".repeat(200);
    for act in [
        Act::Repeat("".into(), interim.into(), Duration::ZERO),
        Act::Repeat("HTTP/1.1 200 OK\r\n".into(), header.into(), Duration::ZERO),
        Act::Repeat("HTTP/1.1 200 OK\r\n".into(), "x".into(), ms(10)),
        Act::Endless,
        Act::Hang,
    ] {
        let (bad, good) = (Destination::start().await, Destination::start().await);
        let acts = act.clone();
        bad.set(move |_| acts.clone());
        let setup = Setup::new(format!(
            "{AS_IT_IS}[subscriptions.bad]\nstreams = [\"bad*\"]\nstart = \"beginning\"\n\
             url = {:?}\ntimeout = \"2s\"\n[subscriptions.good]\nstreams = [\"good\"]\n\
             start = \"beginning\"\nurl = {:?}\n",
            bad.url(),
            good.url()
        ));
        let supervisor = setup.start().await;
        for number in 0..8 {
            supervisor.send(&format!("bad{number}"), "x").await;
        }
        until("all are out", || async { bad.count() >= 8 }).await;
        let began = now();
        for number in 1..=50 {
            supervisor.send("good", "x").await;
            until("it is there", || async { good.taken("good").len() >= number }).await;
        }
        assert!(now() - began < Duration::from_secs(20), "{act:?}");
        until("it is told", || async { state(&supervisor, "bad").await["last_error"].is_string() })
            .await;
    }
}
