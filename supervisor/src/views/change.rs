//! What of a record readers see.

use std::sync::Arc;

use rollcall_common::{
    ids::{Position, Sequence, StreamId, StreamName},
    time::Time,
};

use crate::{
    dispatcher::{Released, StreamStatus},
    journal::EntryNumber,
    record::{
        Answer, Record,
        snapshot::{SnapshotHeader, SnapshotPart, SnapshotStream},
    },
};

/// Something that changes what readers see.
#[derive(Clone, Debug)]
pub enum Change {
    /// A message was taken in.
    Accepted {
        /// Its stream.
        stream: StreamId,
        /// Its place in the stream.
        sequence: Sequence,
        /// When.
        at: Time,
        /// Bytes of the message.
        bytes: u32,
        /// Which record of the entry it is.
        index: u32,
    },
    /// A message has its result.
    Answered {
        /// Its stream.
        stream: StreamId,
        /// Its place in the stream.
        sequence: Sequence,
        /// The result, while it is at hand.
        answer: Option<Arc<Answer>>,
        /// Bytes of the result.
        bytes: u32,
        /// Which record of the entry it is.
        index: u32,
    },
    /// The snapshot that was begun is whole.
    SnapshotEnded,
    /// A snapshot begins in this entry.
    SnapshotBegun {
        /// The last position given.
        head: Position,
        /// When, in the journal's own time.
        at: Time,
    },
    /// A message or its result lies here from now on.
    Copied {
        /// Its stream.
        stream: StreamId,
        /// Its place in the stream.
        sequence: Sequence,
        /// Which of the two.
        what: Copied,
        /// Its bytes.
        bytes: u32,
        /// Which record of the entry it is.
        index: u32,
    },
    /// Reading begins at a snapshot: results up to here are not there.
    Loaded {
        /// The last position given.
        head: Position,
    },
    /// Reading begins at a snapshot, which has this stream.
    LoadedStream {
        /// Its name.
        name: StreamName,
        /// The last released one.
        released: Sequence,
        /// How many of the last released ones were skipped, one behind the other.
        skips: u32,
    },
    /// A stream came into being.
    Opened {
        /// Its number.
        stream: StreamId,
        /// Its name.
        name: StreamName,
    },
    /// A result has its turn.
    Released(Released),
    /// A stream's status is another.
    Status {
        /// The stream.
        stream: StreamId,
        /// Its status.
        status: StreamStatus,
    },
    /// Results up to here are no longer kept.
    Trimmed {
        /// The last position that isn't.
        through: Position,
        /// The entry before which all may be removed.
        below: EntryNumber,
    },
}

/// What was copied.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Copied {
    /// A message.
    Message {
        /// When it was taken in.
        at: Time,
    },
    /// A result.
    Result,
}

impl Change {
    /// What `record`, the one with that index in its entry, changes.
    #[must_use]
    pub fn of(record: Record, index: u32) -> Option<Self> {
        match record {
            Record::Accepted { stream, sequence, at, message } => {
                let bytes = narrow(message.weight());
                Some(Self::Accepted { stream, sequence, at, bytes, index })
            }
            Record::Answered { stream, sequence, answer, .. } => {
                let bytes = narrow(answer.weight());
                Some(Self::Answered { stream, sequence, answer: Some(answer), bytes, index })
            }
            Record::Snapshot(SnapshotPart::Header(SnapshotHeader { head, last, down, .. })) => {
                let at = Time::from_micros(last.as_micros().saturating_sub(down));
                Some(Self::SnapshotBegun { head, at })
            }
            Record::Snapshot(SnapshotPart::Ended { .. }) => Some(Self::SnapshotEnded),
            Record::Copied { stream, sequence, at, message } => {
                let bytes = narrow(message.weight());
                let what = Copied::Message { at };
                Some(Self::Copied { stream, sequence, what, bytes, index })
            }
            Record::CopiedResult { stream, sequence, answer, .. } => {
                let bytes = narrow(answer.weight());
                let what = Copied::Result;
                Some(Self::Copied { stream, sequence, what, bytes, index })
            }
            Record::StreamCreated { stream, name } => Some(Self::Opened { stream, name }),
            Record::Trimmed { through, below } => {
                Some(Self::Trimmed { through, below: EntryNumber(below) })
            }
            Record::Alert(_)
            | Record::SubscriptionConfigured { .. }
            | Record::Audited(_)
            | Record::Batched { .. }
            | Record::Checkpointed { .. }
            | Record::Snapshot(_)
            | Record::Delivered { .. }
            | Record::Failed { .. }
            | Record::Parked { .. }
            | Record::PassedThrough { .. }
            | Record::PassedOver { .. }
            | Record::Paused { .. }
            | Record::Resumed { .. }
            | Record::OutageBegan { .. }
            | Record::OutageEnded { .. }
            | Record::Retried { .. }
            | Record::Rewound { .. }
            | Record::Scanned { .. }
            | Record::Started { .. }
            | Record::Subscribed { .. }
            | Record::WorkerDied { .. }
            | Record::SubscriptionPaused { .. }
            | Record::SubscriptionResumed { .. }
            | Record::Unsubscribed { .. } => None,
        }
    }

    /// What a part of the snapshot that reading begins with changes.
    #[must_use]
    pub fn of_base(record: &Record) -> Option<Self> {
        let Record::Snapshot(snapshot) = record else {
            return None;
        };
        match snapshot {
            SnapshotPart::Header(begun) => Some(Self::Loaded { head: begun.head }),
            SnapshotPart::Stream(SnapshotStream { name, released, skips, .. }) => {
                Some(Self::LoadedStream { name: name.clone(), released: *released, skips: *skips })
            }
            SnapshotPart::Alert(_)
            | SnapshotPart::Audit(_)
            | SnapshotPart::Batches { .. }
            | SnapshotPart::Ended { .. }
            | SnapshotPart::Keys { .. }
            | SnapshotPart::Cursors { .. }
            | SnapshotPart::More(_)
            | SnapshotPart::Outage { .. }
            | SnapshotPart::Slot { .. }
            | SnapshotPart::Subscription(_) => None,
        }
    }

    /// The same, with nothing but places. (A record that was read back is a slice of its whole
    /// entry; keeping a few of them would keep all of it.)
    #[must_use]
    pub fn lean(mut self) -> Self {
        if let Self::Answered { answer, .. } = &mut self {
            *answer = None;
        }
        self
    }
}

fn narrow(bytes: usize) -> u32 {
    u32::try_from(bytes).unwrap_or(u32::MAX)
}
