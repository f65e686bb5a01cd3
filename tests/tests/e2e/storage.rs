//! A disk that says no, and one that takes its time (faults B: F-11, F-12, F-16, F-20), by errors
//! and delays that `strace` puts into the supervisor's own calls; and a process that stands still
//! for a while (A: F-04).

use std::fs;

use serde_json::{Value, json};
use tests::{
    harness::{Client, Setup, Signal, Supervisor, now, soon, spawn, until},
    peers::{Act, Destination, FakeWorker},
};

use crate::{ms, urls};

/// What a producer knows after the disk has failed.
struct Sent {
    /// How many messages were acknowledged.
    acknowledged: u64,
    /// What the one after them was told, if anything.
    refused: Option<u16>,
}

/// Starts the supervisor with `strace` around it, which does this to its calls.
async fn meddled(setup: &Setup, calls: &str, inject: &str) -> Supervisor {
    let log = setup.folder().join("strace.log");
    let log = log.to_str().expect("a plain path");
    let (trace, inject) = (format!("trace={calls}"), format!("inject={calls}:{inject}"));
    setup.start_under(&["strace", "-D", "-f", "-o", log, "-e", &trace, "-e", &inject]).await
}

/// What `strace` has seen, call by call.
fn calls(setup: &Setup) -> Vec<String> {
    let text = fs::read_to_string(setup.folder().join("strace.log")).unwrap_or_default();
    text.lines().filter(|line| line.contains('(')).map(str::to_owned).collect()
}

/// Sends messages one after the other, each under its key, until one is not acknowledged.
async fn send_until_refused(supervisor: &Supervisor, most: u64) -> Sent {
    let mut sent = Sent { acknowledged: 0, refused: None };
    while sent.acknowledged < most {
        let key = format!("key-{}", sent.acknowledged);
        let headers = [("idempotency-key", &*key)];
        let path = "/v1/streams/orders/messages";
        let body = sent.acknowledged.to_string();
        let called = soon(supervisor.try_call(http::Method::POST, path, &headers, body)).await;
        match called {
            Ok(answer) if answer.status == 202 => sent.acknowledged += 1,
            Ok(answer) => {
                sent.refused = Some(answer.status);
                return sent;
            }
            Err(_) => return sent,
        }
    }
    sent
}

/// The next start has all that was acknowledged, each in its place, and goes on.
async fn check_afterwards(setup: &Setup, acknowledged: u64) {
    let supervisor = setup.start().await;
    for number in 0..=acknowledged {
        let key = format!("key-{number}");
        let headers = [("idempotency-key", &*key)];
        let answer = supervisor.message("orders", &headers, number.to_string()).await;
        assert_eq!(answer.status, 202, "{}", answer.text());
        let told = answer.json();
        assert_eq!(told["sequence"], number + 1);
        assert!(number == acknowledged || told["duplicate"] == true, "{number}: {told}");
    }
    supervisor.until_released("orders", acknowledged + 1).await;
    for (at, result) in supervisor.results("orders").await.iter().enumerate() {
        assert_eq!(result["data"], Value::from(at.to_string()));
    }
}

/// With small segments, so that few calls are made before the supervisor listens.
const PASSING: &str = "[streams.\"*\"]\npool = \"none\"\n[journal]\nsegment_bytes = \"256 KiB\"\n";

/// F-11: after a failed sync nothing is tried again; the process ends, and says why.
#[tokio::test]
async fn a_failed_sync_ends_the_process_and_nothing_acknowledged_is_lost() {
    let setup = Setup::new(PASSING);
    let supervisor = meddled(&setup, "fdatasync", "error=EIO:when=25").await;
    let sent = send_until_refused(&supervisor, 1_000).await;
    assert!((5..1_000).contains(&sent.acknowledged), "{}", sent.acknowledged);
    let ended = supervisor.ended().await;
    assert_eq!(ended.code, Some(1), "{}", ended.stderr);
    assert!(ended.stderr.contains("sync"), "{}", ended.stderr);
    assert!(sent.refused.is_none_or(|status| status == 503), "{:?}", sent.refused);
    let calls = calls(&setup);
    let bad = calls.iter().position(|call| call.contains("INJECTED")).expect("it failed");
    let after: Vec<_> = calls[bad + 1..].iter().filter(|call| call.contains("fdatasync")).collect();
    assert!(after.is_empty(), "{after:?}");
    check_afterwards(&setup, sent.acknowledged).await;
}

/// F-12: a write that fails leaves no torn entry with good ones behind it.
#[tokio::test]
async fn a_failed_write_ends_the_process_and_nothing_acknowledged_is_lost() {
    let setup = Setup::new(PASSING);
    let supervisor = meddled(&setup, "pwrite64", "error=EIO:when=60").await;
    let sent = send_until_refused(&supervisor, 1_000).await;
    assert!((5..1_000).contains(&sent.acknowledged), "{}", sent.acknowledged);
    let ended = supervisor.ended().await;
    assert_eq!(ended.code, Some(1), "{}", ended.stderr);
    check_afterwards(&setup, sent.acknowledged).await;
}

/// F-12, F-14: while the system has no room for it, a write waits; nothing is lost, and it goes
/// on by itself.
#[tokio::test]
async fn writes_that_find_no_room_for_a_while_are_made_when_there_is_some() {
    let setup = Setup::new(PASSING);
    let supervisor = meddled(&setup, "pwrite64", "error=ENOSPC:when=60..75").await;
    let mut number = 0;
    let begun = now();
    while number < 60 {
        let key = format!("key-{number}");
        let headers = [("idempotency-key", &*key)];
        let answer = supervisor.message("orders", &headers, number.to_string()).await;
        match answer.status {
            202 => number += 1,
            507 | 503 => tokio::time::sleep(ms(50)).await,
            other => panic!("{other}: {}", answer.text()),
        }
        assert!(begun.elapsed() < tests::harness::LONGEST, "{number} were taken");
    }
    assert!(calls(&setup).iter().any(|call| call.contains("ENOSPC")), "there was no room once");
    supervisor.kill().await;
    check_afterwards(&setup, 60).await;
}

/// F-16: a sync takes a fifth of a second; many messages share each.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slow_disk_makes_larger_batches_and_no_mistakes() {
    let setup = Setup::new(PASSING);
    let supervisor = meddled(&setup, "fdatasync", "delay_enter=200000").await;
    let begun = now();
    let senders = (0..40).map(|sender| {
        let client = supervisor.client();
        spawn(async move {
            for number in 0..5 {
                client.send(&format!("s{}", sender % 4), format!("{sender} {number}")).await;
            }
        })
    });
    for sender in senders.collect::<Vec<_>>() {
        sender.await.unwrap();
    }
    let took = begun.elapsed();
    println!("200 messages in {took:?}");
    assert!(took < ms(20_000), "one by one they would take 40 s: {took:?}");
    assert_eq!(supervisor.get("/v1/status").await.status, 200);
    for stream in 0..4 {
        supervisor.until_released(&format!("s{stream}"), 50).await;
    }
}

/// F-16: what the disk does not have is not shown, so that no crash takes back what was seen; the
/// process is said to live all the same.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_disk_that_stands_still_does_not_make_the_process_look_dead() {
    let setup = Setup::new(PASSING);
    let supervisor = meddled(&setup, "fdatasync", "delay_enter=8000000:when=20+").await;
    let client = supervisor.client();
    let sending = spawn(async move {
        for number in 0..30 {
            client.send("orders", number.to_string()).await;
        }
    });
    until("a read has to wait for the disk", || async {
        supervisor.get("/v1/alerts").await.status == 503
    })
    .await;
    let alerts = supervisor.get("/v1/alerts").await.problem(503);
    assert!(alerts["detail"].to_string().contains("disk is slow"), "{alerts}");
    assert_eq!(supervisor.get("/livez").await.status, 200);
    assert!(!sending.is_finished(), "the disk still stands");
    sending.abort();
}

/// F-20: what is derived is written anew, whatever lies in its place.
#[tokio::test]
async fn damaged_views_are_made_anew() {
    let setup = Setup::new(PASSING);
    let supervisor = setup.start().await;
    for number in 0..50 {
        supervisor.send("orders", number.to_string()).await;
    }
    supervisor.until_released("orders", 50).await;
    let results = supervisor.all_results("/v1/results").await;
    assert_eq!(supervisor.terminate().await.code, Some(0));
    let views = setup.data().join("views");
    for entry in fs::read_dir(&views).expect("there is a folder of views") {
        fs::write(entry.unwrap().path(), [0x5a; 10_000]).unwrap();
    }
    for number in 0..4 {
        fs::write(views.join(format!("{number:010}.rows")), [0x5a; 10_000]).unwrap();
    }
    let supervisor = setup.start().await;
    assert_eq!(supervisor.all_results("/v1/results").await, results);
}

/// The index is made anew at a start; a start that is killed meanwhile leaves a part of one, and
/// the next begins again.
#[tokio::test]
async fn a_start_that_is_killed_while_it_makes_the_index_loses_nothing() {
    let setup = Setup::new(PASSING);
    let supervisor = setup.start().await;
    for batch in 0..20 {
        let lines = (0..5_000).map(|number| json!(batch * 5_000 + number));
        assert_eq!(supervisor.lines("orders", lines).await.status, 202);
    }
    supervisor.until_released("orders", 100_000).await;
    let pages = async |client: &Client| {
        let mut pages = Vec::new();
        for after in [0, 49_990, 99_980] {
            pages.push(client.json(&format!("/v1/results?after={after}&limit=50")).await);
            let of_stream = format!("/v1/streams/orders/results?after={after}&limit=50");
            pages.push(client.json(&of_stream).await);
        }
        pages
    };
    let before = pages(&supervisor).await;
    supervisor.kill().await;
    let rows = setup.data().join("views/0000000000.rows");
    for _ in 0..3 {
        fs::remove_file(&rows).unwrap();
        let process = setup.launch_under(&["env"]);
        until("some of the index is there", || async { rows.exists() }).await;
        process.kill().await;
    }
    let supervisor = setup.start().await;
    assert_eq!(pages(&supervisor).await, before);
}

/// A journal in which nothing happens does not grow by itself, though all of its small segments
/// are written ahead (the end of F-09).
#[tokio::test]
async fn a_journal_in_which_nothing_happens_has_no_snapshots() {
    let setup = Setup::new(PASSING);
    let supervisor = setup.start().await;
    supervisor.send("orders", "one").await;
    let begun = now();
    while begun.elapsed() < ms(2_000) {
        // It is looked at four times a second.
        assert_eq!(supervisor.metric("rollcall_snapshots_total").await, 0);
        tokio::time::sleep(ms(50)).await;
    }
}

/// F-04: the process stands still for some seconds, with calls out; then it goes on as if
/// nothing had been.
#[tokio::test]
async fn a_process_that_was_stopped_goes_on_without_a_burst() {
    let worker = FakeWorker::start(|call| Act::ok_after(ms(20), call.body.clone())).await;
    let destination = Destination::start().await;
    let setup = Setup::new(format!(
        "[streams.\"*\"]\ntimeout = \"1s\"\njitter = \"50ms\"\n\
         [pools.default]\nworkers = {}\nconcurrency = 8\n\
         [subscriptions.all]\nurl = {:?}\nstart = \"beginning\"\n",
        urls([&worker]),
        destination.url()
    ));
    let supervisor = setup.start().await;
    for number in 0..100 {
        supervisor.send(&format!("s{}", number % 4), number.to_string()).await;
    }
    supervisor.process().signal(Signal::STOP);
    tokio::time::sleep(ms(3_000)).await;
    supervisor.process().signal(Signal::CONT);
    until("all delivered", || async { destination.count() >= 100 }).await;
    tests::harness::checker::check_deliveries(&destination.deliveries());
    // What was out when it stood still may have run out of time: once each, and no more.
    let calls = worker.count();
    assert!(calls <= 100 + 2 * 8, "{calls} calls for 100 messages");
}
