//! Intake (contract §3): every answer that this version can give.

use serde_json::{Value, json};
use tests::{
    harness::{Setup, Signal, Supervisor, exchange, soon, until},
    peers::{Act, FakeWorker},
};

use crate::{ms, urls};

/// A supervisor with one worker that answers in upper case.
async fn with_worker(config: &str) -> (Setup, Supervisor, FakeWorker) {
    let worker = FakeWorker::upper().await;
    let setup = Setup::new(format!("{config}\n[pools.default]\nworkers = {}\n", urls([&worker])));
    let supervisor = setup.start().await;
    (setup, supervisor, worker)
}

/// A supervisor without any worker.
async fn alone(config: &str) -> (Setup, Supervisor) {
    let setup = Setup::new(config);
    let supervisor = setup.start().await;
    (setup, supervisor)
}

async fn count_of(supervisor: &Supervisor, stream: &str) -> u64 {
    let answer = supervisor.get(&format!("/v1/streams/{stream}")).await;
    if answer.status == 404 {
        return 0;
    }
    answer.json()["next_sequence"].as_u64().unwrap() - 1
}

#[tokio::test]
async fn a_message_is_told_its_place_and_a_repeat_the_same_one() {
    let (_setup, supervisor) = alone("").await;
    let key = [("idempotency-key", "one"), ("content-type", "text/plain")];
    let first = supervisor.message("orders", &key, "hello").await;
    assert_eq!(first.status, 202);
    assert_eq!(first.header("location"), "/v1/streams/orders/messages/1");
    let body = first.json();
    let id = body["id"].as_str().unwrap();
    assert_eq!((id.len(), &id[14..15]), (36, "7"), "a UUIDv7: {id}");
    let expected = json!({
        "stream": "orders", "sequence": 1, "id": id,
        "status_url": "/v1/streams/orders/messages/1",
    });
    assert_eq!(body, expected);
    for spelling in ["one", "\"one\""] {
        let headers = [("idempotency-key", spelling), ("content-type", "text/plain")];
        let again = supervisor.message("orders", &headers, "hello").await;
        assert_eq!((again.status, again.header("location")), (202, first.header("location")));
        assert_eq!(again.json()["duplicate"], true);
        assert_eq!(again.json()["id"], id);
    }
    let other = supervisor.message("orders", &key, "other").await.problem(422);
    assert_eq!(other["sequence"], 1);
    let other_type = [("idempotency-key", "one"), ("content-type", "text/html")];
    let _ = supervisor.message("orders", &other_type, "hello").await.problem(422);
    // Keys are per stream.
    let elsewhere = supervisor.message("returns", &key, "other").await;
    assert_eq!((elsewhere.status, elsewhere.json()["sequence"].as_u64()), (202, Some(1)));
    assert_eq!(count_of(&supervisor, "orders").await, 1);
}

#[tokio::test]
async fn keys_and_repeats_survive_a_restart() {
    let setup = Setup::new("");
    let key = [("idempotency-key", "one")];
    let supervisor = setup.start().await;
    let first = supervisor.message("orders", &key, "hello").await.json();
    supervisor.kill().await;
    let supervisor = setup.start().await;
    let again = supervisor.message("orders", &key, "hello").await.json();
    assert_eq!((&again["id"], &again["duplicate"]), (&first["id"], &json!(true)));
    let _ = supervisor.message("orders", &key, "other").await.problem(422);
}

#[tokio::test]
async fn repeats_that_come_together_become_one_message() {
    let (_setup, supervisor) = alone("").await;
    let client = supervisor.client();
    let sends = (0..20).map(|_| client.message("orders", &[("idempotency-key", "k")], "same"));
    let answers = futures_util::future::join_all(sends).await;
    assert!(answers.iter().all(|answer| answer.status == 202));
    let first: Vec<_> = answers.iter().filter(|one| one.json()["duplicate"] != true).collect();
    assert_eq!(first.len(), 1);
    assert!(answers.iter().all(|one| one.json()["id"] == first[0].json()["id"]));
    assert_eq!(count_of(&supervisor, "orders").await, 1);
}

#[tokio::test]
async fn the_result_comes_back_within_the_wait() {
    let (_setup, supervisor, _worker) = with_worker("").await;
    let wait = [("prefer", "wait=30"), ("content-type", "text/x-mine")];
    let answer = supervisor.message("orders", &wait, "hello").await;
    assert_eq!((answer.status, answer.text().as_str()), (200, "HELLO"));
    assert_eq!(answer.header("rollcall-sequence"), "1");
    assert_eq!(answer.header("rollcall-position"), "1");
    assert_eq!(answer.header("preference-applied"), "wait=30");
    assert_eq!(answer.header("content-type"), "text/plain", "the worker's type");
    // Somebody who asks again with the same key gets the same result.
    let keyed = [("prefer", "respond-async, wait=30"), ("idempotency-key", "k")];
    for _ in 0..2 {
        let answer = supervisor.message("orders", &keyed, "again").await;
        assert_eq!((answer.status, answer.text().as_str()), (200, "AGAIN"));
        assert_eq!(answer.header("rollcall-sequence"), "2");
    }
}

#[tokio::test]
async fn a_wait_that_is_over_gets_the_plain_answer() {
    let (_setup, supervisor) = alone("").await;
    let answer = supervisor.message("orders", &[("prefer", "wait=1")], "hello").await;
    assert_eq!((answer.status, &answer.json()["sequence"]), (202, &json!(1)));
    assert_eq!(answer.header("preference-applied"), "");
    let nonsense = supervisor.message("orders", &[("prefer", "wait=soon")], "hello").await;
    assert_eq!(nonsense.status, 202);
}

#[tokio::test]
async fn what_makes_no_sense_is_refused_and_leaves_nothing() {
    let (_setup, supervisor) = alone("").await;
    let long = "x".repeat(129);
    for name in ["a%20b", "a%00b", "%C3%A4", "..%2Fx", "a*b", &long] {
        let answer = supervisor.message(name, &[], "x").await;
        let _ = answer.problem(400);
    }
    let long_key = "k".repeat(1025);
    for (name, value) in [
        ("idempotency-key", ""),
        ("idempotency-key", "\"half"),
        ("idempotency-key", &long_key),
        ("idempotency-key", "\u{e4}"),
        ("content-type", "\u{e4}"),
        ("ce-specversion", "1.0"),
        ("ce-specversion", "0.3"),
    ] {
        let answer = supervisor.message("orders", &[(name, value)], "x").await;
        assert_eq!(answer.status, 400, "{name}: {value}");
        let _ = answer.problem(400);
    }
    for body in ["", "x", "{}", r#"{"specversion":"1.0","id":"1","type":"t"}"#] {
        let headers = [("content-type", "application/cloudevents+json")];
        let _ = supervisor.message("orders", &headers, body).await.problem(400);
    }
    assert_eq!(count_of(&supervisor, "orders").await, 0);
    let listed = supervisor.json("/v1/streams").await;
    assert_eq!(listed["streams"], json!([]));
}

#[tokio::test]
async fn names_of_every_allowed_kind_are_taken() {
    let (_setup, supervisor) = alone("").await;
    let long = "x".repeat(128);
    for name in ["a", "A.b_c-9", "...", "-", "messages", "create", &long] {
        assert_eq!(supervisor.send(name, "x").await, 1, "{name}");
    }
    // Most clients take these out of a path.
    for name in [".", ".."] {
        let head = format!("POST /v1/streams/{name}/messages HTTP/1.1\r\nHost: x\r\n");
        let (status, text) = exchange(supervisor.url(), head + "Content-Length: 1\r\n\r\nx").await;
        assert_eq!(status, 400, "{text}");
    }
    let encoded = supervisor.message("a%2Eb", &[], "x").await;
    assert_eq!((encoded.status, encoded.json()["stream"].as_str()), (202, Some("a.b")));
}

#[tokio::test]
async fn with_create_never_only_streams_that_are_there_take_messages() {
    let setup = Setup::new("");
    let supervisor = setup.start().await;
    supervisor.send("known", "x").await;
    assert_eq!(supervisor.terminate().await.code, Some(0));
    setup.configure("[streams]\ncreate = \"never\"\n");
    let supervisor = setup.start().await;
    assert_eq!(supervisor.send("known", "x").await, 2);
    let _ = supervisor.message("unknown", &[], "x").await.problem(404);
    let _ = supervisor.lines("unknown", [json!(1)]).await.problem(404);
}

#[tokio::test]
async fn what_is_too_large_is_refused_with_the_limit() {
    let limits = "[limits]\nmessage_bytes = 1000\nbatch_bytes = 3000\n";
    let (_setup, supervisor) = alone(limits).await;
    assert_eq!(supervisor.send("orders", vec![b'x'; 1000]).await, 1);
    let problem = supervisor.message("orders", &[], vec![b'x'; 1001]).await.problem(413);
    assert_eq!(problem["limit_bytes"], 1000);
    let lines = [json!(1), json!("x".repeat(1001)), json!(2)];
    let problem = supervisor.lines("orders", lines).await.problem(413);
    assert_eq!((&problem["line"], &problem["limit_bytes"]), (&json!(2), &json!(1000)));
    let lines = (0..4).map(|_| json!("x".repeat(900)));
    assert_eq!(supervisor.lines("orders", lines).await.problem(413)["limit_bytes"], 3000);
    assert_eq!(count_of(&supervisor, "orders").await, 1);
}

#[tokio::test]
async fn types_that_are_not_taken_are_refused() {
    let (_setup, supervisor) = alone("").await;
    let path = "/v1/streams/orders/messages:batch";
    let _ = supervisor.post(path, &[("content-type", "text/plain")], "x").await.problem(415);
    let _ = supervisor.post(path, &[], "x").await.problem(415);
    for encoding in ["gzip", "br", "identity, gzip"] {
        let headers = [("content-encoding", encoding)];
        let _ = supervisor.message("orders", &headers, "x").await.problem(415);
    }
    assert_eq!(count_of(&supervisor, "orders").await, 0);
}

#[tokio::test]
async fn at_max_backlog_the_sender_is_told_to_come_back() {
    let (_setup, supervisor) = alone("[streams.small]\nmax_backlog = 3\n").await;
    // A batch fits whole or not at all; one that never could is told so.
    let never = supervisor.lines("small", (0..4).map(|n| json!(n))).await.problem(413);
    assert_eq!(never["limit_messages"], 3);
    assert_eq!(count_of(&supervisor, "small").await, 0);
    for number in 1..=3 {
        assert_eq!(supervisor.send("small", "x").await, number);
    }
    let refused = supervisor.message("small", &[], "x").await;
    let _ = refused.problem(429);
    let _ = supervisor.lines("small", (0..3).map(|n| json!(n))).await.problem(429);
    assert!(refused.header("retry-after").parse::<u64>().unwrap() >= 1);
    // Other streams are not concerned; a repeat of what is there is no new message.
    supervisor.send("other", "x").await;
    let worker = FakeWorker::upper().await;
    let registration = json!({ "url": worker.url(), "pool": "default" });
    assert_eq!(supervisor.put("/v1/workers/w", &registration).await.status, 200);
    until("room", || async { supervisor.message("small", &[], "x").await.status == 202 }).await;
}

#[tokio::test]
async fn while_it_drains_nothing_is_taken_in() {
    let worker = FakeWorker::start(|_| Act::ok_after(ms(1500), "late")).await;
    let setup = Setup::new(format!("[pools.default]\nworkers = {}\n", urls([&worker])));
    let supervisor = setup.start().await;
    let client = supervisor.client();
    supervisor.send("orders", "x").await;
    until("the call is out", || async { worker.count() == 1 }).await;
    supervisor.process().signal(Signal::TERM);
    until("it drains", || async { client.get("/readyz").await.status == 503 }).await;
    assert_eq!(client.get("/livez").await.status, 200);
    let refused = client.message("orders", &[], "y").await;
    let _ = refused.problem(503);
    assert_ne!(refused.header("retry-after"), "");
    let _ = client.lines("orders", [json!(1)]).await.problem(503);
    assert_eq!(soon(supervisor.ended()).await.code, Some(0));
    // What was in flight has finished, and is durable.
    let supervisor = setup.start().await;
    assert_eq!(supervisor.results("orders").await[0]["data"], "late");
    assert_eq!(worker.count(), 1);
}

fn event(id: u64) -> Value {
    json!({ "specversion": "1.0", "id": id.to_string(), "source": "/s", "type": "t", "data": id })
}

#[tokio::test]
async fn batches_come_as_lines_frames_or_events() {
    let (_setup, supervisor, worker) = with_worker("").await;
    let lines = supervisor.lines("lines", [json!({"a": 1}), json!("b"), json!(null)]).await;
    let expected = json!({
        "stream": "lines", "first_sequence": 1, "last_sequence": 3, "count": 3,
    });
    assert_eq!((lines.status, lines.json()), (202, expected));
    let path = "/v1/streams/frames/messages:batch";
    let frames = [
        ("content-type", "application/vnd.rollcall.frames"),
        ("rollcall-content-type", "image/x-tiny"),
    ];
    let framed = supervisor.post(path, &frames, &b"\0\0\0\x02hi\0\0\0\x01!"[..]).await;
    assert_eq!((framed.status, &framed.json()["count"]), (202, &json!(2)));
    let events = json!([event(1), event(2)]).to_string();
    let batch = [("content-type", "application/cloudevents-batch+json")];
    for path in ["/v1/streams/events/messages:batch", "/v1/streams/events/messages"] {
        let answer = supervisor.post(path, &batch, events.clone()).await;
        let expected = json!({
            "stream": "events", "first_sequence": 1, "last_sequence": 2, "count": 2,
        });
        assert_eq!((answer.status, answer.json()), (202, expected));
    }
    for (stream, count) in [("lines", 3), ("frames", 2), ("events", 2)] {
        supervisor.until_released(stream, count).await;
    }
    let mut seen: Vec<_> = worker
        .calls()
        .iter()
        .map(|call| {
            let kind = call.header("content-type").to_owned();
            (call.stream.clone(), call.sequence, kind, call.body.clone())
        })
        .collect();
    seen.sort();
    let bodies: Vec<_> = seen.iter().map(|(_, _, _, body)| &body[..]).collect();
    let (one, two) = (event(1).to_string(), event(2).to_string());
    let expected: [&[u8]; 7] =
        [one.as_bytes(), two.as_bytes(), b"hi", b"!", b"{\"a\":1}", b"\"b\"", b"null"];
    assert_eq!(bodies, expected);
    let kinds: Vec<_> = seen.iter().map(|(_, _, kind, _)| &**kind).collect();
    let (event, tiny, json) = ("application/cloudevents+json", "image/x-tiny", "application/json");
    assert_eq!(kinds, [event, event, tiny, tiny, json, json, json]);
}

#[tokio::test]
async fn a_batch_is_taken_whole_or_not_at_all() {
    let (_setup, supervisor) = alone("").await;
    let path = "/v1/streams/orders/messages:batch";
    let cases: [(&str, &[u8]); 7] = [
        ("application/x-ndjson", b"1\n{\n3\n"),
        ("application/x-ndjson", b"\n \n"),
        ("application/x-ndjson", b""),
        ("application/vnd.rollcall.frames", b"\0\0\0\x02hi\0\0\0\x09short"),
        ("application/vnd.rollcall.frames", b"\0\0"),
        ("application/cloudevents-batch+json", b"[{\"specversion\":\"1.0\"}]"),
        ("application/cloudevents-batch+json", b"{}"),
    ];
    for (kind, body) in cases {
        let answer = supervisor.post(path, &[("content-type", kind)], body).await;
        let problem = answer.problem(400);
        if body.starts_with(b"1\n") {
            assert_eq!(problem["line"], 2);
        }
    }
    assert_eq!(count_of(&supervisor, "orders").await, 0);
    // A key that was seen with other content refuses the others too.
    let batch = [("content-type", "application/cloudevents-batch+json")];
    let answer = supervisor.post(path, &batch, json!([event(1)]).to_string()).await;
    assert_eq!(answer.status, 202);
    let mut changed = event(1);
    changed["data"] = json!("other");
    let answer = supervisor.post(path, &batch, json!([event(2), changed]).to_string()).await;
    assert_eq!(answer.problem(422)["index"], 1);
    assert_eq!(count_of(&supervisor, "orders").await, 1);
}

#[tokio::test]
async fn cloud_events_are_known_again_by_source_and_id() {
    let (_setup, supervisor, worker) = with_worker("").await;
    let binary = |id: &'static str| {
        [
            ("ce-specversion", "1.0"),
            ("ce-id", id),
            ("ce-source", "/s"),
            ("ce-type", "t"),
            ("ce-mine", "kept"),
            ("content-type", "text/plain"),
            ("traceparent", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"),
        ]
    };
    for duplicate in [Value::Null, json!(true)] {
        let answer = supervisor.message("binary", &binary("7"), "hello").await;
        assert_eq!((answer.status, &answer.json()["duplicate"]), (202, &duplicate));
    }
    assert_eq!(supervisor.message("binary", &binary("8"), "hello").await.json()["sequence"], 2);
    let structured = [("content-type", "application/cloudevents+json; charset=utf-8")];
    for duplicate in [Value::Null, json!(true)] {
        let answer = supervisor.message("structured", &structured, event(1).to_string()).await;
        assert_eq!((answer.status, &answer.json()["duplicate"]), (202, &duplicate));
    }
    // Within a batch: what is known keeps its sequence, and what stands there twice is one.
    let batch = [("content-type", "application/cloudevents-batch+json")];
    let events = json!([event(1), event(2)]).to_string();
    let path = "/v1/streams/batch/messages:batch";
    assert_eq!(supervisor.post(path, &batch, events).await.json()["last_sequence"], 2);
    let events = json!([event(2), event(3)]).to_string();
    let answer = supervisor.post(path, &batch, events).await.json();
    assert_eq!((&answer["first_sequence"], &answer["last_sequence"]), (&json!(2), &json!(3)));
    for (stream, count) in [("binary", 2), ("structured", 1), ("batch", 3)] {
        supervisor.until_released(stream, count).await;
    }
    let call = worker.calls().into_iter().find(|call| call.stream == "binary").unwrap();
    assert_eq!(call.header("ce-mine"), "kept");
    assert!(call.header("traceparent").starts_with("00-4bf9"));
    assert_eq!(worker.count(), 6);
}
