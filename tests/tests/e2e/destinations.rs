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
    // What is taken in after that is durable after that.
    supervisor.send("other", "x").await;
    supervisor.kill().await;
    destination.set(|_| Act::status(200));
    let supervisor = setup.start().await;
    until_at(&supervisor, "all", 5).await;
    assert_eq!(destination.taken("orders"), [1, 2, 3, 4], "what was taken comes no more");
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

/// The sequences of a batch.
fn lines(body: &[u8]) -> Vec<u64> {
    let text = String::from_utf8_lossy(body).into_owned();
    let sequence = |line: &str| {
        let line: Value = serde_json::from_str(line).unwrap();
        assert!(line["id"].is_string(), "each line names its message");
        line["sequence"].as_u64().unwrap()
    };
    text.lines().map(sequence).collect()
}

/// A receiver that drops what comes twice by its key has every result once, whatever became of the
/// request before, and whatever came and was changed meanwhile.
#[tokio::test]
async fn what_comes_again_under_a_batchs_key_is_the_same() {
    let destination = Destination::start().await;
    destination.set(|_| Act::Hang);
    let config = |batch| {
        format!(
            "{AS_IT_IS}[subscriptions.all]\nstart = \"beginning\"\nurl = {:?}\nbatch = {batch}\n",
            destination.url()
        )
    };
    let setup = Setup::new(config(10));
    let supervisor = setup.start().await;
    supervisor.send("orders", "1").await;
    until("it is out", || async { destination.count() == 1 }).await;
    assert_eq!(supervisor.lines("orders", (2..=40).map(|n| json!(n))).await.status, 202);
    supervisor.kill().await;
    destination.set(|one| match one.sequence {
        2 if one.attempt == 1 => Act::status(500),
        12 if one.attempt == 1 => Act::CutOff(Reply::new(200, "lost")),
        _ => Act::status(200),
    });
    setup.configure(config(7));
    let supervisor = setup.start().await;
    until_at(&supervisor, "all", 40).await;
    let (mut keys, mut applied) = (std::collections::BTreeMap::new(), Vec::new());
    for one in destination.deliveries() {
        let content = lines(&one.body);
        assert_eq!(one.header("idempotency-key"), format!("\"{}\"", one.header("webhook-id")));
        assert!(!one.header("webhook-id").contains('.'), "a point parts what is signed");
        match keys.insert(one.key.clone(), content.clone()) {
            Some(before) => assert_eq!(before, content, "{}", one.key),
            None => applied.extend(content),
        }
    }
    assert_eq!(applied, (1..=40).collect::<Vec<_>>());
    assert!(keys.values().any(|content| *content == [1]), "as it was before the crash");
}

#[tokio::test]
async fn a_subscriptions_own_headers_reach_its_destination_and_nobody_else() {
    const CANARY: &str = "Bearer canary-7f3a";
    let destination = Destination::start().await;
    let setup = Setup::new(AS_IT_IS);
    let file = setup.folder().join("secret");
    std::fs::write(&file, "from a file\n").unwrap();
    setup.configure(format!(
        "{AS_IT_IS}[subscriptions.conf]\nurl = {:?}\n\
         headers = {{ Authorization = {CANARY:?}, X-Key = {{ file = {file:?} }} }}\n",
        destination.url()
    ));
    let supervisor = setup.start().await;
    let plan = json!({ "url": destination.url(), "headers": { "X-Api": CANARY } });
    let made = supervisor.put("/v1/subscriptions/made", &plan).await;
    assert_eq!((made.status, &made.json()["headers"]), (201, &json!(["x-api"])));
    supervisor.send("orders", "x").await;
    until("both are there", || async { destination.count() == 2 }).await;
    let check = |all: &[tests::peers::Delivered]| {
        let one = all.iter().find(|one| one.header("x-key") == "from a file").unwrap();
        assert_eq!(one.header("authorization"), CANARY);
        assert!(all.iter().any(|one| one.header("x-api") == CANARY));
    };
    check(&destination.deliveries());
    for path in ["/v1/subscriptions", "/v1/audit", "/v1/status", "/metrics"] {
        assert!(!supervisor.get(path).await.text().contains("canary"), "{path}");
    }
    supervisor.kill().await;
    let supervisor = setup.start().await;
    supervisor.send("orders", "x").await;
    until("both came again", || async { destination.count() == 4 }).await;
    check(&destination.deliveries()[2..]);
    let bad = json!({ "url": destination.url(), "headers": { "webhook-id": "x" } });
    assert_eq!(supervisor.put("/v1/subscriptions/made", &bad).await.status, 400);
}

#[tokio::test]
async fn a_result_is_passed_over_for_one_subscription_and_a_rewind_brings_it_again() {
    let (picky, other) = (Destination::start().await, Destination::start().await);
    picky.set(|one| Act::status(if one.sequence == 2 { 422 } else { 200 }));
    let push = |name: &str, url: String| {
        format!("[subscriptions.{name}]\nstart = \"beginning\"\nurl = {url:?}\n")
    };
    let setup = Setup::new(format!(
        "{AS_IT_IS}{}{}",
        push("picky", picky.url()),
        push("other", other.url())
    ));
    let supervisor = setup.start().await;
    for body in ["1", "2", "3"] {
        supervisor.send("orders", body).await;
    }
    until("it is refused", || async {
        let one = &state(&supervisor, "picky").await["failing_streams"][0];
        one["stream"] == "orders" && one["sequence"] == 2 && one["error"] == "status 422"
    })
    .await;
    let path = "/v1/subscriptions/picky/skip";
    let skip = |sequence: u64| {
        json!({ "stream": "orders", "sequence": sequence, "reason": "it is broken" }).to_string()
    };
    for (body, status) in [(skip(1), 409), (skip(4), 409), ("{}".to_owned(), 400)] {
        assert_eq!(supervisor.post(path, &[], body).await.status, status);
    }
    let answer = supervisor.post(path, &[("rollcall-actor", "ann")], skip(2)).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    until_at(&supervisor, "picky", 3).await;
    until_at(&supervisor, "other", 3).await;
    assert_eq!((picky.taken("orders"), other.taken("orders")), (vec![1, 3], vec![1, 2, 3]));
    assert_eq!(picky.deliveries().last().unwrap().previous, 1, "the step over it shows");
    let audit = supervisor.json("/v1/audit").await.to_string();
    assert!(audit.contains("picky orders/2") && audit.contains("it is broken"), "{audit}");
    picky.set(|_| Act::status(200));
    let count = picky.count();
    let second = supervisor.timeline("orders", 2).await["released_at"].clone();
    let rewind = json!({ "at": second }).to_string();
    let rewound = supervisor.post("/v1/subscriptions/picky/rewind", &[], rewind).await;
    assert_eq!((rewound.status, &rewound.json()["generation"]), (200, &json!(1)));
    until_at(&supervisor, "picky", 3).await;
    let again: Vec<_> = picky.deliveries()[count..]
        .iter()
        .map(|one| (one.sequence, one.header("rollcall-generation").to_owned()))
        .collect();
    assert_eq!(again.last(), Some(&(3, "1".to_owned())));
    assert!(again.contains(&(2, "1".to_owned())), "{again:?}");
}
