//! What the configuration says at each moment: how streams are treated, and which subscriptions
//! stand in it. One may be left out for a while, and be back later.

use std::{collections::BTreeMap, sync::Arc};

use rollcall_common::ids::Position;
use rollcall_supervisor::{
    dispatcher::{Dispatcher, Event, Settings, State},
    record::{DeliveryMode, Origin, Start, SubscriptionId, SubscriptionSpec},
};

use super::{
    api_subscriptions::known_as, coverage::Something, scenario::SubscriptionPlan, world::World,
};

/// The number and the life of each subscription, by its name.
pub(super) type Lives = BTreeMap<Arc<str>, (SubscriptionId, u32)>;

/// How a subscription stands in the configuration.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Entry {
    /// It was there, and is left out at present.
    LeftOut,
    /// It was never there.
    Never,
    /// It is there.
    There,
}

/// The lives of all subscriptions that there are.
pub(super) fn lives(dispatcher: &Dispatcher) -> Lives {
    let all = dispatcher.state().subscription_names();
    let status = |(id, _)| Some((id, dispatcher.subscription_status(id)?));
    all.filter_map(status).map(|(id, status)| (status.name, (id, status.revision))).collect()
}

fn arranged(plan: &SubscriptionPlan) -> SubscriptionSpec {
    let start = plan.after.map_or(Start::Live, |position| Start::After(Position(position)));
    let way = if plan.pulled { DeliveryMode::Pull } else { DeliveryMode::Push };
    let streams = plan.patterns.clone().into();
    let batch = u32::try_from(plan.batch).unwrap_or(1);
    let urls = if plan.pulled { Box::default() } else { ["http://there/".into()].into() };
    SubscriptionSpec {
        streams,
        start,
        batch,
        urls,
        ..SubscriptionSpec::new(Origin::Configuration, way)
    }
}

impl World {
    /// The settings at this moment.
    pub(super) fn configured(&self) -> Arc<Settings> {
        let there = self.destinations.iter().filter(|one| one.entry == Entry::There);
        let named = there.map(|one| ((*one.plan.name).into(), Arc::new(arranged(&one.plan))));
        let subscriptions = named.collect();
        Arc::new(Settings { subscriptions, ..self.scenario.settings.clone() })
    }

    /// A subscription stands in the configuration from now on.
    pub(super) fn subscribe(&mut self, index: usize) {
        self.destinations[index].entry = Entry::There;
        self.reload();
    }

    /// The process reads its configuration again.
    pub(super) fn reload(&mut self) {
        let settings = self.configured();
        self.hear(self.incarnation, Event::Settings(settings));
    }

    /// One subscription is left out of the configuration, or put back.
    pub(super) fn edit_subscriptions(&mut self) {
        let index = self.rng.usize(..self.destinations.len());
        let (batch, other) = (self.destinations[index].plan.batch, [2, 3, 10][self.rng.usize(..3)]);
        if batch > 1 && self.rng.bool() {
            self.destinations[index].plan.batch = other;
            if batch != other {
                self.note(Something::BatchResized);
            }
            return;
        }
        let entry = &mut self.destinations[index].entry;
        let (edited, what) = match *entry {
            Entry::Never => return,
            Entry::There => (Entry::LeftOut, Something::LeftOut),
            Entry::LeftOut => (Entry::There, Something::PutBack),
        };
        *entry = edited;
        self.note(what);
    }

    /// Whatever was left out is put back.
    pub(super) fn mend_configuration(&mut self) {
        for destination in &mut self.destinations {
            if destination.entry == Entry::LeftOut {
                destination.entry = Entry::There;
            }
        }
        self.reload();
    }

    /// The lives of all subscriptions of which a journal speaks.
    pub(super) fn lives_in(&self, state: &State) -> Lives {
        let revision = |id: SubscriptionId| self.records_seen.revision(id);
        state.subscription_names().map(|(id, name)| (name.into(), (id, revision(id)))).collect()
    }

    /// Subscriptions that began, or began another life, did so at this head.
    pub(super) fn note_lives(&mut self, before: &Lives, rewound: bool) {
        let Some(server) = &self.server else {
            return;
        };
        let dispatcher = server.engine.dispatcher();
        let (after, head) = (lives(dispatcher), dispatcher.state().head().0);
        for (name, (id, revision)) in after {
            let known = before.get(&name);
            if known == Some(&(id, revision)) {
                continue;
            }
            let made = known.is_none_or(|(before, _)| *before != id);
            let known = known_as(&name, id);
            if made {
                self.heads.insert((Arc::clone(&known), 0), head);
            }
            if made || rewound {
                self.marks.set((id, revision), head);
            }
            self.heads.insert((known, revision), head);
        }
    }
}
