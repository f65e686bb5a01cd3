//! One stream as readers see it: where its unreleased messages and answers lie, and the end of
//! the chain of its released ones.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
};

use rollcall_common::{
    ids::{Position, Sequence},
    limits::SPARSE_SLOTS,
    time::Time,
};

use super::{Place, status_table::StreamSnapshot};
use crate::{dispatcher::StreamStatus, journal::EntryNumber, record::Answer};

/// Unreleased messages that lie in one entry, one behind the other.
#[derive(Clone, Copy, Debug)]
pub(super) struct Run {
    first: Sequence,
    place: Place,
    count: u32,
    /// Bytes of all of them.
    bytes: u64,
    at: Time,
}

/// An answer whose turn has not come.
#[derive(Clone, Debug)]
pub(super) struct Pending {
    pub(super) place: Place,
    pub(super) bytes: u32,
    pub(super) answer: Option<Arc<Answer>>,
}

/// What readers see of one stream.
#[derive(Debug)]
pub(super) struct StreamView {
    /// The last released one.
    pub(super) released: Sequence,
    /// How many of the last released ones were skipped, one behind the other.
    pub(super) skips: u32,
    /// What is not released; an idle stream has nothing of it.
    unreleased: Option<Box<Unreleased>>,
    /// Positions of the released sequences that one gets from the last one by clearing lowest set
    /// bits, that one last. Those from before a snapshot are missing at the front.
    chain: Chain,
}

#[derive(Debug)]
struct Unreleased {
    /// Messages, in order.
    messages: VecDeque<Run>,
    /// `pending[i]` is that of `released + 1 + i`.
    pending: VecDeque<Option<Pending>>,
    /// Those far beyond: what people have decided long before its turn.
    far: BTreeMap<Sequence, Pending>,
}

static NOTHING: Unreleased = Unreleased::new();

impl Unreleased {
    const fn new() -> Self {
        Self { messages: VecDeque::new(), pending: VecDeque::new(), far: BTreeMap::new() }
    }
}

/// A stack of positions; of most streams it has one, and takes two words.
#[derive(Debug, Default)]
struct Chain {
    /// 0 when there is none.
    last: Position,
    older: Option<Box<Older>>,
}

#[derive(Debug, Default)]
struct Older(Vec<Position>);

impl Chain {
    fn push(&mut self, position: Position) {
        let before = std::mem::replace(&mut self.last, position);
        if before > Position(0) {
            self.older.get_or_insert_default().0.push(before);
        }
    }

    fn pop(&mut self) {
        self.last = self.older.as_mut().and_then(|older| older.0.pop()).unwrap_or_default();
        self.older.take_if(|older| older.0.is_empty());
    }
}

/// The links of the next released one.
#[derive(Clone, Copy, Debug)]
pub(super) struct Links {
    pub(super) previous: Position,
    pub(super) leap: Position,
}

impl StreamView {
    pub(super) fn new((released, skips): (Sequence, u32)) -> Self {
        Self { released, skips, unreleased: None, chain: Chain::default() }
    }

    /// What everybody sees of it.
    pub(super) fn shape(&self, status: Option<StreamStatus>) -> StreamSnapshot {
        StreamSnapshot {
            status,
            newest: (self.released, self.last_position()),
            oldest: self.accepted_at(self.released.next()),
        }
    }

    /// The position of the last released one; 0 if it is not there.
    pub(super) fn last_position(&self) -> Position {
        self.chain.last
    }

    fn unreleased(&self) -> &Unreleased {
        self.unreleased.as_deref().unwrap_or(&NOTHING)
    }

    fn unreleased_mut(&mut self) -> &mut Unreleased {
        self.unreleased.get_or_insert_with(|| Box::new(Unreleased::new()))
    }

    /// When an unreleased message was taken in.
    fn accepted_at(&self, sequence: Sequence) -> Option<Time> {
        self.run(sequence).map(|(_, run)| run.at)
    }

    /// A message was taken in.
    pub(super) fn accepted(&mut self, sequence: Sequence, place: Place, (at, bytes): (Time, u32)) {
        let fresh = Run { first: sequence, place, count: 1, bytes: u64::from(bytes), at };
        let messages = &mut self.unreleased_mut().messages;
        match messages.back_mut() {
            Some(run) if run.takes(&fresh) => run.add(bytes),
            _ => messages.push_back(fresh),
        }
    }

    /// An unreleased message lies elsewhere now.
    pub(super) fn moved(&mut self, sequence: Sequence, place: Place, (at, bytes): (Time, u32)) {
        let fresh = Run { first: sequence, place, count: 1, bytes: u64::from(bytes), at };
        let found = self.run(sequence).map(|(found, run)| (found, *run));
        let messages = &mut self.unreleased_mut().messages;
        let mut next = messages.partition_point(|run| run.first <= sequence);
        if let Some((found, run)) = found {
            let (before, after) = run.without(sequence);
            messages.remove(found);
            next = found;
            if let Some(after) = after {
                messages.insert(next, after);
            }
            if let Some(before) = before {
                messages.insert(next, before);
                next += 1;
            }
        }
        let previous = next.checked_sub(1).and_then(|at| messages.get_mut(at));
        match previous {
            Some(run) if run.takes(&fresh) => run.add(bytes),
            _ => messages.insert(next, fresh),
        }
    }

    /// A message has its answer, or its answer lies elsewhere now. Gives back the one before.
    pub(super) fn answered(&mut self, sequence: Sequence, pending: Pending) -> Option<Pending> {
        let offset = usize::try_from(sequence.0.checked_sub(self.released.0 + 1)?).ok()?;
        let Unreleased { pending: all, far, .. } = self.unreleased_mut();
        let beyond = offset.saturating_sub(all.len());
        if u64::try_from(beyond).unwrap_or(u64::MAX) >= SPARSE_SLOTS || far.contains_key(&sequence)
        {
            return far.insert(sequence, pending);
        }
        while all.len() <= offset {
            all.push_back(None);
        }
        all.get_mut(offset)?.replace(pending)
    }

    /// The place of an unreleased answer.
    pub(super) fn pending(&self, sequence: Sequence) -> Option<&Pending> {
        let offset = usize::try_from(sequence.0.checked_sub(self.released.0 + 1)?).ok()?;
        let Unreleased { pending, far, .. } = self.unreleased();
        pending.get(offset).and_then(Option::as_ref).or_else(|| far.get(&sequence))
    }

    /// The next one has its turn: its answer, the place of its message, and its links.
    pub(super) fn release(
        &mut self,
        position: Position,
    ) -> (Option<Pending>, Option<(Place, u64)>, Links) {
        let sequence = self.released.next();
        let message = self.run(sequence).map(|(_, run)| {
            let offset = u32::try_from(sequence.0 - run.first.0).unwrap_or_default();
            let place = Place { index: run.place.index + offset, ..run.place };
            (place, run.bytes / u64::from(run.count.max(1)))
        });
        self.released = sequence;
        let pending = self.drop_released();
        let previous = self.last_position();
        for _ in 0..sequence.0.trailing_zeros() {
            self.chain.pop();
        }
        let links = Links { previous, leap: self.last_position() };
        self.chain.push(position);
        (pending, message, links)
    }

    /// Drops what is released by now; gives back the answer of the last one.
    fn drop_released(&mut self) -> Option<Pending> {
        let Unreleased { messages, pending, far } = self.unreleased.as_deref_mut()?;
        let answer = pending.pop_front().flatten().or_else(|| far.remove(&self.released));
        while messages.front().is_some_and(|run| run.end() <= self.released.0 + 1) {
            messages.pop_front();
        }
        if messages.is_empty() {
            *messages = VecDeque::new();
        }
        if pending.is_empty() {
            *pending = VecDeque::new();
            self.unreleased
                .take_if(|unreleased| unreleased.messages.is_empty() && unreleased.far.is_empty());
        }
        answer
    }

    /// Where a message lies, if it is not released.
    pub(super) fn message(&self, sequence: Sequence) -> Option<Place> {
        let (_, run) = self.run(sequence)?;
        let offset = u32::try_from(sequence.0 - run.first.0).ok()?;
        Some(Place { index: run.place.index + offset, ..run.place })
    }

    /// Unreleased messages and answers that lie before `below` and are needed: sequence, place
    /// and, for a run of messages, about the bytes of each.
    pub(super) fn live_before(
        &self,
        below: EntryNumber,
        mut message: impl FnMut(Sequence, Place, u64),
        mut answer: impl FnMut(Sequence, Place, u64),
    ) {
        for run in self.unreleased().messages.iter().filter(|run| run.place.entry < below) {
            let each = run.bytes / u64::from(run.count.max(1));
            for offset in 0..run.count {
                let sequence = Sequence(run.first.0 + u64::from(offset));
                if sequence > self.released && self.pending(sequence).is_none() {
                    let place = Place { index: run.place.index + offset, ..run.place };
                    message(sequence, place, each);
                }
            }
        }
        let Unreleased { pending, far, .. } = self.unreleased();
        let near = (self.released.0 + 1..).map(Sequence).zip(pending);
        let near = near.filter_map(|(sequence, pending)| Some((sequence, pending.as_ref()?)));
        let far = far.iter().map(|(sequence, pending)| (*sequence, pending));
        for (sequence, Pending { place, bytes, .. }) in near.chain(far) {
            if place.entry < below {
                answer(sequence, *place, u64::from(*bytes));
            }
        }
    }

    /// The first unreleased message before `next` of which nothing says where it lies.
    pub(super) fn missing(&self, next: Sequence) -> Option<Sequence> {
        let mut sequence = self.released.next();
        while sequence < next {
            sequence = match (self.run(sequence), self.pending(sequence)) {
                (Some((_, run)), _) => Sequence(run.end()),
                (None, Some(_)) => sequence.next(),
                (None, None) => return Some(sequence),
            };
        }
        None
    }

    fn run(&self, sequence: Sequence) -> Option<(usize, &Run)> {
        let messages = &self.unreleased().messages;
        let after = messages.partition_point(|run| run.first <= sequence);
        let at = after.checked_sub(1)?;
        let run = messages.get(at)?;
        (sequence.0 < run.end()).then_some((at, run))
    }
}

impl Run {
    fn end(&self) -> u64 {
        self.first.0 + u64::from(self.count)
    }

    /// Whether `next` goes on where it ends.
    fn takes(&self, next: &Self) -> bool {
        self.place.entry == next.place.entry
            && self.place.index + self.count == next.place.index
            && self.end() == next.first.0
    }

    fn add(&mut self, bytes: u32) {
        self.count += 1;
        self.bytes += u64::from(bytes);
    }

    /// What is before and after one of its messages.
    fn without(&self, sequence: Sequence) -> (Option<Self>, Option<Self>) {
        let before = u32::try_from(sequence.0 - self.first.0).unwrap_or_default();
        let after = self.count - before - 1;
        let each = self.bytes / u64::from(self.count.max(1));
        let part = |skip: u32, count: u32| {
            let place = Place { index: self.place.index + skip, ..self.place };
            let first = Sequence(self.first.0 + u64::from(skip));
            let bytes = each * u64::from(count);
            (count > 0).then_some(Self { first, place, count, bytes, at: self.at })
        };
        (part(0, before), part(before + 1, after))
    }
}
