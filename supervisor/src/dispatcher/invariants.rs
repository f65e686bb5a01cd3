//! What must be true between two events. The simulator asks after every turn; so a message that
//! nobody will ever wake up is noticed where it is lost, not where it is missed.

use std::collections::BTreeMap;

use rollcall_common::{
    ids::{Sequence, StreamId},
    time::Time,
};

use super::{
    Dispatcher,
    attempts::{AttemptState, HedgeLink, Suspicion},
    cursor::CursorState,
    slot::SlotState,
    state::State,
    stream::{Stream, Turn},
    subscription::Subscription,
    timers::Timer,
    worker::{Standing, WorkerKey},
};
use crate::record::{DeliveryMode, Subject, SubscriptionId};

/// How much the dispatcher holds.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Sizes {
    /// Attempts that may still answer.
    pub attempts: usize,
    /// Deadlines.
    pub timers: usize,
    /// Bytes of messages.
    pub held_bytes: usize,
    /// Bytes of messages that are out at workers.
    pub out_bytes: usize,
    /// Whether something waits that could go out if less were out.
    pub is_full: bool,
    /// For each stream its slots, and its attempts that are in time.
    pub streams: Vec<(usize, u32)>,
}

/// How many attempts in time each message has.
type Counting = BTreeMap<StreamId, BTreeMap<Sequence, u32>>;

/// Fails with what is wrong.
macro_rules! ensure {
    ($holds:expr, $($text:tt)*) => {
        if !$holds {
            return Err(format!($($text)*));
        }
    };
}

impl Dispatcher {
    /// Looks for contradictions; gives back how much there is of what.
    ///
    /// # Errors
    /// When something that must be true is not.
    pub fn verify(&self, now: Time) -> Result<Sizes, String> {
        let mut sizes = Sizes {
            attempts: self.attempts.len(),
            timers: self.timers.len(),
            held_bytes: self.state.held_bytes,
            out_bytes: self.roster.out_bytes(),
            is_full: self.is_full(),
            streams: Vec::new(),
        };
        let counting = self.counting()?;
        let (mut held_bytes, mut unreleased) = (0, 0);
        for (id, stream) in (0_u32..).map(StreamId).zip(self.state.streams.iter()) {
            let empty = BTreeMap::new();
            let flying = counting.get(&id).unwrap_or(&empty);
            self.verify_slots(id, stream, flying)?;
            self.verify_turn(id, stream)?;
            sizes.streams.push((stream.slot_count(), stream.in_flight));
            held_bytes += stream.held_bytes();
            unreleased += stream.backlog();
        }
        ensure!(
            unreleased == self.state.unreleased,
            "{unreleased} messages are not released, and {} are counted",
            self.state.unreleased
        );
        ensure!(
            held_bytes == self.state.held_bytes,
            "{held_bytes} bytes are held, {} are counted",
            self.state.held_bytes
        );
        self.verify_workers()?;
        self.verify_late(now)?;
        self.verify_room()?;
        self.verify_cursors(&self.state)?;
        self.verify_alerts()?;
        Ok(sizes)
    }

    /// The messages that have an attempt in time, or a pair of them.
    fn counting(&self) -> Result<Counting, String> {
        let mut counting = Counting::new();
        for (id, attempt) in &self.attempts {
            if attempt.standing != AttemptState::Active {
                continue;
            }
            *counting.entry(attempt.stream).or_default().entry(attempt.sequence).or_default() += 1;
            if let HedgeLink::Partner(other) = attempt.pair {
                let other = self.attempts.get(&other);
                let paired = other.is_some_and(|other| {
                    other.standing == AttemptState::Active
                        && other.pair == HedgeLink::Partner(*id)
                        && (other.worker, other.number) != (attempt.worker, attempt.number)
                        && (other.stream, other.sequence) == (attempt.stream, attempt.sequence)
                        && other.deadline == attempt.deadline
                });
                ensure!(paired, "{id:?} is one of two, and there is no other");
            }
        }
        for (stream, messages) in &counting {
            for (sequence, out) in messages {
                ensure!(*out <= 2, "{stream:?} {sequence} has {out} attempts in time");
            }
        }
        Ok(counting)
    }

    fn verify_slots(
        &self,
        id: StreamId,
        stream: &Stream,
        flying: &BTreeMap<Sequence, u32>,
    ) -> Result<(), String> {
        let name = &stream.name;
        let decided = u32::try_from(stream.decided.len()).unwrap_or(u32::MAX);
        let (mut done, mut parked, mut in_flight) = (decided, 0, 0);
        for (sequence, slot) in stream.numbered_slots() {
            match &slot.state {
                SlotState::Done { .. } => done += 1,
                SlotState::InFlight => {
                    in_flight += 1;
                    ensure!(flying.contains_key(&sequence), "{name} {sequence} flies alone");
                }
                SlotState::Idle => ensure!(
                    sequence >= stream.cursor || stream.again.contains(sequence),
                    "{name} {sequence} is idle, and nobody will look at it"
                ),
                SlotState::Parked(_) => {
                    parked += 1;
                    ensure!(
                        stream.parked.contains(sequence),
                        "{name} {sequence} is parked in secret"
                    );
                }
                SlotState::Waiting { due } => ensure!(
                    self.timers.has(*due, Timer::Retry(id, sequence)),
                    "{name} {sequence} waits for no timer"
                ),
            }
        }
        ensure!(done == stream.waiting, "{name}: waiting is wrong");
        let slots = u64::try_from(stream.slot_count()).unwrap_or(u64::MAX);
        let last = stream.released.0 + slots;
        ensure!(
            stream.decided.iter().all(|(sequence, _)| sequence.0 > last && sequence < stream.next),
            "{name}: a message is decided beside its slot"
        );
        ensure!(parked == stream.parked.len(), "{name}: parked is wrong");
        let out: u32 = flying.values().sum();
        ensure!(
            in_flight == flying.len() && out == stream.in_flight,
            "{name}: {in_flight} fly, {} have attempts, {out} count, {} are noted",
            flying.len(),
            stream.in_flight
        );
        ensure!(
            !matches!(
                (stream.paused, stream.front().map(|slot| &slot.state)),
                (false, Some(SlotState::Done { .. }))
            ),
            "{name}: the head has its result and stays"
        );
        Ok(())
    }

    fn verify_turn(&self, id: StreamId, stream: &Stream) -> Result<(), String> {
        let name = &stream.name;
        let Some(pool) = stream.pool else {
            let passed = stream.cursor == stream.next && stream.again.is_empty();
            let later = stream.paused || self.is_deferred(id);
            ensure!(later || passed, "{name}: messages that could pass stay");
            return Ok(());
        };
        match stream.turn {
            _ if self.is_deferred(id) => {}
            Turn::Fetching => {
                ensure!(self.fetches.has(id), "{name} waits for a read that nobody makes");
            }
            Turn::Unread => {
                let mut line = self.roster.pool_ref(pool).unread.iter();
                let in_line = line.any(|(stream, _)| *stream == id);
                let most = self.settings.bounds.in_flight_bytes;
                let now = self.may_fetch(pool) && self.roster.has_room(pool, most);
                ensure!(in_line && (self.draining || !now), "{name} could be read, and is not");
            }
            Turn::None => ensure!(
                !stream.wants_turn(),
                "{name} has something to dispatch and stands in no queue"
            ),
            Turn::Queued => ensure!(
                self.draining || self.is_out(pool) || !self.may_call(pool),
                "{name} stands in the queue of a pool with a fit worker, and room"
            ),
        }
        Ok(())
    }

    fn verify_workers(&self) -> Result<(), String> {
        let mut calls: BTreeMap<WorkerKey, u32> = BTreeMap::new();
        let mut in_time: BTreeMap<WorkerKey, (u32, u32)> = BTreeMap::new();
        for attempt in self.attempts.values() {
            *calls.entry(attempt.worker).or_default() += 1;
            if attempt.standing == AttemptState::Active {
                let (calls, suspects) = in_time.entry(attempt.worker).or_default();
                *calls += 1;
                *suspects += u32::from(attempt.suspicion == Suspicion::Suspect);
            }
        }
        for pool in self.roster.pool_keys() {
            let hedge = &self.roster.pool_ref(pool).hedge;
            let armed = hedge.armed.is_some_and(|at| self.timers.has(at, Timer::Hedge(pool)));
            ensure!(hedge.is_empty() || armed, "{pool:?} looks at no slow attempt");
            let looked =
                self.timers.has(self.roster.pool_ref(pool).stretch_at, Timer::Limits(pool));
            let stands = self.roster.has_work(pool) && !self.roster.has_fit(pool);
            let may = !self.draining && !self.is_out(pool);
            ensure!(!may || !stands || looked, "nobody looks at the limits of {pool:?}");
        }
        for (key, worker) in self.roster.keyed() {
            let out = calls.get(&key).copied().unwrap_or_default();
            let id = &worker.id;
            ensure!(
                worker.in_flight == out,
                "{id} has {out} calls, {} are noted",
                worker.in_flight
            );
            let there = in_time.get(&key).copied().unwrap_or_default();
            let noted = (worker.counting, worker.suspects);
            ensure!(noted == there, "{id} has {there:?} calls and suspects, {noted:?} are noted");
            let now = Time::from_micros(u64::MAX);
            let able = worker.is_fit(now) || worker.silent_at.is_some();
            let watched = |at| self.timers.has(at, Timer::Worker(key));
            let woken = worker.is_listed()
                || watched(worker.paused_until)
                || watched(worker.ejected_until)
                || worker.silent_at.is_some();
            ensure!(!able || woken, "{id} is out for ever");
            let away = worker.unreachable_since.is_some() && worker.standing != Standing::Left;
            let looked = self.timers.has(worker.reach_at, Timer::Reach(key));
            ensure!(!away || looked, "nobody looks whether {id} is back");
        }
        Ok(())
    }

    fn verify_alerts(&self) -> Result<(), String> {
        for (id, stream) in (0_u32..).map(StreamId).zip(self.state.streams.iter()) {
            let alarm = stream.head_watch.get();
            let watched = alarm.is_some_and(|at| self.timers.has(at, Timer::Held(id)));
            let told = self.state.alerts.find(&Subject::Held(id)).is_some();
            ensure!(
                stream.backlog() == 0 || watched || told || self.held_beyond.contains(&id),
                "{}: nobody would notice if it stood still",
                stream.name
            );
        }
        for (name, teller) in &self.targets {
            ensure!(
                !teller.is_idle_with_work(|at| self.timers.has(at, Timer::Target)),
                "{name} has something to be told, and nobody tells"
            );
            let every = self.settings.notice_every;
            ensure!(
                !teller.holds_for_ever(every, |at| self.timers.has(at, Timer::Target)),
                "{name} is never told what was held back"
            );
        }
        let beyond = self.held_beyond.is_empty()
            || self.look_at.is_some() && self.state.alerts.find(&Subject::HeldFlood).is_some();
        ensure!(beyond, "streams stand still, and no alert counts them");
        let worried = self.look_at.is_none_or(|at| self.timers.has(at, Timer::Check));
        ensure!(worried, "nobody looks at what is amiss");
        Ok(())
    }

    fn verify_cursors(&self, state: &State) -> Result<(), String> {
        for (id, entry) in &state.subscriptions {
            let name = &entry.name;
            let mut sending = entry.leaving.len();
            let mut troubled = 0;
            for (stream, cursor) in &entry.cursors {
                ensure!(
                    (cursor.tries > 0) == entry.health.troubles(*stream),
                    "{name}: the troubles of {stream:?} are not known"
                );
                troubled += usize::from(cursor.tries > 0);
                match cursor.state {
                    CursorState::Idle => ensure!(
                        cursor.is_empty() && entry.scan.is_some() || entry.leaving.contains(stream),
                        "{name}: the cursor of {stream:?} is left idle"
                    ),
                    CursorState::Ready => ensure!(
                        entry.ready.contains(stream),
                        "{name}: the cursor of {stream:?} is not in line"
                    ),
                    CursorState::Sending => sending += 1,
                    CursorState::Waiting { due } => ensure!(
                        self.timers.has(due, Timer::StreamCursor(*id, *stream)),
                        "{name}: the cursor of {stream:?} waits for no timer"
                    ),
                }
            }
            ensure!(troubled == entry.health.troubled().len(), "{name}: troubles of no cursor");
            ensure!(sending == entry.sending, "{name}: sending is wrong");
            self.verify_turns_of(*id, entry)?;
        }
        Ok(())
    }

    fn verify_turns_of(&self, id: SubscriptionId, entry: &Subscription) -> Result<(), String> {
        let name = &entry.name;
        ensure!(
            self.draining
                || !entry.may_send(self.settings.deliveries_at_once)
                || entry.ready.is_empty(),
            "{name}: a cursor is ready, there is room, and nothing is sent"
        );
        ensure!(entry.scan.is_none() || entry.scanning, "{name} catches up, and nobody looks");
        ensure!(
            entry.health.closed_until.is_none_or(|at| self.timers.has(at, Timer::Destination(id))),
            "{name}: its destination is left alone for ever"
        );
        let pulls = entry.plan.way == DeliveryMode::Pull;
        ensure!(
            !pulls || entry.cursors.is_empty() && entry.scan.is_none(),
            "{name} is pulled and has cursors"
        );
        Ok(())
    }
}
