//! A network in memory: one listener, to which connections come that a check makes, and nobody
//! anywhere else.

use std::{
    io,
    net::{Ipv4Addr, SocketAddr},
    sync::{Mutex, PoisonError},
};

use futures_util::future::BoxFuture;
use rollcall_common::net::{Accepts, Medium, Wire};
use tokio::{io::DuplexStream, sync::mpsc};

/// Who connects.
const PEER: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 9);

/// What leads to the listener.
#[derive(Debug)]
pub(super) struct Cable {
    connecting: Mutex<Option<mpsc::Receiver<DuplexStream>>>,
}

struct Socket {
    connecting: tokio::sync::Mutex<mpsc::Receiver<DuplexStream>>,
    address: SocketAddr,
}

impl Cable {
    /// A cable, and the end at which connections are made.
    pub(super) fn new() -> (mpsc::Sender<DuplexStream>, Self) {
        let (connect, connecting) = mpsc::channel(1);
        (connect, Self { connecting: Mutex::new(Some(connecting)) })
    }
}

impl Medium for Cable {
    fn connect(&self, _: SocketAddr) -> BoxFuture<'static, io::Result<Box<dyn Wire>>> {
        Box::pin(async { Err(io::ErrorKind::ConnectionRefused.into()) })
    }

    fn listen(&self, address: SocketAddr) -> BoxFuture<'static, io::Result<Box<dyn Accepts>>> {
        let connecting = self.connecting.lock().unwrap_or_else(PoisonError::into_inner).take();
        Box::pin(async move {
            let connecting = connecting.ok_or(io::ErrorKind::AddrInUse)?;
            let connecting = tokio::sync::Mutex::new(connecting);
            let socket: Box<dyn Accepts> = Box::new(Socket { connecting, address });
            Ok(socket)
        })
    }

    fn lookup(&self, _: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
        Ok(vec![SocketAddr::from(([10, 0, 0, 9], port))])
    }
}

impl Accepts for Socket {
    fn accept(&self) -> BoxFuture<'_, io::Result<(Box<dyn Wire>, SocketAddr)>> {
        Box::pin(async {
            let next = self.connecting.lock().await.recv().await;
            let Some(stream) = next else { return std::future::pending().await };
            let wire: Box<dyn Wire> = Box::new(stream);
            Ok((wire, PEER))
        })
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        Ok(self.address)
    }
}
