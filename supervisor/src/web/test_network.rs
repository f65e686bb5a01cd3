//! A network in memory, for tests: whoever connects is handed to the test, which is the peer.

use std::{
    io,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use futures_util::future::BoxFuture;
use rollcall_common::net::{Accepts, Medium, Network, Wire};
use tokio::{io::DuplexStream, sync::mpsc};

/// Bytes that a connection holds that nobody has read.
pub(crate) const UNREAD_BYTES: usize = 64 << 10;

/// The far end of the network: every connection leads there.
#[derive(Debug)]
pub(crate) struct TestNetwork {
    connecting: mpsc::Sender<DuplexStream>,
    refuses: Arc<AtomicBool>,
}

impl TestNetwork {
    /// A network, what connects over it, and whether connections are refused.
    pub(crate) fn lay() -> (Network, mpsc::Receiver<DuplexStream>, Arc<AtomicBool>) {
        let (connecting, connected) = mpsc::channel(1024);
        let refuses = Arc::new(AtomicBool::new(false));
        let network = Self { connecting, refuses: Arc::clone(&refuses) };
        (Network::new(Arc::new(network)), connected, refuses)
    }
}

impl Medium for TestNetwork {
    fn connect(&self, _: SocketAddr) -> BoxFuture<'static, io::Result<Box<dyn Wire>>> {
        let (connecting, refuses) = (self.connecting.clone(), Arc::clone(&self.refuses));
        Box::pin(async move {
            if refuses.load(Ordering::Relaxed) {
                return Err(io::ErrorKind::ConnectionRefused.into());
            }
            let (near, far) = tokio::io::duplex(UNREAD_BYTES);
            connecting.send(far).await.map_err(io::Error::other)?;
            let near: Box<dyn Wire> = Box::new(near);
            Ok(near)
        })
    }

    fn listen(&self, _: SocketAddr) -> BoxFuture<'static, io::Result<Box<dyn Accepts>>> {
        Box::pin(async { Err(io::ErrorKind::Unsupported.into()) })
    }

    fn lookup(&self, _: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
        Ok(vec![SocketAddr::from(([10, 0, 0, 1], port))])
    }
}
