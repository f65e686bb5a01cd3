//! When to try again: the arithmetic of the timeout ladder and of jittered waits. Whole numbers
//! only, and the dice are the caller's, so a seed gives the same waits again.

use std::time::Duration;

/// The ladder of one stream (contract §4, "Timing"): after the k-th failure a message waits a
/// random time in `[0, jitter × multiplier^(k-1))`, and its next attempt may take
/// `timeout × multiplier^k`.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Ladder {
    /// How long the first attempt may take.
    pub timeout: Duration,
    /// Bound of the first random wait.
    pub jitter: Duration,
    /// Growth per failure, in thousandths: 2000 doubles.
    pub multiplier_permille: u32,
    /// Failures after which the message is parked.
    pub max_attempts: u32,
    /// Neither wait nor timeout grows beyond this.
    pub max_delay: Duration,
}

impl Default for Ladder {
    fn default() -> Self {
        Self {
            timeout: Duration::from_secs(2),
            jitter: Duration::from_secs(1),
            multiplier_permille: 2000,
            max_attempts: 5,
            max_delay: MAX_DELAY,
        }
    }
}

impl Ladder {
    /// How long an attempt may take after `failures` failures.
    #[must_use]
    pub fn timeout_after(&self, failures: u32) -> Duration {
        self.grow(self.timeout, failures)
    }

    /// The random wait after failure number `failures` (1-based).
    #[must_use]
    pub fn wait_after(&self, failures: u32, rng: &mut fastrand::Rng) -> Duration {
        below(self.grow(self.jitter, failures.saturating_sub(1)), rng)
    }

    fn grow(&self, base: Duration, steps: u32) -> Duration {
        let mut micros = base.as_micros();
        // What is longer by itself does not grow.
        let most = self.max_delay.as_micros().max(micros);
        for _ in 0..steps.min(64) {
            micros = (micros * u128::from(self.multiplier_permille) / 1000).min(most);
        }
        Duration::from_micros(u64::try_from(micros).unwrap_or(u64::MAX))
    }
}

/// How far a ladder climbs, unless it is said otherwise.
const MAX_DELAY: Duration = Duration::from_secs(300);

/// A random duration in `[0, bound)`; zero when the bound is.
#[must_use]
pub fn below(bound: Duration, rng: &mut fastrand::Rng) -> Duration {
    let micros = u64::try_from(bound.as_micros()).unwrap_or(u64::MAX);
    if micros == 0 { Duration::ZERO } else { Duration::from_micros(rng.u64(0..micros)) }
}

/// The wait before retry number `tries` (1-based) of something that is tried for as long as it
/// takes: `first`, doubling up to `most`, of which a random upper half is used, so that many
/// waiting parties spread out but none comes back at once.
#[must_use]
pub fn doubling(first: Duration, most: Duration, tries: u32, rng: &mut fastrand::Rng) -> Duration {
    let full = first.saturating_mul(1 << tries.saturating_sub(1).min(20)).min(most);
    full / 2 + below(full / 2, rng)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_ladder_doubles() {
        let ladder = Ladder::default();
        let seconds: Vec<u64> = (0..5).map(|k| ladder.timeout_after(k).as_secs()).collect();
        assert_eq!(seconds, [2, 4, 8, 16, 32]);
    }

    #[test]
    fn waits_stay_below_their_bound_and_vary() {
        let (ladder, mut rng) = (Ladder::default(), fastrand::Rng::with_seed(7));
        for failures in 1..=5_u32 {
            let bound = Duration::from_secs(1 << (failures - 1));
            let waits: Vec<_> = (0..100).map(|_| ladder.wait_after(failures, &mut rng)).collect();
            assert!(waits.iter().all(|wait| *wait < bound));
            assert!(waits.iter().any(|wait| *wait < bound / 4));
            assert!(waits.iter().any(|wait| *wait > bound * 3 / 4));
        }
    }

    #[test]
    fn a_steep_ladder_does_not_overflow() {
        let ladder = Ladder { multiplier_permille: u32::MAX, ..Ladder::default() };
        assert_eq!(ladder.timeout_after(u32::MAX), MAX_DELAY);
        let long = Ladder { timeout: Duration::from_secs(900), ..ladder };
        assert_eq!(long.timeout_after(9), Duration::from_secs(900), "it is longer by itself");
        let mut rng = fastrand::Rng::with_seed(7);
        let waits = (0..1_000).map(|_| ladder.wait_after(40, &mut rng));
        assert!(waits.max().is_some_and(|most| most <= MAX_DELAY && most > MAX_DELAY / 2));
    }

    #[test]
    fn doubling_waits_keep_at_least_half() {
        let mut rng = fastrand::Rng::with_seed(7);
        let (first, most) = (Duration::from_secs(1), Duration::from_secs(60));
        for (tries, full) in [(1, 1), (2, 2), (6, 32), (7, 60), (99, 60)] {
            let wait = doubling(first, most, tries, &mut rng);
            assert!(wait >= Duration::from_secs(full) / 2 && wait <= Duration::from_secs(full));
        }
    }
}
