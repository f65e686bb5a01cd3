//! Threads for readings. Those for long ones give way to everything else that the process does:
//! whoever reads from the beginning gets what is left of the processors, and the message path does
//! not notice. (Its locks they must not hold for long: see [`crate::views::ReplayCursor`].) Each
//! thread keeps memory that it has used before, so they are few, and no others read for readers.

use std::time::Duration;

use rollcall_common::{
    limits::{BACKGROUND_NICE, BACKGROUND_THREADS, READER_READS},
    threads::Threads,
};
use rustix::time::{ClockId, clock_gettime};
use tokio::{runtime::Builder, task::JoinHandle};

/// Threads for readings.
#[derive(Debug)]
pub struct BackgroundPool {
    /// They give way.
    long: Threads,
    first: Threads,
}

impl BackgroundPool {
    /// Starts them.
    #[must_use]
    pub fn start() -> Self {
        // Nobody runs it: its threads for what blocks are all that is needed.
        let threads = |most| {
            let mut builder = Builder::new_current_thread();
            builder.max_blocking_threads(most);
            builder
        };
        // What is being read when they are dropped is for nobody any more.
        let long =
            Threads::start(threads(BACKGROUND_THREADS).on_thread_start(give_way), "background");
        let first = Threads::start(&mut threads(READER_READS), "reader");
        Self { long, first }
    }

    /// Runs what may block, and is waited for by somebody who was sent nothing yet.
    pub(super) fn spawn_first<T: Send + 'static>(
        &self,
        reading: impl FnOnce() -> T + Send + 'static,
    ) -> JoinHandle<T> {
        spawn(&self.first, reading)
    }

    /// Runs what may block, and measures how long it had to wait for a processor or the disk.
    /// Without threads of its own, it runs with everything else.
    pub(super) fn spawn<T: Send + 'static>(
        &self,
        reading: impl FnOnce() -> T + Send + 'static,
    ) -> JoinHandle<(T, Duration)> {
        let reading = || {
            let (before, worked) = (since_boot(ClockId::Monotonic), working());
            let read = reading();
            let took = since_boot(ClockId::Monotonic).saturating_sub(before);
            (read, took.saturating_sub(working().saturating_sub(worked)))
        };
        spawn(&self.long, reading)
    }
}

fn spawn<T: Send + 'static>(
    threads: &Threads,
    reading: impl FnOnce() -> T + Send + 'static,
) -> JoinHandle<T> {
    match threads.get() {
        Some(runtime) => runtime.spawn_blocking(reading),
        None => tokio::task::spawn_blocking(reading),
    }
}

/// How long the calling thread has been at work.
fn working() -> Duration {
    since_boot(ClockId::ThreadCPUTime)
}

fn since_boot(clock: ClockId) -> Duration {
    Duration::try_from(clock_gettime(clock)).unwrap_or_default()
}

/// The calling thread gives way from now on.
fn give_way() {
    // `None` is the calling thread: elsewhere than on Linux it would be the process.
    #[cfg(target_os = "linux")]
    if let Err(error) = rustix::process::setpriority_process(None, BACKGROUND_NICE) {
        tracing::warn!(%error, "readers don't give way to the message path");
    }
}
