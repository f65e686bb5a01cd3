//! Subscriptions that are made, changed, paused, rewound and read.

use super::{
    super::{
        Delivery, Event, Mode, Refusal, Settings, SubscriptionReply, SubscriptionStatus,
        event::Order, settings::StreamSettings,
    },
    fixture::{Fixture, secs},
};
use crate::record::{DeliveryMode, Origin, PauseReason, Record, Start, SubscriptionSpec};
use rollcall_common::{
    ids::{Position, Sequence},
    limits::SUBSCRIPTIONS,
};
use std::sync::Arc;

/// A fixture with `count` released results in each of two streams, a and b in turn.
fn fixture(count: usize) -> Fixture {
    let default_stream = StreamSettings { pool: None, ..StreamSettings::default() };
    let settings =
        Settings { default_stream: Arc::new(default_stream), recent: 2, ..Settings::default() };
    let mut fixture = Fixture::with(settings, 0);
    for _ in 0..count {
        fixture.fill("a", 1);
        fixture.fill("b", 1);
    }
    fixture
}

fn plan(way: DeliveryMode, streams: &[&str], start: Start) -> SubscriptionSpec {
    let streams = streams.iter().map(|text| Box::from(*text)).collect();
    SubscriptionSpec { streams, start, ..SubscriptionSpec::new(Origin::Api, way) }
}

fn status(fixture: &Fixture) -> SubscriptionStatus {
    fixture.dispatcher.subscription_status(fixture.first_subscription()).unwrap()
}

const BEGINNING: Start = Start::After(Position(0));

/// Takes whatever comes; for each stream, what was taken.
fn drain(fixture: &mut Fixture) -> Vec<(u32, u64)> {
    let mut taken = Vec::new();
    loop {
        if let Some(delivery) = fixture.deliveries.first().cloned() {
            fixture.deliveries.remove(0);
            taken.push((delivery.stream.0, delivery.first.0));
            take_one(fixture, &delivery);
        } else if fixture.scans.is_empty() {
            return taken;
        } else {
            fixture.scan(3);
        }
    }
}

/// Takes one result, telling where the next one of its stream stands, as a sender does.
fn take_one(fixture: &mut Fixture, delivery: &Delivery) {
    let (subscription, stream) = (delivery.subscription, delivery.stream);
    let through = delivery.first;
    let next = |released: &&super::super::Released| {
        released.stream == stream && released.sequence == through.next()
    };
    let head = fixture.dispatcher.state().head();
    let found = fixture.released.iter().find(next);
    let floor = found.map_or_else(|| head.next(), |found| found.position);
    fixture.tell(Event::Delivered { more: false, subscription, stream, through, floor });
}

fn sequences(taken: &[(u32, u64)], stream: u32) -> Vec<u64> {
    taken.iter().filter(|(other, _)| *other == stream).map(|(_, sequence)| *sequence).collect()
}

#[test]
fn putting_the_same_again_changes_nothing() {
    let mut fixture = fixture(1);
    let plan = plan(DeliveryMode::Push, &["*"], BEGINNING);
    assert_eq!(fixture.put("s", plan.clone()), SubscriptionReply::Created);
    let records = fixture.records.len();
    assert_eq!(fixture.put("s", plan), SubscriptionReply::Done);
    assert_eq!(fixture.records.len(), records);
}

#[test]
fn what_the_configuration_wants_only_it_can_change() {
    let mut fixture = fixture(1);
    fixture.subscribe("s");
    let changed = plan(DeliveryMode::Push, &["a"], Start::Live);
    assert_eq!(fixture.put("s", changed), SubscriptionReply::Configured);
    assert_eq!(fixture.delete("s"), SubscriptionReply::Configured);
    assert_eq!(fixture.say("s", Order::Pause), SubscriptionReply::Done);
    assert_eq!(fixture.say("s", Order::Resume), SubscriptionReply::Done);
    assert_eq!(fixture.say("s", Order::Rewind(Position(0))), SubscriptionReply::Done);
    for name in ["x", "S"] {
        assert_eq!(fixture.say(name, Order::Pause), SubscriptionReply::Unknown);
        assert_eq!(fixture.delete(name), SubscriptionReply::Unknown);
    }
}

#[test]
fn there_is_a_bound_for_those_of_the_api() {
    let mut fixture = fixture(0);
    for number in 0..SUBSCRIPTIONS {
        let made = fixture.put(&number.to_string(), plan(DeliveryMode::Pull, &["*"], Start::Live));
        assert_eq!(made, SubscriptionReply::Created);
    }
    let one_more = fixture.put("more", plan(DeliveryMode::Pull, &["*"], Start::Live));
    assert_eq!(one_more, SubscriptionReply::TooMany);
    assert_eq!(fixture.delete("7"), SubscriptionReply::Done);
    let one_more = fixture.put("more", plan(DeliveryMode::Pull, &["*"], Start::Live));
    assert_eq!(one_more, SubscriptionReply::Created);
}

#[test]
fn a_rewound_subscription_gets_everything_again_and_marked() {
    let mut fixture = fixture(4);
    fixture.put("s", plan(DeliveryMode::Push, &["*"], BEGINNING));
    let first = drain(&mut fixture);
    assert_eq!((status(&fixture).mode, status(&fixture).checkpoint), (Mode::Live, Position(8)));
    assert_eq!(fixture.say("s", Order::Rewind(Position(3))), SubscriptionReply::Done);
    let rewound = status(&fixture);
    assert_eq!((rewound.mode, rewound.checkpoint), (Mode::Replaying, Position(3)));
    assert_eq!(rewound.replay_until, Position(8));
    fixture.restart();
    assert_eq!(status(&fixture).checkpoint, Position(3), "and after a restart");
    let second = drain(&mut fixture);
    assert_eq!(sequences(&first, 0), [1, 2, 3, 4]);
    assert_eq!((sequences(&second, 0), sequences(&second, 1)), (vec![3, 4], vec![2, 3, 4]));
    assert_eq!((status(&fixture).mode, status(&fixture).checkpoint), (Mode::Live, Position(8)));
}

#[test]
fn rewinding_forward_skips_and_beyond_the_head_is_refused() {
    let mut fixture = fixture(4);
    fixture.put("s", plan(DeliveryMode::Push, &["*"], BEGINNING));
    let beyond = fixture.say("s", Order::Rewind(Position(9)));
    assert_eq!(beyond, SubscriptionReply::Beyond(Position(8)));
    fixture.say("s", Order::Rewind(Position(6)));
    fixture.scans.retain(|(_, _, after)| *after == Position(6));
    let taken = drain(&mut fixture);
    assert_eq!((sequences(&taken, 0), sequences(&taken, 1)), (vec![4], vec![4]));
}

#[test]
fn a_delivery_of_the_revision_before_moves_no_checkpoint() {
    let mut fixture = fixture(4);
    fixture.put("s", plan(DeliveryMode::Push, &["*"], BEGINNING));
    fixture.scan(100);
    let old = fixture.deliveries.remove(0);
    let records = fixture.records.len();
    fixture.say("s", Order::Rewind(Position(0)));
    fixture.deliveries.clear();
    fixture.scan(100);
    let again: Vec<_> = fixture.deliveries.iter().map(|one| one.stream).collect();
    assert!(!again.contains(&old.stream), "its earlier sender is still out");
    assert!(fixture.recalled.is_some_and(|revision| revision != old.revision));
    take_one(&mut fixture, &Delivery { first: Sequence(4), ..old.clone() });
    let delivered = |record: &Record| matches!(record, Record::Delivered { .. });
    assert!(!fixture.records[records..].iter().any(delivered));
    let again = fixture.deliveries.iter().find(|one| one.stream == old.stream);
    assert_eq!(again.map(|one| one.first), Some(Sequence(1)), "it begins anew");
    assert_eq!(status(&fixture).checkpoint, Position(0));
}

#[test]
fn a_refusal_of_the_revision_before_holds_nothing() {
    let mut fixture = fixture(1);
    fixture.put("s", plan(DeliveryMode::Push, &["*"], BEGINNING));
    let old = fixture.deliveries.remove(0);
    fixture.say("s", Order::Rewind(Position(0)));
    fixture.deliveries.clear();
    fixture.refuse(&old, Refusal::Unfit);
    assert!(status(&fixture).held.is_empty());
    assert_eq!(fixture.deliveries[0].first, Sequence(1));
}

/// Pain 20: a scan that was under way when the subscription was rewound must not take it past
/// what it has not seen.
#[test]
fn a_scan_of_the_revision_before_skips_nothing() {
    let mut fixture = fixture(4);
    fixture.put("s", plan(DeliveryMode::Push, &["*"], Start::After(Position(4))));
    let old = fixture.scans[0];
    assert_eq!(old.2, Position(4));
    fixture.say("s", Order::Rewind(Position(0)));
    let taken = drain(&mut fixture);
    assert_eq!((sequences(&taken, 0), sequences(&taken, 1)), (vec![1, 2, 3, 4], vec![1, 2, 3, 4]));
}

/// Pain 20: replay goes over into the present while results keep coming.
#[test]
fn between_replay_and_the_present_nothing_is_missing_or_twice() {
    for fill_at in 0..12 {
        let mut fixture = fixture(4);
        fixture.put("s", plan(DeliveryMode::Push, &["*"], BEGINNING));
        let mut taken = Vec::new();
        for step in 0..60 {
            if step == fill_at {
                fixture.fill("a", 2);
                fixture.fill("b", 1);
            }
            if let Some(delivery) = fixture.deliveries.first().cloned() {
                fixture.deliveries.remove(0);
                taken.push((delivery.stream.0, delivery.first.0));
                take_one(&mut fixture, &delivery);
            } else if !fixture.scans.is_empty() {
                fixture.scan(2);
            }
        }
        assert_eq!(sequences(&taken, 0), [1, 2, 3, 4, 5, 6], "filled at step {fill_at}");
        assert_eq!(sequences(&taken, 1), [1, 2, 3, 4, 5], "filled at step {fill_at}");
    }
}

#[test]
fn a_paused_subscription_stands_still_also_after_a_restart() {
    let mut fixture = fixture(1);
    fixture.put("s", plan(DeliveryMode::Push, &["*"], BEGINNING));
    let out = fixture.deliveries.remove(0);
    fixture.say("s", Order::Pause);
    assert!(fixture.recalled.is_some_and(|revision| revision != out.revision));
    fixture.deliveries.clear();
    take_one(&mut fixture, &out);
    fixture.restart();
    fixture.fill("c", 1);
    fixture.wait(secs(10_000));
    assert!(fixture.deliveries.is_empty());
    let paused = status(&fixture);
    assert_eq!((paused.paused, paused.checkpoint), (Some(PauseReason::Person), Position(1)));
    fixture.say("s", Order::Resume);
    let taken = drain(&mut fixture);
    assert_eq!((sequences(&taken, 0), sequences(&taken, 1)), (vec![], vec![1]));
    assert_eq!(sequences(&taken, 2), [1]);
}

#[test]
fn streams_that_are_newly_wanted_begin_now_and_the_checkpoint_stays() {
    let mut fixture = fixture(3);
    fixture.put("s", plan(DeliveryMode::Push, &["a"], BEGINNING));
    drain(&mut fixture);
    assert_eq!(
        fixture.put("s", plan(DeliveryMode::Push, &["b"], BEGINNING)),
        SubscriptionReply::Done
    );
    assert_eq!(status(&fixture).checkpoint, Position(6));
    fixture.fill("a", 1);
    fixture.fill("b", 1);
    let taken = drain(&mut fixture);
    assert_eq!((sequences(&taken, 0), sequences(&taken, 1)), (vec![], vec![4]));
    fixture.restart();
    assert_eq!(status(&fixture).checkpoint, Position(8));
}

#[test]
fn streams_that_are_no_longer_wanted_are_dropped() {
    let mut fixture = fixture(1);
    fixture.put("s", plan(DeliveryMode::Push, &["*"], BEGINNING));
    let all = std::mem::take(&mut fixture.deliveries);
    assert_eq!(all.len(), 2);
    fixture.put("s", plan(DeliveryMode::Push, &["b"], BEGINNING));
    all.iter().for_each(|delivery| fixture.refuse(delivery, Refusal::Failed));
    fixture.wait(secs(60));
    let again: Vec<_> = fixture.deliveries.iter().map(|one| one.stream.0).collect();
    assert_eq!(again, [1]);
}

#[test]
fn a_removed_subscription_is_heard_of_no_more() {
    let mut fixture = fixture(2);
    fixture.put("s", plan(DeliveryMode::Push, &["*"], BEGINNING));
    fixture.scan(100);
    let all = std::mem::take(&mut fixture.deliveries);
    fixture.refuse(&all[0], Refusal::Failed);
    assert_eq!(fixture.delete("s"), SubscriptionReply::Done);
    take_one(&mut fixture, &all[1]);
    fixture.wait(secs(100));
    fixture.fill("a", 1);
    assert!(fixture.deliveries.is_empty());
    fixture.put("s", plan(DeliveryMode::Push, &["*"], Start::Live));
    assert_eq!(status(&fixture).checkpoint, Position(5), "one of the same name begins anew");
}

#[test]
fn the_reader_of_a_pull_subscription_moves_its_checkpoint() {
    let mut fixture = fixture(3);
    fixture.put("s", plan(DeliveryMode::Pull, &["*"], Start::After(Position(2))));
    assert_eq!(
        (status(&fixture).checkpoint, status(&fixture).mode),
        (Position(2), Mode::Replaying)
    );
    let checkpoint = |fixture: &mut Fixture, to| fixture.say("s", Order::Checkpoint(Position(to)));
    assert_eq!(checkpoint(&mut fixture, 5), SubscriptionReply::Done);
    assert_eq!(checkpoint(&mut fixture, 7), SubscriptionReply::Beyond(Position(6)));
    assert_eq!(checkpoint(&mut fixture, 3), SubscriptionReply::Done);
    fixture.restart();
    assert_eq!(status(&fixture).checkpoint, Position(5), "a late word changes nothing");
    checkpoint(&mut fixture, 6);
    assert_eq!(status(&fixture).mode, Mode::Live);
    fixture.say("s", Order::Rewind(Position(1)));
    let rewound = status(&fixture);
    assert_eq!((rewound.checkpoint, rewound.mode), (Position(1), Mode::Replaying));
    fixture.fill("a", 5);
    assert!(fixture.deliveries.is_empty() && fixture.scans.is_empty());
}

#[test]
fn a_push_subscription_can_become_a_pull_subscription_and_back() {
    let mut fixture = fixture(3);
    fixture.put("s", plan(DeliveryMode::Push, &["*"], BEGINNING));
    let refused = fixture.say("s", Order::Checkpoint(Position(1)));
    assert_eq!(refused, SubscriptionReply::NotPull);
    fixture.scan(100);
    let delivery = fixture.deliveries.remove(0);
    take_one(&mut fixture, &delivery);
    assert_eq!(status(&fixture).checkpoint, Position(1));
    fixture.put("s", plan(DeliveryMode::Pull, &["*"], BEGINNING));
    assert_eq!(status(&fixture).checkpoint, Position(1));
    fixture.say("s", Order::Checkpoint(Position(3)));
    fixture.deliveries.clear();
    fixture.put("s", plan(DeliveryMode::Push, &["*"], BEGINNING));
    assert_eq!(
        (status(&fixture).checkpoint, status(&fixture).mode),
        (Position(3), Mode::Replaying)
    );
}

#[test]
fn a_subscription_begins_at_no_position_beyond_the_head() {
    let mut fixture = fixture(1);
    let made = fixture.put("s", plan(DeliveryMode::Push, &["*"], Start::After(Position(3))));
    assert_eq!(made, SubscriptionReply::Beyond(Position(2)));
}
