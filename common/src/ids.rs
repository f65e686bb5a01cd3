//! Names and numbers. Each is its own type, so that a sequence can't be passed for a position.

use std::{fmt, num::NonZeroU64, str::FromStr, sync::Arc};

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::{
    limits::{LARGEST_NUMBER, STREAM_NAME_BYTES, STREAMS},
    time::Time,
};

/// The name of a stream: 1 to 128 characters of `A-Z a-z 0-9 . _ -`, and neither `.` nor `..`.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct StreamName(Arc<str>);

impl StreamName {
    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// A name that a journal has. Once `.` and `..` were names as well.
    ///
    /// # Errors
    /// When it never was one.
    pub fn recorded(text: &str) -> Result<Self, BadStreamName> {
        let fits = (1..=STREAM_NAME_BYTES).contains(&text.len());
        let plain = text.bytes().all(|b| b.is_ascii_alphanumeric() || b".-_".contains(&b));
        if fits && plain { Ok(Self(text.into())) } else { Err(BadStreamName) }
    }
}

/// Whether a text is what clients take out of a path (RFC 3986 §5.2.4): nobody could reach what
/// bears that name.
#[must_use]
pub fn is_dots(text: &str) -> bool {
    matches!(text, "." | "..")
}

impl FromStr for StreamName {
    type Err = BadStreamName;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if is_dots(text) { Err(BadStreamName) } else { Self::recorded(text) }
    }
}

impl fmt::Display for StreamName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Serialize for StreamName {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for StreamName {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

/// Text that is not a stream's name.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error(
    "a stream's name is 1 to 128 characters of A-Z, a-z, 0-9, '.', '_' and '-', and neither \".\" \
     nor \"..\""
)]
pub struct BadStreamName;

/// The number of a stream inside one journal, given at its first message. Dense, from 0.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct StreamId(pub u32);

impl StreamId {
    /// The number of the stream that is opened after `count` others.
    ///
    /// # Panics
    /// When there is no number left: [`STREAMS`] refuses long before, and two streams under one
    /// number would be one.
    #[must_use]
    pub fn after(count: usize) -> Self {
        assert!(count <= STREAMS, "a journal has at most {STREAMS} streams");
        Self(u32::try_from(count).expect("the number of streams is bounded"))
    }

    /// The number after this one.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }
}

/// Reads a number from outside: digits alone, and at most [`LARGEST_NUMBER`], so that counting on
/// from it can't overflow.
///
/// # Errors
/// When it is no such number.
pub fn parse_number(text: &str) -> Result<u64, BadNumber> {
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let number = text.parse().ok().filter(|number| digits && *number <= LARGEST_NUMBER);
    number.ok_or(BadNumber)
}

/// Text that is no number, or a number that is too large.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("expected a whole number of at most {LARGEST_NUMBER}")]
pub struct BadNumber;

fn deserialize_number<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
    let number = u64::deserialize(deserializer)?;
    if number <= LARGEST_NUMBER { Ok(number) } else { Err(serde::de::Error::custom(BadNumber)) }
}

/// The 1-based, gap-free number of a message in its stream: arrival order.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(transparent)]
pub struct Sequence(#[serde(deserialize_with = "deserialize_number")] pub u64);

impl Sequence {
    /// The first message of a stream.
    pub const FIRST: Self = Self(1);

    /// The sequence after this one.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }

    /// The sequence before this one; 0 stands before the first.
    #[must_use]
    pub const fn before(self) -> Self {
        Self(self.0.saturating_sub(1))
    }
}

impl FromStr for Sequence {
    type Err = BadNumber;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        parse_number(text).map(Self)
    }
}

impl fmt::Display for Sequence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The 1-based, gap-free number of a released result over all streams of one journal. As a
/// checkpoint or an `after`, 0 stands for "before the first".
#[derive(
    Clone, Copy, Debug, Default, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize,
)]
#[serde(transparent)]
pub struct Position(#[serde(deserialize_with = "deserialize_number")] pub u64);

impl Position {
    /// The position after this one.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }

    /// The position before this one; 0 stands before the first.
    #[must_use]
    pub const fn before(self) -> Self {
        Self(self.0.saturating_sub(1))
    }
}

impl FromStr for Position {
    type Err = BadNumber;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        parse_number(text).map(Self)
    }
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The number of a supervisor's turn at leading a journal. It only grows; what an older epoch
/// still tries to write is refused.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct Epoch(pub NonZeroU64);

impl Epoch {
    /// The first epoch of a new journal.
    pub const FIRST: Self = Self(NonZeroU64::MIN);

    /// The epoch after this one.
    #[must_use]
    pub fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }
}

impl fmt::Display for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The identity of a message: a UUID of version 7 (RFC 9562), so ids sort by their time.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(transparent)]
pub struct MessageId(pub Uuid);

impl MessageId {
    /// A new id for a message taken in at `now`, with 74 bits from the caller's dice.
    #[must_use]
    pub fn new(now: Time, rng: &mut fastrand::Rng) -> Self {
        let mut random = [0_u8; 10];
        rng.fill(&mut random);
        Self(uuid::Builder::from_unix_timestamp_millis(now.as_millis(), &random).into_uuid())
    }
}

impl fmt::Display for MessageId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.hyphenated().fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stream_names_are_checked() {
        for good in ["a", "orders", "customer.42_x-Y", &"x".repeat(128)] {
            assert_eq!(good.parse::<StreamName>().unwrap().as_str(), good);
        }
        for good in ["...", "a..b", ".a"] {
            assert_eq!(good.parse::<StreamName>().unwrap().as_str(), good);
        }
        for dots in [".", ".."] {
            assert_eq!(dots.parse::<StreamName>(), Err(BadStreamName), "{dots:?}");
            assert_eq!(StreamName::recorded(dots).unwrap().as_str(), dots);
        }
        for bad in ["", "a/b", "../x", "a b", "ü", "a\0", &"x".repeat(129)] {
            assert_eq!(bad.parse::<StreamName>(), Err(BadStreamName), "{bad:?}");
        }
    }

    #[test]
    fn numbers_from_outside_leave_room_to_count_on() {
        let largest = LARGEST_NUMBER.to_string();
        assert_eq!("0".parse(), Ok(Position(0)));
        assert_eq!(largest.parse(), Ok(Sequence(LARGEST_NUMBER)));
        assert_eq!(serde_json::from_str::<Position>(&largest).unwrap().0, LARGEST_NUMBER);
        let beyond = ["9223372036854775808", "18446744073709551615", "18446744073709551616"];
        for bad in beyond.into_iter().chain(["", "+1", "-1", "1.0", " 1", "1e3", "x"]) {
            assert_eq!(bad.parse::<Position>(), Err(BadNumber), "{bad:?}");
            assert_eq!(bad.parse::<Sequence>(), Err(BadNumber), "{bad:?}");
        }
        for bad in beyond {
            assert!(serde_json::from_str::<Sequence>(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn counting_ends_at_the_ends() {
        assert_eq!(Position(u64::MAX).next(), Position(u64::MAX));
        assert_eq!(Sequence(u64::MAX).next(), Sequence(u64::MAX));
        assert_eq!((Position(0).before(), Sequence(0).before()), (Position(0), Sequence(0)));
        assert_eq!(StreamId::after(7), StreamId(7));
    }

    #[test]
    fn ids_are_version_7_and_sort_by_time() {
        let mut rng = fastrand::Rng::with_seed(1);
        let early = MessageId::new(Time::from_micros(1_000_000_000), &mut rng);
        let late = MessageId::new(Time::from_micros(2_000_000_000), &mut rng);
        assert_eq!(early.0.get_version_num(), 7);
        assert!(early < late);
    }
}
