//! Destinations over TLS: who is believed, and who is not.

use std::{
    fs,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::{
    ServerConfig,
    pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer},
};
use tests::harness::{Setup, spawn, until};
use tokio::{
    io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader},
    net::TcpListener,
};
use tokio_rustls::TlsAcceptor;

/// An authority of our own, in PEM, and a server whose certificate it signed for `host`.
async fn start(host: &str) -> (String, SocketAddr, Arc<AtomicUsize>) {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
    let key = KeyPair::generate().unwrap();
    let params = CertificateParams::new(vec![host.to_owned()]).unwrap();
    let certificate = params.signed_by(&key, &authority).unwrap();
    let private = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate.der().clone()], private)
        .unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let requests = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&requests);
    spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let (acceptor, count) = (acceptor.clone(), Arc::clone(&count));
            spawn(async move {
                let Ok(stream) = acceptor.accept(stream).await else { return };
                let mut stream = BufReader::new(stream);
                while answer(&mut stream).await.is_ok() {
                    count.fetch_add(1, Ordering::SeqCst);
                }
            });
        }
    });
    (authority.pem(), address, requests)
}

/// Reads a request and says yes.
async fn answer(
    stream: &mut (impl tokio::io::AsyncBufRead + tokio::io::AsyncWrite + Unpin),
) -> std::io::Result<()> {
    let mut length = 0;
    loop {
        let mut line = String::new();
        if stream.read_line(&mut line).await? == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
        let line = line.trim().to_ascii_lowercase();
        if let Some(text) = line.strip_prefix("content-length:") {
            length = text.trim().parse().unwrap();
        }
        if line.is_empty() {
            break;
        }
    }
    stream.read_exact(&mut vec![0; length]).await?;
    stream.write_all(b"HTTP/1.1 204 No Content\r\n\r\n").await?;
    stream.flush().await
}

fn setup(authority: Option<&str>, url: &str) -> Setup {
    let setup = Setup::new("");
    let mut config = String::new();
    if let Some(pem) = authority {
        let file = setup.folder().join("ca.pem");
        fs::write(&file, pem).unwrap();
        config = format!("[server]\nca_file = {file:?}\n");
    }
    setup.configure(format!(
        "{config}[streams.\"*\"]\npool = \"none\"\n[subscriptions.all]\n\
         start = \"beginning\"\nurl = \"{url}\"\n"
    ));
    setup
}

#[tokio::test]
async fn a_destination_whose_authority_is_believed_gets_its_results() {
    let (authority, address, requests) = start("localhost").await;
    let setup = setup(Some(&authority), &format!("https://localhost:{}/hook", address.port()));
    let supervisor = setup.start().await;
    for _ in 0..3 {
        supervisor.send("orders", "x").await;
    }
    until("all is done", || async {
        supervisor.json("/v1/subscriptions/all").await["checkpoint"] == 3
    })
    .await;
    assert_eq!(requests.load(Ordering::SeqCst), 3);
}

#[tokio::test]
async fn a_destination_with_the_wrong_name_or_authority_gets_nothing() {
    let (authority, address, requests) = start("localhost").await;
    let (other, ..) = start("localhost").await;
    let (port, right) = (address.port(), "localhost");
    for (authority, host) in
        [(Some(&*authority), "127.0.0.1"), (Some(&*other), right), (None, right)]
    {
        let setup = setup(authority, &format!("https://{host}:{port}/"));
        let supervisor = setup.start().await;
        supervisor.send("orders", "x").await;
        until("its error is shown", || async {
            let state = supervisor.json("/v1/subscriptions/all").await;
            let error = state["last_error"].as_str().unwrap_or_default().to_owned();
            error.contains("certificate")
        })
        .await;
    }
    assert_eq!(requests.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn a_file_of_certificates_that_is_none_is_refused_at_the_start() {
    let setup = setup(Some("nothing"), "https://localhost/");
    let ended = setup.fail().await;
    assert_eq!(ended.code, Some(1));
}
