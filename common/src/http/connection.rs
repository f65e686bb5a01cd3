//! One connection to a peer: one call after the other.

use std::{future::poll_fn, io, pin::pin};

use bytes::{Bytes, BytesMut};
use futures_util::{
    FutureExt as _,
    future::{BoxFuture, Fuse},
};
use http::{HeaderMap, Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Full, LengthLimitError, Limited};
use hyper::{
    body::{Body as _, Incoming},
    client::conn::http1::{self, SendRequest},
};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};

use super::{
    answer_room::AnswerShare,
    metered::{Meter, Metered},
};

/// A whole answer.
#[derive(Clone, Debug)]
pub struct Reply {
    /// Its status.
    pub status: StatusCode,
    /// Its headers.
    pub headers: HeaderMap,
    /// Its body.
    pub body: Bytes,
}

/// Why there is no whole answer.
#[derive(Debug, thiserror::Error)]
pub enum SendError {
    /// No connection came up: the peer has seen nothing.
    #[error("no connection: {0}")]
    Connect(io::Error),
    /// A connection that had been used before was closed before any byte of the answer: most
    /// likely the peer had closed it while it was idle.
    #[error("the idle connection had been closed")]
    Stale,
    /// The connection broke after the request went out.
    #[error("the connection broke: {0}")]
    Broken(hyper::Error),
    /// The answer's body is not whole.
    #[error("the answer is cut off: {0}")]
    Truncated(Box<dyn std::error::Error + Send + Sync>),
    /// The answer's body is over the limit.
    #[error("the answer is larger than {0} bytes")]
    TooLarge(usize),
}

/// Begins to speak HTTP on `stream`.
///
/// # Errors
/// When the connection breaks.
pub(super) async fn handshake(
    stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static,
) -> io::Result<Connection> {
    let meter = Meter::default();
    meter.await_head();
    let stream = Metered::new(stream, meter.clone());
    let handshake = http1::Builder::new()
        .max_headers(crate::limits::HEADERS)
        .handshake(TokioIo::new(stream))
        .await;
    let (sender, driver) = handshake.map_err(io::Error::other)?;
    Ok(Connection { sender, driver: driver.with_upgrades().boxed().fuse(), meter })
}

/// A connection, with what reads and writes it. Whoever makes a call does that as well: a task of
/// the connection's own would have to be woken for each request, and wake its caller again.
pub(super) struct Connection {
    pub(super) sender: SendRequest<Full<Bytes>>,
    pub(super) driver: Fuse<BoxFuture<'static, hyper::Result<()>>>,
    /// What may come before an answer.
    pub(super) meter: Meter,
}

/// Why a call over a connection failed.
pub(super) enum CallError {
    /// The answer is not whole.
    Answer(SendError),
    /// The connection broke while the answer was awaited.
    Lost(hyper::Error),
    /// The request never went out.
    Unsent(Box<Request<Full<Bytes>>>),
}

impl Connection {
    /// Whether the other end has not closed it, as far as is known.
    pub(super) fn is_open(&mut self) -> bool {
        (&mut self.driver).now_or_never().is_none() && !self.sender.is_closed()
    }

    /// Sends `request` and reads the whole answer, of at most `limit` bytes. Interim responses are
    /// passed over; they and the answer's head may have [`ANSWER_HEAD_BYTES`] in all.
    ///
    /// [`ANSWER_HEAD_BYTES`]: crate::limits::ANSWER_HEAD_BYTES
    ///
    /// # Errors
    /// When there is no whole answer.
    pub(super) async fn call(
        &mut self,
        request: Request<Full<Bytes>>,
        limit: usize,
        share: Option<&mut AnswerShare>,
    ) -> Result<Reply, CallError> {
        let Self { sender, driver, meter } = self;
        meter.await_head();
        let call = async {
            if sender.ready().await.is_err() {
                return Err(CallError::Unsent(Box::new(request)));
            }
            let response = sender.try_send_request(request).await;
            let response = response.map_err(|mut failed| match failed.take_message() {
                Some(unsent) => CallError::Unsent(Box::new(unsent)),
                None => CallError::Lost(failed.into_error()),
            })?;
            meter.begun();
            read(response, limit, share).await.map_err(CallError::Answer)
        };
        let mut call = pin!(call);
        poll_fn(|context| {
            // Its end shows in the call.
            let _ = driver.poll_unpin(context);
            let called = call.as_mut().poll(context);
            if called.is_pending() {
                // What the call has just handed over goes out at once.
                let _ = driver.poll_unpin(context);
            }
            called
        })
        .await
    }
}

async fn read(
    response: Response<Incoming>,
    limit: usize,
    share: Option<&mut AnswerShare>,
) -> Result<Reply, SendError> {
    let (parts, body) = response.into_parts();
    let known = body.size_hint().exact().and_then(|bytes| usize::try_from(bytes).ok());
    let body = Limited::new(body, limit);
    let mut read = Read { body, limit, known, first: Bytes::new(), all: BytesMut::new() };
    let body = match share {
        None => read.rest().await?,
        Some(share) => read.within(share).await?,
    };
    Ok(Reply { status: parts.status, headers: parts.headers, body })
}

/// A body that is being read.
struct Read {
    body: Limited<Incoming>,
    limit: usize,
    /// How long it is, where that is known.
    known: Option<usize>,
    /// Its first piece, which is often all of it.
    first: Bytes,
    /// All of it, once there is more.
    all: BytesMut,
}

impl Read {
    /// Reads the body, the rest of a large one when there is room for it.
    async fn within(&mut self, share: &mut AnswerShare) -> Result<Bytes, SendError> {
        let most = self.known.unwrap_or(self.limit).min(self.limit);
        let mut here = self.known.unwrap_or_default();
        loop {
            if let Some(longest) = share.take(here, most).await {
                let rest = tokio::time::timeout(longest, self.rest()).await;
                return rest.map_err(|_| SendError::Truncated("it comes too slowly".into()))?;
            }
            match self.next().await? {
                Some(bytes) => here = here.max(bytes),
                None => return Ok(self.whole()),
            }
        }
    }

    async fn rest(&mut self) -> Result<Bytes, SendError> {
        while self.next().await?.is_some() {}
        Ok(self.whole())
    }

    /// Reads the next piece. Gives back how many bytes there are; `None` at the end.
    async fn next(&mut self) -> Result<Option<usize>, SendError> {
        let Some(frame) = self.body.frame().await else {
            return Ok(None);
        };
        let frame = frame.map_err(|error| {
            if error.is::<LengthLimitError>() {
                SendError::TooLarge(self.limit)
            } else {
                SendError::Truncated(error)
            }
        })?;
        match frame.into_data() {
            Ok(piece) if self.first.is_empty() && self.all.is_empty() => self.first = piece,
            Ok(piece) => self.append(&piece),
            // Trailers say nothing.
            Err(_) => {}
        }
        Ok(Some(self.first.len() + self.all.len()))
    }

    fn append(&mut self, piece: &[u8]) {
        let first = std::mem::take(&mut self.first);
        if !first.is_empty() {
            self.all.reserve(self.known.unwrap_or_default().min(self.limit));
            self.all.extend_from_slice(&first);
        }
        self.all.extend_from_slice(piece);
    }

    fn whole(&mut self) -> Bytes {
        let all = std::mem::take(&mut self.all).freeze();
        if all.is_empty() { std::mem::take(&mut self.first) } else { all }
    }
}

/// Whether a connection that broke did so before any byte of an answer.
pub(super) fn before_any_byte(error: &hyper::Error) -> bool {
    error.is_incomplete_message() || error.is_canceled() || error.is_closed() || is_reset(error)
}

/// A reset while the answer's first byte is awaited looks like any other broken read to hyper.
fn is_reset(error: &hyper::Error) -> bool {
    let source = std::error::Error::source(error);
    let kind = source.and_then(|source| source.downcast_ref::<io::Error>()).map(io::Error::kind);
    matches!(kind, Some(io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe))
}
