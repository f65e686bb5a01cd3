//! How much one call of the dispatcher, and one entry of the journal, may hold. These are handed
//! down, so that the simulator can play them small.

use rollcall_common::limits::{
    CACHE_BYTES, ENTRY_BYTES, ENTRY_RESERVE, FETCHES, HELD_ALERTS, IN_FLIGHT_BYTES, PASSED_AT_ONCE,
    SNAPSHOT_ITEMS, STREAMS, SWEPT_AT_ONCE, TURN_BYTES, WORK_AT_ONCE,
};

/// Bytes of a key, a cursor or a run of results, at most.
const ITEM_BYTES: usize = 64;

/// How much one call of the dispatcher, and one entry of the journal, may hold.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Bounds {
    /// Bytes of the largest entry that the journal takes.
    pub entry_bytes: usize,
    /// Bytes after which an entry ends, wherever it may.
    pub turn_bytes: usize,
    /// Bytes of an entry that are left for what else a turn has to say.
    pub reserve_bytes: usize,
    /// Timers, streams and heads that one call works off.
    pub work: usize,
    /// Streams that one call looks at of a walk over all of them.
    pub sweep: usize,
    /// Messages of one stream without a processing step that pass at once.
    pub passes: usize,
    /// Live alerts about single streams that stand still.
    pub held_alerts: usize,
    /// Streams that there may be.
    pub streams: usize,
    /// Bytes of messages that are kept in memory.
    pub cache_bytes: usize,
    /// Bytes of messages that are out at workers.
    pub in_flight_bytes: usize,
    /// Reads of messages of one pool at once.
    pub fetches: usize,
}

impl Bounds {
    /// Bytes that the messages of one request may take up in the entry that holds them all: an
    /// entry may be begun already, and nothing of the request may be in the next one.
    #[must_use]
    pub const fn batch_bytes(&self) -> usize {
        self.entry_bytes.saturating_sub(self.turn_bytes).saturating_sub(self.reserve_bytes)
    }

    /// Keys, cursors or runs of results in one record.
    #[must_use]
    pub fn items(&self) -> usize {
        (self.batch_bytes() / ITEM_BYTES).clamp(1, SNAPSHOT_ITEMS)
    }
}

impl Default for Bounds {
    fn default() -> Self {
        Self {
            entry_bytes: ENTRY_BYTES,
            turn_bytes: TURN_BYTES,
            reserve_bytes: ENTRY_RESERVE,
            work: WORK_AT_ONCE,
            sweep: SWEPT_AT_ONCE,
            passes: PASSED_AT_ONCE,
            held_alerts: HELD_ALERTS,
            streams: STREAMS,
            cache_bytes: CACHE_BYTES,
            in_flight_bytes: IN_FLIGHT_BYTES,
            fetches: FETCHES,
        }
    }
}
