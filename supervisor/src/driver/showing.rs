//! What the driver shows of itself after each turn, so that nobody has to ask it.

use std::{sync::Arc, time::Duration};

use rollcall_common::time::Time;

use crate::{
    dispatcher::Dispatcher,
    views::{Overview, Roll, Views},
};

/// How often it looks at all workers and alerts, at most: so often, and less with every worker, so
/// that looking never takes more than about a hundredth of its time.
const ROLL_EVERY: Duration = Duration::from_millis(1);
/// How much longer it waits for each worker.
const ROLL_EACH: Duration = Duration::from_micros(10);

/// What was shown last.
#[derive(Debug, Default)]
pub(super) struct Showing {
    roll: Option<Arc<Roll>>,
    rolled: Time,
    /// Whether there were turns since.
    behind: bool,
}

impl Showing {
    /// Shows how it stands after a turn.
    pub(super) fn show(&mut self, dispatcher: &Dispatcher, views: &Views, now: Time) {
        let fresh = now.since(self.rolled) < self.every();
        let overview = Overview::of(dispatcher, self.roll.take_if(|_| fresh));
        self.behind = fresh;
        if !fresh {
            self.rolled = now;
        }
        self.roll = Some(Arc::clone(&overview.roll));
        views.show(overview);
    }

    /// When it is to be shown again, if nothing else happens.
    pub(super) fn due(&self) -> Option<Time> {
        self.behind.then_some(self.rolled + self.every())
    }

    fn every(&self) -> Duration {
        let workers = self.roll.as_ref().map_or(0, |roll| roll.workers.len());
        ROLL_EVERY + ROLL_EACH.saturating_mul(u32::try_from(workers).unwrap_or(u32::MAX))
    }
}
