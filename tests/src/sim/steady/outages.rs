//! What an outage of all workers, and what stragglers, do.

use std::time::Duration;

use rollcall_supervisor::dispatcher::settings::Hedging;

use super::{Outage, Plan, play};

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
