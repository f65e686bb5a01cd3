//! Whether a record can follow those before it. A journal that says what can't be is refused with
//! the place and the reason; folding it would end the process, or build on what is wrong.

use rollcall_common::ids::{Sequence, StreamId};

use super::{
    slot::SlotState,
    snapshot::FoldOrigin,
    state::{State, index},
};
use crate::record::{Record, snapshot::SnapshotPart};

type Wrong = Option<&'static str>;

impl State {
    /// Why a record can't follow those before it; `None`: it can.
    #[must_use]
    pub fn contradiction(&self, record: &Record) -> Wrong {
        if let Record::Snapshot(part) = record {
            return self.contradiction_of_snapshot(part);
        }
        if !self.is_rooted() {
            return Some("it stands between the parts of a snapshot");
        }
        match record {
            Record::StreamCreated { stream, .. } => (index(*stream) != self.streams.len())
                .then_some("its stream is numbered out of turn"),
            Record::Accepted { stream, sequence, .. } => {
                let Some(entry) = self.streams.get(index(*stream)) else {
                    return Some("it is of an unknown stream");
                };
                (entry.next != *sequence).then_some("its sequence is not the next one")
            }
            Record::Answered { stream, sequence, .. } => self.unsettled(*stream, *sequence),
            Record::Failed { stream, sequence, .. }
            | Record::Parked { stream, sequence, .. }
            | Record::Retried { stream, sequence, .. }
            | Record::WorkerDied { stream, sequence, .. } => self.unreleased(*stream, *sequence),
            Record::PassedThrough { stream, first, last, .. } => {
                let ends =
                    self.unreleased(*stream, *first).or_else(|| self.unreleased(*stream, *last));
                let mut all = (first.0..=last.0).map(Sequence);
                ends.or_else(|| all.find_map(|sequence| self.unsettled(*stream, sequence)))
            }
            Record::Paused { stream, .. } | Record::Resumed { stream, .. } => {
                let unknown = index(*stream) >= self.streams.len();
                unknown.then_some("it is of an unknown stream")
            }
            // Who was removed may still be spoken of.
            Record::Alert(_)
            | Record::SubscriptionConfigured { .. }
            | Record::Audited(_)
            | Record::Snapshot(_)
            | Record::Batched { .. }
            | Record::Checkpointed { .. }
            | Record::Copied { .. }
            | Record::CopiedResult { .. }
            | Record::Delivered { .. }
            | Record::PassedOver { .. }
            | Record::Rewound { .. }
            | Record::Scanned { .. }
            | Record::Started { .. }
            | Record::Subscribed { .. }
            | Record::SubscriptionPaused { .. }
            | Record::SubscriptionResumed { .. }
            | Record::Trimmed { .. }
            | Record::OutageBegan { .. }
            | Record::OutageEnded { .. }
            | Record::Unsubscribed { .. } => None,
        }
    }

    fn contradiction_of_snapshot(&self, part: &SnapshotPart) -> Wrong {
        let FoldOrigin::Loading(parts) = self.origin else {
            return None;
        };
        match part {
            SnapshotPart::Header(_) => Some("a snapshot begins in another one"),
            SnapshotPart::Ended { streams, parts: all } => {
                let whole = parts == *all && index(StreamId(*streams)) == self.streams.len();
                (!whole).then_some("a snapshot ends that is not whole")
            }
            SnapshotPart::Keys { stream, .. } => {
                let unknown = index(*stream) >= self.streams.len();
                unknown.then_some("it is of an unknown stream")
            }
            SnapshotPart::Slot { stream, sequence, .. } => self.unreleased(*stream, *sequence),
            SnapshotPart::Stream(stream) => (index(stream.stream) != self.streams.len())
                .then_some("its stream is numbered out of turn"),
            SnapshotPart::Alert(_)
            | SnapshotPart::Audit(_)
            | SnapshotPart::Batches { .. }
            | SnapshotPart::Cursors { .. }
            | SnapshotPart::More(_)
            | SnapshotPart::Outage { .. }
            | SnapshotPart::Subscription(_) => None,
        }
    }

    fn unreleased(&self, stream: StreamId, sequence: Sequence) -> Wrong {
        let Some(entry) = self.streams.get(index(stream)) else {
            return Some("it is of an unknown stream");
        };
        let there = sequence > entry.released && sequence < entry.next;
        (!there).then_some("its message is not unreleased")
    }

    fn unsettled(&self, stream: StreamId, sequence: Sequence) -> Wrong {
        self.unreleased(stream, sequence).or_else(|| {
            let slot = self.streams.get(index(stream))?.slot(sequence)?;
            let done = matches!(slot.state, SlotState::Done { .. });
            done.then_some("its message has its result already")
        })
    }
}
