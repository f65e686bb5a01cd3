//! Time as the dispatcher sees it: one number that never goes back.
//!
//! Deadlines have to survive a restart, so they are journaled as wall-clock numbers; but a wall
//! clock jumps. [`Clock`] reads the wall once, when it starts, and counts on with the monotonic
//! clock: a jump of the wall clock during a run moves no deadline. This is the only place that
//! reads a clock. The monotonic one is the runtime's: the system's, unless a test drives it.

use std::{
    fmt,
    ops::{Add, Sub},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

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

    /// RFC 3339 with milliseconds, in UTC. What is later than the year 9999 is its last moment.
    #[must_use]
    pub fn to_rfc3339(self) -> [u8; 24] {
        let (days, of_day) = (self.0 / DAY, self.0 % DAY);
        let (year, month, day) = civil(days);
        if year > 9999 {
            return *b"9999-12-31T23:59:59.999Z";
        }
        let (millis, seconds) = (of_day / 1000 % 1000, of_day / 1_000_000);
        let (hour, minute, second) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
        let mut text = *b"0000-00-00T00:00:00.000Z";
        let [
            y1,
            y2,
            y3,
            y4,
            _,
            m1,
            m2,
            _,
            d1,
            d2,
            _,
            h1,
            h2,
            _,
            n1,
            n2,
            _,
            s1,
            s2,
            _,
            f1,
            f2,
            f3,
            _,
        ] = &mut text;
        put([y1, y2, y3, y4], year);
        put([m1, m2], month);
        put([d1, d2], day);
        put([h1, h2], hour);
        put([n1, n2], minute);
        put([s1, s2], second);
        put([f1, f2, f3], millis);
        text
    }

    /// How long after `earlier` this is; zero when it is not after it.
    #[must_use]
    pub const fn since(self, earlier: Self) -> Duration {
        Duration::from_micros(self.0.saturating_sub(earlier.0))
    }
}

/// Microseconds of a day.
const DAY: u64 = 86_400_000_000;

/// Year, month and day of a day since the Unix epoch, in the Gregorian calendar.
fn civil(days: u64) -> (u64, u64, u64) {
    // Years that begin in March: a leap day is the last of its year, its century, its 400 years.
    let days = days + 719_468;
    let (era, of_era) = (days / 146_097, days % 146_097);
    let year = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month + 2) / 5 + 1;
    let (month, next) = if month < 10 { (month + 3, 0) } else { (month - 9, 1) };
    (400 * era + year + next, month, day)
}

/// Writes the last decimal digits of `value`.
fn put<const N: usize>(digits: [&mut u8; N], mut value: u64) {
    for digit in digits.into_iter().rev() {
        *digit = b'0' + u8::try_from(value % 10).unwrap_or_default();
        value /= 10;
    }
}

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

/// RFC 3339 with milliseconds, in UTC.
impl fmt::Display for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(str::from_utf8(&self.to_rfc3339()).unwrap_or_default())
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prints_as_rfc_3339() {
        assert_eq!(Time::from_micros(1_500).to_string(), "1970-01-01T00:00:00.001Z");
        assert_eq!(Time::from_micros(u64::MAX).to_string(), "9999-12-31T23:59:59.999Z");
    }

    #[test]
    fn days_are_those_of_the_calendar() {
        let day = jiff::SignedDuration::from_hours(24);
        let mut calendar = jiff::Timestamp::UNIX_EPOCH;
        while let Ok(next) = calendar.checked_add(day * 7) {
            // Some moment of the day.
            let moment = calendar.as_second() * 1_000_000 + calendar.as_second() % 86_399_999_999;
            let expected = jiff::Timestamp::from_microsecond(moment).unwrap();
            let time = Time::from_micros(u64::try_from(moment).unwrap());
            assert_eq!(time.to_string(), format!("{expected:.3}"));
            calendar = next;
        }
    }

    #[test]
    fn starts_no_earlier_than_told() {
        let far = Time::from_micros(u64::MAX / 2);
        assert!(Clock::start(far).now() >= far);
    }
}
