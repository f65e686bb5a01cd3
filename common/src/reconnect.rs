//! The waits of the shell's reconnect loops (a worker that registers, an alert target). The
//! `backoff` crate stays in this one file: it is unmaintained (RUSTSEC-2025-0012) and can't be
//! seeded, so what is journaled or simulated uses [`crate::backoff`] instead.

use std::time::Duration;

use backoff::{ExponentialBackoff, ExponentialBackoffBuilder, backoff::Backoff as _};

/// A growing, jittered wait that never gives up.
#[derive(Debug)]
pub struct Reconnect(ExponentialBackoff);

impl Reconnect {
    /// Waits that start at about `first` and double up to about `most`.
    #[must_use]
    pub fn new(first: Duration, most: Duration) -> Self {
        Self(
            ExponentialBackoffBuilder::new()
                .with_initial_interval(first)
                .with_max_interval(most)
                .with_multiplier(2.0)
                .with_max_elapsed_time(None)
                .build(),
        )
    }

    /// How long to wait before the next try.
    #[must_use]
    pub fn wait(&mut self) -> Duration {
        self.0.next_backoff().unwrap_or(self.0.max_interval)
    }

    /// It worked: the next wait is a short one again.
    pub fn reset(&mut self) {
        self.0.reset();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_up_to_the_bound_and_start_again() {
        let mut reconnect = Reconnect::new(Duration::from_millis(10), Duration::from_millis(100));
        assert!(reconnect.wait() <= Duration::from_millis(15));
        let longest = (0..20).map(|_| reconnect.wait()).max().unwrap();
        assert!(longest > Duration::from_millis(20) && longest <= Duration::from_millis(150));
        reconnect.reset();
        assert!(reconnect.wait() <= Duration::from_millis(15));
    }
}
