//! Between a connection and hyper: where its requests begin and end is followed byte by byte, and
//! each head is checked (see [`head`]) before hyper gets any of it. One that is refused is replaced
//! by a request of our own, the last one of the connection, which is answered with the problem:
//! so it is told in its turn, behind the answers to what came before it.

use std::{
    io,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, ready},
};

use bytes::{Buf as _, BytesMut};
use rollcall_common::{
    limits::{HEAD_BYTES, SMALL_HEAD_BYTES},
    problem::Problem,
};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::{
    byte_budget::{ByteBudget, Reservation},
    chunks::Chunks,
    head::{self, Framing},
    lingering_close::LingeringClose,
    read_timeout::ReadTimeout,
    write_stall::WriteStall,
};

/// What hyper gets instead of a head that is refused.
const REFUSED: &[u8] = b"GET / HTTP/1.1\r\nhost: refused\r\nconnection: close\r\n\r\n";

/// What a connection and whoever serves it know of its requests.
#[derive(Clone, Debug, Default)]
pub(super) struct Requests(Arc<Mutex<Known>>);

#[derive(Debug, Default)]
struct Known {
    /// How many heads hyper was given.
    given: u64,
    /// How many of them it has handed on.
    served: u64,
    /// Why the last one given is refused.
    refusal: Option<Box<Problem>>,
    /// Room for a large head, until its request is answered.
    room: Option<Reservation>,
}

impl Requests {
    /// The next request is served: why it is refused, if it is.
    pub(super) fn begin(&self) -> Option<Box<Problem>> {
        let mut known = self.lock();
        known.served += 1;
        if known.served == known.given { known.refusal.take() } else { None }
    }

    /// A request was answered.
    pub(super) fn end(&self) {
        self.lock().room = None;
    }

    fn give(&self) {
        self.lock().given += 1;
    }

    fn refuse(&self, problem: Box<Problem>) {
        let mut known = self.lock();
        known.given += 1;
        known.refusal = Some(problem);
    }

    fn take_room(&self, room: &ByteBudget, bytes: usize) -> Result<(), Box<Problem>> {
        self.lock().room.get_or_insert_with(|| room.enter()).take(bytes)
    }

    fn lock(&self) -> MutexGuard<'_, Known> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Where in a request the next byte stands.
#[derive(Debug)]
enum Stand {
    /// In a head, of which so many bytes were looked through.
    Head(usize),
    /// In a body, so many bytes before its end.
    Body(u64),
    /// In a body of chunks.
    Chunks(Chunks),
    /// Nobody reads any more.
    Over,
}

/// Follows the requests in the bytes of a connection.
#[derive(Debug)]
struct Follower {
    requests: Requests,
    stand: Stand,
    /// The beginning of a head of which the rest has not come.
    held: BytesMut,
    /// Room for large heads.
    room: ByteBudget,
    /// How much of it is taken for this head.
    roomy: usize,
}

/// What hyper gets of bytes that came.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
struct Passed {
    /// So many of them.
    bytes: usize,
    /// And then [`REFUSED`].
    refused: bool,
}

impl Follower {
    fn new(requests: Requests, room: ByteBudget) -> Self {
        let roomy = SMALL_HEAD_BYTES;
        Self { requests, stand: Stand::Head(0), held: BytesMut::new(), room, roomy }
    }

    /// Follows `bytes`. What is not passed of them is the beginning of a head, or is dropped.
    fn follow(&mut self, bytes: &[u8]) -> Passed {
        let mut at = 0;
        loop {
            let rest = bytes.get(at..).unwrap_or_default();
            match &mut self.stand {
                Stand::Over => return Passed { bytes: at, refused: false },
                Stand::Body(0) => self.stand = Stand::Head(0),
                _ if rest.is_empty() => return Passed { bytes: at, refused: false },
                Stand::Body(left) => {
                    let step = usize::try_from(*left).unwrap_or(usize::MAX).min(rest.len());
                    *left -= u64::try_from(step).unwrap_or(u64::MAX);
                    at += step;
                }
                Stand::Chunks(chunks) => {
                    let (step, stands) = chunks.follow(rest);
                    at += step;
                    if !stands {
                        self.stand = Stand::Head(0);
                    }
                }
                Stand::Head(seen) => match head::length(rest, *seen) {
                    None if rest.len() > HEAD_BYTES => return self.refuse(at, head::too_large()),
                    None if head::is_hopeless(rest) => return self.refuse(at, head::hopeless()),
                    None => {
                        // The end may stand in the last three bytes and what follows.
                        *seen = rest.len().saturating_sub(3);
                        return match self.make_room(rest.len()) {
                            Ok(()) => Passed { bytes: at, refused: false },
                            Err(problem) => self.refuse(at, problem),
                        };
                    }
                    Some(length) => {
                        let head = rest.get(..length).unwrap_or_default();
                        match head::check(head) {
                            Err(problem) => return self.refuse(at, problem),
                            Ok(framing) => self.begin(framing),
                        }
                        at += length;
                    }
                },
            }
        }
    }

    fn begin(&mut self, framing: Framing) {
        self.requests.give();
        self.roomy = SMALL_HEAD_BYTES;
        self.stand = match framing {
            Framing::Chunked => Stand::Chunks(Chunks::default()),
            Framing::Length(bytes) => Stand::Body(bytes),
        };
    }

    fn make_room(&mut self, bytes: usize) -> Result<(), Box<Problem>> {
        while bytes > self.roomy {
            self.requests.take_room(&self.room, SMALL_HEAD_BYTES)?;
            self.roomy += SMALL_HEAD_BYTES;
        }
        Ok(())
    }

    fn refuse(&mut self, at: usize, problem: Box<Problem>) -> Passed {
        self.requests.refuse(problem);
        self.stand = Stand::Over;
        Passed { bytes: at, refused: true }
    }

    /// A head takes too long, or is cut off; whether there is anybody to be told.
    fn give_up(&mut self, problem: Box<Problem>) -> bool {
        let begun = !self.held.is_empty();
        if begun {
            self.held.clear();
            self.refuse(0, problem);
        }
        begun
    }
}

/// A connection whose requests are checked, and whose pace is watched.
#[derive(Debug)]
pub(super) struct Guarded<S> {
    stream: S,
    pace: ReadTimeout,
    linger: LingeringClose,
    stall: WriteStall,
    follower: Follower,
    /// What hyper gets next: a head whose beginning was held, and what came with its end.
    ready: BytesMut,
}

impl<S> Guarded<S> {
    pub(super) fn new(
        stream: S,
        requests: Requests,
        room: ByteBudget,
        ends: (ReadTimeout, LingeringClose),
    ) -> Self {
        let follower = Follower::new(requests, room);
        let (pace, linger) = ends;
        let (stall, ready) = (WriteStall::default(), BytesMut::new());
        Self { stream, pace, linger, stall, follower, ready }
    }

    /// Follows what a read has brought behind `before`; what hyper does not get is taken back.
    fn take(&mut self, buffer: &mut ReadBuf<'_>, before: usize) {
        let new = buffer.filled().get(before..).unwrap_or_default();
        if self.follower.held.is_empty() {
            let passed = self.follower.follow(new);
            let rest = new.get(passed.bytes..).unwrap_or_default();
            if passed.refused {
                self.ready.extend_from_slice(REFUSED);
            } else if matches!(self.follower.stand, Stand::Head(_)) {
                self.follower.held.extend_from_slice(rest);
            }
            buffer.set_filled(before + passed.bytes);
            return;
        }
        let mut all = std::mem::take(&mut self.follower.held);
        all.extend_from_slice(new);
        buffer.set_filled(before);
        let passed = self.follower.follow(&all);
        let rest = all.split_off(passed.bytes);
        self.ready.unsplit(all);
        if passed.refused {
            self.ready.extend_from_slice(REFUSED);
        } else if matches!(self.follower.stand, Stand::Head(_)) {
            self.follower.held = rest;
        }
    }

    fn hand_over(&mut self, buffer: &mut ReadBuf<'_>) {
        let step = self.ready.len().min(buffer.remaining());
        buffer.put_slice(self.ready.get(..step).unwrap_or_default());
        self.ready.advance(step);
        if self.ready.is_empty() {
            // What a large head needed is not kept for those that follow.
            self.ready = BytesMut::new();
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Guarded<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        loop {
            if !this.ready.is_empty() {
                this.hand_over(buffer);
                return Poll::Ready(Ok(()));
            }
            if matches!(this.follower.stand, Stand::Over) {
                // The answer ends the connection.
                return Poll::Pending;
            }
            let before = buffer.filled().len();
            let poll = Pin::new(&mut this.stream).poll_read(context, buffer);
            let bytes = buffer.filled().len() - before;
            match ready!(this.pace.watch(poll, bytes, context)) {
                Err(error) if error.kind() == io::ErrorKind::TimedOut => {
                    let detail = "the head of the request came too slowly";
                    let problem = Problem::new(408, "slow-head", "Request timeout", detail);
                    if !this.follower.give_up(Box::new(problem)) {
                        return Poll::Ready(Err(error));
                    }
                    this.ready.extend_from_slice(REFUSED);
                }
                Err(error) => return Poll::Ready(Err(error)),
                Ok(()) if bytes == 0 => {
                    let detail = "the head of the request is cut off";
                    let problem = Problem::new(400, "bad-request", "Bad request", detail);
                    if !this.follower.give_up(Box::new(problem)) {
                        return Poll::Ready(Ok(()));
                    }
                    this.ready.extend_from_slice(REFUSED);
                }
                Ok(()) => {
                    this.take(buffer, before);
                    if buffer.filled().len() > before {
                        return Poll::Ready(Ok(()));
                    }
                }
            }
        }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Guarded<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.stall.watch(written, context)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = Pin::new(&mut self.stream).poll_flush(context);
        self.stall.watch(flushed, context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Self { stream, linger, .. } = &mut *self;
        linger.poll_shutdown(stream, context)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffers: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(context, buffers);
        self.stall.watch(written, context)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}
