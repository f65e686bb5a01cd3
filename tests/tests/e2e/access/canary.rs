//! A whole run with secrets everywhere: none is in anything that the supervisor says or keeps.

use std::{
    fs,
    path::{Path, PathBuf},
};

use http::Method;
use serde_json::json;
use tests::{
    harness::{Authority, Client, Ended, Setup, Signal, until},
    peers::{Act, Destination, FakeWorker},
};

use crate::urls;

/// What must not be seen: 32 characters, as a routing key has, and good base64.
const CANARY: &str = "canary0canary0canary0canary0cana";

/// Secrets as everything that can have one. What is called does not answer with them: what it is
/// told is its own to keep.
fn config(folder: &Path, (pools, url): (&str, &str), destination: &str) -> String {
    fs::write(folder.join("token"), format!("{CANARY}-file\n")).unwrap();
    fs::write(folder.join("password"), CANARY).unwrap();
    let authority = Authority::new(folder, "authority");
    let files = authority.issue(folder, "server");
    let key = fs::read_to_string(&files.key).unwrap();
    fs::write(&files.key, format!("{CANARY}\n{key}")).unwrap();
    format!(
        "[server]\ntls = {{ cert = {:?}, key = {:?} }}\n\
         [streams.\"*\"]\nmax_attempts = 1\n[pools.default]\nworkers = {pools}\n\
         [[tokens]]\nname = 'boss'\nsecret = '{CANARY}-boss'\nscopes = ['admin']\n\
         [[tokens]]\nname = 'file'\nsecret_file = {:?}\nscopes = ['read']\n\
         [subscriptions.configured]\nurl = '{destination}'\nsecret = 'whsec_{CANARY}'\n\
         [[alerts]]\nkind = 'log'\n\
         [[alerts]]\nkind = 'webhook'\nurl = '{url}/{CANARY}'\nsecret = 'whsec_{CANARY}'\n\
         [[alerts]]\nkind = 'slack'\nurl = '{url}/services/{CANARY}'\n\
         [[alerts]]\nkind = 'pagerduty'\nurl = '{url}/{CANARY}'\nrouting_key = '{CANARY}'\n\
         [[alerts]]\nkind = 'alertmanager'\nurls = ['{url}/{CANARY}']\n\
         [[alerts]]\nkind = 'email'\nto = 'a@example.org'\nfrom = 'b@example.org'\nusername = 'u'\n\
         smtp = 'smtp://{}'\npassword_file = {:?}\n",
        files.cert,
        files.key,
        folder.join("token"),
        url.trim_start_matches("http://"),
        folder.join("password"),
    )
}

/// Everything that can be asked, and some of what can be wanted.
async fn ask_everything(client: &Client) -> String {
    let mut said = String::new();
    for path in [
        "/",
        "/livez",
        "/metrics",
        "/v1/status",
        "/v1/streams",
        "/v1/streams/orders",
        "/v1/streams/orders/messages/1",
        "/v1/results",
        "/v1/workers",
        "/v1/parked",
        "/v1/alerts",
        "/v1/audit",
        "/v1/subscriptions",
        "/v1/subscriptions/own",
        "/v1/subscriptions/configured",
        "/v1/nothing",
    ] {
        let answer = client.get(path).await;
        said += &format!("{path} {:?} {}\n", answer.headers, answer.text());
    }
    said
}

/// Requests that are wrong, and hold a secret.
async fn ask_wrongly(client: &Client) -> String {
    let token = format!("Bearer {CANARY}-wrong");
    let basic = format!("Basic {CANARY}");
    let mut said = String::new();
    let anybody = client.at(client.url());
    for authorization in [&*token, &*basic] {
        let headers = [("authorization", authorization)];
        let answer = anybody.call(Method::GET, "/v1/streams", &headers, "").await;
        assert_eq!(answer.status, 401);
        said += &answer.text();
    }
    for body in [
        json!({"secret": CANARY}),
        json!({"secret": [format!("whsec_{CANARY}"), "whsec_"]}),
        json!({"url": format!("http://u:{CANARY}@a/")}),
    ] {
        let answer = client.put("/v1/subscriptions/wrong", &body).await;
        assert_eq!(answer.status, 400);
        said += &answer.text();
    }
    said
}

/// All files in a folder, but the one that is for secrets.
fn kept(folder: &Path) -> Vec<PathBuf> {
    let mut all = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            all.extend(kept(&path));
        } else if path.file_name().unwrap() != "secrets.json" {
            all.push(path);
        }
    }
    all
}

fn shows(bytes: &[u8]) -> bool {
    String::from_utf8_lossy(bytes).to_lowercase().contains("canary")
}

#[tokio::test]
async fn no_secret_is_in_anything_that_is_said_or_kept() {
    let worker = FakeWorker::start(|call| {
        if call.body.starts_with(b"bad") { Act::status(422) } else { Act::ok("done") }
    })
    .await;
    let destination = Destination::start().await;
    destination.set(|_| Act::status(500));
    let alerted = FakeWorker::start(|_| Act::status(500)).await;
    let setup = Setup::new("");
    let pools = urls([&worker]);
    let text = config(setup.folder(), (&pools, &alerted.url()), &destination.url());
    setup.configure(&text);
    let supervisor = setup.start_with(&[("ROLLCALL_LOG", "trace"), ("RUST_BACKTRACE", "1")]).await;
    let authority = setup.folder().join("authority.pem");
    let tls = rollcall_common::tls::Authorities::Only(&authority);
    let tls = rollcall_common::tls::client_of(tls, None).unwrap();
    let anybody = Client::with_tls(supervisor.url(), tls);
    let boss = anybody.with_token(&format!("{CANARY}-boss"));
    let own = json!({"url": destination.url(), "secret": format!("whsec_{CANARY}")});
    assert_eq!(boss.put("/v1/subscriptions/own", &own).await.status, 201);
    for body in ["good", "bad", "good"] {
        boss.send("orders", body).await;
    }
    until("the alert is told of", async || alerted.count() >= 4).await;
    until("both are delivered to", async || destination.count() >= 2).await;
    let shown = destination.deliveries()[0].request.header("webhook-signature").to_owned();
    assert!(shown.starts_with("v1,"), "it is signed, so this test can fail: {shown:?}");
    let mut said = ask_everything(&boss).await;
    let reader = anybody.with_token(&format!("{CANARY}-file"));
    said += &reader.get("/v1/streams").await.text();
    said += &ask_wrongly(&boss).await;
    let skip = "/v1/streams/orders/messages/2/skip";
    assert_eq!(boss.post(skip, &[], "{\"reason\":\"it is bad\"}").await.status, 200);
    // A broken reload is a complaint.
    setup.configure(text.replace("scopes = ['read']", "scopes = ['reed']").replace("-boss'", " '"));
    supervisor.process().signal(Signal::HUP);
    until("it is said", async || supervisor.process().log().contains("stays as it was")).await;
    let file = setup.config().to_str().unwrap().to_owned();
    let checked = setup.run(&["check-config", "--config", &file]).await;
    assert_eq!(checked.code, Some(2));
    setup.configure(&text);
    let good = setup.run(&["check-config", "--config", &file]).await;
    said += &format!("{checked:?} {good:?}");
    let Ended { stdout, stderr, .. } = supervisor.terminate().await;
    assert!(stderr.contains("TRACE") || stderr.contains("\"trace\""), "the log is whole");
    for (what, text) in [("answers", &said), ("output", &stdout), ("log", &stderr)] {
        let found = text.lines().find(|line| shows(line.as_bytes()));
        assert!(found.is_none(), "{what}: {found:?}");
    }
    let files = kept(setup.data());
    assert!(!files.is_empty());
    for file in files {
        assert!(!shows(&fs::read(&file).unwrap()), "{}", file.display());
    }
    let secrets = setup.data().join("secrets.json");
    assert!(shows(&fs::read(&secrets).unwrap()), "that is where they are kept");
    let mode =
        std::os::unix::fs::PermissionsExt::mode(&fs::metadata(&secrets).unwrap().permissions());
    assert_eq!(mode & 0o777, 0o600);
}
