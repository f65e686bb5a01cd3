//! Readers who are many: those who wait for what does not come, and those who take what there is
//! very slowly. They stay until the input is closed.

use std::{
    io::{Read as _, Write as _},
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use memchr::memmem;
use rollcall_common::task;
use serde_json::json;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpSocket, TcpStream},
    task::JoinHandle,
};

use super::{processes::own_cpu_seconds, wire::Wire};

/// The stream in which there is one result, and there will be no other.
pub(super) const QUIET: u64 = 0;
/// The stream with more results than the slow ones take.
pub(super) const LARGE: u64 = 1;
/// Bytes that a slow one takes at a time, and how often: 4 KiB a second.
const SIP: usize = 1024;
const SIP_EVERY: Duration = Duration::from_millis(250);
/// Bytes that the system takes in for a slow one, as it was asked to.
const SMALL: u32 = 4096;
/// How long a poll waits, in seconds.
const POLL: u64 = 30;

/// Who reads.
#[derive(clap::Args, Clone, Copy, Debug)]
pub struct Crowd {
    /// At which server
    #[arg(long)]
    pub at: SocketAddr,
    /// Feeds of the quiet stream
    #[arg(long)]
    pub feeds: usize,
    /// Long polls of it
    #[arg(long)]
    pub polls: usize,
    /// Feeds of the large stream that are read slowly
    #[arg(long)]
    pub slow: usize,
}

/// What they count.
#[derive(Debug, Default)]
struct Counts {
    /// Polls that were answered.
    answered: AtomicU64,
    /// Bytes that the slow ones took.
    bytes: AtomicU64,
}

type Reader = JoinHandle<Result<(), String>>;

/// Reads; prints a line when everybody is there, and what they did as one line of JSON.
///
/// # Errors
/// When one of them is sent away, or is answered wrongly.
pub async fn crowd(plan: Crowd) -> Result<(), String> {
    let counts = Arc::new(Counts::default());
    let mut readers: Vec<Reader> = Vec::new();
    for _ in 0..plan.feeds {
        let mut feed = feed(plan.at, QUIET, None).await?;
        readers.push(task::spawn("feed", async move {
            loop {
                some(&mut feed, &mut [0; SIP]).await?;
            }
        }));
    }
    for _ in 0..plan.slow {
        let (mut feed, counts) = (feed(plan.at, LARGE, Some(SMALL)).await?, Arc::clone(&counts));
        readers.push(task::spawn("slow", async move {
            loop {
                tokio::time::sleep(SIP_EVERY).await;
                let count = some(&mut feed, &mut [0; SIP]).await?;
                counts.bytes.fetch_add(count as u64, Ordering::Relaxed);
            }
        }));
    }
    for _ in 0..plan.polls {
        let wire = Wire::connect(&format!("http://{}", plan.at)).await?;
        readers.push(task::spawn("poll", poll(wire, Arc::clone(&counts))));
    }
    // What they have sent is read before what comes later.
    Wire::connect(&format!("http://{}", plan.at)).await?.get("/v1/status").await?;
    writeln!(std::io::stdout(), "there").map_err(|error| error.to_string())?;
    let closed = tokio::task::spawn_blocking(|| std::io::stdin().read_to_end(&mut Vec::new()));
    closed.await.map_err(|error| error.to_string())?.map_err(|error| error.to_string())?;
    for reader in readers {
        if reader.is_finished() {
            reader.await.map_err(|error| error.to_string())??;
        }
    }
    let line = json!({
        "answered": counts.answered.load(Ordering::Relaxed),
        "bytes": counts.bytes.load(Ordering::Relaxed),
        "cpu": own_cpu_seconds(),
    });
    writeln!(std::io::stdout(), "{line}").map_err(|error| error.to_string())
}

/// Asks for what comes behind the one result, again and again.
async fn poll(mut wire: Wire, counts: Arc<Counts>) -> Result<(), String> {
    let path = format!("/v1/streams/s{QUIET}/results?after=1&wait={POLL}");
    loop {
        let answer = wire.get(&path).await?;
        if answer.status != 200 || memmem::find(&answer.body, b"\"results\":[]").is_none() {
            return Err(format!("a poll: {} {}", answer.status, answer.text()));
        }
        counts.answered.fetch_add(1, Ordering::Relaxed);
    }
}

/// A feed of all that a stream has, once something of it has come.
async fn feed(at: SocketAddr, stream: u64, buffer: Option<u32>) -> Result<TcpStream, String> {
    let socket = TcpSocket::new_v4().map_err(|error| error.to_string())?;
    if let Some(bytes) = buffer {
        socket.set_recv_buffer_size(bytes).map_err(|error| error.to_string())?;
    }
    let mut feed = socket.connect(at).await.map_err(|error| error.to_string())?;
    let request = format!(
        "GET /v1/streams/s{stream}/results HTTP/1.1\r\nHost: {at}\r\n\
         Accept: text/event-stream\r\n\r\n"
    );
    feed.write_all(request.as_bytes()).await.map_err(|error| error.to_string())?;
    let mut begin = [0; SIP];
    let count = some(&mut feed, &mut begin).await?;
    let begin = &begin[..count];
    let good = begin.starts_with(b"HTTP/1.1 200");
    good.then_some(feed).ok_or_else(|| String::from_utf8_lossy(begin).into_owned())
}

async fn some(feed: &mut TcpStream, buffer: &mut [u8]) -> Result<usize, String> {
    match feed.read(buffer).await {
        Ok(0) => Err("a feed was closed".to_owned()),
        Ok(count) => Ok(count),
        Err(error) => Err(error.to_string()),
    }
}
