//! Threads for results that go out one by one. What order costs a stream is a round trip to the
//! destination for each result, so whoever carries one must not stand in line behind all that is
//! taken in meanwhile. Where many go out in one request, waiting a moment makes them more, so these
//! run with everything else.

use std::thread::available_parallelism;

use rollcall_common::{task, threads::Threads};
use tokio::runtime::{Builder, Runtime};

/// One part in this many of the processors is there for it: carrying is little of the work.
const SHARE: usize = 4;

/// Threads for what goes out one by one.
#[derive(Debug)]
pub struct DeliveryRuntime(Threads);

impl DeliveryRuntime {
    /// Starts them, at least one.
    #[must_use]
    pub fn start() -> Self {
        let threads = available_parallelism().map_or(1, |all| (all.get() / SHARE).max(1));
        let mut builder = Builder::new_multi_thread();
        // Whoever is still out when they are dropped has been given up: the next start delivers
        // again.
        Self(Threads::start(builder.worker_threads(threads).enable_all(), "delivery"))
    }

    /// Without threads of its own: everything runs where it is asked for.
    #[must_use]
    pub const fn none() -> Self {
        Self(Threads::none())
    }

    /// Runs `future` on one of them. `name` appears if it panics.
    pub(super) fn spawn<F>(&self, name: &'static str, future: F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let _there = self.0.get().map(Runtime::enter);
        task::spawn(name, future);
    }
}
