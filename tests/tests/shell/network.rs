//! turmoil's network, as the shell sees it.

use std::{
    io,
    net::{IpAddr, SocketAddr},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use futures_util::future::BoxFuture;
use rollcall_common::net::{Accepts, Medium, Network, Wire};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use turmoil::net::{TcpListener, TcpStream};

use crate::history::History;

/// The network between the hosts. All that is done with it is done on the host that runs.
pub(crate) fn simulated(history: &Arc<History>) -> Network {
    Network::new(Arc::new(Simulated(Arc::clone(history))))
}

#[derive(Debug)]
struct Simulated(Arc<History>);

struct Listening(TcpListener, Arc<History>);

/// A connection that was taken. It notes when it becomes a link, which nobody else can see.
struct Taken(TcpStream, Arc<History>);

impl Medium for Simulated {
    fn connect(&self, address: SocketAddr) -> BoxFuture<'static, io::Result<Box<dyn Wire>>> {
        Box::pin(async move {
            let wire: Box<dyn Wire> = Box::new(TcpStream::connect(address).await?);
            Ok(wire)
        })
    }

    fn listen(&self, address: SocketAddr) -> BoxFuture<'static, io::Result<Box<dyn Accepts>>> {
        let history = Arc::clone(&self.0);
        Box::pin(async move {
            let listener = TcpListener::bind(address).await?;
            let listening: Box<dyn Accepts> = Box::new(Listening(listener, history));
            Ok(listening)
        })
    }

    fn lookup(&self, host: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
        let address = host.parse::<IpAddr>().unwrap_or_else(|_| turmoil::lookup(host));
        Ok(vec![SocketAddr::new(address, port)])
    }
}

impl Accepts for Listening {
    fn accept(&self) -> BoxFuture<'_, io::Result<(Box<dyn Wire>, SocketAddr)>> {
        Box::pin(async {
            let (stream, peer) = self.0.accept().await?;
            let wire: Box<dyn Wire> = Box::new(Taken(stream, Arc::clone(&self.1)));
            Ok((wire, peer))
        })
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.0.local_addr()
    }
}

impl AsyncRead for Taken {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().0).poll_read(context, buffer)
    }
}

impl AsyncWrite for Taken {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        if bytes.starts_with(b"HTTP/1.1 101 ") {
            // Err: it is gone already, so it comes to nothing.
            let _ = this.0.local_addr().map(|at| this.1.linked(at));
        }
        Pin::new(&mut this.0).poll_write(context, bytes)
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().0).poll_flush(context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().0).poll_shutdown(context)
    }
}
