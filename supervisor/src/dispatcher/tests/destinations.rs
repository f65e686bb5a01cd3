//! Destinations that fail: what is theirs stops the subscription, what is one result's its stream.

use super::{
    super::{Delivery, Event, Refusal, SubscriptionStatus, event::Order, settings::StreamSettings},
    desk::{Desk, name, secs},
};
use crate::record::Gap;
use rollcall_common::ids::StreamId;

const AWAY: Refusal = Refusal::Away { retry_after: None };

/// A desk with a subscription and one released result in each of so many streams.
fn desk(streams: usize) -> Desk {
    let mut desk = Desk::new(StreamSettings { pool: None, ..StreamSettings::default() }, 0);
    desk.subscribe("s");
    (0..streams).for_each(|number| desk.fill(&format!("a{number}"), 1));
    desk
}

fn status(desk: &Desk) -> SubscriptionStatus {
    desk.dispatcher.subscription_status(desk.first_subscription()).unwrap()
}

fn take_all(desk: &mut Desk) -> Vec<Delivery> {
    std::mem::take(&mut desk.deliveries)
}

#[test]
fn one_goes_first_to_a_destination_that_was_away_and_then_more_and_more() {
    let mut desk = desk(20);
    for delivery in take_all(&mut desk) {
        desk.refuse(&delivery, AWAY);
    }
    desk.fill("b", 1);
    assert!(desk.deliveries.is_empty(), "no other stream tries it meanwhile");
    desk.wait(secs(1));
    let mut groups = Vec::new();
    loop {
        let group = take_all(&mut desk);
        if group.is_empty() {
            break;
        }
        groups.push(group.len());
        group.iter().for_each(|delivery| desk.take(delivery, 1));
    }
    assert_eq!(groups, [1, 2, 4, 8, 6]);
}

#[test]
fn a_destination_that_stays_away_is_asked_by_one_at_a_time_and_less_and_less() {
    let mut desk = desk(5);
    for delivery in take_all(&mut desk) {
        desk.refuse(&delivery, AWAY);
    }
    let started = desk.now;
    let mut tries = 0;
    while desk.now.since(started) < secs(600) {
        desk.wait(secs(1));
        for delivery in take_all(&mut desk) {
            tries += 1;
            desk.refuse(&delivery, AWAY);
        }
    }
    assert!((10..30).contains(&tries), "{tries} tries in ten minutes");
    assert_eq!(status(&desk).failing_since, Some(started));
}

#[test]
fn the_time_that_a_destination_asks_for_is_given_to_all_its_streams() {
    let mut desk = desk(3);
    let all = take_all(&mut desk);
    desk.refuse(&all[0], Refusal::Away { retry_after: Some(secs(100)) });
    desk.take(&all[1], 1);
    desk.take(&all[2], 1);
    desk.fill("a1", 1);
    desk.wait(secs(99));
    assert!(desk.deliveries.is_empty());
    desk.wait(secs(1));
    assert_eq!(desk.deliveries.len(), 1);
}

#[test]
fn an_error_of_one_result_stops_no_other_stream() {
    for refusal in [Refusal::Failed, Refusal::Rejected, Refusal::Unfit] {
        let mut desk = desk(2);
        let all = take_all(&mut desk);
        desk.refuse(&all[0], refusal);
        desk.take(&all[1], 1);
        desk.fill("a1", 1);
        assert_eq!(desk.deliveries.len(), 1, "{refusal:?}");
    }
}

#[test]
fn what_fits_no_destination_is_held_at_once_and_tried_again_after_resuming() {
    let mut desk = desk(1);
    let delivery = desk.deliveries.remove(0);
    desk.refuse(&delivery, Refusal::Unfit);
    desk.wait(secs(59));
    assert!(desk.deliveries.is_empty());
    assert_eq!(status(&desk).held, [name("a0")]);
    desk.say("s", Order::Resume);
    assert_eq!(desk.deliveries.len(), 1);
    assert!(status(&desk).held.is_empty());
}

#[test]
fn a_failing_destination_is_told_of_until_all_that_failed_is_taken() {
    let mut desk = desk(2);
    let all = take_all(&mut desk);
    let since = desk.now;
    desk.refuse(&all[0], Refusal::Failed);
    desk.wait(secs(0));
    desk.take(&all[1], 1);
    let failing = status(&desk);
    assert_eq!(failing.failing_since, Some(since));
    assert_eq!((failing.last_error.as_deref(), failing.failures), (Some("no"), 0));
    desk.wait(secs(2));
    let again = desk.deliveries.remove(0);
    assert_eq!(again.attempt, 2);
    desk.take(&again, 1);
    let well = status(&desk);
    assert_eq!((well.failing_since, well.last_error), (None, None));
}

#[test]
fn a_hole_that_was_found_is_shown_and_counted() {
    let mut desk = desk(1);
    let gap = Gap { stream: name("a0"), expected: 1, got: 2 };
    let subscription = desk.first_subscription();
    desk.tell(Event::GapFound { subscription, gap: gap.clone() });
    assert_eq!(status(&desk).gap, Some(gap));
    assert_eq!(desk.dispatcher.counters().gaps, 1);
    desk.say("s", Order::Resume);
    assert_eq!(status(&desk).gap, None);
}

#[test]
fn what_goes_out_is_counted_for_a_minute() {
    let mut desk = desk(3);
    for delivery in take_all(&mut desk) {
        desk.take(&delivery, 1);
    }
    assert_eq!(status(&desk).rate.last_minute(desk.now), 3);
    desk.wait(secs(120));
    assert_eq!(status(&desk).rate.last_minute(desk.now), 0);
}

/// How many streams are held, and whether all of them are refused.
fn refused(desk: &Desk) -> (usize, bool) {
    let status = status(desk);
    (status.held.len(), status.outage)
}

#[test]
fn a_destination_that_refuses_every_stream_holds_none() {
    let mut desk = desk(3);
    let started = desk.now;
    let mut requests = 0;
    while desk.now.since(started) < secs(600) {
        for delivery in take_all(&mut desk) {
            requests += 1;
            desk.refuse(&delivery, Refusal::Rejected);
        }
        assert_eq!(status(&desk).held, [], "after {requests} requests");
        desk.wait(secs(1));
    }
    assert!((30..100).contains(&requests), "{requests} in ten minutes");
    let status_then = status(&desk);
    assert!(status_then.outage && status_then.failing_since == Some(started));
    assert_eq!(status_then.failing.len(), 3);
    desk.wait(secs(60));
    let first = desk.deliveries.remove(0);
    let others = take_all(&mut desk);
    others.iter().for_each(|delivery| desk.refuse(delivery, Refusal::Rejected));
    desk.take(&first, 1);
    assert_eq!(refused(&desk), (0, false));
    assert_eq!(desk.deliveries.len(), 2, "the others are tried at once");
    for delivery in take_all(&mut desk) {
        desk.take(&delivery, 1);
    }
    assert_eq!(status(&desk).failing_since, None);
}

#[test]
fn one_stream_alone_is_held_and_so_is_one_among_others_that_are_taken() {
    let mut desk = desk(1);
    for _ in 0..5 {
        let delivery = desk.deliveries.remove(0);
        desk.refuse(&delivery, Refusal::Rejected);
        desk.wait(secs(60));
    }
    assert_eq!(refused(&desk), (1, false));
    // The same with another one, of which something is taken between any two refusals.
    let mut desk = self::desk(2);
    for _ in 0..5 {
        for delivery in take_all(&mut desk) {
            if delivery.stream == StreamId(0) {
                desk.refuse(&delivery, Refusal::Rejected);
            } else {
                desk.take(&delivery, delivery.last.0);
            }
        }
        desk.fill("a1", 1);
        desk.wait(secs(60));
    }
    assert_eq!(refused(&desk), (1, false));
}

#[test]
fn a_stream_that_fails_otherwise_speaks_against_an_outage() {
    let mut desk = desk(3);
    for _ in 0..6 {
        for delivery in take_all(&mut desk) {
            let failed = delivery.stream == StreamId(2);
            let refusal = if failed { Refusal::Failed } else { Refusal::Rejected };
            desk.refuse(&delivery, refusal);
        }
        desk.wait(secs(60));
    }
    assert_eq!(refused(&desk), (2, false));
    let failing = &status(&desk).failing;
    let shown: Vec<_> = failing.iter().map(|one| (one.stream.as_str(), one.held)).collect();
    assert_eq!(shown, [("a0", true), ("a1", true), ("a2", false)]);
    assert!(failing.iter().all(|one| one.sequence.0 == 1 && &*one.error == "no"));
}
