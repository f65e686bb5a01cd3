//! A destination that does as it is told, and records every delivery in the order of arrival.

use std::{
    ops::Deref,
    sync::{Arc, Mutex, PoisonError},
};

use super::{Act, Request, Server};

/// A delivery.
#[derive(Clone, Debug)]
pub struct Delivered {
    /// The request.
    pub request: Request,
    /// The result's stream.
    pub stream: String,
    /// The result's sequence.
    pub sequence: u64,
    /// The one that was pushed before it.
    pub previous: u64,
    /// The result's position.
    pub position: u64,
    /// The delivery's attempt.
    pub attempt: u64,
    /// The supervisor's epoch.
    pub epoch: u64,
    /// What repeats are known by.
    pub key: String,
    /// Whether it is a replay.
    pub replay: bool,
    /// Whether the destination answered 2xx.
    pub taken: bool,
}

impl Deref for Delivered {
    type Target = Request;

    fn deref(&self) -> &Request {
        &self.request
    }
}

type Mode = Arc<dyn Fn(&Delivered) -> Act + Send + Sync>;

/// A destination.
pub struct Destination {
    server: Server,
    mode: Arc<Mutex<Mode>>,
    deliveries: Arc<Mutex<Vec<Delivered>>>,
}

impl Deref for Destination {
    type Target = Server;

    fn deref(&self) -> &Server {
        &self.server
    }
}

impl Destination {
    /// A destination that takes everything.
    pub async fn start() -> Self {
        let mode: Arc<Mutex<Mode>> = Arc::new(Mutex::new(Arc::new(|_| Act::status(200))));
        let deliveries = Arc::new(Mutex::new(Vec::new()));
        let (shared_mode, shared) = (Arc::clone(&mode), Arc::clone(&deliveries));
        let server = Server::start(None, move |request| {
            let mut delivered = Delivered {
                stream: request.header("rollcall-stream").to_owned(),
                sequence: request.number("rollcall-sequence"),
                previous: request.number("rollcall-previous-sequence"),
                position: request.number("rollcall-position"),
                attempt: request.number("rollcall-attempt"),
                epoch: request.number("rollcall-epoch"),
                key: request.header("idempotency-key").to_owned(),
                replay: request.header("rollcall-replay") == "true",
                taken: false,
                request,
            };
            let mode = Arc::clone(&*lock(&shared_mode));
            let act = mode(&delivered);
            delivered.taken = matches!(&act, Act::Answer(reply) if reply.status / 100 == 2);
            lock(&shared).push(delivered);
            act
        });
        Self { server: server.await, mode, deliveries }
    }

    /// Changes its mode.
    pub fn set(&self, mode: impl Fn(&Delivered) -> Act + Send + Sync + 'static) {
        *lock(&self.mode) = Arc::new(mode);
    }

    /// All deliveries so far, in the order of arrival.
    #[must_use]
    pub fn deliveries(&self) -> Vec<Delivered> {
        lock(&self.deliveries).clone()
    }

    /// How many deliveries there were.
    #[must_use]
    pub fn count(&self) -> usize {
        lock(&self.deliveries).len()
    }

    /// The sequences that it took of a stream, in the order of arrival.
    #[must_use]
    pub fn taken(&self, stream: &str) -> Vec<u64> {
        let deliveries = lock(&self.deliveries);
        let taken = deliveries.iter().filter(|one| one.taken && one.stream == stream);
        taken.map(|one| one.sequence).collect()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
