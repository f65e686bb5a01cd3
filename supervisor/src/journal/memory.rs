//! A journal in memory: the shortest reading of [`Journal`]. Everything is durable at once, and
//! gone with the process.

use std::{
    collections::VecDeque,
    sync::{Mutex, MutexGuard, PoisonError},
};

use bytes::Bytes;
use rollcall_common::ids::Epoch;
use tokio::sync::watch;

use super::{
    AppendError, ENTRY_BYTES, Entry, EntryNumber, Journal, ReadError, Space, Tail, Ticket,
};

/// A journal in memory.
#[derive(Debug)]
pub struct MemoryJournal {
    state: Mutex<State>,
    tail: watch::Sender<Tail>,
}

#[derive(Debug)]
struct State {
    entries: VecDeque<Entry>,
    next: EntryNumber,
    floor: Epoch,
    bytes: u64,
}

impl MemoryJournal {
    /// An empty journal.
    #[must_use]
    pub fn new() -> Self {
        Self {
            state: Mutex::new(State {
                entries: VecDeque::new(),
                next: EntryNumber::FIRST,
                floor: Epoch::FIRST,
                bytes: 0,
            }),
            tail: watch::Sender::new(Tail {
                next: EntryNumber::FIRST,
                space: Space::Enough,
                failed: None,
            }),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Default for MemoryJournal {
    fn default() -> Self {
        Self::new()
    }
}

impl State {
    fn first(&self) -> EntryNumber {
        self.entries.front().map_or(self.next, |entry| entry.number)
    }
}

impl Journal for MemoryJournal {
    fn append(&self, payload: Bytes, epoch: Epoch) -> Result<Ticket, AppendError> {
        if payload.len() > ENTRY_BYTES {
            return Err(AppendError::TooLarge { bytes: payload.len(), limit: ENTRY_BYTES });
        }
        let mut state = self.state();
        if epoch < state.floor {
            return Err(AppendError::StaleEpoch { given: epoch, current: state.floor });
        }
        let number = state.next;
        state.floor = epoch;
        state.next = number.next();
        state.bytes += bytes(&payload);
        state.entries.push_back(Entry { number, epoch, payload });
        self.tail.send_modify(|tail| tail.next = number.next());
        Ok(Ticket(number))
    }

    fn read(&self, from: EntryNumber, limit_bytes: usize) -> Result<Vec<Entry>, ReadError> {
        let state = self.state();
        let first = state.first();
        if from < first {
            return Err(ReadError::Trimmed { first });
        }
        let skip = usize::try_from(from.0 - first.0).unwrap_or(usize::MAX);
        let mut left = limit_bytes;
        let mut found = Vec::new();
        for entry in state.entries.iter().skip(skip) {
            if entry.payload.len() > left && !found.is_empty() {
                break;
            }
            left = left.saturating_sub(entry.payload.len());
            found.push(entry.clone());
        }
        Ok(found)
    }

    fn tail(&self) -> watch::Receiver<Tail> {
        self.tail.subscribe()
    }

    fn first(&self) -> EntryNumber {
        self.state().first()
    }

    fn trim(&self, below: EntryNumber) -> std::io::Result<EntryNumber> {
        let mut state = self.state();
        while let Some(entry) = state.entries.pop_front_if(|entry| entry.number < below) {
            state.bytes -= bytes(&entry.payload);
        }
        Ok(state.first())
    }

    fn seal(&self, epoch: Epoch) {
        let mut state = self.state();
        state.floor = state.floor.max(epoch);
    }

    fn size_bytes(&self) -> u64 {
        self.state().bytes
    }

    fn freed_by(&self, below: EntryNumber) -> u64 {
        let state = self.state();
        let gone = state.entries.iter().take_while(|entry| entry.number < below);
        gone.map(|entry| bytes(&entry.payload)).sum()
    }
}

fn bytes(payload: &Bytes) -> u64 {
    u64::try_from(payload.len()).unwrap_or(u64::MAX)
}
