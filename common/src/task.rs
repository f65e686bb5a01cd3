//! Spawning. A task that panics ends the process: a supervisor with half of its tasks is worse
//! than one that starts again from its journal.

use std::{
    future::Future,
    sync::atomic::{AtomicUsize, Ordering},
    thread,
};

use futures_util::FutureExt as _;
use tokio::task::JoinHandle;

static RUNNING: AtomicUsize = AtomicUsize::new(0);

/// Tasks that run now.
#[must_use]
pub fn running() -> usize {
    RUNNING.load(Ordering::Relaxed)
}

/// Runs `future` on the current runtime. `name` appears if it panics.
#[expect(clippy::disallowed_methods, reason = "this is the place that spawns")]
pub fn spawn<F>(name: &'static str, future: F) -> JoinHandle<F::Output>
where
    F: Future<Output: Send> + Send + 'static,
{
    let guard = Guard::enter(name);
    // A block that awaits it would have room for it twice, and tasks that wait are many.
    tokio::spawn(future.map(move |output| {
        drop(guard);
        output
    }))
}

struct Guard(&'static str);

impl Guard {
    fn enter(name: &'static str) -> Self {
        RUNNING.fetch_add(1, Ordering::Relaxed);
        Self(name)
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        RUNNING.fetch_sub(1, Ordering::Relaxed);
        if thread::panicking() {
            tracing::error!(task = self.0, "a task panicked; the process ends");
            crate::telemetry::flush();
            std::process::abort();
        }
    }
}
