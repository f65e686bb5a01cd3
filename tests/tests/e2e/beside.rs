//! What stands beside the bytes of a message or a result is kept and passed on (contract,
//! promise 7): over both ways to a worker, to destinations, and to readers.

use serde_json::{Value, json};
use tests::{
    harness::{Setup, Supervisor, WorkerProcess, until},
    peers::{Act, Call, Delivered, Destination, FakeWorker, Reply, Request},
};

use crate::urls;

const TRACE: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

/// A binary event with a trace.
const EVENT: &[(&str, &str)] = &[
    ("content-type", "application/json"),
    ("ce-specversion", "1.0"),
    ("ce-id", "event-1"),
    ("ce-source", "/shop"),
    ("ce-type", "placed"),
    ("ce-subject", "caf%C3%A9%20%22one%22"),
    ("traceparent", TRACE),
    ("tracestate", "a=b"),
];

fn attributes() -> Value {
    let subject = "café \"one\"";
    json!({
        "specversion": "1.0", "id": "event-1", "source": "/shop", "type": "placed",
        "subject": subject,
    })
}

/// Streams named `plain…` without a processing step, and a destination for all of them.
async fn start(more: &str) -> (Setup, Supervisor, Destination) {
    let destination = Destination::start().await;
    let setup = Setup::new(format!(
        "{more}\n[streams.\"plain*\"]\npool = \"none\"\n[subscriptions.shop]\nurl = {:?}\n\
         start = \"beginning\"\n",
        destination.url()
    ));
    let supervisor = setup.start().await;
    (setup, supervisor, destination)
}

async fn first_of(destination: &Destination, stream: &str) -> Delivered {
    let found = || destination.deliveries().into_iter().find(|one| one.stream == stream);
    until("the destination has it", || async { found().is_some() }).await;
    found().unwrap()
}

async fn result_of(supervisor: &Supervisor, stream: &str) -> Value {
    supervisor.until_released(stream, 1).await;
    let mut page = supervisor.get(&format!("/v1/streams/{stream}/results")).await.json();
    page["results"][0].take()
}

/// That these headers are there, as they are.
fn ensure_headers(request: &Request, headers: &[(&str, &str)]) {
    for (name, value) in headers {
        assert_eq!(request.header(name), *value, "{name}");
    }
}

fn pool(workers: &[&FakeWorker]) -> String {
    format!("[pools.default]\nworkers = {}\n", urls(workers.iter().copied()))
}

#[tokio::test]
async fn an_event_passes_through_a_stream_without_workers_whole() {
    let (setup, supervisor, destination) = start("").await;
    let _ = supervisor.message("plain", EVENT, "{}").await;
    let seen = first_of(&destination, "plain").await;
    ensure_headers(&seen, EVENT);
    let check = async |supervisor: &Supervisor| {
        let result = result_of(supervisor, "plain").await;
        assert_eq!(result["ce"], attributes());
        assert_eq!((&result["traceparent"], &result["tracestate"]), (&json!(TRACE), &json!("a=b")));
        let text = supervisor.get("/v1/results").await.text();
        assert!(text.contains("\"ce\":{\"specversion\":\"1.0\""), "{text}");
        for accept in ["application/x-ndjson", "text/event-stream"] {
            let headers = [("accept", accept)];
            let mut feed = supervisor.client().stream("/v1/results?limit=1", &headers).await;
            let first = String::from_utf8(feed.chunk().await.unwrap().unwrap().to_vec()).unwrap();
            assert!(first.contains("\"id\":\"event-1\"") && first.contains(TRACE), "{first}");
        }
    };
    check(&supervisor).await;
    // What is read back from the journal is the same.
    supervisor.kill().await;
    let supervisor = setup.start().await;
    check(&supervisor).await;
    let wait = [EVENT, &[("prefer", "wait=30")]].concat();
    let answer = supervisor.message("plain-wait", &wait, "{}").await;
    assert_eq!((answer.status, answer.header("ce-type")), (200, "placed"));
    assert_eq!(answer.header("traceparent"), TRACE);
}

#[tokio::test]
async fn a_workers_event_is_its_results_and_is_of_the_messages_trace() {
    let reply = || Reply::new(200, "{}").with("ce-id", "answer-1").with("ce-type", "checked");
    let worker = FakeWorker::start(move |_| Act::Answer(reply())).await;
    let (setup, supervisor, destination) = start(&pool(&[&worker])).await;
    let headers = [EVENT, &[("idempotency-key", "\"the sender's\"")]].concat();
    let _ = supervisor.message("orders", &headers, "{}").await;
    let seen = first_of(&destination, "orders").await;
    ensure_headers(&seen, &[("ce-id", "answer-1"), ("ce-type", "checked"), ("traceparent", TRACE)]);
    // What the worker did not say is not said of its result.
    assert_eq!((seen.header("ce-subject"), seen.header("tracestate")), ("", "a=b"));
    let call = worker.calls().remove(0);
    ensure_headers(&call, EVENT);
    assert_eq!(call.header("rollcall-sender-key"), "the sender's");
    supervisor.kill().await;
    let supervisor = setup.start().await;
    let result = result_of(&supervisor, "orders").await;
    assert_eq!(result["ce"], json!({ "id": "answer-1", "type": "checked" }));
    assert_eq!(result["traceparent"], TRACE);
    let _ = supervisor.message("keyless", EVENT, "{}").await;
    until("the worker is called again", || async { worker.count() == 2 }).await;
    // An event's own source and id are no key of the sender's.
    assert!(!worker.calls()[1].headers.contains_key("rollcall-sender-key"));
}

#[tokio::test]
async fn over_a_link_and_through_a_proxy_it_is_the_same() {
    let reply = || {
        let reply = Reply::new(200, "").with("ce-id", "answer-1").with("content-encoding", "gzip");
        Reply { headers: reply.headers.into_iter().skip(1).collect(), ..reply }
    };
    let service = FakeWorker::start(move |_| Act::Answer(reply())).await;
    let (_setup, supervisor, destination) = start("").await;
    let url = supervisor.client().url().to_owned();
    let service_url = service.url();
    let arguments = ["--supervisor", &url, "--proxy", &service_url, "--id", "one"];
    let worker = WorkerProcess::start(&arguments).await;
    until("it is here", || async {
        !supervisor.json("/v1/workers").await["workers"].as_array().unwrap().is_empty()
    })
    .await;
    let headers = [EVENT, &[("idempotency-key", "k")]].concat();
    let _ = supervisor.message("orders", &headers, "{}").await;
    let _ = supervisor.message("untyped", &[], "").await;
    let seen = first_of(&destination, "orders").await;
    ensure_headers(&seen, &[("ce-id", "answer-1"), ("traceparent", TRACE)]);
    ensure_headers(&seen, &[("content-encoding", "gzip"), ("content-length", "0")]);
    assert!(!seen.headers.contains_key("content-type"), "{seen:?}");
    let result = result_of(&supervisor, "orders").await;
    assert_eq!(result["contentencoding"], "gzip");
    assert_eq!((&result["datacontenttype"], &result["data_base64"]), (&Value::Null, &json!("")));
    let _ = first_of(&destination, "untyped").await;
    let calls = service.calls();
    let call = calls.iter().find(|call| call.stream == "orders").unwrap();
    ensure_headers(call, EVENT);
    assert_eq!(call.header("rollcall-sender-key"), "k");
    let untyped = calls.iter().find(|call| call.stream == "untyped").unwrap();
    assert!(!untyped.headers.contains_key("content-type"), "{untyped:?}");
    assert_eq!(untyped.header("content-length"), "0");
    drop(worker);
}

#[tokio::test]
async fn a_type_that_is_absent_stays_absent_and_nothing_has_a_length() {
    let bare = || Reply { headers: Vec::new(), ..Reply::new(200, "done") };
    let worker = FakeWorker::start(move |_| Act::Answer(bare())).await;
    let (setup, supervisor, destination) = start(&pool(&[&worker])).await;
    let key = [("idempotency-key", "k")];
    let _ = supervisor.message("plain", &key, "").await;
    let _ = supervisor.message("orders", &[], "").await;
    let frames = [("content-type", "application/vnd.rollcall.frames")];
    let path = "/v1/streams/plain-batch/messages:batch";
    let _ = supervisor.post(path, &frames, &b"\0\0\0\x01x"[..]).await;
    for stream in ["plain", "orders", "plain-batch"] {
        let seen = first_of(&destination, stream).await;
        assert!(!seen.headers.contains_key("content-type"), "{stream}: {seen:?}");
        assert_eq!(seen.header("content-length"), seen.body.len().to_string());
        assert_eq!(result_of(&supervisor, stream).await["datacontenttype"], Value::Null);
    }
    let call = worker.calls().remove(0);
    assert!(!call.headers.contains_key("content-type"), "{call:?}");
    assert_eq!(call.header("content-length"), "0");
    // What is not known is not another content than what says that it is not known.
    let typed = [key[0], ("content-type", "application/octet-stream")];
    assert_eq!(supervisor.message("plain", &typed, "").await.json()["duplicate"], true);
    supervisor.kill().await;
    let supervisor = setup.start().await;
    assert_eq!(result_of(&supervisor, "plain").await["datacontenttype"], Value::Null);
}

#[tokio::test]
async fn an_answer_that_can_not_be_kept_whole_is_refused() {
    let twice = |call: &Call| match call.attempt {
        1 => Act::Bytes(
            "HTTP/1.1 200 OK\r\nce-id: 1\r\nce-id: 2\r\ncontent-length: 0\r\n\r\n".into(),
        ),
        _ => Act::ok("done"),
    };
    let worker = FakeWorker::start(twice).await;
    let quick = "[streams.\"*\"]\njitter = \"5ms\"\n";
    let (_setup, supervisor, _destination) = start(&format!("{quick}{}", pool(&[&worker]))).await;
    supervisor.send("orders", "x").await;
    supervisor.until_released("orders", 1).await;
    let attempts = &supervisor.timeline("orders", 1).await["attempts"];
    let detail = attempts[0]["detail"].as_str().unwrap();
    assert!(detail.contains("ce-id is there more than once"), "{detail}");
    assert_eq!(attempts[1]["outcome"], "ok");
}

#[tokio::test]
async fn what_a_person_supplies_is_kept_in_the_same_way() {
    let worker = FakeWorker::start(|_| Act::status(422)).await;
    let (_setup, supervisor, destination) = start(&pool(&[&worker])).await;
    let _ = supervisor.message("orders", EVENT, "{}").await;
    let _ = supervisor.until_state("orders", 1, "parked").await;
    let path = "/v1/streams/orders/messages/1/resolve";
    let resolved = supervisor.post(path, &[("ce-id", "mine")], "done").await;
    assert_eq!(resolved.status, 200, "{}", resolved.text());
    let seen = first_of(&destination, "orders").await;
    ensure_headers(&seen, &[("ce-id", "mine"), ("traceparent", TRACE), ("tracestate", "a=b")]);
    assert!(!seen.headers.contains_key("content-type"), "{seen:?}");
}

#[tokio::test]
async fn results_in_a_batch_say_it_as_json() {
    let (_setup, supervisor, destination) = start("").await;
    supervisor
        .put(
            "/v1/subscriptions/many",
            &json!({
                "url": destination.url(), "streams": ["plain"], "start": "beginning", "batch": 5,
            }),
        )
        .await;
    let _ = supervisor.message("plain", EVENT, "{}").await;
    let batched = || {
        let all = destination.deliveries().into_iter();
        all.into_iter().find(|one| one.header("content-type") == "application/x-ndjson")
    };
    until("the batch is there", || async { batched().is_some() }).await;
    let seen = batched().unwrap();
    let line: Value = serde_json::from_slice(&seen.body).unwrap();
    assert_eq!((&line["ce"], &line["traceparent"]), (&attributes(), &json!(TRACE)));
    assert!(!seen.headers.contains_key("ce-id"), "they are of its lines: {seen:?}");
}
