//! Workers come, beat, drain and go (contract §4, "Membership"); and the `worker` program.

use http::Method;
use serde_json::{Value, json};
use tests::{
    harness::{Setup, Signal, Supervisor, WorkerProcess, now, until},
    peers::{Act, FakeWorker},
};

use crate::{ms, urls};

async fn register(supervisor: &Supervisor, id: &str, worker: &FakeWorker) -> Value {
    let registration = json!({
        "url": worker.url(), "pool": "default", "concurrency": 8, "version": "test 1",
    });
    let answer = supervisor.put(&format!("/v1/workers/{id}"), &registration).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    answer.json()
}

async fn state(supervisor: &Supervisor, id: &str) -> Option<String> {
    let all = supervisor.json("/v1/workers").await;
    let found = all["workers"].as_array().unwrap().iter().find(|one| one["id"] == id).cloned();
    found.map(|one| one["state"].as_str().unwrap().to_owned())
}

#[tokio::test]
async fn who_registers_gets_work_and_who_falls_silent_gets_no_more() {
    let setup = Setup::new("");
    let supervisor = setup.start().await;
    let (silent, beating) = (FakeWorker::upper().await, FakeWorker::upper().await);
    supervisor.send("orders", "waits for somebody").await;
    let registered = register(&supervisor, "silent", &silent).await;
    assert_eq!(registered["state"], "active");
    let heartbeat = registered["heartbeat_ms"].as_u64().unwrap();
    assert!(heartbeat > 0);
    supervisor.until_released("orders", 1).await;
    let shown = supervisor.json("/v1/workers").await["workers"][0].clone();
    assert_eq!(
        (&shown["id"], &shown["pool"], &shown["concurrency"], &shown["version"]),
        (&json!("silent"), &json!("default"), &json!(8), &json!("test 1"))
    );
    let started = now();
    let mut beats = 0;
    while state(&supervisor, "silent").await.as_deref() == Some("active") {
        if started.elapsed().as_millis() as u64 >= beats * heartbeat / 2 {
            register(&supervisor, "beating", &beating).await;
            beats += 1;
        }
        tokio::time::sleep(ms(20)).await;
    }
    let silence = started.elapsed().as_millis() as u64;
    assert!((2 * heartbeat..5 * heartbeat).contains(&silence), "{silence} ms");
    let before = silent.count();
    for number in 2..=20 {
        supervisor.send("orders", "x").await;
        supervisor.until_released("orders", number).await;
    }
    assert_eq!(silent.count(), before);
    // Who is heard again gets work again.
    assert_eq!(register(&supervisor, "silent", &silent).await["state"], "active");
    assert_eq!(state(&supervisor, "silent").await.as_deref(), Some("active"));
}

#[tokio::test]
async fn who_drains_finishes_and_gets_no_more_and_who_leaves_is_gone() {
    let setup = Setup::new("");
    let supervisor = setup.start().await;
    let first = FakeWorker::start(|_| Act::ok_after(ms(700), "finished")).await;
    let second = FakeWorker::upper().await;
    register(&supervisor, "first", &first).await;
    supervisor.send("orders", "x").await;
    until("it is out", || async { first.count() == 1 }).await;
    assert_eq!(supervisor.post("/v1/workers/first/drain", &[], "").await.status, 200);
    assert_eq!(register(&supervisor, "first", &first).await["state"], "draining");
    register(&supervisor, "second", &second).await;
    for _ in 0..20 {
        supervisor.send("other", "x").await;
    }
    supervisor.until_released("other", 20).await;
    supervisor.until_released("orders", 1).await;
    assert_eq!(supervisor.results("orders").await[0]["data"], "finished");
    assert_eq!(first.count(), 1);
    assert_eq!(supervisor.delete("/v1/workers/first").await.status, 200);
    assert_eq!(state(&supervisor, "first").await, None);
    let _ = supervisor.delete("/v1/workers/first").await.problem(404);
    let _ = supervisor.post("/v1/workers/first/drain", &[], "").await.problem(404);
    assert_eq!(register(&supervisor, "first", &first).await["state"], "active", "somebody new");
}

#[tokio::test]
async fn who_drains_can_be_brought_back() {
    let worker = FakeWorker::upper().await;
    let setup = Setup::new(format!("[pools.default]\nworkers = [\"{}\"]\n", worker.url()));
    let supervisor = setup.start().await;
    let id = &*worker.url();
    let run = async |act: &str| {
        let ended = setup.run(&["worker", id, act, "--url", supervisor.url()]).await;
        assert_eq!(ended.code, Some(0), "{ended:?}");
        ended.stdout
    };
    until("it is known", async || state(&supervisor, id).await.is_some()).await;
    run("drain").await;
    assert_eq!(state(&supervisor, id).await.as_deref(), Some("draining"));
    let shown = run("show").await;
    assert!(shown.contains(&format!("worker {id} resume")), "{shown}");
    supervisor.send("orders", "x").await;
    run("resume").await;
    supervisor.until_released("orders", 1).await;
    assert!(run("show").await.contains(&format!("worker {id} drain")));
    let _ = supervisor.post("/v1/workers/nobody/resume", &[], "").await.problem(404);
}

#[tokio::test]
async fn registrations_that_make_no_sense_are_refused() {
    let setup = Setup::new("");
    let supervisor = setup.start().await;
    for wrong in [
        json!({}),
        json!({ "url": "nowhere", "pool": "default" }),
        json!({ "url": "http://127.0.0.1:1", "pool": "none" }),
        json!({ "url": "http://127.0.0.1:1", "pool": "" }),
        json!({ "url": "http://127.0.0.1:1", "pool": "a\u{1b}b" }),
        json!({ "url": "http://127.0.0.1:1", "pool": "p".repeat(129) }),
        json!({ "url": "http://127.0.0.1:1", "pool": "default", "concurrency": 0 }),
        json!({ "url": "http://127.0.0.1:1", "pool": "default", "unknown": 0 }),
    ] {
        let _ = supervisor.put("/v1/workers/w", &wrong).await.problem(400);
    }
    let good = json!({ "url": "http://127.0.0.1:1", "pool": "default" });
    let long = "w".repeat(129);
    for id in ["a%20b", "%C3%A4", &long] {
        let _ = supervisor.put(&format!("/v1/workers/{id}"), &good).await.problem(400);
    }
    assert_eq!(supervisor.json("/v1/workers").await["workers"], json!([]));
}

#[tokio::test]
async fn each_stream_has_its_pool_and_each_worker_its_bound() {
    use std::sync::{
        Arc,
        atomic::{AtomicU32, Ordering::SeqCst},
    };
    let most = Arc::new(AtomicU32::new(0));
    let out = Arc::new(AtomicU32::new(0));
    let (highest, counted) = (Arc::clone(&most), Arc::clone(&out));
    let narrow = FakeWorker::start(move |_| {
        highest.fetch_max(counted.fetch_add(1, SeqCst) + 1, SeqCst);
        let counted = Arc::clone(&counted);
        tests::harness::spawn(async move {
            tokio::time::sleep(ms(20)).await;
            counted.fetch_sub(1, SeqCst);
        });
        Act::ok_after(ms(25), "narrow")
    })
    .await;
    let named = FakeWorker::start(|_| Act::ok("named")).await;
    let port = named.url().rsplit_once(':').unwrap().1.to_owned();
    let setup = Setup::new(format!(
        "[streams.\"fast.*\"]\npool = \"fast\"\n[pools.default]\nworkers = {}\nconcurrency = 2\n\
         [pools.fast]\nworkers = [\"http://localhost:{port}\"]\n",
        urls([&narrow]),
    ));
    let supervisor = setup.start().await;
    for number in 0..30 {
        supervisor.send(&format!("stream-{number}"), "x").await;
        supervisor.send("fast.one", "x").await;
    }
    supervisor.until_released("fast.one", 30).await;
    assert!(supervisor.results("fast.one").await.iter().all(|result| result["data"] == "named"));
    for number in 0..30 {
        let stream = format!("stream-{number}");
        supervisor.until_released(&stream, 1).await;
        assert_eq!(supervisor.results(&stream).await[0]["data"], "narrow");
    }
    assert_eq!(most.load(SeqCst), 2);
}

#[tokio::test]
async fn the_worker_program_runs_commands_built_ins_and_services() {
    let setup = Setup::new("[streams.\"*\"]\njitter = \"1ms\"\nmax_attempts = 3\n");
    let supervisor = setup.start().await;
    let service = FakeWorker::upper().await;
    let script =
        "read line; case $line in park) echo why >&2; exit 65;; *) echo \"got $line\";; esac";
    let service_url = service.url();
    let kinds: [(&str, Vec<&str>); 4] = [
        ("exec", vec!["--exec", "--", "sh", "-c", script]),
        ("lines", vec!["--exec-stream", "--", "sed", "-u", "s/^/got /"]),
        ("upper", vec!["--builtin", "upper"]),
        ("proxy", vec!["--proxy", &service_url]),
    ];
    for (kind, work) in kinds {
        let common = ["--supervisor", supervisor.url(), "--id", kind];
        let worker = WorkerProcess::start(&[&common[..], &work].concat()).await;
        until("it is there", || async {
            state(&supervisor, kind).await.as_deref() == Some("active")
        })
        .await;
        let text = [("content-type", "text/plain"), ("prefer", "wait=20")];
        let answer = supervisor.message(kind, &text, "hello").await;
        let expected = match kind {
            "exec" | "lines" => "got hello",
            _ => "HELLO",
        };
        assert_eq!((answer.status, answer.text().trim_end()), (200, expected), "{kind}");
        if kind == "exec" {
            supervisor.send("exec", "park").await;
            let parked = supervisor.until_state("exec", 2, "parked").await;
            assert!(parked["reason"].as_str().unwrap().contains("why"), "{parked}");
        }
        worker.process().signal(Signal::TERM);
        assert_eq!(worker.into_process().ended().await.code, Some(0), "{kind}");
        assert_eq!(state(&supervisor, kind).await, None, "{kind}: it has left");
    }
}

#[tokio::test]
async fn a_worker_that_is_replaced_under_load_costs_no_attempt() {
    let setup = Setup::new("");
    let supervisor = setup.start().await;
    let start = async |id: &str| {
        let arguments =
            ["--supervisor", supervisor.url(), "--id", id, "--builtin", "sleep=30ms+upper"];
        let worker = WorkerProcess::start(&arguments).await;
        until("it is there", || async { state(&supervisor, id).await.is_some() }).await;
        worker
    };
    let old = start("old").await;
    let client = supervisor.client();
    let sending = tests::harness::spawn(async move {
        for _ in 0..200 {
            client.send("orders", "x").await;
        }
    });
    let new = start("new").await;
    old.process().signal(Signal::TERM);
    assert_eq!(old.into_process().ended().await.code, Some(0));
    sending.await.unwrap();
    supervisor.until_released("orders", 200).await;
    assert_eq!(supervisor.metric("rollcall_attempt_failures_total").await, 0);
    // And one that is killed costs only what it had.
    let third = start("third").await;
    let client = supervisor.client();
    let sending = tests::harness::spawn(async move {
        for _ in 0..200 {
            client.send("orders", "x").await;
        }
    });
    until("it has work", || async {
        let all = supervisor.json("/v1/workers").await;
        let third = all["workers"].as_array().unwrap().iter().find(|one| one["id"] == "third");
        third.is_some_and(|one| one["in_flight"].as_u64() > Some(0))
    })
    .await;
    third.into_process().kill().await;
    sending.await.unwrap();
    supervisor.until_released("orders", 400).await;
    drop(new);
}

#[tokio::test]
async fn heartbeats_are_for_those_who_register_only() {
    let worker = FakeWorker::upper().await;
    let setup = Setup::new(format!("[pools.default]\nworkers = {}\n", urls([&worker])));
    let supervisor = setup.start().await;
    until("it is there", || async {
        state(&supervisor, &worker.url()).await.as_deref() == Some("active")
    })
    .await;
    let headers = [("content-type", "application/json")];
    let answer = supervisor.call(Method::PUT, "/v1/workers/x", &headers, "{").await;
    let _ = answer.problem(400);
    assert_eq!(state(&supervisor, "x").await, None);
}
