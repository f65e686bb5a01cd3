//! What a destination has yet to take of one stream.

use rollcall_common::{
    ids::{Position, Sequence},
    time::Time,
};

use crate::record::Found;

/// What a destination has yet to take of one stream.
#[derive(Debug)]
pub(super) struct Lane {
    /// The first that is not done.
    pub(super) next: Sequence,
    /// The last that is there.
    pub(super) last: Sequence,
    /// The lowest position that `next` can have.
    pub(super) floor: Position,
    /// Soft.
    pub(super) state: LaneState,
    /// Tries of `next` that failed. Soft.
    pub(super) tries: u32,
    /// How many of them in a row were refusals of this very result. Soft.
    pub(super) rejections: u32,
}

impl Lane {
    /// A lane that begins with these results.
    pub(super) fn new(run: Found) -> Self {
        Self {
            next: run.first,
            last: run.last,
            floor: run.position,
            state: LaneState::Idle,
            tries: 0,
            rejections: 0,
        }
    }

    /// Whether the destination has all of it. Such a lane stays while its sender is at it, and
    /// while the subscription catches up: a sender reads on where no scan has been yet, and what
    /// it has delivered there must not be sent again when the scan comes by.
    pub(super) fn is_empty(&self) -> bool {
        self.next > self.last
    }
}

/// What a lane does.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum LaneState {
    /// It waits for a person: the destination refused a result again and again.
    Held,
    /// It has something to send, and nobody has put it in line yet.
    Idle,
    /// It waits for its turn.
    Ready,
    /// A request is out.
    Sending,
    /// It waits for its next try.
    Waiting { due: Time },
}
