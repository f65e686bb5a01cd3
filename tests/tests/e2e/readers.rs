//! Readers that are gone, wait, or take nothing (issue: clients must hold no place for ever, and
//! slow no writer).

use std::time::Duration;

use serde_json::json;
use tests::harness::{Raw, Setup, Supervisor, now, until};

use crate::ms;

const NO_POOL: &str =
    "[streams.\"*\"]\npool = \"none\"\n[subscriptions.quiet]\nstreams = [\"quiet\"]\n";

async fn start(more: &str) -> (Setup, Supervisor) {
    let setup = Setup::new(format!("{NO_POOL}{more}"));
    let supervisor = setup.start().await;
    supervisor.send("quiet", "first").await;
    supervisor.until_released("quiet", 1).await;
    (setup, supervisor)
}

fn get(path: &str, more: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n{more}\r\n")
}

fn wait_for_result(stream: &str) -> String {
    format!(
        "POST /v1/streams/{stream}/messages HTTP/1.1\r\nHost: localhost\r\nPrefer: wait=600\r\n\
         Content-Length: 1\r\n\r\nx"
    )
}

fn descriptors(supervisor: &Supervisor) -> usize {
    std::fs::read_dir(format!("/proc/{}/fd", supervisor.process().id())).unwrap().count()
}

#[tokio::test]
async fn who_hangs_up_while_it_waits_is_let_go() {
    let (_setup, supervisor) = start("").await;
    supervisor.send("paused", "x").await;
    supervisor.until_released("paused", 1).await;
    let _ = supervisor.post("/v1/streams/paused/pause", &[], "").await;
    let feed = "Accept: text/event-stream\r\n";
    let next = get("/livez", "");
    for request in [
        get("/v1/streams/quiet/results?after=1&wait=600", ""),
        get("/v1/subscriptions/quiet/results?after=2&wait=600", ""),
        get("/v1/streams/quiet/results?after=1", feed),
        get("/v1/streams/to-come/results", feed),
        wait_for_result("paused"),
        // What it sent behind its request, and nobody has read, does not hide that it is gone.
        get("/v1/results?after=2&wait=600", "") + &next,
    ] {
        let before = descriptors(&supervisor);
        let mut gone = Vec::new();
        for _ in 0..20 {
            let mut raw = Raw::connect(supervisor.url()).await;
            raw.send(&request).await;
            gone.push(raw);
        }
        // Two of those before may have been counted and gone meanwhile.
        until("they are connected", || async { descriptors(&supervisor) >= before + 18 }).await;
        // So that they are waiting, not only connected.
        tokio::time::sleep(ms(50)).await;
        drop(gone);
        until(&format!("they are let go: {request}"), || async {
            descriptors(&supervisor) <= before + 2
        })
        .await;
    }
}

#[tokio::test]
async fn who_closes_its_own_side_alone_is_still_answered() {
    let (_setup, supervisor) = start("").await;
    let quick = Duration::from_secs(30);
    let mut there = Raw::connect(supervisor.url()).await;
    there.send(get("/v1/streams/quiet/results", "")).await;
    there.finish().await;
    assert!(there.answer().await.1.contains("first"));
    // It is told at once what there is, and may come back.
    let started = now();
    let mut waiting = Raw::connect(supervisor.url()).await;
    waiting.send(get("/v1/streams/quiet/results?after=1&wait=600", "")).await;
    waiting.finish().await;
    let (status, text) = waiting.answer().await;
    assert!(status == 200 && text.contains("\"caught_up\":true"), "{text}");
    let _ = supervisor.post("/v1/streams/quiet/pause", &[], "").await;
    let mut sender = Raw::connect(supervisor.url()).await;
    sender.send(wait_for_result("quiet")).await;
    sender.finish().await;
    assert_eq!(sender.answer().await.0, 202);
    assert!(started.elapsed() < quick);
    // A feed goes on: its reader reads.
    let mut feed = Raw::connect(supervisor.url()).await;
    feed.send(get("/v1/streams/quiet/results?after=1", "Accept: text/event-stream\r\n")).await;
    feed.finish().await;
    let (text, closed) = feed.read_for(ms(500)).await;
    assert!(text.contains(": alive") && !closed, "{text}");
    let _ = supervisor.post("/v1/streams/quiet/resume", &[], "").await;
    let (text, closed) = feed.read_for(ms(500)).await;
    assert!(text.contains("\"sequence\":2") && !closed, "{text}");
}

#[tokio::test]
async fn a_long_poll_is_held_whatever_others_release_and_skips_nothing() {
    let (_setup, supervisor) = start("").await;
    let busy = async {
        let started = now();
        while started.elapsed() < Duration::from_secs(4) {
            supervisor.send("busy", "x").await;
        }
    };
    let poll = async {
        let started = now();
        let page = supervisor.json("/v1/subscriptions/quiet/results?after=1&wait=2").await;
        assert_eq!(page["results"], json!([]), "{page}");
        assert!(started.elapsed() >= ms(2000), "sent away after {:?}", started.elapsed());
        assert!(page["next"].as_u64() > Some(1), "it goes on behind what it does not want: {page}");
        let path = format!("/v1/subscriptions/quiet/results?after={}&wait=60", page["next"]);
        let (page, sequence) = tokio::join!(supervisor.json(&path), async {
            tokio::time::sleep(ms(300)).await;
            supervisor.send("quiet", "second").await
        });
        assert_eq!((&page["results"][0]["data"], sequence), (&json!("second"), 2), "{page}");
    };
    tokio::join!(busy, poll);
}

/// Everybody sees the same results; what is made ready for those who take none of it is bounded.
#[tokio::test]
async fn readers_that_take_nothing_take_little_memory_and_lose_nothing() {
    let (_setup, supervisor) = start("").await;
    let body = "x".repeat(1_000_000);
    for _ in 0..40 {
        supervisor.send("big", body.clone()).await;
    }
    supervisor.until_released("big", 40).await;
    let before = supervisor.process().resident_bytes();
    let mut readers = Vec::new();
    for (path, more) in [
        ("/v1/streams/big/results", "Accept: text/event-stream\r\n"),
        ("/v1/results?limit=10000", ""),
    ] {
        for _ in 0..50 {
            let mut raw = Raw::connect_small(supervisor.url()).await;
            // Without the ends of chunks between.
            raw.send(get(path, more).replace("HTTP/1.1", "HTTP/1.0")).await;
            readers.push(raw);
        }
    }
    // Nothing says that no more will be made ready.
    tokio::time::sleep(Duration::from_secs(2)).await;
    let more = supervisor.process().resident_bytes().saturating_sub(before) >> 20;
    assert!(more < 100, "100 readers that take nothing take {more} MiB");
    // One of them reads after all: what was let go meanwhile is made again, as it was.
    let mut late = readers.swap_remove(0);
    let mut text = Vec::new();
    while !text.ends_with(b"event: caught-up\nid: 40\ndata: {}\n\n") {
        let some = late.read_some().await;
        assert!(!some.is_empty(), "it was cut off after {} bytes", text.len());
        text.extend_from_slice(&some);
    }
    let text = String::from_utf8(text).unwrap();
    assert_eq!(text.matches("\"position\":").count(), 40);
    // When they are gone, what they took is free, and is not kept for others.
    drop((late, readers));
    until("their memory is given back", || async {
        supervisor.process().resident_bytes() < before + (48 << 20)
    })
    .await;
    assert_eq!(supervisor.get("/livez").await.status, 200);
}

/// With all places of an address taken, it is still told whether the process lives, and its
/// messages come in; an idle connection gives way.
#[tokio::test]
async fn health_checks_and_messages_have_places_of_their_own() {
    let (_setup, supervisor) = start("[limits]\nconnections_per_address = 20\n").await;
    let mut held = Vec::new();
    for _ in 0..25 {
        let mut raw = Raw::connect(supervisor.url()).await;
        raw.send(get("/v1/results?after=1&wait=600", "")).await;
        held.push(raw);
    }
    tokio::time::sleep(ms(100)).await;
    for (request, status) in [
        (get("/livez", ""), 200),
        (get("/readyz", ""), 200),
        (get("/v1/status", ""), 503),
        (wait_for_result("quiet").replace("Prefer: wait=600\r\n", ""), 202),
    ] {
        let mut raw = Raw::connect(supervisor.url()).await;
        raw.send(&request).await;
        let (seen, text) = raw.answer().await;
        assert_eq!(seen, status, "{request}: {text}");
        assert!(text.to_ascii_lowercase().contains("connection: close"), "{text}");
    }
    drop(held);
}
