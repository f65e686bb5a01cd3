//! What an outage of all workers, and what stragglers, do.

use std::time::Duration;

use rollcall_supervisor::dispatcher::settings::Hedging;

use super::{Outage, Outcome, Plan, play};

/// F-66: at four fifths of what the workers can do, all of them are away for ten seconds, and the
/// load stays what it is.
#[test]
fn goodput_comes_back_after_an_outage_under_an_unchanged_load() {
    for kind in [Outage::Refused, Outage::Hanging, Outage::Frozen] {
        let (from, to) = (Duration::from_secs(20), Duration::from_secs(30));
        let outcome = play(Plan { outage: Some((kind, from, to)), ..Plan::default() });
        let (before, after) = (outcome.goodput(10, 20), outcome.goodput(80, 90));
        let (messages, dispatches) = (outcome.messages, outcome.dispatches);
        println!(
            "{kind:?}: {before}/s before, {after}/s after, {dispatches} dispatches of {messages}"
        );
        assert!(after * 100 >= before * 95, "{kind:?}: {before}/s before, {after}/s after");
        assert_eq!(outcome.released.len() as u64, messages, "{kind:?}");
        // A fifth more, and 10/s.
        let most = messages * 12 / 10 + 10 * 130;
        assert!(dispatches <= most, "{kind:?}: {dispatches} of {messages}");
    }
}

/// F-47: one execution in a hundred takes a hundred times as long.
#[test]
fn stragglers_are_overtaken_by_their_copies() {
    let played = |streams, hedge| {
        let outcome = play(Plan {
            streams,
            span: Duration::from_secs(100),
            places: 64,
            work: Duration::from_millis(10),
            straggler: 100,
            hedge,
            ..Plan::default()
        });
        println!(
            "{streams} streams, {hedge:?}: p50 {:?}, p99 {:?}, p99.9 {:?}, {} dispatches of {}",
            outcome.latency(500),
            outcome.latency(990),
            outcome.latency(999),
            outcome.dispatches,
            outcome.messages
        );
        outcome
    };
    let (with, without) = (played(100, Hedging::Auto), played(100, Hedging::Off));
    assert!(with.latency(999) <= 3 * with.latency(500), "{:?}", with.latency(999));
    assert!(without.latency(999) > 50 * without.latency(500), "{:?}", without.latency(999));
    assert!(with.dispatches * 100 <= with.messages * 105, "{} dispatches", with.dispatches);
    assert_eq!(without.dispatches, without.messages);
    // In one stream all wait for the slow ones before them, and now and then a copy is slow too.
    let (with, without) = (played(1, Hedging::Auto), played(1, Hedging::Off));
    assert!(with.latency(500) * 10 < without.latency(500));
}

/// Four messages a second on one stream, and four workers that fail at all of them for a while.
fn failing_for(span: Duration, kind: Outage, poison: Option<u64>) -> (Outcome, Duration) {
    let from = Duration::from_secs(10);
    let to = from + span;
    let outcome = play(Plan {
        streams: 1,
        rate: 4,
        span: to + Duration::from_secs(30),
        outage: Some((kind, from, to)),
        poison,
        ..Plan::default()
    });
    println!(
        "{kind:?} for {span:?}, poison {poison:?}: {} messages, {} dispatches, {:?}, {} parked",
        outcome.messages, outcome.dispatches, outcome.alerts, outcome.parked
    );
    (outcome, to)
}

/// Issue 13.2: whatever the pool does, no message is charged, one alert tells of it, and all is
/// done soon after the workers are well.
#[test]
fn an_outage_parks_nothing_and_is_over_soon_after_the_workers_are_well() {
    for (kind, seconds) in [
        (Outage::Failing, 15),
        (Outage::Failing, 120),
        (Outage::Failing, 3_600),
        (Outage::Hanging, 120),
    ] {
        let (outcome, to) = failing_for(Duration::from_secs(seconds), kind, None);
        assert_eq!(outcome.parked, 0, "{kind:?} {seconds}");
        assert_eq!(outcome.alerts, [("pool_outage", true)], "{kind:?} {seconds}");
        assert_eq!(outcome.released.len() as u64, outcome.messages, "{kind:?} {seconds}");
        // All that had come by then: with twenty at once, 80 ms each, after a slow start.
        let waited = outcome.released.iter().filter(|(at, took)| *at - *took < to);
        let last = waited.map(|(at, _)| *at).max().expect("some waited");
        let work = Duration::from_millis(80) * u32::try_from(seconds * 4 / 20).expect("few");
        let most = to + Duration::from_secs(15) + work * 2 + Duration::from_secs(1);
        assert!(last <= most, "{kind:?} {seconds}: the last at {last:?}, should be by {most:?}");
    }
}

#[test]
fn a_poison_message_in_an_outage_is_parked_alone() {
    // One that comes before the outage, and some in it.
    for poison in [35, 60, 120] {
        let (outcome, _) = failing_for(Duration::from_secs(120), Outage::Failing, Some(poison));
        assert_eq!(outcome.parked, 1, "{poison}");
        let done = outcome.released.len() as u64 + outcome.waiting;
        assert_eq!(done + 1, outcome.messages, "{poison}: all others are done");
    }
}
