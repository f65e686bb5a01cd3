//! Bytes that no good client sends: each gets its refusal, the connection's state stays clean,
//! and nothing of it is journaled (faults I: F-86, F-87).

use std::time::Duration;

use tests::harness::{Raw, Setup, Supervisor, exchange, now};

use crate::ms;

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
        "POST /v1/streams/hard/messages HTTP/3.7\r\nHost: x\r\n\r\n".to_owned(),
        "nonsense\r\n\r\n".to_owned(),
    ];
    for case in cases {
        let (status, text) = exchange(supervisor.url(), &case).await;
        assert_eq!(status, 400, "{case:?}: {text}");
    }
    assert_nothing_was_taken(&supervisor).await;
}

#[tokio::test]
async fn heads_have_a_largest_size() {
    let (_setup, supervisor) = start().await;
    let long = format!("X-Long: {}\r\nContent-Length: 1\r\n", "x".repeat(100_000));
    let many = "X-Many: 1\r\n".repeat(101) + "Content-Length: 1\r\n";
    for headers in [long, many] {
        let (status, text) = exchange(supervisor.url(), request(&headers, "x")).await;
        assert!(status == 431 || status == 400, "{status}: {text}");
    }
    let target = format!("GET /{} HTTP/1.1\r\nHost: x\r\n\r\n", "x".repeat(100_000));
    let (status, text) = exchange(supervisor.url(), target).await;
    assert!([400, 414, 431].contains(&status), "{status}: {text}");
    assert_nothing_was_taken(&supervisor).await;
    // A hundred is allowed.
    let many = "X-Many: 1\r\n".repeat(98) + "Content-Length: 1\r\n";
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
        assert!(text.is_empty() || text.starts_with("HTTP/1.1 400"), "{text}");
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
