//! What of a record readers see.

use std::sync::Arc;

use rollcall_common::{
    ids::{Sequence, StreamId, StreamName},
    time::Time,
};

use crate::{
    dispatcher::{Released, StreamStatus},
    record::{Answer, Record},
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
        /// Which record of the entry it is.
        index: u32,
    },
    /// A stream came into being.
    Opened {
        /// Its number.
        stream: StreamId,
        /// Its name.
        name: StreamName,
    },
    /// Messages are their own results.
    Passed {
        /// Their stream.
        stream: StreamId,
        /// The first one.
        first: Sequence,
        /// The last one.
        last: Sequence,
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
}

impl Change {
    /// What `record`, the one with that index in its entry, changes.
    #[must_use]
    pub fn of(record: Record, index: u32) -> Option<Self> {
        match record {
            Record::Accepted { stream, sequence, at, .. } => {
                Some(Self::Accepted { stream, sequence, at, index })
            }
            Record::Answered { stream, sequence, answer, .. } => {
                Some(Self::Answered { stream, sequence, answer: Some(answer), index })
            }
            Record::Opened { stream, name } => Some(Self::Opened { stream, name }),
            Record::Passed { stream, first, last, .. } => {
                Some(Self::Passed { stream, first, last })
            }
            Record::Alert(_)
            | Record::Arranged { .. }
            | Record::Audited(_)
            | Record::Checkpointed { .. }
            | Record::Delivered { .. }
            | Record::Failed { .. }
            | Record::Parked { .. }
            | Record::Paused { .. }
            | Record::Resumed { .. }
            | Record::Retried { .. }
            | Record::Rewound { .. }
            | Record::Scanned { .. }
            | Record::Started { .. }
            | Record::Subscribed { .. }
            | Record::Suspected { .. }
            | Record::SubscriptionPaused { .. }
            | Record::SubscriptionResumed { .. }
            | Record::Unsubscribed { .. } => None,
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
