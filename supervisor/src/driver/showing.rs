//! What the driver shows of itself after each turn, so that nobody has to ask it.

use std::{sync::Arc, time::Duration};

use rollcall_common::time::Time;

use crate::{
    dispatcher::Dispatcher,
    views::{Overview, Roll, Views},
};

/// How often it looks at all workers and alerts, at most.
const ROLL_EVERY: Duration = Duration::from_millis(1);

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
        let fresh = now.since(self.rolled) < ROLL_EVERY;
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
        self.behind.then_some(self.rolled + ROLL_EVERY)
    }
}
