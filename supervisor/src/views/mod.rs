//! What readers see: the streams, where each message and each result lies in the journal, and the
//! newest results themselves. Derived from the journal and brought up to date once what it shows
//! is durable; a reader never waits for the dispatcher.

use std::{
    collections::BTreeMap,
    io,
    ops::RangeInclusive,
    sync::{Arc, Mutex, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard},
};

use rollcall_common::{
    ids::{Position, Sequence, StreamId, StreamName},
    message::Message,
    time::Time,
};
use tokio::sync::{oneshot, watch};

mod change;
mod index;
mod reader;

pub use change::Change;
pub use index::{Place, StreamView};
pub use reader::{ReadFailed, ReleasedResult};

use crate::{
    dispatcher::StreamStatus,
    journal::{EntryNumber, Journal},
    record::Found,
};
use index::Index;
use reader::Reader;

/// Who waits for which message.
type Waiters = BTreeMap<(StreamId, Sequence), Vec<oneshot::Sender<()>>>;

/// What readers see. One for the process; shared.
#[derive(Debug)]
pub struct Views {
    index: RwLock<Index>,
    reader: Reader,
    /// The last position that readers see.
    head: watch::Sender<Position>,
    /// Who waits for a message's release.
    waiters: Mutex<Waiters>,
}

impl Views {
    /// Views of `journal`, empty so far.
    #[must_use]
    pub fn new(journal: Arc<dyn Journal>) -> Self {
        Self {
            index: RwLock::default(),
            reader: Reader::new(journal),
            head: watch::Sender::default(),
            waiters: Mutex::default(),
        }
    }

    /// Shows what the records of `entry` changed.
    pub fn publish(&self, entry: EntryNumber, changes: impl IntoIterator<Item = Change>) {
        let mut released = Vec::new();
        let mut index = self.write();
        for change in changes {
            if let Change::Released(release) = &change {
                released.push((release.stream, release.sequence));
            }
            index.take(entry, change);
        }
        let head = index.head();
        drop(index);
        if !released.is_empty() {
            self.wake(&released);
            self.head.send_replace(head);
        }
    }

    /// The last released position, now and as it changes.
    #[must_use]
    pub fn head(&self) -> watch::Receiver<Position> {
        self.head.subscribe()
    }

    /// The number of the stream `name`.
    #[must_use]
    pub fn find(&self, name: &StreamName) -> Option<StreamId> {
        self.read().find(name)
    }

    /// The name of a stream.
    #[must_use]
    pub fn name(&self, stream: StreamId) -> Option<StreamName> {
        self.read().stream(stream).map(|view| view.name.clone())
    }

    /// A stream's status, and when its oldest unreleased message was taken in.
    #[must_use]
    pub fn status(&self, stream: StreamId) -> Option<(StreamStatus, Option<Time>)> {
        let index = self.read();
        let view = index.stream(stream)?;
        let status = view.status?;
        Some((status, view.accepted_at(status.released.next())))
    }

    /// Streams by name, from the first after `after`, at most `limit`.
    #[must_use]
    pub fn streams(&self, after: Option<&StreamName>, limit: usize) -> Vec<(StreamName, StreamId)> {
        self.read().names(after, limit)
    }

    /// How many streams there are.
    #[must_use]
    pub fn stream_count(&self) -> usize {
        self.read().len()
    }

    /// The position of a released result.
    #[must_use]
    pub fn position(&self, stream: StreamId, sequence: Sequence) -> Option<Position> {
        self.read().stream(stream)?.result(sequence)?.released.map(|(position, _)| position)
    }

    /// When the result at a position was released.
    #[must_use]
    pub fn released_at(&self, position: Position) -> Option<Time> {
        self.read().released_at(position)
    }

    /// The last result before `sequence` that was not skipped; 0 when there is none.
    #[must_use]
    pub fn previous(&self, stream: StreamId, sequence: Sequence) -> Sequence {
        let index = self.read();
        index.stream(stream).map_or(Sequence(0), |view| view.previous(sequence))
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
    /// When the journal can't be read.
    pub fn stream_results(
        &self,
        stream: StreamId,
        after: Sequence,
        limit: usize,
        bytes: usize,
    ) -> Result<Vec<ReleasedResult>, ReadFailed> {
        let places = self.read().stream_places(stream, after, limit);
        self.reader.results(places, bytes)
    }

    /// The same from memory, without blocking: `None` when the first one has to be read.
    #[must_use]
    pub fn recent_results(
        &self,
        stream: StreamId,
        after: Sequence,
        limit: usize,
    ) -> Option<Vec<ReleasedResult>> {
        let places = self.read().stream_places(stream, after, limit);
        if places.is_empty() { Some(Vec::new()) } else { Reader::recent(places) }
    }

    /// Released results of all streams, from the first after position `after` on; as
    /// [`Views::stream_results`].
    ///
    /// # Errors
    /// When the journal can't be read.
    pub fn results(
        &self,
        after: Position,
        limit: usize,
        bytes: usize,
    ) -> Result<Vec<ReleasedResult>, ReadFailed> {
        let places = self.read().places(after, limit);
        self.reader.results(places, bytes)
    }

    /// Messages of a stream, in order: at most about `bytes`, but at least one if there is one.
    /// Reads the journal, so it may block.
    ///
    /// # Errors
    /// When the journal can't be read.
    pub fn messages(
        &self,
        stream: StreamId,
        sequences: RangeInclusive<Sequence>,
        bytes: usize,
    ) -> Result<Vec<(Sequence, Time, Arc<Message>)>, ReadFailed> {
        let places = self.read().message_places(stream, sequences);
        self.reader.messages(places, bytes)
    }

    /// What was released after `after` in the streams that `wants` says, by stream, and the last
    /// position looked at: at most `limit` are.
    pub fn scan(
        &self,
        after: Position,
        limit: usize,
        wants: impl Fn(&StreamName) -> bool,
    ) -> (Position, Vec<Found>) {
        self.read().scan(after, limit, wants)
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
