//! The supervisor under simulation: the real engine, journal and views, and the steps that the
//! driver takes between them. The process may end between any two of them.

use std::{
    collections::{BTreeMap, VecDeque},
    io::ErrorKind,
    sync::Arc,
    time::Duration,
};

use rollcall_common::{
    ids::{Epoch, Sequence, StreamId},
    limits::CACHE_BYTES,
    time::Time,
};
use rollcall_supervisor::{
    dispatcher::{Dispatch, Event, Reply, RequestId},
    driver::engine::{Engine, Outward, Recovered},
    journal::{
        EntryNumber, Space,
        local::{Log, OpenError, Options, disk::Disk as _},
    },
    views::Views,
};
use uuid::Uuid;

use super::{
    journal::{SimJournal, Store},
    ledger::Ledger,
    sometimes::Something,
    world::{Halt, Step, What, World},
};
use crate::oracle::{Invariant, Seen, Violation};

/// Bytes that one fetch brings.
const FETCH_BYTES: usize = 2_000;
/// Results that one look for a subscription covers.
const SCAN_RESULTS: usize = 7;

/// One process.
pub(super) struct Server {
    pub(super) engine: Engine,
    store: Store,
    pub(super) views: Arc<Views>,
    epoch: Epoch,
    mailbox: VecDeque<Event>,
    turn_due: Option<Time>,
    low: bool,
    writing: bool,
    /// Who asked: a client's request and which try of it; `None`: a person.
    pub(super) askers: BTreeMap<u64, Option<(usize, u32)>>,
    next_request: u64,
}

impl Server {
    /// Opens a request.
    pub(super) fn open(&mut self, asker: Option<(usize, u32)>) -> RequestId {
        self.next_request += 1;
        self.askers.insert(self.next_request, asker);
        RequestId(self.next_request)
    }
}

fn damaged(detail: &impl ToString) -> Halt {
    Halt::Violation(Violation { invariant: Invariant::I1, detail: detail.to_string() })
}

impl World {
    /// The process starts.
    pub(super) fn start(&mut self) -> Step {
        self.incarnation += 1;
        let faulty = !self.healed && !self.scenario.memory && self.scenario.faults.crashes > 0;
        let dies = faulty && self.rng.u8(..6) == 0;
        if dies {
            let calls = self.rng.u64(..12);
            self.disk.power_off_after(calls);
            self.disk_fails = true;
        }
        let Some((store, epoch)) = self.open_store(dies)? else {
            self.note(Something::CrashInRecovery);
            return Err(Halt::Crash { power: true });
        };
        let journal = store.journal();
        let views = Arc::new(Views::new(store.journal()));
        let mut recovered = Recovered::default();
        let mut ledger = Ledger::default();
        ledger.parked.clone_from(&self.ledger.parked);
        let settings = Arc::new(self.scenario.settings.clone());
        let mut from = EntryNumber::FIRST;
        loop {
            let entries = journal.read(from, 8_192).map_err(|error| damaged(&error))?;
            let Some(last) = entries.last() else { break };
            from = last.number.next();
            for entry in entries {
                let copy = (entry.number, entry.payload.clone());
                // The first reading has noted what happened.
                ledger.appended(copy, &settings, &mut super::Sometimes::default())?;
                let publish = |number, change| views.publish(number, [change]);
                let taken = recovered.take(entry, &settings, publish);
                taken.map_err(|error| damaged(&error))?;
            }
        }
        ledger.follows(&self.ledger)?;
        self.ledger = ledger;
        self.now = self.now.max(recovered.state.last_time());
        if self.incarnation > 1 && self.ledger.has_due_after(self.now) {
            self.note(Something::RetryRestored);
        }
        self.durable(from)?;
        let process = self.incarnation;
        self.tell(format_args!("START {process} epoch {epoch}, next entry {from}"));
        let seed = self.rng.u64(..);
        self.server = Some(Server {
            engine: Engine::new(settings, recovered, seed, self.now),
            store,
            views,
            epoch,
            mailbox: VecDeque::new(),
            turn_due: None,
            low: false,
            writing: false,
            askers: BTreeMap::new(),
            next_request: 0,
        });
        self.read_all_results()?;
        self.introduce();
        self.turn(self.incarnation)
    }

    /// The journal, or nothing if the power failed meanwhile.
    fn open_store(&mut self, dies: bool) -> Result<Option<(Store, Epoch)>, Halt> {
        if self.scenario.memory {
            let epoch = u64::from(self.incarnation);
            let epoch = (1..epoch).fold(Epoch::FIRST, |epoch, _| epoch.next());
            return Ok(Some((Store::Memory(Arc::clone(&self.memory)), epoch)));
        }
        let options =
            Options { segment_bytes: 24 << 10, reserve_bytes: 4 << 10, extend_bytes: 2 << 10 };
        let identity = Uuid::from_u128(7);
        match Log::open(self.disk.clone(), &options, identity) {
            Ok((log, report)) => {
                if report.cut.is_some() {
                    self.note(Something::Torn);
                }
                let journal = SimJournal::new(log, report.next_epoch);
                Ok(Some((Store::Disk(Arc::new(journal)), report.next_epoch)))
            }
            Err(error) if dies => {
                self.tell(format_args!("the power fails during recovery: {error}"));
                Ok(None)
            }
            // A journal that is yet to be made needs room; one that is there does not.
            Err(OpenError::Io { source, .. })
                if source.kind() == ErrorKind::StorageFull && !self.ledger.has_durable() =>
            {
                self.tell(format_args!("no room for a new journal"));
                Ok(None)
            }
            Err(error) => Err(damaged(&error)),
        }
    }

    /// Bytes that the journal takes up.
    pub(super) fn disk_bytes(&self) -> u64 {
        let store = self.server.as_ref().map(|server| &server.store);
        store.map_or(0, |store| store.journal().size_bytes())
    }

    /// Takes in that all before `next` is durable.
    fn durable(&mut self, next: EntryNumber) -> Result<(), Violation> {
        let mut seen = Vec::new();
        self.ledger.synced(next, &mut seen);
        for (mut seen, name) in seen {
            if let (Some(name), Seen::Subscribed { streams, head, .. }) = (name, &mut seen) {
                *head = self.heads.get(&name).copied().unwrap_or_default();
                *streams = self.streams_of(&name);
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
            self.handle(event);
        }
        let Some(server) = &mut self.server else {
            return Ok(());
        };
        if server.engine.poll_timeout().is_some_and(|at| at <= now) {
            server.engine.handle_timeout(now);
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

    fn handle(&mut self, event: Event) {
        self.tell(format_args!("< {event:?}"));
        let now = self.now;
        let Some(server) = &mut self.server else {
            return;
        };
        if let Event::Subscribe { name, .. } = &event {
            let state = server.engine.dispatcher().state();
            if state.find_subscription(name).is_none() {
                self.heads.insert((**name).into(), state.head().0);
            }
        }
        server.engine.handle(event, now);
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
        while let Some(dispatch) = self.server.as_mut().and_then(|s| s.engine.poll_dispatch()) {
            self.tick()?;
            dispatches.push(dispatch.clone());
            let hop = self.hop();
            self.after(hop, What::Work(self.incarnation, Box::new(dispatch)));
        }
        self.tick()?;
        let Some(server) = &mut self.server else {
            return Ok(());
        };
        let mut ticket = None;
        if let Some(payload) = server.engine.finish_turn() {
            let appended = server.store.journal().append(payload.clone(), server.epoch);
            let number = appended.map_err(|error| damaged(&error))?;
            ticket = Some(number);
            let entry = (number.0, payload);
            self.ledger.appended(entry, &self.scenario.settings, &mut self.sometimes)?;
            let on_disk = matches!(server.store, Store::Disk(_));
            if on_disk && !server.writing {
                server.writing = true;
                let span = Duration::from_micros(self.rng.u64(10..200));
                self.after(span, What::Write(self.incarnation));
            }
        }
        self.check_turn(&dispatches)?;
        let Some(server) = &mut self.server else {
            return Ok(());
        };
        server.engine.appended(ticket);
        let next = server.store.journal().tail().borrow().next;
        self.tick()?;
        self.speak(next)
    }

    /// What must be true after each turn.
    fn check_turn(&mut self, dispatches: &[Dispatch]) -> Result<(), Violation> {
        let settings = &self.scenario.settings;
        for dispatch in dispatches {
            self.ledger.check_dispatch(dispatch, self.now, settings)?;
        }
        let Some(server) = &self.server else {
            return Ok(());
        };
        let dispatcher = server.engine.dispatcher();
        let broken = |detail| Violation { invariant: Invariant::I8, detail };
        let sizes = dispatcher.verify().map_err(broken)?;
        let bound = |detail| Violation { invariant: Invariant::I7, detail };
        if sizes.held_bytes > CACHE_BYTES || sizes.timers > 20_000 || sizes.attempts > 20_000 {
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
            server.engine.handle(Event::Space { low }, now);
        }
        let waiting = journal.has_waiting();
        server.writing = waiting || low;
        if waiting || low {
            let wait = if low { 200_000 } else { 10 };
            self.after(Duration::from_micros(wait), What::Write(process));
        }
        self.tell(format_args!("durable before {}", tail.next));
        self.durable(tail.next)?;
        self.tick()?;
        self.speak(tail.next)?;
        self.turn_at(now);
        Ok(())
    }

    /// Says what rests on entries before `next`.
    fn speak(&mut self, next: EntryNumber) -> Step {
        if self.scenario.memory {
            self.durable(next)?;
        }
        while let Some((entry, outward)) =
            self.server.as_mut().and_then(|server| server.engine.poll_outward(next))
        {
            let mut others = Vec::new();
            let mut changes = Vec::new();
            for item in outward {
                match item {
                    Outward::Publish(change) => changes.push(change),
                    Outward::Deliver(_)
                    | Outward::Fetch { .. }
                    | Outward::Reply(..)
                    | Outward::Scan { .. } => others.push(item),
                }
            }
            if let Some(server) = &self.server {
                server.views.publish(entry, changes);
            }
            for item in others {
                self.tick()?;
                self.act(item)?;
            }
        }
        Ok(())
    }

    fn act(&mut self, item: Outward) -> Step {
        self.tell(format_args!("> {item:?}"));
        let hop = self.hop();
        let Some(server) = &mut self.server else {
            return Ok(());
        };
        match item {
            Outward::Deliver(delivery) => self.deliver(delivery),
            Outward::Fetch { stream, first, last } => return self.fetch(stream, first, last),
            Outward::Publish(_) => {}
            Outward::Reply(request, reply) => match server.askers.remove(&request.0) {
                Some(Some((request, attempt))) => self.answer_client(request, attempt, reply),
                Some(None) => self.answer_person(&reply),
                None => return Err(damaged(&format!("{request:?} is answered twice"))),
            },
            Outward::Scan { subscription, after } => {
                let wants = server.engine.dispatcher().wanted_by(subscription);
                let (to, found) = server.views.scan(after, SCAN_RESULTS, |name| wants(name));
                self.note(Something::Scanned);
                self.tell_after(hop, Event::Scanned { subscription, to, found });
            }
        }
        Ok(())
    }

    fn fetch(&mut self, stream: StreamId, first: Sequence, last: Sequence) -> Step {
        let hop = self.hop();
        let Some(server) = &self.server else {
            return Ok(());
        };
        let read = server.views.messages(stream, first..=last, FETCH_BYTES);
        let messages = read.map_err(|error| damaged(&error))?;
        if messages.is_empty() {
            return Err(damaged(&format!(
                "fetch of {stream:?} {first}..={last}: nothing is there"
            )));
        }
        self.note(Something::Fetched);
        self.tell_after(hop, Event::Fetched { stream, messages });
        Ok(())
    }

    /// The process will end between two of its next steps, or in the middle of a write.
    pub(super) fn crash_soon(&mut self, power: bool) -> Step {
        if self.server.is_none() {
            return Ok(());
        }
        match self.rng.u8(..4) {
            0 => return Err(Halt::Crash { power }),
            1 if power => {
                let calls = self.rng.u64(..6);
                self.disk.power_off_after(calls);
                self.disk_fails = true;
            }
            2 if power => {
                self.disk.fail_sync(1);
                self.disk_fails = true;
            }
            _ => self.crash_in = Some(self.rng.u32(..20)),
        }
        Ok(())
    }

    /// The process has ended.
    pub(super) fn crash(&mut self, power: bool) -> Result<(), Violation> {
        if let Some(server) = self.server.take() {
            if self.ledger.is_behind() && !server.askers.is_empty() {
                self.note(Something::CrashBeforeSync);
            }
            self.sum_up(&server);
        }
        self.tell(format_args!("CRASH power {power}"));
        // A disk that has begun to fail is not trusted again without its machine.
        if power || std::mem::take(&mut self.disk_fails) {
            self.disk.crash(&mut self.rng);
        }
        self.crash_in = None;
        self.incarnation += 1;
        let down = self.within(Duration::from_secs(3));
        self.after(down, What::Start);
        self.see(Seen::Crashed)
    }

    /// Notes what one process has come to.
    fn sum_up(&mut self, server: &Server) {
        let dispatcher = server.engine.dispatcher();
        let counters = dispatcher.counters();
        for (something, count) in [
            (Something::Diverging, counters.diverging_answers),
            (Something::LateBeaten, counters.late_answers),
            (Something::Ejected, counters.ejections),
            (Something::SkippedBySetting, counters.skipped),
            (Something::TimedOut, counters.timeouts),
        ] {
            self.sometimes.add(something, count);
        }
        for (id, _) in dispatcher.state().subscription_names() {
            let status = dispatcher.subscription_status(id);
            if status.is_some_and(|status| !status.held.is_empty()) {
                self.sometimes.note(Something::Held);
            }
        }
        let segments = self.disk.list().unwrap_or_default();
        if segments.iter().filter(|name| name.ends_with(".seg")).count() > 1 {
            self.sometimes.note(Something::Rolled);
        }
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
