//! What the driver shows of itself, so that nobody has to ask it: how it stood after each turn, as
//! soon as what the turn decided is durable.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use rollcall_common::time::Time;

use crate::{
    dispatcher::Dispatcher,
    journal::EntryNumber,
    views::{FleetSummary, Overview, Views},
};

/// How often it looks at all workers and alerts, at most: so often, and less with every worker, so
/// that looking never takes more than about a hundredth of its time.
const FLEET_EVERY: Duration = Duration::from_millis(1);
/// How much longer it waits for each worker.
const FLEET_EACH: Duration = Duration::from_micros(10);

/// What is to be shown.
#[derive(Debug, Default)]
pub(super) struct OverviewPublisher {
    /// How it stood, with the entry on which that rests.
    held: VecDeque<(EntryNumber, Overview)>,
    /// The last entry that was appended.
    last: EntryNumber,
    fleet: Option<Arc<FleetSummary>>,
    rolled: Time,
    /// Whether there were turns since.
    behind: bool,
}

impl OverviewPublisher {
    /// Notes how it stands after a turn, which was appended as this entry, if it had any records.
    pub(super) fn note(&mut self, dispatcher: &Dispatcher, entry: Option<EntryNumber>, now: Time) {
        self.last = entry.unwrap_or(self.last);
        let fresh = now.since(self.rolled) < self.every();
        let overview = Overview::of(dispatcher, self.fleet.take_if(|_| fresh));
        self.behind = fresh;
        if !fresh {
            self.rolled = now;
        }
        self.fleet = Some(Arc::clone(&overview.fleet));
        let last = self.last;
        match self.held.back_mut() {
            Some((entry, held)) if *entry == last => *held = overview,
            _ => self.held.push_back((last, overview)),
        }
    }

    /// Shows the last of what rests on entries before `next`.
    pub(super) fn show(&mut self, views: &Views, next: EntryNumber) {
        let mut shown = None;
        while self.held.front().is_some_and(|(entry, _)| *entry < next) {
            shown = self.held.pop_front();
        }
        if let Some((_, overview)) = shown {
            views.show(overview);
        }
    }

    /// When it is to be noted again, if nothing else happens.
    pub(super) fn due(&self) -> Option<Time> {
        self.behind.then_some(self.rolled + self.every())
    }

    fn every(&self) -> Duration {
        let workers = self.fleet.as_ref().map_or(0, |fleet| fleet.workers.len());
        FLEET_EVERY + FLEET_EACH.saturating_mul(u32::try_from(workers).unwrap_or(u32::MAX))
    }
}
