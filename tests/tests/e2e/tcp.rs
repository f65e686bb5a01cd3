//! Messages in over plain connections (contract §3).

use std::time::Duration;

use tests::{
    harness::{Raw, Setup, Signal, Supervisor, until},
    peers::FakeWorker,
};

use crate::{ms, urls};

const NO_POOL: &str = "[streams.\"*\"]\npool = \"none\"\n";

/// A supervisor with one more listener, and where that is.
async fn start(rest: &str, keys: &str) -> (Setup, Supervisor, String) {
    let setup = Setup::new(format!(
        "{rest}\n[[tcp]]\nlisten = \"127.0.0.1:0\"\nstream = \"sensors\"\n{keys}\n"
    ));
    let (supervisor, url) = again(&setup).await;
    (setup, supervisor, url)
}

async fn again(setup: &Setup) -> (Supervisor, String) {
    let mut supervisor = setup.start().await;
    let url = supervisor.said("listening on tcp://").await;
    (supervisor, url)
}

/// Reads until the other side closes.
async fn all(raw: &mut Raw) -> String {
    let (text, closed) = raw.read_for(Duration::from_secs(30)).await;
    assert!(closed, "it is still open: {text}");
    text
}

fn numbers(range: std::ops::RangeInclusive<u64>) -> String {
    range.map(|number| format!("{number}\n")).collect()
}

#[tokio::test]
async fn each_line_is_a_message_and_is_answered_by_its_sequence() {
    let worker = FakeWorker::upper().await;
    let pool = format!("[pools.default]\nworkers = {}", urls([&worker]));
    let (_setup, supervisor, url) = start(&pool, "content_type = \"text/plain\"").await;
    let mut raw = Raw::connect(&url).await;
    raw.send("one\r\n\nthr").await;
    assert_eq!(raw.read_for(ms(300)).await, (numbers(1..=2), false));
    raw.send("ee\n").await;
    raw.finish().await;
    assert_eq!(all(&mut raw).await, "3\n");
    supervisor.until_released("sensors", 3).await;
    let results = supervisor.results("sensors").await;
    let data: Vec<_> = results.iter().map(|one| one["data"].as_str().unwrap()).collect();
    assert_eq!(data, ["ONE", "", "THREE"]);
    assert_eq!(worker.calls()[0].header("content-type"), "text/plain");
}

#[tokio::test]
async fn frames_may_hold_anything() {
    let (_setup, supervisor, url) = start(NO_POOL, "framing = \"length\"").await;
    let mut raw = Raw::connect(&url).await;
    raw.send(b"\0\0\0\x03a\nb\0\0\0\0\0\0\0\x02\xff\0").await;
    assert_eq!(raw.read_for(ms(300)).await, (numbers(1..=3), false));
    supervisor.until_released("sensors", 3).await;
    let results = supervisor.results("sensors").await;
    assert_eq!(results[2]["data_base64"], "/wA=");
    assert_eq!(results[0]["datacontenttype"], "application/octet-stream");
    // A frame that is announced too large is refused before it comes.
    raw.send(b"\0\0\0\x01x\xff\xff\xff\xff").await;
    let text = all(&mut raw).await;
    assert!(text.starts_with("4\nerror: ") && text.ends_with('\n'), "{text}");
}

#[tokio::test]
async fn many_are_in_flight_and_the_answers_are_in_order_and_durable() {
    let (setup, supervisor, url) = start(NO_POOL, "").await;
    let lines: String = (1..=20_000).map(|number| format!("message {number}\n")).collect();
    let mut raw = Raw::connect(&url).await;
    raw.send(lines).await;
    raw.finish().await;
    assert_eq!(all(&mut raw).await, numbers(1..=20_000));
    supervisor.kill().await;
    let (supervisor, _) = again(&setup).await;
    assert_eq!(supervisor.json("/v1/streams/sensors").await["next_sequence"], 20_001);
    supervisor.until_released("sensors", 20_000).await;
    let results = supervisor.results("sensors").await;
    assert!((1..).zip(&results).all(|(number, one)| one["data"] == format!("message {number}")));
}

#[tokio::test]
async fn a_message_over_the_limit_is_an_error_after_the_answers_to_the_others() {
    let limits = format!("{NO_POOL}[limits]\nmessage_bytes = 1000");
    let (_setup, supervisor, url) = start(&limits, "").await;
    let long = "x".repeat(1001);
    for bytes in [format!("good\n{long}\nmore\n"), format!("good\n{long}")] {
        let mut raw = Raw::connect(&url).await;
        raw.send(bytes).await;
        let text = all(&mut raw).await;
        let (answers, error) = text.split_once("error: ").unwrap();
        assert!(answers.trim().parse::<u64>().is_ok(), "{text}");
        assert_eq!(error, "the message is larger than 1000 bytes\n");
    }
    let mut raw = Raw::connect(&url).await;
    raw.send(format!("{}\r\n", "x".repeat(1000))).await;
    assert_eq!(raw.read_for(ms(300)).await.0, "3\n");
    assert_eq!(supervisor.json("/v1/streams/sensors").await["next_sequence"], 4);
}

#[tokio::test]
async fn half_a_message_is_none_whether_it_is_cut_off_or_slow() {
    let (_setup, supervisor, url) = start(NO_POOL, "").await;
    let mut cut = Raw::connect(&url).await;
    cut.send("whole\nhal").await;
    cut.finish().await;
    let text = all(&mut cut).await;
    assert!(text.starts_with("1\nerror: ") && text.contains("cut off"), "{text}");
    let mut slow = Raw::connect(&url).await;
    slow.send("hal").await;
    let text = all(&mut slow).await;
    assert!(text.starts_with("error: ") && text.contains("slow"), "{text}");
    assert_eq!(supervisor.json("/v1/streams/sensors").await["next_sequence"], 2);
}

#[tokio::test]
async fn what_has_no_room_waits_and_keeps_its_order() {
    let worker = FakeWorker::upper().await;
    let config = |workers: &str| {
        format!(
            "[streams.\"*\"]\nmax_backlog = 10\n[pools.default]\nworkers = [{workers}]\n\
             [[tcp]]\nlisten = \"127.0.0.1:0\"\nstream = \"sensors\"\n"
        )
    };
    let setup = Setup::new(config(""));
    let (supervisor, url) = again(&setup).await;
    let mut raw = Raw::connect(&url).await;
    raw.send((1..=100).map(|number| format!("m{number}\n")).collect::<String>()).await;
    raw.finish().await;
    until("the backlog is full", async || {
        let answer = supervisor.get("/v1/streams/sensors").await;
        answer.status == 200 && answer.json()["next_sequence"] == 11
    })
    .await;
    assert_eq!(raw.read_for(ms(500)).await, (numbers(1..=10), false));
    setup.configure(config(&format!("{:?}", worker.url())));
    supervisor.process().signal(Signal::HUP);
    assert_eq!(all(&mut raw).await, numbers(11..=100));
    supervisor.until_released("sensors", 100).await;
    let results = supervisor.results("sensors").await;
    assert!((1..).zip(&results).all(|(number, one)| one["data"] == format!("M{number}")));
}

#[tokio::test]
async fn connections_are_bounded_and_end_when_the_process_does() {
    let limits = format!("{NO_POOL}[limits]\nconnections_per_address = 2");
    let (_setup, supervisor, url) = start(&limits, "").await;
    let (mut idle, mut busy) = (Raw::connect(&url).await, Raw::connect(&url).await);
    busy.send("one\nhal").await;
    assert_eq!(busy.read_for(ms(300)).await.0, "1\n");
    let text = all(&mut Raw::connect(&url).await).await;
    assert_eq!(text, "error: this address has too many connections\n");
    let (idle_said, busy_said, ended) =
        tokio::join!(all(&mut idle), all(&mut busy), supervisor.terminate());
    assert_eq!((idle_said.as_str(), ended.code), ("", Some(0)));
    assert!(busy_said.starts_with("error: "), "{busy_said}");
}

#[tokio::test]
async fn a_stream_that_a_listener_names_is_there() {
    let (_setup, _supervisor, url) = start("[streams]\ncreate = \"never\"", "").await;
    let mut raw = Raw::connect(&url).await;
    raw.send("x\n").await;
    raw.finish().await;
    assert_eq!(all(&mut raw).await, "1\n", "although none comes into being by itself");
}
