//! Results out to destinations (contract §5, "Push delivery").

use std::collections::BTreeMap;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use hmac::{Hmac, KeyInit as _, Mac as _};
use serde_json::{Value, json};
use sha2::Sha256;
use tests::{
    harness::{Setup, Supervisor, checker::check_deliveries, until},
    peers::{Act, Delivered, Destination, FakeWorker, Reply},
};

use crate::{ms, urls};

/// Streams whose messages are their own results.
const AS_IT_IS: &str = "[streams.\"*\"]\npool = \"none\"\n";

/// A supervisor that pushes to `destination`, with these further lines for the subscription.
async fn start(config: &str, destination: &Destination, more: &str) -> (Setup, Supervisor) {
    let setup = Setup::new(format!(
        "{config}\n[subscriptions.all]\nstart = \"beginning\"\nurl = {:?}\n{more}\n",
        destination.url() + "/hook?a=b"
    ));
    let supervisor = setup.start().await;
    (setup, supervisor)
}

async fn until_taken(destination: &Destination, stream: &str, count: usize) {
    until(&format!("{count} of {stream}"), || async { destination.taken(stream).len() >= count })
        .await;
}

fn attempts(destination: &Destination, stream: &str) -> Vec<(u64, u64)> {
    let all = destination.deliveries();
    let all = all.iter().filter(|one| one.stream == stream);
    all.map(|one| (one.sequence, one.attempt)).collect()
}

async fn subscription(supervisor: &Supervisor, name: &str) -> Value {
    supervisor.json(&format!("/v1/subscriptions/{name}")).await
}

/// Waits until the supervisor knows that all is delivered. (A destination knows it earlier: its
/// last answer may still be on the way.)
async fn until_done(supervisor: &Supervisor) {
    until("all is done", || async { subscription(supervisor, "all").await["lag"] == 0 }).await;
}

#[tokio::test]
async fn a_delivery_has_every_header_and_a_signature_for_each_secret() {
    let destination = Destination::start().await;
    let keys = ["signed with this key!", "and with this one, too"];
    let secrets: Vec<_> = keys.map(|key| format!("whsec_{}", STANDARD.encode(key))).into();
    let (_setup, supervisor) =
        start(AS_IT_IS, &destination, &format!("secret = {secrets:?}")).await;
    let headers = [("content-type", "application/x-mine; a=b")];
    let accepted = supervisor.message("orders", &headers, &b"a\0b\xff"[..]).await.json();
    until_taken(&destination, "orders", 1).await;
    let one = destination.deliveries().remove(0);
    assert_eq!((&*one.line, &one.body[..]), ("POST /hook?a=b HTTP/1.1", &b"a\0b\xff"[..]));
    let id = accepted["id"].as_str().unwrap();
    for (name, value) in [
        ("content-type", "application/x-mine; a=b"),
        ("webhook-id", id),
        ("idempotency-key", &format!("\"{id}\"")),
        ("rollcall-stream", "orders"),
        ("rollcall-sequence", "1"),
        ("rollcall-position", "1"),
        ("rollcall-previous-sequence", "0"),
        ("rollcall-attempt", "1"),
        ("rollcall-epoch", "1"),
        ("rollcall-replay", "false"),
    ] {
        assert_eq!(one.header(name), value, "{name}");
    }
    let timestamp = one.header("webhook-timestamp");
    let now = std::time::UNIX_EPOCH.elapsed().unwrap().as_secs();
    assert!(now.abs_diff(timestamp.parse().unwrap()) < 60, "{timestamp}");
    let signatures: Vec<_> = keys
        .iter()
        .map(|key| {
            let mut mac = Hmac::<Sha256>::new_from_slice(key.as_bytes()).unwrap();
            mac.update(format!("{id}.{timestamp}.").as_bytes());
            mac.update(&one.body);
            format!("v1,{}", STANDARD.encode(mac.finalize().into_bytes()))
        })
        .collect();
    assert_eq!(one.header("webhook-signature"), signatures.join(" "));
}

/// F-60, with three results that are ready.
#[tokio::test]
async fn the_first_once_then_the_second_until_it_is_taken_then_the_third() {
    let destination = Destination::start().await;
    destination.set(|one| match (one.sequence, one.attempt) {
        (2, 1) => Act::status(500),
        (2, 2) => Act::CutOff(Reply::new(200, "lost on the way")),
        _ => Act::status(204),
    });
    let (_setup, supervisor) = start(AS_IT_IS, &destination, "").await;
    for body in ["one", "two", "three"] {
        supervisor.send("orders", body).await;
    }
    until("its error is shown", || async {
        subscription(&supervisor, "all").await["last_error"] == "status 500"
    })
    .await;
    until_taken(&destination, "orders", 3).await;
    assert_eq!(attempts(&destination, "orders"), [(1, 1), (2, 1), (2, 2), (2, 3), (3, 1)]);
    let deliveries = destination.deliveries();
    check_deliveries(&deliveries);
    let waits: Vec<_> = deliveries.windows(2).map(|pair| pair[1].at - pair[0].at).collect();
    assert!(waits[1] < ms(2500) && waits[2] < ms(4500), "{waits:?}");
}

/// F-59.
#[tokio::test]
async fn what_a_destination_missed_while_it_was_away_comes_in_order_also_over_a_restart() {
    let destination = Destination::start().await;
    let (setup, supervisor) = start(AS_IT_IS, &destination, "").await;
    supervisor.send("orders", "before").await;
    until_done(&supervisor).await;
    destination.go_down();
    for number in 2..=20 {
        supervisor.send("orders", number.to_string()).await;
    }
    until("its error is shown", || async {
        subscription(&supervisor, "all").await["last_error"].is_string()
    })
    .await;
    supervisor.kill().await;
    let supervisor = setup.start().await;
    supervisor.send("orders", "after").await;
    assert_eq!(subscription(&supervisor, "all").await["lag"], 20);
    destination.come_up().await;
    until_taken(&destination, "orders", 21).await;
    check_deliveries(&destination.deliveries());
    until("it is done", || async {
        let state = subscription(&supervisor, "all").await;
        state["lag"] == 0 && state["checkpoint"] == 21 && state["last_error"] == Value::Null
    })
    .await;
}

#[tokio::test]
async fn a_batch_goes_on_after_what_was_taken_of_it() {
    let destination = Destination::start().await;
    destination.set(|one| match one.sequence {
        1 => Act::Answer(Reply::new(500, "").with("rollcall-done", "4")),
        _ => Act::status(200),
    });
    let (_setup, supervisor) = start(AS_IT_IS, &destination, "batch = 10").await;
    destination.go_down();
    let answer = supervisor.lines("orders", (1..=25).map(|number| json!({ "n": number }))).await;
    assert_eq!(answer.status, 202);
    destination.come_up().await;
    until("all taken", || async { subscription(&supervisor, "all").await["checkpoint"] == 25 })
        .await;
    let requests: Vec<Vec<u64>> = destination
        .deliveries()
        .iter()
        .map(|one| {
            assert_eq!(one.header("content-type"), "application/x-ndjson");
            let text = String::from_utf8_lossy(&one.body).into_owned();
            let lines: Vec<Value> =
                text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
            assert!(lines.iter().all(|line| line["data"]["n"] == line["sequence"]));
            lines.iter().map(|line| line["sequence"].as_u64().unwrap()).collect()
        })
        .collect();
    assert_eq!(requests[0], (1..=10).collect::<Vec<_>>());
    assert_eq!(requests[1][0], 5, "{requests:?}");
    assert_eq!(requests[1..].concat(), (5..=25).collect::<Vec<_>>());
    assert!(requests.iter().all(|request| request.len() <= 10), "{requests:?}");
}

#[tokio::test]
async fn gone_pauses_the_subscription_and_no_other() {
    let (gone, other) = (Destination::start().await, Destination::start().await);
    gone.set(|_| Act::status(410));
    let more = format!("[subscriptions.other]\nurl = {:?}", other.url());
    let (_setup, supervisor) = start(AS_IT_IS, &gone, &more).await;
    for number in 1..=3 {
        supervisor.send("orders", "x").await;
        supervisor.send("returns", "x").await;
        until_taken(&other, "orders", number).await;
    }
    until("it is paused", || async { subscription(&supervisor, "all").await["paused"] == true })
        .await;
    assert!(gone.count() <= 2, "once for each stream at most: {}", gone.count());
    assert_eq!(subscription(&supervisor, "other").await["paused"], false);
}

/// F-61.
#[tokio::test]
async fn five_refusals_in_a_row_hold_only_that_stream() {
    let destination = Destination::start().await;
    destination.set(|one| match &one.body[..] {
        b"bad" => Act::status(422),
        _ => Act::status(200),
    });
    let (_setup, supervisor) = start(AS_IT_IS, &destination, "").await;
    for body in ["good", "bad", "behind"] {
        supervisor.send("held", body).await;
    }
    supervisor.send("free", "good").await;
    until("it is held", || async {
        subscription(&supervisor, "all").await["held_streams"] != json!(0)
            && attempts(&destination, "held").len() == 6
    })
    .await;
    supervisor.send("free", "good").await;
    until_taken(&destination, "free", 2).await;
    assert_eq!(attempts(&destination, "held"), [(1, 1), (2, 1), (2, 2), (2, 3), (2, 4), (2, 5)]);
}

#[tokio::test]
async fn a_busy_destination_is_asked_again_when_it_said() {
    let destination = Destination::start().await;
    destination.set(|one| match (&*one.stream, one.attempt) {
        ("a", 1) => Act::Answer(Reply::new(429, "").with("retry-after", "3")),
        ("b", 1) => Act::Answer(Reply::new(503, "").with("retry-after", "2")),
        _ => Act::status(200),
    });
    let (_setup, supervisor) = start(AS_IT_IS, &destination, "").await;
    for (stream, wait) in [("a", 3000), ("b", 2000)] {
        supervisor.send(stream, "x").await;
        until_taken(&destination, stream, 1).await;
        let all = destination.deliveries();
        let all: Vec<_> = all.iter().filter(|one| one.stream == stream).collect();
        assert_eq!(all.len(), 2);
        assert!(all[1].at - all[0].at >= ms(wait - 10), "{:?}", all[1].at - all[0].at);
    }
}

#[tokio::test]
async fn a_list_of_urls_is_tried_in_order() {
    let (first, second) = (Destination::start().await, Destination::start().await);
    let setup = Setup::new(format!(
        "{AS_IT_IS}[subscriptions.all]\nstart = \"beginning\"\nurl = [{:?}, {:?}]\n",
        first.url(),
        second.url()
    ));
    let supervisor = setup.start().await;
    supervisor.send("orders", "one").await;
    until_done(&supervisor).await;
    first.go_down();
    supervisor.send("orders", "two").await;
    until_done(&supervisor).await;
    first.come_up().await;
    supervisor.send("orders", "three").await;
    until_taken(&first, "orders", 2).await;
    assert_eq!((first.taken("orders"), second.taken("orders")), (vec![1, 3], vec![2]));
}

#[tokio::test]
async fn what_was_skipped_is_not_pushed_and_the_next_shows_the_step() {
    let destination = Destination::start().await;
    let worker = FakeWorker::start(|call| match call.sequence {
        2 | 3 => Act::Answer(Reply::new(200, "").with("rollcall-outcome", "skip")),
        _ => Act::ok("done"),
    })
    .await;
    let pool = format!("[pools.default]\nworkers = {}\n", urls([&worker]));
    let (_setup, supervisor) = start(&pool, &destination, "").await;
    for _ in 0..4 {
        supervisor.send("orders", "x").await;
    }
    until_taken(&destination, "orders", 2).await;
    let seen: Vec<_> = destination
        .deliveries()
        .iter()
        .map(|one| (one.sequence, one.previous, one.position))
        .collect();
    assert_eq!(seen, [(1, 0, 1), (4, 1, 4)]);
    until_done(&supervisor).await;
}

/// F-62.
#[tokio::test]
async fn a_stream_that_hangs_or_is_slow_delays_no_other() {
    let destination = Destination::start().await;
    destination.set(|one| match &*one.stream {
        "hanging" => Act::Hang,
        "slow" => Act::ok_after(ms(300), ""),
        _ => Act::status(200),
    });
    let (_setup, supervisor) = start(AS_IT_IS, &destination, "").await;
    for stream in ["hanging", "slow", "slow"] {
        supervisor.send(stream, "x").await;
    }
    for number in 0..100 {
        supervisor.send(&format!("quick-{}", number % 10), "x").await;
    }
    for number in 0..10 {
        until_taken(&destination, &format!("quick-{number}"), 10).await;
    }
    until_taken(&destination, "slow", 2).await;
    check_deliveries(&destination.deliveries());
    let at_once: Vec<Delivered> = destination.deliveries();
    assert_eq!(at_once.iter().filter(|one| one.stream == "hanging").count(), 1);
}

#[tokio::test]
async fn a_destination_that_takes_too_long_gets_it_again() {
    let destination = Destination::start().await;
    destination.set(|one| match one.attempt {
        1 => Act::Hang,
        _ => Act::status(200),
    });
    let (_setup, supervisor) = start(AS_IT_IS, &destination, "timeout = \"200ms\"").await;
    supervisor.send("orders", "x").await;
    until_taken(&destination, "orders", 1).await;
    assert_eq!(attempts(&destination, "orders"), [(1, 1), (1, 2)]);
    check_deliveries(&destination.deliveries());
}

#[tokio::test]
async fn patterns_choose_the_streams_of_a_subscription() {
    let destination = Destination::start().await;
    let more = "streams = [\"orders\", \"customer.*\"]";
    let (_setup, supervisor) = start(AS_IT_IS, &destination, more).await;
    for stream in ["customer.7", "order", "orders", "orders2", "customer", "customer.", "Orders"] {
        supervisor.send(stream, "x").await;
    }
    until("all is done", || async { subscription(&supervisor, "all").await["checkpoint"] == 7 })
        .await;
    let mut streams: Vec<_> =
        destination.deliveries().iter().map(|one| one.stream.clone()).collect();
    streams.sort();
    assert_eq!(streams, ["customer.", "customer.7", "orders"]);
}

#[tokio::test]
async fn a_new_subscription_begins_where_it_says_and_knows_what_is_replay() {
    let all: BTreeMap<_, _> = [("beginning", 1), ("live", 11), ("later", 6)].into();
    let mut destinations = BTreeMap::new();
    let mut config = AS_IT_IS.to_owned();
    let setup = Setup::new(&config);
    let supervisor = setup.start().await;
    for _ in 0..10 {
        supervisor.send("orders", "x").await;
    }
    assert_eq!(supervisor.terminate().await.code, Some(0));
    for name in all.keys() {
        let destination = Destination::start().await;
        let start = if *name == "later" { "5".to_owned() } else { format!("{name:?}") };
        let url = destination.url();
        config.push_str(&format!("[subscriptions.{name}]\nurl = {url:?}\nstart = {start}\n"));
        destinations.insert(*name, destination);
    }
    setup.configure(&config);
    let supervisor = setup.start().await;
    supervisor.send("orders", "live").await;
    for (name, first) in all {
        let destination = &destinations[name];
        until_taken(destination, "orders", 12 - first).await;
        let seen: Vec<_> =
            destination.deliveries().iter().map(|one| (one.position, one.replay)).collect();
        let expected: Vec<_> =
            (first as u64..=11).map(|position| (position, position <= 10)).collect();
        assert_eq!(seen, expected, "{name}");
        until("it is live", || async { subscription(&supervisor, name).await["mode"] == "live" })
            .await;
    }
}
