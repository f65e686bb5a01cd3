//! The supervisor in a world that is played by a seed: clients, workers, destinations, people, a
//! disk, and every way in which they fail. The same seed is the same story, to the byte.

use std::{
    ops::ControlFlow,
    panic::{self, AssertUnwindSafe},
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

mod alerting;
mod api_subscriptions;
mod beside;
mod clients;
mod configuration;
mod coverage;
mod destinations;
pub mod journal;
mod model;
mod people;
mod readers;
mod receiver;
mod record_checker;
mod restart;
mod retention;
mod scenario;
mod server;
mod shrink;
#[cfg(test)]
mod steady;
#[cfg(test)]
mod tests;
mod trace;
mod workers;
mod world;

pub use coverage::{Coverage, Something};
pub use shrink::{Shrunk, shrink};
pub use trace::Telling;

use crate::oracle::Violation;
use world::World;

/// How a seed went.
#[derive(Clone, Debug)]
pub struct Report {
    /// The seed.
    pub seed: u64,
    /// What went wrong.
    pub failure: Option<String>,
    /// Things that happened.
    pub events: u64,
    /// What happened at least once.
    pub sometimes: Coverage,
    /// A digest of the whole story.
    pub hash: u64,
    /// The story's last lines.
    pub trace: Vec<String>,
}

/// Plays a seed.
#[must_use]
pub fn play(seed: u64, telling: Telling) -> Report {
    play_world(seed, World::new(seed, telling))
}

fn play_world(seed: u64, mut world: World) -> Report {
    let outcome = panic::catch_unwind(AssertUnwindSafe(|| world.run()));
    let failure = match outcome {
        Ok(Ok(())) => None,
        Ok(Err(violation)) => Some(describe(&violation)),
        Err(payload) => {
            let text = payload.downcast_ref::<String>().cloned();
            let text = text.or_else(|| payload.downcast_ref::<&str>().map(|s| (*s).to_owned()));
            Some(format!("panic: {}", text.unwrap_or_default()))
        }
    };
    Report {
        seed,
        failure,
        events: world.events,
        sometimes: world.sometimes.clone(),
        hash: world.hash(),
        trace: world.end_of_trace(),
    }
}

fn describe(violation: &Violation) -> String {
    violation.to_string()
}

/// What many seeds came to.
#[derive(Debug, Default)]
pub struct Summary {
    /// Seeds that were played.
    pub seeds: u64,
    /// Things that happened.
    pub events: u64,
    /// What happened at least once.
    pub sometimes: Coverage,
    /// The seeds that failed, and how.
    pub failures: Vec<(u64, String)>,
}

/// Plays seeds `from` up to, not including, `to`, on `threads` threads; `progress` hears of each,
/// and may say that it is enough.
#[must_use]
pub fn play_all(
    (from, to): (u64, u64),
    threads: usize,
    progress: impl Fn(&Summary) -> ControlFlow<()> + Sync,
) -> Summary {
    let next = AtomicU64::new(from);
    let summary = Mutex::new(Summary::default());
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= to {
                        return;
                    }
                    let report = play(seed, Telling::Nothing);
                    let mut summary = summary.lock().unwrap_or_else(PoisonError::into_inner);
                    summary.seeds += 1;
                    summary.events += report.events;
                    summary.sometimes.merge(&report.sometimes);
                    if let Some(failure) = report.failure {
                        summary.failures.push((seed, failure));
                    }
                    if progress(&summary).is_break() {
                        next.store(to, Ordering::Relaxed);
                    }
                }
            });
        }
    });
    let mut summary = summary.into_inner().unwrap_or_else(PoisonError::into_inner);
    summary.failures.sort();
    summary
}
