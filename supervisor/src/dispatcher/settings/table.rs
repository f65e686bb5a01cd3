//! What patterns of streams change of their settings, and which stream gets what.

use std::{
    collections::BTreeMap,
    sync::{Arc, OnceLock},
    time::Duration,
};

use arc_swap::ArcSwap;
use rollcall_common::backoff::Ladder;

use super::{Hedging, OnExhausted, Pattern, StreamSettings};

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
    /// Neither wait nor timeout grows beyond this.
    pub max_delay: Option<Duration>,
    /// No message is parked before it has been tried for that long.
    pub retry_for: Option<Duration>,
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
                max_delay: self.max_delay.unwrap_or(ladder.max_delay),
            },
            retry_for: self.retry_for.or(under.retry_for),
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
                exact.insert(pattern.as_str().into(), Exact { overlay, whole });
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
    pub(super) fn whole(&self, name: &str, base: &Arc<StreamSettings>) -> Arc<StreamSettings> {
        match self.exact.get(name) {
            None => self.of_wild(name, base),
            Some(Exact { overlay, whole }) => {
                Arc::clone(whole.get_or_init(|| Arc::new(overlay.over(&self.of_wild(name, base)))))
            }
        }
    }

    pub(super) fn longest_retention(&self, otherwise: Duration) -> Duration {
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
