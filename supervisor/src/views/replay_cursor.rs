//! Reading on, result by result, as those who replay do: each is shown where it lies, in the bytes
//! of its entry, and nothing is kept of it.

use std::collections::VecDeque;

use rollcall_common::{
    ids::{Position, Sequence, StreamId, StreamName},
    time::Time,
};

use super::{
    ReadFailed, Views,
    entries::Entries,
    lookup::{LOOKS, placed},
    reader::{ReleasedResult, Wanted},
    seek::{self, Seek},
};
use crate::{journal::ReadError, record::AnswerRef};

/// Rows that are looked up at a time. It bounds for how long whoever adds rows waits for a reader.
const LOOK_ROWS: usize = 512;

/// Bytes of entries that stay open between two readings: the one in which the next result lies.
const PAUSED_BYTES: usize = 1 << 20;

/// Whose results are read.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Source {
    /// Those of all streams, by position.
    All,
    /// Those of one stream, by sequence.
    Stream(StreamId),
}

/// A reader's way along the results, to be gone on with.
#[derive(Debug)]
pub struct ReplayCursor {
    source: Source,
    /// The position or sequence that was read last.
    after: u64,
    /// What is known to come next.
    next: VecDeque<Wanted>,
    entries: Entries,
}

/// How far a reader went.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Progress {
    /// There may be more.
    OnlySoFar,
    /// There is nothing more now.
    ToTheEnd,
}

/// A released result, where it lies.
#[derive(Clone, Copy, Debug)]
pub struct ResultRef<'a> {
    /// Its position.
    pub position: Position,
    /// Its stream.
    pub stream: &'a StreamName,
    /// Its place in the stream.
    pub sequence: Sequence,
    /// When it was released.
    pub released_at: Time,
    /// The result.
    pub result: AnswerRef<'a>,
}

impl<'a> ResultRef<'a> {
    /// One that was read into memory.
    #[must_use]
    pub fn of(result: &'a ReleasedResult) -> Self {
        Self {
            position: result.position,
            stream: &result.stream,
            sequence: result.sequence,
            released_at: result.released_at,
            result: AnswerRef::at(&result.answer),
        }
    }
}

impl ReplayCursor {
    /// From the first result after the position or sequence `after` on.
    #[must_use]
    pub fn new(source: Source, after: u64) -> Self {
        Self { source, after, next: VecDeque::new(), entries: Entries::default() }
    }

    /// The position or sequence that was read last.
    #[must_use]
    pub fn after(&self) -> u64 {
        self.after
    }

    /// Closes most of what is open: who goes on may do so later.
    pub fn pause(&mut self) {
        self.entries.close_beyond(PAUSED_BYTES);
    }

    /// Bytes that it keeps in memory, about.
    #[must_use]
    pub fn bytes(&self) -> usize {
        let answers = self.next.iter().filter_map(|wanted| wanted.answer.as_ref());
        self.entries.bytes() + answers.map(|answer| answer.weight()).sum::<usize>()
    }
}

impl Views {
    /// Shows `see` the results that come next, until it says that it is enough (at least one, if
    /// there is one). Reads the journal where it must, so it may block.
    ///
    /// # Errors
    /// When some of them are no longer kept, or the journal can't be read. What was shown before
    /// that is right: the error comes with the next call then.
    pub fn read_on(
        &self,
        cursor: &mut ReplayCursor,
        mut see: impl FnMut(ResultRef<'_>) -> bool,
    ) -> Result<Progress, ReadFailed> {
        let (mut any, mut looks) = (false, LOOKS);
        loop {
            match self.see_next(cursor, &mut see) {
                Ok(None) => return Ok(Progress::ToTheEnd),
                Ok(Some(true)) => any = true,
                Ok(Some(false)) => return Ok(Progress::OnlySoFar),
                // It lies elsewhere by now.
                Err(ReadFailed::Journal(ReadError::Trimmed { .. })) if looks > 1 => {
                    looks -= 1;
                    cursor.next.clear();
                }
                Err(_) if any => {
                    cursor.next.clear();
                    return Ok(Progress::OnlySoFar);
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// Shows the next one; whether it is not enough.
    fn see_next(
        &self,
        cursor: &mut ReplayCursor,
        see: &mut impl FnMut(ResultRef<'_>) -> bool,
    ) -> Result<Option<bool>, ReadFailed> {
        if cursor.next.is_empty() {
            self.find_on(cursor)?;
        }
        let Some(wanted) = cursor.next.front() else {
            return Ok(None);
        };
        let mut on = true;
        self.reader.decode_answer_ref(&mut cursor.entries, wanted, |result| {
            on = see(ResultRef {
                position: wanted.position,
                stream: &wanted.stream,
                sequence: wanted.sequence,
                released_at: wanted.released_at,
                result,
            });
        })?;
        cursor.after = match cursor.source {
            Source::All => wanted.position.0,
            Source::Stream(_) => wanted.sequence.0,
        };
        cursor.next.pop_front();
        Ok(Some(on))
    }

    fn find_on(&self, cursor: &mut ReplayCursor) -> Result<(), ReadFailed> {
        let after = cursor.after;
        match cursor.source {
            Source::All => {
                let found = self.rows.range(Position(after), LOOK_ROWS)?;
                let floor = self.rows.floor();
                if after < floor.0 {
                    return Err(ReadFailed::Gone { first: floor.next().0 });
                }
                cursor.next = self.wanted(placed(Position(after), found)).into();
            }
            Source::Stream(stream) => {
                let Some(newest) = self.newest(stream) else {
                    return Ok(());
                };
                match seek::along(&self.rows, newest, Sequence(after), LOOK_ROWS)? {
                    Seek::Found(found) => cursor.next = self.wanted(found).into(),
                    Seek::Gone(first) => return Err(ReadFailed::Gone { first: first.0 }),
                }
            }
        }
        Ok(())
    }
}
