//! Where numbers stand in requests.

/// A request with a place for a number, `{}`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place {
    pub(super) method: &'static str,
    pub(super) path: &'static str,
    /// More lines of its head.
    pub(super) head: &'static str,
    pub(super) body: &'static str,
}

const fn get(path: &'static str, head: &'static str) -> Place {
    Place { method: "GET", path, head, body: "" }
}

const fn post(path: &'static str, head: &'static str, body: &'static str) -> Place {
    Place { method: "POST", path, head, body }
}

const fn put(path: &'static str, body: &'static str) -> Place {
    Place { method: "PUT", path, head: "", body }
}

const EVENTS: &str = "Accept: text/event-stream\r\n";
const LINES: &str = "Accept: application/x-ndjson\r\n";
const SUBSCRIPTION: &str = "/v1/subscriptions/q";
const WORKER: &str = "/v1/workers/w2";

/// All of them.
pub(super) const PLACES: &[Place] = &[
    // Paths.
    get("/v1/streams/a/messages/{}", ""),
    get("/v1/streams/a/messages/{}/body", ""),
    get("/v1/streams/a/messages/{}/result", ""),
    get("/v1/streams/b/messages/{}", ""),
    post("/v1/streams/b/messages/{}/retry", "", "{}"),
    post("/v1/streams/b/messages/{}/skip", "", "{\"reason\":\"r\"}"),
    post("/v1/streams/b/messages/{}/resolve", "", "r"),
    get("/v1/alerts/{}", ""),
    post("/v1/alerts/{}/acknowledge", "", ""),
    post("/v1/streams/{}/messages", "", "m"),
    // Queries.
    get("/v1/results?after={}", ""),
    get("/v1/results?after={}&limit=1", LINES),
    get("/v1/results?after={}", EVENTS),
    get("/v1/results?limit={}", ""),
    get("/v1/results?limit={}", LINES),
    get("/v1/results?after=0&wait={}", ""),
    get("/v1/results?after=3&wait={}", ""),
    get("/v1/streams/a/results?after={}", ""),
    get("/v1/streams/a/results?after={}", EVENTS),
    get("/v1/streams/a/results?limit={}", LINES),
    get("/v1/streams/a/results?after=3&wait={}", ""),
    get("/v1/streams/none/results?after={}", EVENTS),
    get("/v1/subscriptions/q/results?after={}", ""),
    get("/v1/subscriptions/p/results?after={}", EVENTS),
    get("/v1/subscriptions/q/results?limit={}", ""),
    get("/v1/subscriptions/q/results?wait={}&after=3", LINES),
    get("/v1/parked?after=b/{}", ""),
    get("/v1/parked?limit={}", ""),
    get("/v1/parked?stream=b&after=a/{}&limit=1", ""),
    get("/v1/audit?limit={}", ""),
    get("/v1/streams?limit={}", ""),
    get("/v1/streams?after={}", ""),
    // Heads.
    get("/v1/results", "Accept: text/event-stream\r\nLast-Event-ID: {}\r\n"),
    get("/v1/streams/a/results", "Accept: text/event-stream\r\nLast-Event-ID: {}\r\n"),
    get("/v1/subscriptions/q/results", "Accept: text/event-stream\r\nLast-Event-ID: {}\r\n"),
    get("/v1/results", "Accept: text/event-stream;q={}\r\n"),
    get("/metrics", "Accept: application/openmetrics-text;version=1.0.0;q={}\r\n"),
    post("/v1/streams/a/messages", "Prefer: wait={}\r\n", "m"),
    post("/v1/streams/b/messages", "Prefer: respond-async, wait=\"{}\"\r\n", "m"),
    post("/v1/streams/a/messages", "Idempotency-Key: {}\r\n", "m"),
    post("/v1/streams/a/messages", "Content-Length: {}\r\n", "m"),
    post("/v1/streams/a/messages", "Transfer-Encoding: chunked\r\n", "{}\r\nm\r\n0\r\n\r\n"),
    post(
        "/v1/streams/a/messages",
        "ce-id: {}\r\nce-source: /\r\nce-type: t\r\nce-specversion: {}\r\n",
        "m",
    ),
    post("/v1/streams/a/messages", "traceparent: 00-{}-1-01\r\n", "m"),
    // Bodies.
    post("/v1/streams/a/messages:batch", "Content-Type: application/x-ndjson\r\n", "{}\n{}\n"),
    post(
        "/v1/streams/a/messages",
        "Content-Type: application/cloudevents+json\r\n",
        "{\"id\":\"{}\",\"source\":\"/\",\"type\":\"t\",\"specversion\":\"1.0\",\"data\":{}}",
    ),
    post("/v1/subscriptions/q/checkpoint", "", "{\"position\":{}}"),
    post("/v1/subscriptions/q/rewind", "", "{\"position\":{}}"),
    post("/v1/subscriptions/q/rewind", "", "{\"at\":\"{}-01-01T00:00:00Z\"}"),
    post("/v1/subscriptions/q/rewind", "", "{\"at\":\"2026-01-01T00:00:00.{}Z\"}"),
    post("/v1/subscriptions/r/skip", "", "{\"stream\":\"a\",\"sequence\":{},\"reason\":\"r\"}"),
    post("/v1/parked/retry", "", "{\"limit\":{}}"),
    post("/v1/parked/skip", "", "{\"expect\":{},\"reason\":\"r\",\"limit\":{}}"),
    put(SUBSCRIPTION, "{\"start\":{}}"),
    put(SUBSCRIPTION, "{\"batch\":{}}"),
    put(SUBSCRIPTION, "{\"replay_rate\":{}}"),
    put(SUBSCRIPTION, "{\"timeout\":\"{}\"}"),
    put(SUBSCRIPTION, "{\"timeout\":\"{}ms\"}"),
    put("/v1/subscriptions/r", "{\"url\":\"http://10.0.0.9:{}/\"}"),
    put("/v1/subscriptions/r", "{\"url\":\"http://10.0.0.{}/\",\"start\":\"beginning\"}"),
    put(WORKER, "{\"url\":\"http://10.0.0.9:9000\",\"pool\":\"o\",\"concurrency\":{}}"),
    put(WORKER, "{\"url\":\"http://10.0.0.9:9000\",\"pool\":\"o\",\"link\":{}}"),
    put(WORKER, "{\"url\":\"http://10.0.0.9:{}\",\"pool\":\"o\"}"),
    put("/v1/workers/{}", "{\"url\":\"http://10.0.0.9:9000\",\"pool\":\"o\"}"),
];
