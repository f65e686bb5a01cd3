//! What is looked up in the rows of released results, and read where they point to.

use std::{io, ops::RangeInclusive, sync::Arc};

use rollcall_common::{
    ids::{Position, Sequence, StreamId, StreamName},
    message::Message,
    time::Time,
};

use super::{
    Place, ReadFailed, ReleasedResult, Views,
    reader::Wanted,
    rows::Recent,
    seek::{self, Seek},
};
use crate::{
    journal::ReadError,
    record::{Answer, Record, SequenceRange},
};

/// How often a place is looked up again that was trimmed away between looking and reading.
pub(super) const LOOKS: u32 = 4;

impl Views {
    /// Records that copy what lies at the first of `places`: about `bytes`, at least one. Reads
    /// the journal, so it may block.
    ///
    /// # Errors
    /// When the journal can't be read.
    pub fn copies(&self, places: &[Place], bytes: usize) -> Result<Vec<Record>, ReadFailed> {
        self.reader.copies(places, bytes)
    }

    /// The last position that was released before a moment; positions that are no longer kept were.
    #[must_use]
    pub fn released_before(&self, time: Time) -> Position {
        let (mut before, mut end) = (self.first().0.saturating_sub(1), self.head().borrow().0);
        while before < end {
            let middle = end - (end - before) / 2;
            let earlier = self.released_at(Position(middle)).is_none_or(|at| at < time);
            if earlier {
                before = middle;
            } else {
                end = middle - 1;
            }
        }
        Position(before)
    }

    /// The position of a released result that is kept. It may read a file, a page of it at most
    /// for each step back.
    #[must_use]
    pub fn position(&self, stream: StreamId, sequence: Sequence) -> Option<Position> {
        let newest = self.newest(stream)?;
        if sequence > newest.0 {
            return None;
        }
        self.noted(seek::find(&self.rows, newest, sequence)).flatten()
    }

    /// When the result at a position was released, if it is kept. It may read a page of a file.
    #[must_use]
    pub fn released_at(&self, position: Position) -> Option<Time> {
        let found = self.rows.range(position.before(), 1);
        let first = self.noted(found)?.into_iter().next();
        first.filter(|_| position > self.rows.floor()).map(|recent| recent.row.at)
    }

    /// The first message of a stream that is kept, released or not.
    #[must_use]
    pub fn first_sequence(&self, stream: StreamId) -> Sequence {
        let Some((released, position)) = self.newest(stream) else {
            return Sequence::FIRST;
        };
        let first = self.noted(seek::first(&self.rows, (released, position))).flatten();
        first.unwrap_or_else(|| released.next())
    }

    /// The last result before the released one `sequence` that was not skipped; 0 when there is
    /// none.
    #[must_use]
    pub fn previous(&self, stream: StreamId, sequence: Sequence) -> Sequence {
        let before = Sequence(sequence.0.saturating_sub(1));
        let newest = self.newest(stream).filter(|(newest, _)| sequence <= *newest);
        let found = newest.map(|newest| seek::row(&self.rows, newest, sequence));
        let skips = found.and_then(|row| self.noted(row).flatten()).map_or(0, |row| row.skips);
        Sequence(before.0.saturating_sub(u64::from(skips)))
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
            match seek::along(&self.rows, newest, after, limit)? {
                Seek::Found(found) => self.reader.results(self.wanted(found), bytes),
                Seek::Gone(first) => Err(ReadFailed::Gone { first: first.0 }),
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
        let found = seek::along_recent(&self.rows, newest, after, limit)?;
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
                return Err(ReadFailed::Gone { first: floor.next().0 });
            }
            self.reader.results(self.wanted(placed(after, found)), bytes)
        })
    }

    /// The answer of a message whose turn has not come. Reads the journal, so it may block.
    ///
    /// # Errors
    /// When the journal can't be read.
    pub fn waiting_answer(
        &self,
        stream: StreamId,
        sequence: Sequence,
    ) -> Result<Option<Arc<Answer>>, ReadFailed> {
        again(|| {
            let found = self.read().stream(stream).and_then(|view| {
                let pending = view.pending(sequence)?;
                Some((pending.answer.clone(), pending.place))
            });
            let Some((answer, place)) = found else { return Ok(None) };
            answer.map_or_else(|| self.reader.answer_at(place), Ok).map(Some)
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

    /// An unreleased message, if it is still kept: one that has its answer may not be. Reads the
    /// journal, so it may block.
    ///
    /// # Errors
    /// When the journal can't be read.
    pub fn message(
        &self,
        stream: StreamId,
        sequence: Sequence,
    ) -> Result<Option<Arc<Message>>, ReadFailed> {
        let place = || self.read().stream(stream).and_then(|view| view.message(sequence));
        let read = again(|| {
            let wanted = place().map(|place| (sequence, place));
            self.reader.messages(wanted.into_iter().collect(), usize::MAX)
        });
        match read {
            Ok(found) => Ok(found.into_iter().next().map(|(_, _, message)| message)),
            Err(ReadFailed::Journal(ReadError::Trimmed { .. })) => Ok(None),
            Err(error) => Err(error),
        }
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
    ) -> io::Result<(Position, Vec<SequenceRange>)> {
        seek::scan(&self.rows, after, limit, |stream| {
            self.name(stream).is_some_and(|name| wants(&name))
        })
    }

    pub(super) fn wanted(
        &self,
        found: impl IntoIterator<Item = (Position, Recent)>,
    ) -> Vec<Wanted> {
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

    pub(super) fn noted<T>(&self, found: io::Result<T>) -> Option<T> {
        found.inspect_err(|error| tracing::error!(%error, "the index can't be read")).ok()
    }
}

/// Results that follow each other, with their positions: they begin after `after`.
pub(super) fn placed(
    after: Position,
    found: Vec<Recent>,
) -> impl Iterator<Item = (Position, Recent)> {
    // Counted only as far as there is something: a reader may ask for what comes after the end.
    found.into_iter().zip(after.next().0..).map(|(recent, at)| (Position(at), recent))
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
