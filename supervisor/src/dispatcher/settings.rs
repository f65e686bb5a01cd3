//! What the dispatcher is told: how each stream and each pool is to be treated. Plain values,
//! already checked; reading the configuration is [`crate::config`]'s.

use std::{
    collections::BTreeMap,
    sync::{Arc, OnceLock},
    time::Duration,
};

use arc_swap::ArcSwap;
use rollcall_common::{
    backoff::Ladder, ids::StreamName, limits::HOLD_ALERT_AFTER, protocol::DEFAULT_POOL,
};

use crate::record::Severity;

/// How long results are kept, where nothing else is said.
const RETENTION: Duration = Duration::from_hours(24);

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
}

impl Default for PoolSettings {
    fn default() -> Self {
        let budget = BudgetSettings::default();
        Self { eject_after: 5, eject_for: Duration::from_secs(30), budget }
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
    /// What patterns of streams change.
    pub streams: StreamTable,
    /// Treatment of streams that no pattern fits.
    pub default_stream: Arc<StreamSettings>,
    /// Treatment of pools, by name.
    pub pools: Vec<(Arc<str>, PoolSettings)>,
    /// Who is told of alerts.
    pub alert_targets: Vec<AlertTarget>,
    /// How often a registered worker is to be heard.
    pub heartbeat: Duration,
    /// Requests to one push subscription's destination at once (one per stream at most).
    pub deliveries_at_once: usize,
    /// How many of the newest releases are kept at hand, so that a subscription that catches up
    /// can join the present without a gap.
    pub recent: usize,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            create_streams: true,
            streams: StreamTable::default(),
            default_stream: Arc::default(),
            pools: Vec::new(),
            alert_targets: Vec::new(),
            heartbeat: Duration::from_secs(2),
            deliveries_at_once: 64,
            recent: 65_536,
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

/// Where a stream's messages become results.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Processing {
    /// Nowhere: they are their own results.
    None,
    /// In this pool of workers.
    Pool(Arc<str>),
}

/// What one pattern changes of [`StreamSettings`]; what is absent stays as it is.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct StreamOverlay {
    /// Where messages become results.
    pub processing: Option<Processing>,
    /// How long the first attempt may take.
    pub timeout: Option<Duration>,
    /// Bound of the first random wait.
    pub jitter: Option<Duration>,
    /// Growth per failure, in thousandths.
    pub multiplier_permille: Option<u32>,
    /// Failures after which a message is parked.
    pub max_attempts: Option<u32>,
    /// At a parked head.
    pub on_exhausted: Option<OnExhausted>,
    /// Calls at once.
    pub max_in_flight: Option<u32>,
    /// Messages dispatched ahead of the oldest unreleased one, which counts too.
    pub window: Option<u32>,
    /// Unreleased messages at which intake is refused.
    pub max_backlog: Option<u64>,
    /// How long the head may stand still before an alert says so.
    pub hold_alert_after: Option<Duration>,
    /// Whether slow attempts get a copy.
    pub hedge: Option<Hedging>,
    /// How long its results are kept, at least.
    pub retention: Option<Duration>,
}

impl StreamOverlay {
    /// `under` with this laid over it.
    #[must_use]
    pub fn over(&self, under: &StreamSettings) -> StreamSettings {
        let ladder = under.ladder;
        StreamSettings {
            pool: match &self.processing {
                None => under.pool.clone(),
                Some(Processing::None) => None,
                Some(Processing::Pool(name)) => Some(Arc::clone(name)),
            },
            ladder: Ladder {
                timeout: self.timeout.unwrap_or(ladder.timeout),
                jitter: self.jitter.unwrap_or(ladder.jitter),
                multiplier_permille: self.multiplier_permille.unwrap_or(ladder.multiplier_permille),
                max_attempts: self.max_attempts.unwrap_or(ladder.max_attempts),
            },
            on_exhausted: self.on_exhausted.unwrap_or(under.on_exhausted),
            max_in_flight: self.max_in_flight.unwrap_or(under.max_in_flight),
            window: self.window.unwrap_or(under.window),
            max_backlog: self.max_backlog.unwrap_or(under.max_backlog),
            hold_alert_after: self.hold_alert_after.unwrap_or(under.hold_alert_after),
            hedge: self.hedge.unwrap_or(under.hedge),
            retention: self.retention.unwrap_or(under.retention),
        }
    }
}

/// Most combinations of patterns whose settings are shared.
const SHARED: usize = 1024;

/// What patterns of streams change, laid over each other key by key: the most specific wins.
/// Streams that the same patterns fit share their settings.
#[derive(Debug, Default)]
pub struct StreamTable {
    /// Patterns that are one stream's name.
    exact: BTreeMap<Box<str>, Exact>,
    /// Patterns with `*`, the least specific first.
    wild: Vec<(Pattern, StreamOverlay)>,
    /// What was put together, by the places in `wild` that fit.
    shared: ArcSwap<BTreeMap<Box<[usize]>, Arc<StreamSettings>>>,
}

#[derive(Debug)]
struct Exact {
    overlay: StreamOverlay,
    whole: OnceLock<Arc<StreamSettings>>,
}

impl Clone for StreamTable {
    fn clone(&self) -> Self {
        Self::new(
            self.exact
                .iter()
                .map(|(name, exact)| (Pattern::new(name), exact.overlay.clone()))
                .chain(self.wild.iter().cloned()),
        )
    }
}

impl StreamTable {
    /// The table of these patterns, in any order.
    #[must_use]
    pub fn new(overlays: impl IntoIterator<Item = (Pattern, StreamOverlay)>) -> Self {
        let (mut exact, mut wild) = (BTreeMap::new(), Vec::new());
        for (pattern, overlay) in overlays {
            if pattern.specificity().0 {
                let whole = OnceLock::new();
                exact.insert(pattern.0, Exact { overlay, whole });
            } else {
                wild.push((pattern, overlay));
            }
        }
        // Equally specific patterns need some order, and it must not be the file's.
        wild.sort_by(|(a, _), (b, _)| (a.specificity(), a).cmp(&(b.specificity(), b)));
        Self { exact, wild, shared: ArcSwap::default() }
    }

    /// The whole settings of the stream `name`, all patterns laid over `base`, which is always
    /// the same one.
    fn whole(&self, name: &str, base: &Arc<StreamSettings>) -> Arc<StreamSettings> {
        match self.exact.get(name) {
            None => self.of_wild(name, base),
            Some(Exact { overlay, whole }) => {
                Arc::clone(whole.get_or_init(|| Arc::new(overlay.over(&self.of_wild(name, base)))))
            }
        }
    }

    fn longest_retention(&self, otherwise: Duration) -> Duration {
        let every = self.wild.iter().find(|(pattern, _)| pattern.as_str() == "*");
        let base = every.and_then(|(_, overlay)| overlay.retention).unwrap_or(otherwise);
        let exact = self.exact.values().map(|exact| &exact.overlay);
        let overlays = self.wild.iter().map(|(_, overlay)| overlay).chain(exact);
        overlays.filter_map(|overlay| overlay.retention).max().map_or(base, |most| most.max(base))
    }

    fn of_wild(&self, name: &str, base: &Arc<StreamSettings>) -> Arc<StreamSettings> {
        let fits = |(_, (pattern, _)): &(usize, &(Pattern, StreamOverlay))| pattern.matches(name);
        let fitting = || self.wild.iter().enumerate().filter(fits);
        let places: Box<[usize]> = fitting().map(|(place, _)| place).collect();
        if places.is_empty() {
            return Arc::clone(base);
        }
        if let Some(found) = self.shared.load().get(&places) {
            return Arc::clone(found);
        }
        let laid = fitting()
            .fold(StreamSettings::clone(base), |under, (_, (_, overlay))| overlay.over(&under));
        let laid = Arc::new(laid);
        self.shared.rcu(|shared| {
            let mut shared = BTreeMap::clone(shared);
            // Names come from outside, and so does how many combinations they make.
            if shared.len() < SHARED {
                shared.entry(places.clone()).or_insert_with(|| Arc::clone(&laid));
            }
            shared
        });
        laid
    }
}

/// A stream's name with `*` for any run of characters.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct Pattern(Box<str>);

impl Pattern {
    /// The pattern `text`.
    #[must_use]
    pub fn new(text: &str) -> Self {
        Self(text.into())
    }

    /// The pattern as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// How specific it is: a pattern without `*` is more so than any with one, and otherwise the
    /// one with more fixed characters.
    #[must_use]
    pub fn specificity(&self) -> (bool, usize) {
        let fixed = self.0.bytes().filter(|b| *b != b'*').count();
        (fixed == self.0.len(), fixed)
    }

    /// Whether `name` fits.
    #[must_use]
    pub fn matches(&self, name: &str) -> bool {
        let mut parts = self.0.split('*');
        let Some(mut rest) = parts.next().and_then(|first| name.strip_prefix(first)) else {
            return false;
        };
        let Some(last) = parts.next_back() else {
            return rest.is_empty();
        };
        for part in parts {
            match rest.split_once(part) {
                Some((_, after)) => rest = after,
                None => return false,
            }
        }
        rest.ends_with(last)
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

    #[test]
    fn patterns_match_runs() {
        for (pattern, name, fits) in [
            ("orders", "orders", true),
            ("orders", "orders2", false),
            ("*", "anything", true),
            ("customer.*", "customer.7", true),
            ("customer.*", "customers", false),
            ("*.eu.*", "a.eu.b", true),
            ("a*a", "a", false),
            ("a*b*c", "a-b-b-c", true),
        ] {
            assert_eq!(Pattern::new(pattern).matches(name), fits, "{pattern} {name}");
        }
    }
}
