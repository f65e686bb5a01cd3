//! Where entries are in a segment: a few points, between which is searched.

use super::segment;

/// About how far apart the points are.
const STEP: u64 = 16 << 10;

/// Where entries are in a segment.
#[derive(Clone, Debug)]
pub(super) struct Index {
    first: u64,
    /// Entry (less the first one's number) and offset, both rising. Half as wide as they could be:
    /// this is what a long journal costs in memory.
    points: Vec<(u32, u32)>,
    due: u64,
}

/// An entry and where its frame begins.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Point {
    /// The entry's number.
    pub(super) number: u64,
    /// The frame's offset.
    pub(super) offset: u64,
}

impl Index {
    /// The index of a segment that begins with entry `first`.
    pub(super) fn new(first: u64) -> Self {
        Self { first, points: Vec::new(), due: segment::HEADER_BYTES + STEP }
    }

    /// Whether [`note`](Self::note) would keep a point at this offset.
    pub(super) fn wants(&self, offset: u64) -> bool {
        offset >= self.due
    }

    /// Keeps the point, if it is far enough from the one before.
    pub(super) fn note(&mut self, point: Point) {
        let number = u32::try_from(point.number.saturating_sub(self.first));
        let offset = u32::try_from(point.offset);
        if let (true, Ok(number), Ok(offset)) = (self.wants(point.offset), number, offset) {
            self.points.push((number, offset));
            self.due = point.offset + STEP;
        }
    }

    /// The nearest point at or before entry `number`.
    pub(super) fn find(&self, number: u64) -> Point {
        let distance = number.saturating_sub(self.first);
        let after = self.points.partition_point(|(point, _)| u64::from(*point) <= distance);
        let at = after.checked_sub(1).and_then(|at| self.points.get(at));
        at.map_or(
            Point { number: self.first, offset: segment::HEADER_BYTES },
            |(number, offset)| Point {
                number: self.first + u64::from(*number),
                offset: u64::from(*offset),
            },
        )
    }
}
