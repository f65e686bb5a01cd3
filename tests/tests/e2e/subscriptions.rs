//! Subscriptions over the API (contract §5): made, changed, paused, rewound, pulled.

use std::{fs, os::unix::fs::PermissionsExt as _, time::Duration};

use http::Method;
use serde_json::{Value, json};
use tests::{
    harness::{Answer, Setup, Supervisor, checker::check_deliveries, now, until},
    peers::{Act, Delivered, Destination, Reply},
};

use crate::ms;

/// Streams whose messages are their own results.
const AS_IT_IS: &str = "[streams.\"*\"]\npool = \"none\"\n";

const SECRET: &str = "whsec_c2lnbmVkIHdpdGggdGhpcyBrZXkh";

async fn start() -> (Setup, Supervisor) {
    let setup = Setup::new(AS_IT_IS);
    let supervisor = setup.start().await;
    (setup, supervisor)
}

async fn put(supervisor: &Supervisor, name: &str, body: Value) -> Answer {
    supervisor.put(&format!("/v1/subscriptions/{name}"), &body).await
}

async fn order(supervisor: &Supervisor, name: &str, order: &str, body: &Value) -> Answer {
    let headers = [("content-type", "application/json")];
    let path = format!("/v1/subscriptions/{name}/{order}");
    supervisor.post(&path, &headers, body.to_string()).await
}

async fn state(supervisor: &Supervisor, name: &str) -> Value {
    supervisor.json(&format!("/v1/subscriptions/{name}")).await
}

async fn until_state(supervisor: &Supervisor, name: &str, key: &str, value: impl Into<Value>) {
    let value = value.into();
    until(&format!("{key} is {value}"), || async { state(supervisor, name).await[key] == value })
        .await;
}

async fn send(supervisor: &Supervisor, stream: &str, count: u64) {
    let answer = supervisor.lines(stream, (1..=count).map(|number| json!(number))).await;
    assert_eq!(answer.status, 202, "{}", answer.text());
}

fn positions(deliveries: &[Delivered]) -> Vec<(u64, bool)> {
    deliveries.iter().map(|one| (one.position, one.replay)).collect()
}

#[tokio::test]
async fn a_subscription_is_made_changed_and_removed() {
    let (setup, supervisor) = start().await;
    let (first, second) = (Destination::start().await, Destination::start().await);
    send(&supervisor, "orders", 3).await;
    let wanted = json!({ "streams": ["orders"], "url": first.url(), "start": "beginning" });
    let made = put(&supervisor, "out", wanted.clone()).await;
    assert_eq!(made.status, 201, "{}", made.text());
    assert_eq!(made.json()["name"], "out");
    assert_eq!(put(&supervisor, "out", wanted).await.status, 200);
    until_state(&supervisor, "out", "checkpoint", 3).await;
    let shown = state(&supervisor, "out").await;
    for (key, value) in [
        ("mode", json!("live")),
        ("lag", json!(0)),
        ("head", json!(3)),
        ("gap", json!(null)),
        ("start", json!("beginning")),
        ("batch", json!(1)),
        ("paused", json!(false)),
        ("streams", json!(["orders"])),
    ] {
        assert_eq!(shown[key], value, "{key}");
    }
    let changed = json!({ "streams": ["orders"], "url": second.url() });
    assert_eq!(put(&supervisor, "out", changed).await.status, 200);
    supervisor.send("orders", "4").await;
    until_state(&supervisor, "out", "checkpoint", 4).await;
    supervisor.kill().await;
    let supervisor = setup.start().await;
    supervisor.send("orders", "5").await;
    until_state(&supervisor, "out", "checkpoint", 5).await;
    assert_eq!((first.taken("orders"), second.taken("orders")), (vec![1, 2, 3], vec![4, 5]));
    assert_eq!(supervisor.delete("/v1/subscriptions/out").await.status, 204);
    let _ = supervisor.get("/v1/subscriptions/out").await.problem(404);
    let _ = supervisor.delete("/v1/subscriptions/out").await.problem(404);
    supervisor.kill().await;
    let supervisor = setup.start().await;
    assert_eq!(supervisor.json("/v1/subscriptions").await["subscriptions"], json!([]));
}

#[tokio::test]
async fn what_is_wrong_with_a_subscription_is_named() {
    let (_setup, supervisor) = start().await;
    for (body, field) in [
        (json!({ "streems": ["a"] }), "streems"),
        (json!({ "streams": "a/b" }), "streams"),
        (json!({ "url": "ftp://x" }), "url"),
        (json!({ "url": "http://10.0.0.1/x" }), "url"),
        (json!({ "url": ["http://127.0.0.1:1", "http://169.254.169.254/latest"] }), "url"),
        (json!({ "url": "tcp://[::ffff:192.168.0.1]:7" }), "url"),
        (json!({ "secret": "hunter2" }), "secret"),
        (json!({ "start": 7 }), "start"),
        (json!({ "batch": 0 }), "batch"),
    ] {
        let problem = put(&supervisor, "out", body.clone()).await.problem(400);
        if field != "start" {
            assert_eq!(problem["field"], field, "{body}");
        }
        assert!(!problem.to_string().contains("hunter2"));
    }
    let _ = put(&supervisor, "a%20b", json!({})).await.problem(400);
    for (what, body) in [("rewind", json!({ "position": 1 })), ("pause", json!({}))] {
        let _ = order(&supervisor, "out", what, &body).await.problem(404);
    }
}

#[tokio::test]
async fn what_stands_in_the_configuration_is_changed_there() {
    let destination = Destination::start().await;
    let setup =
        Setup::new(format!("{AS_IT_IS}[subscriptions.out]\nurl = {:?}\n", destination.url()));
    let supervisor = setup.start().await;
    let problem = put(&supervisor, "out", json!({ "streams": ["a"] })).await.problem(409);
    assert!(problem["detail"].as_str().unwrap().contains("configuration"));
    let _ = supervisor.delete("/v1/subscriptions/out").await.problem(409);
    assert_eq!(order(&supervisor, "out", "pause", &json!({})).await.json()["paused"], true);
    supervisor.send("orders", "x").await;
    supervisor.kill().await;
    let supervisor = setup.start().await;
    assert_eq!(state(&supervisor, "out").await["paused_reason"], "person");
    assert_eq!(destination.count(), 0);
    assert_eq!(order(&supervisor, "out", "resume", &json!({})).await.status, 200);
    until_state(&supervisor, "out", "checkpoint", 1).await;
}

#[tokio::test]
async fn secrets_sign_and_are_nowhere_to_be_seen() {
    let (setup, supervisor) = start().await;
    let destination = Destination::start().await;
    let body = json!({ "url": destination.url(), "secret": SECRET });
    let made = put(&supervisor, "out", body).await;
    assert_eq!(made.status, 201);
    supervisor.send("orders", "x").await;
    until_state(&supervisor, "out", "checkpoint", 1).await;
    supervisor.kill().await;
    let file = setup.data().join("secrets.json");
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    let supervisor = setup.start().await;
    supervisor.send("orders", "x").await;
    until_state(&supervisor, "out", "checkpoint", 2).await;
    for one in destination.deliveries() {
        assert!(one.header("webhook-signature").starts_with("v1,"), "also after a restart");
    }
    let shown = format!("{}{}", made.text(), state(&supervisor, "out").await);
    assert!(!shown.contains("whsec"), "{shown}");
    let ended = supervisor.terminate().await;
    assert!(!ended.stderr.contains("whsec") && !ended.stdout.contains("whsec"));
    for entry in fs::read_dir(setup.data()).unwrap() {
        let path = entry.unwrap().path();
        if path.is_file() && path != file {
            let bytes = fs::read(&path).unwrap();
            let found = bytes.windows(5).any(|window| window == b"whsec");
            let raw = bytes.windows(21).any(|window| window == b"signed with this key!");
            assert!(!found && !raw, "{}", path.display());
        }
    }
}

/// Pain 20: while results keep coming, a consumer is rebuilt from the start, and the supervisor
/// is killed on the way.
#[tokio::test]
async fn a_rewound_subscription_gets_everything_again_and_goes_over_into_the_present() {
    let (setup, supervisor) = start().await;
    let destination = Destination::start().await;
    let wanted = json!({ "url": destination.url(), "start": "beginning" });
    put(&supervisor, "out", wanted).await;
    send(&supervisor, "orders", 300).await;
    until_state(&supervisor, "out", "checkpoint", 300).await;
    let before = destination.count();
    let rewound = order(&supervisor, "out", "rewind", &json!({ "position": 0 })).await;
    assert_eq!((rewound.status, &rewound.json()["mode"]), (200, &json!("replaying")));
    until("it is on its way", || async { destination.count() > before + 20 }).await;
    supervisor.kill().await;
    let supervisor = setup.start().await;
    send(&supervisor, "orders", 100).await;
    until_state(&supervisor, "out", "checkpoint", 400).await;
    until_state(&supervisor, "out", "mode", "live").await;
    let again = positions(&destination.deliveries()[before..]);
    assert!(again.iter().all(|(position, replay)| *replay == (*position <= 300)), "{again:?}");
    let mut highest = 0;
    for (position, _) in &again {
        assert!(*position <= highest + 1, "{position} after {highest}");
        highest = highest.max(*position);
    }
    assert_eq!((again[0].0, highest), (1, 400));
    let head = order(&supervisor, "out", "rewind", &json!({ "position": 401 })).await.problem(400);
    assert_eq!(head["head"], 400);
    for bad in [json!({}), json!({ "position": -1 }), json!({ "position": 0, "x": 1 })] {
        let _ = order(&supervisor, "out", "rewind", &bad).await.problem(400);
    }
}

#[tokio::test]
async fn gone_pauses_a_subscription_over_restarts_until_it_is_resumed() {
    let (setup, supervisor) = start().await;
    let destination = Destination::start().await;
    destination.set(|_| Act::status(410));
    put(&supervisor, "out", json!({ "url": destination.url() })).await;
    supervisor.send("orders", "x").await;
    until_state(&supervisor, "out", "paused_reason", "gone").await;
    supervisor.kill().await;
    let supervisor = setup.start().await;
    assert_eq!(state(&supervisor, "out").await["paused_reason"], "gone");
    assert_eq!(destination.count(), 1);
    destination.set(|_| Act::status(200));
    order(&supervisor, "out", "resume", &json!({})).await;
    until_state(&supervisor, "out", "checkpoint", 1).await;
    assert_eq!(state(&supervisor, "out").await["paused"], false);
}

#[tokio::test]
async fn a_held_stream_is_tried_again_after_resuming() {
    let (_setup, supervisor) = start().await;
    let destination = Destination::start().await;
    destination.set(|_| Act::status(422));
    put(&supervisor, "out", json!({ "url": destination.url() })).await;
    supervisor.send("orders", "x").await;
    until_state(&supervisor, "out", "held_streams", json!(["orders"])).await;
    assert_eq!(destination.count(), 5);
    destination.set(|_| Act::status(200));
    order(&supervisor, "out", "resume", &json!({})).await;
    until_state(&supervisor, "out", "checkpoint", 1).await;
}

#[tokio::test]
async fn a_pull_subscription_is_read_after_its_checkpoint() {
    let (setup, supervisor) = start().await;
    let wanted = json!({ "streams": ["a.*"], "start": "beginning" });
    for stream in ["a.1", "b", "a.2", "b", "a.1"] {
        supervisor.send(stream, "x").await;
    }
    assert_eq!(put(&supervisor, "in", wanted).await.status, 201);
    supervisor.send("a.2", "x").await;
    let path = "/v1/subscriptions/in/results";
    let read = async |query: &str| {
        let page = supervisor.json(&format!("{path}{query}")).await;
        let all = page["results"].as_array().unwrap().clone();
        let all = all.iter().map(|one| (one["position"].as_u64().unwrap(), one["replay"] == true));
        (all.collect::<Vec<_>>(), page["next"].as_u64().unwrap(), page["caught_up"] == true)
    };
    let all = vec![(1, true), (3, true), (5, true), (6, false)];
    assert_eq!(read("").await, (all.clone(), 6, true));
    assert_eq!(read("").await.0, all, "it reads the same until the checkpoint is moved");
    assert_eq!(read("?limit=2").await, (vec![(1, true), (3, true)], 3, false));
    let moved = order(&supervisor, "in", "checkpoint", &json!({ "position": 3 })).await;
    assert_eq!((moved.status, &moved.json()["checkpoint"]), (200, &json!(3)));
    let _ = order(&supervisor, "in", "checkpoint", &json!({ "position": 7 })).await.problem(400);
    assert_eq!(read("").await.0, [(5, true), (6, false)]);
    let later = async {
        tokio::time::sleep(ms(300)).await;
        supervisor.send("b", "not wanted").await;
        supervisor.send("a.3", "wanted").await;
    };
    let (page, ()) = tokio::join!(read("?after=6&wait=30"), later);
    assert_eq!(page.0, [(8, false)]);
    supervisor.kill().await;
    let supervisor = setup.start().await;
    assert_eq!(state(&supervisor, "in").await["checkpoint"], 3);
    let lines = supervisor.call(Method::GET, path, &[("accept", "application/x-ndjson")], "").await;
    assert_eq!(lines.text().lines().count(), 3);
    let push = Destination::start().await;
    put(&supervisor, "out", json!({ "url": push.url() })).await;
    let _ = order(&supervisor, "out", "checkpoint", &json!({ "position": 1 })).await.problem(409);
}

#[tokio::test]
async fn a_feed_of_a_subscription_says_what_is_replayed() {
    let (_setup, supervisor) = start().await;
    send(&supervisor, "a", 2).await;
    send(&supervisor, "b", 1).await;
    put(&supervisor, "in", json!({ "streams": ["a"], "start": "beginning" })).await;
    let headers = [("accept", "text/event-stream")];
    let mut feed = supervisor.stream("/v1/subscriptions/in/results", &headers).await;
    let mut text = String::new();
    let mut sent = false;
    let started = now();
    while !text.contains("\"position\":4") {
        assert!(started.elapsed() < Duration::from_secs(60), "{text}");
        if text.contains("event: caught-up") && !sent {
            sent = true;
            send(&supervisor, "a", 1).await;
        }
        text.push_str(&String::from_utf8_lossy(&feed.chunk().await.unwrap().unwrap()));
    }
    let marks: Vec<_> = text.matches("\"replay\":true").collect();
    assert_eq!(marks.len(), 2, "{text}");
    assert!(text.contains("id: 4\n") && text.contains("\"replay\":false"), "{text}");
    assert!(!text.contains("\"stream\":\"b\""));
}

/// F-59, and pain 23: what a destination missed drains in order, and not all at once.
#[tokio::test]
async fn a_destination_that_was_away_under_traffic_drains_in_ascending_order() {
    let (_setup, supervisor) = start().await;
    let destination = Destination::start().await;
    put(&supervisor, "out", json!({ "url": destination.url() })).await;
    supervisor.send("s0", "x").await;
    until_state(&supervisor, "out", "checkpoint", 1).await;
    destination.go_down();
    for round in 0..20 {
        for stream in 0..10 {
            supervisor.send(&format!("s{stream}"), format!("{round}")).await;
        }
    }
    until("it is seen to fail", || async {
        state(&supervisor, "out").await["failing_since"].is_string()
    })
    .await;
    destination.come_up().await;
    until_state(&supervisor, "out", "checkpoint", 201).await;
    check_deliveries(&destination.deliveries());
    let well = state(&supervisor, "out").await;
    assert_eq!((&well["failing_since"], &well["last_error"]), (&Value::Null, &Value::Null));
}

/// F-60.
#[tokio::test]
async fn a_result_whose_answer_is_lost_comes_again_with_the_same_key_and_bytes() {
    let (_setup, supervisor) = start().await;
    let destination = Destination::start().await;
    destination.set(|one| match one.attempt {
        1 => Act::Close,
        _ => Act::status(200),
    });
    put(&supervisor, "out", json!({ "url": destination.url() })).await;
    supervisor.send("orders", "x").await;
    until_state(&supervisor, "out", "checkpoint", 1).await;
    let all = destination.deliveries();
    assert!(all.len() >= 2);
    assert!(all.iter().all(|one| (&one.key, &one.body) == (&all[0].key, &all[0].body)));
    check_deliveries(&all);
}

/// F-62.
#[tokio::test]
async fn a_slow_destination_slows_no_other() {
    let (_setup, supervisor) = start().await;
    let (slow, quick) = (Destination::start().await, Destination::start().await);
    slow.set(|_| Act::ok_after(ms(500), ""));
    put(&supervisor, "slow", json!({ "url": slow.url() })).await;
    put(&supervisor, "quick", json!({ "url": quick.url() })).await;
    send(&supervisor, "orders", 200).await;
    until_state(&supervisor, "quick", "checkpoint", 200).await;
    assert!(slow.count() < 100, "{}", slow.count());
}

/// F-61 and F-63: authority that has run out is shown, and not asked again and again.
#[tokio::test]
async fn a_destination_that_sends_elsewhere_or_refuses_is_not_followed_nor_hammered() {
    let (_setup, supervisor) = start().await;
    let (here, there) = (Destination::start().await, Destination::start().await);
    let elsewhere = there.url();
    here.set(move |one| match &*one.stream {
        "moved" => Act::Answer(Reply::new(307, "").with("location", elsewhere.clone())),
        "expired" => Act::status(401),
        _ => Act::status(200),
    });
    put(&supervisor, "out", json!({ "url": here.url() })).await;
    supervisor.send("moved", "x").await;
    until("it says why", || async {
        let state = state(&supervisor, "out").await;
        state["last_error"].as_str().is_some_and(|text| text.contains("redirects"))
    })
    .await;
    supervisor.send("expired", "x").await;
    supervisor.send("fine", "x").await;
    until("the others go on", || async { here.taken("fine").len() == 1 }).await;
    until_state(&supervisor, "out", "held_streams", json!(["expired"])).await;
    let expired: Vec<_> =
        here.deliveries().into_iter().filter(|one| one.stream == "expired").collect();
    assert_eq!(expired.len(), 5);
    assert!(expired.windows(2).all(|pair| pair[1].at - pair[0].at >= ms(490)));
    assert_eq!(there.count(), 0);
}

#[tokio::test]
async fn a_replay_keeps_its_pace_and_live_results_go_on_elsewhere() {
    let (_setup, supervisor) = start().await;
    let (paced, live) = (Destination::start().await, Destination::start().await);
    send(&supervisor, "orders", 40).await;
    put(&supervisor, "live", json!({ "url": live.url() })).await;
    let wanted = json!({ "url": paced.url(), "start": "beginning", "replay_rate": 20 });
    put(&supervisor, "paced", wanted).await;
    send(&supervisor, "orders", 10).await;
    until_state(&supervisor, "live", "checkpoint", 50).await;
    assert_eq!(state(&supervisor, "paced").await["mode"], "replaying");
    until_state(&supervisor, "paced", "checkpoint", 50).await;
    let all = paced.deliveries();
    assert!(all[39].at - all[0].at >= ms(1900), "{:?}", all[39].at - all[0].at);
    check_deliveries(&all);
}

#[tokio::test]
async fn the_command_line_shows_and_rewinds_subscriptions() {
    let (setup, supervisor) = start().await;
    let destination = Destination::start().await;
    put(&supervisor, "out", json!({ "url": destination.url(), "start": "beginning" })).await;
    send(&supervisor, "orders", 5).await;
    until_state(&supervisor, "out", "checkpoint", 5).await;
    let url = supervisor.url();
    let listed = setup.run(&["subscriptions", "--url", url]).await;
    assert!(listed.stdout.contains("out           push  live"), "{}", listed.stdout);
    let listed = setup.run(&["subscriptions", "--url", url, "-o", "json"]).await;
    let value: Value = serde_json::from_str(&listed.stdout).unwrap();
    assert_eq!(value["subscriptions"][0]["name"], "out");
    let rewound = setup.run(&["rewind", "out", "2", "--wait", "--url", url]).await;
    assert_eq!((rewound.code, &*rewound.stdout), (Some(0), "out live, 5 of 5\n"));
    assert_eq!(destination.taken("orders"), [1, 2, 3, 4, 5, 3, 4, 5]);
    let refused = setup.run(&["rewind", "out", "6", "--url", url]).await;
    assert_eq!(refused.code, Some(1));
    assert!(refused.stderr.contains("beyond the head"), "{}", refused.stderr);
}

#[tokio::test]
async fn tail_shows_one_stream_or_all_as_they_are_released() {
    let (setup, supervisor) = start().await;
    send(&supervisor, "orders", 2).await;
    supervisor.until_released("orders", 2).await;
    let url = supervisor.url();
    let mut one = setup.begin(&["tail", "orders", "--after", "1", "--url", url]);
    let mut all = setup.begin(&["tail", "--after", "0", "-o", "json", "--url", url]);
    let _ = one.said("2\tcompleted\t").await;
    let _ = all.said(r#""sequence":2"#).await;
    // It is known to follow when something new comes out; how soon that is, nobody says.
    let mut now = setup.begin(&["tail", "--url", url]);
    let more = async {
        loop {
            supervisor.send("other", "x").await;
            tokio::time::sleep(ms(50)).await;
        }
    };
    tokio::select! {
        _ = now.said("other\t") => {}
        () = more => {}
    }
    let _ = all.said(r#""stream":"other""#).await;
    for process in [one, all, now] {
        process.signal(tests::harness::Signal::TERM);
        let ended = process.ended().await;
        assert!(!ended.stdout.contains("orders\t"), "{}", ended.stdout);
    }
    let missing = setup.run(&["tail", "nothing", "--url", url]).await;
    assert_eq!(missing.code, Some(1));
}
