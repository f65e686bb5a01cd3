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
    event::{Decision, RequestId},
    stream::SlotState,
};
use crate::record::{Answer, Outcome, Record};

impl Dispatcher {
    pub(super) fn decided(
        &mut self,
        request: RequestId,
        (stream, sequence): (&StreamName, Sequence),
        decision: Decision,
        now: Time,
    ) {
        let reply = match self.state.names.get(stream).copied() {
            Some(stream) => self.decide(stream, sequence, decision, now),
            None => Reply::UnknownStream,
        };
        self.effects.push_back(Effect::Reply(request, reply));
    }

    fn decide(
        &mut self,
        stream: StreamId,
        sequence: Sequence,
        decision: Decision,
        now: Time,
    ) -> Reply {
        let entry = self.state.stream(stream);
        if sequence < Sequence::FIRST || sequence >= entry.next {
            return Reply::UnknownMessage;
        }
        let Some(slot) = entry.slot(sequence) else {
            return Reply::NotParked;
        };
        let SlotState::Parked(parking) = &slot.state else {
            return Reply::NotParked;
        };
        let answer = |outcome, reason, payload| Answer {
            head: parking.head,
            outcome,
            worker: "".into(),
            reason,
            history: slot.history.clone(),
            attempts: slot.failures,
            payload,
        };
        let record = match decision {
            Decision::Resolve(payload) => {
                let answer = Arc::new(answer(Outcome::Resolved, "".into(), payload));
                Record::Answered { stream, sequence, at: now, answer }
            }
            Decision::Skip { reason } => {
                let answer = Arc::new(answer(Outcome::Skipped, reason, Payload::default()));
                Record::Answered { stream, sequence, at: now, answer }
            }
            Decision::Retry { reason } => Record::Retried { stream, sequence, at: now, reason },
        };
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

    pub(super) fn pause(&mut self, request: RequestId, name: &StreamName, now: Time) {
        let reply = match self.state.names.get(name).copied() {
            Some(stream) => {
                if !self.state.stream(stream).paused {
                    self.commit(Record::Paused { stream, at: now });
                    self.dirty.insert(stream);
                }
                Reply::Done
            }
            None => Reply::UnknownStream,
        };
        self.effects.push_back(Effect::Reply(request, reply));
    }

    pub(super) fn resume_stream(&mut self, request: RequestId, name: &StreamName, now: Time) {
        let reply = match self.state.names.get(name).copied() {
            Some(stream) => {
                if self.state.stream(stream).paused {
                    self.commit(Record::Resumed { stream, at: now });
                    self.settle_head(stream, now);
                    self.enqueue(stream);
                    self.dirty.insert(stream);
                }
                Reply::Done
            }
            None => Reply::UnknownStream,
        };
        self.effects.push_back(Effect::Reply(request, reply));
    }
}
