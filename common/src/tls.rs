//! TLS of what this process calls, and of what it listens on: rustls with `ring`, and Mozilla's
//! list of authorities, which is built in so that it does not depend on what the machine or the
//! container has. Files are in PEM (RFC 7468).

use std::{fmt, io, net::SocketAddr, path::Path, sync::Arc};

use arc_swap::ArcSwap;
use rustls::{
    ClientConfig, ConfigBuilder, RootCertStore, ServerConfig, WantsVerifier,
    client::WantsClientCert,
    crypto::{CryptoProvider, ring},
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _},
    server::WebPkiClientVerifier,
};
use tokio::{io::AsyncWriteExt as _, time::timeout};
use tokio_rustls::TlsAcceptor;

use crate::{
    files,
    limits::{PEM_FILE_BYTES, TLS_TIMEOUT},
    net::{Presence, Stream, Watched},
    problem::Problem,
};

/// A connection that a client has made over TLS.
pub type ServerStream = tokio_rustls::server::TlsStream<Watched>;

/// The first byte of every TLS connection: a record that holds a handshake (RFC 8446 §5.1).
const HANDSHAKE: u8 = 22;

/// A certificate with those that it rests on, and its key.
pub struct Identity {
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
}

impl Identity {
    /// Reads both. They may stand in one file.
    ///
    /// # Errors
    /// When a file can't be read, or does not hold what it should. The key is never shown.
    pub fn read(certificate: &Path, key: &Path) -> io::Result<Self> {
        let chain = certificates(certificate)?;
        let text = files::read(key, PEM_FILE_BYTES).map_err(|error| wrong(key, &error))?;
        // What is wrong with a key is not repeated: it might show a part of it.
        let private = PrivateKeyDer::from_pem_slice(&text)
            .map_err(|_| wrong(key, &"it holds no private key"))?;
        Ok(Self { chain, key: private })
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Identity").field("certificates", &self.chain.len()).finish_non_exhaustive()
    }
}

/// The setup of a client that believes the public authorities and has no certificate of its own.
///
/// # Errors
/// When the library finds no version of TLS that it can speak.
pub fn client() -> Result<ClientConfig, rustls::Error> {
    Ok(believing(public())?.with_no_client_auth())
}

/// Whom a client believes.
#[derive(Clone, Copy, Debug)]
pub enum Authorities<'a> {
    /// Those in a file, and nobody else.
    Only(&'a Path),
    /// The public ones.
    Public,
    /// The public ones, and those in a file.
    PublicAnd(&'a Path),
}

/// The setup of a client that shows `identity`, where there is one.
///
/// # Errors
/// When a file can't be read or holds no certificate, or when certificate and key do not fit.
pub fn client_of(
    authorities: Authorities<'_>,
    identity: Option<&Identity>,
) -> io::Result<ClientConfig> {
    let roots = match authorities {
        Authorities::Only(file) => with_file(RootCertStore::empty(), file)?,
        Authorities::Public => public(),
        Authorities::PublicAnd(file) => with_file(public(), file)?,
    };
    let builder = believing(roots).map_err(io::Error::other)?;
    let Some(Identity { chain, key }) = identity else {
        return Ok(builder.with_no_client_auth());
    };
    let config = builder.with_client_auth_cert(chain.clone(), key.clone_key());
    config.map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))
}

/// The setup of a server for HTTP/1.1. With `client_ca`, clients need a certificate from one of the
/// authorities in that file.
///
/// # Errors
/// When a file can't be read or holds no certificate, or when certificate and key do not fit.
pub fn server(identity: &Identity, client_ca: Option<&Path>) -> io::Result<ServerConfig> {
    let invalid =
        |error: &dyn fmt::Display| io::Error::new(io::ErrorKind::InvalidData, error.to_string());
    let builder = ServerConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .map_err(io::Error::other)?;
    let builder = match client_ca {
        None => builder.with_no_client_auth(),
        Some(file) => {
            let roots = Arc::new(with_file(RootCertStore::empty(), file)?);
            let verifier = WebPkiClientVerifier::builder_with_provider(roots, provider());
            builder.with_client_cert_verifier(verifier.build().map_err(|e| invalid(&e))?)
        }
    };
    let Identity { chain, key } = identity;
    let mut config =
        builder.with_single_cert(chain.clone(), key.clone_key()).map_err(|e| invalid(&e))?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(config)
}

/// Takes connections over TLS; what it shows and asks for can be replaced while it runs.
#[derive(Clone, Debug)]
pub struct Acceptor(Arc<ArcSwap<ServerConfig>>);

impl Acceptor {
    /// One with this setup.
    #[must_use]
    pub fn new(config: Arc<ServerConfig>) -> Self {
        Self(Arc::new(ArcSwap::new(config)))
    }

    /// Takes new connections with this setup. Those that there are go on.
    pub fn replace(&self, config: Arc<ServerConfig>) {
        self.0.store(config);
    }

    /// The handshake with a client. Who speaks plain HTTP is told so.
    ///
    /// # Errors
    /// When there is no agreement, or none in time.
    pub async fn accept(&self, stream: Stream) -> io::Result<(ServerStream, Presence)> {
        let handshake = async {
            let mut first = [0];
            match stream.peek(&mut first).await? {
                0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                _ if first != [HANDSHAKE] => return Err(refuse_plain(stream).await),
                _ => {}
            }
            let (stream, presence) = stream.watched();
            let stream = TlsAcceptor::from(self.0.load_full()).accept(stream).await?;
            Ok((stream, presence))
        };
        timeout(TLS_TIMEOUT, handshake).await.map_err(|_| {
            io::Error::new(io::ErrorKind::TimedOut, "the handshake was not done in time")
        })?
    }
}

async fn refuse_plain(mut stream: Stream) -> io::Error {
    let detail = "this port speaks TLS: use https://";
    let problem = Problem::new(400, "tls-expected", "TLS expected", detail).to_json();
    let head = format!(
        "HTTP/1.1 400 Bad Request\r\nContent-Type: {}\r\nContent-Length: {}\r\n\
         Connection: close\r\n\r\n",
        crate::problem::CONTENT_TYPE,
        problem.len()
    );
    // Err: it has gone already.
    let _ = stream.write_all(&[head.as_bytes(), &problem].concat()).await;
    io::Error::new(io::ErrorKind::InvalidData, "the client does not speak TLS")
}

/// Says in the log that a client has got nowhere. One that has said nothing at all, as those do who
/// only look whether somebody listens, is no news.
pub fn note_refusal(peer: SocketAddr, error: &io::Error) {
    if error.kind() == io::ErrorKind::UnexpectedEof && error.get_ref().is_none() {
        tracing::debug!(%peer, "a client has said nothing");
        return;
    }
    tracing::warn!(%peer, %error, "no TLS connection with a client");
}

/// Said here, so that it does not depend on what else in the process sets up a default.
fn provider() -> Arc<CryptoProvider> {
    Arc::new(ring::default_provider())
}

fn public() -> RootCertStore {
    webpki_roots::TLS_SERVER_ROOTS.iter().cloned().collect()
}

fn believing(
    roots: RootCertStore,
) -> Result<ConfigBuilder<ClientConfig, WantsClientCert>, rustls::Error> {
    let builder: ConfigBuilder<ClientConfig, WantsVerifier> =
        ClientConfig::builder_with_provider(provider()).with_safe_default_protocol_versions()?;
    Ok(builder.with_root_certificates(roots))
}

fn with_file(mut roots: RootCertStore, file: &Path) -> io::Result<RootCertStore> {
    for certificate in certificates(file)? {
        roots.add(certificate).map_err(|error| wrong(file, &error))?;
    }
    Ok(roots)
}

fn certificates(file: &Path) -> io::Result<Vec<CertificateDer<'static>>> {
    let text = files::read(file, PEM_FILE_BYTES).map_err(|error| wrong(file, &error))?;
    let all = CertificateDer::pem_slice_iter(&text);
    let all: Vec<_> = all.collect::<Result<_, _>>().map_err(|error| wrong(file, &error))?;
    if all.is_empty() {
        return Err(wrong(file, &"it holds no certificate"));
    }
    Ok(all)
}

fn wrong(file: &Path, error: &dyn fmt::Display) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("{}: {error}", file.display()))
}
