//! What is open to everybody, without a lock: how each stream stands, their names, and which of
//! them wait for somebody.

use std::{
    collections::BTreeSet,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use arc_swap::ArcSwap;
use rollcall_common::{ids::StreamId, limits::STUCK_SHOWN};

use super::{names::Names, status_table::StatusTable};

/// What is open to everybody.
#[derive(Debug, Default)]
pub(super) struct LockFreeStatus {
    pub(super) table: StatusTable,
    pub(super) names: Names,
    parked: AtomicU64,
    /// The first streams whose head waits for somebody.
    pub(super) stuck: Few,
    /// The first streams that refuse new messages, having as many as they may have.
    pub(super) full: Few,
}

/// The first of some streams, at most [`STUCK_SHOWN`].
#[derive(Debug, Default)]
pub(super) struct Few(ArcSwap<Vec<StreamId>>);

impl LockFreeStatus {
    /// Forgets everything.
    pub(super) fn clear(&self) {
        self.table.clear();
        self.names.reset(&self.table);
        self.parked.store(0, Ordering::Relaxed);
        self.stuck.0.store(Arc::default());
        self.full.0.store(Arc::default());
    }

    /// How many messages are parked.
    pub(super) fn parked(&self) -> u64 {
        self.parked.load(Ordering::Relaxed)
    }

    /// So many instead of so many messages of a stream are parked.
    pub(super) fn park(&self, before: u32, now: u32) {
        let parked = self.parked() + u64::from(now) - u64::from(before);
        self.parked.store(parked, Ordering::Relaxed);
    }
}

impl Few {
    /// At most `limit` of them.
    pub(super) fn first(&self, limit: usize) -> Vec<StreamId> {
        self.0.load().iter().take(limit).copied().collect()
    }

    /// Shows which they are now that `stream` is or is not one of them.
    pub(super) fn show(&self, stream: StreamId, all: &BTreeSet<StreamId>) {
        let shown = self.0.load();
        if shown.len() < STUCK_SHOWN || shown.last().is_some_and(|last| stream <= *last) {
            self.0.store(Arc::new(all.iter().take(STUCK_SHOWN).copied().collect()));
        }
    }
}
