//! What turns messages into results.

use std::num::NonZeroUsize;

use rollcall_worker::{Builtin, Exec, ExecStream, Handler, Proxy, Reply, Request, from_fn};
use tempfile::tempdir;
use tokio::net::TcpListener;

use crate::harness::{alive, header, lines, post, send, start, until};

fn sh(script: &str) -> Exec {
    Exec::new(["sh", "-c", script]).unwrap()
}

fn stream_of(command: &[&str]) -> ExecStream {
    ExecStream::new(command.iter().copied(), NonZeroUsize::MIN).unwrap()
}

fn message(body: &str) -> Request {
    Request { body: body.to_owned().into(), ..Request::default() }
}

#[tokio::test]
async fn exec_gives_input_output_and_content_type() {
    let worker = start(Exec::new(["tr", "a-z", "A-Z"]).unwrap()).await;
    let reply = post(worker.url(), &[("content-type", "text/x")], "abc\ndef").await;
    assert_eq!((reply.status.as_u16(), &*reply.body), (200, &b"ABC\nDEF"[..]));
    assert_eq!(header(&reply, "content-type"), Some("text/x"));
    assert_eq!(header(&reply, "rollcall-outcome"), None);
    let json = sh("cat").content_type(Some("application/json"));
    let worker = start(json).await;
    let reply = post(worker.url(), &[("content-type", "text/x")], "").await;
    assert_eq!(header(&reply, "content-type"), Some("application/json"));
    assert!(reply.body.is_empty());
}

#[tokio::test]
async fn exec_knows_its_message() {
    let script = "echo $ROLLCALL_STREAM $ROLLCALL_SEQUENCE $ROLLCALL_MESSAGE_ID $ROLLCALL_ATTEMPT \
                  $ROLLCALL_IDEMPOTENCY_KEY $ROLLCALL_CONTENT_TYPE $ROLLCALL_CE_TYPE $TRACEPARENT";
    let worker = start(sh(script)).await;
    let headers = [
        ("rollcall-stream", "orders"),
        ("rollcall-sequence", "7"),
        ("rollcall-message-id", "m7"),
        ("rollcall-attempt", "3"),
        ("idempotency-key", "\"k7\""),
        ("content-type", "text/x"),
        ("ce-type", "placed"),
        ("traceparent", "00-1-2-3"),
    ];
    let reply = post(worker.url(), &headers, "").await;
    assert_eq!(reply.body, "orders 7 m7 3 k7 text/x placed 00-1-2-3\n");
}

#[tokio::test]
async fn exit_codes_decide_and_the_last_lines_are_the_reason() {
    for (code, status, outcome) in [(75, 500, "retry"), (65, 422, "park"), (1, 500, "retry")] {
        let script = format!("echo first >&2; printf 'bad\\tthing\\n\\n' >&2; exit {code}");
        let worker = start(sh(&script)).await;
        let reply = post(worker.url(), &[], "x").await;
        assert_eq!(reply.status.as_u16(), status);
        assert_eq!(header(&reply, "rollcall-outcome"), Some(outcome));
        assert_eq!(header(&reply, "rollcall-reason"), Some("first | bad thing"));
    }
    let killed = sh("kill -9 $$").handle(message("x")).await;
    assert_eq!(killed.reason.as_deref(), Some("the command ended with signal: 9 (SIGKILL)"));
    let long = sh("yes reason | head -c 100000 >&2; exit 1").handle(message("")).await;
    let long = long.reason.unwrap();
    assert!(long.len() <= 1024 && long.len() > 1000, "{}", long.len());
}

#[tokio::test]
async fn exec_need_not_read_its_input_and_may_be_stopped_by_its_output() {
    let deaf = sh("exec true").handle(message(&"x".repeat(1 << 20))).await;
    assert!(deaf.is_ok(), "{deaf:?}");
    let loud = sh("yes").output_limit(1000).handle(message("")).await;
    assert_eq!(loud.reason.as_deref(), Some("the result is larger than 1000 bytes"));
    let large = "0123456789".repeat(100_000);
    let whole = sh("cat").handle(message(&large)).await;
    assert_eq!(whole.body, large);
}

#[tokio::test]
async fn the_message_may_stand_among_the_arguments() {
    let words = ["printf", "<%s>", "{}", "a{}b{}", "{"];
    let exec = Exec::new(words).unwrap();
    assert!(exec.program().has_blanks());
    let reply = exec.fill_blanks(b'\n').handle(message("x y\nz")).await;
    assert_eq!(reply, Reply::ok("<x y><z><ax y zbx y z><{>"));
    let unfed = sh("cat; echo $0").fill_blanks(b'\n').handle(message("a")).await;
    assert_eq!(unfed, Reply::ok("sh\n"), "there is nothing on its input");
    // What no command can be given is the message's fault.
    for unfit in ["x".repeat(1 << 18), "a\0b".to_owned()] {
        let exec = Exec::new(["true", "{}"]).unwrap().fill_blanks(b'\n');
        let reply = exec.handle(message(&unfit)).await;
        assert_eq!(reply.status.as_u16(), 422, "{reply:?}");
    }
}

#[tokio::test]
async fn what_a_process_leaves_behind_holds_nothing_up() {
    let reply = sh("sleep 1000 & echo $!").handle(message("")).await;
    let pid = String::from_utf8(reply.body.to_vec()).unwrap();
    until("the one left behind is gone", || async { !alive(pid.trim()) }).await;
}

#[test]
fn a_command_that_is_not_there_is_refused_at_the_start() {
    assert!(Exec::new(["no-such-command-here"]).is_err());
    assert!(Exec::new(["/etc/passwd"]).is_err());
    assert!(Exec::new(Vec::<&str>::new()).is_err());
    assert!(ExecStream::new([""], NonZeroUsize::MIN).is_err());
}

#[tokio::test]
async fn a_command_that_has_gone_says_so() {
    let dir = tempdir().unwrap();
    let path = dir.path().join("tool");
    std::fs::copy("/bin/cat", &path).unwrap();
    let exec = Exec::new([&path]).unwrap();
    std::fs::remove_file(&path).unwrap();
    let worker = start(exec).await;
    let reply = post(worker.url(), &[], "x").await;
    assert_eq!(reply.status.as_u16(), 500);
    let reason = header(&reply, "rollcall-reason").unwrap();
    assert!(reason.contains("can't run the command"), "{reason}");
}

#[tokio::test]
async fn exec_stream_keeps_its_child() {
    let script = "while read -r line; do echo \"$$ $line\"; done";
    let stream = stream_of(&["sh", "-c", script]);
    let worker = start(stream.clone()).await;
    let first = post(worker.url(), &[("content-type", "text/x")], "one").await;
    let second = post(worker.url(), &[], "two").await;
    let text =
        |reply: &rollcall_common::http::Reply| String::from_utf8(reply.body.to_vec()).unwrap();
    let pid = text(&first).split(' ').next().unwrap().to_owned();
    assert_eq!(text(&second), format!("{pid} two"));
    assert_eq!(header(&first, "content-type"), Some("text/x"));
    let two_lines = post(worker.url(), &[], "a\nb").await;
    assert_eq!(two_lines.status.as_u16(), 422);
    assert_eq!(header(&two_lines, "rollcall-outcome"), Some("park"));
    worker.drain().await;
    drop((worker, stream));
    until("the child is gone", || async { !alive(&pid) }).await;
}

#[tokio::test]
async fn exec_stream_starts_a_dead_child_again() {
    let script = "while read -r line; do [ \"$line\" = die ] && exit 3; echo \"$line\"; done";
    let stream = stream_of(&["sh", "-c", script]);
    assert_eq!(stream.handle(message("a")).await, Reply::ok("a"));
    let died = stream.handle(message("die")).await;
    let reason = "the command ended before it answered: exit status: 3";
    assert_eq!(died, Reply::retry(reason));
    assert_eq!(stream.handle(message("b")).await, Reply::ok("b"));
}

#[tokio::test]
async fn exec_stream_takes_lines_of_any_length_up_to_the_limit() {
    let long = "x".repeat(1 << 20);
    let stream = stream_of(&["cat"]);
    assert_eq!(stream.handle(message(&long)).await.body, long);
    let narrow = stream_of(&["cat"]).output_limit(1000);
    assert!(narrow.handle(message(&long)).await.reason.unwrap().contains("larger"));
    assert_eq!(narrow.handle(message("y")).await, Reply::ok("y"));
}

#[tokio::test]
async fn exec_stream_does_not_mix_up_answers_after_a_hang_up() {
    let dir = tempdir().unwrap();
    let (seen, go) = (dir.path().join("seen"), dir.path().join("go"));
    let script = "while read -r line; do echo $line >> $0; \
                  while [ ! -e $1 ]; do sleep 0.01; done; echo $line; done";
    let words = ["sh".into(), "-c".into(), script.into(), seen.clone(), go.clone()];
    let stream = ExecStream::new(words, NonZeroUsize::MIN).unwrap();
    tokio::select! {
        _ = stream.handle(message("lost")) => panic!("it waits"),
        () = until("seen", || async { lines(&seen) == ["lost"] }) => {}
    }
    std::fs::write(&go, "").unwrap();
    assert_eq!(stream.handle(message("kept")).await, Reply::ok("kept"));
    assert_eq!(lines(&seen), ["lost", "kept"]);
}

#[tokio::test]
async fn proxy_passes_everything_on_and_back() {
    let service = start(from_fn(|request: Request| async move {
        let named = |name: &str| request.headers.get(name).cloned();
        let names = [
            "ce-type",
            "traceparent",
            "idempotency-key",
            "x-private",
            "rollcall-stream",
            "rollcall-sender-key",
        ];
        let seen: Vec<bool> = names.map(|name| named(name).is_some()).into();
        let seen = format!("{seen:?} {}", String::from_utf8_lossy(&request.body));
        if request.attempt == 2 {
            return Reply::skip("nothing to do").with_retry_after("7");
        }
        let reply = Reply::ok(seen).with_content_type("text/y");
        reply.with_header("CE-Id", "9").with_header("x-other", "stays")
    }))
    .await;
    let proxy = Proxy::new(format!("{}/hook", service.url()).parse().unwrap());
    let worker = start(proxy).await;
    let headers = [
        ("ce-type", "t"),
        ("traceparent", "00-1"),
        ("idempotency-key", "k"),
        ("x-private", "p"),
        ("rollcall-stream", "s"),
        ("rollcall-sender-key", "k"),
    ];
    let reply = post(worker.url(), &headers, "body").await;
    assert_eq!(reply.body, "[true, true, true, false, true, true] body");
    assert_eq!(header(&reply, "content-type"), Some("text/y"));
    assert_eq!((header(&reply, "ce-id"), header(&reply, "x-other")), (Some("9"), None));
    let reply = post(worker.url(), &[("rollcall-attempt", "2")], "body").await;
    assert_eq!(header(&reply, "rollcall-outcome"), Some("skip"));
    assert_eq!(header(&reply, "rollcall-reason"), Some("nothing to do"));
    assert_eq!(header(&reply, "retry-after"), Some("7"));
}

#[tokio::test]
async fn proxy_without_a_service_is_busy() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    let worker = start(Proxy::new(url.parse().unwrap())).await;
    let reply = post(worker.url(), &[], "x").await;
    assert_eq!(reply.status.as_u16(), 503);
    assert_eq!(header(&reply, "retry-after"), Some("1"));
}

#[tokio::test]
async fn builtins_do_as_they_say() {
    for (spec, status, body) in [
        ("echo", 200, "añb"),
        ("upper", 200, "AÑB"),
        ("sleep=1ms..3ms+reverse", 200, "bña"),
        ("status=503", 503, ""),
        ("fail=0+upper", 200, "AÑB"),
        ("fail=100+upper", 500, ""),
        ("park", 422, ""),
    ] {
        let worker = start(spec.parse::<Builtin>().unwrap()).await;
        let reply = send(worker.url(), &[], "añb").await.unwrap();
        assert_eq!(reply.status.as_u16(), status, "{spec}");
        if status == 200 {
            assert_eq!(reply.body, body, "{spec}");
        }
    }
}
