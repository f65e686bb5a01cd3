//! What a long-lived child says must be one line for each that it is given. Anything else is no
//! answer to anything.

use std::{num::NonZeroUsize, path::Path, time::Duration};

use rollcall_common::task;
use rollcall_worker::{ExecStream, Handler as _, Reply, Request};
use tempfile::tempdir;
use tokio::time::sleep;

use crate::harness::{alive, lines, until};

fn child(script: &str, argument: &Path) -> ExecStream {
    let words = ["sh".into(), "-c".into(), script.into(), argument.to_owned()];
    ExecStream::new(words, NonZeroUsize::MIN).unwrap()
}

fn message(body: &str) -> Request {
    Request { body: body.to_owned().into(), ..Request::default() }
}

/// The answers to messages, all of which are answered.
async fn answers(stream: &ExecStream, bodies: &[&str]) -> Vec<String> {
    let mut all = Vec::new();
    for body in bodies {
        let reply = stream.handle(message(body)).await;
        assert!(reply.is_ok(), "{body}: {reply:?}");
        all.push(String::from_utf8(reply.body.to_vec()).unwrap());
    }
    all
}

#[tokio::test]
async fn a_banner_is_no_answer_however_long_the_work_takes() {
    for pause in ["0", "0.05"] {
        let script = format!("echo ready; while read x; do sleep {pause}; echo \"to $x\"; done");
        let stream = child(&script, Path::new("-"));
        let reply = stream.handle(message("1")).await;
        let reason = reply.reason.as_deref().unwrap_or_default();
        assert!(!reply.is_ok() && reason.contains("\"ready\""), "{reply:?}");
    }
}

#[tokio::test]
async fn a_line_beside_an_answer_is_not_the_next_answer() {
    // In the same write as the answer, and in one of its own, behind it and before it.
    for extra in [
        r#"printf "to $x\nWARNING\n""#,
        r#"echo "to $x"; echo WARNING"#,
        r#"echo WARNING; echo "to $x""#,
        r#"printf "to $x\nhalf a line""#,
    ] {
        let script =
            format!(r#"while read x; do if [ $x = 2 ]; then {extra}; else echo "to $x"; fi; done"#);
        let stream = child(&script, Path::new("-"));
        assert_eq!(answers(&stream, &["1"]).await, ["to 1"]);
        // It may be too late to see it with this one; never with the next.
        let second = stream.handle(message("2")).await;
        assert!(second.body != "to 1" && second.body != "to 3");
        assert_eq!(answers(&stream, &["3", "4"]).await, ["to 3", "to 4"], "{extra}");
    }
}

/// The child speaks when the next question waits for it already: nobody would know whose line that
/// is if the question had been handed over.
#[tokio::test]
async fn a_late_line_is_not_the_answer_to_a_question_that_waits() {
    let dir = tempdir().unwrap();
    let go = dir.path().join("go");
    let script = r#"while read x; do echo "to $x"; [ $x != 1 ] || {
        until [ -e "$0" ]; do sleep 0.01; done; echo WARNING; }; done"#;
    let stream = child(script, &go);
    assert_eq!(answers(&stream, &["1"]).await, ["to 1"]);
    let asking = stream.clone();
    let second = task::spawn("second", async move { asking.handle(message("2")).await });
    // It has the line in hand by then; if not, the warning comes before it, which is as wrong.
    sleep(Duration::from_millis(100)).await;
    std::fs::write(&go, "").unwrap();
    assert_eq!(second.await.unwrap(), Reply::ok("to 2"));
    assert_eq!(answers(&stream, &["3"]).await, ["to 3"]);
}

#[tokio::test]
async fn what_is_said_between_two_lines_is_charged_to_nobody() {
    let dir = tempdir().unwrap();
    let said = dir.path().join("said");
    let script = r#"while read x; do echo "to $x"; [ $x != 1 ] || {
        sleep 0.05; echo WARNING; echo >> "$0"; }; done"#;
    let stream = child(script, &said);
    assert_eq!(answers(&stream, &["1"]).await, ["to 1"]);
    until("it has said it", || async { lines(&said).len() == 1 }).await;
    assert_eq!(answers(&stream, &["2", "3"]).await, ["to 2", "to 3"]);
}

#[tokio::test]
async fn a_child_that_ends_between_two_lines_is_charged_to_nobody() {
    let dir = tempdir().unwrap();
    let ran = dir.path().join("ran");
    // Before the next line is there, and when it has been written already.
    for pause in ["0", "0.1"] {
        let script = format!("echo >> \"$0\"; read x; echo \"to $x\"; sleep {pause}");
        let stream = child(&script, &ran);
        let all = ["1", "", "3", "", "", "6"];
        let expected = ["to 1", "to ", "to 3", "to ", "to ", "to 6"];
        assert_eq!(answers(&stream, &all).await, expected, "{pause}");
    }
    assert_eq!(lines(&ran).len(), 12);
}

#[tokio::test]
async fn a_child_that_ends_before_it_reads_anything_is_not_started_for_ever() {
    let stream = child("exit 3", Path::new("-"));
    for _ in 0..2 {
        let reply = stream.handle(message("1")).await;
        let reason = "the command ended before it answered: exit status: 3";
        assert_eq!(reply, Reply::retry(reason));
    }
}

#[tokio::test]
async fn a_child_may_answer_while_it_reads_and_pass_on_what_it_reads() {
    let long = "x".repeat(300_000);
    let stream = ExecStream::new(["cat"], NonZeroUsize::MIN).unwrap();
    for body in ["a", &long, "", "b"] {
        assert_eq!(stream.handle(message(body)).await, Reply::ok(body.to_owned()));
    }
}

#[tokio::test]
async fn lines_may_end_with_a_zero_byte() {
    let words = ["sed", "-uz", "s/^/to /"];
    let stream = ExecStream::new(words, NonZeroUsize::MIN).unwrap().line_end(0);
    for body in ["a\nb", "c"] {
        assert_eq!(stream.handle(message(body)).await, Reply::ok(format!("to {body}")));
    }
    assert!(!stream.handle(message("a\0b")).await.is_ok());
}

#[tokio::test]
async fn a_line_that_nobody_waits_for_ends_its_child_when_it_never_comes() {
    let dir = tempdir().unwrap();
    let pids = dir.path().join("pids");
    let script = r#"echo $$ >> "$0"; while read x; do [ $x != hang ] || sleep 1000; echo $x; done"#;
    let stream = child(script, &pids);
    let hanging = Request { timeout: Some(Duration::from_millis(200)), ..message("hang") };
    tokio::select! {
        _ = stream.handle(hanging) => panic!("it hangs"),
        () = async { sleep(Duration::from_millis(500)).await } => {}
    }
    let first = lines(&pids).remove(0);
    until("it is ended by itself", || async { !alive(&first) }).await;
    // The next one does not wait for what never comes.
    let waiting = Request { timeout: Some(Duration::from_secs(2)), ..message("next") };
    assert_eq!(stream.handle(waiting).await, Reply::ok("next"));
}

#[tokio::test]
async fn the_longest_time_is_that_of_the_line() {
    let script = r#"while read x; do [ $x != hang ] || sleep 1000; echo $x; done"#;
    let stream = child(script, Path::new("-")).longest(Some(Duration::from_millis(200)));
    let late = stream.handle(message("hang")).await;
    assert_eq!(late, Reply::retry("no answer within 200ms"));
    assert_eq!(stream.handle(message("a")).await, Reply::ok("a"));
}
