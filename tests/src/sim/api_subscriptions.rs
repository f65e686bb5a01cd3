//! Subscriptions that people make, change and remove over the API, at any moment: one with a
//! destination, and one with a reader.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use rollcall_common::ids::Position;
use rollcall_supervisor::{
    dispatcher::{Event, State, settings::Pattern},
    record::{DeliveryMode, Origin, Start, SubscriptionId, SubscriptionSpec},
};

use super::{coverage::Something, scenario::SubscriptionPlan, world::World};

/// Who gets results over the API's subscription.
const SENT: &str = "guest.sent";
/// Who reads them.
const READ: &str = "guest.read";

/// What they may be about.
const PATTERNS: [&[&str]; 4] = [&["*"], &["a.*"], &["b.*"], &["a.0", "b.1", "b.2"]];

/// The name by which the oracle knows a subscription: one that is removed and made again is
/// another one.
pub(super) fn known_as(name: &str, id: SubscriptionId) -> Arc<str> {
    if is_guest(name) { format!("{name}.{}", id.0).into() } else { name.into() }
}

/// Whether the results of a subscription, as the oracle knows it, are read.
pub(super) fn is_read(known: &str) -> bool {
    known.starts_with(READ)
}

fn is_guest(name: &str) -> bool {
    name == SENT || name == READ
}

/// Heads at which subscriptions came into being, or were rewound: up to there results are
/// replayed. By number and life.
#[derive(Debug, Default)]
pub(super) struct Marks(BTreeMap<(u32, u32), u64>);

impl Marks {
    /// A life of a subscription began with its making, or a rewind, at a head.
    pub(super) fn set(&mut self, (id, revision): (SubscriptionId, u32), head: u64) {
        self.0.insert((id.0, revision), head);
    }

    /// Forgets what did not survive, by what was folded: a start may begin another life by itself.
    pub(super) fn recover(&mut self, state: &State) {
        self.0.retain(|(id, revision), _| {
            state.subscription_revision(SubscriptionId(*id)).is_some_and(|now| *revision <= now)
        });
    }

    /// Up to where the results of a subscription are replayed.
    pub(super) fn replay_until(&self, id: SubscriptionId, revision: u32) -> Option<u64> {
        self.0.range((id.0, 0)..=(id.0, revision)).next_back().map(|(_, head)| *head)
    }
}

impl World {
    /// A destination is there for whoever makes a subscription to it.
    pub(super) fn guest_destination() -> SubscriptionPlan {
        SubscriptionPlan {
            name: SENT.into(),
            patterns: Vec::new(),
            at: std::time::Duration::ZERO,
            after: None,
            batch: 1,
            more: true,
            pulled: false,
        }
    }

    /// The streams that patterns mean.
    pub(super) fn streams_among(&self, patterns: &BTreeSet<Arc<str>>) -> BTreeSet<Arc<str>> {
        let patterns: Vec<_> = patterns.iter().map(|pattern| Pattern::new(pattern)).collect();
        let names = self.scenario.streams.iter().map(|stream| stream.name.as_str());
        let wanted = |name: &&str| patterns.iter().any(|pattern| pattern.matches(name));
        names.filter(wanted).map(Arc::from).collect()
    }

    /// People make, change and remove subscriptions.
    pub(super) fn mind_guests(&mut self) {
        for (name, way) in [(SENT, DeliveryMode::Push), (READ, DeliveryMode::Pull)] {
            let Some(server) = &self.server else { return };
            let state = server.engine.dispatcher().state();
            let (head, known) = (state.head().0, state.find_subscription(name).is_some());
            match self.rng.u8(..6) {
                _ if self.healed => {}
                0 | 1 => self.put_guest((name, way), head, known),
                2 if known => self.remove_guest(name),
                _ => {}
            }
        }
    }

    fn put_guest(&mut self, (name, way): (&str, DeliveryMode), head: u64, known: bool) {
        let patterns = PATTERNS[self.rng.usize(..PATTERNS.len())];
        let start = match self.rng.u8(..4) {
            0 => Start::Live,
            1 | 2 => Start::After(Position(self.rng.u64(..head / 2 + 1))),
            // It may be beyond the head, and is refused then.
            _ => Start::After(Position(self.rng.u64(..head + 2))),
        };
        let urls: &[Box<str>] = match (way, self.rng.bool()) {
            (DeliveryMode::Pull, _) => &[],
            (DeliveryMode::Push, true) => &["http://here/".into()],
            (DeliveryMode::Push, false) => &["http://there/".into()],
        };
        let plan = SubscriptionSpec {
            streams: patterns.iter().map(|text| Box::from(*text)).collect(),
            urls: urls.into(),
            start,
            ..SubscriptionSpec::new(Origin::Api, way)
        };
        if known {
            self.note(Something::SubscriptionChanged);
        }
        let Some(server) = &mut self.server else { return };
        let request = Some((server.open(None), "somebody".into()));
        let event = Event::Subscribe { request, name: name.into(), plan: Arc::new(plan) };
        self.hear(self.incarnation, event);
    }

    fn remove_guest(&mut self, name: &str) {
        self.note(Something::SubscriptionRemoved);
        let Some(server) = &mut self.server else { return };
        let request = Some((server.open(None), "somebody".into()));
        self.hear(self.incarnation, Event::Unsubscribe { request, name: name.into() });
    }
}
