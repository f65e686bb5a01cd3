//! Tokens, with the real program.

use std::fs;

use http::Method;
use serde_json::{Value, json};
use tests::{
    harness::{Client, Setup, Signal, Supervisor, WorkerProcess, until},
    peers::FakeWorker,
};

use super::token;
use crate::urls;

/// Every scope, and some streams.
fn tokens() -> String {
    [
        token("sender", "scopes = [\"send\"]"),
        token("shop", "scopes = [\"send\"]\nstreams = [\"orders\", \"customer.*\"]"),
        token("reader", "scopes = [\"read\"]"),
        token("clerk", "scopes = [\"read\", \"admin\"]\nstreams = [\"customer.*\"]"),
        token("worker", "scopes = [\"work\"]"),
        token("boss", "scopes = [\"admin\"]"),
    ]
    .concat()
}

async fn start(rest: &str) -> (Setup, Supervisor) {
    let setup = Setup::new(format!("{rest}{}", tokens()));
    let supervisor = setup.start().await;
    (setup, supervisor)
}

fn who(supervisor: &Supervisor, name: &str) -> Client {
    supervisor.with_token(&format!("secret-{name}"))
}

const NO_POOL: &str = "[streams.\"*\"]\npool = \"none\"\n";

#[tokio::test]
async fn who_has_no_token_or_an_unknown_one_is_told_so_and_health_is_open() {
    let (_setup, supervisor) = start("").await;
    for path in ["/livez", "/readyz", "/"] {
        assert_eq!(supervisor.get(path).await.status, 200, "{path}");
    }
    for client in [supervisor.client(), supervisor.with_token("secret-nobody")] {
        for (method, path) in [
            (Method::POST, "/v1/streams/orders/messages"),
            (Method::GET, "/v1/streams"),
            (Method::GET, "/metrics"),
            (Method::PUT, "/v1/workers/w"),
            (Method::DELETE, "/v1/subscriptions/s"),
            (Method::GET, "/v1/nothing"),
        ] {
            let answer = client.call(method, path, &[], "x").await;
            let problem = answer.problem(401);
            assert_eq!(problem["type"], "urn:rollcall:problem:unauthorized");
            assert!(answer.header("www-authenticate").starts_with("Bearer"), "{path}");
        }
    }
    assert_eq!(supervisor.get("/metrics").await.header("www-authenticate"), "Bearer");
    // In the query it would stand in every log on the way.
    let query = supervisor.get("/v1/streams?access_token=secret-reader").await;
    assert_eq!(query.status, 401);
    assert_eq!(
        who(&supervisor, "reader").json("/v1/streams").await,
        json!({"streams": [], "next": null})
    );
}

#[tokio::test]
async fn a_token_does_what_its_scopes_say_and_nothing_else() {
    let (_setup, supervisor) = start(NO_POOL).await;
    let worker = json!({"url": "http://127.0.0.1:9", "pool": "default"}).to_string();
    let cases = [
        (Method::POST, "/v1/streams/orders/messages", "x", "send", ["sender", "boss"]),
        (Method::GET, "/v1/streams/orders", "", "read", ["reader", "boss"]),
        (Method::GET, "/v1/status", "", "read", ["reader", "boss"]),
        (Method::GET, "/metrics", "", "read", ["reader", "boss"]),
        (Method::GET, "/v1/results", "", "read", ["reader", "boss"]),
        (Method::PUT, "/v1/workers/w", &*worker, "work", ["worker", "boss"]),
        (Method::POST, "/v1/workers/w/drain", "", "work", ["worker", "boss"]),
        (Method::POST, "/v1/streams/orders/pause", "", "admin", ["boss", "boss"]),
        (Method::POST, "/v1/streams/orders/resume", "", "admin", ["boss", "boss"]),
        (Method::PUT, "/v1/subscriptions/s", "{}", "admin", ["boss", "boss"]),
        (
            Method::POST,
            "/v1/subscriptions/s/checkpoint",
            "{\"position\":1}",
            "read",
            ["reader", "boss"],
        ),
        (Method::POST, "/v1/subscriptions/s/rewind", "{\"position\":0}", "admin", ["boss", "boss"]),
    ];
    for (method, path, body, scope, may) in cases {
        for name in ["sender", "reader", "worker", "boss"] {
            let client = who(&supervisor, name);
            let answer = client.call(method.clone(), path, &[], body.to_owned()).await;
            if may.contains(&name) {
                assert!(answer.status < 300, "{name} {path}: {}", answer.text());
            } else {
                assert_eq!(answer.problem(403)["scope"], scope, "{name} {path}");
            }
        }
    }
}

#[tokio::test]
async fn a_token_for_some_streams_sees_nothing_of_the_others() {
    let (_setup, supervisor) = start(NO_POOL).await;
    let (boss, shop, clerk) =
        (who(&supervisor, "boss"), who(&supervisor, "shop"), who(&supervisor, "clerk"));
    for stream in ["orders", "customer.1", "customer.2", "secret"] {
        assert_eq!(boss.send(stream, stream.to_owned()).await, 1);
        boss.until_released(stream, 1).await;
    }
    assert_eq!(shop.send("customer.1", "more").await, 2);
    let _ = shop.message("secret", &[], "x").await.problem(403);
    let _ = shop.post("/v1/streams/secr%65t/messages", &[], "x").await.problem(403);
    let names = |list: Value, key: &str| -> Vec<String> {
        let all = list[key].as_array().unwrap().clone();
        all.iter().map(|one| one["stream"].as_str().unwrap().to_owned()).collect()
    };
    boss.until_released("customer.1", 2).await;
    assert_eq!(names(clerk.json("/v1/streams").await, "streams"), ["customer.1", "customer.2"]);
    let page = clerk.json("/v1/results").await;
    assert_eq!((&page["next"], &page["caught_up"]), (&json!(5), &json!(true)));
    assert_eq!(names(page, "results"), ["customer.1", "customer.2", "customer.1"]);
    assert_eq!(clerk.json("/v1/results?after=3&limit=1").await["results"][0]["sequence"], 2);
    assert_eq!(clerk.json("/v1/parked").await, json!({"parked": [], "next": null}));
    for path in [
        "/v1/streams/secret",
        "/v1/streams/secret/results",
        "/v1/streams/orders/messages/1",
        "/v1/parked?stream=secret",
        "/v1/status",
        "/v1/workers",
        "/v1/audit",
        "/metrics",
    ] {
        let _ = clerk.get(path).await.problem(403);
    }
    for (path, body) in [
        ("/v1/streams/secret/pause", "{}"),
        ("/v1/parked/retry", "{}"),
        ("/v1/parked/retry", "{\"stream\":\"secret\"}"),
    ] {
        let _ = clerk.post(path, &[], body).await.problem(403);
    }
    let bulk = clerk.post("/v1/parked/retry", &[], "{\"stream\":\"customer.1\"}").await;
    assert_eq!((bulk.status, bulk.json()), (200, json!({"count": 0})));
}

#[tokio::test]
async fn a_subscription_is_of_those_who_may_see_all_of_it() {
    let (_setup, supervisor) = start(NO_POOL).await;
    let (boss, clerk) = (who(&supervisor, "boss"), who(&supervisor, "clerk"));
    assert_eq!(boss.put("/v1/subscriptions/all", &json!({})).await.status, 201);
    let own = json!({"streams": ["customer.*"], "start": "beginning"});
    assert_eq!(clerk.put("/v1/subscriptions/own", &own).await.status, 201);
    let _ = clerk.put("/v1/subscriptions/wide", &json!({"streams": ["cust*"]})).await.problem(403);
    // Nor may it take another one over.
    let _ = clerk.put("/v1/subscriptions/all", &own).await.problem(403);
    for path in ["/v1/subscriptions/all", "/v1/subscriptions/all/results"] {
        let _ = clerk.get(path).await.problem(403);
    }
    for path in ["pause", "resume"] {
        let _ = clerk.post(&format!("/v1/subscriptions/all/{path}"), &[], "").await.problem(403);
    }
    let position = "{\"position\":0}";
    for path in ["rewind", "checkpoint"] {
        let path = format!("/v1/subscriptions/all/{path}");
        let _ = clerk.post(&path, &[], position).await.problem(403);
    }
    let _ = clerk.delete("/v1/subscriptions/all").await.problem(403);
    let names = |list: Value| -> Vec<Value> {
        list["subscriptions"].as_array().unwrap().iter().map(|one| one["name"].clone()).collect()
    };
    assert_eq!(names(clerk.json("/v1/subscriptions").await), ["own"]);
    assert_eq!(names(boss.json("/v1/subscriptions").await), ["all", "own"]);
    boss.send("customer.1", "x").await;
    boss.until_released("customer.1", 1).await;
    let results = clerk.json("/v1/subscriptions/own/results").await;
    assert_eq!(results["results"][0]["stream"], "customer.1");
    assert_eq!(clerk.delete("/v1/subscriptions/own").await.status, 204);
}

#[tokio::test]
async fn the_audit_knows_who_it_was_whatever_they_say() {
    let (_setup, supervisor) = start(NO_POOL).await;
    let boss = who(&supervisor, "boss");
    boss.send("orders", "x").await;
    let lie = [("rollcall-actor", "somebody else")];
    let paused = boss.post("/v1/streams/orders/pause", &lie, "{\"reason\":\"lunch\"}").await;
    assert_eq!(paused.status, 200);
    let audit = boss.json("/v1/audit").await;
    assert_eq!(
        (&audit["audit"][0]["by"], &audit["audit"][0]["reason"]),
        (&json!("boss"), &json!("lunch"))
    );
    assert!(!audit.to_string().contains("somebody"), "{audit}");
}

#[tokio::test]
async fn a_reload_takes_tokens_and_their_files_whole_or_not_at_all() {
    let setup = Setup::new("");
    let file = setup.folder().join("token");
    let with_file = |rest: &str| {
        format!("{rest}[[tokens]]\nname = \"filed\"\nsecret_file = {file:?}\nscopes = [\"read\"]\n")
    };
    fs::write(&file, "first\n").unwrap();
    setup.configure(with_file(""));
    let supervisor = setup.start().await;
    let opens =
        async |token: &str| supervisor.with_token(token).get("/v1/streams").await.status == 200;
    assert!(opens("first").await && !opens("second").await);
    fs::write(&file, "second\n").unwrap();
    supervisor.process().signal(Signal::HUP);
    until("the new one opens", async || opens("second").await).await;
    assert!(!opens("first").await);
    // Without its file the configuration is no whole one.
    fs::remove_file(&file).unwrap();
    setup.configure(with_file(&token("another", "scopes = [\"read\"]")));
    supervisor.process().signal(Signal::HUP);
    until("it is said", async || supervisor.process().log().contains("stays as it was")).await;
    assert!(opens("second").await && !opens("secret-another").await);
    assert!(!supervisor.process().log().contains("secret-another"));
}

#[tokio::test]
async fn the_command_line_and_the_worker_show_their_tokens() {
    let (setup, supervisor) = start("").await;
    let url = supervisor.url().to_owned();
    let file = setup.folder().join("token");
    fs::write(&file, "secret-worker\n").unwrap();
    let file = file.to_str().unwrap();
    let worker = ["--supervisor", &url, "--id", "w", "--builtin", "upper", "--token-file", file];
    let _worker = WorkerProcess::start(&worker).await;
    let boss = who(&supervisor, "boss");
    until("it is registered", async || {
        boss.json("/v1/workers").await["workers"].as_array().unwrap().len() == 1
    })
    .await;
    boss.send("orders", "abc").await;
    boss.until_released("orders", 1).await;
    let results = async |token: &[&str]| {
        let command = [&["results", "orders", "--url", &*url][..], token].concat();
        setup.run(&command).await
    };
    let shown = results(&["--token", "secret-reader"]).await;
    assert_eq!((shown.code, shown.stdout.contains("ABC")), (Some(0), true), "{}", shown.stderr);
    let refused = results(&[]).await;
    assert_eq!(refused.code, Some(1));
    assert!(refused.stderr.contains("needs a token"), "{}", refused.stderr);
    let refused = results(&["--token-file", file]).await;
    assert!(refused.stderr.contains("has no scope \"read\""), "{}", refused.stderr);
}

#[tokio::test]
async fn beyond_loopback_it_starts_with_tokens_or_when_told_so() {
    let anywhere = "server.listen = \"0.0.0.0:0\"\n";
    let config = |rest: &str| {
        let setup = Setup::new(format!("{anywhere}{rest}"));
        let file = setup.config().to_str().unwrap().to_owned();
        (setup, file)
    };
    for (rest, code) in
        [("", 2), (&*token("a", "scopes = [\"read\"]"), 0), ("server.insecure = true", 0)]
    {
        let (setup, file) = config(rest);
        let checked = setup.run(&["check-config", "--config", &file]).await;
        assert_eq!(checked.code, Some(code), "{rest}: {}", checked.stderr);
    }
    let (setup, file) = config("");
    let data = setup.data().to_str().unwrap().to_owned();
    let refused = setup.run(&["serve", "--config", &file, "--data", &data]).await;
    assert_eq!(refused.code, Some(2));
    assert!(refused.stderr.contains("insecure"), "{}", refused.stderr);
}

#[tokio::test]
async fn workers_are_reached_with_tokens_as_without() {
    let worker = FakeWorker::upper().await;
    let pool = format!("[pools.default]\nworkers = {}\n", urls([&worker]));
    let (_setup, supervisor) = start(&pool).await;
    let path = "/v1/streams/orders/messages";
    let answer = who(&supervisor, "sender").post(path, &[("prefer", "wait=30")], "abc").await;
    assert_eq!((answer.status, answer.text()), (200, "ABC".to_owned()));
    assert_eq!(worker.calls()[0].header("authorization"), "", "a token goes no further");
}
