//! Batches are fixed before they go out; and what a person has a subscription go on without.

use std::sync::Arc;

use rollcall_common::{
    ids::{Position, Sequence, StreamId},
    limits::BATCHES_AHEAD,
};

use super::{
    super::{
        Delivery, Event, Part, Refusal, SubscriptionReply, event::Order, settings::StreamSettings,
    },
    fixture::{Fixture, name, secs},
};
use crate::record::{Batching, DeliveryMode, Origin, Record, SubscriptionSpec};

/// A fixture whose subscription sends so many results in one request.
fn fixture(batch: u32) -> Fixture {
    let mut fixture = Fixture::new(StreamSettings { pool: None, ..StreamSettings::default() }, 0);
    configure(&mut fixture, batch);
    fixture
}

fn configure(fixture: &mut Fixture, batch: u32) {
    let urls = ["http://there/".into()].into();
    let plan =
        SubscriptionSpec { batch, urls, ..SubscriptionSpec::new(Origin::Api, DeliveryMode::Push) };
    let (name, plan) = ("s".into(), Arc::new(plan));
    fixture.tell(Event::Subscribe { request: None, name, plan });
}

fn fixed(delivery: &Delivery) -> (u64, u64, u32) {
    let batching = delivery.batching.unwrap();
    (delivery.first.0, batching.through.0, batching.results)
}

fn records(fixture: &Fixture) -> usize {
    fixture.records.iter().filter(|record| matches!(record, Record::Batched { .. })).count()
}

fn skip(sequence: u64) -> Order {
    Order::Skip { stream: name("a"), sequence: Sequence(sequence), reason: "broken".into() }
}

#[test]
fn a_batch_is_written_down_before_it_goes_out_and_stays_as_it_is() {
    let mut fixture = fixture(10);
    fixture.fill("a", 3);
    let first = fixture.deliveries.remove(0);
    assert_eq!(fixed(&first), (1, 3, 10));
    fixture.fill("a", 6);
    fixture.refuse(&first, Refusal::Failed);
    fixture.wait(secs(1));
    assert_eq!(fixed(&fixture.deliveries.remove(0)), (1, 3, 10), "what has come since goes later");
    fixture.restart();
    assert_eq!(fixed(&fixture.deliveries[0]), (1, 3, 10), "after a restart");
    configure(&mut fixture, 2);
    let first = fixture.deliveries.pop().unwrap();
    assert_eq!(fixed(&first), (1, 3, 10), "after a change");
    assert_eq!(records(&fixture), 1);
    fixture.take(&first, 3);
    assert_eq!(fixed(&fixture.deliveries.remove(0)), (4, 9, 2));
}

#[test]
fn what_may_have_gone_out_by_itself_does_not_join_a_batch() {
    let mut fixture = fixture(1);
    fixture.fill("a", 3);
    let single = fixture.deliveries.remove(0);
    assert_eq!(single.batching, None);
    fixture.refuse(&single, Refusal::Failed);
    configure(&mut fixture, 10);
    fixture.fill("a", 3);
    fixture.restart();
    let first = fixture.deliveries.pop().unwrap();
    assert_eq!(fixed(&first), (1, 3, 1), "its key is that of the result");
    fixture.take(&first, 3);
    let next = fixture.deliveries.pop().unwrap();
    assert_eq!(fixed(&next), (4, 6, 10));
    // The same when a start finds another configuration.
    configure(&mut fixture, 1);
    fixture.take(&next, 6);
    fixture.fill("a", 2);
    fixture.restart();
    let single = fixture.deliveries.pop().unwrap();
    assert_eq!((single.first, single.batching), (Sequence(7), None));
    configure(&mut fixture, 5);
    fixture.refuse(&single, Refusal::Failed);
    fixture.wait(secs(1));
    assert_eq!(fixed(&fixture.deliveries.pop().unwrap()), (7, 8, 1));
}

#[test]
fn full_batches_are_fixed_together_and_what_is_less_than_one_by_itself() {
    let mut fixture = fixture(10);
    fixture.fill("a", 1);
    fixture.fill("a", 3000);
    let first = fixture.deliveries.remove(0);
    fixture.take(&first, 1);
    let second = fixture.deliveries.remove(0);
    let most = 10 * u64::from(BATCHES_AHEAD);
    assert_eq!(fixed(&second), (2, 1 + most, 10), "no more at once");
    fixture.take(&second, 1 + most);
    for through in [1 + 2 * most, 3001] {
        let next = fixture.deliveries.remove(0);
        assert_eq!(fixed(&next).1, through);
        fixture.take(&next, through);
    }
    assert_eq!(records(&fixture), 4);
    assert!(fixture.deliveries.is_empty());
}

#[test]
fn a_batch_that_is_partly_taken_goes_on_behind_that() {
    let mut fixture = fixture(10);
    fixture.fill("a", 9);
    let first = fixture.deliveries.remove(0);
    let (subscription, stream) = (first.subscription, first.stream);
    let (through, floor) = (Sequence(4), Position(5));
    fixture.tell(Event::Delivered { more: true, subscription, stream, through, floor });
    fixture.refuse(&first, Refusal::Failed);
    fixture.restart();
    assert_eq!(fixed(&fixture.deliveries.remove(0)), (5, 9, 10));
}

#[test]
fn a_rewind_begins_a_generation_and_forgets_batches() {
    let mut fixture = fixture(10);
    fixture.fill("a", 3);
    let first = fixture.deliveries.remove(0);
    assert_eq!(first.generation, 0);
    fixture.fill("a", 3);
    for generation in 1..=3 {
        fixture.say("s", Order::Rewind(Position(0)));
        fixture.tell(Event::Delivered {
            more: false,
            subscription: first.subscription,
            stream: first.stream,
            through: Sequence(0),
            floor: Position(1),
        });
        while !fixture.scans.is_empty() {
            fixture.scan(100);
        }
        fixture.restart();
        let again = fixture.deliveries.pop().unwrap();
        assert_eq!((fixed(&again), again.generation), ((1, 6, 10), generation));
    }
}

#[test]
fn one_result_is_passed_over_for_one_subscription() {
    let mut fixture = fixture(1);
    fixture.fill("a", 5);
    let mut delivery = fixture.deliveries.remove(0);
    for _ in 0..5 {
        fixture.refuse(&delivery, Refusal::Rejected);
        fixture.wait(secs(60));
        delivery = fixture.deliveries.remove(0);
    }
    fixture.refuse(&delivery, Refusal::Rejected);
    for not_due in [0, 6] {
        assert_eq!(fixture.say("s", skip(not_due)), SubscriptionReply::NotDue, "{not_due}");
    }
    let other = Order::Skip { stream: name("b"), sequence: Sequence(1), reason: "x".into() };
    assert_eq!(fixture.say("s", other), SubscriptionReply::NotDue);
    assert_eq!(fixture.say("s", skip(1)), SubscriptionReply::Done);
    assert_eq!(fixture.say("s", skip(4)), SubscriptionReply::Done);
    let next = fixture.deliveries.remove(0);
    assert_eq!(next.first, Sequence(1));
    assert!(next.passes_over(Sequence(1)) && !next.passes_over(Sequence(2)));
    let id = fixture.first_subscription();
    assert!(fixture.dispatcher.subscription_status(id).unwrap().held.is_empty());
    fixture.restart();
    let next = fixture.deliveries.remove(0);
    assert_eq!(*next.passed_over, [Sequence(1), Sequence(4)], "what is behind is known, too");
    assert_eq!(fixture.say("s", skip(1)), SubscriptionReply::Done, "again");
    fixture.take(&next, 1);
    let records = fixture.records.len();
    assert_eq!(fixture.say("s", skip(1)), SubscriptionReply::NotDue, "it is done with");
    assert_eq!(fixture.records.len(), records);
}

/// Parts with these positions, from sequence 1 on, each of so many bytes.
fn parts(positions: &[u64], bytes: usize) -> Vec<Part> {
    let part = |(sequence, position): (u64, &u64)| Part {
        sequence: Sequence(sequence),
        position: Position(*position),
        bytes,
    };
    (1..).zip(positions).map(part).collect()
}

#[test]
fn what_travels_together_is_a_question_of_what_is_written_down_alone() {
    let mut fixture = fixture(10);
    fixture.fill("a", 9);
    let delivery = Delivery { stream: StreamId(0), ..fixture.deliveries.remove(0) };
    let with = |through, results, bytes| {
        let batching = Batching { through: Sequence(through), results, bytes };
        Delivery { batching: Some(batching), ..delivery.clone() }
    };
    let all = [1, 2, 3, 5, 8, 9];
    for (results, known, expected) in
        [(4, 6, Some(4)), (4, 3, None), (10, 6, Some(6)), (10, 5, None), (10, 0, None)]
    {
        let parts = parts(&all[..known], 100);
        assert_eq!(with(6, results, 10_000).request(parts), expected, "{results} of {known}");
    }
    let large = with(6, 10, 1000).request(parts(&all, 400));
    assert_eq!(large, Some(2), "no more than there is room for");
    assert_eq!(with(6, 10, 1000).request(parts(&all, 5000)), Some(1), "one has always room");
    assert_eq!(with(6, 10, 1000).request(parts(&all[..1], 5000)), None, "another may be empty");
    let replayed = Delivery { replay_until: Position(3), ..with(6, 10, 1000) };
    assert_eq!(replayed.request(parts(&all, 1)), Some(3), "replayed ones for themselves");
    for (passed_over, expected) in [(vec![1], 1), (vec![2, 3], 1), (vec![4], 3)] {
        let passed_over: Vec<_> = passed_over.into_iter().map(Sequence).collect();
        let delivery = Delivery { passed_over: passed_over.into(), ..with(6, 10, 1000) };
        assert_eq!(delivery.request(parts(&all, 1)), Some(expected));
    }
    assert_eq!(delivery.clone().request([]), None);
}
