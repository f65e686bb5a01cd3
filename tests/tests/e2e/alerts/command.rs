//! Programs that are told.

use std::{fs, path::Path, time::Duration};

use rollcall_supervisor::dispatcher::NoticeKind;
use serde_json::Value;
use tests::harness::{soon, until};

use super::{Sender, notice, refused, unavailable};

/// A target that runs `script` with a shell, `argument` being its first.
fn shell(script: &str, argument: &str, timeout: &str) -> Sender {
    let words = ["/bin/sh", "-c", script, "sh", argument].map(|word| format!("{word:?}"));
    let command = words.join(", ");
    Sender::new(&format!(
        "[[alerts]]\nkind = 'command'\ntimeout = '{timeout}'\ncommand = [{command}]"
    ))
}

#[tokio::test]
async fn a_program_gets_the_alert_in_both_ways() {
    let folder = tempfile::tempdir().unwrap();
    let place = folder.path().to_str().unwrap();
    let sender = shell("cd \"$1\" && cat > in && env > env", place, "60s");
    let mut notice = notice(NoticeKind::Worse);
    notice.alert.title = "$(touch bad) `touch bad`; a\0b".to_owned();
    notice.alert.worker = Some("w 1".to_owned());
    soon(sender.send(&notice)).await.unwrap();
    let read = |name: &str| fs::read_to_string(folder.path().join(name)).unwrap();
    let body: Value = serde_json::from_str(&read("in")).unwrap();
    assert_eq!((&body["event"], &body["sequence"]), (&"alert.worse".into(), &42.into()));
    let env = read("env");
    for line in [
        "ROLLCALL_ALERT_EVENT=worse",
        "ROLLCALL_ALERT_ID=17",
        "ROLLCALL_ALERT_KIND=message_parked",
        "ROLLCALL_ALERT_SEVERITY=error",
        "ROLLCALL_ALERT_STATE=firing",
        "ROLLCALL_ALERT_STREAM=orders.eu",
        "ROLLCALL_ALERT_SEQUENCE=42",
        "ROLLCALL_ALERT_WORKER=w 1",
        "ROLLCALL_ALERT_ATTEMPT=1",
        "ROLLCALL_ALERT_SINCE=2023-11-14T22:13:20.000Z",
        "ROLLCALL_ALERT_TITLE=$(touch bad) `touch bad`; a b",
    ] {
        assert!(env.lines().any(|one| one == line), "{line} is not in\n{env}");
    }
    assert!(!env.contains("ROLLCALL_ALERT_SUBSCRIPTION"), "{env}");
    assert!(!folder.path().join("bad").exists());
}

#[tokio::test]
async fn there_is_no_shell_between() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("$(echo a) b");
    let text = format!("[[alerts]]\nkind = 'command'\ncommand = ['touch', '{}']", file.display());
    soon(Sender::new(&text).send(&notice(NoticeKind::Firing))).await.unwrap();
    assert!(file.exists());
}

#[tokio::test]
async fn exit_codes_say_whether_to_try_again() {
    for (script, refusal) in
        [("exit 65", true), ("exit 75", false), ("exit 1", false), ("kill -9 $$", false)]
    {
        let sender = shell(&format!("echo no luck >&2; {script}"), "", "60s");
        let sent = soon(sender.send(&notice(NoticeKind::Firing))).await;
        let detail = if refusal { refused(&sent) } else { unavailable(&sent) };
        assert!(detail.ends_with(": no luck"), "{script}: {detail}");
    }
    let quiet = soon(shell("exit 3", "", "60s").send(&notice(NoticeKind::Firing))).await;
    assert_eq!(unavailable(&quiet), "the command ended with exit code 3");
    let much = shell("head -c 1000000 /dev/zero | tr '\\\\0' x >&2; exit 3", "", "60s");
    assert!(unavailable(&soon(much.send(&notice(NoticeKind::Firing))).await).len() < 2000);
    let text = "[[alerts]]\nkind = 'command'\ncommand = ['/no/such/program']";
    let missing = soon(Sender::new(text).send(&notice(NoticeKind::Firing))).await;
    assert!(unavailable(&missing).contains("not found"), "{missing:?}");
}

#[tokio::test]
async fn a_program_that_takes_too_long_is_killed_with_its_children() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("pid");
    let script = "sleep 1000 & echo $! > \"$1.new\"; mv \"$1.new\" \"$1\"; wait";
    let sender = shell(script, file.to_str().unwrap(), "3s");
    let sent = soon(sender.send(&notice(NoticeKind::Firing))).await;
    assert_eq!(unavailable(&sent), "no answer in time");
    let pid = fs::read_to_string(&file).unwrap().trim().to_owned();
    until("its child is gone", || {
        let status = fs::read_to_string(Path::new("/proc").join(&pid).join("stat"));
        // A zombie is one that nobody has collected yet.
        std::future::ready(status.map_or(true, |status| status.contains(") Z ")))
    })
    .await;
}

#[tokio::test]
async fn what_a_program_leaves_behind_holds_nothing_up() {
    let sender = shell("sleep 600 & exit 0", "", "60s");
    tokio::time::timeout(Duration::from_secs(30), sender.send(&notice(NoticeKind::Firing)))
        .await
        .expect("not as long as the child lives")
        .unwrap();
}
