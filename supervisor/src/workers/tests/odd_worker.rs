//! A worker that does as it is told: what it hears, and what it says, over links and plain HTTP.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::{Arc, Mutex},
};

use bytes::{Buf as _, Bytes, BytesMut};
use futures_util::FutureExt as _;
use rollcall_common::{
    frame,
    limits::LINK_READ,
    link::{Answer, Call, FromSupervisor, FromWorker},
    task,
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream},
    sync::mpsc,
};
use uuid::Uuid;

/// What the worker does with a call over plain HTTP.
#[derive(Clone, Copy, Debug)]
pub(super) enum Plain {
    /// Answers it with so many bytes.
    Answer(usize),
    /// Closes the connection without a word.
    Cut,
    /// Sends one byte less than it has announced, of so many, and nothing more.
    Half(usize),
    /// Never answers.
    Hang,
}

/// What the worker does, and has heard, over plain HTTP.
#[derive(Debug, Default)]
pub(super) struct PlainSide {
    /// What it does with the next calls; when there is nothing more, it answers.
    pub(super) acts: VecDeque<Plain>,
    /// The calls that it has heard, and what it does with each.
    pub(super) heard: Vec<(u64, Plain)>,
}

/// The bytes that an attempt brings.
pub(super) fn work(attempt: u64, size: usize) -> Bytes {
    filled(&format!("work of {attempt};"), size)
}

/// The bytes of an attempt's result.
pub(super) fn result(attempt: u64, size: usize) -> Bytes {
    filled(&format!("result of {attempt};"), size)
}

fn filled(text: &str, size: usize) -> Bytes {
    text.bytes().cycle().take(text.len().max(size)).collect()
}

/// The type that is named for an attempt's result.
pub(super) fn content_type(attempt: u64) -> String {
    format!("text/x-{attempt}")
}

/// Takes all connections. Those that shall be links go to `asking`.
pub(super) async fn serve(
    mut connected: mpsc::Receiver<DuplexStream>,
    asking: mpsc::Sender<DuplexStream>,
    plain: Arc<Mutex<PlainSide>>,
) {
    while let Some(stream) = connected.recv().await {
        let (asking, plain) = (asking.clone(), Arc::clone(&plain));
        task::spawn("odd-worker", async move {
            converse(stream, asking, plain).await;
        });
    }
}

/// Takes the requests of one connection.
async fn converse(
    mut stream: DuplexStream,
    asking: mpsc::Sender<DuplexStream>,
    plain: Arc<Mutex<PlainSide>>,
) -> Option<()> {
    let mut arrived = BytesMut::new();
    loop {
        let end = loop {
            let end = arrived.windows(4).position(|four| four == b"\r\n\r\n");
            if let Some(end) = end {
                break end + 4;
            }
            if stream.read_buf(&mut arrived).await.ok()? == 0 {
                return None;
            }
        };
        let head = arrived.split_to(end);
        let Some(attempt) = header(&head, "rollcall-message-id") else {
            return asking.send(stream).await.ok();
        };
        let attempt = u64::try_from(attempt.parse::<Uuid>().ok()?.as_u128()).ok()?;
        let length: usize = header(&head, "content-length")?.parse().ok()?;
        while arrived.len() < length {
            if stream.read_buf(&mut arrived).await.ok()? == 0 {
                return None;
            }
        }
        let body = arrived.split_to(length);
        assert_eq!(body, work(attempt, length), "the work of {attempt}");
        let act = {
            let mut plain = plain.lock().unwrap();
            let act = plain.acts.pop_front().unwrap_or(Plain::Answer(0));
            plain.heard.push((attempt, act));
            act
        };
        answer(&mut stream, attempt, act).await?;
    }
}

/// Answers a request; `None`: the connection is at its end.
async fn answer(stream: &mut DuplexStream, attempt: u64, act: Plain) -> Option<()> {
    let (size, left) = match act {
        Plain::Answer(size) => (size, 0),
        Plain::Cut => return None,
        Plain::Half(size) => (size, 1),
        Plain::Hang => {
            // Until the other side closes it.
            stream.read_u8().await.ok()?;
            return None;
        }
    };
    let body = result(attempt, size);
    let head = format!(
        "HTTP/1.1 200 OK\r\ncontent-type: {}\r\ncontent-length: {}\r\n\r\n",
        content_type(attempt),
        body.len(),
    );
    stream.write_all(head.as_bytes()).await.ok()?;
    stream.write_all(&body[..body.len() - left]).await.ok()?;
    if left > 0 {
        stream.read_u8().await.ok()?;
    }
    Some(())
}

fn header(head: &[u8], name: &str) -> Option<String> {
    let head = std::str::from_utf8(head).ok()?;
    head.lines().find_map(|line| {
        let (said, value) = line.split_once(':')?;
        said.eq_ignore_ascii_case(name).then(|| value.trim().to_owned())
    })
}

/// The worker's end of a link, and what it has heard over it.
#[derive(Debug)]
pub(super) struct LinkEnd {
    stream: DuplexStream,
    arrived: BytesMut,
    /// The attempts that it was told of, with their bodies' sizes.
    pub(super) calls: BTreeMap<u64, usize>,
    /// Those that it was told are no longer needed.
    pub(super) cancels: BTreeSet<u64>,
    /// Signs of life that are asked for.
    pings: usize,
    /// Whether the other side has closed it.
    pub(super) is_closed: bool,
}

impl LinkEnd {
    pub(super) fn new(stream: DuplexStream) -> Self {
        Self {
            stream,
            arrived: BytesMut::new(),
            calls: BTreeMap::new(),
            cancels: BTreeSet::new(),
            pings: 0,
            is_closed: false,
        }
    }

    /// Says these bytes, as far as they are taken.
    pub(super) async fn say(&mut self, bytes: &[u8]) {
        // Err: the other side has closed it, which shows when it is read.
        let _ = self.stream.write_all(bytes).await;
    }

    /// Gives the signs of life that were asked for.
    pub(super) async fn give_signs(&mut self) {
        let mut out = BytesMut::new();
        (0..std::mem::take(&mut self.pings)).for_each(|_| FromWorker::put_pong(&mut out));
        self.say(&out).await;
    }

    /// Takes in what has come; gives back whether anything has.
    pub(super) fn hear(&mut self) -> bool {
        let mut heard = false;
        self.arrived.reserve(LINK_READ);
        while !self.is_closed {
            match self.stream.read_buf(&mut self.arrived).now_or_never() {
                None => break,
                Some(Ok(count)) if count > 0 => heard = true,
                Some(_) => (self.is_closed, heard) = (true, true),
            }
        }
        while let Some(frame) = frame::next(&self.arrived, usize::MAX).unwrap() {
            let length = frame.len();
            match FromSupervisor::read(frame).unwrap() {
                FromSupervisor::Call(call) => {
                    check(&call);
                    let again = self.calls.insert(call.number, call.body.len());
                    assert_eq!(again, None, "{} is called twice", call.number);
                }
                FromSupervisor::Cancel(number) => {
                    self.cancels.insert(number);
                }
                FromSupervisor::Ping => self.pings += 1,
            }
            self.arrived.advance(frame::HEAD + length);
        }
        heard
    }
}

fn check(call: &Call<'_>) {
    assert_eq!(call.body, work(call.number, call.body.len()), "the work of {}", call.number);
    assert_eq!(call.id.0.as_u128(), u128::from(call.number));
    assert_eq!((call.stream, call.sequence), ("orders", call.number));
}

/// Puts a good answer to an attempt, with a result of so many bytes.
pub(super) fn put_answer(out: &mut BytesMut, attempt: u64, status: u16, size: usize) {
    let (content_type, body) = (content_type(attempt), result(attempt, size));
    let answer = Answer {
        number: attempt,
        status,
        outcome: None,
        reason: "so it is",
        retry_after: "7",
        content_type: &content_type,
        headers: vec![("ce-id", "1")],
        body: &body,
    };
    answer.put(out);
}
