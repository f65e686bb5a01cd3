//! A destination that does as it is told, and remembers what came and what it made of it.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use bytes::{Bytes, BytesMut};
use rollcall_common::{
    task,
    time::{Clock, Time},
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream},
    sync::mpsc,
    time::sleep,
};

/// What it does with a request.
#[derive(Clone, Debug)]
pub(super) enum Act {
    /// It says only so much of its answer that it has taken it (a thousandth each), and closes.
    Cut(usize),
    /// It takes it, and its answer never ends.
    EndlessBody,
    /// It announces an answer for ever.
    EndlessContinue,
    /// It says something that is no HTTP.
    Garbage,
    /// It says nothing.
    Hang,
    /// It refuses it with this status, `Retry-After` and `Rollcall-Done`.
    Refuse(u16, Option<&'static str>, Option<usize>),
    /// It takes it, and says so twice.
    Surplus,
    /// It takes it, with this status, after so many milliseconds and interim answers, in pieces of
    /// so many bytes.
    Take { status: u16, delay: u64, interim: usize, piece: usize, then: Then },
}

/// What it does with the connection when it has taken something.
#[derive(Clone, Copy, Debug)]
pub(super) enum Then {
    /// It closes it.
    Closes,
    /// It closes it once the next request begins to come.
    ClosesUnread,
    /// It closes it, and takes no other.
    IsDown,
    /// It keeps it.
    Stays,
}

/// A request that has come.
#[derive(Debug)]
pub(super) struct Seen {
    pub(super) head: BTreeMap<String, String>,
    pub(super) body: Bytes,
    /// Whether it is the first on its connection.
    pub(super) is_first: bool,
    pub(super) act: Act,
    /// When it had said its answer.
    pub(super) answered_at: Option<Time>,
}

impl Seen {
    pub(super) fn number(&self, name: &str) -> u64 {
        self.head[name].parse().unwrap()
    }
}

/// What it will do, and what it has seen.
#[derive(Debug)]
pub(super) struct Memory {
    /// What it does next; when there is nothing more, it takes everything.
    pub(super) acts: VecDeque<Act>,
    pub(super) seen: Vec<Seen>,
    clock: Clock,
    pub(super) is_down: Arc<AtomicBool>,
}

impl Memory {
    pub(super) fn new(acts: Vec<Act>, clock: Clock, is_down: Arc<AtomicBool>) -> Self {
        Self { acts: acts.into(), seen: Vec::new(), clock, is_down }
    }
}

const TAKES: Act = Act::Take { status: 200, delay: 0, interim: 0, piece: 1000, then: Then::Stays };

/// Takes all connections.
pub(super) async fn serve(mut connected: mpsc::Receiver<DuplexStream>, memory: Arc<Mutex<Memory>>) {
    while let Some(stream) = connected.recv().await {
        let memory = Arc::clone(&memory);
        task::spawn("odd-destination", async move {
            converse(stream, memory).await;
        });
    }
}

async fn converse(mut stream: DuplexStream, memory: Arc<Mutex<Memory>>) -> Option<()> {
    let (mut arrived, mut is_first) = (BytesMut::new(), true);
    loop {
        let (head, body) = request(&mut stream, &mut arrived).await?;
        let (at, act) = {
            let mut memory = memory.lock().unwrap();
            let act = memory.acts.pop_front().unwrap_or(TAKES);
            let seen = Seen { head, body, is_first, act: act.clone(), answered_at: None };
            memory.seen.push(seen);
            (memory.seen.len() - 1, act)
        };
        is_first = false;
        let kept = answer(&mut stream, &act, &memory, at).await?;
        if kept == Kept::UntilItIsUsed {
            stream.read_u8().await.ok()?;
            return None;
        }
    }
}

/// How long a connection is kept.
#[derive(Clone, Copy, Eq, PartialEq)]
enum Kept {
    On,
    UntilItIsUsed,
}

async fn request(
    stream: &mut DuplexStream,
    arrived: &mut BytesMut,
) -> Option<(BTreeMap<String, String>, Bytes)> {
    let end = loop {
        if let Some(end) = arrived.windows(4).position(|four| four == b"\r\n\r\n") {
            break end + 4;
        }
        if stream.read_buf(arrived).await.ok()? == 0 {
            return None;
        }
    };
    let head = arrived.split_to(end);
    let lines = std::str::from_utf8(&head).ok()?.lines().skip(1);
    let fields = lines.filter_map(|line| line.split_once(": "));
    let head: BTreeMap<_, _> =
        fields.map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned())).collect();
    let length: usize = head.get("content-length")?.parse().ok()?;
    while arrived.len() < length {
        if stream.read_buf(arrived).await.ok()? == 0 {
            return None;
        }
    }
    Some((head, arrived.split_to(length).freeze()))
}

/// The answer by which it takes something.
pub(super) fn taken(status: u16) -> Vec<u8> {
    match status {
        204 => b"HTTP/1.1 204 No Content\r\n\r\n".to_vec(),
        _ => format!("HTTP/1.1 {status} Fine\r\ncontent-length: 5\r\n\r\nhello").into_bytes(),
    }
}

/// Does it; `None`: the connection is at its end.
async fn answer(
    stream: &mut DuplexStream,
    act: &Act,
    memory: &Mutex<Memory>,
    at: usize,
) -> Option<Kept> {
    match act {
        Act::Cut(part) => {
            let answer = taken(200);
            stream.write_all(&answer[..answer.len() * part / 1000]).await.ok()?;
            return None;
        }
        Act::EndlessBody => {
            let head = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n";
            return endless(stream, head, &format!("1000\r\n{}\r\n", "x".repeat(0x1000))).await;
        }
        Act::EndlessContinue => {
            let more = "HTTP/1.1 100 Continue\r\n\r\n".repeat(100);
            return endless(stream, "", &more).await;
        }
        Act::Garbage => {
            stream.write_all(b"220 mail.example ESMTP\r\n\r\n").await.ok()?;
            stream.read_u8().await.ok()?;
            return None;
        }
        Act::Hang => {
            stream.read_u8().await.ok()?;
            return None;
        }
        Act::Refuse(status, wait, done) => {
            let wait = wait.map(|wait| format!("retry-after: {wait}\r\n")).unwrap_or_default();
            let done = done.map(|done| format!("rollcall-done: {done}\r\n")).unwrap_or_default();
            let answer = format!("HTTP/1.1 {status} No\r\n{wait}{done}content-length: 2\r\n\r\nno");
            stream.write_all(answer.as_bytes()).await.ok()?;
        }
        Act::Surplus => {
            stream.write_all(&taken(200).repeat(2)).await.ok()?;
            note(memory, at);
        }
        Act::Take { status, delay, interim, piece, then } => {
            sleep(Duration::from_millis(*delay)).await;
            let mut answer = b"HTTP/1.1 100 Continue\r\n\r\n".repeat(*interim);
            answer.extend(taken(*status));
            for piece in answer.chunks(*piece) {
                stream.write_all(piece).await.ok()?;
                task_turn().await;
            }
            note(memory, at);
            return match then {
                Then::Stays => Some(Kept::On),
                Then::ClosesUnread => Some(Kept::UntilItIsUsed),
                Then::Closes => None,
                Then::IsDown => {
                    memory.lock().unwrap().is_down.store(true, Ordering::Relaxed);
                    None
                }
            };
        }
    }
    Some(Kept::On)
}

/// Lets everybody else have a turn.
async fn task_turn() {
    tokio::task::yield_now().await;
}

fn note(memory: &Mutex<Memory>, at: usize) {
    let mut memory = memory.lock().unwrap();
    let now = memory.clock.now();
    memory.seen[at].answered_at = Some(now);
}

async fn endless(stream: &mut DuplexStream, head: &str, more: &str) -> Option<Kept> {
    stream.write_all(head.as_bytes()).await.ok()?;
    loop {
        stream.write_all(more.as_bytes()).await.ok()?;
    }
}
