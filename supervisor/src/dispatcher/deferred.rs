//! Work that may be more than one turn has room for: heads to be skipped, messages that pass, and
//! streams that are looked at because the settings are others. A call does a part of it; the rest
//! has its turn right after it ([`Dispatcher::poll_timeout`]).

use std::collections::BTreeSet;

use rollcall_common::{ids::StreamId, time::Time};

use super::{Dispatcher, effect::Effect};

/// Streams of which something is left to be done.
#[derive(Debug, Default)]
pub(super) struct Deferred(BTreeSet<StreamId>);

impl Deferred {
    /// Whether nothing is left.
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl Dispatcher {
    /// Whether something of a stream was left for one of the next calls.
    #[must_use]
    pub fn is_deferred(&self, stream: StreamId) -> bool {
        self.deferred.0.contains(&stream) || !self.has_adopted(stream)
    }

    /// Leaves the rest of a stream for one of the next calls.
    pub(super) fn defer(&mut self, stream: StreamId) {
        self.deferred.0.insert(stream);
    }

    /// Does a part of what was left.
    pub(super) fn work_off(&mut self, now: Time) {
        // Taken out first: each has one part done, and may be left for the next call again.
        let all = self.deferred.0.iter().copied();
        let now_due: Vec<StreamId> = all.take(self.settings.bounds.work.max(1)).collect();
        for stream in now_due {
            self.deferred.0.remove(&stream);
            self.settle_head(stream, now);
            self.enqueue(stream);
            self.escalate_parked(stream, now);
            self.cut();
        }
    }

    /// Lets an entry of the journal end here, if it is large enough.
    pub(super) fn cut(&mut self) {
        if matches!(self.effects.back(), Some(effect) if !matches!(effect, Effect::Cut)) {
            self.effects.push_back(Effect::Cut);
        }
    }
}
