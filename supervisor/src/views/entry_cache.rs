//! The journal as those see it who read a result here and one there. Streams are delivered side by
//! side, and their results lie in the same entries: what was read lately is likely wanted again.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{Arc, Mutex, PoisonError},
};

use bytes::Bytes;

use crate::journal::{EntryNumber, Journal, ReadError};

/// Bytes of entries that are kept.
const KEPT_BYTES: usize = 4 << 20;

/// A journal, and some of its entries that were read lately.
#[derive(Debug)]
pub(super) struct EntryCache {
    journal: Arc<dyn Journal>,
    kept: Mutex<Kept>,
}

#[derive(Debug, Default)]
struct Kept {
    payloads: BTreeMap<EntryNumber, Bytes>,
    /// The same, the one that was read first in front.
    order: VecDeque<EntryNumber>,
    bytes: usize,
}

impl EntryCache {
    pub(super) fn new(journal: Arc<dyn Journal>) -> Self {
        Self { journal, kept: Mutex::default() }
    }

    /// The entry that is wanted, from memory if it is there.
    ///
    /// # Errors
    /// When the journal can't be read.
    pub(super) fn one(
        &self,
        wanted: EntryNumber,
    ) -> Result<Option<(EntryNumber, Bytes)>, ReadError> {
        if let Some(payload) = self.at_hand(wanted) {
            return Ok(Some((wanted, payload)));
        }
        // As small as it gets: it is one entry at least.
        let read = self.journal.read(wanted, 1)?.into_iter().next();
        Ok(read.map(|entry| {
            self.with(|kept| kept.keep(entry.number, entry.payload.clone()));
            (entry.number, entry.payload)
        }))
    }

    /// The entry that is wanted, if it was read lately.
    pub(super) fn at_hand(&self, wanted: EntryNumber) -> Option<Bytes> {
        self.with(|kept| kept.payloads.get(&wanted).cloned())
    }

    /// About so many bytes of entries, from the wanted one on. They are not kept: whoever reads
    /// on and on would leave nothing else in memory.
    ///
    /// # Errors
    /// When the journal can't be read.
    pub(super) fn many(
        &self,
        wanted: EntryNumber,
        bytes: usize,
    ) -> Result<impl Iterator<Item = (EntryNumber, Bytes)>, ReadError> {
        let read = self.journal.read(wanted, bytes)?;
        Ok(read.into_iter().map(|entry| (entry.number, entry.payload)))
    }

    fn with<T>(&self, what: impl FnOnce(&mut Kept) -> T) -> T {
        what(&mut self.kept.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Kept {
    fn keep(&mut self, number: EntryNumber, payload: Bytes) {
        self.bytes += payload.len();
        match self.payloads.insert(number, payload) {
            None => self.order.push_back(number),
            // Two have read it at the same time.
            Some(same) => self.bytes -= same.len(),
        }
        while self.bytes > KEPT_BYTES
            && let Some(oldest) = self.order.pop_front()
        {
            self.bytes -= self.payloads.remove(&oldest).map_or(0, |payload| payload.len());
        }
    }
}

#[cfg(test)]
mod tests {
    use rollcall_common::ids::Epoch;

    use super::*;
    use crate::journal::memory::MemoryJournal;

    #[test]
    fn what_was_read_lately_is_at_hand_within_bounds() {
        let journal = MemoryJournal::new();
        for byte in 0..10 {
            let payload = vec![byte; KEPT_BYTES / 4].into();
            let _durable_at_once = journal.append(payload, Epoch::FIRST).unwrap();
        }
        let lately = EntryCache::new(Arc::new(journal));
        let read = |number| lately.one(EntryNumber(number)).unwrap().unwrap().1;
        assert_eq!(read(1).as_ptr(), read(1).as_ptr(), "the same bytes, not read again");
        for number in 1..=10 {
            assert_eq!(read(number)[0], u8::try_from(number - 1).unwrap());
            assert!(lately.with(|kept| kept.bytes) <= KEPT_BYTES);
        }
        assert_eq!(lately.with(|kept| kept.payloads.len()), 4);
        assert_eq!(lately.with(|kept| kept.order.len()), 4);
        assert!(lately.one(EntryNumber(11)).unwrap().is_none());
    }
}
