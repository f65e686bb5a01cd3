//! The journal on a local disk: a log in segments, written by one thread.
//!
//! ```text
//!   append ──► queue ──► committer: write the group · sync once · publish the tail · mark · extend
//!                        │                                          (the next group gathers)
//!   read, trim ─────────► segments: the segments that are there
//! ```
//!
//! [`Log`] is all of it but the thread, to be driven step by step.

mod bytes;
#[cfg(any(test, feature = "checks"))]
pub mod checks;
mod committer;
pub mod disk;
mod error;
mod frame;
mod index;
mod log;
mod options;
mod pages;
mod preallocate;
mod recovery;
mod scan;
mod segment;
mod segments;
pub mod sim_disk;
#[cfg(test)]
mod tests;
mod writer;

use std::{io, path::Path, sync::Arc, thread};

use ::bytes::Bytes;
use rollcall_common::ids::Epoch;
use tokio::sync::watch;
use uuid::Uuid;

use self::{
    committer::{Committer, Queue},
    disk::{Disk, FileDisk},
    segments::SegmentSet,
};
pub use self::{
    error::OpenError,
    log::Log,
    options::Options,
    preallocate::Load,
    recovery::{Cut, Recovered},
    writer::{Unwritten, WriteError},
};
use super::{AppendError, ENTRY_BYTES, Entry, EntryNumber, Journal, ReadError, Tail, Ticket};

/// A journal on a disk. When it is dropped, what was appended is written and synced first.
#[derive(Debug)]
pub struct LocalJournal<D: Disk = FileDisk> {
    queue: Arc<Queue>,
    segments: Arc<SegmentSet<D>>,
    committer: Option<thread::JoinHandle<()>>,
}

impl LocalJournal {
    /// Opens the journal in a directory, or makes a new one there.
    ///
    /// # Errors
    /// When another process has it open, it is damaged, or the system refuses.
    pub fn open(dir: &Path, options: &Options) -> Result<(Self, Recovered), OpenError> {
        Self::open_on(FileDisk::open(dir)?, options, Uuid::now_v7())
    }
}

impl<D: Disk> LocalJournal<D> {
    /// Opens the journal on `disk`, or makes a new one there with this `identity`.
    ///
    /// # Errors
    /// When it is damaged, or the system refuses.
    pub fn open_on(
        disk: D,
        options: &Options,
        identity: Uuid,
    ) -> Result<(Self, Recovered), OpenError> {
        let path = disk.path("");
        let (log, recovered) = Log::open(disk, options, identity)?;
        let queue = Arc::new(Queue::new(&log, recovered.next_epoch));
        let segments = log.segments();
        let committer = Committer::new(log, queue.clone());
        let committer = thread::Builder::new()
            .name("journal".to_owned())
            .spawn(move || committer.run())
            .map_err(|source| OpenError::Io {
                what: "start the thread that writes",
                path,
                source,
            })?;
        let journal = Self { queue, segments, committer: Some(committer) };
        Ok((journal, recovered))
    }

    /// Writes and syncs what was appended, and ends. Dropping does the same, but doesn't say
    /// how it went.
    ///
    /// # Errors
    /// When not all is durable: storage has failed, or the disk is full.
    pub fn close(mut self) -> Result<(), Arc<str>> {
        self.finish();
        self.queue.outcome()
    }

    fn finish(&mut self) {
        self.queue.close();
        if let Some(committer) = self.committer.take()
            && committer.join().is_err()
        {
            tracing::error!("the thread that writes the journal has panicked");
        }
    }
}

impl<D: Disk> Drop for LocalJournal<D> {
    fn drop(&mut self) {
        self.finish();
    }
}

impl<D: Disk> Journal for LocalJournal<D> {
    fn append(&self, payload: Bytes, epoch: Epoch) -> Result<Ticket, AppendError> {
        if payload.len() > ENTRY_BYTES {
            return Err(AppendError::TooLarge { bytes: payload.len(), limit: ENTRY_BYTES });
        }
        self.queue.append(payload, epoch)
    }

    fn read(&self, from: EntryNumber, limit_bytes: usize) -> Result<Vec<Entry>, ReadError> {
        self.segments.read(from, limit_bytes)
    }

    fn tail(&self) -> watch::Receiver<Tail> {
        self.queue.tail()
    }

    fn first(&self) -> EntryNumber {
        self.segments.first()
    }

    fn trim(&self, below: EntryNumber) -> io::Result<EntryNumber> {
        self.segments.trim(below)
    }

    fn seal(&self, epoch: Epoch) {
        self.queue.seal(epoch);
    }

    fn size_bytes(&self) -> u64 {
        self.segments.size_bytes()
    }

    fn freed_by(&self, below: EntryNumber) -> u64 {
        self.segments.freed_by(below)
    }
}
