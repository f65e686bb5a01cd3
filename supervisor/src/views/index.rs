//! Where everything lies: for each stream its messages and results, and the order of release over
//! all streams.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    ops::{Bound, RangeInclusive},
    sync::Arc,
};

use rollcall_common::{
    ids::{Position, Sequence, StreamId, StreamName},
    limits::CACHE_BYTES,
    time::Time,
};

use super::Change;
use crate::{
    dispatcher::StreamStatus,
    journal::EntryNumber,
    record::{Answer, Found},
};

/// Where a record lies.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct Place {
    /// Its entry.
    pub entry: EntryNumber,
    /// Which record of the entry.
    pub index: u32,
}

/// Messages of one stream that lie in one entry, one behind the other.
#[derive(Clone, Copy, Debug)]
struct Run {
    first: Sequence,
    place: Place,
    count: u32,
    at: Time,
}

/// A result, before or after its turn.
#[derive(Clone, Debug, Default)]
pub(super) struct ResultPlace {
    /// Where it lies; `None`: the message is its own result, or there is none yet.
    place: Option<Place>,
    /// Its position, and when it was given.
    pub(super) released: Option<(Position, Time)>,
    /// The result, while it is one of the newest.
    answer: Option<Arc<Answer>>,
}

/// What readers see of one stream.
#[derive(Debug)]
pub struct StreamView {
    /// Its name.
    pub name: StreamName,
    /// How it stands.
    pub status: Option<StreamStatus>,
    messages: VecDeque<Run>,
    /// `results[i]` is that of sequence `1 + i`.
    results: VecDeque<ResultPlace>,
    /// Released without a result.
    skipped: BTreeSet<Sequence>,
}

/// A released result that is to be read.
#[derive(Clone, Debug)]
pub(super) struct Wanted {
    pub(super) position: Position,
    pub(super) stream: StreamName,
    pub(super) sequence: Sequence,
    pub(super) released_at: Time,
    pub(super) place: Place,
    pub(super) answer: Option<Arc<Answer>>,
}

/// Where everything lies.
#[derive(Debug, Default)]
pub(super) struct Index {
    streams: Vec<StreamView>,
    names: BTreeMap<StreamName, StreamId>,
    /// `positions[i]` is position `1 + i`.
    positions: VecDeque<(StreamId, Sequence)>,
    /// Results that are kept, the oldest first.
    kept: VecDeque<(StreamId, Sequence)>,
    kept_bytes: usize,
}

impl Index {
    pub(super) fn take(&mut self, entry: EntryNumber, change: Change) {
        match change {
            Change::Accepted { stream, sequence, at, index } => {
                if let Some(view) = self.stream_mut(stream) {
                    view.accepted(sequence, at, Place { entry, index });
                }
            }
            Change::Answered { stream, sequence, answer, index } => {
                if let Some(answer) = &answer {
                    self.kept_bytes += answer.weight();
                    self.kept.push_back((stream, sequence));
                }
                if let Some(result) = self.result_mut(stream, sequence) {
                    result.place = Some(Place { entry, index });
                    result.answer = answer;
                }
                self.forget_oldest();
            }
            Change::Opened { name, .. } => {
                let stream = StreamId(u32::try_from(self.streams.len()).unwrap_or(u32::MAX));
                self.names.insert(name.clone(), stream);
                self.streams.push(StreamView {
                    name,
                    status: None,
                    messages: VecDeque::new(),
                    results: VecDeque::new(),
                    skipped: BTreeSet::new(),
                });
            }
            Change::Passed { stream, last, .. } => {
                self.result_mut(stream, last);
            }
            Change::Released(release) => {
                self.positions.push_back((release.stream, release.sequence));
                if let Some(result) = self.result_mut(release.stream, release.sequence) {
                    result.released = Some((release.position, release.at));
                }
                if release.skipped
                    && let Some(view) = self.stream_mut(release.stream)
                {
                    view.skipped.insert(release.sequence);
                }
            }
            Change::Status { stream, status } => {
                if let Some(view) = self.stream_mut(stream) {
                    view.status = Some(status);
                }
            }
        }
    }

    /// The last position given.
    pub(super) fn head(&self) -> Position {
        Position(u64::try_from(self.positions.len()).unwrap_or(u64::MAX))
    }

    /// When the result at a position was released.
    pub(super) fn released_at(&self, position: Position) -> Option<Time> {
        let index = usize::try_from(position.0.checked_sub(1)?).ok()?;
        let (stream, sequence) = self.positions.get(index)?;
        self.stream(*stream)?.result(*sequence)?.released.map(|(_, at)| at)
    }

    pub(super) fn len(&self) -> usize {
        self.streams.len()
    }

    pub(super) fn find(&self, name: &StreamName) -> Option<StreamId> {
        self.names.get(name).copied()
    }

    pub(super) fn stream(&self, stream: StreamId) -> Option<&StreamView> {
        self.streams.get(usize::try_from(stream.0).ok()?)
    }

    pub(super) fn names(
        &self,
        after: Option<&StreamName>,
        limit: usize,
    ) -> Vec<(StreamName, StreamId)> {
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        let found = self.names.range::<StreamName, _>((from, Bound::Unbounded));
        found.take(limit).map(|(name, stream)| (name.clone(), *stream)).collect()
    }

    pub(super) fn places(&self, after: Position, limit: usize) -> Vec<Wanted> {
        let skip = usize::try_from(after.0).unwrap_or(usize::MAX).min(self.positions.len());
        let found = self.positions.range(skip..).take(limit);
        found.filter_map(|(stream, sequence)| self.stream(*stream)?.wanted(*sequence)).collect()
    }

    pub(super) fn stream_places(
        &self,
        stream: StreamId,
        after: Sequence,
        limit: usize,
    ) -> Vec<Wanted> {
        let Some(view) = self.stream(stream) else {
            return Vec::new();
        };
        let sequences = (after.0..u64::MAX).map(|before| Sequence(before + 1));
        sequences.map_while(|sequence| view.wanted(sequence)).take(limit).collect()
    }

    pub(super) fn message_places(
        &self,
        stream: StreamId,
        sequences: RangeInclusive<Sequence>,
    ) -> Vec<(Sequence, Place)> {
        let Some(view) = self.stream(stream) else {
            return Vec::new();
        };
        let all = (sequences.start().0..=sequences.end().0).map(Sequence);
        all.map_while(|sequence| Some((sequence, view.message(sequence)?))).collect()
    }

    pub(super) fn scan(
        &self,
        after: Position,
        limit: usize,
        wants: impl Fn(&StreamName) -> bool,
    ) -> (Position, Vec<Found>) {
        let skip = usize::try_from(after.0).unwrap_or(usize::MAX).min(self.positions.len());
        let mut runs: BTreeMap<StreamId, Option<Found>> = BTreeMap::new();
        let mut to = after;
        for (stream, sequence) in self.positions.range(skip..).take(limit) {
            to = to.next();
            let (position, first) = (to, *sequence);
            let fresh = || {
                let wanted = self.stream(*stream).is_some_and(|view| wants(&view.name));
                wanted.then_some(Found { stream: *stream, first, position, last: first })
            };
            if let Some(run) = runs.entry(*stream).or_insert_with(fresh) {
                run.last = *sequence;
            }
        }
        (to, runs.into_values().flatten().collect())
    }

    fn stream_mut(&mut self, stream: StreamId) -> Option<&mut StreamView> {
        self.streams.get_mut(usize::try_from(stream.0).ok()?)
    }

    fn result_mut(&mut self, stream: StreamId, sequence: Sequence) -> Option<&mut ResultPlace> {
        let view = self.stream_mut(stream)?;
        let offset = usize::try_from(sequence.0.checked_sub(1)?).ok()?;
        while view.results.len() <= offset {
            view.results.push_back(ResultPlace::default());
        }
        view.results.get_mut(offset)
    }

    /// The newest results stay at hand, up to a number of bytes.
    fn forget_oldest(&mut self) {
        while self.kept_bytes > CACHE_BYTES {
            let Some((stream, sequence)) = self.kept.pop_front() else {
                return;
            };
            let result = self.result_mut(stream, sequence);
            if let Some(answer) = result.and_then(|result| result.answer.take()) {
                self.kept_bytes -= answer.weight();
            }
        }
    }
}

impl StreamView {
    /// When an unreleased message was taken in.
    pub(super) fn accepted_at(&self, sequence: Sequence) -> Option<Time> {
        self.run(sequence).map(|run| run.at)
    }

    pub(super) fn result(&self, sequence: Sequence) -> Option<&ResultPlace> {
        self.results.get(usize::try_from(sequence.0.checked_sub(1)?).ok()?)
    }

    pub(super) fn previous(&self, sequence: Sequence) -> Sequence {
        let mut before = Sequence(sequence.0.saturating_sub(1));
        while self.skipped.contains(&before) {
            before = Sequence(before.0 - 1);
        }
        before
    }

    fn accepted(&mut self, sequence: Sequence, at: Time, place: Place) {
        if let Some(run) = self.messages.back_mut()
            && run.place.entry == place.entry
            && run.place.index + run.count == place.index
            && run.first.0 + u64::from(run.count) == sequence.0
        {
            run.count += 1;
        } else {
            self.messages.push_back(Run { first: sequence, place, count: 1, at });
        }
    }

    fn message(&self, sequence: Sequence) -> Option<Place> {
        let run = self.run(sequence)?;
        let offset = u32::try_from(sequence.0 - run.first.0).ok()?;
        Some(Place { index: run.place.index + offset, ..run.place })
    }

    fn run(&self, sequence: Sequence) -> Option<&Run> {
        let after = self.messages.partition_point(|run| run.first <= sequence);
        let run = self.messages.get(after.checked_sub(1)?)?;
        (sequence.0 < run.first.0 + u64::from(run.count)).then_some(run)
    }

    fn wanted(&self, sequence: Sequence) -> Option<Wanted> {
        let result = self.result(sequence)?;
        let (position, released_at) = result.released?;
        Some(Wanted {
            position,
            stream: self.name.clone(),
            sequence,
            released_at,
            place: result.place.or_else(|| self.message(sequence))?,
            answer: result.answer.clone(),
        })
    }
}
