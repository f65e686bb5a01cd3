//! From a journal to what it says: where the fold begins, and the fold.

use rollcall_common::{
    ids::{Sequence, StreamName},
    limits::VIEW_SPILL_ROWS,
    time::Time,
};

use super::engine::Recovered;
use crate::{
    dispatcher::Settings,
    journal::{Entry, EntryNumber, Journal, ReadError},
    record::{
        Record,
        codec::{DecodeError, decode, is_base},
        snapshot::SnapshotPart,
    },
    views::Views,
};

/// Places in memory beyond which recovery moves some to the disk.
const OVERHANG: usize = 2 * VIEW_SPILL_ROWS;

/// Why a journal could not be folded.
#[derive(Debug, thiserror::Error)]
pub enum RecoverError {
    /// What lies before its first entry is missing, and nothing says that it may be.
    #[error("the journal begins with entry {0}: the files before it are missing")]
    Beheaded(EntryNumber),
    /// An entry holds what this program can't read.
    #[error("entry {0} of the journal can't be taken in: {1}")]
    Decode(EntryNumber, DecodeError),
    /// The views can't be written.
    #[error("the index of the journal can't be written: {0}")]
    Index(#[from] std::io::Error),
    /// A message that is not done is not there.
    #[error("message {1} of {0} is neither done nor in the journal")]
    Missing(StreamName, Sequence),
    /// The journal can't be read.
    #[error("the journal can't be read: {0}")]
    Read(#[from] ReadError),
}

/// Folds a journal, from its beginning or from the oldest whole snapshot in it on, and shows it
/// to `views`. So what `views` has reaches back as far as the journal does. Reads `bytes` at a
/// time; `seen` is told of each entry that is folded.
///
/// # Errors
/// When the journal can't be read, or its beginning is missing: a journal that was trimmed says
/// so ([`Record::Trimmed`]), and has a snapshot.
pub fn recover(
    journal: &dyn Journal,
    settings: &Settings,
    (views, bytes): (&Views, usize),
    mut seen: impl FnMut(&Entry, Time),
) -> Result<Recovered, RecoverError> {
    let first = journal.first();
    let mut next = first;
    if first > EntryNumber::FIRST {
        next = find_base(journal, bytes)?.ok_or(RecoverError::Beheaded(first))?;
    }
    let (mut recovered, mut changes) = (Recovered::default(), Vec::new());
    loop {
        let entries = journal.read(next, bytes)?;
        let Some(last) = entries.last().map(|entry| entry.number) else {
            break;
        };
        for entry in entries {
            let taken = recovered.take(&entry, settings, |_, change| changes.push(change));
            taken.map_err(|error| RecoverError::Decode(entry.number, error))?;
            views.take(entry.number, changes.drain(..));
            seen(&entry, recovered.state.last_time());
        }
        if views.unspilled() > OVERHANG {
            views.spill()?;
        }
        next = last.next();
    }
    views.settle();
    if first > EntryNumber::FIRST && first > recovered.trimmed {
        return Err(RecoverError::Beheaded(first));
    }
    for (stream, name, next) in recovered.state.ends() {
        if let Some(sequence) = views.missing(stream, next) {
            return Err(RecoverError::Missing(name.clone(), sequence));
        }
    }
    Ok(recovered)
}

/// The entry in which the oldest whole snapshot begins.
fn find_base(journal: &dyn Journal, bytes: usize) -> Result<Option<EntryNumber>, RecoverError> {
    let mut next = journal.first();
    let mut begun = None;
    loop {
        let entries = journal.read(next, bytes)?;
        let Some(last) = entries.last().map(|entry| entry.number) else {
            return Ok(None);
        };
        for entry in entries {
            // Most entries are none of it, and need not be read.
            if !is_base(&entry.payload) {
                begun = None;
                continue;
            }
            let records = decode(&entry.payload);
            for record in records.map_err(|error| RecoverError::Decode(entry.number, error))? {
                if let Record::Snapshot(SnapshotPart::Header(_)) = record {
                    begun = Some(entry.number);
                } else if let Record::Snapshot(SnapshotPart::Ended { .. }) = record
                    && begun.is_some()
                {
                    return Ok(begun);
                }
            }
        }
        next = last.next();
    }
}
