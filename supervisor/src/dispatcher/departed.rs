//! Workers that are gone, or silent: after a while they are forgotten. Pods come under another
//! name with each start, and would be remembered for ever.

use std::{sync::Arc, time::Duration};

use rollcall_common::time::Time;

use super::{
    Dispatcher,
    attempts::AttemptState,
    effect::Effect,
    timers::Timer,
    worker::{Standing, WorkerKey},
};

/// How often it is looked whether the last call of a worker is over that is to be forgotten.
const LOOK_EVERY: Duration = Duration::from_secs(60);

impl Dispatcher {
    /// Sees to it that a worker is forgotten, if it stays as it is.
    pub(super) fn watch_departed(&mut self, worker: WorkerKey, now: Time) {
        if let Some(due) = self.forgotten_at(worker, now) {
            self.timers.set(due, Timer::Departed(worker));
        }
    }

    /// The same for all of them: how long they are remembered may have changed.
    pub(super) fn watch_all_departed(&mut self, now: Time) {
        let all: Vec<WorkerKey> = self.roster.keyed().map(|(key, _)| key).collect();
        all.into_iter().for_each(|worker| self.watch_departed(worker, now));
    }

    /// When a worker is forgotten that is gone, or silent, now.
    fn forgotten_at(&self, worker: WorkerKey, now: Time) -> Option<Time> {
        let known = self.roster.worker(worker);
        let silent = known.silent_at.filter(|at| *at <= now);
        let gone = if known.standing == Standing::Left { known.left_at } else { silent };
        let after = self.roster.pool_ref(known.pool).settings.forget_after;
        gone.map(|at| at + after)
    }

    /// It may be time to forget a worker. One that has calls is remembered until they are over:
    /// what they bring is told with its name.
    pub(super) fn departed_due(&mut self, worker: WorkerKey, now: Time) {
        let Some(due) = self.forgotten_at(worker, now) else {
            return;
        };
        let named = self.attempts.values().any(|attempt| {
            let winner =
                matches!(attempt.standing, AttemptState::Superseded(_, by) if by == worker);
            attempt.worker == worker || winner
        });
        if due > now || named {
            let at = due.max(now + if named { LOOK_EVERY } else { Duration::ZERO });
            return self.timers.set(at, Timer::Departed(worker));
        }
        let id = Arc::clone(&self.roster.worker(worker).id);
        self.suspects.forget(worker);
        self.outages.forget(worker);
        self.roster.forget(worker, now);
        self.effects.push_back(Effect::Forget { worker: id });
    }
}
