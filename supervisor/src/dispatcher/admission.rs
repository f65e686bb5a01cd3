//! Messages in: each gets its place in its stream, or all of a request are refused.

use std::{collections::BTreeMap, sync::Arc};

use rollcall_common::{
    ids::{Sequence, StreamId, StreamName},
    message::Message,
    time::Time,
};

use super::{
    Dispatcher, Space,
    effect::{Effect, Reply, Taken},
    event::Arrival,
    slot::Held,
    state::{Seen, digest},
};
use crate::record::{
    Record,
    codec::{Beside, accepted_bytes},
};

impl Dispatcher {
    pub(super) fn arrived(&mut self, arrival: &Arrival, now: Time) {
        let reply = match self.admit(arrival, now) {
            Ok(taken) => Reply::Accepted { taken },
            Err(refusal) => {
                self.counters.refused += 1;
                refusal
            }
        };
        self.effects.push_back(Effect::Reply(arrival.request, reply));
    }

    fn admit(&mut self, arrival: &Arrival, now: Time) -> Result<Vec<Taken>, Reply> {
        let known = self.state.find_stream(arrival.stream.as_str());
        if known.is_none() && !self.settings.create_streams {
            return Err(Reply::UnknownStream);
        }
        let (next, backlog) = known.map_or((Sequence::FIRST, 0), |stream| {
            let stream = self.state.stream(stream);
            (stream.next, stream.backlog())
        });
        let taken = self.place(known, next, &arrival.messages)?;
        let fresh = taken.iter().filter(|taken| !taken.duplicate).count();
        if fresh == 0 {
            self.counters.duplicates += u64::try_from(taken.len()).unwrap_or(u64::MAX);
            return Ok(taken);
        }
        self.fits_into_an_entry(arrival, &taken)?;
        if known.is_none() && self.state.streams.len() >= self.settings.bounds.streams {
            return Err(Reply::TooManyStreams { limit: self.settings.bounds.streams });
        }
        if self.space == Space::Low {
            return Err(Reply::Full);
        }
        let limit = known.map_or_else(
            || self.settings.stream(&arrival.stream).max_backlog,
            |stream| self.state.stream(stream).settings.max_backlog,
        );
        let fresh = u64::try_from(fresh).unwrap_or(u64::MAX);
        if fresh > limit {
            return Err(Reply::NeverFits { limit });
        }
        if backlog + fresh > limit {
            return Err(Reply::Backlogged { limit, waiting: backlog });
        }
        let stream = known.unwrap_or_else(|| self.open(&arrival.stream));
        for (message, taken) in arrival.messages.iter().zip(&taken) {
            if taken.duplicate {
                self.counters.duplicates += 1;
                continue;
            }
            self.counters.accepted += 1;
            let (sequence, message) = (taken.sequence, Arc::clone(message));
            let held = Held { accepted_at: now, message: Arc::clone(&message) };
            self.commit(Record::Accepted { stream, sequence, at: now, message });
            self.hold_in_window(stream, sequence, held);
        }
        if arrival.messages.len() > 1 {
            self.cut();
        }
        self.dirty.insert(stream);
        self.enqueue(stream);
        self.watch_head(stream);
        Ok(taken)
    }

    /// Messages of one request are in one entry, so that all of them are there or none.
    fn fits_into_an_entry(&self, arrival: &Arrival, taken: &[Taken]) -> Result<(), Reply> {
        let limit = self.settings.bounds.batch_bytes();
        let fresh = arrival.messages.iter().zip(taken).filter(|(_, taken)| !taken.duplicate);
        let bytes = fresh.map(|(message, _)| accepted_bytes(&Beside::of(message), &message.body));
        let bytes = bytes.fold(0_usize, usize::saturating_add);
        if bytes <= limit { Ok(()) } else { Err(Reply::TooLarge { bytes, limit }) }
    }

    /// Gives each message its place; changes nothing yet, since one message may refuse them all.
    fn place(
        &self,
        stream: Option<StreamId>,
        mut next: Sequence,
        messages: &[Arc<Message>],
    ) -> Result<Vec<Taken>, Reply> {
        let mut fresh: BTreeMap<[u8; 16], Seen> = BTreeMap::new();
        let mut taken = Vec::with_capacity(messages.len());
        for (index, message) in messages.iter().enumerate() {
            if let Some(key) = &message.key {
                let digest = digest(&key.text);
                let before = stream.and_then(|stream| self.state.keys.get(&(stream, digest)));
                if let Some(seen) = before.or_else(|| fresh.get(&digest)).copied() {
                    if seen.fingerprint != key.fingerprint {
                        return Err(Reply::Conflict { index, sequence: seen.sequence });
                    }
                    let (sequence, id) = (seen.sequence, seen.id);
                    taken.push(Taken { sequence, id, duplicate: true });
                    continue;
                }
                let fingerprint = key.fingerprint;
                fresh.insert(digest, Seen { sequence: next, id: message.id, fingerprint });
            }
            taken.push(Taken { sequence: next, id: message.id, duplicate: false });
            next = next.next();
        }
        Ok(taken)
    }

    /// Keeps a message at hand if its turn may be soon. What is beyond the window, or the room in
    /// memory, is read back when its turn comes.
    fn hold_in_window(&mut self, stream: StreamId, sequence: Sequence, held: Held) {
        let entry = self.state.stream(stream);
        let soon = sequence <= entry.window_end() && entry.pool.is_some();
        if soon && self.state.held_bytes < self.settings.bounds.cache_bytes {
            self.state.hold(stream, sequence, held);
        }
    }

    /// Brings a stream into being.
    pub(super) fn open(&mut self, name: &StreamName) -> StreamId {
        let stream = StreamId::after(self.state.streams.len());
        self.commit(Record::StreamCreated { stream, name: name.clone() });
        self.state.stream_mut(stream).adopted = self.sweeps.revision();
        self.assign_pool(stream);
        stream
    }
}
