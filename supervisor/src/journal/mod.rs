//! The journal: what must survive, as a log of entries. It stores bytes and knows nothing of what
//! they say; [`crate::record`] does.
//!
//! ```text
//!   trimmed away │ first .............. durable │ appended, not yet durable │
//!                └─ read() gives these ─────────┘ ▲ tail().next             └─ next ticket
//! ```
//!
//! Appending only enqueues and gives back a [`Ticket`]; the order of the calls is the order of
//! the log. A ticket is good once [`Tail::next`] has passed it.

use std::{fmt, sync::Arc};

use bytes::Bytes;
use rollcall_common::ids::Epoch;
pub use rollcall_common::limits::ENTRY_BYTES;
use tokio::sync::watch;

#[cfg(test)]
mod conformance;
pub mod local;
pub mod memory;

/// The 1-based, gap-free number of an entry: one append is one entry.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct EntryNumber(pub u64);

impl EntryNumber {
    /// The first entry of a journal.
    pub const FIRST: Self = Self(1);

    /// The number after this one.
    #[must_use]
    pub fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

impl fmt::Display for EntryNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// An entry, as read back.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Entry {
    /// Its number.
    pub number: EntryNumber,
    /// The epoch under which it was appended.
    pub epoch: Epoch,
    /// Its bytes, as appended.
    pub payload: Bytes,
}

/// The receipt of an append. It is good once the journal's tail has passed its entry.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
#[must_use]
pub struct Ticket(pub EntryNumber);

/// How far the journal is safe, and how it is.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Tail {
    /// The first entry that is not yet durable. All before it will survive.
    pub next: EntryNumber,
    /// Whether there is room for more than what the work in hand still needs.
    pub space: Space,
    /// Set once, when storage has failed: nothing more becomes durable.
    pub failed: Option<Arc<str>>,
}

/// Room for more.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Space {
    /// There is.
    Enough,
    /// Only the reserve is left: results and checkpoints may still be written, nothing new
    /// should be taken in. Passes by itself when there is room again.
    Low,
}

/// Why an append was refused.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum AppendError {
    /// Someone with a later epoch owns the journal now.
    #[error("epoch {given} is over: the journal is at epoch {current}")]
    StaleEpoch {
        /// The epoch of the refused append.
        given: Epoch,
        /// The lowest epoch that may append.
        current: Epoch,
    },
    /// The entry is larger than the journal can hold.
    #[error("an entry of {bytes} bytes is over the journal's limit of {limit}")]
    TooLarge {
        /// Its size.
        bytes: usize,
        /// The limit.
        limit: usize,
    },
    /// Storage has failed.
    #[error("the journal has failed: {0}")]
    Failed(Arc<str>),
}

/// Why nothing could be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// What was asked for has been trimmed away.
    #[error("entries before {first} have been trimmed away")]
    Trimmed {
        /// The first that is still there.
        first: EntryNumber,
    },
    /// The bytes are not what was written.
    #[error("the journal is damaged: {0}")]
    Damaged(String),
    /// The system could not read.
    #[error("the journal can't be read: {0}")]
    Io(#[from] std::io::Error),
}

/// A log of entries. Every method is required: a default would hide a missing one.
pub trait Journal: fmt::Debug + Send + Sync {
    /// Enqueues `payload` as the next entry. The entry is whole or absent after a crash, and
    /// never there without all before it.
    ///
    /// # Errors
    /// When `epoch` is older than one seen or sealed, the payload is too large, or storage has
    /// failed. Nothing was enqueued then.
    fn append(&self, payload: Bytes, epoch: Epoch) -> Result<Ticket, AppendError>;

    /// Durable entries from number `from` on, in order: as many as fit into `limit_bytes`, at
    /// least one if there is one, none if `from` is not durable yet. Blocks on the disk.
    ///
    /// # Errors
    /// When `from` has been trimmed away, or the bytes can't be read.
    fn read(&self, from: EntryNumber, limit_bytes: usize) -> Result<Vec<Entry>, ReadError>;

    /// How far the journal is safe, now and as it changes.
    fn tail(&self) -> watch::Receiver<Tail>;

    /// The first entry that is still there (or the next one to come, if none is).
    fn first(&self) -> EntryNumber;

    /// Says that entries below `below` may go. Whole segments go; so some of them may stay. What
    /// is not durable stays. Gives back the first entry that is still there.
    ///
    /// # Errors
    /// When files can't be removed.
    fn trim(&self, below: EntryNumber) -> std::io::Result<EntryNumber>;

    /// From now on only `epoch` and later ones may append.
    fn seal(&self, epoch: Epoch);

    /// Bytes that the journal takes up in storage.
    fn size_bytes(&self) -> u64;

    /// Bytes that [`Journal::trim`] would free now.
    fn freed_by(&self, below: EntryNumber) -> u64;
}
