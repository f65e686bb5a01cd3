//! Poison: a message during whose attempts two workers died is parked, and not sent to a third.
//!
//! A connection that breaks says little; so the shell looks whether its worker is still there. If
//! it is not, each message whose attempt broke on it is charged with that death
//! ([`Record::WorkerDied`]). What is charged is a *suspect*, and is kept away from other suspects,
//! so that the next death speaks against one of them alone.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use rollcall_common::{
    ids::{Sequence, StreamId},
    limits::PROBE_TIMEOUT,
    time::Time,
};

use super::{
    Dispatcher,
    attempts::{Attempt, AttemptState, Suspicion},
    classify::Mark,
    effect::Effect,
    event::Presence,
    pool::PoolKey,
    slot::{Slot, SlotState},
    worker::WorkerKey,
};
use crate::record::{ParkCause, Record, Severity, Subject};

/// Workers that may die of a message.
const DEATHS: usize = 2;
/// Longest wait of a suspect before it looks again for a worker without another suspect.
const LOOK: Duration = Duration::from_millis(500);

/// A message's place.
type Place = (StreamId, Sequence);

/// What is known of workers whose connections broke. Soft: only what was charged survives.
#[derive(Debug, Default)]
pub(super) struct Suspects {
    /// Looks that are out.
    probes: BTreeMap<WorkerKey, Probe>,
    /// The last death of each worker.
    deaths: BTreeMap<WorkerKey, Death>,
}

/// A look at whether a worker is there.
#[derive(Debug)]
struct Probe {
    /// When it is given up.
    until: Time,
    /// Messages whose attempts broke.
    broken: BTreeSet<Place>,
    /// Those of them that would go out if it were not for this.
    waiting: BTreeSet<Place>,
}

/// A worker's death.
#[derive(Debug)]
struct Death {
    /// When it was found.
    at: Time,
    /// Messages charged with it that had been charged before, as long as none is picked out.
    charged: BTreeSet<Place>,
}

impl Suspects {
    /// Nothing is known of a worker any more.
    pub(super) fn forget(&mut self, worker: WorkerKey) {
        self.probes.remove(&worker);
        self.deaths.remove(&worker);
    }

    /// Whether nothing is under suspicion, which is nearly always.
    fn is_idle(&self) -> bool {
        self.probes.is_empty() && self.deaths.is_empty()
    }
}

impl Dispatcher {
    /// An attempt in time broke: is its worker still there?
    pub(super) fn broke(&mut self, attempt: &Attempt, now: Time) {
        let (worker, place) = (attempt.worker, (attempt.stream, attempt.sequence));
        let death = self.suspects.deaths.get(&worker);
        if death.is_some_and(|death| attempt.started_at <= death.at) {
            // It was out when the worker was found dead.
            return self.charge(place, worker, now);
        }
        let probe = self.suspects.probes.get_mut(&worker);
        if let Some(probe) = probe.filter(|probe| now < probe.until) {
            probe.broken.insert(place);
            return;
        }
        let until = now + PROBE_TIMEOUT + PROBE_TIMEOUT;
        let probe = Probe { until, broken: [place].into(), waiting: BTreeSet::new() };
        self.suspects.probes.insert(worker, probe);
        let worker = Arc::clone(&self.roster.worker(worker).id);
        self.effects.push_back(Effect::Probe { worker });
    }

    /// A look at a worker is done, or something else tells as much.
    pub(super) fn probed(&mut self, worker: WorkerKey, presence: Presence, now: Time) {
        let Some(probe) = self.suspects.probes.remove(&worker) else {
            return;
        };
        if presence == Presence::Absent {
            self.record_failure(worker, Mark::Missing, now);
            let death = Death { at: now, charged: BTreeSet::new() };
            self.suspects.deaths.insert(worker, death);
            for place in probe.broken {
                self.charge(place, worker, now);
                self.cut();
            }
            self.decide_poison(worker, now);
        }
        for (stream, sequence) in probe.waiting {
            let slot = self.state.stream_mut(stream).slot_mut(sequence);
            if let Some(slot) = slot.filter(|slot| waits_until(slot, probe.until)) {
                slot.state = SlotState::Idle;
                self.redispatch(stream, sequence);
            }
        }
    }

    /// The same, by the worker's id.
    pub(super) fn probed_id(&mut self, worker: &str, presence: Presence, now: Time) {
        if let Some(worker) = self.roster.find(worker) {
            self.reached(worker, presence, now);
            self.probed(worker, presence, now);
        }
    }

    /// Charges a message with a worker's death.
    fn charge(&mut self, place: Place, worker: WorkerKey, now: Time) {
        let (stream, sequence) = place;
        let id = Arc::clone(&self.roster.worker(worker).id);
        let Some(slot) = self.open_slot(stream, sequence) else {
            return;
        };
        if matches!(slot.state, SlotState::Parked(_)) {
            return;
        }
        let mut deaths = slot.deaths().len();
        if !slot.deaths().contains(&id) {
            deaths += 1;
            self.commit(Record::WorkerDied { stream, sequence, at: now, worker: id });
            self.dirty.insert(stream);
        }
        if deaths >= DEATHS
            && let Some(death) = self.suspects.deaths.get_mut(&worker)
        {
            death.charged.insert(place);
        }
    }

    /// Parks a message that was charged more than once, if it is the only such one of those that
    /// were at this worker when it died. Those that are still out there may yet be another.
    pub(super) fn decide_poison(&mut self, worker: WorkerKey, now: Time) {
        let Some(death) = self.suspects.deaths.get(&worker) else {
            return;
        };
        if death.charged.is_empty() {
            return;
        }
        let open = self.attempts.values().any(|attempt| {
            let there = attempt.worker == worker && attempt.started_at <= death.at;
            there
                && attempt.suspicion == Suspicion::Suspect
                && attempt.standing == AttemptState::Active
        });
        if open {
            return;
        }
        let charged = self.suspects.deaths.get_mut(&worker).map(|death| &mut death.charged);
        let mut charged = charged.map(std::mem::take).unwrap_or_default();
        charged.retain(|(stream, sequence)| {
            let slot = self.open_slot(*stream, *sequence);
            slot.is_some_and(|slot| !matches!(slot.state, SlotState::Parked(_)))
        });
        if let (Some((stream, sequence)), 1) = (charged.first().copied(), charged.len()) {
            let slot = self.state.stream(stream).slot(sequence);
            let deaths = slot.map(|slot| slot.deaths().join(" and ")).unwrap_or_default();
            let reason = format!("suspected poison: workers {deaths} died during its attempts");
            self.counters.poison_suspected += 1;
            self.park((stream, sequence), (ParkCause::Poison, &reason), now);
            // A stream that skips has done so by now: nobody is waited for.
            let slot = self.state.stream(stream).slot(sequence);
            let room = self.state.alerts.room_for_messages() > 0;
            if room && slot.is_some_and(|slot| matches!(slot.state, SlotState::Parked(_))) {
                let subject = Subject::Poison(stream, sequence);
                self.raise(subject, (Severity::Error, 0), reason, now);
            }
        }
    }

    /// Until when a message has to wait, because it is not known what its worker broke of.
    pub(super) fn doubted_until(&mut self, place: Place, now: Time) -> Option<Time> {
        if self.suspects.is_idle() {
            return None;
        }
        let mut probes = self.suspects.probes.values_mut();
        let probe = probes.find(|probe| now < probe.until && probe.broken.contains(&place));
        if let Some(probe) = probe {
            probe.waiting.insert(place);
            return Some(probe.until);
        }
        let undecided = |death: &Death| death.charged.contains(&place);
        self.suspects.deaths.values().any(undecided).then(|| now + LOOK)
    }

    /// A worker for a message: for a suspect one that has no other. What was charged once waits
    /// for such a one for as long as its first attempt may take, what was charged more often for
    /// as long as it takes. `Err` says when to look again.
    pub(super) fn pick_worker(
        &mut self,
        (stream, sequence): Place,
        pool: PoolKey,
        now: Time,
    ) -> Result<Option<(WorkerKey, Suspicion)>, Time> {
        let entry = self.state.stream_mut(stream);
        let patience = entry.settings.ladder.timeout;
        let Some(slot) = entry.slot_mut(sequence) else {
            return Ok(None);
        };
        if slot.deaths().is_empty() {
            let picked = self.roster.pick(pool, &slot.tried(), &mut self.rng);
            return Ok(picked.map(|worker| (worker, Suspicion::Clean)));
        }
        let since = slot.apart_since(now);
        let roster = &self.roster;
        let free = |worker| roster.worker(worker).suspects == 0;
        let mut picked = roster.pick_of(pool, &slot.tried(), &mut self.rng, free);
        if picked.is_none() && slot.deaths().len() < DEATHS && since + patience <= now {
            picked = roster.pick(pool, &slot.tried(), &mut self.rng);
        }
        let Some(worker) = picked else {
            let wait = (patience / 8).clamp(Duration::from_millis(1), LOOK);
            return Err(now + wait);
        };
        slot.found_worker();
        Ok(Some((worker, Suspicion::Suspect)))
    }
}

fn waits_until(slot: &Slot, until: Time) -> bool {
    matches!(slot.state, SlotState::Waiting { due } if due == until)
}
