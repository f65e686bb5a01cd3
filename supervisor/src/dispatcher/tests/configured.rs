//! What the configuration names: it is there in the same turn as the settings, and what it names
//! no longer stands still.

use std::sync::Arc;

use rollcall_common::ids::Position;

use super::{
    super::{Event, Reply, Settings, SubscriptionReply, SubscriptionStatus, event::Order},
    desk::{Desk, name, secs},
};
use crate::{
    dispatcher::settings::StreamSettings,
    record::{DeliveryMode, Origin, Record, Start, SubscriptionSpec},
};

fn settings(subscriptions: &[&str]) -> Settings {
    let default_stream = StreamSettings { pool: None, ..StreamSettings::default() };
    let plan = Arc::new(SubscriptionSpec::new(Origin::Configuration, DeliveryMode::Push));
    let named = subscriptions.iter().map(|name| (Box::from(*name), Arc::clone(&plan)));
    Settings {
        default_stream: default_stream.into(),
        subscriptions: named.collect(),
        ..Settings::default()
    }
}

fn reload(desk: &mut Desk, subscriptions: &[&str]) {
    desk.settings = Arc::new(settings(subscriptions));
    desk.tell(Event::Settings(Arc::clone(&desk.settings)));
}

fn status(desk: &Desk) -> SubscriptionStatus {
    desk.dispatcher.subscription_status(desk.first_subscription()).unwrap()
}

/// The destination takes whatever it is sent; which sequences.
fn take_all(desk: &mut Desk) -> Vec<u64> {
    let mut taken = Vec::new();
    while !desk.deliveries.is_empty() {
        let delivery = desk.deliveries.remove(0);
        taken.extend(delivery.first.0..=delivery.last.0);
        desk.take(&delivery, delivery.last.0);
    }
    taken
}

#[test]
fn what_the_settings_name_is_there_before_anything_can_happen() {
    let mut settings = settings(&["s"]);
    settings.standing_streams = vec![name("known")];
    settings.create_streams = false;
    let mut desk = Desk::with(settings, 0);
    assert!(matches!(desk.send("known", &[("", 0)]), Reply::Accepted { .. }));
    assert_eq!(desk.send("unknown", &[("", 0)]), Reply::UnknownStream);
    assert_eq!(take_all(&mut desk), [1], "it is live from the first message on");
    let opened = |desk: &Desk| {
        desk.records.iter().filter(|record| matches!(record, Record::StreamCreated { .. })).count()
    };
    desk.restart();
    assert_eq!(opened(&desk), 1, "and is there once");
}

#[test]
fn a_subscription_that_is_left_out_goes_on_when_it_is_back() {
    for restart in [false, true] {
        let mut desk = Desk::with(settings(&["s", "t"]), 0);
        desk.fill("a", 1);
        assert_eq!(take_all(&mut desk), [1, 1]);
        if restart {
            desk.settings = Arc::new(settings(&["t"]));
            desk.restart();
        } else {
            reload(&mut desk, &["t"]);
        }
        assert_eq!(status(&desk).paused_reason(), Some("unconfigured"));
        desk.fill("a", 2);
        assert_eq!(take_all(&mut desk), [2, 3], "the other one goes on");
        desk.wait(secs(100));
        assert!(desk.deliveries.is_empty());
        let (checkpoint, resumed) = (status(&desk).checkpoint, desk.say("s", Order::Resume));
        assert_eq!((checkpoint, resumed), (Position(1), SubscriptionReply::Unconfigured));
        desk.restart();
        assert_eq!(status(&desk).checkpoint, Position(1));
        reload(&mut desk, &["s", "t"]);
        assert_eq!(status(&desk).paused_reason(), None);
        assert_eq!(take_all(&mut desk), [2, 3]);
    }
}

#[test]
fn who_paused_a_subscription_finds_it_paused_when_it_is_back() {
    let mut desk = Desk::with(settings(&["s"]), 0);
    desk.say("s", Order::Pause);
    reload(&mut desk, &[]);
    reload(&mut desk, &["s"]);
    assert_eq!(status(&desk).paused_reason(), Some("person"));
    desk.fill("a", 1);
    assert!(desk.deliveries.is_empty());
    desk.say("s", Order::Resume);
    assert_eq!(take_all(&mut desk), [1]);
}

#[test]
fn one_that_is_left_out_can_be_removed_or_taken_over() {
    let mut desk = Desk::with(settings(&["s"]), 0);
    assert_eq!(desk.delete("s"), SubscriptionReply::Configured);
    reload(&mut desk, &[]);
    desk.fill("a", 1);
    let wanted = SubscriptionSpec {
        start: Start::Live,
        ..SubscriptionSpec::new(Origin::Api, DeliveryMode::Push)
    };
    assert_eq!(desk.put("s", wanted), SubscriptionReply::Done);
    assert_eq!(take_all(&mut desk), [1], "it goes on where it stood");
    reload(&mut desk, &[]);
    assert_eq!(status(&desk).paused_reason(), None, "the API's are not the configuration's");
    reload(&mut desk, &["s"]);
    reload(&mut desk, &[]);
    assert_eq!(desk.delete("s"), SubscriptionReply::Done);
    assert_eq!(desk.dispatcher.state().subscription_names().count(), 0);
}
