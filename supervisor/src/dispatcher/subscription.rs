//! One push subscription: how far its destination is, stream by stream.
//!
//! Results that the destination has yet to take form a *lane* per stream: a run of sequences, so
//! a destination that is down for a day costs memory for its streams, not for their results. At
//! the present (`scan` absent) lanes grow as results are released. A subscription that begins
//! further back *scans* the released results by position until it reaches the head.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::Arc,
};

use rollcall_common::{
    ids::{Position, Sequence, StreamId, StreamName},
    time::Time,
};

use super::settings::Pattern;
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

/// Whether a destination is there.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Presence {
    /// As far as is known.
    Here,
    /// It said that it is gone (`410`).
    Gone,
}

/// A push subscription.
#[derive(Debug)]
pub struct Subscription {
    pub(super) name: Arc<str>,
    pub(super) patterns: Vec<Pattern>,
    /// The last position that was looked at, while catching up; `None` at the present.
    pub(super) scan: Option<Position>,
    /// Results up to here are replayed: the head when it was created.
    pub(super) replay_until: Position,
    pub(super) lanes: BTreeMap<StreamId, Lane>,
    /// The lanes' floors, lowest first.
    pub(super) floors: BTreeSet<(Position, StreamId)>,
    // Soft from here on.
    /// Lanes that wait for their turn.
    pub(super) ready: VecDeque<StreamId>,
    /// Requests that are out.
    pub(super) sending: usize,
    /// Whether a scan is out.
    pub(super) scanning: bool,
    /// Whether the destination is there.
    pub(super) presence: Presence,
    /// What the destination last said when it did not take something.
    pub(super) last_error: Option<Box<str>>,
}

impl Subscription {
    pub(super) fn new(
        name: Arc<str>,
        patterns: Vec<Pattern>,
        after: Position,
        head: Position,
    ) -> Self {
        Self {
            name,
            patterns,
            scan: Some(after).filter(|after| *after < head),
            replay_until: head,
            lanes: BTreeMap::new(),
            floors: BTreeSet::new(),
            ready: VecDeque::new(),
            sending: 0,
            scanning: false,
            presence: Presence::Here,
            last_error: None,
        }
    }

    /// Whether it gets the results of the stream `name`.
    pub(super) fn wants(&self, name: &StreamName) -> bool {
        self.patterns.iter().any(|pattern| pattern.matches(name.as_str()))
    }

    /// Which streams it gets.
    pub(super) fn patterns(&self) -> Vec<Pattern> {
        self.patterns.clone()
    }

    /// The last position of which the destination has all up to it, `head` being the newest.
    pub(super) fn checkpoint(&self, head: Position) -> Position {
        let looked_at = self.scan.unwrap_or(head);
        match self.floors.first() {
            Some((floor, _)) => Position(floor.0 - 1).min(looked_at),
            None => looked_at,
        }
    }

    /// A result was released.
    pub(super) fn released(&mut self, stream: StreamId, sequence: Sequence, position: Position) {
        if self.scan.is_none() {
            self.extend(Found { stream, first: sequence, position, last: sequence });
        }
    }

    /// Results up to `to` were looked at.
    pub(super) fn scanned(&mut self, to: Position, found: &[Found], head: Position) {
        for run in found {
            self.extend(*run);
        }
        self.scan = Some(to).filter(|to| *to < head);
        if self.scan.is_none() {
            self.lanes.retain(|_, lane| !lane.is_empty() || lane.state == LaneState::Sending);
        }
    }

    /// The destination has taken a stream's results up to and with `through`.
    pub(super) fn done(&mut self, stream: StreamId, through: Sequence, floor: Position) {
        let Some(lane) = self.lanes.get_mut(&stream) else {
            return;
        };
        self.floors.remove(&(lane.floor, stream));
        lane.next = lane.next.max(through.next());
        lane.floor = floor;
        lane.tries = 0;
        lane.rejections = 0;
        if !lane.is_empty() {
            self.floors.insert((floor, stream));
        } else if lane.state != LaneState::Sending && self.scan.is_none() {
            self.lanes.remove(&stream);
        }
    }

    /// A sender has left a lane: whether it was there.
    pub(super) fn leave(&mut self, stream: StreamId) -> bool {
        let Some(lane) = self.lanes.get_mut(&stream) else {
            return false;
        };
        if lane.state != LaneState::Sending {
            return false;
        }
        lane.state = LaneState::Idle;
        if lane.is_empty() && self.scan.is_none() {
            self.lanes.remove(&stream);
        }
        true
    }

    /// Puts a lane in line for its turn, unless it is there, or sends, or waits.
    pub(super) fn line_up(&mut self, stream: StreamId) {
        if let Some(lane) = self.lanes.get_mut(&stream)
            && lane.state == LaneState::Idle
            && !lane.is_empty()
        {
            lane.state = LaneState::Ready;
            self.ready.push_back(stream);
        }
    }

    fn extend(&mut self, run: Found) {
        if let Some(lane) = self.lanes.get_mut(&run.stream) {
            assert_eq!(lane.last.next(), run.first, "a lane has no hole");
            let was_empty = lane.is_empty();
            lane.last = run.last;
            if was_empty && !lane.is_empty() {
                // Its sender may have been past the first of these.
                lane.floor = lane.floor.max(run.position);
                self.floors.insert((lane.floor, run.stream));
            }
            return;
        }
        let lane = Lane {
            next: run.first,
            last: run.last,
            floor: run.position,
            state: LaneState::Idle,
            tries: 0,
            rejections: 0,
        };
        self.lanes.insert(run.stream, lane);
        self.floors.insert((run.position, run.stream));
    }
}
