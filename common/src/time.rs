//! Time as the dispatcher sees it: one number that never goes back.
//!
//! Deadlines have to survive a restart, so they are journaled as wall-clock numbers; but a wall
//! clock jumps. [`Clock`] reads the wall once, when it starts, and counts on with the monotonic
//! clock: a jump of the wall clock during a run moves no deadline. This is the only place that
//! reads a clock. The monotonic one is the runtime's: the system's, unless a test drives it.

use std::{
    fmt,
    ops::{Add, Sub},
    str::FromStr,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use jiff::{Timestamp, fmt::temporal::DateTimePrinter};
use serde::{Serialize, Serializer};
use tokio::time::Instant;

/// A moment, in microseconds since the Unix epoch as the process counts them.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Time(u64);

impl Time {
    /// The moment that lies `micros` microseconds after the Unix epoch.
    #[must_use]
    pub const fn from_micros(micros: u64) -> Self {
        Self(micros)
    }

    /// Microseconds since the Unix epoch.
    #[must_use]
    pub const fn as_micros(self) -> u64 {
        self.0
    }

    /// Whole milliseconds since the Unix epoch.
    #[must_use]
    pub const fn as_millis(self) -> u64 {
        self.0 / 1_000
    }

    /// Whole seconds since the Unix epoch.
    #[must_use]
    pub const fn as_secs(self) -> u64 {
        self.0 / 1_000_000
    }

    /// Adds itself to `text`: RFC 3339 with milliseconds, in UTC. What is later than the year 9999
    /// is its last moment.
    pub fn write_rfc3339(self, text: &mut Vec<u8>) {
        let micros = i64::try_from(self.0).unwrap_or(i64::MAX);
        match Timestamp::from_microsecond(micros) {
            // Writing to memory does not fail.
            Ok(moment) => drop(RFC3339.print_timestamp(&moment, text)),
            Err(_) => text.extend_from_slice(b"9999-12-31T23:59:59.999Z"),
        }
    }

    /// How long after `earlier` this is; zero when it is not after it.
    #[must_use]
    pub const fn since(self, earlier: Self) -> Duration {
        Duration::from_micros(self.0.saturating_sub(earlier.0))
    }
}

/// How moments are written.
const RFC3339: DateTimePrinter = DateTimePrinter::new().precision(Some(3));

impl Add<Duration> for Time {
    type Output = Self;

    fn add(self, span: Duration) -> Self {
        Self(self.0.saturating_add(u64::try_from(span.as_micros()).unwrap_or(u64::MAX)))
    }
}

impl Sub<Duration> for Time {
    type Output = Self;

    fn sub(self, span: Duration) -> Self {
        Self(self.0.saturating_sub(u64::try_from(span.as_micros()).unwrap_or(u64::MAX)))
    }
}

/// RFC 3339, with any zone.
impl FromStr for Time {
    type Err = BadTime;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let moment: Timestamp = text.parse().map_err(|_| BadTime)?;
        // What lies before the epoch is its beginning.
        Ok(Self(u64::try_from(moment.as_microsecond()).unwrap_or_default()))
    }
}

/// Text that is no moment.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("a time is written as 2026-01-31T23:00:00Z")]
pub struct BadTime;

/// RFC 3339 with milliseconds, in UTC.
impl fmt::Display for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = Vec::new();
        self.write_rfc3339(&mut text);
        f.pad(str::from_utf8(&text).unwrap_or_default())
    }
}

impl Serialize for Time {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// The process's clock: the wall clock's reading at the start, counted on monotonically.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    base: Time,
    started: Instant,
}

impl Clock {
    /// Starts a clock at the wall clock's reading, or at `not_before` if the wall is behind it.
    #[must_use]
    #[expect(clippy::disallowed_methods, reason = "this is where the clock is read")]
    pub fn start(not_before: Time) -> Self {
        let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let wall = Time(u64::try_from(wall.as_micros()).unwrap_or(u64::MAX));
        Self::at(wall.max(not_before))
    }

    /// A clock that shows `base` now.
    #[must_use]
    #[expect(clippy::disallowed_methods, reason = "this is where the clock is read")]
    pub fn at(base: Time) -> Self {
        Self { base, started: Instant::now() }
    }

    /// The present moment.
    #[must_use]
    pub fn now(&self) -> Time {
        self.base + self.started.elapsed()
    }

    /// How long from now until `deadline`; zero when it has passed.
    #[must_use]
    pub fn until(&self, deadline: Time) -> Duration {
        deadline.since(self.now())
    }
}

/// Whether a text is a time of RFC 3339.
#[must_use]
pub fn is_rfc3339(text: &str) -> bool {
    text.parse::<Timestamp>().is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prints_as_rfc_3339() {
        assert_eq!(Time::from_micros(1_500).to_string(), "1970-01-01T00:00:00.001Z");
        assert_eq!(Time::from_micros(u64::MAX).to_string(), "9999-12-31T23:59:59.999Z");
    }

    #[test]
    fn starts_no_earlier_than_told() {
        let far = Time::from_micros(u64::MAX / 2);
        assert!(Clock::start(far).now() >= far);
    }
}
