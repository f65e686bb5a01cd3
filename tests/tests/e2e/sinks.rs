//! Results out over plain connections (contract §5, `tcp://`).

use serde_json::{Value, json};
use tests::{
    harness::{Setup, Supervisor, until},
    peers::{Records, Sink, SinkAct},
};

/// A supervisor whose messages are their own results, and go to a sink.
async fn start(sink: &Sink, query: &str, more: &str) -> (Setup, Supervisor) {
    let setup = Setup::new(format!(
        "[streams.\"*\"]\npool = \"none\"\n[subscriptions.all]\nstart = \"beginning\"\n\
         url = \"tcp://{}{query}\"\n{more}\n",
        sink.address()
    ));
    let supervisor = setup.start().await;
    (setup, supervisor)
}

async fn state(supervisor: &Supervisor) -> Value {
    supervisor.json("/v1/subscriptions/all").await
}

async fn until_done(supervisor: &Supervisor) {
    until("all is done", || async { state(supervisor).await["lag"] == 0 }).await;
}

fn texts(sink: &Sink) -> Vec<String> {
    sink.records().into_iter().map(|(_, text)| text).collect()
}

#[tokio::test]
async fn records_go_out_in_order_over_one_connection() {
    for (framing, query) in [
        (Records::Lines, ""),
        (Records::Lines, "?framing=lines&ack=line"),
        (Records::Length, "?framing=length"),
    ] {
        let sink = Sink::start(framing, |_, _| SinkAct::Answer).await;
        let (_setup, supervisor) = start(&sink, query, "").await;
        let answer = supervisor.lines("orders", (1..=200).map(|number| json!(number))).await;
        assert_eq!(answer.status, 202);
        until_done(&supervisor).await;
        let expected: Vec<_> = (1..=200).map(|number| (0, number.to_string())).collect();
        assert_eq!(sink.records(), expected, "{query}");
    }
}

/// F-60.
#[tokio::test]
async fn what_is_not_answered_is_sent_again_over_a_new_connection() {
    let sink = Sink::start(Records::Lines, |count, _| match count {
        1 => SinkAct::Close,
        _ => SinkAct::Answer,
    })
    .await;
    let (_setup, supervisor) = start(&sink, "", "").await;
    for body in ["one", "two", "three"] {
        supervisor.send("orders", body).await;
    }
    until_done(&supervisor).await;
    let mut records = texts(&sink);
    assert_eq!(records[..2], ["one", "two"]);
    records.dedup();
    assert_eq!(records, ["one", "two", "three"]);
    assert_eq!(sink.records().last().unwrap().0, 1, "over a second connection");
}

#[tokio::test]
async fn a_sink_that_says_nothing_in_time_gets_it_again() {
    let sink = Sink::start(Records::Lines, |count, _| match count {
        0 => SinkAct::Silence,
        _ => SinkAct::Answer,
    })
    .await;
    let (_setup, supervisor) = start(&sink, "", "timeout = \"200ms\"").await;
    supervisor.send("orders", "one").await;
    until_done(&supervisor).await;
    assert_eq!(sink.records(), [(0, "one".to_owned()), (1, "one".to_owned())]);
}

#[tokio::test]
async fn with_no_answers_asked_for_what_is_written_is_done() {
    let sink = Sink::start(Records::Length, |_, _| SinkAct::Silence).await;
    let (_setup, supervisor) = start(&sink, "?framing=length&ack=none", "").await;
    for body in ["one", "two\nlines", ""] {
        supervisor.send("orders", body).await;
    }
    until_done(&supervisor).await;
    until("all came", || async { sink.records().len() == 3 }).await;
    assert_eq!(texts(&sink), ["one", "two\nlines", ""]);
}

#[tokio::test]
async fn a_result_that_lines_can_not_carry_holds_its_stream_and_says_why() {
    let sink = Sink::start(Records::Lines, |_, _| SinkAct::Answer).await;
    let (_setup, supervisor) = start(&sink, "", "").await;
    supervisor.send("orders", "one").await;
    supervisor.send("orders", "two\nlines").await;
    supervisor.send("other", "three").await;
    until("it is held", || async { state(&supervisor).await["held_streams"] == json!(["orders"]) })
        .await;
    until("the others came", || async { sink.records().len() == 2 }).await;
    let error = state(&supervisor).await["last_error"].as_str().unwrap().to_owned();
    assert!(error.contains("line end"), "{error}");
}
