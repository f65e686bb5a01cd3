//! `supervisor pipe`, as a process: what goes in, what comes out, and how it ends.

#![expect(
    clippy::tests_outside_test_module,
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "integration tests"
)]

use std::{
    fs::{self, File},
    io::{BufRead as _, BufReader, Read as _, Write as _},
    path::Path,
    process::{Child, ChildStdin, ChildStdout, Command, Output, Stdio},
    thread::{self, sleep},
    time::{Duration, Instant},
};

use rollcall_worker::{Reply, Request, Worker, from_fn};
use tempfile::tempdir;

/// Nothing here takes this long unless it hangs.
const LONG: Duration = Duration::from_secs(60);

fn command(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_supervisor"));
    command.arg("pipe").args(arguments);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// Ends the process when it hangs, so that a test fails instead of waiting.
fn watched(child: Child) -> Output {
    let id = child.id();
    let (done, ended) = std::sync::mpsc::channel::<()>();
    let watch = thread::spawn(move || {
        if ended.recv_timeout(LONG) == Err(std::sync::mpsc::RecvTimeoutError::Timeout) {
            signal("KILL", id);
        }
    });
    let output = child.wait_with_output().unwrap();
    drop(done);
    watch.join().unwrap();
    output
}

fn run(arguments: &[&str], input: impl AsRef<[u8]>) -> Output {
    let mut child = command(arguments).spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let input = input.as_ref().to_vec();
    // Err: it did not want all of it.
    let feeder = thread::spawn(move || drop(stdin.write_all(&input)));
    let output = watched(child);
    feeder.join().unwrap();
    output
}

/// Its exit code, output and errors.
fn text(output: &Output) -> (Option<i32>, String, String) {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.code(), text(&output.stdout), text(&output.stderr))
}

fn ok(output: &Output) -> String {
    let (code, out, errors) = text(output);
    assert_eq!(code, Some(0), "{errors}");
    out
}

fn numbers(last: usize) -> String {
    (1..=last).map(|line| format!("{line}\n")).collect()
}

fn signal(name: &str, id: u32) {
    let name = format!("-{name}");
    assert!(Command::new("kill").args([&name, &id.to_string()]).status().unwrap().success());
}

fn alive(id: &str) -> bool {
    let stat = fs::read_to_string(format!("/proc/{id}/stat")).unwrap_or_default();
    let state = stat.rsplit(") ").next().unwrap_or_default();
    !state.is_empty() && !state.starts_with('Z')
}

fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let started = Instant::now();
    while !holds() {
        assert!(started.elapsed() < LONG, "{what}");
        sleep(Duration::from_millis(10));
    }
}

fn count(path: &Path) -> usize {
    fs::read_to_string(path).unwrap_or_default().lines().count()
}

#[test]
fn results_keep_the_order_of_the_input() {
    let script = "read n; sleep 0.0$((n * 7 % 10)); echo $((n * 2))";
    let doubled: String = (1..=100).map(|n| format!("{}\n", n * 2)).collect();
    assert_eq!(ok(&run(&["--jobs", "8", "--", "sh", "-c", script], numbers(100))), doubled);
}

#[test]
fn lines_are_worked_on_side_by_side() {
    let started = Instant::now();
    ok(&run(&["--jobs", "10", "--", "sleep", "1"], numbers(10)));
    assert!(started.elapsed() < Duration::from_secs(5));
}

#[test]
fn nothing_in_is_nothing_out() {
    assert_eq!(ok(&run(&["--", "cat"], "")), "");
    assert_eq!(ok(&run(&["--exec-stream", "--", "cat"], "")), "");
}

#[test]
fn empty_lines_and_a_last_one_without_newline_count() {
    assert_eq!(ok(&run(&["--", "cat"], "\na\n\nb")), "\na\n\nb\n");
    assert_eq!(ok(&run(&["--", "wc", "-l"], "a")).trim(), "1");
}

#[test]
fn bytes_are_left_alone() {
    let line: Vec<u8> = (0..=255).filter(|byte| *byte != b'\n').collect();
    let input = [&line[..], b"\n", &line[..], b"\r\n"].concat();
    for arguments in [&["--", "cat"][..], &["--exec-stream", "--", "cat"]] {
        assert_eq!(run(arguments, &input).stdout, input);
    }
}

#[test]
fn results_may_have_many_lines_or_none() {
    assert_eq!(ok(&run(&["--", "sh", "-c", "printf 'a\\nb\\n\\n'"], "1\n")), "a\nb\n\n");
    assert_eq!(ok(&run(&["--", "true"], "1\n2\n")), "\n\n");
}

#[test]
fn a_line_that_fails_leaves_an_empty_line() {
    let script = "read n; [ $n != 2 ] || { echo 'no twos' >&2; exit 3; }; echo $n";
    let output = run(&["--jobs", "1", "--", "sh", "-c", script], numbers(3));
    let (code, out, errors) = text(&output);
    assert_eq!((code, &*out), (Some(1), "1\n\n3\n"));
    assert!(errors.contains("line 2 failed after 1 attempt: no twos"), "{errors}");
    assert_eq!(errors.matches("failed").count(), 1, "{errors}");
}

#[test]
fn lines_are_tried_again_only_when_told() {
    let directory = tempdir().unwrap();
    let script = r#"read n; echo x >> "$0/$n"; [ $(wc -l < "$0/$n") -gt 2 ] || exit 75; echo $n"#;
    let path = directory.path().to_str().unwrap();
    let tail = ["--", "sh", "-c", script, path];
    let (code, out, errors) = text(&run(&[&["--retries", "1"][..], &tail].concat(), numbers(2)));
    assert_eq!((code, &*out), (Some(1), "\n\n"));
    assert!(errors.contains("line 2 failed after 2 attempts"), "{errors}");
    assert_eq!(ok(&run(&[&["--retries", "2"][..], &tail].concat(), "3\n4\n")), "3\n4\n");
    assert_eq!(count(&directory.path().join("1")), 2);
    assert_eq!(count(&directory.path().join("4")), 3);
}

#[test]
fn exit_code_65_ends_the_tries() {
    let directory = tempdir().unwrap();
    let tries = directory.path().join("tries");
    let script = "echo x >> \"$0\"; exit 65";
    let arguments = ["--retries", "5", "--", "sh", "-c", script, tries.to_str().unwrap()];
    let (code, out, errors) = text(&run(&arguments, "a\n"));
    assert_eq!((code, &*out, count(&tries)), (Some(1), "\n", 1));
    assert!(errors.contains("line 1 failed after 1 attempt:"), "{errors}");
}

#[test]
fn a_process_that_takes_too_long_is_killed() {
    let started = Instant::now();
    let script = "read n; [ $n != 1 ] || sleep 1000; echo $n";
    let output = run(&["--timeout", "300ms", "--jobs", "1", "--", "sh", "-c", script], numbers(2));
    let (code, out, errors) = text(&output);
    assert_eq!((code, &*out), (Some(1), "\n2\n"));
    assert!(errors.contains("line 1 failed after 1 attempt: no answer within 300ms"), "{errors}");
    assert!(started.elapsed() < Duration::from_secs(20));
}

#[test]
fn long_lived_processes_take_line_after_line() {
    let input = numbers(20_000);
    assert_eq!(ok(&run(&["--exec-stream", "--jobs", "3", "--", "cat"], &input)), input);
    let script = "while read n; do echo $$; done";
    let out = ok(&run(&["--exec-stream", "--jobs", "2", "--", "sh", "-c", script], numbers(100)));
    let mut ids: Vec<&str> = out.lines().collect();
    ids.sort_unstable();
    ids.dedup();
    assert!(ids.len() <= 2, "{ids:?}");
    for id in ids {
        until("they end with it", || !alive(id));
    }
}

#[test]
fn a_long_lived_process_that_dies_is_started_again() {
    let script = "while read n; do [ $n != 2 ] || exit 1; echo $n; done";
    let output = run(&["--exec-stream", "--jobs", "1", "--", "sh", "-c", script], numbers(3));
    let (code, out, errors) = text(&output);
    assert_eq!((code, &*out), (Some(1), "1\n\n3\n"));
    assert!(errors.contains("line 2 failed after 1 attempt"), "{errors}");
}

#[tokio::test]
async fn http_workers_take_lines() {
    let upper = |request: Request| async move {
        match &*request.body {
            b"bad" => Reply::park("bad"),
            body => Reply::ok(body.to_ascii_uppercase()),
        }
    };
    let one = Worker::new(from_fn(upper)).start().await.unwrap();
    let other = Worker::new(from_fn(upper)).start().await.unwrap();
    let (one, other) = (one.url().to_owned(), other.url().to_owned());
    let output = tokio::task::spawn_blocking(move || {
        run(&["--jobs", "4", "--url", &one, "--url", &other], "a\nbad\nb\n".repeat(500))
    });
    let (code, out, errors) = text(&output.await.unwrap());
    assert_eq!((code, out), (Some(1), "A\n\nB\n".repeat(500)));
    assert_eq!(errors.matches("failed after 1 attempt: bad").count(), 500);
}

/// Lines wait for a worker that is not there; somebody should know.
#[test]
fn people_are_told_that_no_worker_is_there() {
    let mut child = command(&["--url", "http://127.0.0.1:1"]).spawn().unwrap();
    child.stdin.take().unwrap().write_all(b"line\n").unwrap();
    let id = child.id();
    let errors = BufReader::new(child.stderr.take().unwrap());
    let watch = thread::spawn(move || watched(child));
    let told = errors.lines().map_while(Result::ok).any(|line| line.contains("no worker"));
    signal("INT", id);
    watch.join().unwrap();
    assert!(told);
}

#[test]
fn a_second_run_goes_on_where_the_first_was_killed() {
    let directory = tempdir().unwrap();
    let (data, runs) = (directory.path().join("data"), directory.path().join("runs"));
    let script = "read n; sleep 0.01; echo $n >> \"$0\"; echo $n";
    let arguments = ["--jobs", "4", "--data", data.to_str().unwrap(), "--", "sh", "-c", script];
    let arguments = [&arguments[..], &[runs.to_str().unwrap()]].concat();
    let input = directory.path().join("input");
    fs::write(&input, numbers(300)).unwrap();
    for enough in [50, 150] {
        let mut first = command(&arguments);
        first.stdin(File::open(&input).unwrap()).stdout(Stdio::null());
        let mut first = first.spawn().unwrap();
        until("it works", || count(&runs) > enough);
        first.kill().unwrap();
        first.wait().unwrap();
    }
    assert_eq!(ok(&run(&arguments, numbers(300))), numbers(300));
    // Only what was under way at a kill was run again.
    let ran = count(&runs);
    assert!((300..=300 + 2 * 8).contains(&ran), "{ran}");
    assert_eq!(ok(&run(&arguments, numbers(300))), numbers(300));
    assert_eq!(count(&runs), ran);
    assert_eq!(ok(&run(&arguments, numbers(301))), numbers(301));
    assert_eq!(count(&runs), ran + 1);
}

#[test]
fn a_line_that_failed_stays_failed_until_it_is_tried_again() {
    let directory = tempdir().unwrap();
    let (data, path) = (directory.path().join("data"), directory.path().to_str().unwrap());
    let script = r#"read n; echo $n >> "$0/ran"; [ $n != 2 -a $n != 4 ] || [ -e "$0/$n" ] || exit 1
        echo $n"#;
    let again = ["--data", data.to_str().unwrap(), "--", "sh", "-c", script, path];
    let retried = [&["--retry-failed"][..], &again].concat();
    let ran = || {
        let text = fs::read_to_string(directory.path().join("ran")).unwrap_or_default();
        fs::write(directory.path().join("ran"), "").unwrap();
        let mut ran: Vec<String> = text.lines().map(str::to_owned).collect();
        ran.sort_unstable();
        ran
    };
    for expected in [&["1", "2", "3", "4", "5"][..], &[]] {
        let (code, out, errors) = text(&run(&again, numbers(5)));
        assert_eq!((code, &*out), (Some(1), "1\n\n3\n\n5\n"));
        assert!(errors.contains("line 2 failed after 1 attempt"), "{errors}");
        assert_eq!(ran(), expected);
    }
    fs::write(directory.path().join("2"), "").unwrap();
    let (code, out, errors) = text(&run(&retried, numbers(5)));
    assert_eq!((code, &*out, ran().join(" ")), (Some(1), "1\n2\n3\n\n5\n", "2 4".to_owned()));
    assert!(errors.contains("line 4 failed") && !errors.contains("line 2 failed"), "{errors}");
    // What came of it is kept, and what is new is done.
    let (code, out, _) = text(&run(&again, numbers(6)));
    assert_eq!((code, &*out, ran().join(" ")), (Some(1), "1\n2\n3\n\n5\n6\n", "6".to_owned()));
    fs::write(directory.path().join("4"), "").unwrap();
    assert_eq!(ok(&run(&retried, numbers(6))), numbers(6));
    assert_eq!(ran(), ["4"]);
    assert_eq!(ok(&run(&again, numbers(6))), numbers(6));
    assert!(ran().is_empty());
}

#[test]
fn another_command_is_refused_by_name() {
    let directory = tempdir().unwrap();
    let data = directory.path().to_str().unwrap();
    assert_eq!(ok(&run(&["--data", data, "--", "tr", "1", "a b"], "1\n")), "a\n");
    for other in [&["--", "cat"][..], &["--exec-stream", "--", "tr", "1", "a b"]] {
        let (code, out, errors) = text(&run(&[&["--data", data][..], other].concat(), "1\n"));
        assert_eq!((code, &*out), (Some(2), ""));
        assert!(errors.contains("another command: tr 1 'a b';"), "{errors}");
    }
    assert_eq!(ok(&run(&["--data", data, "--", "tr", "1", "a b"], "1\n2\n")), "a\n2\n");
}

#[test]
fn another_input_is_refused() {
    let directory = tempdir().unwrap();
    let data = directory.path().to_str().unwrap();
    let arguments = ["--data", data, "--", "cat"];
    ok(&run(&arguments, numbers(5)));
    let (code, out, errors) = text(&run(&arguments, "1\n2\nthree\n4\n5\n"));
    assert_eq!((code, &*out), (Some(2), ""));
    assert!(errors.contains("line 3"), "{errors}");
    let (code, _, errors) = text(&run(&arguments, "1\n2\n"));
    assert_eq!(code, Some(2));
    assert!(errors.contains("line 2"), "{errors}");
}

/// A run with two jobs, of which the first line is done and the next two are under way until the
/// file `go` is there. Its input stays open.
fn under_way(folder: &Path, arguments: &[&str]) -> (Child, ChildStdin, BufReader<ChildStdout>) {
    let script = r#"read n; [ $n = 1 ] || { echo $$ >> "$0/ids"; until [ -e "$0/go" ]; do
        sleep 0.01; done; }; echo $n"#;
    let tail = ["--jobs", "2", "--", "sh", "-c", script, folder.to_str().unwrap()];
    let mut child = command(&[arguments, &tail].concat()).spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(numbers(5).as_bytes()).unwrap();
    let mut stdout = BufReader::new(child.stdout.take().unwrap());
    let mut first = String::new();
    stdout.read_line(&mut first).unwrap();
    assert_eq!(first, "1\n");
    until("two are under way", || count(&folder.join("ids")) == 2);
    (child, stdin, stdout)
}

#[test]
fn a_signal_lets_what_is_under_way_finish_and_begins_nothing() {
    for name in ["INT", "TERM"] {
        let directory = tempdir().unwrap();
        let (child, _open, mut rest) = under_way(directory.path(), &[]);
        signal(name, child.id());
        // It may not end before they do.
        sleep(Duration::from_millis(200));
        fs::write(directory.path().join("go"), "").unwrap();
        let mut out = String::new();
        rest.read_to_string(&mut out).unwrap();
        let (code, _, errors) = text(&watched(child));
        assert_eq!((code, &*out), (Some(1), "2\n3\n"), "{name}: {errors}");
        assert!(errors.contains("interrupted after result 3"), "{errors}");
        assert_eq!(count(&directory.path().join("ids")), 2);
    }
}

#[test]
fn a_second_signal_ends_it_and_its_processes_and_a_second_run_goes_on() {
    let directory = tempdir().unwrap();
    let data = directory.path().join("data");
    let arguments = ["--data", data.to_str().unwrap()];
    let (child, _open, mut rest) = under_way(directory.path(), &arguments);
    signal("TERM", child.id());
    signal("INT", child.id());
    let mut out = String::new();
    rest.read_to_string(&mut out).unwrap();
    let (code, _, errors) = text(&watched(child));
    assert_eq!((code, &*out, &*errors), (Some(1), "", ""));
    for id in fs::read_to_string(directory.path().join("ids")).unwrap().lines() {
        until("its processes end", || !alive(id));
    }
    fs::remove_file(directory.path().join("ids")).unwrap();
    let (child, _open, mut rest) = under_way(directory.path(), &arguments);
    fs::write(directory.path().join("go"), "").unwrap();
    signal("TERM", child.id());
    rest.read_to_string(&mut out).unwrap();
    assert!(watched(child).status.code().is_some());
    assert!(out.starts_with("2\n3\n"), "{out}");
}

#[test]
fn nobody_reading_ends_it_quietly() {
    let mut child = command(&["--exec-stream", "--", "cat"]).spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let feeder = thread::spawn(move || while stdin.write_all(b"line\n").is_ok() {});
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    assert_eq!(line, "line\n");
    let (code, _, errors) = text(&watched(child));
    assert_eq!((code, &*errors), (Some(1), ""));
    feeder.join().unwrap();
}

#[test]
fn results_come_as_soon_as_they_can() {
    let mut child = command(&["--exec-stream", "--", "cat"]).spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let mut stdout = BufReader::new(child.stdout.take().unwrap());
    for word in ["one\n", "two\n"] {
        stdin.write_all(word.as_bytes()).unwrap();
        let mut line = String::new();
        stdout.read_line(&mut line).unwrap();
        assert_eq!(line, word);
    }
    drop(stdin);
    assert!(watched(child).status.success());
}

#[test]
fn what_is_read_ahead_has_a_bound() {
    let script = "read n; [ $n != 1 ] || sleep 1000; echo $n";
    let mut child = command(&["--jobs", "2", "--", "sh", "-c", script]).spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let (said, lines) = std::sync::mpsc::channel();
    let feeder = thread::spawn(move || {
        let line = format!("2{}\n", " ".repeat(1000));
        stdin.write_all(b"1\n").unwrap();
        while stdin.write_all(line.as_bytes()).is_ok() {
            let _ = said.send(());
        }
    });
    // It stalls once enough lines wait behind the first.
    let mut taken = 0;
    while lines.recv_timeout(Duration::from_secs(2)).is_ok() {
        taken += 1;
    }
    assert!((5_000..20_000).contains(&taken), "{taken}");
    // Its first line would be waited for.
    signal("TERM", child.id());
    signal("INT", child.id());
    assert_eq!(watched(child).status.code(), Some(1));
    feeder.join().unwrap();
}

#[test]
fn a_line_over_the_limit_fails_and_the_others_are_done() {
    let mut input = b"a\n".to_vec();
    input.resize((1 << 20) + 3, b'x');
    for (end, rest) in [(&b""[..], ""), (b"\nb\n", "b\n")] {
        for kind in [&["--", "cat"][..], &["--exec-stream", "--", "cat"]] {
            let (code, out, errors) = text(&run(kind, [&input[..], end].concat()));
            assert_eq!((code, out), (Some(1), format!("a\n\n{rest}")));
            assert!(errors.contains("line 2 failed") && errors.contains("--max-line"), "{errors}");
        }
    }
    let more = ["--max-line", "2 MiB", "--", "wc", "-c"];
    assert_eq!(ok(&run(&more, &input)).replace(' ', ""), "2\n1048578\n");
    input.pop();
    assert_eq!(ok(&run(&["--", "wc", "-c"], &input)).replace(' ', ""), "2\n1048577\n");
    let (code, out, _) = text(&run(&["--max-line", "0", "--", "cat"], "a\n\n"));
    assert_eq!((code, &*out), (Some(1), "\n\n"));
}

#[test]
fn lines_may_be_arguments_end_otherwise_and_go_together() {
    assert_eq!(ok(&run(&["--", "echo", "<{}>", "{}"], "a b\nc\n")), "<a b> a b\n<c> c\n");
    assert_eq!(ok(&run(&["-0", "--", "echo", "{}"], "a\nb\0c")), "a\nb\nc\n");
    assert_eq!(ok(&run(&["-0", "--", "od", "-An", "-c"], "a\0")).trim(), r"a  \0");
    assert_eq!(ok(&run(&["-N", "2", "--", "wc", "-l"], numbers(3))).replace(' ', ""), "2\n1\n");
    let together = ["-N", "2", "--", "printf", "<%s>", "{}", "a{}"];
    assert_eq!(ok(&run(&together, numbers(3))), "<1><2><a1 2>\n<3><a3>\n");
    let script = "read n; read m; [ $n != 3 ]";
    let (code, out, errors) = text(&run(&["-N", "2", "--", "sh", "-c", script], numbers(5)));
    assert_eq!((code, &*out), (Some(1), "\n\n\n"));
    assert!(errors.contains("lines 3 to 4 failed"), "{errors}");
}

/// The first line is slow; so are not those behind it, and each of their results is large.
#[test]
fn results_that_wait_are_bounded_in_bytes() {
    let directory = tempdir().unwrap();
    let script = r#"read n; [ $n = 1 ] && until [ -e "$0/go" ]; do sleep 0.01; done
        echo >> "$0/done"; head -c 8000000 /dev/zero | tr '\\0' x"#;
    let path = directory.path().to_str().unwrap();
    let mut child = command(&["--jobs", "2", "--", "sh", "-c", script, path]).spawn().unwrap();
    child.stdin.take().unwrap().write_all(numbers(40).as_bytes()).unwrap();
    let finished = directory.path().join("done");
    // 64 MiB of them may wait.
    until("enough wait", || count(&finished) >= 9);
    let mut seen = 0;
    until("it stands", || {
        sleep(Duration::from_millis(500));
        let before = std::mem::replace(&mut seen, count(&finished));
        before == seen
    });
    assert!((9..=12).contains(&seen), "{seen}");
    fs::write(directory.path().join("go"), "").unwrap();
    let output = watched(child);
    assert_eq!((output.status.code(), output.stdout.len()), (Some(0), 40 * 8_000_001));
}

/// As `xargs` does: fewer at once, and no line fails for it.
#[test]
fn what_finds_no_descriptor_waits() {
    let pipe = env!("CARGO_BIN_EXE_supervisor");
    let script = format!("ulimit -n 96; exec {pipe} pipe --jobs 100 -- sh -c 'sleep 0.05; cat'");
    let mut shell = Command::new("sh");
    shell.args(["-c", &script]).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = shell.stderr(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(numbers(100).as_bytes()).unwrap();
    assert_eq!(ok(&watched(child)), numbers(100));
}

#[test]
fn large_results_come_whole() {
    let script = "while read n; do printf '%s %02000d\\n' $n 0; done";
    let arguments = ["--exec-stream", "--jobs", "4", "--", "sh", "-c", script];
    let expected: String = (1..=10_000).map(|n| format!("{n} {:02000}\n", 0)).collect();
    assert_eq!(ok(&run(&arguments, numbers(10_000))), expected);
    let script = "head -c 3000000 /dev/zero | tr '\\0' y";
    assert_eq!(ok(&run(&["--", "sh", "-c", script], numbers(3))).len(), 9_000_003);
}

#[test]
fn wrong_usage_ends_with_2() {
    for wrong in [
        &[][..],
        &["--jobs", "0", "--", "cat"],
        &["--jobs", "many", "--", "cat"],
        &["--timeout", "5", "--", "cat"],
        &["--retries", "-1", "--", "cat"],
        &["--exec-stream"],
        &["--url", "nowhere"],
        &["--url", "http://127.0.0.1:1", "--", "cat"],
        &["--unknown", "--", "cat"],
        &["--retry-failed", "--", "cat"],
        &["--max-line", "17 MiB", "--", "cat"],
        &["-N", "0", "--", "cat"],
        &["-N", "2", "--exec-stream", "--", "cat"],
    ] {
        let (code, _, errors) = text(&run(wrong, ""));
        assert_eq!(code, Some(2), "{wrong:?}: {errors}");
        assert!(!errors.is_empty());
    }
    let (code, _, errors) = text(&run(&["--", "no-such-command-here"], "1\n"));
    assert_eq!(code, Some(1));
    assert!(errors.contains("not found"), "{errors}");
    assert_eq!(run(&["--help"], "").status.code(), Some(0));
}
