//! One released result, as the index of positions has it: fixed in width, so that a position is
//! a place in a file.
//!
//! ```text
//!   0        4          12      20      24   32         40     48      52     53
//!   │ stream │ sequence │ entry │ index │ at │ previous │ leap │ skips │ kind │
//! ```
//!
//! The rows of one stream are linked backwards: `previous` is the position of the sequence before
//! it, `leap` that of the sequence with its lowest set bit cleared. So any sequence of a stream is
//! found from its newest one in about log² steps, without an index per stream.

use rollcall_common::{
    ids::{Position, Sequence, StreamId},
    time::Time,
};

use super::Place;
use crate::journal::EntryNumber;

/// Bytes of a row.
pub(super) const ROW_BYTES: usize = 53;

const PASSED: u8 = 1;
const SKIPPED: u8 = 2;

/// Where a result comes from.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Kind {
    /// From an answer.
    Answered,
    /// It is the message itself.
    Passed,
    /// There is none.
    Skipped,
}

/// One released result.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Row {
    pub(super) stream: StreamId,
    pub(super) sequence: Sequence,
    /// Where it lies; `None`: a copy of it is yet to come.
    pub(super) place: Option<Place>,
    /// When it was released.
    pub(super) at: Time,
    /// The stream's sequence before it; 0: not there.
    pub(super) previous: Position,
    /// The stream's sequence with the lowest set bit cleared; 0: not there.
    pub(super) leap: Position,
    /// How many sequences right before it were skipped.
    pub(super) skips: u32,
    pub(super) kind: Kind,
}

impl Row {
    /// The sequence that `leap` leads to.
    pub(super) fn leap_sequence(&self) -> Sequence {
        Sequence(self.sequence.0 & (self.sequence.0.wrapping_sub(1)))
    }

    /// Adds its bytes.
    pub(super) fn encode(&self, bytes: &mut Vec<u8>) {
        let place = self.place.unwrap_or(Place { entry: EntryNumber(0), index: 0 });
        let flags = match self.kind {
            Kind::Answered => 0,
            Kind::Passed => PASSED,
            Kind::Skipped => SKIPPED,
        };
        bytes.extend_from_slice(&self.stream.0.to_le_bytes());
        bytes.extend_from_slice(&self.sequence.0.to_le_bytes());
        bytes.extend_from_slice(&place.entry.0.to_le_bytes());
        bytes.extend_from_slice(&place.index.to_le_bytes());
        bytes.extend_from_slice(&self.at.as_micros().to_le_bytes());
        bytes.extend_from_slice(&self.previous.0.to_le_bytes());
        bytes.extend_from_slice(&self.leap.0.to_le_bytes());
        bytes.extend_from_slice(&self.skips.to_le_bytes());
        bytes.push(flags);
    }

    /// The row that has these bytes; `None` if there are too few.
    pub(super) fn decode(bytes: &[u8]) -> Option<Self> {
        let u32_at = |at: usize| {
            let field = bytes.get(at..at + 4)?.try_into().ok()?;
            Some(u32::from_le_bytes(field))
        };
        let u64_at = |at: usize| {
            let field = bytes.get(at..at + 8)?.try_into().ok()?;
            Some(u64::from_le_bytes(field))
        };
        let entry = EntryNumber(u64_at(12)?);
        let place = Place { entry, index: u32_at(20)? };
        Some(Self {
            stream: StreamId(u32_at(0)?),
            sequence: Sequence(u64_at(4)?),
            place: Some(place).filter(|place| place.entry.0 > 0),
            at: Time::from_micros(u64_at(24)?),
            previous: Position(u64_at(32)?),
            leap: Position(u64_at(40)?),
            skips: u32_at(48)?,
            kind: match *bytes.get(52)? {
                PASSED => Kind::Passed,
                SKIPPED => Kind::Skipped,
                _ => Kind::Answered,
            },
        })
    }
}
