//! Where connections come from: the system, unless a test brings a network of its own. The
//! message path reads and writes a plain `TcpStream` behind one `match`, without a pointer, a
//! lock or a copy of its own; only what a test brings is boxed.

mod end;
mod halves;
mod listener;
mod lookup;
mod presence;
mod stream;

use std::{fmt, io, net::SocketAddr, sync::Arc};

use futures_util::future::BoxFuture;
use tokio::net::{TcpStream, ToSocketAddrs, lookup_host};

pub use end::End;
pub use halves::{ReadHalf, WriteHalf};
pub use listener::{Accepts, Listener};
pub use presence::{Presence, Watched, WatchedTcp};
pub use stream::{Stream, Wire};

/// What a network has to be able to do that is not the system's.
pub trait Medium: fmt::Debug + Send + Sync {
    /// Connects to an address.
    fn connect(&self, address: SocketAddr) -> BoxFuture<'static, io::Result<Box<dyn Wire>>>;

    /// Listens at an address; at a free port, if its port is 0.
    fn listen(&self, address: SocketAddr) -> BoxFuture<'static, io::Result<Box<dyn Accepts>>>;

    /// The addresses of a host, each with this port.
    ///
    /// # Errors
    /// When its name leads nowhere.
    fn lookup(&self, host: &str, port: u16) -> io::Result<Vec<SocketAddr>>;
}

/// Where connections come from; the system's network by default.
#[derive(Clone, Debug, Default)]
pub struct Network(Option<Arc<dyn Medium>>);

impl Network {
    /// One that is not the system's.
    #[must_use]
    pub fn new(medium: Arc<dyn Medium>) -> Self {
        Self(Some(medium))
    }

    /// Whether it is the system's.
    #[must_use]
    pub const fn is_the_systems(&self) -> bool {
        self.0.is_none()
    }

    /// Connects to the first of these addresses that takes a connection.
    ///
    /// # Errors
    /// The last one's, when none does; or when there is none.
    pub async fn connect(&self, addresses: &[SocketAddr]) -> io::Result<Stream> {
        let Some(medium) = &self.0 else {
            return TcpStream::connect(addresses).await.map(Stream::Tcp);
        };
        let mut failed = io::Error::new(io::ErrorKind::InvalidInput, "there is no address");
        for address in addresses {
            match medium.connect(*address).await {
                Ok(wire) => return Ok(Stream::Other(wire)),
                Err(error) => failed = error,
            }
        }
        Err(failed)
    }

    /// Listens at an address.
    ///
    /// # Errors
    /// When it is taken, is not ours, or can't be made out.
    pub async fn listen(&self, address: impl ToSocketAddrs) -> io::Result<Listener> {
        let Some(medium) = &self.0 else {
            return listener::bind(address).await.map(Listener::Tcp);
        };
        let first = lookup_host(address).await?.next();
        let address = first.ok_or_else(|| io::Error::from(io::ErrorKind::InvalidInput))?;
        medium.listen(address).await.map(Listener::Other)
    }

    /// The addresses of a host, each with this port.
    ///
    /// # Errors
    /// When its name leads nowhere.
    pub async fn lookup(&self, host: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
        match &self.0 {
            None => lookup::OF_PROCESS.find(host, port).await,
            Some(medium) => medium.lookup(host, port),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::io::{AsyncReadExt as _, AsyncWrite as _, AsyncWriteExt as _, DuplexStream};
    use tokio::sync::{Mutex, mpsc};

    use super::*;

    /// One listener, and what connects to it.
    #[derive(Debug)]
    struct Cable {
        connecting: mpsc::Sender<DuplexStream>,
        listening: std::sync::Mutex<Option<mpsc::Receiver<DuplexStream>>>,
    }

    struct Socket(Mutex<mpsc::Receiver<DuplexStream>>);

    const AT: SocketAddr =
        SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 1)), 7);

    impl Medium for Cable {
        fn connect(&self, address: SocketAddr) -> BoxFuture<'static, io::Result<Box<dyn Wire>>> {
            let connecting = self.connecting.clone();
            Box::pin(async move {
                if address != AT {
                    return Err(io::ErrorKind::ConnectionRefused.into());
                }
                let (near, far) = tokio::io::duplex(64);
                connecting.send(far).await.map_err(io::Error::other)?;
                let near: Box<dyn Wire> = Box::new(near);
                Ok(near)
            })
        }

        fn listen(&self, _: SocketAddr) -> BoxFuture<'static, io::Result<Box<dyn Accepts>>> {
            let listening = self.listening.lock().unwrap().take().unwrap();
            let socket: Box<dyn Accepts> = Box::new(Socket(Mutex::new(listening)));
            Box::pin(async { Ok(socket) })
        }

        fn lookup(&self, _: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
            Ok(vec![SocketAddr::from(([10, 0, 0, 9], port)), SocketAddr::new(AT.ip(), port)])
        }
    }

    impl Accepts for Socket {
        fn accept(&self) -> BoxFuture<'_, io::Result<(Box<dyn Wire>, SocketAddr)>> {
            Box::pin(async {
                let far: Box<dyn Wire> = Box::new(self.0.lock().await.recv().await.unwrap());
                Ok((far, AT))
            })
        }

        fn local_addr(&self) -> io::Result<SocketAddr> {
            Ok(AT)
        }
    }

    fn cable() -> Network {
        let (connecting, listening) = mpsc::channel(1);
        let listening = std::sync::Mutex::new(Some(listening));
        Network::new(Arc::new(Cable { connecting, listening }))
    }

    #[tokio::test]
    async fn connections_are_made_over_either() {
        for (network, listen, host) in [
            (Network::default(), "127.0.0.1:0", "localhost"),
            (cable(), "0.0.0.0:0", "a name of its own"),
        ] {
            let listener = network.listen(listen).await.unwrap();
            let port = listener.local_addr().unwrap().port();
            let addresses = network.lookup(host, port).await.unwrap();
            let (mut near, (mut far, _)) =
                tokio::try_join!(network.connect(&addresses), listener.accept()).unwrap();
            near.write_all(b"there").await.unwrap();
            let mut there = [0; 5];
            far.read_exact(&mut there).await.unwrap();
            let (mut reading, mut writing) = near.into_split();
            assert!(reading.is_quiet());
            far.write_all(b"back").await.unwrap();
            let mut back = [0; 4];
            reading.read_exact(&mut back).await.unwrap();
            assert!(reading.is_quiet());
            writing.shutdown().await.unwrap();
            assert_eq!((&there, &back), (b"there", b"back"));
            assert_eq!(far.read(&mut there).await.unwrap(), 0);
            drop(far);
            let end = reading.read(&mut back).await;
            assert!(!reading.is_quiet() && matches!(end, Ok(0)), "{end:?}");
        }
    }

    #[tokio::test]
    async fn what_the_system_writes_at_once_is_written_at_once() {
        let network = Network::default();
        let listener = network.listen("127.0.0.1:0").await.unwrap();
        let near = network.connect(&[listener.local_addr().unwrap()]).await.unwrap();
        assert!(near.is_write_vectored());
    }

    /// A client whose connection finds no room tries again after a second (RFC 6298 §2.1).
    #[tokio::test]
    async fn many_connections_may_come_at_once() {
        let listener = Network::default().listen("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let most = std::fs::read_to_string("/proc/sys/net/core/somaxconn").unwrap_or_default();
        let most = most.trim().parse().unwrap_or(128).min(500);
        let connect = |_| std::net::TcpStream::connect_timeout(&address, Duration::from_secs(5));
        let waiting: Result<Vec<_>, _> = (0..most).map(connect).collect();
        assert_eq!(waiting.unwrap().len(), most);
    }

    #[tokio::test]
    async fn without_an_address_there_is_no_connection() {
        for network in [Network::default(), cable()] {
            let error = network.connect(&[]).await.unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::InvalidInput, "{network:?}");
        }
    }
}
