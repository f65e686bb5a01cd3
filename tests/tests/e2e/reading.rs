//! What people and programs read and decide (contract §5 and §6).

use std::collections::BTreeMap;

use http::Method;
use serde_json::{Value, json};
use tests::{
    harness::{Setup, Supervisor, now, soon, until},
    peers::{Act, Call, FakeWorker, Reply},
};

use crate::{ms, urls};

const QUICK: &str = "[streams.\"*\"]\njitter = \"1ms\"\nmax_attempts = 2\n";

async fn start(worker: &FakeWorker) -> (Setup, Supervisor) {
    let setup = Setup::new(format!(
        "{QUICK}[streams.\"none.*\"]\npool = \"empty\"\n[streams.\"slow.*\"]\njitter = \"1h\"\n\
         [pools.default]\nworkers = {}\neject_after = 1000\n[pools.empty]\n",
        urls([worker])
    ));
    let supervisor = setup.start().await;
    (setup, supervisor)
}

/// Numbers keep their digits, `null` is something, and a file that isn't there is named.
#[tokio::test]
async fn results_are_shown_as_they_are() {
    let setup = Setup::new("[streams.\"*\"]\npool = \"none\"\n");
    let supervisor = setup.start().await;
    let url = supervisor.url().to_owned();
    let run = async |arguments: &[&str]| setup.run(&[arguments, &["--url", &url]].concat()).await;
    let lines = "{\"b\":12345678901234567890.10,\"a\":1e999}\nnull\n\"a\\tb\"\n\"\\ud800\"\n";
    let ndjson = [("content-type", "application/x-ndjson")];
    let sent = supervisor.post("/v1/streams/o/messages:batch", &ndjson, lines).await;
    assert_eq!(sent.status, 202);
    supervisor.until_released("o", 4).await;
    let text = run(&["results", "o"]).await;
    let wanted = "1\tcompleted\t{\"b\":12345678901234567890.10,\"a\":1e999}\n2\tcompleted\tnull\n\
                  3\tcompleted\ta\\tb\n4\tcompleted\t\"\\ud800\"\n";
    assert_eq!((text.code, &*text.stdout), (Some(0), wanted), "{}", text.stderr);
    let json = run(&["results", "o", "-o", "json"]).await;
    let digits = json.stdout.lines().next().unwrap().contains("12345678901234567890.10");
    assert!(digits && json.stdout.lines().count() == 4, "{}", json.stdout);
    let missing = run(&["send", "o", "no-such-file"]).await;
    assert_eq!(missing.code, Some(1));
    assert!(missing.stderr.contains("no-such-file: No such file"), "{}", missing.stderr);
}

/// "bad" is refused for good, "fail" fails, "hang" hangs; the rest is done.
fn by_body(call: &Call) -> Act {
    match &call.body[..] {
        b"bad" => Act::status(422),
        b"fail" => Act::status(500),
        b"hang" => Act::Hang,
        _ => Act::ok(call.body.clone()),
    }
}

fn sequences(page: &Value) -> Vec<u64> {
    let results = page["results"].as_array().unwrap();
    results.iter().map(|result| result["sequence"].as_u64().unwrap()).collect()
}

#[tokio::test]
async fn results_come_in_pages_and_never_past_a_hole() {
    let worker = FakeWorker::start(by_body).await;
    let (_setup, supervisor) = start(&worker).await;
    for body in ["1", "2", "3", "bad", "5"] {
        supervisor.send("orders", body).await;
    }
    supervisor.until_state("orders", 4, "parked").await;
    supervisor.until_state("orders", 5, "completed").await;
    let page = |query: &'static str| {
        let supervisor = &supervisor;
        async move { supervisor.json(&format!("/v1/streams/orders/results{query}")).await }
    };
    let all = page("").await;
    assert_eq!(
        (sequences(&all), &all["next"], &all["caught_up"]),
        (vec![1, 2, 3], &json!(3), &json!(true))
    );
    let first = page("?limit=2").await;
    assert_eq!(
        (sequences(&first), &first["next"], &first["caught_up"]),
        (vec![1, 2], &json!(2), &json!(false))
    );
    let rest = page("?after=2&limit=2").await;
    assert_eq!(
        (sequences(&rest), &rest["next"], &rest["caught_up"]),
        (vec![3], &json!(3), &json!(true))
    );
    let after = page("?after=3").await;
    assert_eq!((sequences(&after), &after["next"]), (vec![], &json!(3)));
    let result = &all["results"][0];
    assert_eq!(
        (&result["position"], &result["stream"], &result["outcome"], &result["attempts"]),
        (&json!(1), &json!("orders"), &json!("completed"), &json!(1))
    );
    assert_eq!((&result["data"], &result["datacontenttype"]), (&json!("1"), &json!("text/plain")));
    for field in ["id", "worker", "accepted_at", "released_at"] {
        assert!(result[field].is_string(), "{field}: {result}");
    }
    for wrong in ["?after=x", "?limit=-1", "?wait=soon"] {
        let path = format!("/v1/streams/orders/results{wrong}");
        let _ = supervisor.get(&path).await.problem(400);
    }
    let _ = supervisor.get("/v1/streams/nothing/results").await.problem(404);
}

#[tokio::test]
async fn a_long_poll_ends_with_the_first_result_or_with_its_time() {
    let worker = FakeWorker::start(by_body).await;
    let (_setup, supervisor) = start(&worker).await;
    supervisor.send("orders", "1").await;
    supervisor.until_released("orders", 1).await;
    let started = now();
    let empty = supervisor.json("/v1/streams/orders/results?after=1&wait=1").await;
    assert_eq!((sequences(&empty), &empty["caught_up"]), (vec![], &json!(true)));
    assert!(started.elapsed() >= ms(1000));
    let started = now();
    let both = async {
        let poll = supervisor.json("/v1/results?after=1&wait=30");
        let stream_poll = supervisor.json("/v1/streams/orders/results?after=1&wait=30");
        tokio::join!(poll, stream_poll)
    };
    let send = async {
        tokio::time::sleep(ms(200)).await;
        supervisor.send("orders", "2").await
    };
    let ((all, stream), _) = tokio::join!(both, send);
    assert_eq!((sequences(&all), sequences(&stream)), (vec![2], vec![2]));
    assert!(started.elapsed() < ms(10_000));
}

#[tokio::test]
async fn lines_are_results_one_by_one() {
    let worker = FakeWorker::start(|call| {
        Act::Answer(
            Reply::new(200, call.body.clone()).with("content-type", call.header("content-type")),
        )
    })
    .await;
    let (_setup, supervisor) = start(&worker).await;
    for (kind, body) in [
        ("application/json", &b"{\"a\":\n1.0}"[..]),
        ("text/plain", b"two\nlines"),
        ("x/y", b"\xff"),
    ] {
        supervisor.message("orders", &[("content-type", kind)], body).await;
    }
    supervisor.until_released("orders", 3).await;
    let headers = [("accept", "application/x-ndjson")];
    let answer = supervisor.call(Method::GET, "/v1/results", &headers, "").await;
    assert_eq!(answer.header("content-type"), "application/x-ndjson");
    let lines: Vec<Value> =
        answer.text().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines.len(), 3);
    assert_eq!(lines[0]["data"], json!({"a": 1.0}));
    assert_eq!(lines[1]["data"], "two\nlines");
    assert_eq!(lines[2]["data_base64"], "/w==");
}

/// Reads a feed until so many events are there.
async fn events(response: &mut reqwest::Response, count: usize) -> Vec<BTreeMap<String, String>> {
    let mut text = String::new();
    let is_event = |block: &&str| !block.trim().is_empty() && !block.starts_with(':');
    loop {
        let whole = text.rfind("\n\n").map_or("", |end| &text[..end]);
        let blocks: Vec<&str> = whole.split("\n\n").filter(is_event).collect();
        if blocks.len() >= count {
            let field = |line: &str| {
                let (name, value) = line.split_once(": ").unwrap();
                (name.to_owned(), value.to_owned())
            };
            return blocks.iter().map(|block| block.lines().map(field).collect()).collect();
        }
        let chunk = soon(response.chunk()).await.unwrap().expect("a feed never ends");
        text.push_str(&String::from_utf8_lossy(&chunk));
    }
}

#[tokio::test]
async fn a_feed_says_once_that_it_has_caught_up_and_resumes_where_it_was() {
    let worker = FakeWorker::start(by_body).await;
    let (_setup, supervisor) = start(&worker).await;
    let feed = ("accept", "text/event-stream");
    let mut empty = supervisor.stream("/v1/results", &[feed]).await;
    assert_eq!(empty.headers()["content-type"], "text/event-stream");
    assert_eq!(events(&mut empty, 1).await[0]["event"], "caught-up");
    // A stream comes into being with its first message; its readers may be there before.
    let mut early = supervisor.stream("/v1/streams/orders/results", &[feed]).await;
    assert_eq!(early.headers()["content-type"], "text/event-stream");
    assert_eq!(events(&mut early, 1).await[0]["event"], "caught-up");
    for body in ["1", "2", "3"] {
        supervisor.send("orders", body).await;
    }
    supervisor.until_released("orders", 3).await;
    for feed in [&mut empty, &mut early] {
        let live = events(feed, 3).await;
        let ids: Vec<_> = live.iter().map(|event| (&*event["id"], event.get("event"))).collect();
        assert_eq!(ids, [("1", None), ("2", None), ("3", None)]);
    }
    let mut stream = supervisor.stream("/v1/streams/orders/results", &[feed]).await;
    let first = events(&mut stream, 4).await;
    let ids: Vec<_> = first.iter().map(|event| &*event["id"]).collect();
    assert_eq!(ids, ["1", "2", "3", "3"]);
    assert_eq!(first[3]["event"], "caught-up");
    let data: Value = serde_json::from_str(&first[1]["data"]).unwrap();
    assert_eq!((&data["sequence"], &data["data"]), (&json!(2), &json!("2")));
    supervisor.send("orders", "4").await;
    let next = events(&mut stream, 1).await;
    assert_eq!((&*next[0]["id"], next[0].get("event")), ("4", None));
    let headers = [feed, ("last-event-id", "3")];
    let mut resumed = supervisor.stream("/v1/streams/orders/results?after=1", &headers).await;
    let resumed = events(&mut resumed, 2).await;
    assert_eq!((&*resumed[0]["id"], &*resumed[1]["event"]), ("4", "caught-up"));
}

#[tokio::test]
async fn a_stream_says_why_it_stands_where_it_stands() {
    let worker = FakeWorker::start(by_body).await;
    let (_setup, supervisor) = start(&worker).await;
    for (stream, body) in [
        ("waiting", "hang"),
        ("parked", "bad"),
        ("slow.retrying", "fail"),
        ("none.here", "x"),
        ("fine", "x"),
    ] {
        supervisor.send(stream, body).await;
    }
    supervisor.until_state("parked", 1, "parked").await;
    supervisor.until_state("slow.retrying", 1, "retrying").await;
    supervisor.until_state("waiting", 1, "dispatched").await;
    supervisor.until_released("fine", 1).await;
    assert_eq!(supervisor.post("/v1/streams/fine/pause", &[], "").await.status, 200);
    supervisor.send("fine", "y").await;
    for (stream, cause) in [
        ("waiting", "waiting"),
        ("parked", "parked"),
        ("slow.retrying", "retrying"),
        ("none.here", "no_worker"),
        ("fine", "paused"),
    ] {
        let path = format!("/v1/streams/{stream}");
        until(cause, || async { supervisor.json(&path).await["head"]["cause"] == cause }).await;
        let shown = supervisor.json(&path).await;
        let released = shown["released"].as_u64().unwrap();
        assert_eq!(shown["head"]["sequence"], released + 1, "{shown}");
        assert!(shown["head"]["age_ms"].is_u64(), "{shown}");
    }
    let all = supervisor.json("/v1/streams").await;
    let names: Vec<_> =
        all["streams"].as_array().unwrap().iter().map(|one| &one["stream"]).collect();
    assert_eq!(names, ["fine", "none.here", "parked", "slow.retrying", "waiting"]);
    let page = supervisor.json("/v1/streams?limit=2&after=fine").await;
    assert_eq!(
        (&page["streams"][0]["stream"], &page["next"]),
        (&json!("none.here"), &json!("parked"))
    );
    assert_eq!(supervisor.json("/v1/streams/waiting").await["in_flight"], 1);
    let status = supervisor.json("/v1/status").await;
    let mut stuck: Vec<_> =
        status["stuck"].as_array().unwrap().iter().map(|one| one["cause"].as_str()).collect();
    stuck.sort_unstable();
    assert_eq!(stuck, [Some("no_worker"), Some("parked"), Some("paused")]);
    assert_eq!(
        (&status["accepted"], &status["parked"], &status["phase"]),
        (&json!(6), &json!(1), &json!("running"))
    );
}

#[tokio::test]
async fn a_decision_fills_the_messages_own_place() {
    let worker = FakeWorker::start(by_body).await;
    let (_setup, supervisor) = start(&worker).await;
    for stream in ["a", "b", "c"] {
        for body in ["bad", "behind"] {
            supervisor.send(stream, body).await;
        }
        supervisor.until_state(stream, 1, "parked").await;
        supervisor.until_state(stream, 2, "completed").await;
    }
    let parked = supervisor.json("/v1/parked?stream=b").await["parked"].clone();
    assert_eq!(parked.as_array().unwrap().len(), 1);
    let one = &parked[0];
    assert_eq!(
        (&one["stream"], &one["sequence"], &one["waiting_behind"]),
        (&json!("b"), &json!(1), &json!(1))
    );
    assert!(one["parked_at"].is_string() && one["id"].is_string() && one["reason"].is_string());
    assert_eq!(supervisor.json("/v1/parked").await["parked"].as_array().unwrap().len(), 3);
    // Resolve: the body is the result.
    let text = [("content-type", "text/plain")];
    let resolved = supervisor.post("/v1/streams/a/messages/1/resolve", &text, "by hand").await;
    assert_eq!(resolved.status, 200);
    supervisor.until_released("a", 2).await;
    let results = supervisor.results("a").await;
    assert_eq!(
        (&results[0]["outcome"], &results[0]["data"]),
        (&json!("resolved"), &json!("by hand"))
    );
    assert_eq!(results[1]["data"], "behind");
    // Skip: with a reason.
    let path = "/v1/streams/b/messages/1/skip";
    let _ = supervisor.post(path, &[], "").await.problem(400);
    let reason = json!({ "reason": "not needed" }).to_string();
    assert_eq!(supervisor.post(path, &[], reason.clone()).await.status, 200);
    supervisor.until_released("b", 2).await;
    let results = supervisor.results("b").await;
    assert_eq!(
        (&results[0]["outcome"], &results[0]["reason"]),
        (&json!("skipped"), &json!("not needed"))
    );
    // Retry: as the worker is better now, with its attempts counted anew.
    worker.set(|_| Act::ok("good"));
    assert_eq!(supervisor.post("/v1/streams/c/messages/1/retry", &[], "").await.status, 200);
    supervisor.until_released("c", 2).await;
    assert_eq!(supervisor.results("c").await[0]["data"], "good");
    assert_eq!(worker.calls().last().unwrap().header("rollcall-reason"), "manual");
    // What is not parked can't be decided on.
    for decision in ["retry", "resolve", "skip"] {
        let body = if decision == "skip" { reason.clone() } else { String::new() };
        let path = format!("/v1/streams/a/messages/1/{decision}");
        let _ = supervisor.post(&path, &[], body.clone()).await.problem(409);
        let path = format!("/v1/streams/a/messages/99/{decision}");
        let _ = supervisor.post(&path, &[], body.clone()).await.problem(404);
        let path = format!("/v1/streams/unknown/messages/1/{decision}");
        let _ = supervisor.post(&path, &[], body).await.problem(404);
    }
    assert_eq!(supervisor.json("/v1/parked").await["parked"], json!([]));
}

#[tokio::test]
async fn a_paused_stream_takes_in_and_neither_dispatches_nor_releases() {
    let worker = FakeWorker::start(|call| Act::ok_after(ms(300), call.body.clone())).await;
    let (setup, supervisor) = start(&worker).await;
    supervisor.send("orders", "out").await;
    until("it is out", || async { worker.count() == 1 }).await;
    assert_eq!(supervisor.post("/v1/streams/orders/pause", &[], "").await.json()["paused"], true);
    supervisor.send("orders", "kept").await;
    supervisor.until_state("orders", 1, "completed").await;
    // Other streams go on; a restart changes nothing.
    supervisor.send("other", "x").await;
    supervisor.until_released("other", 1).await;
    supervisor.kill().await;
    let supervisor = setup.start().await;
    supervisor.send("other", "y").await;
    supervisor.until_released("other", 2).await;
    assert_eq!(supervisor.json("/v1/streams/orders").await["paused"], true);
    assert_eq!(supervisor.results("orders").await, Vec::<Value>::new());
    assert!(worker.calls().iter().all(|call| &call.body[..] != b"kept"));
    assert_eq!(supervisor.post("/v1/streams/orders/resume", &[], "").await.status, 200);
    supervisor.until_released("orders", 2).await;
    let _ = supervisor.post("/v1/streams/unknown/pause", &[], "").await.problem(404);
}

#[tokio::test]
async fn a_timeline_tells_every_attempt() {
    let worker = FakeWorker::start(|call| match call.attempt {
        1 => Act::Answer(Reply::new(500, "").with("rollcall-reason", "no mood")),
        _ => Act::ok("done"),
    })
    .await;
    let (_setup, supervisor) = start(&worker).await;
    supervisor.send("orders", "x").await;
    let timeline = supervisor.until_state("orders", 1, "released").await;
    let attempts = timeline["attempts"].as_array().unwrap();
    assert_eq!(attempts.len(), 2);
    assert_eq!(
        (&attempts[0]["status"], &attempts[0]["detail"], &attempts[0]["reason"]),
        (&json!(500), &json!("no mood"), &json!("first"))
    );
    assert_eq!((&attempts[1]["status"], &attempts[1]["reason"]), (&json!(200), &json!("retry")));
    for attempt in attempts {
        assert_eq!(attempt["worker"], worker.url());
        assert!(attempt["started_at"].is_string() && attempt["ended_at"].is_string());
    }
    assert_eq!((&timeline["position"], &timeline["stream"]), (&json!(1), &json!("orders")));
    for path in ["orders/messages/2", "unknown/messages/1"] {
        let _ = supervisor.get(&format!("/v1/streams/{path}")).await.problem(404);
    }
    for sequence in ["0", "x", "-1", "99999999999999999999999"] {
        let path = format!("/v1/streams/orders/messages/{sequence}");
        let _ = supervisor.get(&path).await.problem(400);
    }
}

#[tokio::test]
async fn health_figures_and_paths_that_are_not_there() {
    let worker = FakeWorker::upper().await;
    let (_setup, supervisor) = start(&worker).await;
    for path in ["/livez", "/readyz", "/", "/v1/status", "/v1/workers", "/v1/subscriptions"] {
        assert_eq!(supervisor.get(path).await.status, 200, "{path}");
    }
    supervisor.send("orders", "x").await;
    supervisor.until_released("orders", 1).await;
    let metrics = supervisor.get("/metrics").await;
    assert!(metrics.header("content-type").contains("text"), "{}", metrics.header("content-type"));
    for line in metrics.text().lines().filter(|line| !line.starts_with('#')) {
        let (name, value) = line.rsplit_once(' ').unwrap();
        assert!(name.starts_with("rollcall_"), "{line}");
        assert!(value.parse::<f64>().is_ok(), "{line}");
    }
    assert_eq!(supervisor.metric("rollcall_released_total").await, 1);
    for path in ["/nothing", "/v1", "/v1/streams/a/b", "/v1/subscriptions/nothing"] {
        let _ = supervisor.get(path).await.problem(404);
    }
    let _ = supervisor.delete("/v1/streams").await.problem(405);
    let wrong = supervisor.get("/v1/streams/orders/messages").await;
    assert!(wrong.header("allow").contains("POST"), "{:?}", wrong.headers);
    let _ = wrong.problem(405);
}
