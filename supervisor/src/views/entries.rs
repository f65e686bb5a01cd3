//! Entries of the journal that were read for one request, each opened once, however its records
//! are asked for: answers that belong together come back in any order, so neighbours of a stream
//! lie in several entries, to and fro.

use std::collections::BTreeMap;

use bytes::Bytes;

use super::{Place, ReadFailed, entry_cache::EntryCache};
use crate::{
    journal::EntryNumber,
    record::{
        AnswerRef, Record,
        codec::{Cursor, DecodeError, decode_answer_ref},
    },
};

/// Bytes that a read of the journal asks for, when it goes on from the one before, at least and at
/// most.
const AHEAD_LEAST: usize = 32 << 10;
const AHEAD_MOST: usize = 256 << 10;
/// How many times as much each further one of these asks for.
const AHEAD_GROWTH: usize = 4;
/// Entries that may lie between two reads of neighbours.
const NEAR: u64 = 16;
/// Bytes of entries that are kept open, beside the one that is read.
const OPEN_BYTES: usize = 1 << 20;

/// Opened entries.
#[derive(Debug, Default)]
pub(super) struct Entries {
    open: BTreeMap<EntryNumber, Opened>,
    bytes: usize,
    /// Bytes that the last read asked for, if it went on from the one before: one result of a
    /// stream among many is not worth reading what lies around it.
    ahead: usize,
    /// The last entry that was read.
    last: Option<EntryNumber>,
}

/// An entry, and where its records begin, as far as that was looked at.
#[derive(Debug)]
struct Opened {
    payload: Bytes,
    begins: Vec<Cursor>,
}

impl Entries {
    /// Bytes of the entries that are open.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// The record at a place.
    ///
    /// # Errors
    /// When the journal can't be read, or holds something else.
    pub(super) fn record(
        &mut self,
        journal: &EntryCache,
        place: Place,
    ) -> Result<Record, ReadFailed> {
        Ok(self.opened(journal, place)?.record(place.index)?)
    }

    /// The same, if its entry was read lately: it does not block.
    ///
    /// # Errors
    /// When the entry holds something else.
    pub(super) fn record_at_hand(
        &mut self,
        journal: &EntryCache,
        place: Place,
    ) -> Result<Option<Record>, ReadFailed> {
        if !self.open.contains_key(&place.entry) {
            let Some(payload) = journal.at_hand(place.entry) else {
                return Ok(None);
            };
            self.keep(place.entry, payload);
        }
        self.record(journal, place).map(Some)
    }

    /// The result at a place, where it lies; `None`: there is something else.
    ///
    /// # Errors
    /// When the journal can't be read.
    pub(super) fn decode_answer_ref(
        &mut self,
        journal: &EntryCache,
        place: Place,
    ) -> Result<Option<AnswerRef<'_>>, ReadFailed> {
        let opened = self.opened(journal, place)?;
        let cursor = opened.cursor(place.index)?;
        Ok(decode_answer_ref(&opened.payload, &cursor)?)
    }

    fn opened(&mut self, journal: &EntryCache, place: Place) -> Result<&mut Opened, ReadFailed> {
        if !self.open.contains_key(&place.entry) {
            self.read(journal, place.entry)?;
        }
        self.open.get_mut(&place.entry).ok_or(ReadFailed::Unexpected(place))
    }

    fn read(&mut self, journal: &EntryCache, wanted: EntryNumber) -> Result<(), ReadFailed> {
        let near = self.last.is_some_and(|last| wanted.0.abs_diff(last.0) <= NEAR);
        if near {
            self.ahead = (self.ahead * AHEAD_GROWTH).clamp(AHEAD_LEAST, AHEAD_MOST);
            journal.many(wanted, self.ahead)?.for_each(|(number, payload)| {
                self.keep(number, payload);
            });
        } else {
            self.ahead = 0;
            if let Some((number, payload)) = journal.one(wanted)? {
                self.keep(number, payload);
            }
        }
        // Reading goes forward, by and large: the oldest go first.
        while self.bytes > OPEN_BYTES
            && let Some(oldest) = self.open.keys().find(|number| **number != wanted).copied()
        {
            self.close(oldest);
        }
        Ok(())
    }

    /// Closes entries until those that stay have at most so many bytes.
    pub(super) fn close_beyond(&mut self, bytes: usize) {
        while self.bytes > bytes
            && let Some(oldest) = self.open.keys().next().copied()
        {
            self.close(oldest);
        }
    }

    fn close(&mut self, number: EntryNumber) {
        let closed = self.open.remove(&number);
        self.bytes -= closed.map_or(0, |closed| closed.payload.len());
    }

    fn keep(&mut self, number: EntryNumber, payload: Bytes) {
        self.last = Some(number);
        self.bytes += payload.len();
        let before = self.open.insert(number, Opened { payload, begins: vec![Cursor::START] });
        self.bytes -= before.map_or(0, |before| before.payload.len());
    }
}

impl Opened {
    fn record(&mut self, index: u32) -> Result<Record, DecodeError> {
        self.cursor(index)?.read(&self.payload, index)
    }

    /// Before record `index`.
    fn cursor(&mut self, index: u32) -> Result<Cursor, DecodeError> {
        let at = usize::try_from(index).unwrap_or(usize::MAX);
        while self.begins.len() <= at {
            let mut next = self.begins.last().copied().unwrap_or(Cursor::START);
            next.skip(&self.payload)?;
            self.begins.push(next);
        }
        Ok(self.begins.get(at).copied().unwrap_or(Cursor::START))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use rollcall_common::{
        ids::{Epoch, MessageId, Sequence, StreamId},
        message::Message,
        time::Time,
    };
    use uuid::Uuid;

    use super::*;
    use crate::{
        journal::{Journal as _, memory::MemoryJournal},
        record::codec::Encoder,
    };

    /// So many entries of three records each; a record's sequence is ten times its entry's number
    /// and its index.
    fn journal(entries: u64) -> EntryCache {
        let journal = MemoryJournal::new();
        for entry in 1..=entries {
            let mut encoder = Encoder::default();
            for index in 0..3 {
                let (first, last) = (Sequence(entry * 10 + index), Sequence(entry * 10 + index));
                let (stream, at) = (StreamId(0), Time::default());
                encoder.push(&Record::PassedThrough { stream, first, last, at });
            }
            let _durable_at_once = journal.append(encoder.finish(), Epoch::FIRST).unwrap();
        }
        EntryCache::new(Arc::new(journal))
    }

    #[test]
    fn records_are_found_in_any_order() {
        let journal = journal(4);
        let mut entries = Entries::default();
        for (entry, index) in [(2, 2), (4, 0), (2, 0), (1, 1), (2, 1), (4, 2), (3, 0)] {
            let place = Place { entry: EntryNumber(entry), index };
            let Record::PassedThrough { first, .. } = entries.record(&journal, place).unwrap()
            else {
                panic!("what was written");
            };
            assert_eq!(first.0, entry * 10 + u64::from(index));
        }
        let nowhere = Place { entry: EntryNumber(2), index: 3 };
        assert!(entries.record(&journal, nowhere).is_err());
    }

    #[test]
    fn what_is_open_is_bounded() {
        let journal = MemoryJournal::new();
        let (stream, at) = (StreamId(0), Time::default());
        for number in 1..=5 {
            let message = Message {
                id: MessageId(Uuid::nil()),
                key: None,
                content_type: "".into(),
                headers: Arc::default(),
                body: vec![0; OPEN_BYTES / 2].into(),
            };
            let (sequence, message) = (Sequence(number), Arc::new(message));
            let mut encoder = Encoder::default();
            encoder.push(&Record::Accepted { stream, sequence, at, message });
            let _durable_at_once = journal.append(encoder.finish(), Epoch::FIRST).unwrap();
        }
        let journal = EntryCache::new(Arc::new(journal));
        let mut entries = Entries::default();
        for entry in [1, 2, 3, 4, 5, 1] {
            let place = Place { entry: EntryNumber(entry), index: 0 };
            entries.record(&journal, place).unwrap();
            assert!(entries.bytes <= OPEN_BYTES + OPEN_BYTES / 2 + 1024, "{}", entries.bytes);
        }
    }
}
