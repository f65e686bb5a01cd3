//! What the configuration names: it is there in the same turn as the settings, and what it names
//! no longer stands still.

use std::sync::Arc;

use rollcall_common::ids::Position;

use super::{
    super::{Event, Reply, Settings, SubscriptionReply, SubscriptionStatus, event::Order},
    fixture::{Fixture, name, secs},
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

fn reload(fixture: &mut Fixture, subscriptions: &[&str]) {
    fixture.settings = Arc::new(settings(subscriptions));
    fixture.tell(Event::Settings(Arc::clone(&fixture.settings)));
}

fn status(fixture: &Fixture) -> SubscriptionStatus {
    fixture.dispatcher.subscription_status(fixture.first_subscription()).unwrap()
}

/// The destination takes whatever it is sent; which sequences.
fn take_all(fixture: &mut Fixture) -> Vec<u64> {
    let mut taken = Vec::new();
    while !fixture.deliveries.is_empty() {
        let delivery = fixture.deliveries.remove(0);
        taken.extend(delivery.first.0..=delivery.last.0);
        fixture.take(&delivery, delivery.last.0);
    }
    taken
}

#[test]
fn what_the_settings_name_is_there_before_anything_can_happen() {
    let mut settings = settings(&["s"]);
    settings.standing_streams = vec![name("known")];
    settings.create_streams = false;
    let mut fixture = Fixture::with(settings, 0);
    assert!(matches!(fixture.send("known", &[("", 0)]), Reply::Accepted { .. }));
    assert_eq!(fixture.send("unknown", &[("", 0)]), Reply::UnknownStream);
    assert_eq!(take_all(&mut fixture), [1], "it is live from the first message on");
    let opened = |fixture: &Fixture| {
        fixture
            .records
            .iter()
            .filter(|record| matches!(record, Record::StreamCreated { .. }))
            .count()
    };
    fixture.restart();
    assert_eq!(opened(&fixture), 1, "and is there once");
}

#[test]
fn a_subscription_that_is_left_out_goes_on_when_it_is_back() {
    for restart in [false, true] {
        let mut fixture = Fixture::with(settings(&["s", "t"]), 0);
        fixture.fill("a", 1);
        assert_eq!(take_all(&mut fixture), [1, 1]);
        if restart {
            fixture.settings = Arc::new(settings(&["t"]));
            fixture.restart();
        } else {
            reload(&mut fixture, &["t"]);
        }
        assert_eq!(status(&fixture).paused_reason(), Some("unconfigured"));
        fixture.fill("a", 2);
        assert_eq!(take_all(&mut fixture), [2, 3], "the other one goes on");
        fixture.wait(secs(100));
        assert!(fixture.deliveries.is_empty());
        let (checkpoint, resumed) = (status(&fixture).checkpoint, fixture.say("s", Order::Resume));
        assert_eq!((checkpoint, resumed), (Position(1), SubscriptionReply::Unconfigured));
        fixture.restart();
        assert_eq!(status(&fixture).checkpoint, Position(1));
        reload(&mut fixture, &["s", "t"]);
        assert_eq!(status(&fixture).paused_reason(), None);
        assert_eq!(take_all(&mut fixture), [2, 3]);
    }
}

#[test]
fn who_paused_a_subscription_finds_it_paused_when_it_is_back() {
    let mut fixture = Fixture::with(settings(&["s"]), 0);
    fixture.say("s", Order::Pause);
    reload(&mut fixture, &[]);
    reload(&mut fixture, &["s"]);
    assert_eq!(status(&fixture).paused_reason(), Some("person"));
    fixture.fill("a", 1);
    assert!(fixture.deliveries.is_empty());
    fixture.say("s", Order::Resume);
    assert_eq!(take_all(&mut fixture), [1]);
}

#[test]
fn one_that_is_left_out_can_be_removed_or_taken_over() {
    let mut fixture = Fixture::with(settings(&["s"]), 0);
    assert_eq!(fixture.delete("s"), SubscriptionReply::Configured);
    reload(&mut fixture, &[]);
    fixture.fill("a", 1);
    let wanted = SubscriptionSpec {
        start: Start::Live,
        ..SubscriptionSpec::new(Origin::Api, DeliveryMode::Push)
    };
    assert_eq!(fixture.put("s", wanted), SubscriptionReply::Done);
    assert_eq!(take_all(&mut fixture), [1], "it goes on where it stood");
    reload(&mut fixture, &[]);
    assert_eq!(status(&fixture).paused_reason(), None, "the API's are not the configuration's");
    reload(&mut fixture, &["s"]);
    reload(&mut fixture, &[]);
    assert_eq!(fixture.delete("s"), SubscriptionReply::Done);
    assert_eq!(fixture.dispatcher.state().subscription_names().count(), 0);
}
