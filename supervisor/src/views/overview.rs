//! How the supervisor as a whole stands, as of a moment ago: an immutable snapshot, which the
//! driver replaces and anybody reads, without either waiting for the other.

use std::sync::Arc;

use rollcall_common::{ids::Position, time::Time};

use crate::dispatcher::{
    AlertStatus, Counters, Dispatcher,
    worker::{Standing, Worker},
};

/// How the supervisor as a whole stands.
#[derive(Clone, Debug, Default)]
pub struct Overview {
    /// What it counts.
    pub counters: Counters,
    /// The last position given.
    pub head: Position,
    /// Who works, and what is wrong.
    pub fleet: Arc<FleetSummary>,
}

/// Who works, and what is wrong.
#[derive(Clone, Debug, Default)]
pub struct FleetSummary {
    /// The workers that are there.
    pub workers: Vec<Worker>,
    /// How many alerts ask for somebody.
    pub firing: usize,
    /// The worst of them.
    pub worst: Option<AlertStatus>,
}

impl Overview {
    /// As a dispatcher stands. With `fleet`, that is taken over: it costs a look at each worker.
    #[must_use]
    pub fn of(dispatcher: &Dispatcher, fleet: Option<Arc<FleetSummary>>) -> Self {
        Self {
            counters: *dispatcher.counters(),
            head: dispatcher.state().head(),
            fleet: fleet.unwrap_or_else(|| Arc::new(FleetSummary::of(dispatcher))),
        }
    }
}

impl FleetSummary {
    fn of(dispatcher: &Dispatcher) -> Self {
        let workers = dispatcher.workers().map(|(_, worker)| worker);
        let (firing, worst) = dispatcher.firing();
        Self {
            workers: workers.filter(|one| one.standing != Standing::Left).cloned().collect(),
            firing,
            worst,
        }
    }

    /// Workers that may be given work at `now`.
    #[must_use]
    pub fn active(&self, now: Time) -> usize {
        self.workers.iter().filter(|worker| worker.state(now) == "active").count()
    }
}
