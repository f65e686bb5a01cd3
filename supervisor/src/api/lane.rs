//! Threads for long readings. They give way to everything else that the process does: whoever
//! reads from the beginning gets what is left of the processors, and the message path does not
//! notice. (Its locks they must not hold for long: see [`crate::views::Course`].)

use std::time::Duration;

use rollcall_common::{
    limits::{LANE_NICE, LANE_THREADS},
    threads::Threads,
};
use rustix::time::{ClockId, clock_gettime};
use tokio::{runtime::Builder, task::JoinHandle};

/// Threads that give way.
#[derive(Debug)]
pub struct Lane(Threads);

impl Lane {
    /// Starts them.
    #[must_use]
    pub fn start() -> Self {
        let mut builder = Builder::new_multi_thread();
        let builder = builder.worker_threads(1).max_blocking_threads(LANE_THREADS);
        // What is being read when they are dropped is for nobody any more.
        Self(Threads::start(builder.on_thread_start(give_way), "lane"))
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
        match self.0.get() {
            Some(runtime) => runtime.spawn_blocking(reading),
            None => tokio::task::spawn_blocking(reading),
        }
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
    if let Err(error) = rustix::process::setpriority_process(None, LANE_NICE) {
        tracing::warn!(%error, "readers don't give way to the message path");
    }
}
