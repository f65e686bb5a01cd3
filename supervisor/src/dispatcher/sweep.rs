//! Walks over all streams, a part in each call: with a million streams, no call may take long.
//! New settings are laid over each stream before anything is decided for it by its turn in a line
//! ([`Dispatcher::enqueue`]), so that the walk only finds those for which nothing happens.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use rollcall_common::{ids::StreamId, time::Time};

use super::{
    Dispatcher,
    pool::PoolKey,
    stream::{Alarm, Turn},
};

/// What is left of such walks. Soft.
#[derive(Debug, Default)]
pub(super) struct Sweeps {
    /// How often new settings have come. It counts round: a walk ends long before that.
    revision: u16,
    /// Streams that stood in line for a pool when they came: they go first, in their order.
    in_line: VecDeque<StreamId>,
    /// The next of all streams that may not have them, while some may not.
    adopting: Option<StreamId>,
    /// Pools that a stream names, once all streams have the newest settings.
    used: BTreeSet<PoolKey>,
    /// Pools about whose streams something else is to be shown, and the next stream of all.
    showing: BTreeMap<PoolKey, StreamId>,
}

impl Sweeps {
    /// Whether nothing is left.
    pub(super) fn is_empty(&self) -> bool {
        self.adopting.is_none() && self.showing.is_empty()
    }

    /// The revision of the settings that streams are to have.
    pub(super) fn revision(&self) -> u16 {
        self.revision
    }

    /// Whether some streams may not have the newest settings.
    pub(super) fn is_adopting(&self) -> bool {
        self.adopting.is_some()
    }

    /// Notes that a stream names this pool.
    pub(super) fn note_used(&mut self, pool: PoolKey) {
        self.used.insert(pool);
    }

    /// Whether a stream names this pool, once all streams have the newest settings.
    pub(super) fn is_used(&self, pool: PoolKey) -> bool {
        self.used.contains(&pool)
    }

    fn next_to_adopt(&mut self, streams: usize) -> Option<StreamId> {
        let all = self.adopting?;
        if let Some(first) = self.in_line.pop_front() {
            return Some(first);
        }
        let next = StreamId(all.0.saturating_add(1));
        self.adopting = (all < StreamId::after(streams)).then_some(next);
        self.adopting.map(|_| all)
    }
}

impl Dispatcher {
    /// Lays new settings over what is there: at the start, and when they change.
    pub(super) fn adopt_settings(&mut self, now: Time) {
        let settings = &self.settings;
        self.roster.set_pool_settings(|name| settings.pool(name));
        self.sweeps.revision = self.sweeps.revision.wrapping_add(1);
        self.sweeps.adopting = Some(StreamId(0));
        self.sweeps.used.clear();
        for pool in self.roster.pool_keys() {
            let pool = self.roster.pool_mut(pool);
            self.sweeps.in_line.append(&mut pool.queue);
            self.sweeps.in_line.extend(pool.unread.drain(..).map(|(stream, _)| stream));
        }
        self.sweep(now);
        self.watch_all_departed(now);
        self.adopt_targets(now);
    }

    /// Whether the newest settings are laid over a stream.
    #[must_use]
    pub fn has_adopted(&self, stream: StreamId) -> bool {
        self.state.stream(stream).adopted == self.sweeps.revision
    }

    /// Lays the newest settings over a stream.
    pub(super) fn adopt(&mut self, stream: StreamId) {
        let revision = self.sweeps.revision;
        let entry = self.state.stream_mut(stream);
        entry.adopted = revision;
        entry.settings = self.settings.stream(&entry.name);
        if matches!(entry.turn, Turn::Queued | Turn::Unread) {
            entry.turn = Turn::None;
        }
        self.assign_pool(stream);
        let entry = self.state.stream_mut(stream);
        entry.head_watch = Alarm::default();
        if !entry.parked.is_empty() || entry.pool.is_none() && entry.backlog() > 0 {
            self.defer(stream);
        } else {
            self.enqueue(stream);
        }
        self.watch_head(stream);
        // Its bounds may be others now.
        self.dirty.insert(stream);
    }

    /// Has the status of a pool's streams published anew.
    pub(super) fn show_streams_of(&mut self, pool: PoolKey) {
        self.sweeps.showing.insert(pool, StreamId(0));
        self.sweep_showing(self.settings.bounds.sweep.max(1));
    }

    /// Does a part of what is left.
    pub(super) fn sweep(&mut self, now: Time) {
        let mut room = self.settings.bounds.sweep.max(1);
        let was_adopting = self.sweeps.is_adopting();
        while room > 0
            && let Some(stream) = self.sweeps.next_to_adopt(self.state.streams.len())
        {
            room -= 1;
            if !self.has_adopted(stream) {
                self.adopt(stream);
            }
        }
        if was_adopting && !self.sweeps.is_adopting() {
            self.review_outages(now);
        }
        self.sweep_showing(room);
    }

    fn sweep_showing(&mut self, mut room: usize) {
        while room > 0
            && let Some(mut entry) = self.sweeps.showing.first_entry()
        {
            let (pool, first) = (*entry.key(), *entry.get());
            let last = StreamId::after(self.state.streams.len());
            let until =
                last.min(StreamId(first.0.saturating_add(u32::try_from(room).unwrap_or(u32::MAX))));
            entry.insert(until);
            if until == last {
                entry.remove();
            }
            for stream in (first.0..until.0).map(StreamId) {
                room -= 1;
                let one = self.state.stream(stream);
                if one.pool == Some(pool) && one.backlog() > 0 {
                    self.dirty.insert(stream);
                }
            }
        }
    }
}
