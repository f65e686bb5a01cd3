//! Requests that can be read in two ways are refused (RFC 9112 §6.1, §3.2): a `Content-Length`
//! beside `Transfer-Encoding`, no `Host` or several. A proxy in front may have read them the
//! other way.
//!
//! hyper drops a `Content-Length` that stands beside `Transfer-Encoding` before anybody sees it,
//! so the bytes themselves are kept for a moment and looked at.

use std::{
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll},
};

use http::{Method, Request, Uri, Version, header};
use rollcall_common::{limits::HEAD_BYTES, problem::Problem};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::{linger::Linger, pace::Pace};

/// Bytes that are kept: a whole head, and the beginning of what was read with it.
const KEPT: usize = 2 * HEAD_BYTES;

/// The newest bytes of a connection, from the end of one answer to the head of the next request.
#[derive(Clone, Debug, Default)]
pub(super) struct Tape(Arc<Mutex<Reel>>);

#[derive(Debug, Default)]
struct Reel {
    bytes: Vec<u8>,
    /// Whether a request is served: its body need not be kept.
    stopped: bool,
}

impl Tape {
    pub(super) fn add(&self, bytes: &[u8]) {
        let mut reel = self.reel();
        if reel.stopped {
            return;
        }
        let over = (reel.bytes.len() + bytes.len()).saturating_sub(KEPT).min(reel.bytes.len());
        reel.bytes.drain(..over);
        let kept = bytes.get(bytes.len().saturating_sub(KEPT)..).unwrap_or_default();
        reel.bytes.extend_from_slice(kept);
    }

    /// A request was checked. (The head of one that was sent along with it is lost by this, so
    /// that one is refused if it needs the tape.)
    fn stop(&self) {
        let mut reel = self.reel();
        reel.bytes.clear();
        reel.stopped = true;
    }

    /// A request was answered.
    pub(super) fn go_on(&self) {
        self.reel().stopped = false;
    }

    fn reel(&self) -> MutexGuard<'_, Reel> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether the newest head that begins with this request line has a `Content-Length`, or is
    /// no longer there to tell.
    pub(super) fn has_content_length(&self, method: &Method, uri: &Uri) -> bool {
        let reel = self.reel();
        let line = format!("{method} {uri} HTTP/1.1");
        let Some(start) = find_last(&reel.bytes, line.as_bytes()) else { return true };
        let head = reel.bytes.get(start..).unwrap_or_default();
        head.split(|byte| *byte == b'\n')
            .skip(1)
            .take_while(|line| !line.is_empty() && *line != b"\r")
            .any(|line| {
                line.get(..15).is_some_and(|name| name.eq_ignore_ascii_case(b"content-length:"))
            })
    }
}

fn find_last(bytes: &[u8], wanted: &[u8]) -> Option<usize> {
    bytes.windows(wanted.len()).rposition(|window| window == wanted)
}

/// Refuses a request that can be read in two ways.
pub(super) fn check<B>(request: &Request<B>, tape: &Tape) -> Result<(), Box<Problem>> {
    let headers = request.headers();
    let bad = |detail: &str| {
        Box::new(Problem::new(400, "ambiguous-request", "Ambiguous request", detail))
    };
    // HTTP/1.0 has no Host header, and health checks speak it (HAProxy's do unless told).
    let fewest = usize::from(request.version() != Version::HTTP_10);
    if !(fewest..=1).contains(&headers.get_all(header::HOST).iter().count()) {
        return Err(bad("a request has exactly one Host header"));
    }
    if headers.contains_key(header::TRANSFER_ENCODING)
        && tape.has_content_length(request.method(), request.uri())
    {
        return Err(bad("a request has Content-Length or Transfer-Encoding, not both"));
    }
    tape.stop();
    Ok(())
}

/// A connection whose newest bytes are kept (of TLS: what was in it), and whose pace is watched.
#[derive(Debug)]
pub(super) struct Taped<S> {
    pub(super) stream: S,
    pub(super) tape: Tape,
    pub(super) pace: Pace,
    pub(super) linger: Linger,
}

impl<S: AsyncRead + Unpin> AsyncRead for Taped<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        let before = buffer.filled().len();
        let poll = Pin::new(&mut self.stream).poll_read(context, buffer);
        let new = buffer.filled().get(before..).unwrap_or_default();
        self.tape.add(new);
        self.pace.watch(poll, new.len(), context)
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Taped<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<std::io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<std::io::Result<()>> {
        let Self { stream, linger, .. } = &mut *self;
        linger.poll_shutdown(stream, context)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffers: &[std::io::IoSlice<'_>],
    ) -> Poll<std::io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, buffers)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ambiguous(raw: &str) -> bool {
        let tape = Tape::default();
        tape.add(raw.as_bytes());
        tape.has_content_length(&Method::POST, &Uri::from_static("/x"))
    }

    #[test]
    fn a_content_length_is_seen_in_any_case_and_place() {
        assert!(ambiguous("POST /x HTTP/1.1\r\ncontent-LENGTH: 3\r\n\r\nabc"));
        assert!(ambiguous("POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\n"));
        assert!(!ambiguous("POST /x HTTP/1.1\r\nHost: a\r\n\r\nContent-Length: 3\r\n"));
        assert!(!ambiguous("POST /x HTTP/1.1\r\nX-Content-Length: 3\r\n\r\n"));
    }

    #[test]
    fn only_the_newest_head_counts() {
        let earlier = "POST /x HTTP/1.1\r\nContent-Length: 1\r\n\r\na";
        assert!(!ambiguous(&format!("{earlier}POST /x HTTP/1.1\r\nHost: a\r\n\r\n")));
    }

    #[test]
    fn a_head_that_is_gone_is_not_trusted() {
        let long = "a".repeat(KEPT);
        assert!(ambiguous(&format!("POST /x HTTP/1.1\r\nHost: a\r\n\r\n{long}")));
    }
}
