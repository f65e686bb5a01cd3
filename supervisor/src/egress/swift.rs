//! A thread for results that go out one by one. What order costs a stream is a round trip to the
//! destination for each result, so whoever carries one must not stand in line behind all that is
//! taken in meanwhile. Where many go out in one request, waiting a moment makes them more, so these
//! run with everything else.

use std::fmt;

use rollcall_common::task;
use tokio::runtime::{Builder, Runtime};

/// A thread for what goes out one by one.
pub struct Swift(Option<Runtime>);

impl Swift {
    /// Starts it.
    #[must_use]
    pub fn start() -> Self {
        let mut builder = Builder::new_multi_thread();
        let builder = builder.worker_threads(1).thread_name("delivery").enable_all();
        let runtime = builder.build();
        let runtime = runtime.inspect_err(|error| tracing::warn!(%error, "no delivery thread"));
        Self(runtime.ok())
    }

    /// Without a thread of its own: everything runs where it is asked for.
    #[must_use]
    pub const fn none() -> Self {
        Self(None)
    }

    /// Runs `future` on this thread. `name` appears if it panics.
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
