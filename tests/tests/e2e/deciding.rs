//! Who decides sees what there is to decide on, and may take back what has no result yet.

use http::Method;
use serde_json::{Value, json};
use tests::{
    harness::{Setup, Supervisor, until},
    peers::{Act, Call, FakeWorker, Reply},
};

use crate::urls;

/// Refuses "bad…", never answers "hang…", and answers the rest.
fn by_body(call: &Call) -> Act {
    if call.body.starts_with(b"bad") {
        Act::status(422)
    } else if call.body.starts_with(b"hang") {
        Act::Hang
    } else {
        Act::ok(call.body.clone())
    }
}

async fn start(worker: &FakeWorker, more: &str) -> (Setup, Supervisor) {
    let setup = Setup::new(format!(
        "[streams.\"*\"]\njitter = \"1ms\"\nmax_attempts = 1\n\
         timeout = \"60s\"\nhedge = \"off\"\n{more}\n\
         [pools.default]\nworkers = {}\neject_after = 1000\nretries_per_second = 100000\n",
        urls([worker])
    ));
    let supervisor = setup.start().await;
    (setup, supervisor)
}

const JSON: &[(&str, &str)] = &[("content-type", "application/json")];

#[tokio::test]
async fn a_message_and_its_result_are_files_that_nobody_runs() {
    let worker = FakeWorker::start(by_body).await;
    let (_setup, supervisor) = start(&worker, "").await;
    let typed = [("content-type", "text/html; charset=utf-8")];
    let body = "bad <script>alert(1)</script>";
    assert_eq!(supervisor.message("a", &typed, body).await.status, 202);
    assert_eq!(supervisor.message("a", &typed, "good").await.status, 202);
    supervisor.until_state("a", 1, "parked").await;
    supervisor.until_state("a", 2, "completed").await;
    let file = async |path: &str, text: &str| {
        let answer = supervisor.get(&format!("/v1/streams/a/messages/{path}")).await;
        assert_eq!((answer.status, &answer.body[..]), (200, text.as_bytes()), "{path}");
        assert!(answer.header("content-disposition").starts_with("attachment"));
        assert_eq!(answer.header("x-content-type-options"), "nosniff");
        assert!(answer.header("content-security-policy").contains("sandbox"));
        answer
    };
    assert_eq!(file("1/body", body).await.header("content-type"), typed[0].1);
    file("2/body", "good").await;
    assert_eq!(file("2/result", "good").await.header("rollcall-outcome"), "completed");
    let _ = supervisor.get("/v1/streams/a/messages/1/result").await.problem(404);
    let _ = supervisor.get("/v1/streams/a/messages/3/body").await.problem(404);
    let _ = supervisor.get("/v1/streams/a/messages/3/result").await.problem(404);
    let _ = supervisor.get("/v1/streams/b/messages/1/body").await.problem(404);
    let waiting = supervisor.json("/v1/streams/a/messages/2").await;
    assert_eq!(
        (waiting["attempts"][0]["outcome"].as_str(), waiting["attempts"][0]["status"].as_u64()),
        (Some("ok"), Some(200))
    );
    let skip = supervisor.post("/v1/streams/a/messages/1/skip", JSON, r#"{"reason":"old"}"#).await;
    assert_eq!(skip.status, 200);
    supervisor.until_released("a", 2).await;
    let gone = supervisor.get("/v1/streams/a/messages/2/body").await;
    let _ = gone.problem(410);
    file("2/result", "good").await;
    assert_eq!(
        supervisor.get("/v1/streams/a/messages/1/result").await.header("rollcall-outcome"),
        "skipped"
    );
}

#[tokio::test]
async fn what_is_worked_on_is_taken_back_also_after_a_restart() {
    let worker = FakeWorker::start(by_body).await;
    let (setup, supervisor) = start(&worker, "max_in_flight = 1").await;
    for body in ["hang", "2", "3"] {
        supervisor.send("a", body).await;
    }
    supervisor.until_state("a", 1, "dispatched").await;
    supervisor.kill().await;
    let supervisor = setup.start().await;
    supervisor.until_state("a", 1, "dispatched").await;
    let skip =
        supervisor.post("/v1/streams/a/messages/1/skip", JSON, r#"{"reason":"hangs"}"#).await;
    assert_eq!(skip.status, 200);
    supervisor.until_released("a", 3).await;
    let first = supervisor.json("/v1/streams/a/messages/1").await;
    assert_eq!(
        (&first["outcome"], &first["attempts"][0]["outcome"]),
        (&json!("skipped"), &json!("cancelled"))
    );
    let again = supervisor.post("/v1/streams/a/messages/2/resolve", &[], "x").await;
    assert_eq!(again.problem(409)["type"], "urn:rollcall:problem:has-result");
}

#[tokio::test]
async fn parked_messages_come_in_pages_and_groups_and_go_in_bulk() {
    let worker = FakeWorker::start(|call| {
        let text = String::from_utf8_lossy(&call.body).into_owned();
        Act::Answer(Reply::new(422, "").with("rollcall-reason", format!("no article {text} here")))
    })
    .await;
    let (_setup, supervisor) = start(&worker, "").await;
    let lines = |count: u64| (1..=count).map(|number| json!(number));
    assert_eq!(supervisor.lines("a", lines(250)).await.status, 202);
    assert_eq!(supervisor.lines("b", lines(30)).await.status, 202);
    let page = async |query: &str| supervisor.json(&format!("/v1/parked{query}")).await;
    let count = |page: &Value| page["parked"].as_array().unwrap().len();
    let all = async || supervisor.json("/v1/status").await["parked"] == 280;
    until("all are parked", all).await;
    let (mut seen, mut after) = (Vec::new(), String::new());
    loop {
        let page = page(&format!("?limit=50{after}")).await;
        let rows = page["parked"].as_array().unwrap();
        seen.extend(rows.iter().map(|row| (row["stream"].to_string(), row["sequence"].as_u64())));
        assert!(rows.len() <= 50);
        let Some(next) = page["next"].as_str() else { break };
        after = format!("&after={next}");
    }
    seen.dedup();
    assert_eq!(
        (seen.len(), count(&page("").await), count(&page("?stream=b").await)),
        (280, 100, 30)
    );
    assert_eq!(page("?stream=b").await["next"], Value::Null);
    let _ = supervisor.get("/v1/parked?after=x").await.problem(400);
    let _ = supervisor.get("/v1/parked?after=x/1").await.problem(404);
    let groups = supervisor.json("/v1/parked/groups").await;
    assert_eq!((&groups["count"], groups["groups"].as_array().unwrap().len()), (&json!(280), 1));
    let group = &groups["groups"][0];
    assert_eq!((&group["count"], &group["streams"]), (&json!(280), &json!(2)));
    let post = async |act: &str, body: Value| {
        supervisor.post(&format!("/v1/parked/{act}"), JSON, body.to_string()).await
    };
    let _ = post("skip", json!({ "stream": "b" })).await.problem(400);
    let expect = json!({ "stream": "b", "reason": "old", "expect": 29 });
    let refused = post("skip", expect).await.problem(409);
    assert_eq!((&refused["count"], &refused["expect"]), (&json!(30), &json!(29)));
    assert_eq!(count(&page("?stream=b").await), 30, "nothing is done");
    let other = json!({ "signature": "another", "reason": "old" });
    assert_eq!(post("skip", other).await.json()["count"], 0);
    let wanted = json!({ "signature": group["signature"], "reason": "old", "expect": 280 });
    assert_eq!(post("skip", wanted).await.json()["count"], 280);
    supervisor.until_released("a", 250).await;
    supervisor.until_released("b", 30).await;
    let status = supervisor.call(Method::GET, "/v1/status", &[], "").await.json();
    assert_eq!(status["parked"], 0);
}
