//! Real processes, and what tests do to them from the outside: start, call, watch, kill.

mod binaries;
mod certificates;
pub mod checker;
mod client;
mod process;
mod raw;
mod supervisor;
mod worker;

use std::{future::Future, time::Duration};

use tokio::time::{sleep, timeout};

pub use binaries::program;
pub use certificates::{Authority, Files};
pub use client::{Answer, Client};
pub use process::{Ended, Process, Signal};
pub use raw::{Raw, exchange};
pub use supervisor::{Setup, Supervisor};
pub use worker::WorkerProcess;

/// The longest that a condition is waited for.
pub const LONGEST: Duration = Duration::from_secs(60);

/// How often a condition is looked at.
const LOOK: Duration = Duration::from_millis(10);

/// Waits until `condition` holds.
///
/// # Panics
/// When it does not hold in time.
pub async fn until<F: Future<Output = bool>>(what: &str, condition: impl FnMut() -> F) {
    until_within(LONGEST, what, condition).await;
}

/// Waits until `condition` holds, for at most `longest`.
///
/// # Panics
/// When it does not hold in time.
pub async fn until_within<F: Future<Output = bool>>(
    longest: Duration,
    what: &str,
    mut condition: impl FnMut() -> F,
) {
    let holds = async {
        while !condition().await {
            sleep(LOOK).await;
        }
    };
    assert!(timeout(longest, holds).await.is_ok(), "never: {what}");
}

/// Waits for `future`, but not for ever.
///
/// # Panics
/// When it takes too long.
pub async fn soon<F: Future>(future: F) -> F::Output {
    timeout(LONGEST, future).await.expect("in time")
}

/// How much larger than every day the tests' sizes are to be: `ROLLCALL_TEST_SCALE`, 1 unless set.
#[must_use]
pub fn scale() -> u64 {
    let set = std::env::var("ROLLCALL_TEST_SCALE").ok();
    set.and_then(|text| text.parse().ok()).unwrap_or(1).max(1)
}

/// Clock time, for measuring.
#[must_use]
#[expect(clippy::disallowed_methods, reason = "tests measure from the outside")]
pub fn now() -> std::time::Instant {
    std::time::Instant::now()
}

/// Runs `future` beside the test. A panic in it fails nothing but itself, and a test that panics
/// does not take the others with it.
#[expect(clippy::disallowed_methods, reason = "the program's own spawning ends the process")]
pub fn spawn<F>(future: F) -> tokio::task::JoinHandle<F::Output>
where
    F: Future<Output: Send> + Send + 'static,
{
    tokio::spawn(future)
}
