//! The client: so many connections, each sending one request after the other; or requests at
//! fixed times, whether or not the ones before have been answered.

use std::{
    collections::VecDeque,
    io::Write as _,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use futures_util::future::try_join_all;
use rollcall_common::task;
use rustix::thread::nanosleep;
use serde_json::json;
use tokio::{sync::mpsc, task::JoinHandle};

use super::{
    body::now_ns,
    http_client::{Door, Given, Parcel},
    processes::own_cpu_seconds,
    sink_checker::shares,
};

/// Messages that may be due and not yet sent.
const DUE: usize = 1 << 16;

/// The wait after a refusal.
const REFUSED: Duration = Duration::from_millis(5);

/// What is to be sent.
#[derive(clap::Args, Clone, Debug)]
pub struct Load {
    /// To which server: `http://host:port`
    #[arg(long)]
    pub url: String,
    /// What that is
    #[arg(long, value_enum)]
    pub to: To,
    /// How many messages
    #[arg(long)]
    pub messages: u64,
    /// Of how many bytes
    #[arg(long)]
    pub bytes: usize,
    /// Over how many connections
    #[arg(long)]
    pub connections: usize,
    /// To how many streams
    #[arg(long, default_value_t = 1)]
    pub streams: u64,
    /// How many in a request
    #[arg(long, default_value_t = 1)]
    pub batch: u64,
    /// Microseconds to wait after each answer
    #[arg(long, default_value_t = 0)]
    pub pause_us: u64,
    /// Messages a second, sent at fixed times; 0: as fast as they are answered
    #[arg(long, default_value_t = 0)]
    pub rate: u64,
    /// The number of the first stream
    #[arg(long, default_value_t = 0)]
    pub first_stream: u64,
    /// What a message holds
    #[arg(long, value_enum, default_value_t = Content::Fill)]
    pub content: Content,
}

/// What messages hold.
#[derive(Clone, Copy, Debug, Eq, PartialEq, clap::ValueEnum)]
pub enum Content {
    /// Their number, and a fill.
    Fill,
    /// An order, as JSON.
    Json,
}

/// Who is sent to.
#[derive(Clone, Copy, Debug, Eq, PartialEq, clap::ValueEnum)]
pub enum To {
    /// A supervisor.
    Intake,
    /// NATS.
    Nats,
    /// Something that passes on to a worker, and gives back what it says.
    Proxy,
    /// RabbitMQ.
    Rabbitmq,
    /// Redis.
    Redis,
    /// A destination; the client makes the results, and the sequences.
    Sink,
}

impl Load {
    /// So many messages to one place, one at a time.
    pub(super) fn new(url: &str, to: To, messages: u64, bytes: usize) -> Self {
        Self {
            url: url.to_owned(),
            to,
            messages,
            bytes,
            connections: 1,
            streams: 1,
            batch: 1,
            pause_us: 0,
            rate: 0,
            first_stream: 0,
            content: Content::Fill,
        }
    }

    /// As arguments of this program.
    pub(super) fn arguments(&self) -> Vec<String> {
        let to = match self.to {
            To::Intake => "intake",
            To::Nats => "nats",
            To::Proxy => "proxy",
            To::Rabbitmq => "rabbitmq",
            To::Redis => "redis",
            To::Sink => "sink",
        };
        let numbers = [
            ("--messages", self.messages),
            ("--bytes", self.bytes as u64),
            ("--connections", self.connections as u64),
            ("--streams", self.streams),
            ("--batch", self.batch),
            ("--pause-us", self.pause_us),
            ("--rate", self.rate),
            ("--first-stream", self.first_stream),
        ];
        let content = match self.content {
            Content::Fill => "fill",
            Content::Json => "json",
        };
        let mut all = vec!["load".to_owned(), "--url".to_owned(), self.url.clone()];
        all.extend(["--to", to, "--content", content].map(str::to_owned));
        all.extend(numbers.iter().flat_map(|(name, n)| [(*name).to_owned(), n.to_string()]));
        all
    }
}

/// What the senders know together.
struct Sending {
    plan: Load,
    next: AtomicU64,
    sum: AtomicU64,
    refused: AtomicU64,
    latencies: Mutex<Vec<u64>>,
    idle: Mutex<Vec<Door>>,
}

/// Connects, and prints a line; sends, and prints what it took as one line of JSON.
///
/// # Errors
/// When a request fails in any way: what is measured has to work.
pub async fn load(plan: Load) -> Result<(), String> {
    let sending = Arc::new(Sending {
        next: AtomicU64::new(0),
        sum: AtomicU64::new(0),
        refused: AtomicU64::new(0),
        latencies: Mutex::default(),
        idle: Mutex::default(),
        plan,
    });
    let plan = &sending.plan;
    let connections = if plan.rate == 0 { plan.connections } else { 0 };
    let doors = (0..connections).map(|_| Door::connect(plan.to, &plan.url));
    let doors = try_join_all(doors).await?;
    writeln!(std::io::stdout(), "connected").map_err(|error| error.to_string())?;
    let started = now_ns();
    if plan.rate == 0 {
        closed(&sending, doors).await?;
    } else {
        open(&sending).await?;
    }
    let seconds = (now_ns() - started) as f64 / 1e9;
    let mut latencies = sending.latencies.lock().unwrap_or_else(PoisonError::into_inner);
    latencies.sort_unstable();
    let line = json!({
        "seconds": seconds,
        "latencies_ms": shares(&latencies),
        "cpu": own_cpu_seconds(),
        "refused": sending.refused.load(Ordering::Relaxed),
        "sum": format!("{:016x}", sending.sum.load(Ordering::Relaxed)),
    });
    writeln!(std::io::stdout(), "{line}").map_err(|error| error.to_string())
}

async fn closed(sending: &Arc<Sending>, doors: Vec<Door>) -> Result<(), String> {
    let mut senders = Vec::new();
    for mut door in doors {
        let sending = Arc::clone(sending);
        senders.push(task::spawn("sender", async move {
            let mut latencies = Vec::new();
            loop {
                let first = sending.next.fetch_add(sending.plan.batch, Ordering::Relaxed);
                if first >= sending.plan.messages {
                    sending.note(latencies);
                    return Ok::<_, String>(());
                }
                let before = now_ns();
                sending.send(&mut door, first, 0).await?;
                latencies.push(now_ns() - before);
                if sending.plan.pause_us > 0 {
                    tokio::time::sleep(Duration::from_micros(sending.plan.pause_us)).await;
                }
            }
        }));
    }
    for sender in senders {
        sender.await.map_err(|error| error.to_string())??;
    }
    Ok(())
}

/// A thread of its own keeps the times; the runtime's timer only knows milliseconds.
async fn open(sending: &Arc<Sending>) -> Result<(), String> {
    let (due, mut next) = mpsc::channel(DUE);
    let (messages, rate) = (sending.plan.messages, sending.plan.rate);
    let start = now_ns();
    let pacer = std::thread::spawn(move || {
        for number in 0..messages {
            let stamp = start + number * 1_000_000_000 / rate;
            wait_until(stamp);
            if due.blocking_send((number, stamp)).is_err() {
                return;
            }
        }
    });
    let mut senders = VecDeque::new();
    while let Some((number, stamp)) = next.recv().await {
        let sending = Arc::clone(sending);
        // What is done is let go at once: a client that grows is stopped by the system for fresh
        // memory, in the midst of a measurement of milliseconds.
        while senders.front().is_some_and(JoinHandle::is_finished) {
            if let Some(sender) = senders.pop_front() {
                sender.await.map_err(|error| error.to_string())??;
            }
        }
        senders.push_back(task::spawn("sender", async move {
            let idle = sending.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
            let mut door = match idle {
                Some(door) => door,
                None => Door::connect(sending.plan.to, &sending.plan.url).await?,
            };
            // The first tenth is for warming up.
            let counts = number >= sending.plan.messages / 10;
            sending.send(&mut door, number, if counts { stamp } else { 0 }).await?;
            if counts {
                sending.note(vec![now_ns() - stamp]);
            }
            sending.idle.lock().unwrap_or_else(PoisonError::into_inner).push(door);
            Ok::<_, String>(())
        }));
    }
    for sender in senders {
        sender.await.map_err(|error| error.to_string())??;
    }
    pacer.join().map_err(|_| "the pacer failed".to_owned())
}

fn wait_until(stamp: u64) {
    loop {
        let wait = stamp.saturating_sub(now_ns());
        if wait == 0 {
            return;
        }
        sleep(Duration::from_nanos(wait));
    }
}

/// Stops this thread for less than a second.
pub(super) fn sleep(wait: Duration) {
    let wait = rustix::time::Timespec { tv_sec: 0, tv_nsec: i64::from(wait.subsec_nanos()) };
    // What is left after a signal is left out: whoever needs the time looks at the clock.
    let _ = nanosleep(&wait);
}

impl Sending {
    fn note(&self, latencies: Vec<u64>) {
        self.latencies.lock().unwrap_or_else(PoisonError::into_inner).extend(latencies);
    }

    /// Sends messages from `first` on in one request, and looks at the answer.
    async fn send(&self, door: &mut Door, first: u64, stamp: u64) -> Result<(), String> {
        let plan = &self.plan;
        let count = plan.batch.min(plan.messages - first);
        let stream = plan.first_stream + (first / plan.batch) % plan.streams;
        let (bytes, content) = (plan.bytes, plan.content);
        let parcel = Parcel { first, count, stream, stamp, bytes, content };
        let sum = loop {
            match door.send(plan.to, &parcel).await? {
                Given::Places(sum) => break sum,
                Given::Refused => {
                    // It may go in after a pause; how often that was is told.
                    self.refused.fetch_add(1, Ordering::Relaxed);
                    tokio::time::sleep(REFUSED).await;
                }
            }
        };
        self.sum.fetch_add(sum, Ordering::Relaxed);
        Ok(())
    }
}
