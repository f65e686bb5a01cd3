//! The supervisor under simulation: the real engine, journal and views, and the steps that the
//! driver takes between them. The process may end between any two of them.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use rollcall_common::{
    ids::{Epoch, Sequence, StreamId},
    time::Time,
};
use rollcall_supervisor::{
    dispatcher::{Dispatch, Event, Reply, RequestId, SubscriptionStatus, event::Order},
    driver::engine::{DeferredEffect, Engine},
    journal::{EntryNumber, Space},
    record::{Reason, SubscriptionId, codec::decode},
    views::Views,
};

use super::{
    configuration::lives,
    coverage::Something,
    journal::Store,
    model::Told,
    retention::Keeping,
    world::{Halt, Step, What, World},
};
use crate::oracle::{Invariant, Seen, Violation};

/// Bytes that one fetch brings.
const FETCH_BYTES: usize = 2_000;
/// No message here takes more bytes.
const LARGEST_MESSAGE: usize = 8 << 10;
/// Results that one look for a subscription covers.
const SCAN_RESULTS: usize = 7;

/// One process.
pub(super) struct Server {
    pub(super) engine: Engine,
    pub(super) store: Store,
    pub(super) views: Arc<Views>,
    epoch: Epoch,
    mailbox: VecDeque<Event>,
    /// What goes to workers at the end of the turn.
    dispatches: VecDeque<Dispatch>,
    /// How many of the turn's records the model has seen.
    judged: usize,
    turn_due: Option<Time>,
    low: bool,
    writing: bool,
    began: Time,
    /// Attempts that are the first of their number, and no copies: what they may cost is bounded
    /// by other things than the budget.
    firsts: u64,
    /// Who asked: a client's request and which try of it; `None`: a person.
    pub(super) askers: BTreeMap<u64, Option<(usize, u32)>>,
    next_request: u64,
    /// Lives before which senders are to come back.
    pub(super) recalled: BTreeMap<SubscriptionId, u32>,
    pub(super) keeping: Keeping,
}

impl Server {
    /// A process that begins.
    pub(super) fn new(
        (engine, began): (Engine, Time),
        store: Store,
        views: Arc<Views>,
        epoch: Epoch,
    ) -> Self {
        Self {
            began,
            firsts: 0,
            engine,
            store,
            views,
            epoch,
            mailbox: VecDeque::new(),
            dispatches: VecDeque::new(),
            judged: 0,
            turn_due: None,
            low: false,
            writing: false,
            askers: BTreeMap::new(),
            next_request: 0,
            recalled: BTreeMap::new(),
            keeping: Keeping::default(),
        }
    }

    /// Opens a request.
    pub(super) fn open(&mut self, asker: Option<(usize, u32)>) -> RequestId {
        self.next_request += 1;
        self.askers.insert(self.next_request, asker);
        RequestId(self.next_request)
    }
}

pub(super) fn damaged(detail: &impl ToString) -> Halt {
    Halt::Violation(Violation { invariant: Invariant::I1, detail: detail.to_string() })
}

impl World {
    /// Bytes that the journal takes up.
    pub(super) fn disk_bytes(&self) -> u64 {
        let store = self.server.as_ref().map(|server| &server.store);
        store.map_or(0, |store| store.journal().size_bytes())
    }

    /// Takes in that all before `next` is durable.
    pub(super) fn durable(&mut self, next: EntryNumber) -> Result<(), Violation> {
        let mut seen = Vec::new();
        self.records_seen.synced(next, &mut seen);
        for (mut seen, name) in seen {
            if name.as_ref().is_some_and(|name| self.is_pulled(name)) {
                // Its reader looks for itself.
                continue;
            }
            let head_of =
                |name, revision| self.heads.get(&(name, revision)).copied().unwrap_or_default();
            if let (Some(name), Seen::Subscribed { streams, head, .. }) = (&name, &mut seen) {
                *head = head_of(Arc::clone(name), 0);
                *streams = self.streams_among(streams);
            } else if let (Some(name), Seen::Arranged { streams, head, revision, .. }) =
                (&name, &mut seen)
            {
                *head = head_of(Arc::clone(name), *revision);
                *streams = self.streams_among(streams);
            } else if let (Some(name), Seen::Rewound { head, revision, .. }) = (&name, &mut seen) {
                *head = head_of(Arc::clone(name), *revision);
            }
            self.see(seen)?;
        }
        Ok(())
    }

    /// The supervisor hears something; it will have its turn.
    pub(super) fn hear(&mut self, process: u32, event: Event) {
        if process != self.incarnation {
            return;
        }
        if let Some(server) = &mut self.server {
            server.mailbox.push_back(event);
            let span = Duration::from_micros(self.rng.u64(..300));
            self.turn_at(self.now + span);
        }
    }

    fn turn_at(&mut self, at: Time) {
        let process = self.incarnation;
        if let Some(server) = &mut self.server
            && server.turn_due.is_none_or(|due| at < due)
        {
            server.turn_due = Some(at);
            self.after(at.since(self.now), What::Turn(process, at));
        }
    }

    /// The supervisor's turn has come, unless it had an earlier one meanwhile.
    pub(super) fn turn_comes(&mut self, process: u32, due: Time) -> Step {
        let server = self.server.as_ref();
        if server.is_some_and(|server| server.turn_due == Some(due)) {
            return self.turn(process);
        }
        Ok(())
    }

    /// One round of the driver.
    pub(super) fn turn(&mut self, process: u32) -> Step {
        if process != self.incarnation {
            return Ok(());
        }
        let now = self.now;
        let most = self.rng.usize(1..64);
        for _ in 0..most {
            let Some(server) = &mut self.server else {
                return Ok(());
            };
            server.turn_due = None;
            let Some(event) = server.mailbox.pop_front() else {
                break;
            };
            self.handle(event)?;
            self.export()?;
        }
        let Some(server) = &mut self.server else {
            return Ok(());
        };
        if server.engine.poll_timeout().is_some_and(|at| at <= now) {
            self.model.expect(&Told::Timeout, now);
            let mut calls = 0;
            while server.engine.poll_timeout().is_some_and(|at| at <= now) {
                server.engine.handle_timeout(now);
                calls += 1;
            }
            if calls > 1 {
                self.note(Something::WorkedInParts);
            }
            self.judge()?;
        }
        self.end_turn()?;
        let Some(server) = &self.server else {
            return Ok(());
        };
        let next = server.engine.poll_timeout();
        let more = !server.mailbox.is_empty();
        if let Some(at) = next {
            self.turn_at(at.max(now));
        }
        if more {
            self.turn_at(now);
        }
        Ok(())
    }

    fn handle(&mut self, event: Event) -> Step {
        self.tell(format_args!("< {event:?}"));
        let Some(server) = &mut self.server else {
            return Ok(());
        };
        let rewound = matches!(event, Event::SubscriptionCommand { order: Order::Rewind(_), .. });
        let arranges = matches!(event, Event::Settings(_) | Event::Subscribe { .. });
        let before = (rewound || arranges).then(|| lives(server.engine.dispatcher()));
        self.hand_over(event)?;
        if let Some(before) = before {
            self.note_lives(&before, rewound);
        }
        Ok(())
    }

    /// Tells the dispatcher something, and lets the model judge what it makes of it.
    fn hand_over(&mut self, event: Event) -> Step {
        self.model.expect(&Told::Event(&event), self.now);
        if let Some(server) = &mut self.server {
            server.engine.handle(event, self.now);
        }
        self.judge()
    }

    /// Lets the model judge what the dispatcher made of what it was just told.
    pub(super) fn judge(&mut self) -> Step {
        let Some(server) = &mut self.server else {
            return Ok(());
        };
        let mut records = Vec::new();
        let mut all = Vec::new();
        for written in server.engine.written() {
            let payload = Bytes::copy_from_slice(written);
            all.extend(decode(&payload).map_err(|error| damaged(&error))?);
        }
        let seen = std::mem::replace(&mut server.judged, all.len());
        records.extend(all.into_iter().skip(seen));
        let from = server.dispatches.len();
        while let Some(dispatch) = server.engine.poll_dispatch() {
            server.dispatches.push_back(dispatch);
        }
        let sent = server.dispatches.make_contiguous().get(from..).unwrap_or_default();
        self.model.judge(self.now, (&records, sent), &server.engine)?;
        Ok(())
    }

    /// Writes a snapshot, if one is wanted: nothing else is handled meanwhile.
    fn export(&mut self) -> Step {
        while self.server.as_ref().is_some_and(|server| server.engine.is_exporting()) {
            self.end_turn()?;
            let bytes = self.rng.usize(..2_000);
            if let Some(server) = &mut self.server {
                server.engine.export(bytes);
            }
        }
        Ok(())
    }

    /// The process ends here, if that is what the seed wants.
    fn tick(&mut self) -> Step {
        if let Some(left) = &mut self.crash_in {
            if *left == 0 {
                self.crash_in = None;
                self.note(Something::CrashMidTurn);
                let power = self.rng.bool() && !self.scenario.memory;
                return Err(Halt::Crash { power });
            }
            *left -= 1;
        }
        Ok(())
    }

    /// Appends what the turn decided, and does what may be done.
    fn end_turn(&mut self) -> Step {
        let mut dispatches = Vec::new();
        while let Some(dispatch) = self.server.as_mut().and_then(|s| s.dispatches.pop_front()) {
            self.tick()?;
            dispatches.push(dispatch.clone());
            let hop = self.hop();
            self.after(hop, What::Work(self.incarnation, Box::new(dispatch)));
        }
        while let Some(worker) = self.server.as_mut().and_then(|s| s.engine.poll_probe()) {
            self.probe(&worker);
        }
        self.tick()?;
        let Some(server) = &mut self.server else {
            return Ok(());
        };
        server.judged = 0;
        let mut entries = 0;
        while let Some(payload) = self.server.as_mut().and_then(|one| one.engine.finish_turn()) {
            entries += 1;
            let bounds = self.scenario.settings.bounds;
            if payload.len() > bounds.entry_bytes {
                let detail = format!("an entry of {} bytes, {bounds:?}", payload.len());
                return Err(Violation { invariant: Invariant::I7, detail }.into());
            }
            let Some(server) = &mut self.server else {
                return Ok(());
            };
            let appended = server.store.journal().append(payload.clone(), server.epoch);
            let number = appended.map_err(|error| damaged(&error))?;
            server.engine.appended(Some(number));
            let entry = (number.0, payload);
            self.records_seen.appended(entry, &self.scenario.settings, &mut self.sometimes)?;
            let on_disk = matches!(server.store, Store::Disk(_));
            if on_disk && !server.writing {
                server.writing = true;
                let span = Duration::from_micros(self.rng.u64(10..200));
                self.after(span, What::Write(self.incarnation));
            }
            // The process may end between two entries of one turn.
            self.tick()?;
        }
        if entries > 1 {
            self.note(Something::TurnCut);
        }
        self.check_turn(&dispatches)?;
        self.check_budget(&dispatches)?;
        let Some(server) = &mut self.server else {
            return Ok(());
        };
        server.engine.appended(None);
        let next = server.store.journal().tail().borrow().next;
        self.tick()?;
        self.release_turns(next)
    }

    /// What must be true after each turn.
    fn check_turn(&mut self, dispatches: &[Dispatch]) -> Result<(), Violation> {
        let settings = &self.scenario.settings;
        for dispatch in dispatches {
            self.records_seen.check_dispatch(dispatch, self.now, settings)?;
        }
        let Some(server) = &self.server else {
            return Ok(());
        };
        let dispatcher = server.engine.dispatcher();
        let broken = |said| {
            let detail = format!("the dispatcher says: {said}");
            Violation { invariant: Invariant::I8, detail }
        };
        let sizes = dispatcher.verify(self.now).map_err(broken)?;
        self.sometimes.add(Something::EnoughOut, u64::from(sizes.is_full));
        let quarantined = dispatcher.counters().quarantined;
        if quarantined > 0 {
            return Err(broken(format!("{quarantined} streams or subscriptions are inconsistent")));
        }
        let bound = |detail| Violation { invariant: Invariant::I7, detail };
        // Beside the cache there is what is out, and what has been read and is to go out.
        let held = sizes.held_bytes.saturating_sub(sizes.out_bytes);
        let pools = settings.pools.len() + 1;
        let read = pools * (settings.bounds.fetches + 1) * LARGEST_MESSAGE;
        if held > settings.bounds.cache_bytes + read
            || sizes.timers > 20_000
            || sizes.attempts > 20_000
        {
            return Err(bound(format!("{sizes:?}")));
        }
        for (id, (slots, in_flight)) in (0_u32..).map(StreamId).zip(sizes.streams) {
            let Some(name) = dispatcher.state().stream_name(id) else {
                continue;
            };
            let settings = settings.stream(name);
            // Settings that change may leave more than they allow.
            let changes = self.scenario.faults.settings || self.healed;
            let over = in_flight > settings.max_in_flight || slots > settings.window as usize;
            if settings.pool.is_some() && over && !changes {
                return Err(bound(format!("{name}: {slots} slots, {in_flight} in flight")));
            }
        }
        Ok(())
    }

    /// Attempts beyond the first ones: those that bring an answer, those that a worker turned
    /// away, and what the budget allows.
    fn check_budget(&mut self, dispatches: &[Dispatch]) -> Result<(), Violation> {
        let Some(server) = &mut self.server else {
            return Ok(());
        };
        let first = |one: &&Dispatch| one.number == 1 && one.reason != Reason::Hedge;
        server.firsts += dispatches.iter().filter(first).count() as u64;
        let pools = self.scenario.settings.pools.iter();
        let budgets = || pools.clone().map(|(_, pool)| pool.budget);
        let percent = budgets().map(|budget| u64::from(budget.percent)).max().unwrap_or(20);
        let floor: u64 = budgets().map(|budget| u64::from(budget.per_second)).sum();
        let seconds = self.now.since(server.began).as_secs() + 20;
        let counters = server.engine.dispatcher().counters();
        // A share counts for ten seconds, so it may show in two spans of ten seconds.
        let most = server.firsts
            + server.firsts * 2 * percent / 100
            + 2 * floor * seconds
            + counters.completed
            + counters.late_answers
            + counters.rejected_uncounted
            // Of those there is one at a time for each worker.
            + counters.probes;
        if counters.attempts <= most {
            return Ok(());
        }
        let detail = format!("{counters:?}: more than {most} attempts");
        Err(Violation { invariant: Invariant::I9, detail })
    }

    /// The journal's write is done.
    pub(super) fn write(&mut self, process: u32) -> Step {
        if process != self.incarnation {
            return Ok(());
        }
        let Some(Server { store: Store::Disk(journal), .. }) = &self.server else {
            return Ok(());
        };
        match journal.write() {
            Ok(full) => {
                if full {
                    self.note(Something::DiskFull);
                }
                let most = if self.rng.u8(..10) == 0 { 50_000 } else { 500 };
                let span = Duration::from_micros(self.rng.u64(20..most));
                self.after(span, What::Sync(process));
                Ok(())
            }
            Err(error) => {
                self.tell(format_args!("write: {error}"));
                self.note(Something::WriteFailed);
                Err(Halt::Crash { power: true })
            }
        }
    }

    /// The journal's sync is done.
    pub(super) fn sync(&mut self, process: u32) -> Step {
        if process != self.incarnation {
            return Ok(());
        }
        let now = self.now;
        let Some(server) = &mut self.server else {
            return Ok(());
        };
        let Store::Disk(journal) = &server.store else {
            return Ok(());
        };
        if let Err(error) = journal.sync() {
            self.tell(format_args!("sync: {error}"));
            self.note(Something::SyncFailed);
            return Err(Halt::Crash { power: true });
        }
        let tail = server.store.journal().tail().borrow().clone();
        let low = tail.space == Space::Low;
        if low != server.low {
            server.low = low;
            self.hand_over(Event::Space { low })?;
        }
        let Some(server) = &mut self.server else {
            return Ok(());
        };
        let Store::Disk(journal) = &server.store else {
            return Ok(());
        };
        let waiting = journal.has_waiting();
        server.writing = waiting || low;
        if waiting || low {
            let wait = if low { 200_000 } else { 10 };
            self.after(Duration::from_micros(wait), What::Write(process));
        }
        self.tell(format_args!("durable before {}", tail.next));
        self.durable(tail.next)?;
        self.tick()?;
        self.release_turns(tail.next)?;
        self.turn_at(now);
        Ok(())
    }

    /// Says what rests on entries before `next`.
    fn release_turns(&mut self, next: EntryNumber) -> Step {
        if self.scenario.memory {
            self.durable(next)?;
        }
        while let Some(turn) = self.server.as_mut().and_then(|server| server.engine.poll_turn(next))
        {
            if let Some(server) = &self.server {
                server.views.publish(turn.entry, turn.changes);
            }
            for item in turn.effects {
                self.tick()?;
                self.act(item)?;
            }
        }
        Ok(())
    }

    fn act(&mut self, item: DeferredEffect) -> Step {
        self.tell(format_args!("> {item:?}"));
        let hop = self.hop();
        let Some(server) = &mut self.server else {
            return Ok(());
        };
        match item {
            DeferredEffect::Cancel { attempt, .. } => self.cancel(attempt),
            DeferredEffect::Forget(_) => self.note(Something::WorkerForgotten),
            DeferredEffect::GiveUp { .. } => {}
            DeferredEffect::Deliver(delivery) => {
                // Pausing begins another life: what set out before belongs to an earlier one.
                let status = server.engine.dispatcher().subscription_status(delivery.subscription);
                let stands = |status: &SubscriptionStatus| {
                    status.paused_reason().is_some() && status.revision == delivery.revision
                };
                if status.as_ref().is_some_and(stands) {
                    let detail = format!("{} stands still, and sends", delivery.name);
                    return Err(Violation { invariant: Invariant::I10, detail }.into());
                }
                self.deliver(delivery);
            }
            DeferredEffect::Fetch { stream, first, last, bytes } => {
                let bytes = bytes.min(FETCH_BYTES);
                self.after(hop, What::Read(self.incarnation, (stream, first, last), bytes));
            }
            DeferredEffect::Recall { subscription, revision } => {
                server.recalled.insert(subscription, revision);
            }
            DeferredEffect::Reply(request, _) if server.keeping.waits_for == Some(request.0) => {
                server.askers.remove(&request.0);
                server.keeping.waits_for = None;
            }
            DeferredEffect::Reply(request, reply) => match server.askers.remove(&request.0) {
                Some(Some((request, attempt))) => self.answer_client(request, attempt, reply),
                Some(None) => self.answer_person(request, &reply),
                None => return Err(damaged(&format!("{request:?} is answered twice"))),
            },
            DeferredEffect::Tell(notice) => self.cry(notice),
            DeferredEffect::Scan { subscription, revision, after } => {
                let wants = server.engine.dispatcher().wanted_by(subscription);
                let scan = server.views.scan(after, SCAN_RESULTS, |name| wants(name));
                let (to, found) = scan.map_err(|error| damaged(&error))?;
                self.note(Something::Scanned);
                self.tell_after(hop, Event::Scanned { subscription, revision, to, found });
            }
        }
        Ok(())
    }

    /// Messages are read: later than they were asked for, so that they may have their results.
    pub(super) fn read_messages(
        &mut self,
        process: u32,
        (stream, first, last): (StreamId, Sequence, Sequence),
        bytes: usize,
    ) -> Step {
        let Some(server) = self.server.as_ref().filter(|_| process == self.incarnation) else {
            return Ok(());
        };
        let read = server.views.messages(stream, first..=last, bytes);
        let messages = read.map_err(|error| damaged(&error))?;
        let found =
            if messages.is_empty() { Something::FetchedTooLate } else { Something::Fetched };
        self.note(found);
        self.tell_after(Duration::ZERO, Event::Fetched { at: (stream, first), messages });
        Ok(())
    }

    /// Whether the answer to a client may be given up on the way.
    pub(super) fn answer_client(&mut self, request: usize, attempt: u32, reply: Reply) {
        let loss = self.scenario.faults.net_loss;
        if self.happens(loss) {
            self.note(Something::AckLost);
            return;
        }
        let hop = self.hop();
        self.after(hop, What::Answer(request, attempt, reply));
    }
}
