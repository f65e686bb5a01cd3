//! What the dispatcher is told: how each stream and each pool is to be treated. Plain values,
//! already checked; reading the configuration is [`crate::config`]'s.

use std::{sync::Arc, time::Duration};

use rollcall_common::{
    backoff::Ladder,
    ids::StreamName,
    limits::{HOLD_ALERT_AFTER, NOTICE_BURST, NOTICE_EVERY},
    protocol::DEFAULT_POOL,
};

mod bounds;
mod pattern;
mod table;

pub use bounds::Bounds;
pub use pattern::Pattern;
pub use table::{Processing, StreamOverlay, StreamTable};

use crate::record::{Severity, SubscriptionSpec};

/// How long results are kept, where nothing else is said.
const RETENTION: Duration = Duration::from_hours(24);

/// How long a worker may be gone before it is forgotten, where nothing else is said.
const FORGET_AFTER: Duration = Duration::from_hours(24);

/// What a stream does at a parked head.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum OnExhausted {
    /// Wait for a decision.
    Hold,
    /// Record a skip and go on.
    Skip,
}

/// Whether a slow attempt may get a copy, at another worker.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Hedging {
    /// When it takes longer than nearly all of its pool do.
    Auto,
    /// Never: a worker may not be able to drop repeats.
    Off,
}

/// How a stream is treated.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct StreamSettings {
    /// The pool of workers; `None` when the stream has no processing step.
    pub pool: Option<Arc<str>>,
    /// Timeouts, waits and how many failures.
    pub ladder: Ladder,
    /// No message is parked before it has been tried for that long.
    pub retry_for: Option<Duration>,
    /// At a parked head.
    pub on_exhausted: OnExhausted,
    /// Calls at once.
    pub max_in_flight: u32,
    /// Messages dispatched ahead of the oldest unreleased one, which counts too.
    pub window: u32,
    /// Unreleased messages at which intake is refused.
    pub max_backlog: u64,
    /// How long the head may stand still before an alert says so.
    pub hold_alert_after: Duration,
    /// Whether slow attempts get a copy.
    pub hedge: Hedging,
    /// How long its results are kept, at least.
    pub retention: Duration,
}

impl Default for StreamSettings {
    fn default() -> Self {
        Self {
            pool: Some(DEFAULT_POOL.into()),
            ladder: Ladder::default(),
            retry_for: None,
            on_exhausted: OnExhausted::Hold,
            max_in_flight: 256,
            window: 4096,
            max_backlog: 10_000_000,
            hold_alert_after: HOLD_ALERT_AFTER,
            hedge: Hedging::Auto,
            retention: RETENTION,
        }
    }
}

/// How many retries a pool's workers are given.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct BudgetSettings {
    /// Retries for each hundred messages that are dispatched for the first time.
    pub percent: u32,
    /// Retries a second that are allowed whatever else there is.
    pub per_second: u32,
}

impl Default for BudgetSettings {
    /// The defaults of Finagle's `RetryBudget`: 20 % and 10/s.
    fn default() -> Self {
        Self { percent: 20, per_second: 10 }
    }
}

/// Whether a pool that fails whatever it is given is in an outage.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum OutageDetection {
    /// It is.
    Auto,
    /// It is not: messages are charged with whatever fails.
    Off,
}

/// How a pool's workers are treated: when one is taken out for failing, and how many retries
/// they are given.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct PoolSettings {
    /// Strikes in a row that take a worker out.
    pub eject_after: u32,
    /// For how long, times the times in a row.
    pub eject_for: Duration,
    /// How many retries there may be.
    pub budget: BudgetSettings,
    /// Whether it can be in an outage.
    pub outage: OutageDetection,
    /// Failures in a row that make an outage.
    pub outage_after: u32,
    /// How long a worker may be gone, or silent, before it is forgotten.
    pub forget_after: Duration,
}

impl Default for PoolSettings {
    fn default() -> Self {
        let budget = BudgetSettings::default();
        Self {
            eject_after: 5,
            eject_for: Duration::from_secs(30),
            budget,
            outage: OutageDetection::Auto,
            outage_after: 5,
            forget_after: FORGET_AFTER,
        }
    }
}

/// What a target is told of an alert that somebody has seen, as long as it gets no worse.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum OnceSeen {
    /// The same as before: it keeps silences of its own.
    Repeat,
    /// Nothing more.
    Silence,
    /// That somebody has seen it; then nothing more.
    Tell,
}

/// Somebody who is told of alerts.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct AlertTarget {
    /// What it is called. What it was told is kept under this name.
    pub name: Arc<str>,
    /// Less bad alerts are not for it.
    pub min_severity: Severity,
    /// How old an alert has to be before it is told.
    pub after: Duration,
    /// It is also told of messages that have failed so often and are not parked yet.
    pub after_failures: Option<u32>,
    /// How often it is told again.
    pub repeat: Option<Duration>,
    /// What becomes of an alert that somebody has seen.
    pub once_seen: OnceSeen,
    /// Alerts about other streams than these are not for it; none means all are.
    pub streams: Vec<Pattern>,
}

/// All that the dispatcher is told.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Whether a stream comes into being with its first message.
    pub create_streams: bool,
    /// Streams that exist before their first message.
    pub standing_streams: Vec<StreamName>,
    /// Subscriptions that the configuration names, and what each is meant to do.
    pub subscriptions: Vec<(Box<str>, Arc<SubscriptionSpec>)>,
    /// What patterns of streams change.
    pub streams: StreamTable,
    /// Treatment of streams that no pattern fits.
    pub default_stream: Arc<StreamSettings>,
    /// Treatment of pools, by name.
    pub pools: Vec<(Arc<str>, PoolSettings)>,
    /// Who is told of alerts.
    pub alert_targets: Vec<AlertTarget>,
    /// Alerts of which one target may be told at once.
    pub notice_burst: u32,
    /// How often it may be told of one more, then.
    pub notice_every: Duration,
    /// How often a registered worker is to be heard.
    pub heartbeat: Duration,
    /// Requests to one push subscription's destination at once (one per stream at most).
    pub deliveries_at_once: usize,
    /// How many of the newest releases are kept at hand, so that a subscription that catches up
    /// can join the present without a gap.
    pub recent: usize,
    /// How much one call, and one entry of the journal, may hold.
    pub bounds: Bounds,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            create_streams: true,
            standing_streams: Vec::new(),
            subscriptions: Vec::new(),
            streams: StreamTable::default(),
            default_stream: Arc::default(),
            pools: Vec::new(),
            alert_targets: Vec::new(),
            notice_burst: NOTICE_BURST,
            notice_every: NOTICE_EVERY,
            heartbeat: Duration::from_secs(2),
            deliveries_at_once: 64,
            recent: 65_536,
            bounds: Bounds::default(),
        }
    }
}

impl Settings {
    /// How the stream `name` is treated.
    #[must_use]
    pub fn stream(&self, name: &StreamName) -> Arc<StreamSettings> {
        self.streams.whole(name.as_str(), &self.default_stream)
    }

    /// The longest time for which any stream's results are to be kept. The journal is one for
    /// all, so this is how long all of them are.
    #[must_use]
    pub fn longest_retention(&self) -> Duration {
        self.streams.longest_retention(self.default_stream.retention)
    }

    /// How the pool `name` is treated.
    #[must_use]
    pub fn pool(&self, name: &str) -> PoolSettings {
        let found = self.pools.iter().find(|(pool, _)| &**pool == name);
        found.map_or_else(PoolSettings::default, |(_, settings)| settings.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_lie_over_each_other() {
        let window = |window| StreamOverlay { window: Some(window), ..StreamOverlay::default() };
        let backlog =
            |backlog| StreamOverlay { max_backlog: Some(backlog), ..StreamOverlay::default() };
        let settings = Settings {
            streams: StreamTable::new([
                (Pattern::new("orders.eu"), backlog(7)),
                (Pattern::new("orders.*"), window(5)),
                (Pattern::new("*"), StreamOverlay { max_backlog: Some(3), ..window(2) }),
            ]),
            ..Settings::default()
        };
        let of = |name: &str| settings.stream(&name.parse().unwrap());
        for (name, window, backlog) in [("orders.eu", 5, 7), ("orders.us", 5, 3), ("other", 2, 3)] {
            let settings = of(name);
            assert_eq!((settings.window, settings.max_backlog), (window, backlog), "{name}");
        }
        for (one, other) in [("orders.us", "orders.uk"), ("orders.eu", "orders.eu"), ("a", "b")] {
            assert!(Arc::ptr_eq(&of(one), &of(other)), "{one} {other}");
        }
        assert_eq!(settings.clone().stream(&"orders.eu".parse().unwrap()), of("orders.eu"));
    }

    #[test]
    fn the_longest_retention_wins() {
        let hours = |hours| Duration::from_hours(hours);
        let keep = |name: &str, retention: u64| {
            let retention = Some(hours(retention));
            (Pattern::new(name), StreamOverlay { retention, ..StreamOverlay::default() })
        };
        for (overlays, longest) in [
            (vec![], 24),
            (vec![keep("a", 1)], 24),
            (vec![keep("*", 1)], 1),
            (vec![keep("*", 1), keep("a", 3), keep("b.*", 2)], 3),
        ] {
            let streams = StreamTable::new(overlays);
            let settings = Settings { streams, ..Settings::default() };
            assert_eq!(settings.longest_retention(), hours(longest), "{settings:?}");
        }
    }
}
