//! What a destination has yet to take of one stream.

use rollcall_common::{
    ids::{Position, Sequence},
    time::Time,
};

use crate::record::{Batching, SequenceRange};

/// What a destination has yet to take of one stream.
#[derive(Debug)]
pub(super) struct StreamCursor {
    /// The first that is not done.
    pub(super) next: Sequence,
    /// The last that is there.
    pub(super) last: Sequence,
    /// The lowest position that `next` can have.
    pub(super) floor: Position,
    /// How the next ones travel together, where that is fixed.
    pub(super) batching: Option<Batching>,
    /// Soft.
    pub(super) state: CursorState,
    /// Tries of `next` that failed. Soft.
    pub(super) tries: u32,
    /// How many of them in a row were refusals of this very result. Soft.
    pub(super) rejections: u32,
    /// What the destination said of it last. Soft.
    pub(super) error: Option<Box<str>>,
}

/// Refusals of one result in a row after which its stream is held: people are told.
pub(super) const REJECTIONS: u32 = 5;

impl StreamCursor {
    /// A cursor that begins with these results.
    pub(super) fn new(run: SequenceRange) -> Self {
        Self {
            next: run.first,
            last: run.last,
            floor: run.position,
            batching: None,
            state: CursorState::Idle,
            tries: 0,
            rejections: 0,
            error: None,
        }
    }

    /// Whether the destination refused its next result again and again.
    pub(super) fn is_held(&self) -> bool {
        self.rejections >= REJECTIONS
    }

    /// When it is tried again, if it waits for that.
    pub(super) fn due(&self) -> Option<Time> {
        match self.state {
            CursorState::Waiting { due } => Some(due),
            CursorState::Idle | CursorState::Ready | CursorState::Sending => None,
        }
    }

    /// The destination has all up to and with `through`.
    pub(super) fn done(&mut self, through: Sequence, floor: Position) {
        self.next = self.next.max(through.next());
        self.floor = floor;
        self.batching = self.batching.filter(|batching| batching.through >= self.next);
        (self.tries, self.rejections, self.error) = (0, 0, None);
    }

    /// What is before `first` is not there any more, be it done or not.
    pub(super) fn go_on_from(&mut self, first: Sequence) {
        self.next = self.next.max(first);
        self.last = first.before();
        // What was refused, or was to be sent together, is gone.
        self.rejections = 0;
        self.batching = None;
    }

    /// Whether the destination has all of it. Such a cursor stays while its sender is at it, and
    /// while the subscription catches up: a sender reads on where no scan has been yet, and what
    /// it has delivered there must not be sent again when the scan comes by.
    pub(super) fn is_empty(&self) -> bool {
        self.next > self.last
    }
}

/// What a cursor does.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum CursorState {
    /// It has something to send, and nobody has put it in line yet.
    Idle,
    /// It waits for its turn.
    Ready,
    /// A request is out.
    Sending,
    /// It waits for its next try.
    Waiting { due: Time },
}
