//! The command line and the configuration (contract §7 and §8).

use std::fs;

use serde_json::json;
use tests::{
    harness::{Setup, Signal, now, until},
    peers::{Act, Destination, FakeWorker},
};

use crate::{ms, urls};

#[tokio::test]
async fn mistakes_are_named_with_their_line_and_the_nearest_key() {
    let huge = "x".repeat(10_000);
    for (text, said) in [
        ("[server]\n\nlisen = \"127.0.0.1:0\"\n", &[":3:", "lisen", "listen"][..]),
        ("[streams.orders]\ntimout = \"2s\"\n", &[":2:", "timout", "timeout"]),
        ("[streams.orders]\ntimeout = \"soon\"\n", &[":2:", "timeout", "soon"]),
        ("[streams.orders]\ntimeout = 0\n", &[":2:", "timeout"]),
        ("[streams.orders]\nmultiplier = nan\n", &[":2:", "multiplier"]),
        ("[streams.orders]\nmultiplier = 1e400\n", &[":2:"]),
        ("[streams.orders]\nwindow = 0\n", &[":2:", "window"]),
        ("[streams.orders]\nwindow = 18446744073709551616\n", &[":2:"]),
        ("[streams.orders]\nmax_attempts = -1\n", &[":2:", "max_attempts"]),
        ("[limits]\nmessage_bytes = 1\nmessage_bytes = 2\n", &[":3:", "message_bytes"]),
        ("[limits]\nmessage_bytes = \"1 ZiB\"\n", &[":2:", "message_bytes"]),
        ("[pools.default]\nworkers = [\"tcp://a:7\"]\n", &[":2:", "workers"]),
        ("[subscriptions.a]\nurl = \"http://a\"\nsecret = \"weak\"\n", &[":3:", "secret"]),
        ("this is no toml\n", &[":1:"]),
        ("[tokens]\n", &[":1:", "tokens"]),
        (&huge, &[":1:"]),
    ] {
        let setup = Setup::new(text);
        let file = setup.config();
        let checked = setup.run(&["check-config", "--config", file.to_str().unwrap()]).await;
        for ended in [setup.fail().await, checked] {
            assert_eq!(ended.code, Some(2), "{text:.60}: {}", ended.stderr);
            assert!(ended.stderr.contains("rollcall.toml"), "{text:.60}: {}", ended.stderr);
            for word in said {
                assert!(ended.stderr.contains(word), "{text:.60}: {word}: {}", ended.stderr);
            }
        }
        assert!(!setup.data().exists(), "nothing was begun");
    }
}

#[tokio::test]
async fn what_is_right_is_said_so_and_wrong_usage_is_2() {
    let setup = Setup::new("[streams.\"*\"]\ntimeout = \"2s\"\n");
    let file = setup.config().to_str().unwrap().to_owned();
    let checked = setup.run(&["check-config", "--config", &file]).await;
    assert_eq!((checked.code, checked.stderr.as_str()), (Some(0), ""));
    let example = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/rollcall.example.toml");
    assert_eq!(setup.run(&["check-config", "--config", example]).await.code, Some(0));
    for wrong in [
        &["serve", "--unknown"][..],
        &["nonsense"],
        &[],
        &["check-config"],
        &["serve", "--config", "/nowhere/at/all"],
        &["check-config", "--config", "/nowhere/at/all"],
        &["serve", "--listen", "nowhere"],
        &["skip", "orders", "1"],
    ] {
        let ended = setup.run(wrong).await;
        assert_eq!(ended.code, Some(2), "{wrong:?}: {}", ended.stderr);
        assert!(!ended.stderr.is_empty());
    }
    for right in [&["--help"][..], &["--version"], &["completions", "bash"]] {
        assert_eq!(setup.run(right).await.code, Some(0), "{right:?}");
    }
}

#[tokio::test]
async fn an_address_that_is_taken_is_1() {
    let setup = Setup::new("");
    let supervisor = setup.start().await;
    let taken = supervisor.url().trim_start_matches("http://");
    let data = setup.folder().join("other");
    let ended = setup.run(&["serve", "--listen", taken, "--data", data.to_str().unwrap()]).await;
    assert_eq!(ended.code, Some(1));
    assert!(ended.stderr.contains(taken), "{}", ended.stderr);
}

#[tokio::test]
async fn a_reload_applies_the_whole_file_or_nothing() {
    let setup = Setup::new("[limits]\nmessage_bytes = 100\n");
    let supervisor = setup.start().await;
    let _ = supervisor.message("orders", &[], vec![b'x'; 150]).await.problem(413);
    let (worker, destination) = (FakeWorker::upper().await, Destination::start().await);
    let good = format!(
        "[limits]\nmessage_bytes = 200\n[streams.\"*\"]\nmax_backlog = 5\n\
         [pools.default]\nworkers = {}\n\
         [subscriptions.all]\nstart = \"beginning\"\nurl = {:?}\n",
        urls([&worker]),
        destination.url()
    );
    setup.configure(&good);
    supervisor.process().signal(Signal::HUP);
    until("it is applied", || async { supervisor.process().log().contains("reloaded") }).await;
    assert_eq!(supervisor.send("orders", vec![b'x'; 150]).await, 1);
    until("delivered", || async { destination.taken("orders") == [1] }).await;
    // A mistake anywhere changes nothing.
    setup.configure(good.replace("200", "300") + "[limts]\n");
    supervisor.process().signal(Signal::HUP);
    until("it is refused", || async { supervisor.process().log().contains("stays as it was") })
        .await;
    assert!(supervisor.process().log().contains("limts"));
    let _ = supervisor.message("orders", &[], vec![b'x'; 250]).await.problem(413);
    assert_eq!(supervisor.send("orders", "still here").await, 2);
    // Nor does a file that is gone.
    fs::remove_file(setup.config()).unwrap();
    supervisor.process().signal(Signal::HUP);
    until("it is refused again", || async {
        supervisor.process().log().matches("stays as it was").count() == 2
    })
    .await;
    // What was taken out stands still; what needs a restart is said.
    setup.configure("[limits]\nmessage_bytes = 100\n[journal]\nsegment_bytes = \"1 MiB\"\n");
    supervisor.process().signal(Signal::HUP);
    until("it is applied", || async {
        supervisor.process().log().matches("configuration reloaded").count() == 2
    })
    .await;
    let log = supervisor.process().log();
    assert!(log.lines().last().unwrap().contains("journal"), "{log}");
    let left = &supervisor.json("/v1/subscriptions").await["subscriptions"];
    assert_eq!(left[0]["paused_reason"], "unconfigured", "{left}");
    until("its workers are gone", || async {
        supervisor.json("/v1/workers").await["workers"] == json!([])
    })
    .await;
}

#[tokio::test]
async fn the_first_signal_drains_and_the_second_stops_at_once() {
    let worker = FakeWorker::start(|_| Act::Hang).await;
    let setup = Setup::new(format!(
        "[streams.\"*\"]\ntimeout = \"1h\"\n[pools.default]\nworkers = {}\n",
        urls([&worker])
    ));
    for (first, second) in [(Signal::TERM, Signal::TERM), (Signal::INT, Signal::TERM)] {
        let supervisor = setup.start().await;
        supervisor.send("orders", "x").await;
        let before = worker.count();
        until("it is out", || async { worker.count() > before || before > 0 }).await;
        let client = supervisor.client();
        supervisor.process().signal(first);
        until("it drains", || async { client.get("/readyz").await.status == 503 }).await;
        tokio::time::sleep(ms(300)).await;
        assert_eq!(client.get("/livez").await.status, 200, "it waits for what is out");
        let started = now();
        supervisor.process().signal(second);
        supervisor.ended().await;
        assert!(started.elapsed() < ms(3000), "{:?}", started.elapsed());
    }
    let supervisor = setup.start().await;
    assert_eq!(supervisor.json("/v1/streams/orders").await["next_sequence"], 3);
}

#[tokio::test]
async fn an_idle_supervisor_goes_at_once_and_says_0() {
    for signal in [Signal::TERM, Signal::INT] {
        let setup = Setup::new("");
        let supervisor = setup.start().await;
        supervisor.send("orders", "x").await;
        let started = now();
        supervisor.process().signal(signal);
        assert_eq!(supervisor.ended().await.code, Some(0));
        assert!(started.elapsed() < ms(5000), "{:?}", started.elapsed());
    }
}

#[tokio::test]
async fn draining_is_not_for_ever() {
    let worker = FakeWorker::start(|_| Act::Hang).await;
    let setup = Setup::new(format!(
        "[server]\ndrain_timeout = \"1s\"\n[streams.\"*\"]\ntimeout = \"1h\"\n\
         [pools.default]\nworkers = {}\n",
        urls([&worker])
    ));
    let supervisor = setup.start().await;
    supervisor.send("orders", "x").await;
    until("it is out", || async { worker.count() == 1 }).await;
    let started = now();
    assert_eq!(supervisor.terminate().await.code, Some(0));
    let took = started.elapsed();
    assert!((ms(900)..ms(6000)).contains(&took), "{took:?}");
    // The next start makes the attempt again.
    worker.set(|_| Act::ok("done"));
    let supervisor = setup.start().await;
    supervisor.until_released("orders", 1).await;
    assert_eq!(worker.calls()[1].attempt, 1);
}
