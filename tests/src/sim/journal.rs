//! The journal under simulation: the real log on a simulated disk, or the one in memory, with
//! each step taken when the simulator says so, or the task of a simulated host.

use std::{
    collections::VecDeque,
    io,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use bytes::Bytes;
use rollcall_common::ids::Epoch;
use rollcall_supervisor::journal::{
    AppendError, Entry, EntryNumber, Journal, ReadError, Tail, Ticket,
    local::{Load, Log, Unwritten, WriteError, sim_disk::SimDisk},
    memory::MemoryJournal,
};
use tokio::sync::{Notify, watch};

/// A journal whose writes and syncs wait to be asked for.
#[derive(Debug)]
pub struct SimJournal {
    state: Mutex<State>,
    appended: Notify,
    tail: watch::Sender<Tail>,
}

#[derive(Debug)]
struct State {
    log: Log<SimDisk>,
    waiting: VecDeque<Unwritten>,
    next: EntryNumber,
    floor: Epoch,
}

impl SimJournal {
    /// A journal that goes on in `log`.
    #[must_use]
    pub fn new(log: Log<SimDisk>, floor: Epoch) -> Self {
        let tail =
            watch::Sender::new(Tail { next: log.durable(), space: log.space(), failed: None });
        let state = State { next: log.next(), log, waiting: VecDeque::new(), floor };
        Self { state: Mutex::new(state), appended: Notify::new(), tail }
    }

    /// Writes what waits; gives back whether the disk is too full for all of it.
    ///
    /// # Errors
    /// When the disk fails.
    pub fn write(&self) -> Result<bool, WriteError> {
        let mut state = self.state();
        let mut waiting = std::mem::take(&mut state.waiting);
        let written = state.log.write_group(&mut waiting);
        state.waiting = waiting;
        match written {
            Ok(()) => Ok(false),
            Err(WriteError::Full) => Ok(true),
            Err(error) => Err(error),
        }
    }

    /// Syncs what was written, and says so.
    ///
    /// # Errors
    /// When the disk fails.
    pub fn sync(&self) -> Result<(), WriteError> {
        let mut state = self.state();
        state.log.sync()?;
        let idle = state.waiting.is_empty();
        if idle {
            state.log.mark()?;
        }
        state.log.maintain(if idle { Load::Idle } else { Load::Busy })?;
        let (next, space) = (state.log.durable(), state.log.space());
        drop(state);
        self.tail.send_modify(|tail| {
            (tail.next, tail.space) = (next, space);
        });
        Ok(())
    }

    /// Whether something waits to be written.
    pub(super) fn has_waiting(&self) -> bool {
        !self.state().waiting.is_empty()
    }

    /// Whether something that was appended is not durable.
    #[must_use]
    pub fn is_behind(&self) -> bool {
        self.tail.borrow().next < self.state().next
    }

    /// Waits until something waits to be written.
    pub async fn has_work(&self) {
        while !self.has_waiting() {
            self.appended.notified().await;
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Journal for SimJournal {
    fn append(&self, payload: Bytes, epoch: Epoch) -> Result<Ticket, AppendError> {
        let mut state = self.state();
        if epoch < state.floor {
            return Err(AppendError::StaleEpoch { given: epoch, current: state.floor });
        }
        let number = state.next;
        state.floor = epoch;
        state.next = number.next();
        state.waiting.push_back(Unwritten { epoch, payload });
        self.appended.notify_one();
        Ok(Ticket(number))
    }

    fn read(&self, from: EntryNumber, limit_bytes: usize) -> Result<Vec<Entry>, ReadError> {
        self.state().log.read(from, limit_bytes)
    }

    fn tail(&self) -> watch::Receiver<Tail> {
        self.tail.subscribe()
    }

    fn first(&self) -> EntryNumber {
        self.state().log.first()
    }

    fn trim(&self, below: EntryNumber) -> io::Result<EntryNumber> {
        self.state().log.trim(below)
    }

    fn seal(&self, epoch: Epoch) {
        let mut state = self.state();
        state.floor = state.floor.max(epoch);
    }

    fn size_bytes(&self) -> u64 {
        self.state().log.size_bytes()
    }

    fn freed_by(&self, below: EntryNumber) -> u64 {
        self.state().log.freed_by(below)
    }
}

/// Either of the two.
#[derive(Clone, Debug)]
pub(super) enum Store {
    /// On the simulated disk.
    Disk(Arc<SimJournal>),
    /// In memory: it is durable at once, and outlives the process that uses it.
    Memory(Arc<MemoryJournal>),
}

impl Store {
    /// As the supervisor sees it.
    #[must_use]
    pub(super) fn journal(&self) -> Arc<dyn Journal> {
        match self {
            Self::Disk(journal) => journal.clone(),
            Self::Memory(journal) => journal.clone(),
        }
    }
}
