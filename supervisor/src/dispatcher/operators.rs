//! What people decide: on a message that is parked or has no result yet, and on a stream that is to
//! stand still.

use std::sync::Arc;

use rollcall_common::{
    ids::{Sequence, StreamId, StreamName},
    limits::ATTEMPT_HISTORY,
    message::Payload,
    time::Time,
};

use super::{
    Dispatcher,
    effect::{Effect, Reply},
    event::{Bulk, Decision, RequestId, Wish},
    slot::{Parking, Slot},
};
use crate::record::{Answer, MessageRef, Outcome, Record};

impl Dispatcher {
    pub(super) fn decided(
        &mut self,
        request: RequestId,
        place: (&StreamName, Sequence),
        (by, decision, head): (&str, Decision, Option<MessageRef>),
        now: Time,
    ) {
        let reply = match self.state.find_stream(place.0.as_str()) {
            Some(stream) => self.decide((stream, place.1), (by, decision), head, now),
            None => Reply::UnknownStream,
        };
        self.effects.push_back(Effect::Reply(request, reply));
    }

    fn decide(
        &mut self,
        (stream, sequence): (StreamId, Sequence),
        (by, decision): (&str, Decision),
        head: Option<MessageRef>,
        now: Time,
    ) -> Reply {
        let entry = self.state.stream(stream);
        if sequence < Sequence::FIRST || sequence >= entry.next {
            return Reply::UnknownMessage;
        }
        let parking = entry.slot(sequence).and_then(Slot::parking);
        let on = format!("{}/{sequence}", entry.name);
        let (act, reason, outcome, payload) = match decision {
            Decision::Retry { reason } if parking.is_some() => {
                self.audit((by, "retry"), on, &reason, now);
                self.commit(Record::Retried { stream, sequence, at: now, reason });
                self.dirty.insert(stream);
                self.redispatch(stream, sequence);
                return Reply::Done;
            }
            Decision::Retry { .. } => return Reply::NotParked,
            Decision::Resolve { payload, reason } => {
                ("resolve", reason, Outcome::Resolved, payload)
            }
            Decision::Skip { reason } => ("skip", reason, Outcome::Skipped, Payload::default()),
        };
        if sequence <= entry.released || entry.is_done(sequence) {
            return Reply::HasResult;
        }
        let Some(head) = parking.map(|parking| parking.head).or(head) else {
            return Reply::UnknownMessage;
        };
        self.audit((by, act), on, &reason, now);
        self.settle_by_hand((stream, sequence), (head, outcome, payload, reason), now);
        Reply::Done
    }

    /// A person's word is the result of a message. Whatever is under way for it is given up.
    fn settle_by_hand(
        &mut self,
        (stream, sequence): (StreamId, Sequence),
        (head, outcome, payload, reason): (MessageRef, Outcome, Payload, Box<str>),
        now: Time,
    ) {
        let given_up = self.give_up(stream, sequence, now);
        let slot = self.state.stream(stream).slot(sequence);
        let mut history = slot.map(Slot::history).unwrap_or_default();
        let failures = slot.map_or(0, |slot| slot.failures);
        let attempts = given_up.first().map_or(failures, |report| report.attempt);
        let room = ATTEMPT_HISTORY.saturating_sub(history.len());
        history.extend(given_up.into_iter().take(room).map(Arc::new));
        let worker = "".into();
        let answer = Answer { head, outcome, worker, reason, history, attempts, payload };
        self.commit(Record::Answered { stream, sequence, at: now, answer: Arc::new(answer) });
        self.dirty.insert(stream);
        self.settle_head(stream, now);
        self.enqueue(stream);
    }

    /// Decides the same of several parked messages: of those that are parked no more, nothing.
    pub(super) fn decided_many(&mut self, request: RequestId, bulk: Bulk, now: Time) {
        let Bulk { places, decision, by } = bulk;
        let mut count = 0;
        for (stream, sequence) in places {
            if self.parking(stream, sequence).is_some() {
                let reply = self.decide((stream, sequence), (&by, decision.clone()), None, now);
                count += u64::from(reply == Reply::Done);
                self.cut();
            }
        }
        self.effects.push_back(Effect::Reply(request, Reply::DecidedMany { count }));
    }

    /// Why a message waits for a person, if it does.
    #[must_use]
    pub fn parking(&self, stream: StreamId, sequence: Sequence) -> Option<&Parking> {
        self.state.stream(stream).slot(sequence)?.parking()
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
