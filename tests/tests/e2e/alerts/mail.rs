//! Mail, to a real server: aiosmtpd, which the first run fetches with pip into the build's folder.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Stdio,
};

use rollcall_supervisor::dispatcher::NoticeKind;
use serde_json::Value;
use tests::harness::{Process, soon};
use tokio::{process::Command, sync::OnceCell};

use super::{ALL, Sender, notice, refused, unavailable};

/// The packages, at the versions that these tests were made with.
const PACKAGES: [&str; 3] = ["aiosmtpd==1.4.6", "atpublic==6.0.1", "attrs==25.3.0"];

static LIBRARY: OnceCell<PathBuf> = OnceCell::const_new();

/// The folder with aiosmtpd in it.
async fn library() -> &'static Path {
    LIBRARY.get_or_init(install).await
}

async fn install() -> PathBuf {
    let place = Path::new(env!("CARGO_TARGET_TMPDIR")).join("aiosmtpd-1.4.6");
    if place.exists() {
        return place;
    }
    // Beside its place first: what is there is whole.
    let new = place.with_extension(std::process::id().to_string());
    let mut pip = Command::new("python3");
    pip.args(["-m", "pip", "install", "--quiet", "--no-deps", "--disable-pip-version-check"])
        .arg("--target")
        .arg(&new)
        .args(PACKAGES)
        .stdin(Stdio::null());
    let output = pip.output().await.expect("python3 is there: the mail tests need it, and pip");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "pip has no mail server (aiosmtpd) for the tests: {said}");
    if fs::rename(&new, &place).is_err() {
        // Another run was faster.
        fs::remove_dir_all(&new).expect("what is not needed can go");
    }
    place
}

/// A mail server.
struct Server {
    process: Process,
    port: String,
    folder: tempfile::TempDir,
}

impl Server {
    async fn start(arguments: &[&str]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/e2e/alerts/smtp.py");
        let mut command = Command::new("python3");
        command.arg(script).args(arguments).env("PYTHONPATH", library().await);
        let mut process = Process::start(command, folder.path(), "smtp");
        let port = process.said("port ").await;
        Self { process, port, folder }
    }

    /// A target that mails to these, by this scheme, with these keys more.
    fn target(&self, to: &str, scheme: &str, more: &str) -> Sender {
        Sender::new(&format!(
            "[[alerts]]\nkind = 'email'\nto = {to}\nfrom = 'Rollcall <rollcall@example.org>'\n\
             smtp = '{scheme}://127.0.0.1:{}'\n{more}",
            self.port
        ))
    }

    /// What it has got so far.
    fn mails(&self) -> Vec<Value> {
        let said = fs::read_to_string(self.folder.path().join("smtp.out")).unwrap();
        let mails = said.lines().filter_map(|line| line.strip_prefix("mail "));
        mails.map(|mail| serde_json::from_str(mail).unwrap()).collect()
    }
}

#[tokio::test]
async fn all_mails_of_an_alert_are_a_thread() {
    let server = Server::start(&["open"]).await;
    let sender = server.target("'ops@example.org'", "smtp", "");
    for what in ALL {
        soon(sender.send(&notice(what))).await.unwrap();
    }
    let mut again = notice(NoticeKind::Firing);
    again.attempt = 2;
    soon(sender.send(&again)).await.unwrap();
    let mut other = notice(NoticeKind::Firing);
    other.alert.id = "18".to_owned();
    soon(sender.send(&other)).await.unwrap();
    let mails = server.mails();
    assert_eq!(mails.len(), ALL.len() + 2);
    for mail in &mails {
        assert_eq!(mail["defects"], serde_json::json!([]));
        assert_eq!(
            (&mail["from"], &mail["to"][0]),
            (&"rollcall@example.org".into(), &"ops@example.org".into())
        );
        let headers = &mail["headers"];
        assert_eq!(headers["auto-submitted"], "auto-generated");
        assert_eq!(headers["from"], "Rollcall <rollcall@example.org>");
        assert!(headers["date"].is_string(), "{headers}");
    }
    let id = |at: usize| mails[at]["headers"]["message-id"].as_str().unwrap();
    assert!(id(0).starts_with('<') && id(0).ends_with("@example.org>"), "{}", id(0));
    for (mail, at) in mails[1..ALL.len()].iter().zip(1..) {
        assert_eq!(mail["headers"]["references"], id(0));
        assert_eq!(mail["headers"]["in-reply-to"], id(0));
        assert!((0..at).all(|before| id(before) != id(at)), "{mail}");
    }
    assert_eq!(id(5), id(0));
    assert_ne!(id(6), id(0));
    assert_eq!(mails[0]["headers"]["subject"], "[firing] error: orders.eu/42 is parked");
    let body = mails[0]["body"].as_str().unwrap();
    for line in ["attempts are used up: status 500", "stream: orders.eu", "sequence: 42"] {
        assert!(body.lines().any(|one| one == line), "{body}");
    }
}

#[tokio::test]
async fn what_comes_from_outside_makes_no_headers() {
    let server = Server::start(&["open"]).await;
    let sender = server.target("'ops@example.org'", "smtp", "");
    let mut hostile = notice(NoticeKind::Firing);
    hostile.alert.title = format!("ü\r\nBcc: evil@example.org\r\n\r\n{}", "x".repeat(2000));
    hostile.alert.detail =
        format!("first\r\n.\r\nMAIL FROM:<evil@example.org>\r\n{}", "y".repeat(2000));
    soon(sender.send(&hostile)).await.unwrap();
    let mails = server.mails();
    assert_eq!(mails.len(), 1, "{mails:?}");
    assert!(mails[0]["headers"].get("bcc").is_none(), "{mails:?}");
    assert!(mails[0]["headers"]["subject"].as_str().unwrap().contains("ü  Bcc: evil"), "{mails:?}");
    assert!(mails[0]["body"].as_str().unwrap().contains("MAIL FROM:<evil@example.org>"));
}

#[tokio::test]
async fn one_bad_address_keeps_nobody_else_from_being_told() {
    let server = Server::start(&["open"]).await;
    let both = server.target("['refused@example.org', 'ops@example.org']", "smtp", "");
    soon(both.send(&notice(NoticeKind::Firing))).await.unwrap();
    assert_eq!(server.mails()[0]["to"], serde_json::json!(["ops@example.org"]));
    let none = server.target("'refused@example.org'", "smtp", "");
    let sent = soon(none.send(&notice(NoticeKind::Firing))).await;
    assert!(refused(&sent).contains("no such mailbox"), "{sent:?}");
    let busy = server.target("'busy@example.org'", "smtp", "");
    let sent = soon(busy.send(&notice(NoticeKind::Firing))).await;
    assert!(unavailable(&sent).contains("try again later"), "{sent:?}");
    assert_eq!(server.mails().len(), 1);
}

#[tokio::test]
async fn a_password_opens_the_server_and_is_never_shown() {
    let server = Server::start(&["rollcall", "hunter2!"]).await;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("password");
    fs::write(&file, "hunter2!\n").unwrap();
    let keys = format!("username = 'rollcall'\npassword_file = '{}'", file.display());
    let good = server.target("'ops@example.org'", "smtp", &keys);
    soon(good.send(&notice(NoticeKind::Firing))).await.unwrap();
    assert_eq!(server.mails().len(), 1);
    let keys = "username = 'rollcall'\npassword = 'canary-1'";
    let bad = server.target("'ops@example.org'", "smtp", keys);
    let sent = soon(bad.send(&notice(NoticeKind::Firing))).await;
    assert!(refused(&sent).contains("wrong password …"), "{sent:?}");
    refused(
        &soon(server.target("'ops@example.org'", "smtp", "").send(&notice(NoticeKind::Firing)))
            .await,
    );
    assert_eq!(server.mails().len(), 1);
}

#[tokio::test]
async fn without_tls_nothing_is_sent_where_tls_is_wanted() {
    let server = Server::start(&["rollcall", "hunter2!"]).await;
    let keys = "timeout = '2s'\nusername = 'rollcall'\npassword = 'hunter2!'";
    for scheme in ["starttls", "smtps"] {
        let sender = server.target("'ops@example.org'", scheme, keys);
        unavailable(&soon(sender.send(&notice(NoticeKind::Firing))).await);
    }
    assert!(server.mails().is_empty());
}

#[tokio::test]
async fn a_server_that_is_down_is_tried_again() {
    let server = Server::start(&["open"]).await;
    let sender = server.target("'ops@example.org'", "smtp", "");
    server.process.kill().await;
    unavailable(&soon(sender.send(&notice(NoticeKind::Firing))).await);
}
