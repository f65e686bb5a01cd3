//! One subscription: how far its destination or its reader is.
//!
//! Results that a destination has yet to take form a *cursor* per stream: a run of sequences, so
//! a destination that is down for a day costs memory for its streams, not for their results. At
//! the present (`scan` absent) cursors grow as results are released. A subscription that begins
//! further back *scans* the released results by position until it reaches the head. A pull
//! subscription has no cursors; its reader says how far it is.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::Arc,
};

use rollcall_common::{
    ids::{Position, Sequence, StreamId, StreamName},
    limits::PASSED_OVER,
    time::Time,
};

use super::{
    cursor::{CursorState, REJECTIONS, StreamCursor},
    event::Refusal,
    health::{Health, Rate},
    settings::Pattern,
};
use crate::record::{
    Batching, DeliveryMode, Gap, Origin, PauseReason, SequenceRange, SubscriptionSpec,
};

/// A subscription.
#[derive(Debug)]
pub struct Subscription {
    pub(super) name: Arc<str>,
    /// What it is meant to do.
    pub(super) plan: Arc<SubscriptionSpec>,
    pub(super) patterns: Vec<Pattern>,
    /// The last position that was looked at, while catching up; `None` at the present.
    pub(super) scan: Option<Position>,
    /// Results up to here are replayed: the head when it was created or rewound.
    pub(super) replay_until: Position,
    pub(super) cursors: BTreeMap<StreamId, StreamCursor>,
    /// The cursors' floors, lowest first.
    pub(super) floors: BTreeSet<(Position, StreamId)>,
    /// What the reader of a pull subscription has done.
    pub(super) pulled: Position,
    /// Why it stands still.
    pub(super) paused: Option<PauseReason>,
    /// Grows whenever senders and scans that are out are to come back.
    pub(super) revision: u32,
    /// How often it was rewound.
    pub(super) generation: u32,
    /// Results that a person had it go on without: kept for a while also when they lie behind,
    /// since what is sent next says what was sent before it.
    pub(super) passed_over: BTreeSet<(StreamId, Sequence)>,
    // Soft from here on.
    /// Streams whose sender is still out although its cursor is gone.
    pub(super) leaving: BTreeSet<StreamId>,
    /// Lanes that wait for their turn.
    pub(super) ready: VecDeque<StreamId>,
    /// Requests that are out.
    pub(super) sending: usize,
    /// Whether a scan is out.
    pub(super) scanning: bool,
    /// How the destination fares.
    pub(super) health: Health,
    /// What went out lately.
    pub(super) rate: Rate,
    /// A hole that was found.
    pub(super) gap: Option<Gap>,
    /// What was the head, and when, at the last look; it has yet to reach it.
    pub(super) mark: Option<(Position, Time)>,
}

impl Subscription {
    pub(super) fn new(
        name: Arc<str>,
        plan: Arc<SubscriptionSpec>,
        after: Position,
        head: Position,
    ) -> Self {
        let mut entry = Self {
            name,
            patterns: patterns(&plan),
            plan,
            scan: None,
            replay_until: head,
            cursors: BTreeMap::new(),
            floors: BTreeSet::new(),
            pulled: after,
            paused: None,
            revision: 0,
            generation: 0,
            passed_over: BTreeSet::new(),
            leaving: BTreeSet::new(),
            ready: VecDeque::new(),
            sending: 0,
            scanning: false,
            health: Health::default(),
            rate: Rate::default(),
            gap: None,
            mark: None,
        };
        entry.begin(after, head);
        entry
    }

    /// Whether it gets the results of the stream `name`.
    pub(super) fn wants(&self, name: &StreamName) -> bool {
        self.patterns.iter().any(|pattern| pattern.matches(name.as_str()))
    }

    /// Whether results of the stream `name` are to be sent to a destination.
    pub(super) fn is_sent(&self, name: &StreamName) -> bool {
        self.plan.way == DeliveryMode::Push && self.wants(name)
    }

    /// Which streams it gets.
    pub(super) fn patterns(&self) -> Vec<Pattern> {
        self.patterns.clone()
    }

    /// The last position of which the destination or the reader has all up to it, `head` being
    /// the newest.
    pub(super) fn checkpoint(&self, head: Position) -> Position {
        if self.plan.way == DeliveryMode::Pull {
            return self.pulled;
        }
        let looked_at = self.scan.unwrap_or(head);
        match self.floors.first() {
            Some((floor, _)) => floor.before().min(looked_at),
            None => looked_at,
        }
    }

    /// Whether nothing goes out: it is paused, or nobody wants it at present.
    pub(super) fn stands_still(&self) -> bool {
        self.paused.is_some() || self.plan.origin == Origin::Unconfigured
    }

    /// Whether one more request may go out, of at most `at_once`.
    pub(super) fn may_send(&self, at_once: usize) -> bool {
        !self.stands_still() && self.sending < self.health.room(at_once)
    }

    /// It is to do something else from now on, `head` being the newest position. Where it was is
    /// kept.
    pub(super) fn arrange(&mut self, plan: Arc<SubscriptionSpec>, head: Position) {
        let (before, checkpoint) = (self.plan.way, self.checkpoint(head));
        self.patterns = patterns(&plan);
        self.plan = plan;
        self.health = Health::default();
        self.gap = None;
        for cursor in self.cursors.values_mut() {
            (cursor.tries, cursor.rejections, cursor.error) = (0, 0, None);
        }
        self.recall();
        if before != self.plan.way {
            self.drop_cursors(|_| false);
            if before == DeliveryMode::Pull {
                // Which results its reader has beyond the checkpoint is not known.
                self.replay_until = head;
            }
            self.begin(checkpoint, head);
        }
    }

    /// Begins again after `to`, `head` being the newest position.
    pub(super) fn rewind(&mut self, to: Position, head: Position) {
        self.recall();
        self.drop_cursors(|_| false);
        self.health.forget_cursors();
        self.generation = self.generation.saturating_add(1);
        self.passed_over.clear();
        self.gap = None;
        self.replay_until = head;
        self.begin(to, head);
    }

    /// It goes on without one result. What is out is to come back, and sets out again without it.
    pub(super) fn pass_over(&mut self, stream: StreamId, sequence: Sequence) {
        if self.passed_over.len() >= PASSED_OVER
            && let Some(behind) = self.passed_over.iter().copied().find(|one| self.is_behind(*one))
        {
            self.passed_over.remove(&behind);
        }
        self.passed_over.insert((stream, sequence));
        self.recall();
    }

    /// Whether one more result can be passed over.
    pub(super) fn may_pass_over(&self) -> bool {
        self.passed_over.len() < PASSED_OVER
            || self.passed_over.iter().any(|one| self.is_behind(*one))
    }

    /// Those of a stream's results that it goes on without.
    pub(super) fn passed_over_of(&self, stream: StreamId) -> Vec<Sequence> {
        let all = (stream, Sequence(0))..=(stream, Sequence(u64::MAX));
        self.passed_over.range(all).map(|(_, sequence)| *sequence).collect()
    }

    fn is_behind(&self, (stream, sequence): (StreamId, Sequence)) -> bool {
        self.cursors.get(&stream).is_none_or(|cursor| sequence < cursor.next)
    }

    /// A stream's next results travel together like this.
    pub(super) fn batched(&mut self, stream: StreamId, batching: Batching) {
        if let Some(cursor) = self.cursors.get_mut(&stream) {
            cursor.batching = Some(batching);
        }
    }

    /// A stream's next result was not taken: how often it was refused is counted, as long as it
    /// can be the result's fault. Where every stream that has something to be taken is refused, two
    /// at least, and nothing was taken since the first of these refusals, it is the destination's.
    pub(super) fn refused(&mut self, stream: StreamId, refusal: Refusal) {
        self.health.note_refusal(stream, refusal);
        // A cursor that has something has a floor.
        let refused = self.health.refused();
        self.health.outage |= refused > 1 && refused >= self.floors.len();
        let Some(cursor) = self.cursors.get_mut(&stream) else {
            return;
        };
        cursor.tries = cursor.tries.saturating_add(1);
        cursor.rejections = match refusal {
            Refusal::Rejected if self.health.outage => cursor.rejections,
            Refusal::Rejected => cursor.rejections.saturating_add(1),
            Refusal::Unfit => REJECTIONS,
            Refusal::Away { .. } | Refusal::Failed | Refusal::Gone => 0,
        };
    }

    /// Streams that are held: the destination refuses a result of theirs again and again, and takes
    /// others.
    pub(super) fn held(&self) -> impl Iterator<Item = (StreamId, &StreamCursor)> {
        let shown = self.health.troubled().iter().filter(|_| !self.health.outage);
        let cursors = shown.filter_map(|stream| Some((*stream, self.cursors.get(stream)?)));
        cursors.filter(|(_, cursor)| cursor.is_held())
    }

    /// The reader has everything up to `to`.
    pub(super) fn checkpointed(&mut self, to: Position) {
        self.pulled = self.pulled.max(to);
    }

    /// What is out is to come back.
    pub(super) fn recall(&mut self) {
        self.revision = self.revision.wrapping_add(1);
        self.scanning = false;
    }

    /// Takes away the cursors that are not to be kept.
    pub(super) fn drop_cursors(&mut self, keep: impl Fn(StreamId) -> bool) {
        let (leaving, floors) = (&mut self.leaving, &mut self.floors);
        self.cursors.retain(|stream, cursor| {
            if keep(*stream) {
                return true;
            }
            floors.remove(&(cursor.floor, *stream));
            if cursor.state == CursorState::Sending {
                leaving.insert(*stream);
            }
            false
        });
        let cursors = &self.cursors;
        self.ready.retain(|stream| cursors.contains_key(stream));
    }

    /// A result was released.
    pub(super) fn released(&mut self, stream: StreamId, sequence: Sequence, position: Position) {
        if self.scan.is_none() {
            self.extend(
                SequenceRange { stream, first: sequence, position, last: sequence },
                Hole::Broken,
            );
        }
    }

    /// Results up to `to` were looked at; `floor` is the last position that is no longer kept.
    pub(super) fn scanned(
        &mut self,
        to: Position,
        found: &[SequenceRange],
        (head, floor): (Position, Position),
    ) {
        // A look that begins below what is kept goes on with the first that is.
        let below = self.scan.is_some_and(|after| after < floor);
        let hole = if below { Hole::Trimmed } else { Hole::Broken };
        for run in found {
            self.extend(*run, hole);
        }
        self.scan = Some(to).filter(|to| *to < head);
        if self.scan.is_none() {
            self.cursors
                .retain(|_, cursor| !cursor.is_empty() || cursor.state == CursorState::Sending);
        }
    }

    /// It stands still, and its senders are called back.
    pub(super) fn stand_still(&mut self, reason: PauseReason) {
        self.paused = Some(reason);
        self.recall();
    }

    /// The destination has taken a stream's results up to and with `through`.
    pub(super) fn done(&mut self, stream: StreamId, through: Sequence, floor: Position) {
        let Some(cursor) = self.cursors.get_mut(&stream) else {
            return;
        };
        self.floors.remove(&(cursor.floor, stream));
        cursor.done(through, floor);
        if !cursor.is_empty() {
            self.floors.insert((floor, stream));
        } else if cursor.state != CursorState::Sending && self.scan.is_none() {
            self.cursors.remove(&stream);
        }
    }

    /// A sender has left a cursor: whether it was there.
    pub(super) fn leave(&mut self, stream: StreamId) -> bool {
        if self.leaving.remove(&stream) {
            return true;
        }
        let Some(cursor) = self.cursors.get_mut(&stream) else {
            return false;
        };
        if cursor.state != CursorState::Sending {
            return false;
        }
        cursor.state = CursorState::Idle;
        if cursor.is_empty() && self.scan.is_none() {
            self.cursors.remove(&stream);
        }
        true
    }

    /// Puts a cursor in line for its turn, unless it is there, or sends, or waits, or an earlier
    /// sender is still out for its stream.
    pub(super) fn enqueue(&mut self, stream: StreamId) {
        if let Some(cursor) = self.cursors.get_mut(&stream)
            && cursor.state == CursorState::Idle
            && !cursor.is_empty()
            && !self.leaving.contains(&stream)
        {
            cursor.state = CursorState::Ready;
            self.ready.push_back(stream);
        }
    }

    fn begin(&mut self, after: Position, head: Position) {
        self.pulled = after;
        self.scan =
            Some(after).filter(|after| self.plan.way == DeliveryMode::Push && *after < head);
    }

    fn extend(&mut self, run: SequenceRange, hole: Hole) {
        let Some(cursor) = self.cursors.get_mut(&run.stream) else {
            self.cursors.insert(run.stream, StreamCursor::new(run));
            self.floors.insert((run.position, run.stream));
            return;
        };
        let whole = run.first <= cursor.last.next();
        if !whole {
            // All that the cursor had, and what lay between, is gone: it goes on with these.
            self.floors.remove(&(cursor.floor, run.stream));
            cursor.go_on_from(run.first);
        }
        let was_empty = cursor.is_empty();
        cursor.last = cursor.last.max(run.last);
        if was_empty && !cursor.is_empty() {
            // Its sender may have been past the first of these.
            cursor.floor = cursor.floor.max(run.position);
            self.floors.insert((cursor.floor, run.stream));
        }
        if !whole && hole == Hole::Broken {
            self.paused.get_or_insert(PauseReason::Inconsistent);
            self.recall();
        }
    }
}

/// What it means when results of a stream are missing between what a cursor has and what comes
/// next.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Hole {
    /// Something is wrong with this subscription: it stands, until a person has looked at it.
    Broken,
    /// They are no longer kept, and retention did not wait for the subscription.
    Trimmed,
}

fn patterns(plan: &SubscriptionSpec) -> Vec<Pattern> {
    plan.streams.iter().map(|text| Pattern::new(text)).collect()
}
