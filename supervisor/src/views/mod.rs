//! What readers see: the streams, where each unreleased message and each result lies in the
//! journal, and the newest results themselves. Derived from the journal and brought up to date
//! once what it shows is durable; a reader never waits for the dispatcher.
//!
//! ```text
//!   stream ──► newest position ─┐       ┌─► newest rows and results, in memory
//!                               ├► rows ┤
//!   position ───────────────────┘       └─► older rows, in files ──► places in the journal
//! ```

use std::{
    io,
    path::Path,
    sync::{
        Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use rollcall_common::{
    ids::{Position, Sequence, StreamId, StreamName},
    time::Time,
};
use tokio::sync::watch;

mod change;
mod entries;
mod entry_cache;
mod index;
mod lock_free;
mod lookup;
mod names;
mod overview;
mod reader;
mod replay_cursor;
mod row;
mod rows;
mod seek;
mod status_table;
mod stream;
#[cfg(test)]
mod tests;
mod waiting;

pub use change::{Change, Copied};
pub use index::{LiveBefore, Place, SnapshotRef};
pub use overview::{FleetSummary, Overview};
pub use reader::{ReadFailed, ReleasedResult};
pub use replay_cursor::{Progress, ReplayCursor, ResultRef, Source};
pub use waiting::{Interest, WaitingReader};

use crate::{
    dispatcher::StreamStatus,
    journal::{EntryNumber, Journal},
};
use index::Index;
use lock_free::LockFreeStatus;
use reader::Reader;
use rows::Rows;
use waiting::WaitingReaders;

/// What readers see. One for the process; shared.
#[derive(Debug)]
pub struct Views {
    /// Where things lie. Whoever reads a status or a list needs nothing of it.
    index: RwLock<Index>,
    open: LockFreeStatus,
    rows: Rows,
    reader: Reader,
    /// Whether the index could not be brought up to date.
    lame: AtomicBool,
    /// The last position that readers see.
    head: watch::Sender<Position>,
    /// Who waits for what is released.
    waiting: Arc<WaitingReaders>,
    /// Up to here those whom releases concern have been woken.
    announced: AtomicU64,
    /// How the supervisor as a whole stands.
    overview: arc_swap::ArcSwap<Overview>,
}

impl Views {
    /// Views of `journal`, empty so far, all of them in memory.
    #[must_use]
    pub fn new(journal: Arc<dyn Journal>) -> Self {
        Self::with_rows(journal, Rows::in_memory())
    }

    /// Views of `journal`, empty so far, with the places of all but the newest results in files
    /// in `folder`. What is there is removed: it can always be derived again.
    ///
    /// # Errors
    /// When the folder can't be made.
    pub fn on_disk(journal: Arc<dyn Journal>, folder: &Path) -> io::Result<Self> {
        Ok(Self::with_rows(journal, Rows::on_disk(folder)?))
    }

    fn with_rows(journal: Arc<dyn Journal>, rows: Rows) -> Self {
        Self {
            index: RwLock::default(),
            open: LockFreeStatus::default(),
            rows,
            reader: Reader::new(journal),
            lame: AtomicBool::new(false),
            head: watch::Sender::default(),
            waiting: Arc::default(),
            announced: AtomicU64::new(0),
            overview: arc_swap::ArcSwap::default(),
        }
    }

    /// Shows what the records of `entry` changed.
    pub fn publish(&self, entry: EntryNumber, changes: impl IntoIterator<Item = Change>) {
        let mut index = self.write();
        let released = self.take_all(&mut index, entry, changes);
        index.show(&self.open);
        drop(index);
        self.announce(&released);
    }

    /// Takes in what the records of `entry` changed. Nobody sees it before [`Views::settle`].
    pub fn take(&self, entry: EntryNumber, changes: impl IntoIterator<Item = Change>) {
        let mut index = self.write();
        self.take_all(&mut index, entry, changes);
        index.forget_to_show();
    }

    /// Shows all that was taken in.
    pub fn settle(&self) {
        self.write().show_all(&self.open);
        self.announce(&[]);
    }

    fn take_all(
        &self,
        index: &mut Index,
        entry: EntryNumber,
        changes: impl IntoIterator<Item = Change>,
    ) -> Vec<(StreamId, Sequence)> {
        let mut released = Vec::new();
        for change in changes {
            if let Change::Released(release) = &change {
                released.push((release.stream, release.sequence));
            }
            if let Err(error) = index.take((&self.rows, &self.open), entry, change) {
                tracing::error!(%error, "the index can't be changed; nothing is trimmed any more");
                self.lame.store(true, Ordering::Relaxed);
            }
        }
        released
    }

    fn announce(&self, released: &[(StreamId, Sequence)]) {
        let head = self.rows.head();
        if *self.head.borrow() != head {
            // First: whoever is woken looks up to there, and would wait again below it.
            self.head.send_replace(head);
            self.waiting.wake(released, |stream| self.name(stream));
            self.announced.store(head.0, Ordering::Release);
        }
    }

    /// The last position up to which everybody whom a release concerns has been woken: a reader
    /// that waits and was not woken by now has missed nothing up to it.
    pub fn announced(&self) -> Position {
        Position(self.announced.load(Ordering::Acquire))
    }

    /// Shows how the supervisor as a whole stands.
    pub fn show(&self, overview: Overview) {
        self.overview.store(Arc::new(overview));
    }

    /// How the supervisor as a whole stands, as of its last turn.
    #[must_use]
    pub fn overview(&self) -> Arc<Overview> {
        self.overview.load_full()
    }

    /// Moves the places of older results to the disk. To be called now and then, from a thread
    /// that may block.
    ///
    /// # Errors
    /// When they can't be written. They stay in memory then, until the next call.
    pub fn spill(&self) -> io::Result<()> {
        self.rows.spill()
    }

    /// Places in memory that the next [`Views::spill`] would move to the disk.
    #[must_use]
    pub fn unspilled(&self) -> usize {
        self.rows.unspilled()
    }

    /// Whether the index could not be brought up to date: the journal must not be trimmed then.
    #[must_use]
    pub fn is_degraded(&self) -> bool {
        self.lame.load(Ordering::Relaxed)
    }

    /// The first position that is kept.
    #[must_use]
    pub fn first(&self) -> Position {
        self.rows.floor().next()
    }

    /// The snapshots that the journal can be trimmed to, the oldest first.
    #[must_use]
    pub fn snapshots(&self) -> Vec<SnapshotRef> {
        self.read().snapshots().iter().copied().collect()
    }

    /// What is still needed of what lies before a snapshot: unreleased messages and answers, and
    /// results that were released after it.
    ///
    /// # Errors
    /// When the index can't be read.
    pub fn live_before(&self, snapshot: &SnapshotRef) -> io::Result<LiveBefore> {
        let (mut left, positions) = self.read().live_before(snapshot);
        let mut block = rows::Block::default();
        for position in positions {
            let found = self.rows.get(position, &mut block)?;
            let place = found.and_then(|recent| recent.row.place);
            left.places.extend(place.filter(|place| place.entry < snapshot.entry));
        }
        // In the order of the journal, so that it is read once.
        left.places.sort_unstable();
        Ok(left)
    }

    /// The last released position, now and as it changes.
    #[must_use]
    pub fn head(&self) -> watch::Receiver<Position> {
        self.head.subscribe()
    }

    /// The number of the stream `name`.
    #[must_use]
    pub fn find(&self, name: &StreamName) -> Option<StreamId> {
        self.open.names.find(&self.open.table, name)
    }

    /// The name of a stream.
    #[must_use]
    pub fn name(&self, stream: StreamId) -> Option<StreamName> {
        self.open.table.name(stream)
    }

    /// A stream's status, and when its oldest unreleased message was taken in.
    #[must_use]
    pub fn status(&self, stream: StreamId) -> Option<(StreamStatus, Option<Time>)> {
        let shape = self.open.table.read(stream)?;
        Some((shape.status?, shape.oldest))
    }

    /// Streams by name, from the first after `after`, at most `limit`.
    #[must_use]
    pub fn streams(&self, after: Option<&StreamName>, limit: usize) -> Vec<(StreamName, StreamId)> {
        self.open.names.page(&self.open.table, after, limit)
    }

    /// Streams whose head waits for somebody, at most `limit`, and never more than
    /// [`rollcall_common::limits::STUCK_SHOWN`].
    #[must_use]
    pub fn stuck(&self, limit: usize) -> Vec<(StreamName, StreamStatus)> {
        let stuck = self.open.stuck.first(limit).into_iter();
        stuck.filter_map(|stream| Some((self.name(stream)?, self.status(stream)?.0))).collect()
    }

    /// Streams that refuse new messages, having as many unreleased ones as they may have; at most
    /// `limit`, and never more than [`rollcall_common::limits::STUCK_SHOWN`].
    #[must_use]
    pub fn full(&self, limit: usize) -> Vec<StreamName> {
        let full = self.open.full.first(limit).into_iter();
        full.filter_map(|stream| self.name(stream)).collect()
    }

    /// How many messages are parked.
    #[must_use]
    pub fn parked(&self) -> u64 {
        self.open.parked()
    }

    /// How many streams there are.
    #[must_use]
    pub fn stream_count(&self) -> usize {
        self.open.table.len()
    }

    /// A reader that is woken by what is released from now on and concerns it. Look whether it is
    /// there already after asking for this.
    #[must_use]
    pub fn wait_for(&self, interest: Interest) -> WaitingReader {
        self.waiting.enter(interest)
    }

    /// The first unreleased message before `next` of which it is not known where it lies.
    #[must_use]
    pub fn missing(&self, stream: StreamId, next: Sequence) -> Option<Sequence> {
        self.read().stream(stream).and_then(|view| view.missing(next))
    }

    /// A stream's newest released result that readers see; 0 when there is none.
    #[must_use]
    pub fn released(&self, stream: StreamId) -> Sequence {
        self.newest(stream).map_or(Sequence(0), |(sequence, _)| sequence)
    }

    /// A stream's newest released result, and its position.
    fn newest(&self, stream: StreamId) -> Option<(Sequence, Position)> {
        self.open.table.read(stream).map(|shape| shape.newest)
    }

    fn read(&self) -> RwLockReadGuard<'_, Index> {
        self.index.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Index> {
        self.index.write().unwrap_or_else(PoisonError::into_inner)
    }
}

impl From<ReadFailed> for io::Error {
    fn from(error: ReadFailed) -> Self {
        Self::other(error)
    }
}
