//! Results on their way to destinations.

use super::{
    super::{Event, Refusal, SubscriptionReply, event::Order, settings::StreamSettings},
    fixture::{Fixture, secs},
};
use crate::record::PauseReason;
use rollcall_common::ids::{Position, Sequence, StreamId};

/// A fixture with a subscription and `count` released results.
fn fixture(count: usize) -> Fixture {
    let mut fixture = Fixture::new(StreamSettings { pool: None, ..StreamSettings::default() }, 0);
    fixture.subscribe("s");
    fixture.fill("a", count);
    fixture
}

const DOWN: Refusal = Refusal::Failed;

#[test]
fn one_request_at_a_time_and_in_order() {
    let mut fixture = fixture(3);
    assert_eq!(fixture.deliveries.len(), 1);
    let first = fixture.deliveries.remove(0);
    assert_eq!(first.first, Sequence(1));
    fixture.take(&first, 1);
    let second = fixture.deliveries.remove(0);
    assert_eq!((second.first, second.last), (Sequence(2), Sequence(3)));
    fixture.take(&second, 3);
    assert!(fixture.deliveries.is_empty());
}

#[test]
fn what_is_not_taken_is_tried_again_in_place() {
    let mut fixture = fixture(2);
    for attempt in 1..=10_u32 {
        let delivery = fixture.deliveries.remove(0);
        assert_eq!((delivery.first, delivery.attempt), (Sequence(1), attempt));
        fixture.refuse(&delivery, DOWN);
        let least = secs(1) * 2_u32.pow((attempt - 1).min(6)) / 2;
        fixture.wait(least.min(secs(30)) - secs(1) / 100);
        assert!(fixture.deliveries.is_empty(), "attempt {attempt} comes too soon");
        fixture.wait(secs(60));
    }
    let delivery = fixture.deliveries.remove(0);
    fixture.take(&delivery, 2);
}

#[test]
fn a_destination_may_ask_for_time() {
    let mut fixture = fixture(1);
    let delivery = fixture.deliveries.remove(0);
    fixture.refuse(&delivery, Refusal::Away { retry_after: Some(secs(200)) });
    fixture.wait(secs(199));
    assert!(fixture.deliveries.is_empty());
    fixture.wait(secs(2));
    assert_eq!(fixture.deliveries.len(), 1);
}

#[test]
fn one_that_is_gone_is_left_alone() {
    let mut fixture = fixture(1);
    let delivery = fixture.deliveries.remove(0);
    fixture.refuse(&delivery, Refusal::Gone);
    fixture.fill("b", 1);
    fixture.wait(secs(100_000));
    assert!(fixture.deliveries.is_empty());
    let id = fixture.first_subscription();
    let paused = |fixture: &Fixture| fixture.dispatcher.subscription_status(id).unwrap().paused;
    assert_eq!(paused(&fixture), Some(PauseReason::Gone));
    fixture.restart();
    assert!(fixture.deliveries.is_empty(), "a restart changes nothing");
    assert_eq!(paused(&fixture), Some(PauseReason::Gone));
    assert_eq!(fixture.say("s", Order::Resume), SubscriptionReply::Done);
    assert_eq!((paused(&fixture), fixture.deliveries.len()), (None, 2));
}

#[test]
fn five_refusals_hold_that_stream_and_no_other_and_it_is_tried_again_by_itself() {
    let mut fixture = fixture(1);
    let id = fixture.first_subscription();
    let held = |fixture: &Fixture| fixture.dispatcher.subscription_status(id).unwrap().held.len();
    for number in 1..=20 {
        let delivery = fixture.deliveries.remove(0);
        assert!(fixture.deliveries.is_empty());
        fixture.refuse(&delivery, Refusal::Rejected);
        assert_eq!(held(&fixture), usize::from(number >= 5), "after {number} refusals");
        fixture.wait(secs(60));
    }
    fixture.fill("b", 1);
    let mut both = std::mem::take(&mut fixture.deliveries);
    assert_eq!(both.len(), 2, "the other one, and the held one once a minute");
    let other = both.pop().unwrap();
    fixture.take(&other, 1);
    assert_eq!(held(&fixture), 1, "what another stream takes says nothing of it");
    fixture.take(&both[0], 1);
    assert_eq!(held(&fixture), 0);
}

#[test]
fn the_checkpoint_follows_what_was_taken() {
    let mut fixture = fixture(3);
    let id = fixture.first_subscription();
    let checkpoint =
        |fixture: &Fixture| fixture.dispatcher.subscription_status(id).unwrap().checkpoint;
    assert_eq!(checkpoint(&fixture), Position(0));
    let delivery = fixture.deliveries.remove(0);
    fixture.take(&delivery, 2);
    assert_eq!(checkpoint(&fixture), Position(2));
    fixture.restart();
    assert_eq!(checkpoint(&fixture), Position(2));
    let delivery = fixture.deliveries.pop().unwrap();
    assert_eq!(delivery.first, Sequence(3));
    fixture.take(&delivery, 3);
    assert_eq!(checkpoint(&fixture), Position(3));
}

#[test]
fn what_is_not_released_yet_is_not_delivered() {
    let mut fixture = fixture(1);
    let (subscription, stream) = (fixture.first_subscription(), StreamId(0));
    let (through, floor) = (Sequence(u64::MAX >> 1), Position(u64::MAX >> 1));
    fixture.tell(Event::Delivered { more: true, subscription, stream, through, floor });
    fixture.fill("a", 1);
    let status = fixture.dispatcher.subscription_status(subscription).unwrap();
    assert_eq!(status.checkpoint, Position(1), "the second one is not taken");
}

#[test]
fn a_refusal_after_all_was_taken_leaves_nothing_behind() {
    let mut fixture = fixture(1);
    let (subscription, stream) = (fixture.first_subscription(), StreamId(0));
    let (through, floor) = (Sequence(1), Position(2));
    fixture.tell(Event::Delivered { more: true, subscription, stream, through, floor });
    let (refusal, detail) = (Refusal::Failed, "it is away".into());
    fixture.tell(Event::Undelivered { subscription, stream, refusal, detail });
    fixture.wait(secs(60));
    let status = fixture.dispatcher.subscription_status(subscription).unwrap();
    assert_eq!((status.checkpoint, status.failures), (Position(1), 0));
}

#[test]
fn an_answer_for_nothing_changes_nothing() {
    let mut fixture = fixture(1);
    let delivery = fixture.deliveries.remove(0);
    fixture.take(&delivery, 1);
    let records = fixture.records.len();
    fixture.take(&delivery, 1);
    fixture.refuse(&delivery, DOWN);
    let (subscription, stream) = (delivery.subscription, StreamId(0));
    let (through, floor) = (Sequence(1), Position(2));
    fixture.tell(Event::Delivered { more: true, subscription, stream, through, floor });
    assert_eq!(fixture.records.len(), records);
}
