//! How a process begins, from what its journal says, and how it ends.

use std::{io::ErrorKind, sync::Arc, time::Duration};

use bytes::Bytes;
use rollcall_common::ids::Epoch;
use rollcall_supervisor::{
    dispatcher::Settings,
    driver::{
        engine::{Engine, Recovered},
        recovery::recover,
    },
    journal::{
        Entry, EntryNumber, Journal,
        local::{Log, OpenError, Options, disk::Disk as _},
    },
    record::codec::decode,
    views::Views,
};
use uuid::Uuid;

use super::{
    coverage::Something,
    journal::{SimJournal, Store},
    model::{Model, Told},
    record_checker::RecordChecker,
    server::{Server, damaged},
    world::{Halt, Step, What, World},
};
use crate::oracle::{Seen, Violation};

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
        let mut records_seen = RecordChecker::default();
        records_seen.parked.clone_from(&self.records_seen.parked);
        let settings = self.configured();
        let (recovered, read) = recovered(&*journal, &settings, &views)?;
        // A second fold, of all records that there ever were.
        let mut whole = Recovered::default();
        let mut records = Vec::new();
        let trimmed = read.first().map_or(EntryNumber::FIRST, |(first, _)| *first);
        for (number, payload) in self.records_seen.archived(trimmed.0 - 1).into_iter().chain(read) {
            let entry = Entry { number, epoch: Epoch::FIRST, payload: payload.clone() };
            let taken = whole.take(&entry, &settings, |_, _| {});
            taken.map_err(|error| damaged(&error))?;
            records.extend(decode(&payload).map_err(|error| damaged(&error))?);
            // The first reading has noted what happened.
            let copy = (number, payload);
            records_seen.appended(copy, &settings, &mut super::Coverage::default())?;
        }
        if trimmed > EntryNumber::FIRST {
            self.note(Something::Trimmed);
        }
        self.check_start(&recovered.state, &whole.state, &views)?;
        let from = recovered.last.next();
        records_seen.follows(&self.records_seen)?;
        self.records_seen = records_seen;
        self.now = self.now.max(recovered.state.last_time());
        if self.incarnation > 1 && self.records_seen.has_due_after(self.now) {
            self.note(Something::RetryRestored);
        }
        self.durable(from)?;
        let process = self.incarnation;
        self.tell(format_args!("START {process} epoch {epoch}, next entry {from}"));
        let seed = self.rng.u64(..);
        self.model = Model::recover(Arc::clone(&settings), &records);
        self.model.expect(&Told::Start, self.now);
        let before = self.lives_in(&recovered.state);
        self.marks.recover(&recovered.state);
        let engine = Engine::new(settings, recovered, seed, self.now);
        self.server = Some(Server::new((engine, self.now), store, views, epoch));
        self.note_lives(&before, false);
        self.judge()?;
        self.read_all_results()?;
        self.introduce();
        self.after(Duration::from_millis(50), What::Keep(self.incarnation));
        self.turn(self.incarnation)
    }

    /// The journal, or nothing if the power failed meanwhile.
    fn open_store(&mut self, dies: bool) -> Result<Option<(Store, Epoch)>, Halt> {
        if self.scenario.memory {
            let epoch = u64::from(self.incarnation);
            let epoch = (1..epoch).fold(Epoch::FIRST, |epoch, _| epoch.next());
            return Ok(Some((Store::Memory(Arc::clone(&self.memory)), epoch)));
        }
        let segment_bytes = self.scenario.segment_bytes;
        let options = Options { segment_bytes, reserve_bytes: 4 << 10, extend_bytes: 2 << 10 };
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
                if source.kind() == ErrorKind::StorageFull && !self.records_seen.has_durable() =>
            {
                self.tell(format_args!("no room for a new journal"));
                Ok(None)
            }
            Err(error) => Err(damaged(&error)),
        }
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
            if self.records_seen.is_behind() && !server.askers.is_empty() {
                self.note(Something::CrashBeforeSync);
            }
            if server.keeping.is_busy() {
                self.note(Something::CrashInTrim);
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
            (Something::HedgeMade, counters.hedges),
            (Something::HedgeWon, counters.hedges_won),
            (Something::Pardoned, counters.readmissions),
            (Something::GivenUp, counters.given_up),
            (Something::OutageBegan, counters.outages),
            (Something::OutageEnded, counters.outages_over),
            (Something::OutageProbed, counters.probes),
            (Something::RetryDeferred, counters.retries_deferred),
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
}

/// What a journal says, and the entries from which it was folded.
fn recovered(
    journal: &dyn Journal,
    settings: &Settings,
    views: &Views,
) -> Result<(Recovered, Vec<(EntryNumber, Bytes)>), Halt> {
    let mut read = Vec::new();
    let seen = |entry: &Entry, _| read.push((entry.number, entry.payload.clone()));
    let recovered = recover(journal, settings, (views, 8_192), seen);
    Ok((recovered.map_err(|error| damaged(&error))?, read))
}
