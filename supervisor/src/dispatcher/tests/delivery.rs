//! Results on their way to destinations.

use super::{
    super::{Event, Refusal, SubscriptionReply, event::Order, settings::StreamSettings},
    desk::{Desk, secs},
};
use crate::record::PauseReason;
use rollcall_common::ids::{Position, Sequence, StreamId};

/// A desk with a subscription and `count` released results.
fn desk(count: usize) -> Desk {
    let mut desk = Desk::new(StreamSettings { pool: None, ..StreamSettings::default() }, 0);
    desk.subscribe("s");
    desk.fill("a", count);
    desk
}

const DOWN: Refusal = Refusal::Failed;

#[test]
fn one_request_at_a_time_and_in_order() {
    let mut desk = desk(3);
    assert_eq!(desk.deliveries.len(), 1);
    let first = desk.deliveries.remove(0);
    assert_eq!(first.first, Sequence(1));
    desk.take(&first, 1);
    let second = desk.deliveries.remove(0);
    assert_eq!((second.first, second.last), (Sequence(2), Sequence(3)));
    desk.take(&second, 3);
    assert!(desk.deliveries.is_empty());
}

#[test]
fn what_is_not_taken_is_tried_again_in_place() {
    let mut desk = desk(2);
    for attempt in 1..=10_u32 {
        let delivery = desk.deliveries.remove(0);
        assert_eq!((delivery.first, delivery.attempt), (Sequence(1), attempt));
        desk.refuse(&delivery, DOWN);
        let least = secs(1) * 2_u32.pow((attempt - 1).min(6)) / 2;
        desk.wait(least.min(secs(30)) - secs(1) / 100);
        assert!(desk.deliveries.is_empty(), "attempt {attempt} comes too soon");
        desk.wait(secs(60));
    }
    let delivery = desk.deliveries.remove(0);
    desk.take(&delivery, 2);
}

#[test]
fn a_destination_may_ask_for_time() {
    let mut desk = desk(1);
    let delivery = desk.deliveries.remove(0);
    desk.refuse(&delivery, Refusal::Away { retry_after: Some(secs(200)) });
    desk.wait(secs(199));
    assert!(desk.deliveries.is_empty());
    desk.wait(secs(2));
    assert_eq!(desk.deliveries.len(), 1);
}

#[test]
fn one_that_is_gone_is_left_alone() {
    let mut desk = desk(1);
    let delivery = desk.deliveries.remove(0);
    desk.refuse(&delivery, Refusal::Gone);
    desk.fill("b", 1);
    desk.wait(secs(100_000));
    assert!(desk.deliveries.is_empty());
    let id = desk.first_subscription();
    let paused = |desk: &Desk| desk.dispatcher.subscription_status(id).unwrap().paused;
    assert_eq!(paused(&desk), Some(PauseReason::Gone));
    desk.restart();
    assert!(desk.deliveries.is_empty(), "a restart changes nothing");
    assert_eq!(paused(&desk), Some(PauseReason::Gone));
    assert_eq!(desk.say("s", Order::Resume), SubscriptionReply::Done);
    assert_eq!((paused(&desk), desk.deliveries.len()), (None, 2));
}

#[test]
fn five_refusals_hold_that_stream_and_no_other_and_it_is_tried_again_by_itself() {
    let mut desk = desk(1);
    let id = desk.first_subscription();
    let held = |desk: &Desk| desk.dispatcher.subscription_status(id).unwrap().held.len();
    for number in 1..=20 {
        let delivery = desk.deliveries.remove(0);
        assert!(desk.deliveries.is_empty());
        desk.refuse(&delivery, Refusal::Rejected);
        assert_eq!(held(&desk), usize::from(number >= 5), "after {number} refusals");
        desk.wait(secs(60));
    }
    desk.fill("b", 1);
    let mut both = std::mem::take(&mut desk.deliveries);
    assert_eq!(both.len(), 2, "the other one, and the held one once a minute");
    let other = both.pop().unwrap();
    desk.take(&other, 1);
    assert_eq!(held(&desk), 1, "what another stream takes says nothing of it");
    desk.take(&both[0], 1);
    assert_eq!(held(&desk), 0);
}

#[test]
fn the_checkpoint_follows_what_was_taken() {
    let mut desk = desk(3);
    let id = desk.first_subscription();
    let checkpoint = |desk: &Desk| desk.dispatcher.subscription_status(id).unwrap().checkpoint;
    assert_eq!(checkpoint(&desk), Position(0));
    let delivery = desk.deliveries.remove(0);
    desk.take(&delivery, 2);
    assert_eq!(checkpoint(&desk), Position(2));
    desk.restart();
    assert_eq!(checkpoint(&desk), Position(2));
    let delivery = desk.deliveries.pop().unwrap();
    assert_eq!(delivery.first, Sequence(3));
    desk.take(&delivery, 3);
    assert_eq!(checkpoint(&desk), Position(3));
}

#[test]
fn what_is_not_released_yet_is_not_delivered() {
    let mut desk = desk(1);
    let (subscription, stream) = (desk.first_subscription(), StreamId(0));
    let (through, floor) = (Sequence(u64::MAX >> 1), Position(u64::MAX >> 1));
    desk.tell(Event::Delivered { more: true, subscription, stream, through, floor });
    desk.fill("a", 1);
    let status = desk.dispatcher.subscription_status(subscription).unwrap();
    assert_eq!(status.checkpoint, Position(1), "the second one is not taken");
}

#[test]
fn a_refusal_after_all_was_taken_leaves_nothing_behind() {
    let mut desk = desk(1);
    let (subscription, stream) = (desk.first_subscription(), StreamId(0));
    let (through, floor) = (Sequence(1), Position(2));
    desk.tell(Event::Delivered { more: true, subscription, stream, through, floor });
    let (refusal, detail) = (Refusal::Failed, "it is away".into());
    desk.tell(Event::Undelivered { subscription, stream, refusal, detail });
    desk.wait(secs(60));
    let status = desk.dispatcher.subscription_status(subscription).unwrap();
    assert_eq!((status.checkpoint, status.failures), (Position(1), 0));
}

#[test]
fn an_answer_for_nothing_changes_nothing() {
    let mut desk = desk(1);
    let delivery = desk.deliveries.remove(0);
    desk.take(&delivery, 1);
    let records = desk.records.len();
    desk.take(&delivery, 1);
    desk.refuse(&delivery, DOWN);
    let (subscription, stream) = (delivery.subscription, StreamId(0));
    let (through, floor) = (Sequence(1), Position(2));
    desk.tell(Event::Delivered { more: true, subscription, stream, through, floor });
    assert_eq!(desk.records.len(), records);
}
