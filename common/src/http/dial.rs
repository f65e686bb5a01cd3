//! Connections to a target: which of its addresses, whether that may be connected to, and TLS.

use std::{
    io,
    net::SocketAddr,
    path::Path,
    sync::{Arc, OnceLock},
};

use rustls::{ClientConfig, pki_types::ServerName};
use tokio::time::timeout;
use tokio_rustls::{TlsConnector, client::TlsStream};

use crate::{
    http::AddressPolicy,
    limits::{CONNECT_TIMEOUT, HOST_ADDRESSES},
    net::{Network, Stream},
    tls::{self, Authorities},
};

/// Whose certificates are believed, and which one is shown to who asks.
#[derive(Clone, Debug)]
pub struct Trust(Arc<ClientConfig>);

impl Trust {
    /// The public authorities (as Mozilla has them), and those in a file in PEM, if there is one.
    ///
    /// # Errors
    /// When the file can't be read, or holds no certificate.
    pub fn new(file: Option<&Path>) -> io::Result<Self> {
        let authorities = file.map_or(Authorities::Public, Authorities::PublicAnd);
        Ok(Self::of(tls::client_of(authorities, None)?.into()))
    }

    /// What a client's setup says.
    #[must_use]
    pub fn of(config: Arc<ClientConfig>) -> Self {
        Self(config)
    }

    /// Whether the other one is this one: the same setup, and not one that says the same.
    #[must_use]
    pub fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    /// The public authorities.
    ///
    /// # Errors
    /// When TLS can't be set up.
    pub fn public() -> io::Result<Self> {
        static PUBLIC: OnceLock<Trust> = OnceLock::new();
        if let Some(trust) = PUBLIC.get() {
            return Ok(trust.clone());
        }
        let trust = Self::new(None)?;
        Ok(PUBLIC.get_or_init(|| trust).clone())
    }

    /// TLS over a connection, to a server that has to be `host`.
    pub(super) async fn secure(&self, stream: Stream, host: &str) -> io::Result<TlsStream<Stream>> {
        let name = ServerName::try_from(host.to_owned()).map_err(io::Error::other)?;
        let connect = TlsConnector::from(Arc::clone(&self.0)).connect(name, stream);
        timeout(CONNECT_TIMEOUT, connect).await.map_err(|_| late())?
    }
}

/// The way to a target's addresses.
#[derive(Clone, Debug, Default)]
pub enum Route {
    /// To this one, whatever the host's name leads to.
    Fixed(SocketAddr),
    /// To those that the guard lets through. What is checked is what is connected to: the name
    /// is looked up once, so it can't lead elsewhere in between.
    Guarded(Arc<AddressPolicy>),
    /// To any.
    #[default]
    Open,
}

/// Connects to a host's port, by trying its addresses in order.
///
/// # Errors
/// When none takes the connection in time, or none may be connected to
/// ([`io::ErrorKind::PermissionDenied`]).
pub async fn dial(
    network: &Network,
    (host, port): (&str, u16),
    route: &Route,
) -> io::Result<Stream> {
    let connect = async {
        match route {
            Route::Fixed(address) => network.connect(&[*address]).await,
            Route::Guarded(guard) => {
                let addresses = allowed(network, (host, port), guard).await?;
                network.connect(&addresses).await
            }
            Route::Open => {
                let addresses = network.lookup(host, port).await?;
                network.connect(&addresses).await
            }
        }
    };
    let stream = timeout(CONNECT_TIMEOUT, connect).await.map_err(|_| late())??;
    stream.set_nodelay()?;
    Ok(stream)
}

/// The addresses of a host that may be connected to.
///
/// # Errors
/// When it has none, or none of them may be ([`io::ErrorKind::PermissionDenied`]).
pub async fn allowed(
    network: &Network,
    (host, port): (&str, u16),
    guard: &AddressPolicy,
) -> io::Result<Vec<SocketAddr>> {
    let mut addresses = Vec::new();
    let mut forbidden = None;
    for address in network.lookup(host, port).await?.into_iter().take(HOST_ADDRESSES) {
        match guard.check(host, address.ip()) {
            Ok(()) => addresses.push(address),
            Err(error) => forbidden = Some(error),
        }
    }
    match forbidden {
        Some(error) if addresses.is_empty() => {
            Err(io::Error::new(io::ErrorKind::PermissionDenied, error))
        }
        Some(_) | None => Ok(addresses),
    }
}

fn late() -> io::Error {
    io::Error::new(io::ErrorKind::TimedOut, "no connection in time")
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;

    /// A name says nothing of where it leads; so what is connected to is looked at, each time.
    #[tokio::test]
    async fn a_name_that_leads_to_the_machine_itself_is_not_connected_to() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let (network, strict) = (Network::default(), Route::Guarded(Arc::default()));
        for host in ["localhost", "127.0.0.1"] {
            let error = dial(&network, (host, port), &strict).await.unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::PermissionDenied, "{host}");
        }
        let named = AddressPolicy::new(["localhost".parse().unwrap()]);
        let own = AddressPolicy::default().with_loopback();
        for route in [Route::Guarded(Arc::new(named)), Route::Guarded(Arc::new(own)), Route::Open] {
            dial(&network, ("localhost", port), &route).await.unwrap();
        }
    }
}
