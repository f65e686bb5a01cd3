//! Whether whoever is at the other end of a connection is still there, for those who have nothing
//! to read from it or to write to it for long.

use std::{
    fmt, io,
    net::Shutdown,
    os::fd::AsFd as _,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use futures_util::FutureExt as _;
use tokio::{
    io::{AsyncRead, AsyncWrite, Interest, ReadBuf},
    net::{
        TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
};

use super::{End, Stream, Wire};

/// What tells that the other side has closed. Data that nobody has read yet does not.
#[cfg(any(target_os = "linux", target_os = "android"))]
const CLOSED: Interest = Interest::PRIORITY;
#[cfg(not(any(target_os = "linux", target_os = "android")))]
const CLOSED: Interest = Interest::ERROR;

/// A connection whose other end can be watched for while it is read and written.
pub type Watched = End<WatchedTcp, Box<dyn Wire>>;

/// The same of the system.
#[derive(Debug)]
pub struct WatchedTcp {
    reading: OwnedReadHalf,
    writing: Arc<OwnedWriteHalf>,
}

/// Whether the other end of a connection is there. Cheap to clone; of a network that is not the
/// system's nothing is known.
#[derive(Clone, Default)]
pub struct Presence(Option<Arc<OwnedWriteHalf>>);

impl Presence {
    /// Waits until the other side sends nothing more: it is gone, or has closed its own side alone,
    /// and reads on. Which of the two shows when something is sent to it.
    pub async fn closed(&self) {
        self.until(CLOSED).await;
    }

    /// Waits until the connection is broken: nobody reads any more.
    pub async fn broken(&self) {
        self.until(Interest::ERROR).await;
    }

    /// Whether the other side sends nothing more.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.closed().now_or_never().is_some()
    }

    /// Whether the connection is broken.
    #[must_use]
    pub fn is_broken(&self) -> bool {
        self.broken().now_or_never().is_some()
    }

    async fn until(&self, interest: Interest) {
        match &self.0 {
            // Err: nothing is known any more, because the process ends.
            Some(half) if half.ready(interest).await.is_ok() => {}
            Some(_) | None => std::future::pending().await,
        }
    }
}

impl fmt::Debug for Presence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Presence").finish_non_exhaustive()
    }
}

impl Stream {
    /// The same, and what tells whether the other end is there.
    #[must_use]
    pub fn watched(self) -> (Watched, Presence) {
        match self {
            Self::Tcp(stream) => {
                let (reading, writing) = stream.into_split();
                let writing = Arc::new(writing);
                let presence = Presence(Some(Arc::clone(&writing)));
                (Watched::Tcp(WatchedTcp { reading, writing }), presence)
            }
            Self::Other(wire) => (Watched::Other(wire), Presence::default()),
        }
    }
}

impl WatchedTcp {
    fn stream(&self) -> &TcpStream {
        (*self.writing).as_ref()
    }
}

impl AsyncRead for WatchedTcp {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.reading).poll_read(context, buffer)
    }
}

impl AsyncWrite for WatchedTcp {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let stream = self.stream();
        loop {
            ready!(stream.poll_write_ready(context))?;
            match stream.try_write(bytes) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                written => return Poll::Ready(written),
            }
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let stream = self.stream();
        loop {
            ready!(stream.poll_write_ready(context))?;
            match stream.try_write_vectored(slices) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                written => return Poll::Ready(written),
            }
        }
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        // The half that is shared can't be borrowed for writing, so another descriptor says it.
        let other = self.stream().as_fd().try_clone_to_owned()?;
        Poll::Ready(std::net::TcpStream::from(other).shutdown(Shutdown::Write))
    }
}

#[cfg(test)]
mod tests {
    use tokio::{
        io::{AsyncReadExt as _, AsyncWriteExt as _},
        net::TcpListener,
    };

    use super::*;

    async fn pair() -> (TcpStream, Watched, Presence) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (server, _) = listener.accept().await.unwrap();
        let (watched, presence) = Stream::from(server).watched();
        (client, watched, presence)
    }

    #[tokio::test]
    async fn who_closes_its_own_side_alone_is_still_there() {
        let (mut client, mut server, presence) = pair().await;
        client.write_all(b"unread").await.unwrap();
        assert!(!presence.is_closed());
        client.shutdown().await.unwrap();
        presence.closed().await;
        server.write_all(b"still read").await.unwrap();
        let mut read = [0; 10];
        client.read_exact(&mut read).await.unwrap();
        assert!(presence.is_closed() && !presence.is_broken());
        let mut rest = Vec::new();
        server.read_to_end(&mut rest).await.unwrap();
        assert_eq!(rest, b"unread");
    }

    #[tokio::test]
    async fn who_is_gone_is_known_to_be_so_once_something_is_sent() {
        let (mut client, mut server, presence) = pair().await;
        client.write_all(b"unread").await.unwrap();
        drop(client);
        presence.closed().await;
        assert!(!presence.is_broken());
        server.write_all(b"are you there?").await.unwrap();
        presence.broken().await;
        assert!(Presence::default().closed().now_or_never().is_none());
    }
}
