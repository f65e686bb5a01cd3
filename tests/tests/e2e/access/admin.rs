//! A second address for people.

use http::Method;
use tests::{
    harness::{Client, Setup, WorkerProcess},
    peers::FakeWorker,
};

use crate::urls;

#[tokio::test]
async fn with_a_second_address_the_first_is_for_messages_and_workers_alone() {
    let fake = FakeWorker::upper().await;
    let setup = Setup::new(format!(
        "[server]\nadmin_listen = \"127.0.0.1:0\"\n[pools.default]\nworkers = {}\n",
        urls([&fake])
    ));
    let mut supervisor = setup.start().await;
    let admin = Client::new(&supervisor.said("admin listening on ").await);
    assert_ne!(admin.url(), supervisor.url());
    let wait = [("prefer", "wait=30")];
    assert_eq!(supervisor.message("orders", &wait, "a").await.text(), "A");
    let answer = supervisor.message("orders", &[], "b").await;
    let location = answer.header("location").to_owned();
    assert_eq!(supervisor.get(&location).await.json()["sequence"], 2);
    assert_eq!(supervisor.lines("orders", ["c".into()]).await.status, 202);
    let _worker = WorkerProcess::start(&[
        "--supervisor",
        supervisor.url(),
        "--id",
        "w",
        "--builtin",
        "upper",
    ])
    .await;
    for path in ["/livez", "/readyz"] {
        assert_eq!((supervisor.get(path).await.status, admin.get(path).await.status), (200, 200));
    }
    for (method, path) in [
        (Method::GET, "/"),
        (Method::GET, "/metrics"),
        (Method::GET, "/v1/status"),
        (Method::GET, "/v1/workers"),
        (Method::GET, "/v1/results"),
        (Method::GET, "/v1/streams/orders"),
        (Method::GET, "/v1/streams/orders/results"),
        (Method::GET, "/v1/subscriptions"),
        (Method::POST, "/v1/streams/orders/pause"),
        (Method::POST, "/v1/streams/orders/resume"),
        (Method::PUT, "/v1/subscriptions/s"),
    ] {
        let refused = supervisor.call(method.clone(), path, &[], "{}").await;
        let problem = refused.problem(404);
        assert!(problem["detail"].as_str().unwrap().contains("admin_listen"), "{path}: {problem}");
        let answer = admin.call(method, path, &[], "{}").await;
        assert!(answer.status < 300, "{path}: {}", answer.text());
    }
    assert_eq!(admin.message("orders", &wait, "d").await.text(), "D");
}

#[tokio::test]
async fn an_address_that_is_taken_stops_the_start() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    for config in [
        format!("server.admin_listen = \"{address}\""),
        format!("[[tcp]]\nlisten = \"{address}\"\nstream = \"a\""),
    ] {
        let ended = Setup::new(config).fail().await;
        assert_eq!(ended.code, Some(1), "{}", ended.stderr);
        assert!(ended.stderr.contains(&address.to_string()), "{}", ended.stderr);
    }
}
