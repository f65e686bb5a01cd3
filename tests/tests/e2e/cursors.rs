//! What readers may ask for, and where they may begin (contract §3 and §5).

use serde_json::json;
use tests::harness::{Setup, Supervisor};

const NO_POOL: &str = "[streams.\"*\"]\npool = \"none\"\n[subscriptions.pull]\n";
const FEED: (&str, &str) = ("accept", "text/event-stream");
const LINES: (&str, &str) = ("accept", "application/x-ndjson");

async fn start() -> (Setup, Supervisor) {
    let setup = Setup::new(NO_POOL);
    let supervisor = setup.start().await;
    for body in ["1", "2", "3"] {
        supervisor.send("a", body).await;
    }
    supervisor.send("b", "4").await;
    supervisor.until_released("b", 1).await;
    (setup, supervisor)
}

/// The status and the `head` that it names.
async fn begun(
    supervisor: &Supervisor,
    path: &str,
    headers: &[(&str, &str)],
) -> (u16, Option<u64>) {
    let response = supervisor.stream(path, headers).await;
    let status = response.status().as_u16();
    if status == 200 {
        return (status, None);
    }
    let body = response.bytes().await.unwrap();
    let problem: serde_json::Value = serde_json::from_slice(&body).unwrap();
    (status, problem["head"].as_u64())
}

#[tokio::test]
async fn nobody_reads_on_from_beyond_the_head_or_from_what_is_no_cursor() {
    let (_setup, supervisor) = start().await;
    let largest = u64::MAX.to_string();
    for (path, head) in [
        ("/v1/results", 4),
        ("/v1/streams/a/results", 3),
        ("/v1/subscriptions/pull/results", 4),
        ("/v1/streams/new/results", 0),
    ] {
        let (at, beyond) = (head.to_string(), (head + 1).to_string());
        for wrong in [&*beyond, "99", &largest, "18446744073709551616", "-1", "+1", "abc", ""] {
            if head > 0 {
                for form in [&[][..], &[LINES], &[FEED]] {
                    let after = format!("{path}?after={}", wrong.replace('+', "%2B"));
                    let seen = begun(&supervisor, &after, form).await;
                    assert_eq!(seen, (400, Some(head)), "{after} {form:?}");
                }
            }
            let seen = begun(&supervisor, path, &[FEED, ("last-event-id", wrong)]).await;
            assert_eq!(seen, (400, Some(head)), "{path}, Last-Event-ID: {wrong}");
        }
        if head > 0 {
            assert_eq!(begun(&supervisor, &format!("{path}?after={at}"), &[]).await.0, 200);
        }
        assert_eq!(begun(&supervisor, path, &[FEED, ("last-event-id", &at)]).await.0, 200);
    }
    // Nobody has read a header that is for feeds.
    let page = [("last-event-id", "99")];
    assert_eq!(begun(&supervisor, "/v1/results", &page).await.0, 200);
    for position in [5, u64::MAX - 1, u64::MAX] {
        for act in ["checkpoint", "rewind"] {
            let path = format!("/v1/subscriptions/pull/{act}");
            let body = json!({ "position": position }).to_string();
            let problem = supervisor.post(&path, &[], body).await.problem(400);
            assert_eq!(problem["head"], 4, "{act} {position}");
        }
        let _ = supervisor.put("/v1/subscriptions/x", &json!({ "start": position })).await;
    }
    assert_eq!(supervisor.get("/livez").await.status, 200);
}

#[tokio::test]
async fn a_limit_is_at_least_one_wherever_there_is_one() {
    let (_setup, supervisor) = start().await;
    for path in [
        "/v1/results",
        "/v1/streams/a/results",
        "/v1/subscriptions/pull/results",
        "/v1/streams",
        "/v1/audit",
    ] {
        for (limit, status) in [
            ("1", 200),
            ("9223372036854775807", 200),
            ("18446744073709551615", 400),
            ("0", 400),
            ("x", 400),
        ] {
            let answer = supervisor.get(&format!("{path}?limit={limit}")).await;
            assert_eq!(answer.status, status, "{path}?limit={limit}: {}", answer.text());
        }
    }
}

#[tokio::test]
async fn a_query_key_that_nobody_knows_is_refused_by_name() {
    let (_setup, supervisor) = start().await;
    let problem = supervisor.get("/v1/results?aftr=1").await.problem(400);
    assert_eq!((&problem["parameter"], &problem["nearest"]), (&json!("aftr"), &json!("after")));
    // What is sent there is not taken in.
    for path in ["/v1/streams/a/messages?wait=1", "/v1/streams/a/messages:batch?x=1"] {
        let _ = supervisor.post(path, &[], "x").await.problem(400);
    }
    let _ = supervisor.get("/livez?verbose").await.problem(400);
    assert_eq!(supervisor.json("/v1/streams/a").await["next_sequence"], 4);
}
