//! Bytes that no good client sends: each gets its refusal, the connection's state stays clean,
//! and nothing of it is journaled (faults I: F-86, F-87).

use std::time::Duration;

use tests::{
    harness::{Raw, Setup, Supervisor, exchange, now, until},
    peers::{Act, Destination, FakeWorker, Reply},
};

use crate::{ms, urls};

/// A request for one message on the stream `hard`, with these header lines and body.
fn request(headers: &str, body: &str) -> String {
    format!("POST /v1/streams/hard/messages HTTP/1.1\r\nHost: x\r\n{headers}\r\n{body}")
}

async fn start() -> (Setup, Supervisor) {
    let setup = Setup::new("");
    let supervisor = setup.start().await;
    (setup, supervisor)
}

async fn assert_nothing_was_taken(supervisor: &Supervisor) {
    let answer = supervisor.get("/v1/streams/hard").await;
    assert_eq!(answer.status, 404, "{}", answer.text());
}

#[tokio::test]
async fn requests_that_can_be_read_in_two_ways_are_refused() {
    let (_setup, supervisor) = start().await;
    let chunked = "Transfer-Encoding: chunked\r\n";
    let cases = [
        request(&format!("Content-Length: 5\r\n{chunked}"), "0\r\n\r\n"),
        request(&format!("{chunked}Content-Length: 5\r\n"), "0\r\n\r\n"),
        // The request's first line stands in it again.
        request(
            &format!(
                "Content-Length: 5\r\n{chunked}X: POST /v1/streams/hard/messages HTTP/1.1\r\n"
            ),
            "0\r\n\r\n",
        ),
        request("Host: y\r\nContent-Length: 1\r\n", "x"),
        request("Content-Length: 1\r\nContent-Length: 2\r\n", "xy"),
        request("Content-Length: +4\r\n", "xxxx"),
        request("Content-Length: -1\r\n", "x"),
        request("Content-Length: 0x4\r\n", "xxxx"),
        request("Content-Length: 99999999999999999999999\r\n", "x"),
        request("Content-Length: 1, 2\r\n", "x"),
        request("Transfer-Encoding: gzip\r\n", "x"),
        request("Transfer-Encoding: chunked, gzip\r\n", "0\r\n\r\n"),
        request("Content-Length : 1\r\n", "x"),
        request("Content-Length: 1\r\nX-Nul: a\0b\r\n", "x"),
        request("Content-Length: 1\r\nX-Folded: a\r\n b\r\n", "x"),
        request("Content-Length: 1\r\nX Y: a\r\n", "x"),
        request("Content-Length: 1\r\nno colon at all\r\n", "x"),
        "POST /v1/streams/hard/messages HTTP/1.1\r\nContent-Length: 1\r\n\r\nx".to_owned(),
        format!("POST /v1/streams/hard/messages HTTP/1.0\r\nHost: x\r\n{chunked}\r\n0\r\n\r\n"),
        "nonsense\r\n\r\n".to_owned(),
    ];
    for case in cases {
        let (status, text) = exchange(supervisor.url(), &case).await;
        assert_eq!(status, 400, "{case:?}: {text}");
    }
    let case = "POST /v1/streams/hard/messages HTTP/3.7\r\nHost: x\r\n\r\n";
    let (status, text) = exchange(supervisor.url(), case).await;
    assert_eq!(status, 505, "{case:?}: {text}");
    assert_nothing_was_taken(&supervisor).await;
}

#[tokio::test]
async fn heads_have_a_largest_size() {
    let (_setup, supervisor) = start().await;
    let long = format!("X-Long: {}\r\nContent-Length: 1\r\n", "x".repeat(100_000));
    let many = "X-Many: 1\r\n".repeat(301) + "Content-Length: 1\r\n";
    for headers in [long, many] {
        let (status, text) = exchange(supervisor.url(), request(&headers, "x")).await;
        assert!(status == 431 || status == 400, "{status}: {text}");
    }
    let target = format!("GET /{} HTTP/1.1\r\nHost: x\r\n\r\n", "x".repeat(100_000));
    let (status, text) = exchange(supervisor.url(), target).await;
    assert!([400, 414, 431].contains(&status), "{status}: {text}");
    assert_nothing_was_taken(&supervisor).await;
    // Three hundred are allowed.
    let many = "X-Many: 1\r\n".repeat(298) + "Content-Length: 1\r\n";
    assert_eq!(exchange(supervisor.url(), request(&many, "x")).await.0, 202);
}

#[tokio::test]
async fn half_a_body_is_no_message() {
    let (_setup, supervisor) = start().await;
    let url = supervisor.url();
    // Cut off before it was whole, in both ways to say how long it is.
    for cut in [
        request("Content-Length: 10\r\n", "half"),
        request("Transfer-Encoding: chunked\r\n", "4\r\nhalf\r\n"),
        request("Transfer-Encoding: chunked\r\n", "a\r\nhalf"),
    ] {
        let mut raw = Raw::connect(url).await;
        raw.send(&cut).await;
        raw.finish().await;
        let (text, closed) = raw.read_for(Duration::from_secs(5)).await;
        assert!(closed, "{cut:?}: {text}");
        assert!(!text.contains(" 202 "), "{cut:?}: {text}");
    }
    for malformed in
        ["x\r\nhalf\r\n0\r\n\r\n", "4\r\nhalfandmore\r\n", "-1\r\n", "fffffffffffffffff\r\n"]
    {
        let bytes = request("Transfer-Encoding: chunked\r\n", malformed);
        let (status, text) = exchange(url, &bytes).await;
        assert_eq!(status, 400, "{malformed:?}: {text}");
    }
    assert_nothing_was_taken(&supervisor).await;
}

/// HTTP/1.0 knows no Host header, and load balancers ask in it whether somebody is there.
#[tokio::test]
async fn the_oldest_clients_need_no_host() {
    let (_setup, supervisor) = start().await;
    let (status, text) = exchange(supervisor.url(), "GET /readyz HTTP/1.0\r\n\r\n").await;
    assert_eq!(status, 200, "{text}");
    let one = "POST /v1/streams/old/messages HTTP/1.0\r\nContent-Length: 3\r\n\r\none";
    assert_eq!(exchange(supervisor.url(), one).await.0, 202);
    let two = "GET /readyz HTTP/1.0\r\nHost: a\r\nHost: b\r\n\r\n";
    assert_eq!(exchange(supervisor.url(), two).await.0, 400);
}

/// Who sends all of it before it reads is told so too, instead of losing the connection.
#[tokio::test]
async fn a_body_that_nobody_wants_does_not_cost_the_answer() {
    let (_setup, supervisor) = start().await;
    let body = "x".repeat(30 << 20);
    let announced = format!("Content-Length: {}\r\n", body.len());
    let chunked = format!("{:x}\r\n{body}\r\n0\r\n\r\n", body.len());
    for bytes in [request(&announced, &body), request("Transfer-Encoding: chunked\r\n", &chunked)] {
        let mut raw = Raw::connect(supervisor.url()).await;
        assert!(raw.try_send(&bytes).await, "all of it is taken");
        let (status, text) = raw.answer().await;
        assert_eq!(status, 413, "{text}");
        let (text, closed) = raw.read_for(Duration::from_secs(5)).await;
        assert!(closed && text.is_empty(), "{text}");
    }
    assert_nothing_was_taken(&supervisor).await;
}

#[tokio::test]
async fn other_protocols_are_turned_away() {
    let (_setup, supervisor) = start().await;
    let hello =
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\r\n\r\n";
    let preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";
    for bytes in [&hello[..], preface, b"\0\0\0\0\r\n\r\n", b"\x80\xff\xfe\r\n\r\n"] {
        let mut raw = Raw::connect(supervisor.url()).await;
        raw.send(bytes).await;
        let (text, closed) = raw.read_for(Duration::from_secs(5)).await;
        assert!(closed, "{bytes:?}: {text}");
        let status = text.get(..12).unwrap_or_default();
        assert!(["HTTP/1.1 400", "HTTP/1.1 505"].contains(&status), "{text}");
    }
    assert_eq!(supervisor.get("/livez").await.status, 200);
    assert_eq!(supervisor.json("/v1/streams").await["streams"], serde_json::json!([]));
}

#[tokio::test]
async fn whatever_way_of_saying_it_is_right_is_taken() {
    let (_setup, supervisor) = start().await;
    let mut raw = Raw::connect(supervisor.url()).await;
    // Pipelined: answered in order, on the same connection.
    let two = request("Content-Length: 3\r\n", "one") + &request("Content-Length: 3\r\n", "two");
    raw.send(two).await;
    for sequence in ["\"sequence\":1", "\"sequence\":2"] {
        let (status, text) = raw.answer().await;
        assert!(status == 202 && text.contains(sequence), "{text}");
    }
    let chunked = "2;ext=1\r\nth\r\n3\r\nree\r\n0\r\nTrailer: x\r\n\r\n";
    raw.send(request("Transfer-Encoding: chunked\r\nTrailer: Trailer\r\n", chunked)).await;
    assert_eq!(raw.answer().await.0, 202);
    // Who asks first is told to go on.
    raw.send(request("Content-Length: 4\r\nExpect: 100-continue\r\n", "")).await;
    assert_eq!(raw.answer().await.0, 100);
    raw.send("four").await;
    assert_eq!(raw.answer().await.0, 202);
    // One byte at a time.
    for byte in request("Content-Length: 4\r\n", "five").bytes() {
        raw.send([byte]).await;
    }
    assert_eq!(raw.answer().await.0, 202);
    // Who is done sending still gets an answer.
    raw.send(request("Content-Length: 3\r\n", "six")).await;
    raw.finish().await;
    assert_eq!(raw.answer().await.0, 202);
    assert_eq!(supervisor.json("/v1/streams/hard").await["next_sequence"], 7);
}

#[tokio::test]
async fn garbage_after_a_request_is_not_part_of_it() {
    let (_setup, supervisor) = start().await;
    let mut raw = Raw::connect(supervisor.url()).await;
    raw.send(request("Content-Length: 3\r\n", "one") + "trailing garbage\r\n\r\n").await;
    assert_eq!(raw.answer().await.0, 202);
    let (text, closed) = raw.read_for(Duration::from_secs(5)).await;
    assert!(closed, "{text}");
    assert!(text.is_empty() || text.starts_with("HTTP/1.1 400"), "{text}");
    assert_eq!(supervisor.json("/v1/streams/hard").await["next_sequence"], 2);
}

/// Sends the head's first bytes, then a bit every 200 ms; gives back when it was closed.
async fn trickle(url: &str, first: &str, bit: &str) -> Duration {
    let mut raw = Raw::connect(url).await;
    let started = now();
    raw.send(first).await;
    while started.elapsed() < Duration::from_secs(60) {
        if !raw.try_send(bit).await {
            break;
        }
        let (_, closed) = raw.read_for(ms(200)).await;
        if closed {
            break;
        }
    }
    started.elapsed()
}

#[tokio::test]
async fn who_is_too_slow_is_let_go_and_who_is_idle_is_not() {
    let (_setup, supervisor) = start().await;
    let url = supervisor.url();
    let slow_head = trickle(url, "POST /v1/streams/hard/messages HTTP/1.1\r\n", "X-Slow: 1\r\n");
    let silent_head = trickle(url, "POST /v1/str", "");
    let stalled_body = async {
        let mut raw = Raw::connect(url).await;
        let started = now();
        raw.send(request("Content-Length: 10\r\n", "half")).await;
        let (status, _) = raw.answer().await;
        (status, started.elapsed())
    };
    let idle = async {
        let mut raw = Raw::connect(url).await;
        raw.send("GET /livez HTTP/1.1\r\nHost: x\r\n\r\n").await;
        assert_eq!(raw.answer().await.0, 200);
        let (text, closed) = raw.read_for(Duration::from_secs(16)).await;
        assert!(!closed, "an idle connection was closed: {text}");
        raw.send("GET /livez HTTP/1.1\r\nHost: x\r\n\r\n").await;
        assert_eq!(raw.answer().await.0, 200);
    };
    let (slow, silent, (status, stalled), ()) =
        tokio::join!(slow_head, silent_head, stalled_body, idle);
    for took in [slow, silent] {
        let bound = Duration::from_secs(9)..Duration::from_secs(20);
        assert!(bound.contains(&took), "{took:?}");
    }
    assert_eq!(status, 408);
    assert!(stalled < Duration::from_secs(30), "{stalled:?}");
    assert_nothing_was_taken(&supervisor).await;
}

#[tokio::test]
async fn an_address_has_so_many_connections_and_no_more() {
    let setup = Setup::new("[limits]\nconnections_per_address = 3\n");
    let supervisor = setup.start().await;
    let mut open = Vec::new();
    for _ in 0..3 {
        let mut raw = Raw::connect(supervisor.url()).await;
        raw.send("GET /livez HTTP/1.1\r\nHost: x\r\n\r\n").await;
        assert_eq!(raw.answer().await.0, 200);
        open.push(raw);
    }
    let mut more = Raw::connect(supervisor.url()).await;
    // What others need has places of its own (`readers`); this has none.
    more.send("GET /v1/status HTTP/1.1\r\nHost: x\r\n\r\n").await;
    let (status, text) = more.answer().await;
    assert!(status == 503 && text.to_lowercase().contains("retry-after: 1"), "{text}");
    drop((more, open));
    let taken = async || {
        let mut raw = Raw::connect(supervisor.url()).await;
        raw.send("GET /v1/status HTTP/1.1\r\nHost: x\r\n\r\n").await;
        raw.answer().await.0 == 200
    };
    until("there is room again", taken).await;
}

#[tokio::test]
async fn compressed_bodies_are_refused_before_anybody_unpacks_them() {
    let (_setup, supervisor) = start().await;
    for encoding in ["gzip", "GZIP", "br", "deflate, gzip", "identity, gzip", "nonsense", ""] {
        let case = request(&format!("Content-Encoding: {encoding}\r\nContent-Length: 1\r\n"), "x");
        assert_eq!(exchange(supervisor.url(), case).await.0, 415, "{encoding}");
    }
    let twice = "Content-Encoding: identity\r\nContent-Encoding: gzip\r\nContent-Length: 1\r\n";
    assert_eq!(exchange(supervisor.url(), request(twice, "x")).await.0, 415);
    assert_nothing_was_taken(&supervisor).await;
}

#[tokio::test]
async fn names_of_streams_never_become_paths_or_headers() {
    let (setup, supervisor) = start().await;
    let names = || {
        let mut all: Vec<_> = std::fs::read_dir(setup.data()).unwrap().collect();
        all.extend(std::fs::read_dir(setup.folder()).unwrap());
        let mut all: Vec<_> = all.into_iter().map(|entry| entry.unwrap().file_name()).collect();
        all.sort();
        all
    };
    let before = names();
    let long = "x".repeat(129);
    for name in [
        "..%2f..%2fetc%2fpasswd",
        "%2e%2e%2fx",
        "a%00b",
        "a%0d%0aX-Evil:%201",
        "a%20b",
        "%ff%fe",
        "%c3%a9",
        "a%5cb",
        "a%2525",
        "*",
        &long,
    ] {
        for method in ["POST", "GET"] {
            let path = if method == "POST" { "/messages" } else { "" };
            let case = format!(
                "{method} /v1/streams/{name}{path} HTTP/1.1\r\nHost: x\r\n\
                 Content-Length: 0\r\n\r\n"
            );
            let (status, text) = exchange(supervisor.url(), case).await;
            assert_eq!(status, 400, "{method} {name}: {text}");
            assert!(!text.to_lowercase().contains("\nx-evil"), "{text}");
        }
    }
    assert_eq!(names(), before);
    assert_eq!(supervisor.json("/v1/streams").await["streams"], serde_json::json!([]));
    // One that looks like a path and is a name stays in the journal's files.
    assert_eq!(supervisor.message("...", &[], "x").await.status, 202);
    assert_eq!(names(), before);
}

#[tokio::test]
async fn what_others_say_never_becomes_a_header_of_its_own() {
    let worker = FakeWorker::start(|call| {
        let reply = Reply::new(200, call.body.clone());
        let reply = reply.with("content-type", "text/plain;\ta=\"\u{e9}\" X-Evil: 1");
        Act::Answer(reply.with("rollcall-reason", "see\tX-Evil: 1 \u{1f600}"))
    })
    .await;
    let destination = Destination::start().await;
    let setup = Setup::new(format!(
        "[pools.default]\nworkers = {}\n[subscriptions.all]\nurl = {:?}\n",
        urls([&worker]),
        destination.url()
    ));
    let supervisor = setup.start().await;
    let headers = "Content-Length: 1\r\nce-id: a%0d%0aX-Evil:%201\r\nce-source: /s\r\n\
                   ce-type: t\r\nce-specversion: 1.0\r\nce-extra: a\tb\r\n\
                   Idempotency-Key: \"a X-Evil: 1\"\r\nContent-Type: text/x; X-Evil=1\r\n";
    let path = request(headers, "x");
    let (status, text) = exchange(supervisor.url(), path).await;
    assert!(status == 202 && !text.to_lowercase().contains("\nx-evil"), "{text}");
    until("it is delivered", async || destination.count() == 1).await;
    let (called, delivered) = (&worker.calls()[0].request, &destination.deliveries()[0].request);
    for request in [called, delivered] {
        assert!(!request.headers.contains_key("x-evil"), "{:?}", request.headers);
        assert_eq!(request.headers.get_all("content-type").iter().count(), 1);
    }
    let refused = [
        "Content-Length: 1\r\nContent-Type: a\u{ff}\r\n",
        "Content-Length: 1\r\nce-extra: \u{e9}\r\n",
        "Content-Length: 1\r\nContent-Type: a\r\nContent-Type: b\r\n",
        "Content-Length: 1\r\nIdempotency-Key: a\rX-Evil: 1\r\n",
    ];
    for headers in refused {
        assert_eq!(exchange(supervisor.url(), request(headers, "x")).await.0, 400, "{headers:?}");
    }
    assert_eq!(supervisor.json("/v1/streams/hard").await["next_sequence"], 2);
}
