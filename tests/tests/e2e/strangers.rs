//! What strangers can't do although they reach an address: pages in a browser, whoever registers a
//! worker, whoever may read or write in a folder. And what holds nothing up although it is read.

use std::{
    fs,
    os::unix::fs::{PermissionsExt as _, symlink},
    path::Path,
    process::Stdio,
};

use serde_json::json;
use tests::{
    harness::{Raw, Setup, Signal, Supervisor, WorkerProcess, exchange},
    peers::FakeWorker,
};
use tokio::process::Command;

/// Streams whose messages are their own results.
const AS_IT_IS: &str = "[streams.\"*\"]\npool = \"none\"\n";
/// What a browser says when a page of another site has something sent.
const FOREIGN: &str = "Origin: https://evil.example\r\n";

async fn sent(url: &str, first: &str, host: &str, headers: &str) -> (u16, String) {
    let length = "Content-Length: 2\r\nContent-Type: text/plain\r\n";
    let (method, path) = first.split_once(' ').unwrap();
    let request = format!("{method} {path} HTTP/1.1\r\nHost: {host}\r\n{headers}{length}\r\n{{}}");
    exchange(url, request).await
}

/// Every door by which something is changed.
const DOORS: [&str; 7] = [
    "POST /v1/streams/a/messages",
    "POST /v1/streams/a/messages:batch",
    "POST /v1/streams/a/pause",
    "PUT /v1/workers/w",
    "DELETE /v1/workers/w",
    "PUT /v1/subscriptions/s",
    "POST /v1/nothing/at/all",
];

#[tokio::test]
async fn pages_of_other_sites_change_nothing() {
    let admin = "[server]\nadmin_listen = \"127.0.0.1:0\"\n";
    let more = "public_url = \"https://rollcall.example\"\nhosts = [\"queue.internal\"]\n";
    let setup = Setup::new(format!("{admin}{more}{AS_IT_IS}"));
    let mut supervisor = setup.start().await;
    let admin = supervisor.said("admin listening on ").await;
    for url in [supervisor.url(), admin.as_str()] {
        for door in DOORS {
            for headers in [FOREIGN, "Origin: null\r\n", "Sec-Fetch-Site: cross-site\r\n"] {
                let (status, text) = sent(url, door, "localhost", headers).await;
                assert!(status == 403 && text.contains("cross-site"), "{door} {headers}: {text}");
            }
        }
        for path in ["/v1/status", "/v1/streams/a/results", "/", "/metrics"] {
            let get = format!("GET {path}");
            let (status, text) = sent(url, &get, "evil.example", "").await;
            assert!(status == 403 && text.contains("server.hosts"), "{path}: {text}");
        }
        for host in ["localhost:1", "127.0.0.1", "[::1]:7", "queue.internal", "rollcall.example"] {
            assert_eq!(sent(url, "GET /v1/streams/a/messages/9", host, "").await.0, 404, "{host}");
        }
        assert_eq!(sent(url, "GET /readyz", "evil.example", FOREIGN).await.0, 200);
    }
    let streams = supervisor.client();
    assert_eq!(streams.get("/v1/streams/a/messages/1").await.status, 404, "nothing was taken in");
    let own = "Origin: https://rollcall.example\r\nSec-Fetch-Site: same-origin\r\n";
    for headers in [own, "", "Sec-Fetch-Site: none\r\n", "Origin: http://localhost:1\r\n"] {
        let (status, text) = sent(supervisor.url(), DOORS[0], "localhost:1", headers).await;
        assert_eq!(status, 202, "{headers}: {text}");
    }
}

#[tokio::test]
async fn with_tokens_the_token_is_what_counts() {
    let setup = Setup::new(format!(
        "[[tokens]]\nname = \"a\"\nsecret = \"secret\"\nscopes = [\"admin\"]\n{AS_IT_IS}"
    ));
    let supervisor = setup.start().await;
    let known = format!("{FOREIGN}Authorization: Bearer secret\r\n");
    for (headers, status) in [(known.as_str(), 202), (FOREIGN, 401)] {
        assert_eq!(sent(supervisor.url(), DOORS[0], "evil.example", headers).await.0, status);
    }
}

#[tokio::test]
async fn a_page_is_no_feed() {
    let tcp = "[[tcp]]\nlisten = \"127.0.0.1:0\"\nstream = \"a\"\n";
    let setup = Setup::new(format!("{AS_IT_IS}{tcp}"));
    let mut supervisor = setup.start().await;
    let feed = supervisor.said("messages listening on tcp://").await;
    let mut page = Raw::connect(&feed).await;
    page.send("POST / HTTP/1.1\r\nHost: localhost\r\n\r\nforged\n").await;
    let (text, closed) = page.read_for(crate::ms(5000)).await;
    assert!(closed && text.starts_with("error: "), "{text}");
    assert_eq!(supervisor.json("/v1/streams/a").await["next_sequence"], 1);
}

#[tokio::test]
async fn no_worker_is_where_credentials_are() {
    let setup = Setup::new("");
    let supervisor = setup.start().await;
    let register = async |supervisor: &Supervisor, url: &str| {
        supervisor.put("/v1/workers/w", &json!({ "url": url, "pool": "elsewhere" })).await
    };
    for bad in [
        "http://169.254.169.254/latest/meta-data/",
        "http://[fe80::1]:9000/",
        "http://[fd00:ec2::254]/",
        "http://[::ffff:169.254.169.254]/",
        "http://[64:ff9b::a9fe:a9fe]/",
    ] {
        let refused = register(&supervisor, bad).await;
        assert_eq!(refused.problem(400)["field"], "url", "{bad}");
    }
    for good in ["http://10.0.0.5:9000/", "http://127.0.0.1:9/", "http://nowhere.invalid/"] {
        assert_eq!(register(&supervisor, good).await.status, 200, "{good}");
    }
    setup.configure("[server]\nallow_destinations = [\"169.254.0.0/16\"]\n");
    supervisor.terminate().await;
    let supervisor = setup.start().await;
    assert_eq!(register(&supervisor, "http://169.254.169.254/").await.status, 200);
}

fn open_to_others(path: &Path) -> Vec<String> {
    let mode = fs::metadata(path).unwrap().permissions().mode() & 0o777;
    let mut open: Vec<_> =
        (mode & 0o077 != 0).then(|| format!("{mode:o} {}", path.display())).into_iter().collect();
    if path.is_dir() {
        let inside = fs::read_dir(path).unwrap();
        open.extend(inside.flat_map(|one| open_to_others(&one.unwrap().path())));
    }
    open
}

#[tokio::test]
async fn what_is_stored_is_for_its_owner_alone() {
    let setup = Setup::new(AS_IT_IS);
    let lax = ["sh", "-c", "umask 0 && exec \"$0\" \"$@\""];
    let supervisor = setup.start_under(&lax).await;
    supervisor.send("a", "x").await;
    // What a stranger has put where the secrets are to be written.
    let (other, new) = (setup.folder().join("other"), setup.data().join("secrets.json.new"));
    fs::write(&other, "theirs").unwrap();
    symlink(&other, &new).unwrap();
    let secret = "whsec_c2lnbmVkIHdpdGggdGhpcyBrZXkh";
    let wanted = json!({ "url": "http://127.0.0.1:9/", "secret": secret });
    assert_eq!(supervisor.put("/v1/subscriptions/s", &wanted).await.status, 201);
    assert_eq!(fs::read(&other).unwrap(), b"theirs");
    supervisor.terminate().await;
    assert_eq!(open_to_others(setup.data()), [""; 0]);
    assert!(fs::symlink_metadata(setup.data().join("secrets.json")).unwrap().is_file());
    // A link in the place of the lock is not followed; one to the whole folder is.
    let lock = setup.data().join("lock");
    fs::remove_file(&lock).unwrap();
    symlink(&other, &lock).unwrap();
    let ended = setup.fail().await;
    assert!(ended.code == Some(1) && ended.stderr.contains("symbolic link"), "{}", ended.stderr);
    fs::remove_file(&lock).unwrap();
    let elsewhere = setup.folder().join("elsewhere");
    fs::rename(setup.data(), &elsewhere).unwrap();
    symlink(&elsewhere, setup.data()).unwrap();
    fs::set_permissions(&elsewhere, fs::Permissions::from_mode(0o755)).unwrap();
    let supervisor = setup.start().await;
    assert_eq!(supervisor.send("a", "x").await, 2);
    assert!(supervisor.process().log().contains("chmod 700"));
}

#[tokio::test]
async fn a_configuration_that_does_not_come_holds_nothing_up() {
    let setup = Setup::new(AS_IT_IS);
    let supervisor = setup.start().await;
    fs::remove_file(setup.config()).unwrap();
    let made = Command::new("mkfifo").arg(setup.config()).status().await.unwrap();
    assert!(made.success());
    // A storm of them is one reading.
    for _ in 0..20 {
        supervisor.process().signal(Signal::HUP);
    }
    for sequence in 1..=20 {
        assert_eq!(supervisor.send("a", "x").await, sequence);
    }
    let ended = supervisor.terminate().await;
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    for (config, said) in [("/dev/zero", "larger than"), ("/", "directory")] {
        let ended = setup.run(&["check-config", "--config", config]).await;
        assert!(ended.code == Some(2) && ended.stderr.contains(said), "{}", ended.stderr);
    }
    for endless in ["[[tokens]]\nname = \"a\"\nscopes = [\"read\"]\nsecret_file", "[server]\nca"] {
        fs::remove_file(setup.config()).unwrap();
        let key = if endless.ends_with("ca") {
            "[server]\ntls = { cert = \"/dev/zero\", key = \"/dev/zero\" }\n".to_owned()
        } else {
            format!("{endless} = \"/dev/zero\"\n")
        };
        setup.configure(key);
        let file = setup.config().to_str().unwrap().to_owned();
        let ended = setup.run(&["check-config", "--config", &file]).await;
        assert!(ended.code == Some(2) && ended.stderr.contains("larger"), "{}", ended.stderr);
    }
}

#[tokio::test]
async fn check_config_reads_what_serve_reads() {
    let setup = Setup::new("");
    let file = setup.config().to_str().unwrap().to_owned();
    let check = async |variables: &[(&str, &str)], arguments: &[&str]| {
        let mut command = Command::new(tests::harness::program("supervisor"));
        command.args(["check-config", "--config", &file]).args(arguments);
        command.envs(variables.iter().copied()).stdout(Stdio::null());
        let out = command.output().await.unwrap();
        (out.status.code(), String::from_utf8_lossy(&out.stderr).into_owned())
    };
    assert_eq!(check(&[], &[]).await.0, Some(0));
    let (code, said) = check(&[("ROLLCALL_SERVER_LISTEN", "0.0.0.0:7400")], &[]).await;
    assert!(code == Some(2) && said.contains("ROLLCALL_SERVER_LISTEN"), "{said}");
    let open = &["--listen", "0.0.0.0:7400"];
    assert_eq!(check(&[("ROLLCALL_SERVER_LISTEN", "127.0.0.1:1")], open).await.0, Some(2));
    assert_eq!(check(&[("ROLLCALL_SERVER_INSECURE", "true")], open).await.0, Some(0));
}

#[tokio::test]
async fn a_worker_runs_commands_for_supervisors_alone() {
    let worker = WorkerProcess::start(&["--exec", "--", "cat"]).await;
    for headers in [FOREIGN, "Sec-Fetch-Site: same-origin\r\n", "Origin: null\r\n"] {
        let (status, text) = sent(worker.url(), "POST /", "localhost", headers).await;
        assert!(status == 403 && text.contains("cross-site"), "{text}");
    }
    assert_eq!(sent(worker.url(), "POST /", "worker.internal:9", "").await.0, 200);
    // A worker of somebody else's is called with what it is sent, and that is no page's.
    let other = FakeWorker::upper().await;
    let setup = Setup::new(format!("[pools.default]\nworkers = [{:?}]\n", other.url()));
    let supervisor = setup.start().await;
    supervisor.message("a", &[("sec-fetch-site", "none")], "x").await;
    supervisor.until_released("a", 1).await;
    assert_eq!(other.calls()[0].header("sec-fetch-site"), "");
}

#[tokio::test]
async fn a_worker_does_not_open_to_strangers() {
    let run = async |arguments: &[&str]| {
        let mut command = Command::new(tests::harness::program("worker"));
        command.arg("serve").args(arguments).stdout(Stdio::null());
        let out = command.output().await.unwrap();
        (out.status.code(), String::from_utf8_lossy(&out.stderr).into_owned())
    };
    for what in [&["--exec", "--", "cat"][..], &["--exec-stream", "--", "cat"]] {
        for listen in ["0.0.0.0:0", "[::]:0"] {
            let (code, said) = run(&[&["--listen", listen], what].concat()).await;
            assert!(code == Some(2) && said.contains("--insecure"), "{listen} {what:?}: {said}");
        }
    }
}
