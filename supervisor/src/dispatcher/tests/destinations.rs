//! Destinations that fail: what is theirs stops the subscription, what is one result's its stream.

use super::{
    super::{Delivery, Event, Refusal, SubscriptionStatus, event::Order, settings::StreamSettings},
    fixture::{Fixture, name, secs},
};
use crate::record::Gap;
use rollcall_common::ids::StreamId;

const AWAY: Refusal = Refusal::Away { retry_after: None };

/// A fixture with a subscription and one released result in each of so many streams.
fn fixture(streams: usize) -> Fixture {
    let mut fixture = Fixture::new(StreamSettings { pool: None, ..StreamSettings::default() }, 0);
    fixture.subscribe("s");
    (0..streams).for_each(|number| fixture.fill(&format!("a{number}"), 1));
    fixture
}

fn status(fixture: &Fixture) -> SubscriptionStatus {
    fixture.dispatcher.subscription_status(fixture.first_subscription()).unwrap()
}

fn take_all(fixture: &mut Fixture) -> Vec<Delivery> {
    std::mem::take(&mut fixture.deliveries)
}

#[test]
fn one_goes_first_to_a_destination_that_was_away_and_then_more_and_more() {
    let mut fixture = fixture(20);
    for delivery in take_all(&mut fixture) {
        fixture.refuse(&delivery, AWAY);
    }
    fixture.fill("b", 1);
    assert!(fixture.deliveries.is_empty(), "no other stream tries it meanwhile");
    fixture.wait(secs(1));
    let mut groups = Vec::new();
    loop {
        let group = take_all(&mut fixture);
        if group.is_empty() {
            break;
        }
        groups.push(group.len());
        group.iter().for_each(|delivery| fixture.take(delivery, 1));
    }
    assert_eq!(groups, [1, 2, 4, 8, 6]);
}

#[test]
fn a_destination_that_stays_away_is_asked_by_one_at_a_time_and_less_and_less() {
    let mut fixture = fixture(5);
    for delivery in take_all(&mut fixture) {
        fixture.refuse(&delivery, AWAY);
    }
    let started = fixture.now;
    let mut tries = 0;
    while fixture.now.since(started) < secs(600) {
        fixture.wait(secs(1));
        for delivery in take_all(&mut fixture) {
            tries += 1;
            fixture.refuse(&delivery, AWAY);
        }
    }
    assert!((10..30).contains(&tries), "{tries} tries in ten minutes");
    assert_eq!(status(&fixture).failing_since, Some(started));
}

#[test]
fn the_time_that_a_destination_asks_for_is_given_to_all_its_streams() {
    let mut fixture = fixture(3);
    let all = take_all(&mut fixture);
    fixture.refuse(&all[0], Refusal::Away { retry_after: Some(secs(100)) });
    fixture.take(&all[1], 1);
    fixture.take(&all[2], 1);
    fixture.fill("a1", 1);
    fixture.wait(secs(99));
    assert!(fixture.deliveries.is_empty());
    fixture.wait(secs(1));
    assert_eq!(fixture.deliveries.len(), 1);
}

#[test]
fn an_error_of_one_result_stops_no_other_stream() {
    for refusal in [Refusal::Failed, Refusal::Rejected, Refusal::Unfit] {
        let mut fixture = fixture(2);
        let all = take_all(&mut fixture);
        fixture.refuse(&all[0], refusal);
        fixture.take(&all[1], 1);
        fixture.fill("a1", 1);
        assert_eq!(fixture.deliveries.len(), 1, "{refusal:?}");
    }
}

#[test]
fn what_fits_no_destination_is_held_at_once_and_tried_again_after_resuming() {
    let mut fixture = fixture(1);
    let delivery = fixture.deliveries.remove(0);
    fixture.refuse(&delivery, Refusal::Unfit);
    fixture.wait(secs(59));
    assert!(fixture.deliveries.is_empty());
    assert_eq!(status(&fixture).held, [name("a0")]);
    fixture.say("s", Order::Resume);
    assert_eq!(fixture.deliveries.len(), 1);
    assert!(status(&fixture).held.is_empty());
}

#[test]
fn a_failing_destination_is_told_of_until_all_that_failed_is_taken() {
    let mut fixture = fixture(2);
    let all = take_all(&mut fixture);
    let since = fixture.now;
    fixture.refuse(&all[0], Refusal::Failed);
    fixture.wait(secs(0));
    fixture.take(&all[1], 1);
    let failing = status(&fixture);
    assert_eq!(failing.failing_since, Some(since));
    assert_eq!((failing.last_error.as_deref(), failing.failures), (Some("no"), 0));
    fixture.wait(secs(2));
    let again = fixture.deliveries.remove(0);
    assert_eq!(again.attempt, 2);
    fixture.take(&again, 1);
    let well = status(&fixture);
    assert_eq!((well.failing_since, well.last_error), (None, None));
}

#[test]
fn a_hole_that_was_found_is_shown_and_counted() {
    let mut fixture = fixture(1);
    let gap = Gap { stream: name("a0"), expected: 1, got: 2 };
    let subscription = fixture.first_subscription();
    fixture.tell(Event::GapFound { subscription, gap: gap.clone() });
    assert_eq!(status(&fixture).gap, Some(gap));
    assert_eq!(fixture.dispatcher.counters().gaps, 1);
    fixture.say("s", Order::Resume);
    assert_eq!(status(&fixture).gap, None);
}

#[test]
fn what_goes_out_is_counted_for_a_minute() {
    let mut fixture = fixture(3);
    for delivery in take_all(&mut fixture) {
        fixture.take(&delivery, 1);
    }
    assert_eq!(status(&fixture).rate.last_minute(fixture.now), 3);
    fixture.wait(secs(120));
    assert_eq!(status(&fixture).rate.last_minute(fixture.now), 0);
}

/// How many streams are held, and whether all of them are refused.
fn refused(fixture: &Fixture) -> (usize, bool) {
    let status = status(fixture);
    (status.held.len(), status.outage)
}

#[test]
fn a_destination_that_refuses_every_stream_holds_none() {
    let mut fixture = fixture(3);
    let started = fixture.now;
    let mut requests = 0;
    while fixture.now.since(started) < secs(600) {
        for delivery in take_all(&mut fixture) {
            requests += 1;
            fixture.refuse(&delivery, Refusal::Rejected);
        }
        assert_eq!(status(&fixture).held, [], "after {requests} requests");
        fixture.wait(secs(1));
    }
    assert!((30..100).contains(&requests), "{requests} in ten minutes");
    let status_then = status(&fixture);
    assert!(status_then.outage && status_then.failing_since == Some(started));
    assert_eq!(status_then.failing.len(), 3);
    fixture.wait(secs(60));
    let first = fixture.deliveries.remove(0);
    let others = take_all(&mut fixture);
    others.iter().for_each(|delivery| fixture.refuse(delivery, Refusal::Rejected));
    fixture.take(&first, 1);
    assert_eq!(refused(&fixture), (0, false));
    assert_eq!(fixture.deliveries.len(), 2, "the others are tried at once");
    for delivery in take_all(&mut fixture) {
        fixture.take(&delivery, 1);
    }
    assert_eq!(status(&fixture).failing_since, None);
}

#[test]
fn one_stream_alone_is_held_and_so_is_one_among_others_that_are_taken() {
    let mut fixture = fixture(1);
    for _ in 0..5 {
        let delivery = fixture.deliveries.remove(0);
        fixture.refuse(&delivery, Refusal::Rejected);
        fixture.wait(secs(60));
    }
    assert_eq!(refused(&fixture), (1, false));
    // The same with another one, of which something is taken between any two refusals.
    let mut fixture = self::fixture(2);
    for _ in 0..5 {
        for delivery in take_all(&mut fixture) {
            if delivery.stream == StreamId(0) {
                fixture.refuse(&delivery, Refusal::Rejected);
            } else {
                fixture.take(&delivery, delivery.last.0);
            }
        }
        fixture.fill("a1", 1);
        fixture.wait(secs(60));
    }
    assert_eq!(refused(&fixture), (1, false));
}

#[test]
fn a_stream_that_fails_otherwise_speaks_against_an_outage() {
    let mut fixture = fixture(3);
    for _ in 0..6 {
        for delivery in take_all(&mut fixture) {
            let failed = delivery.stream == StreamId(2);
            let refusal = if failed { Refusal::Failed } else { Refusal::Rejected };
            fixture.refuse(&delivery, refusal);
        }
        fixture.wait(secs(60));
    }
    assert_eq!(refused(&fixture), (2, false));
    let failing = &status(&fixture).failing;
    let shown: Vec<_> = failing.iter().map(|one| (one.stream.as_str(), one.held)).collect();
    assert_eq!(shown, [("a0", true), ("a1", true), ("a2", false)]);
    assert!(failing.iter().all(|one| one.sequence.0 == 1 && &*one.error == "no"));
}
