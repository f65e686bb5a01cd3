//! A worker that does as it is told, and remembers every call.

use std::{
    ops::Deref,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use super::{Act, Request, Server};

/// A call of a worker.
#[derive(Clone, Debug)]
pub struct Call {
    /// The request.
    pub request: Request,
    /// The message's stream.
    pub stream: String,
    /// The message's sequence.
    pub sequence: u64,
    /// The attempt's number.
    pub attempt: u64,
}

impl Deref for Call {
    type Target = Request;

    fn deref(&self) -> &Request {
        &self.request
    }
}

type Mode = Arc<dyn Fn(&Call) -> Act + Send + Sync>;

/// A worker.
pub struct FakeWorker {
    server: Server,
    mode: Arc<Mutex<Mode>>,
    calls: Arc<Mutex<Vec<Call>>>,
}

impl Deref for FakeWorker {
    type Target = Server;

    fn deref(&self) -> &Server {
        &self.server
    }
}

impl FakeWorker {
    /// A worker with this mode.
    pub async fn start(mode: impl Fn(&Call) -> Act + Send + Sync + 'static) -> Self {
        Self::start_with(None, mode).await
    }

    /// A worker that closes connections that are idle for so long.
    pub async fn start_with(
        idle: Option<Duration>,
        mode: impl Fn(&Call) -> Act + Send + Sync + 'static,
    ) -> Self {
        let mode: Arc<Mutex<Mode>> = Arc::new(Mutex::new(Arc::new(mode)));
        let calls = Arc::new(Mutex::new(Vec::new()));
        let (shared_mode, shared_calls) = (Arc::clone(&mode), Arc::clone(&calls));
        let server = Server::start(idle, move |request| {
            let call = Call {
                stream: request.header("rollcall-stream").to_owned(),
                sequence: request.number("rollcall-sequence"),
                attempt: request.number("rollcall-attempt"),
                request,
            };
            let mode = Arc::clone(&*lock(&shared_mode));
            let act = mode(&call);
            lock(&shared_calls).push(call);
            act
        });
        Self { server: server.await, mode, calls }
    }

    /// A worker that answers with the message in upper case.
    pub async fn upper() -> Self {
        Self::start(|call| Act::ok(call.body.to_ascii_uppercase())).await
    }

    /// A worker that takes between so many milliseconds; the seed makes the same delays again.
    pub async fn random(seed: u64, milliseconds: std::ops::RangeInclusive<u64>) -> Self {
        let rng = Mutex::new(fastrand::Rng::with_seed(seed));
        Self::start(move |call| {
            let after = Duration::from_millis(lock(&rng).u64(milliseconds.clone()));
            Act::ok_after(after, call.body.clone())
        })
        .await
    }

    /// Changes its mode.
    pub fn set(&self, mode: impl Fn(&Call) -> Act + Send + Sync + 'static) {
        *lock(&self.mode) = Arc::new(mode);
    }

    /// All its calls so far.
    #[must_use]
    pub fn calls(&self) -> Vec<Call> {
        lock(&self.calls).clone()
    }

    /// How many calls it has had.
    #[must_use]
    pub fn count(&self) -> usize {
        lock(&self.calls).len()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
