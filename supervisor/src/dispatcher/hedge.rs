//! Hedging: an attempt that takes longer than nearly all others of its pool gets a copy, at
//! another worker; the first answer wins. After Dean and Barroso, "The Tail at Scale" (CACM
//! 2013): hedged requests, sent once the 95th percentile is over, cost a few per cent of work.
//!
//! All of it is soft. There is one deadline per pool, not one per attempt: attempts stand in the
//! order in which they began, and so in the order in which they become slow.

use std::{collections::VecDeque, time::Duration};

use rollcall_common::{limits::HEDGE_QUEUE, time::Time};

use super::{
    Dispatcher,
    attempts::{Attempt, AttemptState, HedgeLink},
    budget::RetryCost,
    event::AttemptId,
    pool::PoolKey,
    settings::Hedging,
    timers::Timer,
};
use crate::record::Reason;

/// Latencies that are remembered.
const SAMPLES: usize = 1024;
/// Fewer say nothing.
const LEAST_SAMPLES: usize = 128;
/// New ones after which the threshold is reckoned again.
const REFRESH: u32 = 64;
/// Nothing is slow before that.
const LEAST_THRESHOLD: Duration = Duration::from_millis(1);

/// What a pool's latencies were, and its attempts that may become slow.
#[derive(Debug, Default)]
pub(super) struct Hedge {
    /// The latest latencies in microseconds; a ring once it is full.
    latencies: Vec<u32>,
    /// Which of them is the oldest.
    oldest: usize,
    /// New ones since the threshold was reckoned.
    fresh: u32,
    /// When an attempt is slow.
    threshold: Option<Duration>,
    /// What half of them did not exceed.
    median: Option<Duration>,
    /// Attempts in the order of their starts; some are over.
    queue: VecDeque<(Time, AttemptId)>,
    /// When they are looked at again.
    pub(super) armed: Option<Time>,
}

impl Hedge {
    /// Notes how long an answer took.
    pub(super) fn sample(&mut self, took: Duration) {
        let micros = u32::try_from(took.as_micros()).unwrap_or(u32::MAX);
        if self.latencies.len() < SAMPLES {
            self.latencies.push(micros);
        } else if let Some(oldest) = self.latencies.get_mut(self.oldest) {
            *oldest = micros;
            self.oldest = (self.oldest + 1) % SAMPLES;
        }
        self.fresh += 1;
        if self.fresh >= REFRESH && self.latencies.len() >= LEAST_SAMPLES {
            self.fresh = 0;
            self.reckon();
        }
    }

    /// How long an attempt takes that is slow: longer than 95 of 100, and than one and a half of
    /// the median. Nothing before there are enough to say so.
    pub(super) fn threshold(&self) -> Option<Duration> {
        self.threshold
    }

    /// Whether so much is not much longer than usual, as far as is known.
    pub(super) fn is_usual(&self, took: Duration) -> bool {
        self.median.is_none_or(|median| took <= median * 2)
    }

    /// Whether there are too few latencies to say anything.
    pub(super) fn is_unsure(&self) -> bool {
        self.latencies.len() < LEAST_SAMPLES
    }

    /// Whether nothing waits.
    pub(super) fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    fn reckon(&mut self) {
        let mut sorted = self.latencies.clone();
        sorted.sort_unstable();
        let at = |percent: usize| sorted.get(sorted.len() * percent / 100).copied();
        if let (Some(median), Some(high)) = (at(50), at(95)) {
            let (median, high) = (u64::from(median), u64::from(high));
            let slow = Duration::from_micros(high.max(median * 3 / 2));
            self.threshold = Some(slow.max(LEAST_THRESHOLD));
            self.median = Some(Duration::from_micros(median));
        }
    }
}

impl Dispatcher {
    /// Looks at an attempt again when it may be slow.
    pub(super) fn watch_slow(&mut self, id: AttemptId, pool: PoolKey, started_at: Time) {
        let hedge = &mut self.roster.pool_mut(pool).hedge;
        let Some(threshold) = hedge.threshold().filter(|_| hedge.queue.len() < HEDGE_QUEUE) else {
            return;
        };
        hedge.queue.push_back((started_at, id));
        if hedge.armed.is_none() {
            let at = started_at + threshold;
            hedge.armed = Some(at);
            self.timers.set(at, Timer::Hedge(pool));
        }
    }

    /// Some attempts of a pool may be slow by now.
    pub(super) fn hedge_due(&mut self, pool: PoolKey, now: Time) {
        self.roster.pool_mut(pool).hedge.armed = None;
        while let Some((started_at, id)) = self.roster.pool_mut(pool).hedge.queue.pop_front() {
            let Some(attempt) = self.attempts.get(&id).copied() else {
                continue;
            };
            if attempt.standing != AttemptState::Active || attempt.pair != HedgeLink::Single {
                continue;
            }
            let hedge = &mut self.roster.pool_mut(pool).hedge;
            let slow_at = started_at + hedge.threshold.unwrap_or_default();
            if slow_at > now {
                hedge.queue.push_front((started_at, id));
                hedge.armed = Some(slow_at);
                self.timers.set(slow_at, Timer::Hedge(pool));
                return;
            }
            self.hedge(id, &attempt, now);
        }
    }

    /// Sends a copy to another worker, if everything allows it. What is tried by hand, and what
    /// workers may die of, gets none: it was not put in line.
    fn hedge(&mut self, id: AttemptId, slow: &Attempt, now: Time) {
        let entry = self.state.stream(slow.stream);
        let room = entry.in_flight < entry.settings.max_in_flight && !entry.paused;
        let Some(slot) = entry.slot(slow.sequence).filter(|slot| slot.deaths().is_empty()) else {
            return;
        };
        let wanted = entry.settings.hedge == Hedging::Auto && slot.held.is_some();
        if self.draining || !room || !wanted || slow.deadline <= now {
            return;
        }
        let pool = self.roster.pool_of(slow.worker);
        if entry.pool != Some(pool) || self.is_out(pool) || !self.may_call(pool) {
            // The stream, or the worker, has changed to another one; or others wait for the room.
            return;
        }
        let other = |worker| worker != slow.worker;
        let Some(worker) = self.roster.pick_of(pool, &slot.tried(), &mut self.rng, other) else {
            return;
        };
        if !self.roster.pool_mut(pool).withdraw_spare(now) {
            return;
        }
        let (reason, cost, started_at) = (Reason::Hedge, RetryCost::Free, now);
        let copy =
            Attempt { worker, reason, started_at, pair: HedgeLink::Partner(id), cost, ..*slow };
        let copy = self.start_attempt(copy);
        self.counters.hedges += 1;
        if let (Some(slow), Some(copy)) = (self.attempts.get_mut(&id), copy) {
            slow.pair = HedgeLink::Partner(copy);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(latencies: impl IntoIterator<Item = u64>) -> Hedge {
        let mut hedge = Hedge::default();
        latencies.into_iter().for_each(|millis| hedge.sample(Duration::from_millis(millis)));
        hedge
    }

    #[test]
    fn few_latencies_say_nothing() {
        assert_eq!(of([10; 127]).threshold(), None);
        assert!(of([10; 128]).threshold().is_some());
    }

    #[test]
    fn slow_is_beyond_nearly_all_and_beyond_one_and_a_half_medians() {
        let even = (0..1_024).map(|number| number * 997 % 1_024);
        assert_eq!(of(even).threshold(), Some(Duration::from_millis(972)));
        assert_eq!(of([100; 128]).threshold(), Some(Duration::from_millis(150)));
        assert_eq!(of([0; 128]).threshold(), Some(LEAST_THRESHOLD));
        let stragglers = (0..1_024).map(|number| if number % 100 == 0 { 10_000 } else { 100 });
        assert_eq!(of(stragglers).threshold(), Some(Duration::from_millis(150)));
    }

    #[test]
    fn old_latencies_are_forgotten() {
        let hedge = of([900; 1_024].into_iter().chain([10; 1_024]));
        assert_eq!(hedge.threshold(), Some(Duration::from_millis(15)));
        assert_eq!(hedge.latencies.len(), SAMPLES);
    }
}
