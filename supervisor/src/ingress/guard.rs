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

/// The first bytes of a connection after an answer: the head of the next request is among them.
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
        let room = bytes.len().min(KEPT.saturating_sub(reel.bytes.len()));
        reel.bytes.extend_from_slice(bytes.get(..room).unwrap_or_default());
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

    /// Whether a head that begins with this request line has a `Content-Length`, or none is there
    /// as a whole to tell. Which one is the request's own can't be told: a body that nobody has
    /// read may stand before it, and the same line in another header, in its body, or at the
    /// beginning of the next request behind it. So all of them are looked at.
    pub(super) fn has_content_length(&self, method: &Method, uri: &Uri) -> bool {
        let reel = self.reel();
        let request = format!("{method} {uri} HTTP/1.1");
        let (mut found, mut inside) = (false, false);
        for line in reel.bytes.split_inclusive(|byte| *byte == b'\n') {
            let Some(line) = line.strip_suffix(b"\n") else { continue };
            let line = line.strip_suffix(b"\r").unwrap_or(line);
            let name = line.get(..15).unwrap_or_default();
            if inside && name.eq_ignore_ascii_case(b"content-length:") {
                return true;
            }
            inside &= !line.is_empty();
            if line.ends_with(request.as_bytes()) {
                (found, inside) = (true, true);
            }
        }
        !found || inside
    }
}

/// Refuses a request that can be read in two ways.
pub(super) fn check<B>(request: &Request<B>, tape: &Tape) -> Result<(), Box<Problem>> {
    let headers = request.headers();
    let bad = |detail: &str| {
        Err(Box::new(Problem::new(400, "ambiguous-request", "Ambiguous request", detail)))
    };
    let is_chunked = headers.contains_key(header::TRANSFER_ENCODING);
    let is_both = is_chunked && tape.has_content_length(request.method(), request.uri());
    tape.stop();
    // HTTP/1.0 has no Host header, and health checks speak it (HAProxy's do unless told).
    let fewest = usize::from(request.version() != Version::HTTP_10);
    if !(fewest..=1).contains(&headers.get_all(header::HOST).iter().count()) {
        return bad("a request has exactly one Host header");
    }
    if is_both {
        return bad("a request has Content-Length or Transfer-Encoding, not both");
    }
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
    fn a_request_line_somewhere_else_hides_nothing() {
        let both = "POST /x HTTP/1.1\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n";
        let next = "POST /x HTTP/1.1\r\nHost: a\r\n\r\n";
        for behind in [
            "X: POST /x HTTP/1.1\r\n\r\n".to_owned(),
            format!("\r\n{next}"),
            format!("\r\n3\r\n{next}"),
            format!("\r\n{}{next}", "a".repeat(KEPT)),
        ] {
            assert!(ambiguous(&format!("{both}{behind}")), "{behind:.50}");
        }
        assert!(ambiguous(&format!("{next}{both}\r\n")));
        let line = "Content-Length: POST /x HTTP/1.1\r\n";
        assert!(ambiguous(&format!("POST /x HTTP/1.1\r\nA: b\r\n{line}\r\n")));
    }

    #[test]
    fn what_was_checked_is_forgotten() {
        let tape = Tape::default();
        let request = Request::post("/x").header(header::HOST, "a");
        let request = request.header(header::TRANSFER_ENCODING, "chunked").body(()).unwrap();
        for (head, is_taken) in [("Content-Length: 1\r\n", false), ("", true)] {
            tape.add(format!("POST /x HTTP/1.1\r\nHost: a\r\n{head}\r\n").as_bytes());
            assert_eq!(check(&request, &tape).is_ok(), is_taken);
            tape.add(b"POST /x HTTP/1.1\r\nContent-Length: 1\r\n\r\n");
            tape.go_on();
        }
    }

    #[test]
    fn a_head_that_is_gone_is_not_trusted() {
        let (long, head) = ("a".repeat(KEPT), "POST /x HTTP/1.1\r\nHost: a\r\n\r\n");
        assert!(ambiguous(&format!("{long}{head}")));
        assert!(ambiguous(&format!("{}{head}", "a".repeat(KEPT - 20))));
        assert!(!ambiguous(&format!("{head}{long}")));
    }
}
