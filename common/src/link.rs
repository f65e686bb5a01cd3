//! The link between a supervisor and a `worker` binary: one connection for all calls, frames both
//! ways, answers as they finish. It says what a call over plain HTTP says (contract §4), in fewer
//! bytes and without a request of its own for each message.
//!
//! A supervisor asks for it with `GET`, `Upgrade: rollcall-link/3` and the header [`LIMIT`]; a
//! worker agrees with `101` and the header [`CREDIT`]. From then on both send frames (see
//! [`crate::frame`]), each of a kind (one byte), the number of a call (`u64`) and what the kind
//! says. Numbers are big-endian; text has its length before it, as `u16`.
//!
//! A connection can be dead without either end being told (a firewall or an address translation
//! that has forgotten it), so a supervisor that hears nothing asks for a sign of life.

use bytes::{BufMut as _, BytesMut};
use uuid::Uuid;

use crate::{
    ids::MessageId,
    limits::{KEPT_HEADER_BYTES, KEPT_HEADERS},
    protocol::Outcome,
};

/// The protocol's name in the `Upgrade` header.
pub const UPGRADE: &str = "rollcall-link/3";
/// The version that [`crate::protocol::Registration::link`] names.
pub const VERSION: u32 = 3;
/// Header of the request: the largest result that the supervisor takes, in bytes.
pub const LIMIT: &str = "rollcall-limit";
/// Header of the `101`: how many calls may be unanswered at a time.
pub const CREDIT: &str = "rollcall-credit";

/// A message for the worker.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Call<'a> {
    /// The call's number: the answer has it, too.
    pub number: u64,
    /// The message's stream.
    pub stream: &'a str,
    /// Its place in the stream.
    pub sequence: u64,
    /// Its identity; it is its idempotency key, too.
    pub id: MessageId,
    /// 1 + the failures counted so far.
    pub attempt: u32,
    /// Of how many.
    pub max_attempts: u32,
    /// How long the attempt may take, in milliseconds.
    pub timeout_ms: u64,
    /// Why the attempt is made.
    pub reason: &'a str,
    /// The sender's own idempotency key; empty when there was none.
    pub sender_key: &'a str,
    /// The body's type; empty when there is none.
    pub content_type: &'a str,
    /// `ce-*`, `traceparent` and `tracestate`, as received.
    pub headers: Vec<(&'a str, &'a str)>,
    /// The body.
    pub body: &'a [u8],
}

/// What a worker answers.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Answer<'a> {
    /// The call's number.
    pub number: u64,
    /// The status, as in HTTP.
    pub status: u16,
    /// The worker's own word on the outcome.
    pub outcome: Option<Outcome>,
    /// Text for people.
    pub reason: &'a str,
    /// As the header `Retry-After`; empty when there is none.
    pub retry_after: &'a str,
    /// The body's type; empty when there is none.
    pub content_type: &'a str,
    /// What else is kept of it (see [`crate::message::Payload`]).
    pub headers: Vec<(&'a str, &'a str)>,
    /// The body.
    pub body: &'a [u8],
}

/// What a supervisor sends.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum FromSupervisor<'a> {
    /// A message to work on.
    Call(Call<'a>),
    /// The answer to this call is no longer needed.
    Cancel(u64),
    /// It wants a sign of life.
    Ping,
}

/// What a worker sends.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum FromWorker<'a> {
    /// The answer to a call.
    Answer(Answer<'a>),
    /// It goes: what is sent from now on is refused.
    Closing,
    /// A call that was cancelled will not be answered.
    Cancelled(u64),
    /// The sign of life.
    Pong,
}

/// A frame that is none of this protocol's.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("a frame of the link is not understood")]
pub struct BadFrame;

/// Bytes that a frame has beside the body, at most: five texts, and headers with their lengths.
pub const OVERHEAD: usize = 5 * (1 << 16) + KEPT_HEADER_BYTES + 4 * KEPT_HEADERS + 1024;

const CALL: u8 = 1;
const CANCEL: u8 = 2;
const ANSWER: u8 = 3;
const CANCELLED: u8 = 4;
const CLOSING: u8 = 5;
const PING: u8 = 6;
const PONG: u8 = 7;

impl Call<'_> {
    /// Appends it to `out` as a frame.
    pub fn put(&self, out: &mut BytesMut) {
        let frame = Frame::begin(out, CALL, self.number);
        text(out, self.stream);
        out.put_u64(self.sequence);
        out.put_slice(self.id.0.as_bytes());
        out.put_u32(self.attempt);
        out.put_u32(self.max_attempts);
        out.put_u64(self.timeout_ms);
        text(out, self.reason);
        text(out, self.sender_key);
        text(out, self.content_type);
        headers(out, &self.headers);
        out.put_slice(self.body);
        frame.end(out);
    }
}

impl Answer<'_> {
    /// Appends it to `out` as a frame.
    pub fn put(&self, out: &mut BytesMut) {
        let frame = Frame::begin(out, ANSWER, self.number);
        out.put_u16(self.status);
        out.put_u8(match self.outcome {
            None => 0,
            Some(Outcome::Ok) => 1,
            Some(Outcome::Park) => 2,
            Some(Outcome::Retry) => 3,
            Some(Outcome::Skip) => 4,
        });
        text(out, self.reason);
        text(out, self.retry_after);
        text(out, self.content_type);
        headers(out, &self.headers);
        out.put_slice(self.body);
        frame.end(out);
    }
}

impl FromSupervisor<'_> {
    /// Appends to `out` that a call's answer is no longer needed.
    pub fn put_cancel(out: &mut BytesMut, number: u64) {
        Frame::begin(out, CANCEL, number).end(out);
    }

    /// Appends to `out` that a sign of life is wanted.
    pub fn put_ping(out: &mut BytesMut) {
        Frame::begin(out, PING, 0).end(out);
    }
}

impl<'a> FromSupervisor<'a> {
    /// Reads the inside of a frame.
    ///
    /// # Errors
    /// When it is none that a supervisor sends.
    pub fn read(frame: &'a [u8]) -> Result<Self, BadFrame> {
        let (kind, number, mut rest) = Rest::open(frame)?;
        match kind {
            CALL => {
                let stream = rest.text()?;
                let sequence = rest.u64()?;
                let id = MessageId(Uuid::from_bytes(rest.array()?));
                let (attempt, max_attempts) = (rest.u32()?, rest.u32()?);
                let timeout_ms = rest.u64()?;
                let (reason, sender_key) = (rest.text()?, rest.text()?);
                let (content_type, headers) = (rest.text()?, rest.headers()?);
                Ok(Self::Call(Call {
                    number,
                    stream,
                    sequence,
                    id,
                    attempt,
                    max_attempts,
                    timeout_ms,
                    reason,
                    sender_key,
                    content_type,
                    headers,
                    body: rest.0,
                }))
            }
            CANCEL => Ok(Self::Cancel(number)),
            PING => Ok(Self::Ping),
            _ => Err(BadFrame),
        }
    }
}

impl FromWorker<'_> {
    /// Appends to `out` that the worker goes.
    pub fn put_closing(out: &mut BytesMut) {
        Frame::begin(out, CLOSING, 0).end(out);
    }

    /// Appends to `out` that a call will not be answered.
    pub fn put_cancelled(out: &mut BytesMut, number: u64) {
        Frame::begin(out, CANCELLED, number).end(out);
    }

    /// Appends the sign of life to `out`.
    pub fn put_pong(out: &mut BytesMut) {
        Frame::begin(out, PONG, 0).end(out);
    }
}

impl<'a> FromWorker<'a> {
    /// Reads the inside of a frame.
    ///
    /// # Errors
    /// When it is none that a worker sends.
    pub fn read(frame: &'a [u8]) -> Result<Self, BadFrame> {
        let (kind, number, mut rest) = Rest::open(frame)?;
        match kind {
            ANSWER => {
                let status = rest.u16()?;
                let outcome = match rest.array::<1>()? {
                    [0] => None,
                    [1] => Some(Outcome::Ok),
                    [2] => Some(Outcome::Park),
                    [3] => Some(Outcome::Retry),
                    [4] => Some(Outcome::Skip),
                    [_] => return Err(BadFrame),
                };
                let (reason, retry_after) = (rest.text()?, rest.text()?);
                Ok(Self::Answer(Answer {
                    number,
                    status,
                    outcome,
                    reason,
                    retry_after,
                    content_type: rest.text()?,
                    headers: rest.headers()?,
                    body: rest.0,
                }))
            }
            CLOSING => Ok(Self::Closing),
            CANCELLED => Ok(Self::Cancelled(number)),
            PONG => Ok(Self::Pong),
            _ => Err(BadFrame),
        }
    }
}

/// How long the other end has been quiet, in steps of [`crate::limits::LINK_QUIET`].
#[derive(Clone, Copy, Debug, Default)]
pub struct Quiet {
    heard: bool,
    steps: u32,
}

impl Quiet {
    /// Something has come.
    pub fn hear(&mut self) {
        self.heard = true;
    }

    /// A step is over; gives back how many there were without a word.
    pub fn step(&mut self) -> u32 {
        self.steps = if std::mem::take(&mut self.heard) { 0 } else { self.steps.saturating_add(1) };
        self.steps
    }
}

/// A frame that is being written: where its length stands.
struct Frame(usize);

impl Frame {
    fn begin(out: &mut BytesMut, kind: u8, number: u64) -> Self {
        let start = out.len();
        out.put_u32(0);
        out.put_u8(kind);
        out.put_u64(number);
        Self(start)
    }

    fn end(self, out: &mut BytesMut) {
        let body = out.len() - self.0 - crate::frame::HEAD;
        // Bodies are bounded far below 4 GiB.
        let length = u32::try_from(body).unwrap_or(u32::MAX).to_be_bytes();
        if let Some(head) = out.get_mut(self.0..self.0 + crate::frame::HEAD) {
            head.copy_from_slice(&length);
        }
    }
}

/// Text; what is over 65,535 bytes of it is left out.
fn text(out: &mut BytesMut, text: &str) {
    let end = text.floor_char_boundary(usize::from(u16::MAX));
    let bytes = text.as_bytes().get(..end).unwrap_or_default();
    out.put_u16(u16::try_from(bytes.len()).unwrap_or(u16::MAX));
    out.put_slice(bytes);
}

/// Headers. Both ends keep their bounds ([`KEPT_HEADERS`], [`KEPT_HEADER_BYTES`]), in which none
/// is too long for a text.
fn headers(out: &mut BytesMut, headers: &[(&str, &str)]) {
    let headers = headers.iter().take(usize::from(u16::MAX));
    out.put_u16(u16::try_from(headers.len()).unwrap_or(u16::MAX));
    for (name, value) in headers {
        text(out, name);
        text(out, value);
    }
}

/// What has not been read of a frame.
struct Rest<'a>(&'a [u8]);

impl<'a> Rest<'a> {
    fn open(frame: &'a [u8]) -> Result<(u8, u64, Self), BadFrame> {
        let mut rest = Self(frame);
        let [kind] = rest.array()?;
        Ok((kind, rest.u64()?, rest))
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], BadFrame> {
        let (array, rest) = self.0.split_first_chunk().ok_or(BadFrame)?;
        self.0 = rest;
        Ok(*array)
    }

    fn u16(&mut self) -> Result<u16, BadFrame> {
        self.array().map(u16::from_be_bytes)
    }

    fn u32(&mut self) -> Result<u32, BadFrame> {
        self.array().map(u32::from_be_bytes)
    }

    fn u64(&mut self) -> Result<u64, BadFrame> {
        self.array().map(u64::from_be_bytes)
    }

    fn text(&mut self) -> Result<&'a str, BadFrame> {
        let length = usize::from(self.u16()?);
        let (text, rest) = self.0.split_at_checked(length).ok_or(BadFrame)?;
        self.0 = rest;
        str::from_utf8(text).map_err(|_| BadFrame)
    }

    fn headers(&mut self) -> Result<Vec<(&'a str, &'a str)>, BadFrame> {
        (0..self.u16()?).map(|_| Ok((self.text()?, self.text()?))).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame;

    fn only(out: BytesMut) -> bytes::Bytes {
        let mut frames = frame::split_all(out.freeze(), usize::MAX).unwrap();
        assert_eq!(frames.len(), 1);
        frames.remove(0)
    }

    fn call() -> Call<'static> {
        Call {
            number: 7,
            stream: "orders",
            sequence: 3,
            id: MessageId(Uuid::from_u128(5)),
            attempt: 2,
            max_attempts: 5,
            timeout_ms: 2000,
            reason: "retry",
            sender_key: "k",
            content_type: "text/plain",
            headers: vec![("ce-id", "1"), ("traceparent", "ü")],
            body: b"body",
        }
    }

    fn answer(outcome: Option<Outcome>) -> Answer<'static> {
        Answer {
            number: 7,
            status: 200,
            outcome,
            reason: "because",
            retry_after: "3",
            content_type: "text/plain",
            headers: vec![("ce-id", "2")],
            body: b"result",
        }
    }

    #[test]
    fn what_was_sent_comes_back() {
        let mut out = BytesMut::new();
        call().put(&mut out);
        let frame = only(out);
        assert_eq!(FromSupervisor::read(&frame), Ok(FromSupervisor::Call(call())));
        for outcome in [Outcome::Ok, Outcome::Park, Outcome::Retry, Outcome::Skip].map(Some) {
            for outcome in [outcome, None] {
                let mut out = BytesMut::new();
                answer(outcome).put(&mut out);
                let frame = only(out);
                assert_eq!(FromWorker::read(&frame), Ok(FromWorker::Answer(answer(outcome))));
            }
        }
        let mut out = BytesMut::new();
        FromSupervisor::put_cancel(&mut out, 9);
        assert_eq!(FromSupervisor::read(&only(out)), Ok(FromSupervisor::Cancel(9)));
        let mut out = BytesMut::new();
        FromWorker::put_cancelled(&mut out, 9);
        assert_eq!(FromWorker::read(&only(out)), Ok(FromWorker::Cancelled(9)));
        let mut out = BytesMut::new();
        FromWorker::put_closing(&mut out);
        assert_eq!(FromWorker::read(&only(out)), Ok(FromWorker::Closing));
        let mut out = BytesMut::new();
        FromSupervisor::put_ping(&mut out);
        assert_eq!(FromSupervisor::read(&only(out)), Ok(FromSupervisor::Ping));
        let mut out = BytesMut::new();
        FromWorker::put_pong(&mut out);
        assert_eq!(FromWorker::read(&only(out)), Ok(FromWorker::Pong));
    }

    #[test]
    fn steps_without_a_word_are_counted() {
        let mut quiet = Quiet::default();
        assert_eq!([quiet.step(), quiet.step()], [1, 2]);
        quiet.hear();
        assert_eq!([quiet.step(), quiet.step()], [0, 1]);
    }

    #[test]
    fn frames_that_are_cut_off_or_of_another_kind_are_refused() {
        let mut out = BytesMut::new();
        call().put(&mut out);
        let frame = only(out);
        for cut in 0..frame.len() - call().body.len() {
            assert_eq!(FromSupervisor::read(&frame[..cut]), Err(BadFrame), "{cut}");
        }
        assert_eq!(FromWorker::read(&frame), Err(BadFrame));
        let mut out = BytesMut::new();
        answer(None).put(&mut out);
        let frame = only(out);
        for cut in 0..frame.len() - answer(None).body.len() {
            assert_eq!(FromWorker::read(&frame[..cut]), Err(BadFrame), "{cut}");
        }
        assert_eq!(FromSupervisor::read(&frame), Err(BadFrame));
    }

    #[test]
    fn text_that_is_too_long_is_cut_between_characters() {
        let long = "ü".repeat(40_000);
        let mut out = BytesMut::new();
        Answer { reason: &long, ..answer(None) }.put(&mut out);
        let frame = only(out);
        let Ok(FromWorker::Answer(read)) = FromWorker::read(&frame) else { panic!("an answer") };
        assert_eq!(read.reason.len(), 65_534);
        assert_eq!(read.body, b"result");
    }
}
