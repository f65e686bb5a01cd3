//! TLS with clients and with workers: who is believed, who is not, and what changes while it runs.

use std::{fs, path::Path, sync::Arc};

use rustls::pki_types::ServerName;
use serde_json::json;
use tests::harness::{
    Authority, Client, Files, Raw, Setup, Signal, Supervisor, WorkerProcess, soon, until,
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};
use tokio_rustls::{TlsConnector, client::TlsStream};

use crate::ms;

const NO_POOL: &str = "[streams.\"*\"]\npool = \"none\"\n";

/// What a server is told of its certificate, and of the authority of its clients.
fn tls(files: &Files, clients: Option<&Authority>) -> String {
    let ca = clients.map(|one| format!(", client_ca = {:?}", one.file)).unwrap_or_default();
    format!("[server]\ntls = {{ cert = {:?}, key = {:?}{ca} }}\n{NO_POOL}", files.cert, files.key)
}

/// A setup with an authority and a server's certificate.
fn setup() -> (Setup, Authority, Files) {
    let setup = Setup::new("");
    let authority = Authority::new(setup.folder(), "authority");
    let files = authority.issue(setup.folder(), "server");
    (setup, authority, files)
}

fn client(supervisor: &Supervisor, authority: &Authority, shown: Option<&Files>) -> Client {
    Client::with_tls(supervisor.url(), authority.client(shown))
}

async fn is_refused(client: &Client) -> bool {
    client.try_call(http::Method::GET, "/livez", &[], "").await.is_err()
}

/// A connection over TLS that offers these protocols.
async fn connect(url: &str, authority: &Authority, offered: &[&str]) -> TlsStream<TcpStream> {
    let mut config = authority.client(None);
    config.alpn_protocols = offered.iter().map(|name| name.as_bytes().to_vec()).collect();
    let stream = soon(TcpStream::connect(url.trim_start_matches("https://"))).await.unwrap();
    let name = ServerName::try_from("localhost").unwrap();
    soon(TlsConnector::from(Arc::new(config)).connect(name, stream)).await.unwrap()
}

#[tokio::test]
async fn the_api_is_spoken_to_over_tls() {
    let (setup, authority, files) = setup();
    setup.configure(tls(&files, None));
    let supervisor = setup.start().await;
    assert!(supervisor.url().starts_with("https://127.0.0.1:"), "{}", supervisor.url());
    let good = client(&supervisor, &authority, None);
    assert_eq!(good.send("orders", vec![b'x'; 300_000]).await, 1);
    good.until_released("orders", 1).await;
    assert_eq!(good.results("orders").await.len(), 1);
    // Who does not know the authority goes no further, and the log says that somebody tried.
    assert!(is_refused(&Client::new(supervisor.url())).await);
    let stranger = Authority::new(setup.folder(), "stranger");
    assert!(is_refused(&client(&supervisor, &stranger, None)).await);
    until("it is said", async || supervisor.process().log().contains("no TLS connection")).await;
    // Who speaks plain HTTP is told what to do, and who speaks nothing known is let go.
    let address = supervisor.url().replace("https://", "http://");
    let mut raw = Raw::connect(&address).await;
    raw.send("GET /livez HTTP/1.1\r\nHost: x\r\n\r\n").await;
    let (status, text) = raw.answer().await;
    assert!(status == 400 && text.contains("https://"), "{text}");
    let mut raw = Raw::connect(&address).await;
    raw.send(b"\x16\x03\x01\0\x05hello").await;
    assert!(raw.read_for(ms(5000)).await.1);
    // The command line.
    let (url, ca) = (supervisor.url(), authority.file.to_str().unwrap());
    let shown = setup.run(&["streams", "--url", url, "--ca-file", ca]).await;
    assert_eq!((shown.code, shown.stdout.contains("orders")), (Some(0), true), "{}", shown.stderr);
    let refused = setup.run(&["streams", "--url", url]).await;
    assert!(
        refused.code == Some(1) && refused.stderr.contains("certificate"),
        "{}",
        refused.stderr
    );
}

#[tokio::test]
async fn inside_of_tls_the_bytes_are_looked_at_as_outside() {
    let (setup, authority, files) = setup();
    setup.configure(tls(&files, None));
    let supervisor = setup.start().await;
    let mut stream = connect(supervisor.url(), &authority, &["h2", "http/1.1"]).await;
    assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"http/1.1"[..]));
    let both = "POST /v1/streams/hard/messages HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\
                Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n";
    stream.write_all(both.as_bytes()).await.unwrap();
    let mut answer = vec![0; 4096];
    let count = soon(stream.read(&mut answer)).await.unwrap();
    let answer = String::from_utf8_lossy(&answer[..count]).into_owned();
    assert!(answer.starts_with("HTTP/1.1 400 "), "{answer}");
    let good = client(&supervisor, &authority, None);
    assert_eq!(good.get("/v1/streams/hard").await.status, 404);
}

#[tokio::test]
async fn where_clients_are_asked_for_a_certificate_only_good_ones_get_in() {
    let (setup, authority, files) = setup();
    let clients = Authority::new(setup.folder(), "clients");
    let good = clients.issue(setup.folder(), "good");
    let expired = clients.issue_expired(setup.folder(), "expired");
    let foreign = authority.issue(setup.folder(), "foreign");
    setup.configure(tls(&files, Some(&clients)));
    let supervisor = setup.start().await;
    for shown in [None, Some(&expired), Some(&foreign)] {
        assert!(is_refused(&client(&supervisor, &authority, shown)).await, "{shown:?}");
    }
    let known = client(&supervisor, &authority, Some(&good));
    assert_eq!(known.send("orders", "x").await, 1);
    let path = |path: &Path| path.to_str().unwrap().to_owned();
    let (ca, cert, key) = (path(&authority.file), path(&good.cert), path(&good.key));
    let url = supervisor.url().to_owned();
    let files = ["--ca-file", &ca, "--cert-file", &cert, "--key-file", &key];
    let shown = setup.run(&[&["streams", "--url", &url][..], &files].concat()).await;
    assert_eq!(shown.code, Some(0), "{}", shown.stderr);
    // A certificate is as good as a token: such a server may listen anywhere.
    let config = setup.config();
    let text = fs::read_to_string(&config).unwrap();
    setup.configure(text.replace("[server]\n", "[server]\nlisten = \"0.0.0.0:0\"\n"));
    let checked = setup.run(&["check-config", "--config", config.to_str().unwrap()]).await;
    assert_eq!(checked.code, Some(0), "{}", checked.stderr);
}

#[tokio::test]
async fn certificates_are_read_again_whole_or_not_at_all() {
    let (setup, first, files) = setup();
    setup.configure(tls(&files, None));
    let supervisor = setup.start().await;
    let old = client(&supervisor, &first, None);
    old.send("orders", "x").await;
    let mut kept = connect(supervisor.url(), &first, &[]).await;
    // Half of a new pair: nothing changes, and it is said.
    let second = Authority::new(setup.folder(), "second");
    let new = second.issue(setup.folder(), "new");
    fs::copy(&new.cert, &files.cert).unwrap();
    supervisor.process().signal(Signal::HUP);
    until("it is said", async || supervisor.process().log().contains("stays as it was")).await;
    assert!(!is_refused(&client(&supervisor, &first, None)).await);
    fs::copy(&new.key, &files.key).unwrap();
    supervisor.process().signal(Signal::HUP);
    until("the new one is shown", async || !is_refused(&client(&supervisor, &second, None)).await)
        .await;
    assert!(is_refused(&client(&supervisor, &first, None)).await);
    // Who was there stays.
    kept.write_all(b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
    let mut answer = [0; 12];
    soon(kept.read_exact(&mut answer)).await.unwrap();
    assert_eq!(&answer, b"HTTP/1.1 200");
}

#[tokio::test]
async fn who_does_not_finish_a_handshake_holds_up_nobody_and_is_let_go() {
    let (setup, authority, files) = setup();
    setup.configure(tls(&files, None));
    let supervisor = setup.start().await;
    let address = supervisor.url().replace("https://", "http://");
    let mut silent = Vec::new();
    for count in 0..100 {
        let mut raw = Raw::connect(&address).await;
        // Some have begun.
        if count % 2 == 0 {
            raw.send(b"\x16\x03\x01").await;
        }
        silent.push(raw);
    }
    let good = client(&supervisor, &authority, None);
    assert_eq!(good.send("orders", "x").await, 1);
    let computed = supervisor.process().computed();
    for mut raw in silent {
        assert!(raw.read_for(ms(30_000)).await.1, "it is still open");
    }
    let computed = supervisor.process().computed() - computed;
    assert!(computed < 300, "{computed} hundredths of seconds for waiting");
}

#[tokio::test]
async fn workers_are_known_by_their_certificates_and_ask_for_ours() {
    let (setup, authority, files) = setup();
    let own = authority.issue(setup.folder(), "own");
    let stranger = Authority::new(setup.folder(), "stranger");
    let path = |path: &Path| path.to_str().unwrap().to_owned();
    let (cert, key, ca) = (path(&files.cert), path(&files.key), path(&authority.file));
    let tls = ["--tls-cert", &cert, "--tls-key", &key, "--tls-client-ca", &ca];
    let worker = WorkerProcess::start(&[&["--builtin", "upper"][..], &tls].concat()).await;
    assert!(worker.url().starts_with("https://"), "{}", worker.url());
    let pool = |believed: &Authority| {
        format!(
            "[streams.\"*\"]\ntimeout = \"20s\"\n[pools.default]\nworkers = [{:?}]\n\
             tls = {{ ca = {:?}, cert = {:?}, key = {:?} }}\n",
            worker.url(),
            believed.file,
            own.cert,
            own.key
        )
    };
    setup.configure(pool(&stranger));
    let supervisor = setup.start().await;
    supervisor.send("orders", "abc").await;
    until("the worker says so", async || {
        worker.process().log().contains("no TLS connection with a client")
    })
    .await;
    let timeline = supervisor.timeline("orders", 1).await;
    assert_ne!(timeline["state"], "released");
    setup.configure(pool(&authority));
    supervisor.process().signal(Signal::HUP);
    supervisor.until_released("orders", 1).await;
    assert_eq!(supervisor.results("orders").await[0]["data"], "ABC");
    let tries = worker.process().log().matches("no TLS connection").count();
    assert!(tries < 200, "{tries} handshakes in vain");
    // Who has no certificate gets nothing from the worker.
    assert!(is_refused(&Client::with_tls(worker.url(), authority.client(None))).await);
}

#[tokio::test]
async fn a_worker_registers_over_tls_with_its_certificate() {
    let (setup, authority, files) = setup();
    let own = authority.issue(setup.folder(), "own");
    let path = |path: &Path| path.to_str().unwrap().to_owned();
    let text = tls(&files, Some(&authority)).replace(NO_POOL, "");
    setup.configure(format!(
        "{text}[pools.default]\ntls = {{ ca = {:?}, cert = {:?}, key = {:?} }}\n",
        authority.file, files.cert, files.key
    ));
    let supervisor = setup.start().await;
    let (cert, key, ca) = (path(&own.cert), path(&own.key), path(&authority.file));
    let worker = WorkerProcess::start(&[
        "--builtin",
        "upper",
        "--supervisor",
        supervisor.url(),
        "--ca-file",
        &ca,
        "--tls-cert",
        &cert,
        "--tls-key",
        &key,
        "--tls-client-ca",
        &ca,
    ])
    .await;
    let good = client(&supervisor, &authority, Some(&own));
    good.send("orders", "abc").await;
    good.until_released("orders", 1).await;
    assert_eq!(good.results("orders").await[0]["data"], "ABC");
    let workers = good.json("/v1/workers").await;
    assert_eq!(workers["workers"][0]["url"], json!(format!("{}/", worker.url())));
}
