//! One connection.

use std::io;

use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
};

use super::{End, ReadHalf, WriteHalf};

/// A connection that is not the system's.
pub trait Wire: AsyncRead + AsyncWrite + Send + Sync + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Sync + Unpin> Wire for T {}

/// A connection.
pub type Stream = End<TcpStream, Box<dyn Wire>>;

impl Stream {
    /// Sends what is written at once, rather than waiting for more of it.
    ///
    /// # Errors
    /// When the connection is gone already.
    pub fn set_nodelay(&self) -> io::Result<()> {
        match self {
            Self::Tcp(stream) => stream.set_nodelay(true),
            Self::Other(_) => Ok(()),
        }
    }

    /// The next bytes, which stay to be read.
    ///
    /// # Errors
    /// When the connection breaks, or is none of the system's.
    pub async fn peek(&self, bytes: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Tcp(stream) => stream.peek(bytes).await,
            Self::Other(_) => Err(io::ErrorKind::Unsupported.into()),
        }
    }

    /// Its two ways, to be used by different tasks.
    #[must_use]
    pub fn into_split(self) -> (ReadHalf, WriteHalf) {
        match self {
            Self::Tcp(stream) => {
                let (reading, writing) = stream.into_split();
                (ReadHalf::Tcp(reading), WriteHalf::Tcp(writing))
            }
            Self::Other(wire) => {
                let (reading, writing) = tokio::io::split(wire);
                (ReadHalf::Other(reading), WriteHalf::Other(writing))
            }
        }
    }
}

impl From<TcpStream> for Stream {
    fn from(stream: TcpStream) -> Self {
        Self::Tcp(stream)
    }
}
