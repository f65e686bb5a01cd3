//! The two ways of a connection, for whoever reads and writes in different tasks.

use std::{
    io,
    pin::Pin,
    task::{Context, Waker},
};

use tokio::{
    io::{self as tokio_io, AsyncRead, ReadBuf},
    net::tcp::{OwnedReadHalf, OwnedWriteHalf},
};

use super::{End, Wire};

/// What is read of a connection.
pub type ReadHalf = End<OwnedReadHalf, tokio_io::ReadHalf<Box<dyn Wire>>>;

/// What is written to a connection.
pub type WriteHalf = End<OwnedWriteHalf, tokio_io::WriteHalf<Box<dyn Wire>>>;

impl ReadHalf {
    /// Whether nothing has come, its end least of all. What has come is lost.
    pub fn is_quiet(&mut self) -> bool {
        let mut byte = [0];
        match self {
            Self::Tcp(half) => {
                let read = half.try_read(&mut byte);
                read.is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock)
            }
            Self::Other(half) => {
                let mut context = Context::from_waker(Waker::noop());
                let mut buffer = ReadBuf::new(&mut byte);
                Pin::new(half).poll_read(&mut context, &mut buffer).is_pending()
            }
        }
    }
}
