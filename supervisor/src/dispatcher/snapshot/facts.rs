//! All facts of a state as text, for comparing two states that were folded in different ways. What
//! the exporter of a snapshot leaves out can't be seen by comparing two exports; here each field is
//! taken from the state itself, and the compiler asks about new ones.

use std::fmt::Debug;

use super::super::{slot::Slot, state::State, stream::Stream, subscription::Subscription};

impl State {
    /// Every fact, one a line, in a fixed order. Two states with the same lines decide alike from
    /// here on, given the same settings, events and seed.
    #[must_use]
    pub fn facts(&self) -> Vec<String> {
        let Self {
            streams,
            keys,
            keyed,
            spent,
            head,
            floor,
            subscriptions,
            alerts,
            parked,
            outages,
            audit,
            next_subscription,
            last,
            down,
            // An index of what the streams say, and how true that of the subscriptions is.
            names: _,
            linkage: _,
            unreleased: _,
            // A shortcut: what is not in it is read from the views, with the same outcome.
            recent: _,
            // Where the fold began is the difference that must not matter.
            origin: _,
            // Soft.
            held_bytes: _,
        } = self;
        let mut all = vec![format!(
            "head {head} floor {floor} last {last:?} down {down} next {next_subscription}"
        )];
        streams.iter().for_each(|stream| tell_stream(stream, &mut all));
        all.extend(lines("key", keys));
        all.extend(lines("unreleased key", keyed));
        all.extend(lines("released key", spent));
        for (id, subscription) in subscriptions {
            tell_subscription(id, subscription, &mut all);
        }
        all.extend(alerts.facts());
        all.extend(lines("with parked ones", parked));
        all.extend(lines("outage", outages));
        all.extend(lines("audit", audit));
        all
    }
}

/// A line for each item.
fn lines<T: Debug>(what: &str, items: impl IntoIterator<Item = T>) -> Vec<String> {
    items.into_iter().map(|item| format!("{what} {item:?}")).collect()
}

fn tell_stream(stream: &Stream, all: &mut Vec<String>) {
    let Stream {
        name,
        next,
        released,
        skips,
        paused,
        head_since,
        slots: _,
        decided,
        waiting,
        parked,
        // An index of what the subscriptions say.
        subscriptions: _,
        linked: _,
        // The settings', not the journal's.
        settings: _,
        adopted: _,
        pool: _,
        // Soft.
        cursor: _,
        again: _,
        in_flight: _,
        divergence: _,
        turn: _,
        head_watch: _,
    } = stream;
    // Since when nothing is the oldest means nothing.
    let since = (stream.backlog() > 0).then_some(head_since);
    all.push(format!(
        "stream {name}: next {next} released {released} skips {skips} paused {paused} \
         head since {since:?} waiting {waiting} parked {parked:?}"
    ));
    // A slot that says nothing is the same as none.
    let plain = format!("{:?}", Slot::new());
    for (sequence, slot) in stream.numbered_slots() {
        let text = format!("{slot:?}");
        if text != plain {
            all.push(format!("slot {name}/{sequence}: {text}"));
        }
    }
    // Whether one has a slot depends on what had one before.
    for (sequence, outcome) in decided.iter() {
        let mut slot = Slot::new();
        slot.settle(outcome);
        all.push(format!("slot {name}/{sequence}: {slot:?}"));
    }
}

fn tell_subscription(id: &impl Debug, subscription: &Subscription, all: &mut Vec<String>) {
    let Subscription {
        name,
        plan,
        scan,
        replay_until,
        cursors,
        floors,
        pulled,
        paused,
        revision,
        generation,
        passed_over,
        // What the plan says.
        patterns: _,
        // Soft.
        leaving: _,
        ready: _,
        sending: _,
        scanning: _,
        health: _,
        rate: _,
        gap: _,
        mark: _,
    } = subscription;
    all.push(format!(
        "subscription {id:?} {name}: {plan:?} scan {scan:?} replay until {replay_until} pulled \
         {pulled} paused {paused:?} revision {revision} \
         generation {generation} without {passed_over:?}"
    ));
    all.extend(lines(&format!("cursor of {name}"), cursors));
    all.extend(lines(&format!("floor of {name}"), floors));
}
