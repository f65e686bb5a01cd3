//! Where connections come in.

use std::{fmt, io, net::SocketAddr};

use futures_util::future::BoxFuture;
use tokio::net::{TcpListener, TcpSocket, ToSocketAddrs, lookup_host};

use super::{Stream, Wire};
use crate::limits::UNACCEPTED;

/// What takes connections in a network that is not the system's.
pub trait Accepts: Send + Sync {
    /// The next connection, and where it comes from. Nothing is lost if the future is dropped.
    fn accept(&self) -> BoxFuture<'_, io::Result<(Box<dyn Wire>, SocketAddr)>>;

    /// Where it listens.
    ///
    /// # Errors
    /// When that is not known.
    fn local_addr(&self) -> io::Result<SocketAddr>;
}

/// What takes connections.
pub enum Listener {
    /// Of the system.
    Tcp(TcpListener),
    /// Of another network.
    Other(Box<dyn Accepts>),
}

/// Listens at the first of the system's addresses that can be listened at.
pub(super) async fn bind(address: impl ToSocketAddrs) -> io::Result<TcpListener> {
    let mut failed = io::Error::new(io::ErrorKind::InvalidInput, "there is no address");
    for address in lookup_host(address).await? {
        match bind_to(address) {
            Ok(listener) => return Ok(listener),
            Err(error) => failed = error,
        }
    }
    Err(failed)
}

fn bind_to(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    // So that a restart need not wait until the last connections are forgotten.
    #[cfg(unix)]
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(UNACCEPTED)
}

impl Listener {
    /// The next connection, and where it comes from. Nothing is lost if the future is dropped.
    ///
    /// # Errors
    /// When none could be taken, for lack of descriptors for example; the next one may be.
    pub async fn accept(&self) -> io::Result<(Stream, SocketAddr)> {
        match self {
            Self::Tcp(listener) => {
                let (stream, peer) = listener.accept().await?;
                Ok((Stream::Tcp(stream), peer))
            }
            Self::Other(listener) => {
                let (wire, peer) = listener.accept().await?;
                Ok((Stream::Other(wire), peer))
            }
        }
    }

    /// Where it listens.
    ///
    /// # Errors
    /// When that is not known.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        match self {
            Self::Tcp(listener) => listener.local_addr(),
            Self::Other(listener) => listener.local_addr(),
        }
    }
}

impl From<TcpListener> for Listener {
    fn from(listener: TcpListener) -> Self {
        Self::Tcp(listener)
    }
}

impl fmt::Debug for Listener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(listener) => listener.fmt(f),
            Self::Other(_) => f.write_str("Other"),
        }
    }
}
