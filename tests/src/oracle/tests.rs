//! The oracle notices: each history here is bad in one way, and the first one is good.

use std::sync::Arc;

use bytes::Bytes;

use super::{Checker, DeliverySeen, End, Invariant, Outcome, Place, ResultSeen, Seen, Violation};

fn place(sequence: u64) -> Place {
    (Arc::from("a"), sequence)
}

fn id(sequence: u64) -> u128 {
    1_000 + u128::from(sequence)
}

fn acknowledged(sequence: u64) -> Seen {
    Seen::Acknowledged {
        place: place(sequence),
        id: id(sequence),
        body: Bytes::from(format!("m{sequence}")),
        client_key: None,
    }
}

fn released(sequence: u64) -> Seen {
    let result = ResultSeen {
        position: sequence,
        id: id(sequence),
        outcome: Outcome::Completed,
        body: Bytes::from(format!("r{sequence}")),
    };
    Seen::Released { place: place(sequence), result }
}

fn delivery(sequence: u64) -> DeliverySeen {
    DeliverySeen {
        generation: 0,
        subscription: "s".into(),
        place: place(sequence),
        previous: sequence - 1,
        position: sequence,
        id: id(sequence),
        body: Bytes::from(format!("r{sequence}")),
        replay: false,
        epoch: 1,
        revision: 0,
    }
}

/// Three messages, each on its way to the end.
fn good() -> Vec<Seen> {
    let mut history = vec![Seen::Subscribed {
        subscription: "s".into(),
        streams: [Arc::from("a")].into(),
        after: 0,
        head: 0,
    }];
    for sequence in 1..=3 {
        history.extend([
            Seen::DurableArrival { place: place(sequence) },
            acknowledged(sequence),
            Seen::Executed {
                place: place(sequence),
                attempt: (1, 5),
                id: id(sequence),
                body: Bytes::from(format!("m{sequence}")),
            },
            Seen::Offered { id: id(sequence), body: Bytes::from(format!("r{sequence}")) },
            Seen::DurableResult { place: place(sequence) },
            released(sequence),
            Seen::Delivered(delivery(sequence)),
        ]);
    }
    history
}

fn check(history: Vec<Seen>) -> Result<(), Violation> {
    let mut checker = Checker::new();
    history.into_iter().try_for_each(|seen| checker.see(seen))?;
    checker.finish(&End::default())
}

/// What a history breaks.
fn broken(history: Vec<Seen>) -> Invariant {
    check(history).expect_err("it is bad").invariant
}

fn without(unwanted: impl Fn(&Seen) -> bool) -> Vec<Seen> {
    good().into_iter().filter(|seen| !unwanted(seen)).collect()
}

fn with_delivery(changed: u64, change: impl Fn(&mut DeliverySeen)) -> Vec<Seen> {
    let mut history = good();
    for seen in &mut history {
        if let Seen::Delivered(delivery) = seen
            && delivery.place.1 == changed
        {
            change(delivery);
        }
    }
    history
}

#[test]
fn a_good_history_is_good() {
    assert_eq!(check(good()), Ok(()));
    // And so is a repeat.
    let mut repeated = good();
    repeated.push(Seen::Delivered(delivery(2)));
    repeated.push(acknowledged(2));
    assert_eq!(check(repeated), Ok(()));
}

#[test]
fn a_lost_message_is_noticed() {
    let lost = |seen: &Seen| {
        matches!(seen, Seen::Released { place, .. } if place.1 == 3)
            || matches!(seen, Seen::Delivered(delivery) if delivery.place.1 == 3)
    };
    assert_eq!(broken(without(lost)), Invariant::I1);
}

#[test]
fn a_message_that_never_arrived_is_noticed() {
    let last = |seen: &Seen| matches!(seen, Seen::Delivered(delivery) if delivery.place.1 == 3);
    assert_eq!(broken(without(last)), Invariant::I1);
}

#[test]
fn a_hole_is_noticed() {
    let hole = |seen: &Seen| matches!(seen, Seen::Delivered(delivery) if delivery.place.1 == 2);
    assert_eq!(broken(without(hole)), Invariant::I2);
}

#[test]
fn swapped_deliveries_are_noticed() {
    let mut swapped = without(|seen| matches!(seen, Seen::Delivered(_)));
    swapped.extend([1, 3, 2].map(|sequence| Seen::Delivered(delivery(sequence))));
    assert_eq!(broken(swapped), Invariant::I2);
}

#[test]
fn what_was_taken_for_good_is_not_delivered_again() {
    let mut again = good();
    again.push(Seen::Taken { subscription: "s".into(), through: place(2) });
    again.push(Seen::Delivered(delivery(2)));
    assert_eq!(broken(again), Invariant::I2);
}

fn arranged(streams: &[&str], head: u64, revision: u32) -> Seen {
    let streams = streams.iter().map(|name| Arc::from(*name)).collect();
    Seen::Arranged { subscription: "s".into(), streams, head, revision }
}

#[test]
fn a_stream_that_was_taken_from_a_subscription_no_longer_comes() {
    let mut history = good();
    history.push(arranged(&["other"], 3, 2));
    // It was under way.
    history.push(Seen::Delivered(DeliverySeen { revision: 1, ..delivery(3) }));
    assert_eq!(check(history.clone()), Ok(()));
    history.push(Seen::Delivered(DeliverySeen { revision: 2, ..delivery(3) }));
    assert_eq!(broken(history), Invariant::I2);
}

#[test]
fn a_stream_that_was_given_to_a_subscription_comes_from_then_on() {
    let mut history = good();
    history.retain(|seen| !matches!(seen, Seen::Delivered(_)));
    history.push(arranged(&["other"], 3, 1));
    let given = arranged(&[&place(1).0], 2, 2);
    history.push(given.clone());
    assert_eq!(broken(history.clone()), Invariant::I1);
    let third = Seen::Delivered(DeliverySeen { revision: 2, ..delivery(3) });
    history.push(third);
    assert_eq!(check(history.clone()), Ok(()));
    // A start tells it again.
    history.push(given);
    assert_eq!(check(history.clone()), Ok(()));
    let gone: Arc<str> = "s".into();
    history.push(Seen::Unsubscribed { subscription: gone });
    history.push(Seen::Delivered(DeliverySeen { revision: 2, ..delivery(1) }));
    assert_eq!(check(history), Ok(()));
}

#[test]
fn a_sequence_given_twice_is_noticed() {
    let mut twice = good();
    twice.push(Seen::Acknowledged {
        place: place(2),
        id: 77,
        body: Bytes::from_static(b"m2"),
        client_key: None,
    });
    assert_eq!(broken(twice), Invariant::I4);
}

#[test]
fn a_position_given_twice_is_noticed() {
    let mut twice = good();
    for seen in &mut twice {
        if let Seen::Released { place, result } = seen
            && place.1 == 3
        {
            result.position = 2;
        }
    }
    assert_eq!(broken(twice), Invariant::I4);
}

#[test]
fn a_key_that_stands_at_two_places_is_noticed() {
    let keyed = |sequence| Seen::Acknowledged {
        place: place(sequence),
        id: id(sequence),
        body: Bytes::from(format!("m{sequence}")),
        client_key: Some("k".into()),
    };
    let mut history = good();
    history.extend([keyed(1), keyed(2)]);
    assert_eq!(broken(history), Invariant::I4);
}

#[test]
fn changed_bytes_are_noticed() {
    let changed = with_delivery(2, |delivery| delivery.body = Bytes::from_static(b"r?"));
    assert_eq!(broken(changed), Invariant::I3);
    let changed = with_delivery(2, |delivery| delivery.id = 5);
    assert_eq!(broken(changed), Invariant::I3);
    let changed = with_delivery(2, |delivery| delivery.position = 9);
    assert_eq!(broken(changed), Invariant::I3);
}

#[test]
fn a_result_that_nobody_gave_is_noticed() {
    let silent = without(|seen| matches!(seen, Seen::Offered { id, .. } if *id == 1_002));
    assert_eq!(broken(silent), Invariant::I3);
}

#[test]
fn a_wrong_previous_sequence_is_noticed() {
    let wrong = with_delivery(3, |delivery| delivery.previous = 1);
    assert_eq!(broken(wrong), Invariant::I2);
}

#[test]
fn a_wrong_replay_mark_is_noticed() {
    let wrong = with_delivery(1, |delivery| delivery.replay = true);
    assert_eq!(broken(wrong), Invariant::I2);
}

#[test]
fn an_early_acknowledgement_is_noticed() {
    let early = without(|seen| *seen == Seen::DurableArrival { place: place(2) });
    assert_eq!(broken(early), Invariant::I6);
}

#[test]
fn an_early_release_is_noticed() {
    let early = without(|seen| *seen == Seen::DurableResult { place: place(2) });
    assert_eq!(broken(early), Invariant::I6);
}

#[test]
fn one_attempt_too_many_is_noticed() {
    let mut history = good();
    history.push(Seen::Executed {
        place: place(1),
        attempt: (6, 5),
        id: id(1),
        body: Bytes::from_static(b"m1"),
    });
    assert_eq!(broken(history), Invariant::I9);
}

#[test]
fn a_skip_that_nobody_wanted_is_noticed() {
    let mut history = without(|seen| matches!(seen, Seen::Delivered(d) if d.place.1 == 3));
    for seen in &mut history {
        if let Seen::Released { place, result } = seen
            && place.1 == 3
        {
            result.outcome = Outcome::Skipped;
        }
    }
    assert_eq!(broken(history), Invariant::I1);
}

#[test]
fn what_was_rewound_comes_again_from_there_and_is_marked() {
    let rewound = |after| Seen::Rewound { subscription: "s".into(), after, head: 3, revision: 1 };
    let again = |sequence: u64, revision| {
        let one = delivery(sequence);
        Seen::Delivered(DeliverySeen { replay: true, revision, generation: revision, ..one })
    };
    let after = |more: Vec<Seen>| good().into_iter().chain(more).collect::<Vec<_>>();
    assert_eq!(check(after(vec![rewound(1), again(2, 1), again(3, 1)])), Ok(()));
    let late = Seen::Delivered(delivery(3));
    let with_late = vec![rewound(1), late, again(2, 1), again(3, 1)];
    assert_eq!(check(after(with_late)), Ok(()), "one of the revision before is under way");
    assert_eq!(broken(after(vec![rewound(1), again(2, 1)])), Invariant::I1);
    assert_eq!(broken(after(vec![rewound(0), again(1, 1), again(3, 1)])), Invariant::I2);
    assert_eq!(broken(after(vec![rewound(1), again(1, 1)])), Invariant::I2);
    let one = DeliverySeen { revision: 1, generation: 1, ..delivery(2) };
    let unmarked = Seen::Delivered(one.clone());
    assert_eq!(broken(after(vec![rewound(1), unmarked])), Invariant::I2);
    let uncounted = Seen::Delivered(DeliverySeen { replay: true, generation: 0, ..one });
    assert_eq!(broken(after(vec![rewound(1), uncounted])), Invariant::I2);
}

#[test]
fn what_was_passed_over_need_not_come_until_the_subscription_is_rewound() {
    let mut history = good();
    history.retain(|seen| !matches!(seen, Seen::Delivered(one) if one.place.1 == 2));
    assert_eq!(broken(history.clone()), Invariant::I2);
    let passed_over = Seen::PassedOver { subscription: "s".into(), place: place(2) };
    let third =
        history.iter().position(|seen| matches!(seen, Seen::Delivered(one) if one.place.1 == 3));
    history.insert(third.unwrap(), passed_over);
    assert_eq!(check(history.clone()), Ok(()));
    history.push(Seen::Rewound { subscription: "s".into(), after: 1, head: 3, revision: 1 });
    let again = DeliverySeen { replay: true, revision: 1, generation: 1, ..delivery(3) };
    history.push(Seen::Delivered(again));
    assert_eq!(broken(history), Invariant::I1);
}
