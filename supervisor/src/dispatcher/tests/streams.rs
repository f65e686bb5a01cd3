//! Streams: their windows, their turns, their doors.

use std::{collections::BTreeSet, sync::Arc};

use rollcall_common::backoff::Ladder;

use super::{
    super::{
        Effect, Event, Reply, Settings,
        settings::{Hedging, OnExhausted, StreamSettings},
    },
    fixture::{Fixture, secs},
};

fn narrow(window: u32, max_in_flight: u32) -> StreamSettings {
    StreamSettings { window, max_in_flight, ..StreamSettings::default() }
}

#[test]
fn results_leave_in_order() {
    let mut fixture = Fixture::new(StreamSettings::default(), 2);
    fixture.fill("a", 4);
    let attempts: Vec<_> = fixture.dispatches.drain(..).map(|dispatch| dispatch.attempt).collect();
    for (index, released) in [(2, vec![]), (1, vec![]), (3, vec![]), (0, vec![1, 2, 3, 4])] {
        fixture.answer(attempts[index], 200);
        assert_eq!(fixture.order(), released);
    }
    let positions: Vec<u64> = fixture.released.iter().map(|released| released.position.0).collect();
    assert_eq!(positions, [1, 2, 3, 4]);
}

#[test]
fn a_full_window_lets_in_the_message_that_empties_it() {
    let mut fixture = Fixture::new(narrow(3, 8), 2);
    fixture.fill("a", 6);
    let first = fixture.wait_for_dispatch();
    for _ in 0..2 {
        let other = fixture.wait_for_dispatch();
        fixture.answer(other.attempt, 200);
    }
    assert!(fixture.dispatches.is_empty(), "the window is full");
    fixture.answer(first.attempt, 500);
    let again = fixture.wait_for_dispatch();
    assert_eq!(again.sequence, first.sequence);
    fixture.answer(again.attempt, 200);
    assert_eq!(fixture.order(), [1, 2, 3]);
    fixture.fetch_all();
    assert_eq!(fixture.dispatches.len(), 3);
}

#[test]
fn a_timeout_makes_room_for_the_next() {
    let mut settings = narrow(10, 1);
    settings.ladder.max_attempts = 1;
    let mut fixture = Fixture::new(settings, 2);
    fixture.fill("a", 2);
    let first = fixture.wait_for_dispatch();
    assert!(fixture.dispatches.is_empty());
    fixture.wait(first.timeout);
    assert_eq!(fixture.dispatches.len(), 1, "the first no longer counts");
}

#[test]
fn streams_take_turns() {
    for at_once in [1, 64] {
        let mut fixture = Fixture::new(narrow(4096, at_once), 0);
        ["long", "short", "other"].iter().for_each(|stream| fixture.fill(stream, 50));
        fixture.tell(Event::WorkerSeen {
            id: "w".into(),
            pool: "default".into(),
            concurrency: Some(1),
            beats: false,
        });
        let mut turns = Vec::new();
        for _ in 0..30 {
            let dispatch = fixture.wait_for_dispatch();
            turns.push(dispatch.stream_name.to_string());
            fixture.answer(dispatch.attempt, 200);
        }
        for round in turns.chunks(3) {
            let streams: BTreeSet<_> = round.iter().collect();
            assert_eq!(streams.len(), 3, "each has its turn: {round:?}");
        }
    }
}

#[test]
fn a_stuck_stream_delays_no_other() {
    let mut fixture = Fixture::new(narrow(10, 10), 2);
    fixture.fill("stuck", 20);
    fixture.dispatches.clear();
    fixture.fill("well", 1);
    let dispatch = fixture.wait_for_dispatch();
    assert_eq!(dispatch.stream_name.as_str(), "well");
}

#[test]
fn a_paused_stream_stands_and_takes_in() {
    let mut fixture = Fixture::new(StreamSettings::default(), 2);
    fixture.fill("a", 1);
    let first = fixture.wait_for_dispatch();
    fixture.pause("a");
    fixture.fill("a", 1);
    fixture.answer(first.attempt, 200);
    fixture.wait(secs(1_000));
    assert!(fixture.dispatches.is_empty() && fixture.released.is_empty());
    fixture.resume("a");
    assert_eq!((fixture.dispatches.len(), fixture.order()), (1, vec![1]));
}

#[test]
fn a_stream_without_workers_passes() {
    let settings = StreamSettings { pool: None, ..StreamSettings::default() };
    let mut fixture = Fixture::new(settings, 0);
    fixture.fill("a", 3);
    assert_eq!(fixture.order(), [1, 2, 3]);
}

#[test]
fn a_parked_message_that_what_passes_leaves_at_the_head_is_skipped_where_the_stream_says_so() {
    let ladder = Ladder { max_attempts: 2, multiplier_permille: 1_000, ..Ladder::default() };
    let settings = StreamSettings {
        ladder,
        on_exhausted: OnExhausted::Skip,
        hedge: Hedging::Off,
        ..StreamSettings::default()
    };
    let mut fixture = Fixture::new(settings.clone(), 2);
    fixture.fill("a", 2);
    // The second one is used up while the first one waits for its next try.
    let first = fixture.wait_for_dispatch();
    for _ in 0..2 {
        let second = fixture.wait_for_dispatch();
        assert_eq!(second.sequence.0, 2);
        if second.number == 2 {
            fixture.answer(first.attempt, 500);
        }
        fixture.answer(second.attempt, 500);
    }
    assert!(fixture.order().is_empty());
    let default_stream = Arc::new(StreamSettings { pool: None, ..settings });
    fixture.tell(Event::Settings(Arc::new(Settings { default_stream, ..Settings::default() })));
    fixture.wait(secs(5));
    assert_eq!(fixture.order(), [1, 2]);
    assert!(fixture.released[1].skipped && !fixture.released[0].skipped);
}

#[test]
fn a_batch_is_taken_in_whole_or_not_at_all() {
    let settings = StreamSettings { max_backlog: 3, ..StreamSettings::default() };
    let mut fixture = Fixture::new(settings, 0);
    fixture.fill("a", 2);
    let records = fixture.records.len();
    let refused = fixture.send("a", &[("", 0), ("", 0)]);
    assert_eq!(refused, Reply::Backlogged { limit: 3, waiting: 2 });
    // What is larger than the bound itself is not told to come again, and makes no stream.
    for stream in ["a", "new"] {
        assert_eq!(fixture.send(stream, &[("", 0); 4]), Reply::NeverFits { limit: 3 });
    }
    assert_eq!(fixture.records.len(), records);
    fixture.fill("a", 1);
}

#[test]
fn a_key_stands_for_one_message() {
    let mut fixture = Fixture::new(StreamSettings::default(), 0);
    let Reply::Accepted { taken } = fixture.send("a", &[("k", 1), ("l", 1), ("k", 1)]) else {
        panic!("it is taken in");
    };
    let places: Vec<_> = taken.iter().map(|taken| (taken.sequence.0, taken.duplicate)).collect();
    assert_eq!(places, [(1, false), (2, false), (1, true)]);
    fixture.restart();
    let records = fixture.records.len();
    let Reply::Accepted { taken: again } = fixture.send("a", &[("l", 1)]) else {
        panic!("it is taken in");
    };
    assert_eq!((again[0].sequence, again[0].id), (taken[1].sequence, taken[1].id));
    assert!(matches!(fixture.send("a", &[("new", 0), ("k", 2)]), Reply::Conflict { index: 1, .. }));
    assert_eq!(fixture.records.len(), records);
    // Another stream has keys of its own.
    assert!(matches!(fixture.send("b", &[("k", 2)]), Reply::Accepted { .. }));
}

#[test]
fn the_door_closes_when_space_is_low() {
    let mut fixture = Fixture::new(StreamSettings::default(), 0);
    fixture.send("a", &[("k", 1)]);
    fixture.tell(Event::Space { low: true });
    assert_eq!(fixture.send("a", &[("", 1)]), Reply::Full);
    assert!(matches!(fixture.send("a", &[("k", 1)]), Reply::Accepted { .. }));
    fixture.tell(Event::Space { low: false });
    fixture.fill("a", 1);
}

#[test]
fn streams_are_not_made_where_they_may_not_be() {
    let settings = Settings { create_streams: false, ..Settings::default() };
    let mut fixture = Fixture::with(settings, 0);
    assert_eq!(fixture.send("a", &[("", 1)]), Reply::UnknownStream);
}

#[test]
fn a_window_made_smaller_still_reads_what_it_needs() {
    let mut fixture = Fixture::new(narrow(10, 10), 2);
    fixture.fill("a", 8);
    let last = fixture.dispatches.pop().unwrap();
    for _ in 0..2 {
        fixture.answer(last.attempt, 422);
    }
    fixture.wait(secs(5));
    let default_stream = narrow(1, 10).into();
    let settings = Settings { default_stream, ..Settings::default() };
    fixture.tell(Event::Settings(settings.into()));
    fixture.wait(secs(100));
    assert!(fixture.fetches.iter().all(|(_, first, last)| first <= last));
    assert!(
        fixture.dispatcher.poll_effect().is_none_or(|effect| !matches!(effect, Effect::Append(_)))
    );
}
