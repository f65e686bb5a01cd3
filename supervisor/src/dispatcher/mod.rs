//! The dispatcher: it decides. No clock, no socket, no file, no dice of its own; so the simulator
//! can play a year in a minute, and play it again.
//!
//! The contract of its methods:
//!
//! - [`Dispatcher::handle`] takes one event and the time. It runs to its end and is never
//!   re-entered. Time never goes back.
//! - [`Dispatcher::handle_timeout`] is called when the time of [`Dispatcher::poll_timeout`] has
//!   come. It does a bounded part of what is due; what is left is due at once.
//! - After either, [`Dispatcher::poll_effect`] is called until it gives `None`, and then one timer
//!   is set for [`Dispatcher::poll_timeout`].
//! - An [`Effect::Append`] has been applied to the [`State`] already. Effects that speak to the
//!   outside wait until what was appended before them is durable; see [`Effect`].
//!
//! One message's way through the files: `admission` (its place), `dispatching` (its worker),
//! `answers` (its answer, or another try), `state` (its release), `delivery` (its destination;
//! `subscription_commands` is what people and the configuration want of subscriptions).

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::Arc,
};

use rollcall_common::{ids::StreamId, time::Time};

mod admission;
mod alert;
mod answers;
mod attempts;
mod batch;
mod budget;
mod classify;
mod contradiction;
mod cursor;
mod decided;
mod deferred;
mod delivery;
mod departed;
mod dispatching;
pub mod effect;
mod escalation;
pub mod event;
mod fetching;
mod health;
mod hedge;
mod invariants;
mod late;
mod names;
mod notify;
mod operators;
mod outage;
mod poison;
mod pool;
mod quarantine;
mod reach;
mod roster;
mod sequences;
pub mod settings;
mod slot;
mod snapshot;
mod state;
mod status;
mod stream;
mod subscription;
mod subscription_commands;
mod sweep;
mod timers;
mod unserved;
mod watchdog;
pub mod worker;

#[cfg(test)]
mod tests;

pub use alert::{AlertStatus, NoticeKind};
pub use batch::Part;
pub use effect::{Delivery, Dispatch, Effect, Notice, Released, Reply, SubscriptionReply, Taken};
pub use event::{
    Arrival, AttemptId, Event, LaggingSubscribers, Refusal, RequestId, TellFailure, WorkerReply,
};
pub use health::Rate;
pub use invariants::Sizes;
pub use settings::Settings;
pub use slot::{Divergence, Parking};
pub use state::State;
pub use status::{
    Cause, Counters, FailingStream, MessageState, Mode, Room, StreamStatus, SubscriptionStatus,
};
pub use subscription::Subscription;

use crate::record::Record;
use attempts::Attempt;
use deferred::Deferred;
use escalation::Signal;
use fetching::Fetches;
use late::LateCalls;
use notify::TargetState;
use outage::Outages;
use poison::Suspects;
use roster::Roster;
use snapshot::Export;
use sweep::Sweeps;
use timers::{Timer, Timers};
use unserved::Unserved;

/// Beats that a registered worker may miss.
const MISSED_BEATS: u32 = 3;

/// The journal's room, as it was last told.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Space {
    /// There is.
    Enough,
    /// Only the reserve is left.
    Low,
}

/// It decides. See the module's page for the contract.
#[derive(Debug)]
pub struct Dispatcher {
    settings: Arc<Settings>,
    state: State,
    rng: fastrand::Rng,
    roster: Roster,
    attempts: BTreeMap<AttemptId, Attempt>,
    suspects: Suspects,
    late: LateCalls,
    fetches: Fetches,
    outages: Outages,
    next_attempt: u64,
    timers: Timers,
    effects: VecDeque<Effect>,
    /// What is left to be done of what was too much for one call.
    deferred: Deferred,
    sweeps: Sweeps,
    /// Streams whose status may have changed.
    dirty: BTreeSet<StreamId>,
    counters: Counters,
    /// How it stands with each target of alerts.
    targets: BTreeMap<Arc<str>, TargetState>,
    /// When what may be amiss is looked at.
    look_at: Option<Time>,
    /// Pools that have work and nobody for it.
    unserved: Unserved,
    /// Streams that stand still and have no alert of their own.
    held_beyond: BTreeSet<StreamId>,
    /// When streams last had a late answer that differs.
    diverged_at: BTreeMap<StreamId, Time>,
    /// The journal's room.
    space: Space,
    draining: bool,
    /// The snapshot that is being written.
    export: Option<Export>,
    /// The room that releases of one record are collected in.
    released: Vec<Released>,
}

impl Dispatcher {
    /// A dispatcher that goes on from `state`. What `seed` is does not matter, but the same seed
    /// and the same calls give the same effects.
    #[must_use]
    pub fn new(settings: Arc<Settings>, state: State, seed: u64, now: Time) -> Self {
        let mut dispatcher = Self {
            settings,
            state,
            rng: fastrand::Rng::with_seed(seed),
            roster: Roster::default(),
            attempts: BTreeMap::new(),
            suspects: Suspects::default(),
            late: LateCalls::default(),
            fetches: Fetches::default(),
            outages: Outages::default(),
            next_attempt: 1,
            timers: Timers::default(),
            effects: VecDeque::new(),
            deferred: Deferred::default(),
            sweeps: Sweeps::default(),
            dirty: BTreeSet::new(),
            counters: Counters::default(),
            targets: BTreeMap::new(),
            look_at: None,
            unserved: Unserved::default(),
            held_beyond: BTreeSet::new(),
            diverged_at: BTreeMap::new(),
            space: Space::Enough,
            draining: false,
            export: None,
            released: Vec::new(),
        };
        dispatcher.commit(Record::Started { at: now });
        dispatcher.adopt_settings(now);
        while !dispatcher.sweeps.is_empty() {
            // Nobody waits yet for what else there is to do.
            dispatcher.sweep(now);
        }
        dispatcher.resume(now);
        dispatcher.adopt_names(now);
        dispatcher.pump(now);
        dispatcher
    }

    /// Takes in something that happened.
    pub fn handle(&mut self, event: Event, now: Time) {
        match event {
            Event::Acknowledged { request, alert, by, reason } => {
                self.acknowledge(request, alert, (&by, &reason), now);
            }
            Event::AttemptEnded { attempt, reply } => self.answered(attempt, reply, now),
            Event::Arrived(arrival) => self.arrived(&arrival, now),
            Event::Copied { request, copies } => self.copied(request, copies),
            Event::Decided { request, stream, sequence, head, by, decision } => {
                self.decided(request, (&stream, sequence), (&by, decision, head), now);
            }
            Event::DecidedMany { request, bulk } => self.decided_many(request, bulk, now),
            Event::Delivered { more, subscription, stream, through, floor } => {
                self.delivered((subscription, stream), through, floor, now);
                if !more {
                    self.finished(subscription, stream);
                }
            }
            Event::Drain => self.draining = true,
            Event::Fetched { at, messages } => self.fetched(at, messages, now),
            Event::GapFound { subscription, gap } => self.gap_found(subscription, gap),
            Event::SubscriptionCommand { request, name, by, order } => {
                self.ordered(request, (&name, &by), order, now);
            }
            Event::StreamCommand { request, stream, by, reason, wish } => {
                self.pause_or_resume(request, (&stream, wish), (&by, &reason), now);
            }
            Event::Probed { worker, presence } => self.probed_id(&worker, presence, now),
            Event::Scanned { subscription, revision, to, found } => {
                self.scanned((subscription, revision), to, found);
            }
            Event::Settings(settings) => {
                self.settings = settings;
                self.adopt_settings(now);
                self.adopt_names(now);
            }
            Event::Snapshot { request } => self.begin_snapshot(request),
            Event::Space { low } => {
                self.space = if low { Space::Low } else { Space::Enough };
                self.space_changed(now);
            }
            Event::Subscribe { request, name, plan } => {
                self.subscribe(request.as_ref(), &name, plan, now);
            }
            Event::Notified { alert, target, outcome } => self.told(alert, &target, outcome, now),
            Event::Trim { request, through, below, slow } => {
                self.trim(request, (through, below), slow);
            }
            Event::Undelivered { subscription, stream, refusal, detail } => {
                self.undelivered((subscription, stream), refusal, detail, now);
            }
            Event::Unsubscribe { request, name } => self.unsubscribe(request.as_ref(), &name, now),
            Event::WorkerDrained { id } => self.worker_drained(&id, now),
            Event::WorkerResumed { id } => self.worker_resumed(&id, now),
            Event::WorkerLeft { id } => self.worker_left(&id, now),
            Event::WorkerSeen { id, pool, concurrency, beats } => {
                let silence = beats.then(|| self.settings.heartbeat.saturating_mul(MISSED_BEATS));
                self.worker_seen((&id, &pool), concurrency, silence, now);
            }
        }
        self.pump(now);
    }

    /// Does what is due, or a part of it: then more is due at once.
    pub fn handle_timeout(&mut self, now: Time) {
        for _ in 0..self.settings.bounds.work.max(1) {
            let Some(timer) = self.timers.pop_due(now) else {
                break;
            };
            self.timer_due(timer, now);
            self.cut();
        }
        self.work_off(now);
        self.sweep(now);
        self.pump(now);
    }

    fn timer_due(&mut self, timer: Timer, now: Time) {
        match timer {
            Timer::Alert(alert) => self.mark_for_notification(alert),
            Timer::Attempt(attempt) => self.timed_out(attempt, now),
            Timer::Destination(subscription) => self.destination_due(subscription, now),
            Timer::Forget(attempt) => {
                self.end_call(attempt, now);
            }
            Timer::Departed(worker) => self.departed_due(worker, now),
            // Pumping sends what is due, and looks at limits.
            Timer::Limits(_) | Timer::Probe(_) => {}
            Timer::Held(stream) => self.head_due(stream, now),
            Timer::Hedge(pool) => self.hedge_due(pool, now),
            Timer::StreamCursor(subscription, stream) => self.cursor_due(subscription, stream, now),
            Timer::Check => self.check(now),
            Timer::Reach(worker) => self.reach(worker, now),
            // Its pause is over, so pumping asks it again.
            Timer::Target => {}
            Timer::Retry(stream, sequence) => self.retry_due(stream, sequence, now),
            Timer::Worker(worker) => {
                self.roster.update_fitness(worker, now);
                self.watch_departed(worker, now);
            }
        }
    }

    /// The next thing to be done.
    pub fn poll_effect(&mut self) -> Option<Effect> {
        self.effects.pop_front()
    }

    /// When [`Dispatcher::handle_timeout`] is to be called. The beginning of time: at once.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Time> {
        let is_done = self.deferred.is_empty() && self.sweeps.is_empty();
        if is_done { self.timers.next() } else { Some(Time::default()) }
    }

    /// What is folded from the journal.
    #[must_use]
    pub fn state(&self) -> &State {
        &self.state
    }

    /// What is wanted of it at the moment.
    #[must_use]
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Writes a record down and takes it in: the only way in which state changes.
    fn commit(&mut self, record: Record) {
        self.state.apply(&record, &self.settings, &mut self.released);
        let signal = Signal::of(&record);
        self.effects.push_back(Effect::Append(record));
        let mut released = std::mem::take(&mut self.released);
        for release in released.drain(..) {
            self.counters.released += 1;
            self.dirty.insert(release.stream);
            self.effects.push_back(Effect::Release(release));
            self.enqueue_cursors(release.stream);
            self.head_moved(release.stream, release.at);
            if !self.state.subscriptions.is_empty() {
                self.schedule_check(release.at);
            }
        }
        self.released = released;
        self.escalate(signal);
    }

    /// Sets the soft side of a state that was folded from a journal.
    fn resume(&mut self, now: Time) {
        for stream in self.state.stream_ids() {
            let due = self.state.stream(stream).due_slots();
            for (sequence, due) in due {
                self.timers.set(due, Timer::Retry(stream, sequence));
            }
            self.dirty.insert(stream);
        }
        self.resume_subscriptions();
        self.resume_alerts(now);
    }

    /// Brings the streams and the subscriptions that the settings name into being, in the same turn
    /// as the settings: no message can come in between.
    fn adopt_names(&mut self, now: Time) {
        let settings = Arc::clone(&self.settings);
        for name in &settings.standing_streams {
            let room = self.state.streams.len() < settings.bounds.streams;
            if room && self.state.find_stream(name.as_str()).is_none() {
                let stream = self.open(name);
                self.dirty.insert(stream);
                self.cut();
            }
        }
        self.adopt_subscriptions(&settings.subscriptions, now);
    }
}
