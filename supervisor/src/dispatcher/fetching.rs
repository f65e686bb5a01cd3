//! Messages that are in memory while they wait: which are read back from the journal, when there is
//! room for a call with them, and which are let go.

use std::{collections::BTreeMap, sync::Arc};

use rollcall_common::{
    ids::{Sequence, StreamId},
    limits::{FETCH_BYTES, FETCHES_BYTES},
    message::Message,
    time::Time,
};

use super::{
    Dispatcher,
    effect::Effect,
    pool::PoolKey,
    slot::{Held, Slot},
    state::State,
    stream::Turn,
};

/// How many messages after the one that is needed are read back with it.
const FETCH_AHEAD: u64 = 4095;
/// A read gets one part in this many of the bytes that are left for all of them.
const SHARE: usize = 4;

/// Reads of messages that are out, one for a stream.
#[derive(Debug, Default)]
pub(super) struct Fetches {
    out: BTreeMap<StreamId, Fetch>,
    /// How many there are of each pool.
    counts: BTreeMap<PoolKey, usize>,
    /// Bytes that they may bring.
    bytes: usize,
}

/// A read of messages.
#[derive(Clone, Copy, Debug)]
struct Fetch {
    pool: PoolKey,
    bytes: usize,
}

impl Fetches {
    /// How many of a pool are out.
    pub(super) fn of(&self, pool: PoolKey) -> usize {
        self.counts.get(&pool).copied().unwrap_or_default()
    }

    /// Whether one of the stream is out.
    pub(super) fn has(&self, stream: StreamId) -> bool {
        self.out.contains_key(&stream)
    }

    /// Notes one that goes out. Gives back what it may bring, `room` at most.
    fn begin(&mut self, stream: StreamId, pool: PoolKey, room: usize) -> usize {
        let left = FETCHES_BYTES.saturating_sub(self.bytes);
        let bytes = room.min(left / SHARE).min(FETCH_BYTES);
        self.out.insert(stream, Fetch { pool, bytes });
        *self.counts.entry(pool).or_default() += 1;
        self.bytes += bytes;
        bytes
    }

    /// Notes that the one of a stream is over.
    fn end(&mut self, stream: StreamId) {
        if let Some(Fetch { pool, bytes }) = self.out.remove(&stream) {
            self.bytes -= bytes;
            if let Some(count) = self.counts.get_mut(&pool) {
                *count -= 1;
            }
        }
    }
}

impl State {
    /// Lets go of a message that waits, if it is held: it is read back when its turn comes.
    fn let_go(&mut self, stream: StreamId, sequence: Sequence) {
        let held = self.stream_mut(stream).slot_mut(sequence).and_then(Slot::let_go);
        self.held_bytes -= held.map_or(0, |held| held.message.weight());
    }
}

impl Dispatcher {
    /// Puts a stream in line for having a message read back that is to go out.
    pub(super) fn fetch_for(&mut self, (stream, first): (StreamId, Sequence)) {
        let entry = self.state.stream_mut(stream);
        entry.again.insert(first);
        if let Some(pool) = entry.pool {
            entry.turn = Turn::Unread;
            self.roster.pool_mut(pool).unread.push_back((stream, first));
        }
    }

    /// Reads messages back, as many at once as may be, and only when there is room for a call: what
    /// was read waits in memory. Gives back whether a stream is in line for a call instead.
    pub(super) fn pump_fetches(&mut self, now: Time) -> bool {
        let mut queued = false;
        for pool in self.roster.pool_keys() {
            while !self.draining
                && !self.roster.pool_ref(pool).unread.is_empty()
                && self.may_fetch(pool)
                && self.has_room(pool, now)
                && let Some(place) = self.roster.pool_mut(pool).unread.pop_front()
            {
                queued |= !self.fetch(place, pool);
            }
        }
        queued
    }

    /// Whether another read of a pool may go out, if there is room for a call. In an outage there
    /// is one, and only when no probe could go out without it.
    pub(super) fn may_fetch(&self, pool: PoolKey) -> bool {
        let out = self.fetches.of(pool);
        if self.is_out(pool) {
            return out == 0 && self.roster.pool_ref(pool).queue.is_empty();
        }
        self.roster.has_fit(pool) && out < self.settings.bounds.fetches.max(1)
    }

    /// Has a message read back; whether it still is to be.
    fn fetch(&mut self, (stream, first): (StreamId, Sequence), pool: PoolKey) -> bool {
        let entry = self.state.stream_mut(stream);
        entry.turn = Turn::None;
        let wanted = entry.wants_turn() && entry.again.contains(first);
        if !wanted || !entry.slot(first).is_some_and(Slot::is_without_message) {
            // It was decided while it stood in line, or the stream was paused.
            self.enqueue(stream);
            return false;
        }
        entry.turn = Turn::Fetching;
        // A window that was made smaller may end before it.
        let last = entry.window_end().min(Sequence(first.0 + FETCH_AHEAD)).max(first);
        let room = self.settings.bounds.cache_bytes.saturating_sub(self.state.held_bytes);
        let bytes = self.fetches.begin(stream, pool, room);
        self.effects.push_back(Effect::Fetch { stream, first, last, bytes });
        true
    }

    /// Messages came back from the journal. The first one that was asked for may have its result
    /// meanwhile; if it has none and is not among them, it is nowhere.
    pub(super) fn fetched(
        &mut self,
        (stream, first): (StreamId, Sequence),
        messages: Vec<(Sequence, Time, Arc<Message>)>,
        now: Time,
    ) {
        self.fetches.end(stream);
        for (sequence, accepted_at, message) in messages {
            // The one that is needed in any case, however full the memory is.
            let room = self.state.held_bytes < self.settings.bounds.cache_bytes;
            if room || sequence == first {
                self.state.hold(stream, sequence, Held { accepted_at, message });
            }
        }
        let entry = self.state.stream_mut(stream);
        entry.turn = Turn::None;
        let open = entry.slot(first).is_some_and(Slot::is_without_message);
        if open && entry.pool.is_some() && entry.again.contains(first) && !entry.paused {
            return self.quarantine_stream((stream, first), now);
        }
        self.enqueue(stream);
    }

    /// Lets go of a message that has come back from a worker without a result, when there is no
    /// room for it: what waits to be tried again may be any number.
    pub(super) fn let_go(&mut self, (stream, sequence): (StreamId, Sequence)) {
        if self.state.held_bytes > self.settings.bounds.cache_bytes {
            self.state.let_go(stream, sequence);
        }
    }
}
