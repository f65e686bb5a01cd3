//! Sizes that a journal is opened with.

use super::{frame, segment};

/// Sizes that a journal is opened with.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Options {
    /// How large a segment grows, in bytes. Only a single entry that needs more gets more.
    pub segment_bytes: u64,
    /// How much is kept written with zeros ahead of the log, so that it can go on for a while
    /// when the disk is full.
    pub reserve_bytes: u64,
    /// By how much the zeros are extended at a time.
    pub extend_bytes: u64,
}

impl Default for Options {
    fn default() -> Self {
        Self { segment_bytes: 64 << 20, reserve_bytes: 8 << 20, extend_bytes: 1 << 20 }
    }
}

impl Options {
    /// The nearest sizes that can work. One segment and the one prepared next must be able to
    /// hold the reserve.
    pub(super) fn clamped(self) -> Self {
        let overhead = segment::HEADER_BYTES + frame::MARK_BYTES;
        let segment_bytes = self.segment_bytes.clamp(2 * overhead, 1 << 30);
        Self {
            segment_bytes,
            reserve_bytes: self.reserve_bytes.min(segment_bytes - overhead),
            extend_bytes: self.extend_bytes.clamp(512, segment_bytes),
        }
    }
}
