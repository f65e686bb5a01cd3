//! What the dispatcher is told: how each stream and each pool is to be treated. Plain values,
//! already checked; reading the configuration is [`crate::config`]'s.

use std::{sync::Arc, time::Duration};

use rollcall_common::{backoff::Ladder, ids::StreamName, protocol::DEFAULT_POOL};

/// What a stream does at a parked head.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum OnExhausted {
    /// Wait for a decision.
    Hold,
    /// Record a skip and go on.
    Skip,
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
        }
    }
}

/// When a worker is taken out for failing.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct PoolSettings {
    /// Strikes in a row that take a worker out.
    pub eject_after: u32,
    /// For how long, times the times in a row.
    pub eject_for: Duration,
}

impl Default for PoolSettings {
    fn default() -> Self {
        Self {
            eject_after: 5,
            eject_for: Duration::from_secs(30),
        }
    }
}

/// All that the dispatcher is told.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Whether a stream comes into being with its first message.
    pub create_streams: bool,
    /// Treatment of the streams that match a pattern, the most specific pattern first; each is
    /// whole (patterns that match the same stream have been laid over each other before).
    pub streams: Vec<(Pattern, Arc<StreamSettings>)>,
    /// Treatment of all other streams.
    pub default_stream: Arc<StreamSettings>,
    /// Treatment of pools, by name.
    pub pools: Vec<(Arc<str>, PoolSettings)>,
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
            streams: Vec::new(),
            default_stream: Arc::default(),
            pools: Vec::new(),
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
        let found = self
            .streams
            .iter()
            .find(|(pattern, _)| pattern.matches(name.as_str()));
        Arc::clone(found.map_or(&self.default_stream, |(_, settings)| settings))
    }

    /// How the pool `name` is treated.
    #[must_use]
    pub fn pool(&self, name: &str) -> PoolSettings {
        let found = self.pools.iter().find(|(pool, _)| &**pool == name);
        found.map_or_else(PoolSettings::default, |(_, settings)| settings.clone())
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
            assert_eq!(
                Pattern::new(pattern).matches(name),
                fits,
                "{pattern} {name}"
            );
        }
    }
}
