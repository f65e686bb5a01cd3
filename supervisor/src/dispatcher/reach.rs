//! Workers that can't be connected to. No message goes to one before a look finds it there again;
//! it is looked at every few seconds, and people are told when it stays away.

use std::{sync::Arc, time::Duration};

use rollcall_common::{limits::WORKER_ALERTS, time::Time};

use super::{
    Dispatcher,
    effect::Effect,
    event::Presence,
    timers::Timer,
    worker::{Impediment, Standing, WorkerKey},
};
use crate::record::{Severity, Subject};

/// How long a worker may be away before that is an alert, and before it is a warning: one that is
/// started anew takes a moment.
const AWAY: (Duration, Duration) = (Duration::from_secs(10), Duration::from_secs(30));

impl Dispatcher {
    /// A worker can't be connected to.
    pub(super) fn lose(&mut self, worker: WorkerKey, now: Time) {
        let known = self.roster.worker(worker);
        if known.standing == Standing::Left || known.unreachable_since.is_some() {
            return;
        }
        self.impede(worker, Impediment::Unreachable, now);
        self.look_again(worker, now);
    }

    fn look_again(&mut self, worker: WorkerKey, now: Time) {
        let at = self.roster.lose(worker, now, &mut self.rng);
        self.timers.set(at, Timer::Reach(worker));
    }

    /// A worker that could not be connected to is looked at again.
    pub(super) fn reach(&mut self, worker: WorkerKey, now: Time) {
        let known = self.roster.worker(worker);
        // A timer may be left from an earlier absence.
        let due = known.unreachable_since.is_some() && known.reach_at <= now;
        if due && known.standing != Standing::Left {
            let worker_id = Arc::clone(&known.id);
            self.effects.push_back(Effect::Probe { worker: worker_id });
            self.look_again(worker, now);
        }
    }

    /// A look at a worker is done: if it is there, it gets work again.
    pub(super) fn reached(&mut self, worker: WorkerKey, presence: Presence, now: Time) {
        match presence {
            Presence::Absent => self.lose(worker, now),
            Presence::Present if self.roster.worker(worker).unreachable_since.is_some() => {
                self.roster.find_again(worker, now);
            }
            Presence::Present => {}
        }
    }

    /// Whether a worker can't be connected to.
    pub(super) fn look_at_unreachable(&mut self, now: Time) -> bool {
        let all = self.roster.workers().map(|(_, worker)| worker);
        let missed = all.filter_map(|one| Some((Arc::clone(&one.id), one.missed_since(now)?)));
        let missed: Vec<(Arc<str>, Time)> = missed.collect();
        for (id, since) in &missed {
            self.tell_unreachable(id, *since, now);
        }
        !missed.is_empty()
    }

    fn tell_unreachable(&mut self, id: &Arc<str>, since: Time, now: Time) {
        let (noted, warned) = AWAY;
        let severity = match now.since(since) {
            span if span >= warned => Severity::Warning,
            span if span >= noted => Severity::Info,
            _ => return,
        };
        let subject = Subject::Unreachable(Arc::clone(id));
        let alerts = || self.state.alerts.subjects();
        let told = alerts().filter(|one| matches!(one, Subject::Unreachable(_))).count();
        if told >= WORKER_ALERTS && self.state.alerts.find(&subject).is_none() {
            return;
        }
        let detail = format!("it has not taken a connection since {since}; it gets no work");
        self.raise(subject, (severity, 1), detail, now);
    }

    /// Whether an alert that a worker can't be connected to still holds.
    pub(super) fn look_at_absence(&mut self, id: &str, now: Time) {
        let known = self.roster.find(id).map(|key| self.roster.worker(key));
        if known.and_then(|worker| worker.missed_since(now)).is_none() {
            self.resolve_alert(&Subject::Unreachable(id.into()), now);
        }
    }
}
