//! A whole supervisor in memory, to be asked over connections of its own.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use rollcall_common::{
    ids::Epoch,
    net::Network,
    shutdown::{Shutdown, Trigger},
    time::Time,
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream},
    runtime::{Builder, Runtime},
    sync::mpsc,
    time::timeout,
};
use uuid::Uuid;

use super::{
    super::{Environment, Running, Store, start_on},
    cable::Cable,
};
use crate::{config, journal::memory::MemoryJournal};

/// Requests after which another supervisor is asked: what they leave behind is not to fill the
/// memory.
const ASKED: u32 = 2_000;
/// Requests that were still waiting, after which another one is asked: they hold places.
const WAITED: u32 = 200;
/// How long one is asked that may wait.
pub(super) const SHORT: Duration = Duration::from_millis(4);
/// How long any other answer may take, whatever else the machine does.
pub(super) const LONG: Duration = Duration::from_secs(30);
/// How much of an answer is looked at: some have no end.
const LOOKED_AT: u64 = 64 << 10;
/// What a connection holds.
const WIRE_BYTES: usize = 256 << 10;

/// Where no time goes by unnoticed.
const NOW: Time = Time::from_micros(1_700_000_000_000_000);

const CONFIG: &str = "
[server]
listen = \"127.0.0.1:7400\"
[journal]
kind = \"memory\"
[streams.a]
pool = \"none\"
[streams.b]
window = 4
[subscriptions.p]
streams = [\"*\"]
";

/// What is there from the beginning: three results, messages that wait for a worker, a
/// subscription of the API, and something in the audit.
const BEGINNING: [(&str, &str, &str); 5] = [
    ("POST /v1/streams/a/messages:batch", "Content-Type: application/x-ndjson\r\n", "1\n2\n3\n"),
    ("POST /v1/streams/b/messages", "Idempotency-Key: k\r\n", "1"),
    ("PUT /v1/subscriptions/q", "", "{\"start\":\"beginning\"}"),
    ("PUT /v1/workers/w", "", "{\"url\":\"http://10.0.0.9:9000\",\"pool\":\"other\"}"),
    ("POST /v1/streams/b/pause", "", ""),
];

/// A supervisor, and the way to it.
struct Open {
    runtime: Runtime,
    running: Running,
    connect: mpsc::Sender<DuplexStream>,
    _trigger: Trigger,
    asked: u32,
    waited: u32,
}

/// What came back.
#[derive(Debug)]
pub(super) struct Answer {
    /// `None`: none, or none yet.
    pub(super) status: Option<u16>,
    /// The head, in lower case.
    pub(super) head: String,
    /// As much of the body as was looked at.
    pub(super) body: String,
    /// Whether that is all of it.
    pub(super) whole: bool,
}

/// Asks the house of the process, which is opened when it is not there.
///
/// # Panics
/// When no answer comes within [`LONG`], or the dispatcher is not in order
/// afterwards.
pub(super) fn ask(request: &[u8], patience: Duration) -> Answer {
    static HOUSE: Mutex<Option<Open>> = Mutex::new(None);
    let mut house = HOUSE.lock().unwrap_or_else(PoisonError::into_inner);
    let mut open = house.take().unwrap_or_else(Open::new);
    let answer = open.ask(request, patience);
    if open.asked < ASKED && open.waited < WAITED {
        *house = Some(open);
    } else {
        open.close();
    }
    answer
}

impl Open {
    fn new() -> Self {
        let runtime = Builder::new_current_thread().enable_all().build();
        let Ok(runtime) = runtime else { unreachable!("no runtime") };
        let (connect, cable) = Cable::new();
        let (trigger, shutdown) = Shutdown::new();
        let started = runtime.block_on(start(cable, shutdown, trigger.clone()));
        let mut open =
            Self { runtime, running: started, connect, _trigger: trigger, asked: 0, waited: 0 };
        for (start, head, body) in BEGINNING {
            let length = body.len();
            let request = format!(
                "{start} HTTP/1.1\r\nHost: a.localhost\r\n{head}Content-Length: {length}\r\n\r\n\
                 {body}"
            );
            let answer = open.ask(request.as_bytes(), LONG);
            let done = answer.status.is_some_and(|status| (200..300).contains(&status));
            assert!(done, "{answer:?} to {request}");
        }
        open
    }

    fn ask(&mut self, request: &[u8], patience: Duration) -> Answer {
        self.asked += 1;
        let (connect, handle) = (self.connect.clone(), self.running.handle().clone());
        let (bytes, whole, order) = self.runtime.block_on(async {
            let (bytes, whole) = exchange(connect, request, patience).await;
            // No calls are made, so which moment it is does not matter.
            let order = handle.query(|dispatcher| dispatcher.verify(NOW).map(drop)).await;
            (bytes, whole, order)
        });
        let text = String::from_utf8_lossy(&bytes);
        let about = String::from_utf8_lossy(request);
        assert!(matches!(order, Ok(Ok(()))), "{order:?} after {about}");
        assert!(whole || patience < LONG || !bytes.is_empty(), "no answer to {about}");
        self.waited += u32::from(!whole);
        let (head, body) = text.split_once("\r\n\r\n").unwrap_or((&text, ""));
        let status = head.get(9..12).and_then(|status| status.parse().ok());
        let head = head.to_ascii_lowercase();
        // What follows is the answer to what came behind the request.
        let length = head.split_once("\r\ncontent-length: ").and_then(|(_, rest)| {
            rest.split("\r\n").next().and_then(|length| length.parse::<usize>().ok())
        });
        let body = length.and_then(|length| body.get(..length)).unwrap_or(body);
        Answer { status, body: body.to_owned(), head, whole }
    }

    fn close(self) {
        let Self { runtime, running, .. } = self;
        drop(running);
        runtime.shutdown_background();
    }
}

async fn start(cable: Cable, shutdown: Shutdown, trigger: Trigger) -> Running {
    let config = config::checks::read(CONFIG);
    let config = config.unwrap_or_else(|error| unreachable!("{error}"));
    let store = Store {
        journal: Arc::new(MemoryJournal::new()),
        epoch: Epoch::FIRST,
        identity: Uuid::from_u128(7),
    };
    let ground = Environment {
        network: Network::new(Arc::new(cable)),
        store: Some(store),
        time: Some(NOW),
        seed: Some(7),
    };
    let started = start_on(ground, config, shutdown, trigger).await;
    started.unwrap_or_else(|error| unreachable!("{error}"))
}

/// Sends a request and reads its answer to the end, as far as it is looked at; whether that was
/// the end.
async fn exchange(
    connect: mpsc::Sender<DuplexStream>,
    request: &[u8],
    patience: Duration,
) -> (Vec<u8>, bool) {
    let (near, far) = tokio::io::duplex(WIRE_BYTES);
    assert!(connect.send(far).await.is_ok(), "nobody takes connections");
    let (reading, mut writing) = tokio::io::split(near);
    let mut bytes = Vec::new();
    let talk = async {
        // Err: it is refused before it has come.
        let _ = writing.write_all(request).await;
        let _ = writing.shutdown().await;
        reading.take(LOOKED_AT).read_to_end(&mut bytes).await
    };
    let whole = timeout(patience, talk).await;
    let whole = whole.is_ok_and(|read| read.is_ok());
    let whole = whole && bytes.len() < usize::try_from(LOOKED_AT).unwrap_or(usize::MAX);
    (bytes, whole)
}
