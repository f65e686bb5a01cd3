//! What calls a person, what they decide, and who did what (contract §6).

use http::Method;
use serde_json::{Value, json};
use tests::{
    harness::{Setup, Supervisor, until},
    peers::{Act, Call, FakeWorker},
};

use crate::{ms, urls};

/// Fails "bad", and answers the rest.
fn by_body(call: &Call) -> Act {
    if call.body.starts_with(b"bad") { Act::status(422) } else { Act::ok(call.body.clone()) }
}

async fn start(worker: &FakeWorker) -> (Setup, Supervisor) {
    let setup = Setup::new(format!(
        "[streams.\"*\"]\njitter = \"1ms\"\nmax_attempts = 2\n\
         [streams.\"held.*\"]\nhold_alert_after = \"300ms\"\n\
         [streams.\"nobody.*\"]\npool = \"empty\"\n\
         [pools.default]\nworkers = {}\neject_after = 1000\n[pools.empty]\n",
        urls([worker])
    ));
    let supervisor = setup.start().await;
    (setup, supervisor)
}

async fn alerts(supervisor: &Supervisor) -> Vec<Value> {
    supervisor.json("/v1/alerts").await["alerts"].as_array().unwrap().clone()
}

async fn until_alert(supervisor: &Supervisor, kind: &str, state: &str) -> Value {
    let found = || async {
        let all = alerts(supervisor).await;
        all.into_iter().find(|alert| alert["kind"] == kind && alert["state"] == state)
    };
    until(kind, async || found().await.is_some()).await;
    found().await.unwrap()
}

#[tokio::test]
async fn a_parked_message_has_its_alert_from_firing_to_resolved() {
    let worker = FakeWorker::start(by_body).await;
    let (setup, supervisor) = start(&worker).await;
    assert!(alerts(&supervisor).await.is_empty());
    for body in ["bad", "2", "3"] {
        supervisor.send("orders", body).await;
    }
    let alert = until_alert(&supervisor, "message_parked", "firing").await;
    assert_eq!((&alert["stream"], &alert["sequence"]), (&json!("orders"), &json!(1)));
    assert_eq!((&alert["severity"], &alert["worker"]), (&json!("error"), &Value::Null));
    for field in ["id", "title", "detail", "since"] {
        assert!(alert[field].is_string(), "{field}: {alert}");
    }
    let path = format!("/v1/alerts/{}/acknowledge", alert["id"].as_str().unwrap());
    let who = [("rollcall-actor", "ann"), ("content-type", "application/json")];
    let seen = supervisor.post(&path, &who, r#"{"reason":"on it"}"#).await;
    assert_eq!((seen.status, &seen.json()["state"]), (200, &json!("acknowledged")));
    // It is still there, and still acknowledged, after a crash.
    supervisor.kill().await;
    let supervisor = setup.start().await;
    let alert = until_alert(&supervisor, "message_parked", "acknowledged").await;
    assert_eq!(alert["acknowledged_by"], "ann");
    let resolve = "/v1/streams/orders/messages/1/resolve";
    let by = [("rollcall-actor", "bob"), ("rollcall-reason", "by hand")];
    assert_eq!(supervisor.post(resolve, &by, "one").await.status, 200);
    until_alert(&supervisor, "message_parked", "resolved").await;
    supervisor.until_released("orders", 3).await;
    assert_eq!(
        supervisor.post(&path, &who, "").await.problem(409)["type"],
        "urn:rollcall:problem:alert-resolved"
    );
    let _ = supervisor.post("/v1/alerts/999/acknowledge", &[], "").await.problem(404);
    let _ = supervisor.post("/v1/alerts/x/acknowledge", &[], "").await.problem(404);
    let _ = supervisor.get("/v1/alerts?state=gone").await.problem(400);
    let audit = supervisor.json("/v1/audit").await;
    let acts: Vec<_> = audit["audit"]
        .as_array()
        .unwrap()
        .iter()
        .map(|entry| {
            let text = |name: &str| entry[name].as_str().unwrap().to_owned();
            (text("by"), text("act"), text("on"), text("reason"))
        })
        .collect();
    let entry = |by: &str, act: &str, on: &str, reason: &str| {
        (by.to_owned(), act.to_owned(), on.to_owned(), reason.to_owned())
    };
    let on = format!("alert {}", alert["id"].as_str().unwrap());
    assert_eq!(
        acts,
        [entry("bob", "resolve", "orders/1", "by hand"), entry("ann", "acknowledge", &on, "on it")]
    );
}

#[tokio::test]
async fn parked_messages_go_back_in_bulk() {
    let worker = FakeWorker::start(by_body).await;
    let (_setup, supervisor) = start(&worker).await;
    let lines = (0..600).map(|number| json!(format!("bad {number}")));
    worker.set(|_| Act::status(422));
    assert_eq!(supervisor.lines("orders", lines).await.status, 202);
    supervisor.send("others", "bad").await;
    let parked = async |query: &str| {
        let list = supervisor.json(&format!("/v1/parked?limit=1000{query}")).await;
        list["parked"].as_array().unwrap().len()
    };
    until("all are parked", async || parked("").await == 601).await;
    let retry = async |body: Value| {
        let json = [("content-type", "application/json")];
        supervisor.post("/v1/parked/retry", &json, body.to_string()).await
    };
    let count = async |body: Value| retry(body).await.json()["count"].as_u64().unwrap();
    assert_eq!(count(json!({ "dry_run": true })).await, 601);
    assert_eq!(count(json!({ "dry_run": true, "stream": "orders" })).await, 600);
    assert_eq!(count(json!({ "dry_run": true, "limit": 7 })).await, 7);
    assert_eq!(count(json!({ "dry_run": true, "matching": "nothing like it" })).await, 0);
    assert_eq!(parked("").await, 601, "nothing has happened yet");
    let _ = retry(json!({ "stream": "nothing" })).await.problem(404);
    let _ = retry(json!({ "steam": "orders" })).await.problem(400);
    worker.set(|call| Act::ok(call.body.clone()));
    let wanted = json!({ "stream": "orders", "limit": 10, "reason": "fixed" });
    assert_eq!(count(wanted).await, 10);
    supervisor.until_released("orders", 10).await;
    assert_eq!(count(json!({ "stream": "orders" })).await, 590);
    supervisor.until_released("orders", 600).await;
    assert_eq!((parked("").await, parked("&stream=orders").await), (1, 0));
}

#[tokio::test]
async fn a_pool_without_workers_and_a_held_stream_call_somebody() {
    let worker = FakeWorker::start(by_body).await;
    let (_setup, supervisor) = start(&worker).await;
    supervisor.send("nobody.here", "1").await;
    supervisor.send("held.1", "bad").await;
    let held = until_alert(&supervisor, "stream_held", "firing").await;
    assert_eq!((&held["stream"], &held["sequence"]), (&json!("held.1"), &Value::Null));
    let alert = until_alert(&supervisor, "no_worker", "firing").await;
    assert_eq!(alert["severity"], "critical");
    let registered =
        supervisor.put("/v1/workers/late", &json!({ "url": worker.url(), "pool": "empty" })).await;
    assert_eq!(registered.status, 200);
    until_alert(&supervisor, "no_worker", "resolved").await;
    let skip = "/v1/streams/held.1/messages/1/skip";
    assert_eq!(supervisor.post(skip, &[], r#"{"reason":"old"}"#).await.status, 200);
    until_alert(&supervisor, "stream_held", "resolved").await;
}

#[tokio::test]
async fn the_command_line_shows_alerts_and_sends_parked_messages_back() {
    let worker = FakeWorker::start(by_body).await;
    let (setup, supervisor) = start(&worker).await;
    for body in ["bad", "bad", "3"] {
        supervisor.send("orders", body).await;
    }
    supervisor.until_state("orders", 2, "parked").await;
    until_alert(&supervisor, "message_parked", "firing").await;
    let url = supervisor.url().to_owned();
    let run = async |arguments: &[&str]| {
        let mut all = arguments.to_vec();
        all.extend(["--url", &url]);
        let ended = setup.run(&all).await;
        (ended.code, ended.stdout)
    };
    let (code, out) = run(&["alerts"]).await;
    assert!(
        code == Some(0) && out.contains("message_parked") && out.contains("why orders"),
        "{out}"
    );
    let (_, out) = run(&["alerts", "-o", "json"]).await;
    let shown: Value = serde_json::from_str(&out).unwrap();
    let alert = &shown["alerts"][0];
    assert_eq!(shown["alerts"].as_array().unwrap().len(), 1);
    let told = (&alert["count"], &alert["first"], &alert["last"]);
    assert_eq!(told, (&json!(2), &json!(1), &json!(2)), "all of one stream are one");
    let (code, _) = run(&["alerts", "--acknowledge", "1", "--reason", "seen"]).await;
    assert_eq!(code, Some(0));
    until_alert(&supervisor, "message_parked", "acknowledged").await;
    let (_, out) = run(&["status"]).await;
    assert!(out.contains("2 parked") && out.contains("supervisor why orders"), "{out}");
    let (_, out) = run(&["retry", "orders", "all", "--dry-run"]).await;
    assert_eq!(out.trim(), "2 would be sent back");
    assert_eq!(run(&["retry", "orders", "1", "--dry-run"]).await.0, Some(2));
    assert_eq!(run(&["retry", "orders", "some"]).await.0, Some(2));
    worker.set(|call| Act::ok(call.body.clone()));
    let (_, out) = run(&["retry", "orders", "all", "--reason", "fixed"]).await;
    assert_eq!(out.trim(), "2 sent back");
    supervisor.until_released("orders", 3).await;
    let (_, out) = run(&["alerts"]).await;
    assert_eq!(out, "no alert\n");
    let (_, out) = run(&["alerts", "--all"]).await;
    assert_eq!(out.lines().count(), 2, "{out}");
    let audit = supervisor.json("/v1/audit?limit=1").await;
    assert_ne!(audit["audit"][0]["by"], "", "the command line says who it is");
}

#[tokio::test]
async fn what_has_no_room_is_refused_at_once() {
    let worker = FakeWorker::start(by_body).await;
    let setup = Setup::new(format!(
        "[limits]\nmessage_bytes = 1000\nbatch_bytes = 1000\nintake_bytes = 1000\n\
         [pools.default]\nworkers = {}\n",
        urls([&worker])
    ));
    let supervisor = setup.start().await;
    let body = || {
        reqwest::Body::wrap_stream(futures_util::stream::unfold(0, |sent| async move {
            // The first piece fills most of the room, and the second never comes.
            if sent > 0 {
                std::future::pending::<()>().await;
            }
            Some((Ok::<_, std::io::Error>(vec![b'x'; 900]), sent + 1))
        }))
    };
    let client = rollcall_common::client::Client::new(supervisor.url(), None).unwrap();
    let slow = tests::harness::spawn(async move {
        // One of our own below may take the room just before it: it tries until it is in.
        loop {
            let call = client.call(Method::POST, "/v1/streams/orders/messages").body(body());
            drop(call.send().await);
        }
    });
    let refused = async || {
        let answer = supervisor.message("orders", &[], vec![b'y'; 500]).await;
        answer.status == 503 && answer.header("retry-after") == "1"
    };
    until("it is refused", refused).await;
    let started = tests::harness::now();
    for _ in 0..20 {
        assert!(refused().await);
    }
    assert!(started.elapsed() < ms(2000), "prompt");
    slow.abort();
    let taken = async || supervisor.message("orders", &[], vec![b'y'; 500]).await.status == 202;
    until("there is room again", taken).await;
    let status = supervisor.call(Method::GET, "/v1/status", &[], "").await;
    assert_eq!(status.status, 200);
}

#[tokio::test]
async fn a_skipped_message_is_no_empty_result() {
    let worker = FakeWorker::start(|_| Act::Hang).await;
    let (setup, supervisor) = start(&worker).await;
    let url = supervisor.url().to_owned();
    let waiting = setup.begin(&["send", "orders", "--wait", "50s", "--url", &url]);
    let there = async || supervisor.get("/v1/streams/orders/messages/1").await.status == 200;
    until("it is taken in", there).await;
    let run = async |line: &str| {
        let words: Vec<&str> = line.split(' ').chain(["--url", &url]).collect();
        setup.run(&words).await
    };
    assert_eq!(run("skip orders 1 --reason stocktaking").await.code, Some(0));
    for ended in [waiting.ended().await, run("message orders 1 --result").await] {
        assert_eq!((ended.code, &*ended.stdout), (Some(1), ""));
        let said = "orders/1 was skipped and has no result: stocktaking";
        assert!(ended.stderr.contains(said), "{}", ended.stderr);
    }
    let shown = run("message orders 1").await.stdout;
    assert!(shown.contains("skipped") && shown.contains("stocktaking"), "{shown}");
    assert!(!shown.contains("0 bytes"), "{shown}");
    worker.set(|_| Act::ok("{\"price\":1.50}"));
    let ended = run("send orders --wait 50s -o json").await;
    let value: Value = serde_json::from_str(&ended.stdout).unwrap();
    assert_eq!((ended.code, &value["outcome"]), (Some(0), &json!("completed")));
    assert_eq!(value["sequence"], 2, "{value}");
    assert!(ended.stdout.contains("price"), "{}", ended.stdout);
}
