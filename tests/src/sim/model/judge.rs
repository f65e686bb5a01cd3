//! What has to follow from an event, and what may.

use std::sync::Arc;

use rollcall_common::{
    limits::LATE_ANSWER,
    message::{Message as Sent, Payload},
    protocol::Outcome as Word,
    time::Time,
};
use rollcall_supervisor::{
    dispatcher::{
        Arrival, AttemptId, Dispatch, Event, WorkerReply,
        event::{Decision, Presence, Wish},
        settings::OnExhausted,
    },
    driver::engine::Engine,
    record::{
        Outcome, ParkCause, Reason, Record,
        codec::{Beside, accepted_bytes},
    },
};

use super::{At, Model, NOTICED, PROBED, Stand, Try, Wanted, wrong};
use crate::oracle::{Invariant, Violation};

/// What the dispatcher was told.
#[derive(Debug)]
pub(in crate::sim) enum Told<'a> {
    /// Something happened.
    Event(&'a Event),
    /// The process has begun.
    Start,
    /// It is so late.
    Timeout,
}

/// What a worker's reply means (contract §4).
enum Meaning {
    Accept(Outcome, Payload),
    Count { refused: bool },
    Free,
    Park,
}

fn read(reply: &WorkerReply) -> Meaning {
    let WorkerReply::Answer { status, outcome, payload, .. } = reply else {
        let broken = matches!(reply, WorkerReply::Broken(_) | WorkerReply::Cancelled);
        return if broken { Meaning::Count { refused: false } } else { Meaning::Free };
    };
    match (outcome, status) {
        (Some(Word::Ok), _) => Meaning::Accept(Outcome::Completed, payload.clone()),
        (Some(Word::Skip), _) => Meaning::Accept(Outcome::Skipped, Payload::default()),
        (Some(Word::Park), _) => Meaning::Park,
        (Some(Word::Retry), _) => Meaning::Count { refused: false },
        (None, 204) => {
            let headers = payload.headers.clone();
            Meaning::Accept(Outcome::Completed, Payload { headers, ..Payload::default() })
        }
        (None, 200..=299) => Meaning::Accept(Outcome::Completed, payload.clone()),
        (None, 300..=399 | 401 | 403 | 404 | 405 | 429 | 501 | 503) => Meaning::Free,
        (None, 408 | 409 | 425) => Meaning::Count { refused: false },
        (None, 400..=499) => Meaning::Count { refused: true },
        (None, _) => Meaning::Count { refused: false },
    }
}

impl Model {
    /// Takes in what the dispatcher was told, before it is.
    pub(in crate::sim) fn expect(&mut self, told: &Told<'_>, now: Time) {
        self.wanted.clear();
        self.outages.forget_wanted();
        (self.arrived, self.wish) = (None, None);
        match told {
            Told::Event(Event::AttemptEnded { attempt, reply }) => {
                self.answered(*attempt, reply, now);
            }
            Told::Event(Event::Arrived(Arrival { stream, messages, .. })) => {
                self.arrived = Some((stream.clone(), messages.clone()));
            }
            Told::Event(Event::StreamCommand { stream, wish, .. }) => {
                self.wish = Some((stream.clone(), *wish));
            }
            Told::Event(Event::Decided { stream, sequence, head, decision, .. }) => {
                let found = self.streams.iter().position(|one| one.name == *stream);
                if let Some(number) = found {
                    self.decided((number as u32, sequence.0), head.is_some(), decision);
                }
            }
            Told::Event(Event::Probed { worker, presence: Presence::Absent }) => {
                self.away.insert(Arc::clone(worker));
                self.lose(worker);
            }
            Told::Event(Event::Probed { worker, presence: Presence::Present }) => {
                self.unreachable.remove(worker);
            }
            Told::Event(Event::Settings(settings)) => {
                let before = std::mem::replace(&mut self.settings, Arc::clone(settings));
                self.earlier.push(before);
            }
            Told::Event(Event::Space { low }) => self.low = *low,
            Told::Event(Event::WorkerLeft { id }) => {
                self.members.remove(id);
                self.unreachable.remove(id);
                self.away.insert(Arc::clone(id));
            }
            Told::Event(Event::WorkerSeen { id, pool, beats, concurrency }) => {
                self.places.insert(Arc::clone(id), *concurrency);
                self.worker_seen(id, pool);
                let silent_at = now + self.settings.heartbeat * 3 + NOTICED;
                self.silent_at.remove(id);
                self.silent_at.extend(beats.then(|| (Arc::clone(id), silent_at)));
            }
            Told::Event(_) | Told::Start => {}
            Told::Timeout => self.times_out(now),
        }
    }

    /// A parked message may be sent back; one without a result may be given one.
    fn decided(&mut self, at: At, known: bool, decision: &Decision) {
        let there = at.1 >= 1 && at.1 < self.stream(at.0).next;
        let stand = self.stand(at);
        let open = there && (stand == Stand::Parked || stand == Stand::Open && known);
        let wanted = match decision {
            Decision::Retry { .. } if stand == Stand::Parked => Wanted::Retried,
            Decision::Resolve { payload, .. } if open => {
                Wanted::Answered(Outcome::Resolved, payload.clone())
            }
            Decision::Skip { .. } if open => Wanted::Answered(Outcome::Skipped, Payload::default()),
            Decision::Resolve { .. } | Decision::Retry { .. } | Decision::Skip { .. } => return,
        };
        if wanted != Wanted::Retried {
            // What is under way for it is given up, and nobody asks what comes of it.
            self.tries.retain(|_, one| one.at != at);
        }
        self.want(at, wanted);
    }

    fn worker_seen(&mut self, id: &Arc<str>, pool: &Arc<str>) {
        let before = self.members.insert(Arc::clone(id), Arc::clone(pool));
        if before.is_none_or(|before| before != *pool) {
            self.unreachable.remove(id);
        }
        self.pools.insert(Arc::clone(id), Arc::clone(pool));
    }

    fn want(&mut self, at: At, wanted: Wanted) {
        self.wanted.entry(at).or_default().push_back(wanted);
    }

    fn answered(&mut self, attempt: AttemptId, reply: &WorkerReply, now: Time) {
        let Some(one) = self.tries.remove(&attempt) else {
            return;
        };
        if matches!(reply, WorkerReply::Unreachable(_)) {
            self.away.insert(Arc::clone(&one.worker));
            self.lose(&one.worker);
        }
        let in_time = one.late_until.is_none();
        let meaning = read(reply);
        if matches!(meaning, Meaning::Accept(..)) {
            self.pool_succeeds(&one.worker, now);
        }
        match meaning {
            Meaning::Accept(_, payload) if self.stand(one.at) == Stand::Done => {
                if let Some(accepted) = one.beaten_by {
                    self.late.0 += 1;
                    self.late.1 += u64::from(accepted != payload);
                }
            }
            _ if self.stand(one.at) == Stand::Done => {}
            Meaning::Accept(outcome, payload) => {
                self.retire(one.at, |one| one.begun + LATE_ANSWER);
                let others = self.tries.values_mut().filter(|other| other.at == one.at);
                others.for_each(|other| other.beaten_by = Some(payload.clone()));
                self.want(one.at, Wanted::Answered(outcome, payload));
            }
            Meaning::Count { refused } if in_time => self.fails(&one, (refused, false), now),
            Meaning::Free if in_time => {
                if one.owing {
                    self.fails(&one, (false, false), now);
                } else if let Some(other) = self.other(one.at) {
                    other.owing = false;
                }
            }
            Meaning::Park if in_time => {
                self.retire(one.at, |_| now + LATE_ANSWER);
                self.want(one.at, Wanted::Failed(one.worker));
                self.want(one.at, Wanted::Parked(ParkCause::Asked));
            }
            Meaning::Count { .. } | Meaning::Free | Meaning::Park => {}
        }
    }

    fn times_out(&mut self, now: Time) {
        self.tries.retain(|_, one| one.late_until.is_none_or(|until| until > now));
        let due = self.tries.iter().filter(|(_, one)| one.late_until.is_none() && one.until <= now);
        let mut due: Vec<_> = due.map(|(id, one)| (one.until, *id)).collect();
        due.sort();
        for (_, id) in due {
            let Some(one) = self.tries.get_mut(&id) else { continue };
            one.late_until = Some(now + LATE_ANSWER);
            let one = one.clone();
            self.fails(&one, (false, true), now);
        }
    }

    /// An attempt in time has failed; what counts is when both of two have.
    fn fails(&mut self, one: &Try, (refused, timed_out): (bool, bool), now: Time) {
        if let Some(other) = self.other(one.at) {
            other.owing = true;
            if refused {
                self.message(one.at).refused_by.insert(Arc::clone(&one.worker));
            }
            return;
        }
        let pool = self.pools.get(&one.worker).cloned();
        if !refused && pool.as_ref().is_some_and(|pool| self.is_out(pool)) {
            // It is the pool that fails.
            return;
        }
        self.want(one.at, Wanted::Failed(Arc::clone(&one.worker)));
        if !refused && self.pool_fails(one, timed_out, now) {
            return;
        }
        let settings = self.settings.stream(&self.stream(one.at.0).name);
        let (most, pool) = (settings.ladder.max_attempts, pool.as_ref());
        let members = self.members.values().filter(|other| Some(*other) == pool).count();
        let message = self.message(one.at);
        let another = message.refused_by.iter().any(|other| *other != one.worker);
        let failures = message.failures + 1;
        let tried = now.since(message.tried_since.unwrap_or(one.begun));
        let enough = settings.retry_for.is_none_or(|least| tried >= least);
        if refused && (another || members <= 1) {
            self.want(one.at, Wanted::Parked(ParkCause::Refused));
        } else if failures >= most && enough {
            self.want(one.at, Wanted::Parked(ParkCause::Exhausted));
        }
    }

    /// A worker can't be connected to.
    fn lose(&mut self, worker: &Arc<str>) {
        if self.members.contains_key(worker) {
            self.unreachable.insert(Arc::clone(worker));
        }
    }

    /// Attempts of a message that is decided without them are late from now on.
    fn retire(&mut self, at: At, until: impl Fn(&Try) -> Time) {
        while let Some(other) = self.other(at) {
            other.late_until = Some(until(other));
        }
    }

    /// Takes in what the dispatcher made of it, and whether all of it was to be.
    pub(in crate::sim) fn judge(
        &mut self,
        now: Time,
        (records, dispatches): (&[Record], &[Dispatch]),
        engine: &Engine,
    ) -> Result<(), Violation> {
        self.check_arrival(records)?;
        for record in records {
            self.allowed(record, now)?;
            self.fold(record);
        }
        if let Some((at, wanted)) = self.wanted.iter().find(|(_, wanted)| !wanted.is_empty()) {
            let detail = format!("{at:?} is to be {wanted:?}");
            return Err(wrong(Invariant::I8, detail));
        }
        if let Some(missing) = self.outages.missing() {
            return Err(wrong(Invariant::I8, missing));
        }
        self.check_given_up(dispatches, engine)?;
        self.forget_departed(now, engine)?;
        if let Some((stream, wish)) = &self.wish {
            let found = self.streams.iter().find(|one| one.name == *stream);
            if found.is_some_and(|stream| stream.paused != (*wish == Wish::Pause)) {
                return Err(wrong(Invariant::I10, format!("{stream} does not obey {wish:?}")));
            }
        }
        dispatches.iter().try_for_each(|dispatch| self.dispatched(dispatch, now))?;
        self.compare(engine)
    }

    /// Whether a record follows from what was told.
    fn allowed(&mut self, record: &Record, now: Time) -> Result<(), Violation> {
        let (at, said) = match record {
            Record::Answered { stream, sequence, answer, .. } => {
                let payload = answer.payload.clone();
                ((stream.0, sequence.0), Wanted::Answered(answer.outcome, payload))
            }
            Record::Failed { stream, sequence, report, .. } => {
                ((stream.0, sequence.0), Wanted::Failed(Arc::clone(&report.worker)))
            }
            Record::Parked { stream, sequence, cause, .. } => {
                ((stream.0, sequence.0), Wanted::Parked(*cause))
            }
            Record::OutageBegan { .. } | Record::OutageEnded { .. } => {
                return self.outage_allowed(record);
            }
            Record::Retried { stream, sequence, .. } => ((stream.0, sequence.0), Wanted::Retried),
            Record::PassedThrough { stream, first, last, .. } => {
                return self.may_pass(stream.0, first.0..=last.0);
            }
            Record::WorkerDied { stream, sequence, worker, .. } => {
                let ok =
                    self.away.contains(worker) && self.stand((stream.0, sequence.0)) == Stand::Open;
                let detail = || format!("{worker} did not die of {stream:?} {sequence}");
                return if ok { Ok(()) } else { Err(wrong(Invariant::I10, detail())) };
            }
            Record::StreamCreated { name, .. } => return self.may_open(name),
            Record::Accepted { .. }
            | Record::Alert(_)
            | Record::SubscriptionConfigured { .. }
            | Record::Audited(_)
            | Record::Snapshot(_)
            | Record::Batched { .. }
            | Record::Checkpointed { .. }
            | Record::Copied { .. }
            | Record::CopiedResult { .. }
            | Record::Delivered { .. }
            | Record::PassedOver { .. }
            | Record::Paused { .. }
            | Record::Resumed { .. }
            | Record::Rewound { .. }
            | Record::Scanned { .. }
            | Record::Started { .. }
            | Record::Subscribed { .. }
            | Record::SubscriptionPaused { .. }
            | Record::SubscriptionResumed { .. }
            | Record::Trimmed { .. }
            | Record::Unsubscribed { .. } => return Ok(()),
        };
        let front = self.wanted.get_mut(&at).and_then(|wanted| wanted.pop_front_if(|w| *w == said));
        if front.is_some() || self.may(at, &said) {
            if matches!(said, Wanted::Parked(_)) {
                self.retire(at, |_| now + LATE_ANSWER);
            }
            if said == Wanted::Parked(ParkCause::Poison) {
                self.wanted.remove(&at);
            }
            return Ok(());
        }
        let wanted = self.wanted.get(&at);
        Err(wrong(Invariant::I3, format!("{at:?} is {said:?}; what follows is {wanted:?}")))
    }

    /// Whether somebody asks for a stream that comes into being.
    fn may_open(&self, name: &rollcall_common::ids::StreamName) -> Result<(), Violation> {
        let sent = self.arrived.as_ref().is_some_and(|(stream, _)| stream == name);
        let made = sent && self.settings.create_streams;
        if made || self.settings.standing_streams.contains(name) {
            return Ok(());
        }
        Err(wrong(Invariant::I10, format!("nobody asks for the stream {name}")))
    }

    /// What may be written down though nothing asks for it by itself.
    fn may(&mut self, at: At, said: &Wanted) -> bool {
        let stream = self.stream(at.0);
        let head = at.1 == stream.released + 1 && !stream.paused;
        let skips = self.settings.stream(&stream.name).on_exhausted == OnExhausted::Skip;
        match said {
            Wanted::Answered(Outcome::Skipped, _) => {
                head && skips && self.stand(at) == Stand::Parked
            }
            Wanted::Parked(ParkCause::Poison) => {
                self.stand(at) == Stand::Open && self.message(at).deaths.len() >= 2
            }
            Wanted::Answered(..) | Wanted::Failed(_) | Wanted::Parked(_) | Wanted::Retried => false,
        }
    }

    fn may_pass(
        &self,
        number: u32,
        mut run: std::ops::RangeInclusive<u64>,
    ) -> Result<(), Violation> {
        let stream = self.stream(number);
        let passes = self.settings.stream(&stream.name).pool.is_none() && !stream.paused;
        if passes && run.all(|n| n < stream.next && self.stand((number, n)) == Stand::Open) {
            return Ok(());
        }
        Err(wrong(Invariant::I3, format!("{} may not pass {run:?}", stream.name)))
    }

    /// An arrival is taken in whole, or not at all and for a reason.
    fn check_arrival(&self, records: &[Record]) -> Result<(), Violation> {
        let accepted = records.iter().filter_map(|record| {
            let Record::Accepted { sequence, message, .. } = record else { return None };
            Some((sequence.0, message))
        });
        let accepted: Vec<(u64, &Arc<Sent>)> = accepted.collect();
        let Some((name, messages)) = &self.arrived else {
            let detail = || "messages come from nowhere".to_owned();
            return if accepted.is_empty() { Ok(()) } else { Err(wrong(Invariant::I4, detail())) };
        };
        let number = self.streams.iter().position(|one| one.name == *name);
        let (next, released) =
            number.map_or((1, 0), |n| (self.streams[n].next, self.streams[n].released));
        let mut fresh: Vec<&Arc<Sent>> = Vec::new();
        let mut conflict = false;
        for message in messages {
            let Some(key) = &message.key else {
                fresh.push(message);
                continue;
            };
            let known = number.and_then(|n| self.keys.get(&(n as u32, key.text.clone())));
            let known = known.filter(|known| {
                self.positions.get(&known.at).is_none_or(|position| *position > self.floor)
            });
            let known = known.map(|known| known.fingerprint);
            let mut keys = fresh.iter().filter_map(|one| one.key.as_ref());
            let twin = keys.find(|one| one.text == key.text).map(|one| one.fingerprint);
            match known.or(twin) {
                Some(fingerprint) => conflict |= fingerprint != key.fingerprint,
                None => fresh.push(message),
            }
        }
        let bytes = fresh.iter().map(|one| accepted_bytes(&Beside::of(one), &one.body));
        let large = bytes.sum::<usize>() > self.settings.bounds.batch_bytes();
        let room = self.settings.stream(name).max_backlog;
        let full = next - 1 - released + fresh.len() as u64 > room;
        let refused = conflict || (!fresh.is_empty() && (large || full || self.low));
        let fresh: Vec<_> = (next..).zip(if refused { Vec::new() } else { fresh }).collect();
        if fresh == accepted {
            return Ok(());
        }
        let count = (fresh.len(), accepted.len(), next);
        Err(wrong(Invariant::I4, format!("{name}: to be taken in and taken in: {count:?}")))
    }

    /// Late calls that the dispatcher waits for no more: they were in the way of others.
    fn check_given_up(
        &mut self,
        dispatches: &[Dispatch],
        engine: &Engine,
    ) -> Result<(), Violation> {
        let known = |id: &AttemptId| engine.dispatcher().is_out_there(*id);
        let gone = self.tries.iter().filter(|(id, _)| !known(id));
        let gone: Vec<_> = gone.map(|(id, one)| (*id, one.worker.clone())).collect();
        for (id, worker) in gone {
            let at_worker = self.tries.values().filter(|one| one.worker == worker).count();
            let sent = dispatches.iter().filter(|one| one.worker == worker).count();
            let places = self.places.get(&worker).copied().flatten();
            let full = places.is_some_and(|places| at_worker + sent >= places as usize);
            let late = self.tries.get(&id).is_some_and(|one| one.late_until.is_some());
            if !late || !full && !self.is_short_of_room(&worker, dispatches) {
                let detail = format!("{id:?} at {worker} was in nobody's way: {late} {full}");
                return Err(wrong(Invariant::I3, detail));
            }
        }
        self.tries.retain(|id, _| known(id));
        Ok(())
    }

    /// Workers that the dispatcher has forgotten: they were gone, or silent.
    fn forget_departed(&mut self, now: Time, engine: &Engine) -> Result<(), Violation> {
        let known = |worker: &Arc<str>| engine.dispatcher().remembers(worker);
        let gone: Vec<_> = self.pools.keys().filter(|id| !known(id)).cloned().collect();
        for id in gone {
            let silent = self.silent_at.get(&id).is_none_or(|at| *at <= now + NOTICED);
            if self.members.contains_key(&id) && !silent {
                return Err(wrong(Invariant::I3, format!("{id} is forgotten, and is there")));
            }
            self.members.remove(&id);
            self.unreachable.remove(&id);
            self.outages.forget(&id);
            self.pools.remove(&id);
        }
        Ok(())
    }

    fn dispatched(&mut self, dispatch: &Dispatch, now: Time) -> Result<(), Violation> {
        let at = (dispatch.stream.0, dispatch.sequence.0);
        let stream = self.stream(at.0);
        let settings = self.settings.stream(&stream.name);
        let windows = self.earlier.iter().map(|earlier| earlier.stream(&stream.name).window);
        let window = windows.chain([settings.window]).max().unwrap_or_default();
        let copy = dispatch.reason == Reason::Hedge;
        let others: Vec<_> = self.in_time(at.0).filter(|(_, one)| one.at == at).collect();
        let elsewhere = others.iter().all(|(_, one)| one.worker != dispatch.worker);
        let flying = self.in_time(at.0).count();
        let pool = self.members.get(&dispatch.worker);
        // In an outage there is one probe at a time at each worker, unless it takes long.
        let since = pool.and_then(|pool| self.out_since(pool));
        let probing = |one: &Try| {
            let young = since.is_some_and(|since| one.begun >= since) && now < one.begun + PROBED;
            young && one.worker == dispatch.worker && one.late_until.is_none()
        };
        let alone = !self.tries.values().any(probing);
        let good = self.stand(at) == Stand::Open
            && !stream.paused
            && (at.1 <= stream.released + u64::from(window)
                // It went out before a start with a smaller window.
                || stream.messages.contains_key(&at.1))
            && flying < settings.max_in_flight as usize
            && others.len() == usize::from(copy)
            && elsewhere
            && alone
            && !self.unreachable.contains(&dispatch.worker)
            && self.silent_at.get(&dispatch.worker).is_none_or(|at| now < *at)
            && settings.pool.is_some()
            && pool == settings.pool.as_ref();
        if !good {
            let detail = format!(
                "{:?} to {} as {} may not go out: {} of {}, released {}, paused {}, {others:?}",
                dispatch.reason,
                dispatch.worker,
                dispatch.number,
                at.1,
                stream.name,
                stream.released,
                stream.paused
            );
            return Err(wrong(Invariant::I9, detail));
        }
        self.check_room(dispatch)?;
        let bytes = dispatch.message.weight();
        let (begun, until, worker) = (now, now + dispatch.timeout, Arc::clone(&dispatch.worker));
        let one = Try {
            at,
            worker,
            begun,
            until,
            late_until: None,
            owing: false,
            beaten_by: None,
            bytes,
        };
        // From now on it is known.
        self.message(at);
        self.tries.insert(dispatch.attempt, one);
        Ok(())
    }
}
