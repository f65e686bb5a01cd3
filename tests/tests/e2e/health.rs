//! Workers' health: what an outage, stragglers and poison do, and what they must not do.

use std::{
    collections::BTreeSet,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::SeqCst},
    },
    time::Duration,
};

use futures_util::future::join_all;
use serde_json::{Value, json};
use tests::{
    harness::{Setup, Signal, Supervisor, WorkerProcess, now, spawn, until, until_within},
    peers::{Act, Call, Destination, FakeWorker, Reply},
};

use crate::{ms, urls};

/// A list of the processes' URLs as it stands in a configuration.
fn process_urls(workers: &[WorkerProcess]) -> String {
    let urls: Vec<_> = workers.iter().map(|worker| format!("{:?}", worker.url())).collect();
    format!("[{}]", urls.join(", "))
}

async fn workers_shown(supervisor: &Supervisor) -> Vec<Value> {
    supervisor.json("/v1/workers").await["workers"].as_array().unwrap().clone()
}

/// Sends so many messages to each of eight streams at each tick, whatever becomes of them.
async fn send_steadily(supervisor: &Supervisor, (tick, each): (Duration, u64), ticks: u64) {
    let mut interval = tokio::time::interval(tick);
    let mut sending = Vec::new();
    for _ in 0..ticks {
        interval.tick().await;
        for stream in 0..8 {
            let client = supervisor.client();
            sending.push(spawn(async move {
                let lines = (0..each).map(|number| json!(number));
                assert_eq!(client.lines(&format!("s{stream}"), lines).await.status, 202);
            }));
        }
    }
    for one in sending {
        one.await.unwrap();
    }
}

/// F-66, scaled down: at about four fifths of what the workers can do all of them stand still for
/// four seconds, and the load stays what it is. The whole length stands in the simulator
/// (`tests/src/sim/steady/outages.rs`).
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn goodput_comes_back_after_all_workers_stood_still() {
    let mut workers = Vec::new();
    for _ in 0..2 {
        let arguments = ["--concurrency", "4", "--builtin", "sleep=80ms"];
        workers.push(WorkerProcess::start(&arguments).await);
    }
    // 8 at once, 80 ms each: 100/s.
    let setup = Setup::new(format!(
        "[streams.\"*\"]\ntimeout = \"1s\"\njitter = \"200ms\"\nmax_attempts = 20\n\
         [pools.default]\nworkers = {}\nconcurrency = 4\neject_for = \"2s\"\n",
        process_urls(&workers)
    ));
    let supervisor = setup.start().await;
    // 80/s for 28 s.
    let sending = spawn({
        let client = supervisor.client();
        async move {
            let mut interval = tokio::time::interval(ms(100));
            for _ in 0..280 {
                interval.tick().await;
                for stream in 0..8 {
                    client.send(&format!("s{stream}"), "x").await;
                }
            }
        }
    });
    let released = || async { supervisor.metric("rollcall_released_total").await };
    tokio::time::sleep(ms(2_000)).await;
    let (start, at) = (released().await, now());
    tokio::time::sleep(ms(4_000)).await;
    let before = (released().await - start) * 1_000 / at.elapsed().as_millis() as u64;
    workers.iter().for_each(|worker| worker.process().signal(Signal::STOP));
    tokio::time::sleep(ms(4_000)).await;
    workers.iter().for_each(|worker| worker.process().signal(Signal::CONT));
    tokio::time::sleep(ms(12_000)).await;
    let (start, at) = (released().await, now());
    tokio::time::sleep(ms(5_000)).await;
    let after = (released().await - start) * 1_000 / at.elapsed().as_millis() as u64;
    assert!(after * 100 >= before * 95, "{before}/s before, {after}/s after");
    sending.await.unwrap();
    for stream in 0..8 {
        supervisor.until_released(&format!("s{stream}"), 280).await;
    }
    let attempts = supervisor.metric("rollcall_attempts_total").await;
    let rejected = supervisor.metric("rollcall_attempts_rejected_uncounted_total").await;
    let most = 8 * 280 * 12 / 10 + 10 * 40;
    println!(
        "{before}/s before, {after}/s after; {attempts} attempts of {}, {rejected} away",
        8 * 280
    );
    assert!(attempts <= most + rejected, "{attempts} attempts, {rejected} turned away");
}

/// F-47: one execution in a hundred takes a hundred times as long.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn stragglers_are_overtaken_by_their_copies() {
    let mut slowest = Vec::new();
    for hedge in ["off", "auto"] {
        let executions = Arc::new(AtomicU64::new(0));
        let workers = join_all((0..3).map(|_| {
            let executions = Arc::clone(&executions);
            FakeWorker::start(move |call| {
                let slow = executions.fetch_add(1, SeqCst) % 100 == 99;
                Act::ok_after(ms(if slow { 1_500 } else { 15 }), call.body.clone())
            })
        }))
        .await;
        let setup = Setup::new(format!(
            "[streams.\"*\"]\nhedge = {hedge:?}\n[pools.default]\nworkers = {}\n",
            urls(&workers)
        ));
        let supervisor = setup.start().await;
        send_steadily(&supervisor, (ms(40), 1), 250).await;
        for stream in 0..8 {
            supervisor.until_released(&format!("s{stream}"), 250).await;
        }
        let mut took = Vec::new();
        for stream in 0..8 {
            for result in supervisor.results(&format!("s{stream}")).await {
                took.push(millis(&result["released_at"]) - millis(&result["accepted_at"]));
            }
        }
        took.sort_unstable();
        let at = |permille: usize| took[took.len() * permille / 1_000];
        let attempts = supervisor.metric("rollcall_attempts_total").await;
        println!("{hedge}: p50 {} ms, p99 {} ms, {attempts} attempts", at(500), at(990));
        assert_eq!(took.len(), 2_000);
        slowest.push(at(970));
        if hedge == "off" {
            assert_eq!(attempts, 2_000);
        } else {
            assert!(supervisor.metric("rollcall_hedges_won_total").await > 0);
            assert!(attempts <= 2_200, "{attempts} attempts");
        }
    }
    assert!(slowest[1] * 2 < slowest[0], "off, auto: {slowest:?} ms");
}

/// Milliseconds of a time as the API writes it: its hour is enough.
fn millis(time: &Value) -> i64 {
    let text = time.as_str().expect("a time");
    let (_, clock) = text.split_once('T').expect("a time");
    let mut parts = clock.trim_end_matches('Z').split(':');
    let mut next = || parts.next().expect("a part").to_owned();
    let (hours, minutes) = (next().parse::<i64>().unwrap(), next().parse::<i64>().unwrap());
    let seconds: f64 = next().parse().unwrap();
    (hours * 60 + minutes) * 60_000 + (seconds * 1_000.0).round() as i64
}

/// F-55: a message of which every worker dies.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_message_of_which_two_workers_died_is_parked_and_the_third_lives() {
    // The program kills the worker that runs it.
    let script =
        "read line; case $line in deadly) kill -9 $PPID;; *) sleep 0.05; echo \"$line\";; esac";
    let mut workers = Vec::new();
    for _ in 0..3 {
        workers.push(WorkerProcess::start(&["--exec", "--", "sh", "-c", script]).await);
    }
    let destination = Destination::start().await;
    let setup = Setup::new(format!(
        "[streams.\"*\"]\ntimeout = \"5s\"\njitter = \"20ms\"\nmax_attempts = 10\n\
         on_exhausted = \"skip\"\n[pools.default]\nworkers = {}\nconcurrency = 4\n\
         [subscriptions.all]\nurl = {:?}\nstart = \"beginning\"\n",
        process_urls(&workers),
        destination.url()
    ));
    let supervisor = setup.start().await;
    for number in 1..=40 {
        supervisor.send("orders", if number == 17 { "deadly" } else { "well" }).await;
    }
    supervisor.until_released("orders", 40).await;
    let results = supervisor.results("orders").await;
    for (number, result) in (1..).zip(&results) {
        let outcome = if number == 17 { "skipped" } else { "completed" };
        assert_eq!(result["outcome"], outcome, "{number}: {result}");
    }
    let reason = results[16]["reason"].as_str().unwrap();
    assert!(reason.starts_with("suspected poison: workers "), "{reason}");
    assert_eq!(reason.matches("http://").count(), 2, "{reason}");
    assert_eq!(supervisor.metric("rollcall_poison_suspected_total").await, 1);
    let mut alive = 0;
    for worker in &workers {
        let place = worker.url().trim_start_matches("http://").to_owned();
        alive += usize::from(tokio::net::TcpStream::connect(place).await.is_ok());
    }
    assert_eq!(alive, 1, "two have died, and no third");
    until("all are delivered", || async { destination.count() >= 39 }).await;
    let order: Vec<u64> = (1..=40).filter(|number| *number != 17).collect();
    assert_eq!(destination.taken("orders"), order);
}

/// F-45: all workers fail for a while. Tries are few while they do, and all is done afterwards.
#[tokio::test]
async fn a_pool_that_fails_is_spared_and_works_everything_off_when_it_is_well_again() {
    let failing = |_: &Call| Act::status(500);
    let (one, two) = (FakeWorker::start(failing).await, FakeWorker::start(failing).await);
    let setup = Setup::new(format!(
        "[streams.\"*\"]\njitter = \"1ms\"\nmultiplier = 1.0\nmax_attempts = 1000\n\
         [pools.default]\nworkers = {}\neject_after = 1000\n\
         retry_percent = 10\nretries_per_second = 5\noutage = \"off\"\n",
        urls([&one, &two])
    ));
    let supervisor = setup.start().await;
    let begun = now();
    let lines = (0..200).map(|number| json!(number));
    assert_eq!(supervisor.lines("orders", lines).await.status, 202);
    until("the budget is spent", || async {
        supervisor.metric("rollcall_retries_deferred_total").await > 300
    })
    .await;
    let calls = (one.count() + two.count()) as u64;
    let most = 200 + 20 + 5 * (begun.elapsed().as_secs() + 11);
    assert!(calls <= most, "{calls} calls, at most {most}");
    for worker in [&one, &two] {
        worker.set(|call| Act::ok(call.body.clone()));
    }
    let healed = now();
    supervisor.until_released("orders", 200).await;
    assert!(healed.elapsed() < ms(20_000), "{:?}", healed.elapsed());
}

/// F-46: a worker that fails at once looks as if it had nothing to do. It is not preferred, and
/// it is taken out.
#[tokio::test]
async fn a_worker_that_fails_fast_does_not_draw_the_work() {
    let hole = FakeWorker::start(|_| Act::status(500)).await;
    let good = join_all(
        (0..3).map(|_| FakeWorker::start(|call| Act::ok_after(ms(20), call.body.clone()))),
    )
    .await;
    let setup = Setup::new(format!(
        "[streams.\"*\"]\njitter = \"5ms\"\n[pools.default]\nworkers = {}\nconcurrency = 4\n",
        urls(good.iter().chain([&hole]))
    ));
    let supervisor = setup.start().await;
    let lines = (0..600).map(|number| json!(number));
    assert_eq!(supervisor.lines("orders", lines).await.status, 202);
    supervisor.until_released("orders", 600).await;
    assert!(hole.count() < 60, "{} of 600", hole.count());
    assert_eq!(supervisor.metric("rollcall_worker_ejections_total").await, 1);
    assert_eq!(supervisor.json("/v1/parked").await["parked"], json!([]));
}

/// F-54: `Retry-After` as it must not be.
#[tokio::test]
async fn a_pause_of_any_spelling_is_taken_within_bounds() {
    for value in ["0", "-1", "1000000000", "garbage", "1.5", "Sun, 06 Nov 1994 08:49:37 GMT", ""] {
        let busy = Act::Answer(Reply::new(503, "").with("retry-after", value));
        let (one, two) = (FakeWorker::upper().await, FakeWorker::upper().await);
        one.set(move |_| busy.clone());
        let config = "[streams.\"*\"]\njitter = \"5ms\"\n";
        let workers = urls([&one, &two]);
        let setup = Setup::new(format!("{config}[pools.default]\nworkers = {workers}\n"));
        let supervisor = setup.start().await;
        for number in 1..=20 {
            supervisor.send("orders", "x").await;
            supervisor.until_released("orders", number).await;
        }
        assert_eq!(supervisor.metric("rollcall_attempt_failures_total").await, 0, "{value:?}");
        if value == "1000000000" {
            assert!(one.count() <= 1, "{} calls", one.count());
            let paused = workers_shown(&supervisor).await;
            assert!(one.count() == 0 || paused.iter().any(|one| one["state"] == "paused"));
        }
    }
}

/// Workers that are known and not there are as good as none, and people are told so.
#[tokio::test]
async fn a_pool_of_which_nobody_is_there_has_no_worker() {
    let setup = Setup::new("[pools.default]\nworkers = [\"http://127.0.0.1:1\"]\n");
    let supervisor = setup.start().await;
    supervisor.send("orders", "x").await;
    until("no worker", || async {
        supervisor.json("/v1/streams/orders").await["head"]["cause"] == "no_worker"
    })
    .await;
    // Nobody was given it: who can't be connected to is no try.
    assert_eq!(supervisor.timeline("orders", 1).await["state"], "accepted");
}

/// F-56: nobody is there. What comes is taken in up to its bound, and waits without a busy loop.
#[tokio::test]
async fn an_empty_pool_takes_in_up_to_the_bound_and_waits() {
    let setup = Setup::new("[streams.\"*\"]\nmax_backlog = 50\n");
    let supervisor = setup.start().await;
    for _ in 0..50 {
        supervisor.send("orders", "x").await;
    }
    let refused = supervisor.message("orders", &[], "one too many").await;
    assert_eq!(refused.status, 429);
    assert_ne!(refused.header("retry-after"), "");
    let head = supervisor.json("/v1/streams/orders").await["head"]["cause"].clone();
    assert_eq!(head, "no_worker");
    assert_eq!(supervisor.metric("rollcall_attempts_total").await, 0);
    let worker = FakeWorker::upper().await;
    let registration = json!({ "url": worker.url(), "pool": "default" });
    assert_eq!(supervisor.put("/v1/workers/w", &registration).await.status, 200);
    supervisor.until_released("orders", 50).await;
}

/// F-57: workers that come and go all the time. What they have is finished or tried again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn workers_that_flap_lose_nothing_and_leave_nothing_behind() {
    let setup = Setup::new("[streams.\"*\"]\njitter = \"5ms\"\nmax_in_flight = 16\n");
    let supervisor = setup.start().await;
    let workers = join_all((0..4).map(|seed| FakeWorker::random(seed, 1..=20))).await;
    let lines = (0..1_000).map(|number| json!(number));
    assert_eq!(supervisor.lines("orders", lines).await.status, 202);
    let mut turn = 0;
    until_within(Duration::from_secs(60), "all are released", || {
        turn += 1;
        let worker = &workers[turn % workers.len()];
        let path = format!("/v1/workers/w{}", turn % workers.len());
        let registration = json!({ "url": worker.url(), "pool": "default", "concurrency": 4 });
        let supervisor = &supervisor;
        async move {
            if turn % 3 == 0 {
                let answer = supervisor.delete(&path).await;
                assert!([200, 404].contains(&answer.status), "{}", answer.text());
            } else {
                assert_eq!(supervisor.put(&path, &registration).await.status, 200);
            }
            supervisor.json("/v1/streams/orders").await["released"] == 1_000
        }
    })
    .await;
    assert_eq!(supervisor.results("orders").await.len(), 1_000);
    until("nothing is left", || async { supervisor.metric("rollcall_calls_in_flight").await == 0 })
        .await;
    let ids: BTreeSet<_> =
        workers_shown(&supervisor).await.iter().map(|one| one["id"].to_string()).collect();
    assert!(ids.len() <= 4, "{ids:?}");
}
