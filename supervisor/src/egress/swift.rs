//! Threads for results that go out one by one. What order costs a stream is a round trip to the
//! destination for each result, so whoever carries one must not stand in line behind all that is
//! taken in meanwhile. Where many go out in one request, waiting a moment makes them more, so these
//! run with everything else.

use std::{fmt, thread::available_parallelism};

use rollcall_common::task;
use tokio::runtime::{Builder, Runtime};

/// One part in this many of the processors is there for it: carrying is little of the work.
const SHARE: usize = 4;

/// Threads for what goes out one by one.
pub struct Swift(Option<Runtime>);

impl Swift {
    /// Starts them, at least one.
    #[must_use]
    pub fn start() -> Self {
        let threads = available_parallelism().map_or(1, |all| (all.get() / SHARE).max(1));
        let mut builder = Builder::new_multi_thread();
        let builder = builder.worker_threads(threads).thread_name("delivery").enable_all();
        let runtime = builder.build();
        let runtime = runtime.inspect_err(|error| tracing::warn!(%error, "no delivery threads"));
        Self(runtime.ok())
    }

    /// Without threads of its own: everything runs where it is asked for.
    #[must_use]
    pub const fn none() -> Self {
        Self(None)
    }

    /// Runs `future` on one of them. `name` appears if it panics.
    pub(super) fn spawn<F>(&self, name: &'static str, future: F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let _there = self.0.as_ref().map(Runtime::enter);
        task::spawn(name, future);
    }
}

impl Drop for Swift {
    fn drop(&mut self) {
        if let Some(runtime) = self.0.take() {
            // Whoever is still out has been given up: the next start delivers again.
            runtime.shutdown_background();
        }
    }
}

impl fmt::Debug for Swift {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Swift").finish()
    }
}
