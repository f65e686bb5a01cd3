//! What a client is still sending when it has its answer (too much, no room, no right) is read for
//! a moment, and dropped. To close at once would reset the connection, and who sends first and
//! reads afterwards would see that instead of the answer (RFC 9112 §9.6).

use std::{
    io,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, ready},
};

use rollcall_common::limits::LINGER;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::{Sleep, sleep},
};

/// Bytes that are dropped at once.
const PIECE: usize = 64 << 10;

/// Whether more of the newest request may come than anybody reads.
#[derive(Clone, Debug, Default)]
pub(super) struct Unread(Arc<AtomicBool>);

impl Unread {
    /// A request was refused, maybe before all of it was read.
    pub(super) fn set(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    /// Another request has come, so the one before was read.
    pub(super) fn clear(&self) {
        self.0.store(false, Ordering::Relaxed);
    }

    fn is_set(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// The end of a connection.
#[derive(Debug)]
pub(super) struct LingeringClose {
    unread: Unread,
    /// What is needed once nothing more is written.
    rest: Option<Rest>,
}

#[derive(Debug)]
struct Rest {
    until: Pin<Box<Sleep>>,
    piece: Box<[u8]>,
}

impl LingeringClose {
    pub(super) fn new(unread: Unread) -> Self {
        Self { unread, rest: None }
    }

    /// Says that nothing more will come, and hears the other side out, if there is a reason to.
    pub(super) fn poll_shutdown(
        &mut self,
        stream: &mut (impl AsyncRead + AsyncWrite + Unpin),
        context: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        if self.rest.is_none() {
            ready!(Pin::new(&mut *stream).poll_shutdown(context))?;
            if !self.unread.is_set() {
                return Poll::Ready(Ok(()));
            }
        }
        let rest = self.rest.get_or_insert_with(|| Rest {
            until: Box::pin(sleep(LINGER)),
            piece: vec![0; PIECE].into(),
        });
        while rest.until.as_mut().poll(context).is_pending() {
            let mut piece = ReadBuf::new(&mut rest.piece);
            let read = ready!(Pin::new(&mut *stream).poll_read(context, &mut piece));
            if read.is_err() || piece.filled().is_empty() {
                break;
            }
        }
        Poll::Ready(Ok(()))
    }
}
