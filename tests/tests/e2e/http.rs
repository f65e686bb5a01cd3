//! HTTP as others speak it: what balancers, proxies, SDKs and old programs send.

use std::fmt::Write as _;

use serde_json::json;
use tests::{
    harness::{Raw, Setup, exchange, until},
    peers::{Act, FakeWorker},
};

use crate::urls;

const PASSTHROUGH: &str = "[streams.\"*\"]\npool = \"none\"\n";

/// The first line's status, the headers in small letters, and the body of a raw answer.
fn parts(answer: &str) -> (u16, String, String) {
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((answer, ""));
    let status = head.split(' ').nth(1).and_then(|text| text.parse().ok()).unwrap_or_default();
    (status, head.to_ascii_lowercase(), body.to_owned())
}

#[tokio::test]
async fn plain_health_checks_are_answered_without_a_token() {
    let token = "[[tokens]]\nname = \"a\"\nsecret = \"long-enough-to-be-a-secret\"\n\
                 scopes = [\"admin\"]\n";
    let setup = Setup::new(token);
    let supervisor = setup.start().await;
    let url = supervisor.client().url().to_owned();
    for (target, version, allow) in [
        ("/", "1.0", "get,head,options"),
        ("*", "1.0", "get,head,post,put,delete,options"),
        ("/readyz", "1.0", "get,head,options"),
        ("/v1/streams/a/messages", "1.1\r\nHost: x\r\nOrigin: http://y", "post,options"),
        ("/v1/workers/a", "1.1\r\nHost: x", "put,delete,options"),
        ("/nowhere", "1.1\r\nHost: x", "get,head,post,put,delete,options"),
    ] {
        let request = format!("OPTIONS {target} HTTP/{version}\r\nConnection: close\r\n\r\n");
        let (_, answer) = exchange(&url, request).await;
        let (status, head, body) = parts(&answer);
        assert_eq!((status, &*body), (204, ""), "{target}: {answer}");
        assert!(head.contains(&format!("allow: {allow}")), "{target}: {head}");
        assert!(!head.contains("access-control"), "{head}");
    }
    let (status, _) = exchange(&url, "GET /livez HTTP/1.0\r\n\r\n").await;
    assert_eq!(status, 200);
}

#[tokio::test]
async fn what_is_wrong_with_a_head_is_a_problem_too() {
    let setup = Setup::new(PASSTHROUGH);
    let supervisor = setup.start().await;
    let url = supervisor.client().url().to_owned();
    let start = "POST /v1/streams/a/messages HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n";
    let many: String = (0..4000).fold(String::new(), |mut text, n| {
        write!(text, "X-{n}: y\r\n").unwrap();
        text
    });
    for (name, status, bound, request) in [
        ("large", 431, "limit_bytes", format!("{start}X: {}\r\n\r\nx", "y".repeat(500_000))),
        ("many", 431, "limit_headers", format!("{start}{many}\r\nx")),
        ("many and large", 431, "limit_bytes", format!("{start}{many}{many}{many}\r\nx")),
        ("target", 414, "limit_bytes", format!("GET /{} HTTP/1.0\r\n\r\n", "y".repeat(20_000))),
        ("name", 400, "", format!("{start}Bad Header: y\r\n\r\nx")),
        ("no colon", 400, "", format!("{start}nonsense\r\n\r\nx")),
        ("control", 400, "", format!("{start}X-Odd: a\u{1}b\r\n\r\nx")),
        ("two lengths", 400, "", format!("{start}Transfer-Encoding: chunked\r\n\r\nx")),
        ("version", 505, "", "GET / HTTP/2.0\r\n\r\n".to_owned()),
        ("tls", 400, "", "\u{16}\u{3}\u{1}\n\n".to_owned()),
        ("encoding", 501, "", format!("{start}Transfer-Encoding: gzip, chunked\r\n\r\nx")),
    ] {
        let (_, answer) = exchange(&url, request).await;
        let (got, head, body) = parts(&answer);
        assert_eq!(got, status, "{name}: {answer}");
        assert!(head.contains("content-type: application/problem+json"), "{name}: {head}");
        assert!(head.contains("connection: close"), "{name}: {head}");
        let problem: serde_json::Value = serde_json::from_str(&body).unwrap();
        assert_eq!(problem["status"], status);
        assert!(
            ["type", "title", "detail"].iter().all(|key| problem[key].is_string()),
            "{problem}"
        );
        assert!(bound.is_empty() || problem[bound].is_u64(), "{name}: {problem}");
    }
    // It is told behind what came before it.
    let two = "GET /livez HTTP/1.1\r\nHost: x\r\n\r\nGET /livez HTTP/1.1\r\nBad Header: y\r\n\r\n";
    let mut raw = Raw::connect(&url).await;
    raw.send(two).await;
    assert_eq!((raw.answer().await.0, raw.answer().await.0), (200, 400));
}

#[tokio::test]
async fn chunked_requests_may_be_sent_one_behind_the_other() {
    let setup = Setup::new(PASSTHROUGH);
    let supervisor = setup.start().await;
    let head = "POST /v1/streams/a/messages HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n";
    let one = |close: &str, body: &str| {
        format!("{head}{close}\r\n{:x}\r\n{body}\r\n0\r\n\r\n", body.len())
    };
    let large = "y".repeat(100_000);
    let all = [one("", "first"), one("", &large), one("Connection: close\r\n", "third")].concat();
    let mut raw = Raw::connect(supervisor.client().url()).await;
    raw.send(all).await;
    let (answers, _) = raw.read_for(std::time::Duration::from_secs(2)).await;
    assert_eq!(answers.matches("HTTP/1.1 202").count(), 3, "{answers}");
    let results = supervisor.results("a").await;
    let data: Vec<_> = results.iter().map(|result| result["data"].as_str().unwrap()).collect();
    assert_eq!(data, ["first", &large, "third"]);
}

#[tokio::test]
async fn events_of_64_kib_are_taken_in_and_handed_on_whole() {
    let worker = FakeWorker::start(|_| Act::ok("done")).await;
    let setup = Setup::new(format!("[pools.default]\nworkers = {}\n", urls([&worker])));
    let supervisor = setup.start().await;
    let long = "e".repeat(60_000);
    let names: Vec<String> = (0..120).map(|n| format!("ce-ext{n}")).collect();
    let many: Vec<(&str, &str)> = names.iter().map(|name| (&**name, "v")).collect();
    let base = [("ce-specversion", "1.0"), ("ce-type", "t"), ("ce-source", "/s")];
    for (stream, more) in [
        ("long", vec![("ce-id", "1"), ("ce-extra", &*long)]),
        ("id", vec![("ce-id", &*long)]),
        ("many", [vec![("ce-id", "1")], many].concat()),
    ] {
        let headers = [&base[..], &more].concat();
        let sent = supervisor.message(stream, &headers, "{}").await;
        assert_eq!(sent.status, 202, "{stream}: {}", sent.text());
        let again = supervisor.message(stream, &headers, "{}").await;
        assert_eq!(again.json()["duplicate"], true, "{stream}");
        let calls = || worker.calls().into_iter().find(|call| call.stream == stream);
        until("the worker has it", || async { calls().is_some() }).await;
        let call = calls().unwrap();
        for (name, value) in headers {
            assert_eq!(call.header(name), value, "{stream}: {name}");
        }
    }
    let longer = "e".repeat(66_000);
    let over = [&base[..], &[("ce-id", "1"), ("ce-extra", &*longer)]].concat();
    let refused = supervisor.message("over", &over, "{}").await.problem(400);
    assert!(refused["detail"].as_str().unwrap().contains("65536 bytes"), "{refused}");
}

#[tokio::test]
async fn a_batch_that_can_never_fit_is_too_large() {
    let setup = Setup::new("[pools.default]\n[streams.\"*\"]\nmax_backlog = 10\n");
    let supervisor = setup.start().await;
    let lines = |count: u64| (0..count).map(|n| json!(n));
    let refused = supervisor.lines("new", lines(11)).await;
    assert_eq!(refused.header("retry-after"), "");
    assert_eq!(refused.problem(413)["limit_messages"], 10);
    let _ = supervisor.get("/v1/streams/new").await.problem(404);
    assert_eq!(supervisor.lines("old", lines(8)).await.status, 202);
    let later = supervisor.lines("old", lines(5)).await;
    assert_eq!(later.header("retry-after"), "1");
    let later = later.problem(429);
    assert_eq!((&later["limit_messages"], &later["waiting_messages"]), (&json!(10), &json!(8)));
}
