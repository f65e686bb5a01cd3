//! How a destination fares, as far as this process has seen it: all of it is soft. What is the
//! destination's own fault (nobody listens, `429`, `503`) stops the whole subscription for a
//! while; then one request goes first, and with each that is taken one more may be out, so that
//! a destination that comes back is not flooded. What is one result's fault is its cursor's.

use std::{collections::BTreeSet, time::Duration};

use rollcall_common::{
    backoff,
    ids::{Sequence, StreamId},
    limits::RETRY_AFTER_MAX,
    time::Time,
};

use super::event::Refusal;

/// First and longest wait before a destination is asked again.
pub(super) const RETRY_WAIT: (Duration, Duration) =
    (Duration::from_secs(1), Duration::from_secs(60));

/// A random wait before try number `tries` (1-based) of something that failed.
pub(super) fn retry_wait(tries: u32, rng: &mut fastrand::Rng) -> Duration {
    backoff::doubling(RETRY_WAIT.0, RETRY_WAIT.1, tries, rng)
}

/// How a destination fares.
#[derive(Debug)]
pub(super) struct Health {
    /// Streams whose next result was tried and not taken.
    troubled: BTreeSet<StreamId>,
    /// Streams whose next result was refused, and nothing has been taken since.
    refused: BTreeSet<StreamId>,
    /// Whether it refuses whatever it is given, so that it is not the results' fault.
    pub(super) outage: bool,
    /// Since when there are such.
    pub(super) failing_since: Option<Time>,
    /// Requests in a row that failed.
    pub(super) failures: u32,
    /// What the destination last said when it did not take something.
    pub(super) last_error: Option<Box<str>>,
    /// It is left alone until then.
    pub(super) closed_until: Option<Time>,
    /// How often in a row it had to be left alone.
    closings: u32,
    /// How many requests may be out; `usize::MAX`: as many as the settings say.
    room: usize,
}

impl Default for Health {
    fn default() -> Self {
        Self {
            troubled: BTreeSet::new(),
            refused: BTreeSet::new(),
            outage: false,
            failing_since: None,
            failures: 0,
            last_error: None,
            closed_until: None,
            closings: 0,
            room: usize::MAX,
        }
    }
}

impl Health {
    /// How many requests may be out, of at most so many.
    pub(super) fn room(&self, most: usize) -> usize {
        if self.closed_until.is_some() { 0 } else { self.room.min(most) }
    }

    /// Whether a stream's next result was tried and not taken.
    pub(super) fn troubles(&self, stream: StreamId) -> bool {
        self.troubled.contains(&stream)
    }

    /// The streams that have such a result.
    pub(super) fn troubled(&self) -> &BTreeSet<StreamId> {
        &self.troubled
    }

    /// How many streams were refused since something was taken.
    pub(super) fn refused(&self) -> usize {
        self.refused.len()
    }

    /// A stream's next result was refused, or something else happened to it.
    pub(super) fn note_refusal(&mut self, stream: StreamId, refusal: Refusal) {
        match refusal {
            Refusal::Rejected => self.refused.insert(stream),
            Refusal::Away { .. } | Refusal::Failed | Refusal::Gone | Refusal::Unfit => {
                self.refused.remove(&stream)
            }
        };
    }

    /// A request was not taken.
    pub(super) fn failed(&mut self, stream: StreamId, detail: Box<str>, now: Time) {
        self.troubled.insert(stream);
        self.failing_since.get_or_insert(now);
        self.failures = self.failures.saturating_add(1);
        self.last_error = Some(detail);
    }

    /// A result was taken; at most so many requests may be out. Whether that ends an outage.
    pub(super) fn took(&mut self, stream: StreamId, most: usize) -> bool {
        self.failures = 0;
        self.refused.clear();
        let outage = std::mem::take(&mut self.outage);
        if self.closed_until.is_none() {
            self.closings = 0;
            self.room = self.room.saturating_add(1);
            if self.room >= most {
                self.room = usize::MAX;
            }
        }
        self.troubled.remove(&stream);
        self.calm();
        outage
    }

    /// The cursors are gone, and their troubles with them.
    pub(super) fn forget_cursors(&mut self) {
        self.troubled.clear();
        self.refused.clear();
        self.outage = false;
        self.calm();
    }

    /// The destination is left alone for a while; gives back until when, if that is news.
    pub(super) fn close(
        &mut self,
        now: Time,
        retry_after: Option<Duration>,
        rng: &mut fastrand::Rng,
    ) -> Option<Time> {
        let asked = retry_after.unwrap_or_default().min(RETRY_AFTER_MAX);
        let until = if let Some(until) = self.closed_until {
            // Others were under way when it closed; they say nothing new, but perhaps more.
            until.max(now + asked)
        } else {
            self.closings = self.closings.saturating_add(1);
            now + retry_wait(self.closings, rng).max(asked)
        };
        let news = self.closed_until != Some(until);
        self.closed_until = Some(until);
        news.then_some(until)
    }

    /// The time may have come to ask again, with one request first.
    pub(super) fn open(&mut self, now: Time) {
        if self.closed_until.is_some_and(|until| until <= now) {
            self.closed_until = None;
            self.room = 1;
        }
    }

    fn calm(&mut self) {
        if self.troubled.is_empty() {
            self.failing_since = None;
            self.last_error = None;
        }
    }
}

/// Results that went out lately: whole slots of ten seconds, the last six of which count.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Rate {
    slot: u64,
    counts: [u64; 6],
}

/// Length of a slot.
const SLOT_SECONDS: u64 = 10;

impl Rate {
    /// So many more went out.
    pub(super) fn add(&mut self, now: Time, count: u64) {
        self.turn_to(now);
        if let Some(last) = self.counts.last_mut() {
            *last = last.saturating_add(count);
        }
    }

    /// How many went out in the last minute, about.
    #[must_use]
    pub fn last_minute(mut self, now: Time) -> u64 {
        self.turn_to(now);
        self.counts.iter().fold(0, |sum, count| sum.saturating_add(*count))
    }

    fn turn_to(&mut self, now: Time) {
        let slot = now.as_secs() / SLOT_SECONDS;
        let passed = slot.saturating_sub(self.slot).min(6);
        self.slot = self.slot.max(slot);
        for _ in 0..passed {
            self.counts.rotate_left(1);
            if let Some(last) = self.counts.last_mut() {
                *last = 0;
            }
        }
    }
}

/// How many results lie between two sequences, the first one counted.
pub(super) fn count(next: Sequence, through: Sequence) -> u64 {
    (through.0 + 1).saturating_sub(next.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_forgets_what_is_older_than_a_minute() {
        let at = |seconds: u64| Time::from_micros(seconds * 1_000_000);
        let mut rate = Rate::default();
        rate.add(at(1_000), 5);
        rate.add(at(1_009), 5);
        rate.add(at(1_030), 7);
        assert_eq!(rate.last_minute(at(1_030)), 17);
        assert_eq!(rate.last_minute(at(1_059)), 17);
        assert_eq!(rate.last_minute(at(1_060)), 7);
        assert_eq!(rate.last_minute(at(9_000)), 0);
    }

    #[test]
    fn one_goes_first_and_then_twice_as_many_each_time() {
        let (mut health, mut rng) = (Health::default(), fastrand::Rng::with_seed(1));
        let now = Time::from_micros(1_000_000_000);
        assert_eq!(health.room(64), 64);
        let until = health.close(now, None, &mut rng).unwrap();
        assert_eq!(health.room(64), 0);
        health.open(until);
        let mut rooms = Vec::new();
        for _ in 0..8 {
            let room = health.room(64);
            rooms.push(room);
            (0..room).for_each(|_| assert!(!health.took(StreamId(0), 64)));
        }
        assert_eq!(rooms, [1, 2, 4, 8, 16, 32, 64, 64]);
    }

    #[test]
    fn many_failures_at_once_count_as_one() {
        let (mut health, mut rng) = (Health::default(), fastrand::Rng::with_seed(1));
        let now = Time::from_micros(1_000_000_000);
        assert!(health.close(now, None, &mut rng).is_some());
        (0..20).for_each(|_| assert!(health.close(now, None, &mut rng).is_none()));
        let until = health.closed_until.unwrap();
        assert!(until.since(now) <= Duration::from_secs(1));
        let asked = health.close(now, Some(Duration::from_secs(90)), &mut rng);
        assert_eq!(asked, Some(now + Duration::from_secs(90)));
        let most = health.close(now, Some(Duration::from_secs(1_000_000)), &mut rng);
        assert_eq!(most, Some(now + RETRY_AFTER_MAX));
    }
}
