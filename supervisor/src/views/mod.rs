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
    collections::BTreeMap,
    io,
    ops::RangeInclusive,
    path::Path,
    sync::{
        Arc, Mutex, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard,
        atomic::{AtomicBool, Ordering},
    },
};

use rollcall_common::{
    ids::{Position, Sequence, StreamId, StreamName},
    message::Message,
    time::Time,
};
use tokio::sync::{oneshot, watch};

mod board;
mod change;
mod course;
mod entries;
mod index;
mod lately;
mod names;
mod open;
mod overview;
mod reader;
mod row;
mod rows;
mod stream;
#[cfg(test)]
mod tests;
mod walk;

pub use change::{Change, Copied};
pub use course::{Course, Shown, Source, Went};
pub use index::{BaseMark, LeftBehind, Place};
pub use overview::{Overview, Roll};
pub use reader::{ReadFailed, ReleasedResult};

use crate::{
    dispatcher::StreamStatus,
    journal::{EntryNumber, Journal, ReadError},
    record::{Found, Head, Record},
};
use index::Index;
use open::Open;
use reader::{Reader, Wanted};
use rows::{Recent, Rows};
use walk::Way;

/// How often a place is looked up again that was trimmed away between looking and reading.
const LOOKS: u32 = 4;

/// Who waits for which message.
type Waiters = BTreeMap<(StreamId, Sequence), Vec<oneshot::Sender<()>>>;

/// What readers see. One for the process; shared.
#[derive(Debug)]
pub struct Views {
    /// Where things lie. Whoever reads a status or a list needs nothing of it.
    index: RwLock<Index>,
    open: Open,
    rows: Rows,
    reader: Reader,
    /// Whether the index could not be brought up to date.
    lame: AtomicBool,
    /// The last position that readers see.
    head: watch::Sender<Position>,
    /// Who waits for a message's release.
    waiters: Mutex<Waiters>,
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
            open: Open::default(),
            rows,
            reader: Reader::new(journal),
            lame: AtomicBool::new(false),
            head: watch::Sender::default(),
            waiters: Mutex::default(),
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
            self.wake(released);
            self.head.send_replace(head);
        }
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
    pub fn overhang(&self) -> usize {
        self.rows.overhang()
    }

    /// Whether the index could not be brought up to date: the journal must not be trimmed then.
    #[must_use]
    pub fn is_lame(&self) -> bool {
        self.lame.load(Ordering::Relaxed)
    }

    /// The first position that is kept.
    #[must_use]
    pub fn first(&self) -> Position {
        self.rows.floor().next()
    }

    /// The snapshots that the journal can be trimmed to, the oldest first.
    #[must_use]
    pub fn bases(&self) -> Vec<BaseMark> {
        self.read().bases().iter().copied().collect()
    }

    /// What is still needed of what lies before a snapshot: unreleased messages and answers, and
    /// results that were released after it.
    ///
    /// # Errors
    /// When the index can't be read.
    pub fn left_behind(&self, base: &BaseMark) -> io::Result<LeftBehind> {
        let (mut left, positions) = self.read().left_behind(base);
        let mut block = rows::Block::default();
        for position in positions {
            let found = self.rows.get(position, &mut block)?;
            let place = found.and_then(|recent| recent.row.place);
            left.places.extend(place.filter(|place| place.entry < base.entry));
        }
        // In the order of the journal, so that it is read once.
        left.places.sort_unstable();
        Ok(left)
    }

    /// Records that copy what lies at the first of `places`: about `bytes`, at least one. Reads
    /// the journal, so it may block.
    ///
    /// # Errors
    /// When the journal can't be read.
    pub fn copies(&self, places: &[Place], bytes: usize) -> Result<Vec<Record>, ReadFailed> {
        self.reader.copies(places, bytes)
    }

    /// The last released position, now and as it changes.
    #[must_use]
    pub fn head(&self) -> watch::Receiver<Position> {
        self.head.subscribe()
    }

    /// The number of the stream `name`.
    #[must_use]
    pub fn find(&self, name: &StreamName) -> Option<StreamId> {
        self.open.names.find(&self.open.board, name)
    }

    /// The name of a stream.
    #[must_use]
    pub fn name(&self, stream: StreamId) -> Option<StreamName> {
        self.open.board.name(stream)
    }

    /// A stream's status, and when its oldest unreleased message was taken in.
    #[must_use]
    pub fn status(&self, stream: StreamId) -> Option<(StreamStatus, Option<Time>)> {
        let shape = self.open.board.read(stream)?;
        Some((shape.status?, shape.oldest))
    }

    /// Streams by name, from the first after `after`, at most `limit`.
    #[must_use]
    pub fn streams(&self, after: Option<&StreamName>, limit: usize) -> Vec<(StreamName, StreamId)> {
        self.open.names.page(&self.open.board, after, limit)
    }

    /// Streams whose head waits for somebody, at most `limit`, and never more than
    /// [`rollcall_common::limits::STUCK_SHOWN`].
    #[must_use]
    pub fn stuck(&self, limit: usize) -> Vec<(StreamName, StreamStatus)> {
        let stuck = self.open.stuck(limit).into_iter();
        stuck.filter_map(|stream| Some((self.name(stream)?, self.status(stream)?.0))).collect()
    }

    /// How many messages are parked.
    #[must_use]
    pub fn parked(&self) -> u64 {
        self.open.parked()
    }

    /// How many streams there are.
    #[must_use]
    pub fn stream_count(&self) -> usize {
        self.open.board.len()
    }

    /// The position of a released result that is kept. It may read a file, a page of it at most
    /// for each step back.
    #[must_use]
    pub fn position(&self, stream: StreamId, sequence: Sequence) -> Option<Position> {
        let newest = self.newest(stream)?;
        if sequence > newest.0 {
            return None;
        }
        self.noted(walk::find(&self.rows, newest, sequence)).flatten()
    }

    /// When the result at a position was released, if it is kept. It may read a page of a file.
    #[must_use]
    pub fn released_at(&self, position: Position) -> Option<Time> {
        let found = self.rows.range(Position(position.0.saturating_sub(1)), 1);
        let first = self.noted(found)?.into_iter().next();
        first.filter(|_| position > self.rows.floor()).map(|recent| recent.row.at)
    }

    /// The first message of a stream that is kept, released or not.
    #[must_use]
    pub fn first_sequence(&self, stream: StreamId) -> Sequence {
        let Some((released, position)) = self.newest(stream) else {
            return Sequence::FIRST;
        };
        let first = self.noted(walk::first(&self.rows, (released, position))).flatten();
        first.unwrap_or_else(|| released.next())
    }

    /// The last result before the released one `sequence` that was not skipped; 0 when there is
    /// none.
    #[must_use]
    pub fn previous(&self, stream: StreamId, sequence: Sequence) -> Sequence {
        let before = Sequence(sequence.0.saturating_sub(1));
        let newest = self.newest(stream).filter(|(newest, _)| sequence <= *newest);
        let found = newest.map(|newest| walk::row(&self.rows, newest, sequence));
        let skips = found.and_then(|row| self.noted(row).flatten()).map_or(0, |row| row.skips);
        Sequence(before.0.saturating_sub(u64::from(skips)))
    }

    /// A signal for when a message is released. Look whether it is after asking for it.
    #[must_use]
    pub fn when_released(&self, stream: StreamId, sequence: Sequence) -> oneshot::Receiver<()> {
        let (sender, receiver) = oneshot::channel();
        let mut waiters = self.waiters.lock().unwrap_or_else(PoisonError::into_inner);
        let waiting = waiters.entry((stream, sequence)).or_default();
        waiting.retain(|waiter| !waiter.is_closed());
        waiting.push(sender);
        receiver
    }

    /// Released results of a stream, from the first after `after` on: at most `limit`, and at
    /// most about `bytes` (but at least one). Reads the journal where it must, so it may block.
    ///
    /// # Errors
    /// When some of them are no longer kept, or the journal can't be read.
    pub fn stream_results(
        &self,
        stream: StreamId,
        after: Sequence,
        limit: usize,
        bytes: usize,
    ) -> Result<Vec<ReleasedResult>, ReadFailed> {
        again(|| {
            let Some(newest) = self.newest(stream) else {
                return Ok(Vec::new());
            };
            match walk::along(&self.rows, newest, after, limit)? {
                Way::Found(found) => self.reader.results(self.wanted(found), bytes),
                Way::Gone(first) => Err(ReadFailed::Gone { first: first.0 }),
            }
        })
    }

    /// The same, as far as it is in memory, without blocking: `None` when the first one has to be
    /// read.
    #[must_use]
    pub fn recent_results(
        &self,
        stream: StreamId,
        after: Sequence,
        limit: usize,
    ) -> Option<Vec<ReleasedResult>> {
        let newest = self.newest(stream)?;
        let found = walk::along_recent(&self.rows, newest, after, limit)?;
        if found.is_empty() { Some(Vec::new()) } else { self.reader.recent(self.wanted(found)) }
    }

    /// Released results of all streams, from the first after position `after` on; as
    /// [`Views::stream_results`].
    ///
    /// # Errors
    /// When some of them are no longer kept, or the journal can't be read.
    pub fn results(
        &self,
        after: Position,
        limit: usize,
        bytes: usize,
    ) -> Result<Vec<ReleasedResult>, ReadFailed> {
        again(|| {
            let found = self.rows.range(after, limit)?;
            let floor = self.rows.floor();
            if after < floor {
                return Err(ReadFailed::Gone { first: floor.0 + 1 });
            }
            let positions = (after.0 + 1..).map(Position);
            self.reader.results(self.wanted(positions.zip(found)), bytes)
        })
    }

    /// What identifies a message that has its answer, and whose turn has not come. Reads the
    /// journal, so it may block.
    ///
    /// # Errors
    /// When the journal can't be read.
    pub fn answered_head(
        &self,
        stream: StreamId,
        sequence: Sequence,
    ) -> Result<Option<Head>, ReadFailed> {
        again(|| {
            let place = self.read().stream(stream).and_then(|view| {
                let pending = view.pending(sequence)?;
                Some(pending.place)
            });
            place.map(|place| self.reader.head(place)).transpose()
        })
    }

    /// Messages of a stream, in order: at most about `bytes`, but at least one if there is one.
    /// Only what is unreleased and has no answer is there. Reads the journal, so it may block.
    ///
    /// # Errors
    /// When the journal can't be read.
    pub fn messages(
        &self,
        stream: StreamId,
        sequences: RangeInclusive<Sequence>,
        bytes: usize,
    ) -> Result<Vec<(Sequence, Time, Arc<Message>)>, ReadFailed> {
        again(|| {
            let places = self.read().message_places(stream, sequences.clone());
            self.reader.messages(places, bytes)
        })
    }

    /// The first unreleased message before `next` of which it is not known where it lies.
    #[must_use]
    pub fn missing(&self, stream: StreamId, next: Sequence) -> Option<Sequence> {
        self.read().stream(stream).and_then(|view| view.missing(next))
    }

    /// What was released after `after` in the streams that `wants` says, by stream, and the last
    /// position looked at: at most `limit` are. It may block.
    ///
    /// # Errors
    /// When the index can't be read.
    pub fn scan(
        &self,
        after: Position,
        limit: usize,
        wants: impl Fn(&StreamName) -> bool,
    ) -> io::Result<(Position, Vec<Found>)> {
        walk::scan(&self.rows, after, limit, |stream| {
            self.name(stream).is_some_and(|name| wants(&name))
        })
    }

    /// A stream's newest released result, and its position.
    fn newest(&self, stream: StreamId) -> Option<(Sequence, Position)> {
        self.open.board.read(stream).map(|shape| shape.newest)
    }

    fn wanted(&self, found: impl IntoIterator<Item = (Position, Recent)>) -> Vec<Wanted> {
        let wanted = found.into_iter().filter_map(|(position, Recent { row, answer })| {
            Some(Wanted {
                position,
                stream: self.name(row.stream)?,
                sequence: row.sequence,
                released_at: row.at,
                place: row.place,
                answer,
            })
        });
        wanted.collect()
    }

    fn noted<T>(&self, found: io::Result<T>) -> Option<T> {
        found.inspect_err(|error| tracing::error!(%error, "the index can't be read")).ok()
    }

    fn wake(&self, released: &[(StreamId, Sequence)]) {
        let mut waiters = self.waiters.lock().unwrap_or_else(PoisonError::into_inner);
        if waiters.is_empty() {
            return;
        }
        for message in released {
            for waiter in waiters.remove(message).into_iter().flatten() {
                // Whoever has gone no longer wants to know.
                let _ = waiter.send(());
            }
        }
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

/// Looks and reads again where the journal was trimmed between the two.
fn again<T>(read: impl Fn() -> Result<T, ReadFailed>) -> Result<T, ReadFailed> {
    for _ in 1..LOOKS {
        match read() {
            Err(ReadFailed::Journal(ReadError::Trimmed { .. })) => {}
            done => return done,
        }
    }
    read()
}
