//! What people decide: on a parked message, and on a stream that is to stand still.

use std::sync::Arc;

use rollcall_common::{
    ids::{Sequence, StreamId, StreamName},
    message::Payload,
    time::Time,
};

use super::{
    Dispatcher,
    effect::{Effect, Reply},
    event::{Bulk, Decision, RequestId, Wish},
};
use crate::record::{Answer, Outcome, Record};

impl Dispatcher {
    pub(super) fn decided(
        &mut self,
        request: RequestId,
        (stream, sequence): (&StreamName, Sequence),
        (by, decision): (&str, Decision),
        now: Time,
    ) {
        let reply = match self.state.find_stream(stream.as_str()) {
            Some(stream) => self.decide((stream, sequence), by, decision, now),
            None => Reply::UnknownStream,
        };
        self.effects.push_back(Effect::Reply(request, reply));
    }

    fn decide(
        &mut self,
        (stream, sequence): (StreamId, Sequence),
        by: &str,
        decision: Decision,
        now: Time,
    ) -> Reply {
        let entry = self.state.stream(stream);
        if sequence < Sequence::FIRST || sequence >= entry.next {
            return Reply::UnknownMessage;
        }
        let Some((slot, parking)) = entry.slot(sequence).and_then(|s| Some((s, s.parking()?)))
        else {
            return Reply::NotParked;
        };
        let answer = |outcome, reason, payload| Answer {
            head: parking.head,
            outcome,
            worker: "".into(),
            reason,
            history: slot.history(),
            attempts: slot.failures,
            payload,
        };
        let (act, reason, record) = match decision {
            Decision::Resolve { payload, reason } => {
                let answer = Arc::new(answer(Outcome::Resolved, reason.clone(), payload));
                ("resolve", reason, Record::Answered { stream, sequence, at: now, answer })
            }
            Decision::Retry { reason } => {
                let record = Record::Retried { stream, sequence, at: now, reason: reason.clone() };
                ("retry", reason, record)
            }
            Decision::Skip { reason } => {
                let payload = Payload::default();
                let answer = Arc::new(answer(Outcome::Skipped, reason.clone(), payload));
                ("skip", reason, Record::Answered { stream, sequence, at: now, answer })
            }
        };
        let on = format!("{}/{sequence}", entry.name);
        self.audit((by, act), on, &reason, now);
        let again = matches!(record, Record::Retried { .. });
        self.commit(record);
        self.dirty.insert(stream);
        if again {
            self.redispatch(stream, sequence);
        } else {
            self.settle_head(stream, now);
            self.enqueue(stream);
        }
        Reply::Done
    }

    /// Sends parked messages back to the workers: those of one stream from `after` on, at most
    /// `limit` (contract §6, in bulk; the caller takes one piece after the other).
    pub(super) fn retry_many(&mut self, request: RequestId, bulk: &Bulk, now: Time) {
        let found = self.parked_for(bulk);
        for (stream, sequence) in &found {
            let decision = Decision::Retry { reason: bulk.reason.clone() };
            self.decide((*stream, *sequence), &bulk.by, decision, now);
        }
        self.effects.push_back(Effect::Reply(request, Reply::Retried { found }));
    }

    /// The parked messages that a bulk is about, in order.
    #[must_use]
    pub fn parked_for(&self, bulk: &Bulk) -> Vec<(StreamId, Sequence)> {
        let wanted = self.parked().filter(|(stream, sequence, parking, _)| {
            bulk.after.is_none_or(|after| (*stream, *sequence) > after)
                && bulk.stream.is_none_or(|only| only == *stream)
                && parking.reason.contains(&*bulk.matching)
        });
        wanted.map(|(stream, sequence, ..)| (stream, sequence)).take(bulk.limit).collect()
    }

    /// Dispatch and release of a stream stop, or go on.
    pub(super) fn pause_or_resume(
        &mut self,
        request: RequestId,
        (name, wish): (&StreamName, Wish),
        (by, reason): (&str, &str),
        now: Time,
    ) {
        let reply = match self.state.find_stream(name.as_str()) {
            Some(stream) => {
                match (wish, self.state.stream(stream).paused) {
                    (Wish::Pause, false) => {
                        self.audit((by, "pause"), name.to_string(), reason, now);
                        self.commit(Record::Paused { stream, at: now });
                    }
                    (Wish::Resume, true) => {
                        self.audit((by, "resume"), name.to_string(), reason, now);
                        self.commit(Record::Resumed { stream, at: now });
                        self.settle_head(stream, now);
                        self.enqueue(stream);
                    }
                    (Wish::Pause, true) | (Wish::Resume, false) => {}
                }
                self.dirty.insert(stream);
                Reply::Done
            }
            None => Reply::UnknownStream,
        };
        self.effects.push_back(Effect::Reply(request, reply));
    }
}
