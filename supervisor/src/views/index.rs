//! Where everything lies: the streams with what is unreleased, the rows of what is released, and
//! the snapshots that the journal may be trimmed to.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    io,
    ops::RangeInclusive,
};

use rollcall_common::{
    chunked::Chunked,
    ids::{Position, Sequence, StreamId, StreamName},
    limits::CACHE_BYTES,
    time::Time,
};

use super::{
    Change, Copied,
    lock_free::LockFreeStatus,
    row::{Kind, Row},
    rows::{Recent, Rows},
    seek,
    stream::{Pending, StreamView},
};
use crate::{
    dispatcher::{Cause, Released, Room, StreamStatus},
    journal::EntryNumber,
};

/// Where a record lies.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct Place {
    /// Its entry.
    pub entry: EntryNumber,
    /// Which record of the entry.
    pub index: u32,
}

/// For so many streams there is room to note that they are to be shown.
const KEPT_ROOM: usize = 4096;

/// A snapshot in the journal.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct SnapshotRef {
    /// The entry in which it begins.
    pub entry: EntryNumber,
    /// The entry in which it ends.
    pub end: EntryNumber,
    /// The head at it.
    pub head: Position,
    /// When it was written, in the journal's own time.
    pub at: Time,
}

/// What is still needed of what lies before an entry.
#[derive(Debug, Default)]
pub struct LiveBefore {
    /// Where it lies.
    pub places: Vec<Place>,
    /// About how many bytes it has.
    pub bytes: u64,
}

/// Where everything lies.
#[derive(Debug, Default)]
pub(super) struct Index {
    streams: Chunked<StreamView>,
    /// Streams whose head waits for somebody.
    stuck: BTreeSet<StreamId>,
    /// Streams that refuse new messages, having as many as they may have.
    full: BTreeSet<StreamId>,
    /// Streams that released something since the last [`Index::show`].
    touched: Vec<StreamId>,
    /// What was said of streams since then.
    said: Vec<(StreamId, StreamStatus)>,
    /// Streams that came since then.
    fresh: Vec<StreamId>,
    /// Bytes of unreleased answers in memory.
    pending_bytes: usize,
    /// Whole snapshots that are there, the oldest first.
    snapshots: VecDeque<SnapshotRef>,
    /// One whose end has not been seen.
    begun: Option<SnapshotRef>,
    /// Released results that lie before a snapshot which is older than their release: it knows
    /// nothing of them. About their bytes.
    released_after_snapshot: BTreeMap<Position, u32>,
}

impl Index {
    /// Takes in a change; [`Index::show`] lets it be seen.
    ///
    /// # Errors
    /// When a row that is to be changed can't be.
    pub(super) fn take(
        &mut self,
        (rows, open): (&Rows, &LockFreeStatus),
        entry: EntryNumber,
        change: Change,
    ) -> io::Result<()> {
        match change {
            Change::Accepted { stream, sequence, at, bytes, index } => {
                if let Some(view) = self.stream_mut(stream) {
                    view.accepted(sequence, Place { entry, index }, (at, bytes));
                }
            }
            Change::Answered { stream, sequence, answer, bytes, index } => {
                let cached = answer.as_ref().map_or(0, |answer| answer.weight());
                let room = CACHE_BYTES.saturating_sub(self.pending_bytes + cached);
                // Unreleased ones come first: they are yet to be read.
                let answer = answer.filter(|_| rows.evict(room) <= room && room > 0);
                let place = Place { entry, index };
                self.pend(stream, sequence, Pending { place, bytes, answer });
            }
            Change::SnapshotEnded => {
                let begun = self.begun.take();
                self.snapshots.extend(begun.map(|snapshot| SnapshotRef { end: entry, ..snapshot }));
            }
            Change::SnapshotBegun { head, at } => {
                self.begun = Some(SnapshotRef { entry, end: entry, head, at });
            }
            Change::Copied { stream, sequence, what, bytes, index } => {
                let place = Place { entry, index };
                return self.copied(rows, (stream, sequence), (place, bytes), what);
            }
            Change::Loaded { head } => {
                *self = Self::default();
                open.clear();
                rows.begin_after(head);
            }
            Change::LoadedStream { name, released, skips } => {
                self.open(open, name, (released, skips));
            }
            Change::Opened { name, .. } => self.open(open, name, (Sequence(0), 0)),
            Change::Released(release) => self.release(rows, release),
            Change::Status { stream, status } => self.said.push((stream, status)),
            Change::Trimmed { through, below } => {
                rows.trim(through);
                self.released_after_snapshot =
                    self.released_after_snapshot.split_off(&through.next());
                self.snapshots.retain(|snapshot| snapshot.entry >= below);
            }
        }
        Ok(())
    }

    /// Lets everybody see what was taken in.
    pub(super) fn show(&mut self, open: &LockFreeStatus) {
        for stream in self.fresh.drain(..) {
            open.names.add(&open.table, stream);
        }
        self.show_places(open);
    }

    /// All will be shown anew: what was touched need not be known.
    pub(super) fn forget_to_show(&mut self) {
        self.touched.clear();
        self.fresh.clear();
        self.said.clear();
    }

    /// The same, after so much that all is shown anew.
    pub(super) fn show_all(&mut self, open: &LockFreeStatus) {
        self.forget_to_show();
        open.names.reset(&open.table);
        self.touched = (0..StreamId::after(self.streams.len()).0).map(StreamId).collect();
        self.show_places(open);
    }

    fn show_places(&mut self, open: &LockFreeStatus) {
        let mut touched = std::mem::take(&mut self.touched);
        for stream in touched.drain(..) {
            if let Some(view) = self.stream(stream) {
                let status = open.table.read(stream).and_then(|shape| shape.status);
                open.table.write(stream, &view.shape(status));
            }
        }
        let mut said = std::mem::take(&mut self.said);
        for (stream, status) in said.drain(..) {
            self.show_status(open, stream, status);
        }
        // Their room is for the next time.
        touched.shrink_to(KEPT_ROOM);
        said.shrink_to(KEPT_ROOM);
        (self.touched, self.said) = (touched, said);
    }

    fn show_status(&mut self, open: &LockFreeStatus, stream: StreamId, status: StreamStatus) {
        let Some(view) = self.stream(stream) else {
            return;
        };
        let before = open.table.read(stream).and_then(|shape| shape.status);
        open.table.write(stream, &view.shape(Some(status)));
        open.park(before.map_or(0, |before| before.parked), status.parked);
        let changed = match status.cause {
            Some(Cause::NoWorker | Cause::Parked | Cause::Paused | Cause::PoolOutage) => {
                self.stuck.insert(stream)
            }
            Some(Cause::Retrying | Cause::Waiting) | None => self.stuck.remove(&stream),
        };
        if changed {
            open.stuck.show(stream, &self.stuck);
        }
        let changed = match status.room {
            Room::Enough => self.full.remove(&stream),
            Room::Full => self.full.insert(stream),
        };
        if changed {
            open.full.show(stream, &self.full);
        }
    }

    pub(super) fn snapshots(&self) -> &VecDeque<SnapshotRef> {
        &self.snapshots
    }

    pub(super) fn stream(&self, stream: StreamId) -> Option<&StreamView> {
        self.streams.get(usize::try_from(stream.0).ok()?)
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
        // What has its answer is not needed, and may have been trimmed away.
        let open = all.filter(|sequence| view.pending(*sequence).is_none());
        open.map_while(|sequence| Some((sequence, view.message(sequence)?))).collect()
    }

    /// What is unreleased and lies before `below`; and the positions of results that lie there
    /// and were released after `snapshot`.
    pub(super) fn live_before(&self, snapshot: &SnapshotRef) -> (LiveBefore, Vec<Position>) {
        let (mut places, mut bytes) = (Vec::new(), 0);
        for view in self.streams.iter() {
            let mut found = Vec::new();
            let mut sum = 0;
            view.live_before(
                snapshot.entry,
                |_, place, weight| {
                    found.push(place);
                    sum += weight;
                },
                |_, place, weight| {
                    places.push(place);
                    bytes += weight;
                },
            );
            places.append(&mut found);
            bytes += sum;
        }
        let released = self.released_after_snapshot.range(snapshot.head.next()..);
        let mut positions = Vec::new();
        for (position, weight) in released {
            positions.push(*position);
            bytes += u64::from(*weight);
        }
        (LiveBefore { places, bytes }, positions)
    }

    fn open(&mut self, open: &LockFreeStatus, name: StreamName, released: (Sequence, u32)) {
        let stream = StreamId::after(self.streams.len());
        open.table.add(name);
        self.fresh.push(stream);
        self.streams.push(StreamView::new(released));
        self.touched.push(stream);
    }

    fn pend(&mut self, stream: StreamId, sequence: Sequence, pending: Pending) {
        let weight = |pending: &Pending| pending.answer.as_ref().map_or(0, |one| one.weight());
        self.pending_bytes += weight(&pending);
        let before = self.stream_mut(stream).and_then(|view| view.answered(sequence, pending));
        self.pending_bytes -= before.as_ref().map_or(0, weight);
    }

    fn release(&mut self, rows: &Rows, release: Released) {
        let newest = self.snapshots.back().map(|snapshot| snapshot.entry);
        let Some(view) = self.stream_mut(release.stream) else {
            return;
        };
        let (pending, message, links) = view.release(release.position);
        let skips = view.skips;
        view.skips = if release.skipped { skips.saturating_add(1) } else { 0 };
        let kind = match (release.skipped, &pending) {
            (true, _) => Kind::Skipped,
            (false, Some(_)) => Kind::Answered,
            (false, None) => Kind::Passed,
        };
        let (place, bytes, answer) = match pending {
            Some(Pending { place, bytes, answer }) => (Some(place), bytes, answer),
            None => message.map_or((None, 0, None), |(place, bytes)| {
                (Some(place), u32::try_from(bytes).unwrap_or(u32::MAX), None)
            }),
        };
        if let Some(answer) = &answer {
            self.pending_bytes -= answer.weight();
        }
        if newest.is_some_and(|snapshot| place.is_none_or(|place| place.entry < snapshot)) {
            self.released_after_snapshot.insert(release.position, bytes);
        }
        if self.touched.last() != Some(&release.stream) {
            self.touched.push(release.stream);
        }
        let row = Row {
            stream: release.stream,
            sequence: release.sequence,
            place,
            at: release.at,
            previous: links.previous,
            leap: links.leap,
            skips,
            kind,
        };
        let cached = rows.push(Recent { row, answer });
        if cached + self.pending_bytes > CACHE_BYTES {
            rows.evict(CACHE_BYTES.saturating_sub(self.pending_bytes));
        }
    }

    /// Something lies elsewhere now.
    fn copied(
        &mut self,
        rows: &Rows,
        (stream, sequence): (StreamId, Sequence),
        (place, bytes): (Place, u32),
        what: Copied,
    ) -> io::Result<()> {
        let Some(view) = self.stream_mut(stream) else {
            return Ok(());
        };
        if sequence > view.released {
            match what {
                Copied::Message { at } => view.moved(sequence, place, (at, bytes)),
                Copied::Result => {
                    let answer = view.pending(sequence).and_then(|one| one.answer.clone());
                    // The weight that is counted stays the same.
                    view.answered(sequence, Pending { place, bytes, answer });
                }
            }
            return Ok(());
        }
        let newest = (view.released, view.last_position());
        let Some(position) = seek::find(rows, newest, sequence)? else {
            return Ok(());
        };
        rows.change(position, |row| match (what, row.kind) {
            // It has an answer meanwhile, and is no longer needed.
            (Copied::Message { .. }, Kind::Answered | Kind::Skipped) => {}
            (Copied::Message { .. }, Kind::Passed) | (Copied::Result, Kind::Skipped) => {
                row.place = Some(place);
            }
            // What was loaded from a snapshot didn't know where its answer lay.
            (Copied::Result, Kind::Answered | Kind::Passed) => {
                (row.kind, row.place) = (Kind::Answered, Some(place));
            }
        })
    }

    fn stream_mut(&mut self, stream: StreamId) -> Option<&mut StreamView> {
        self.streams.get_mut(usize::try_from(stream.0).ok()?)
    }
}
