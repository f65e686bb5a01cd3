//! Streams: their windows, their turns, their doors.

use std::{collections::BTreeSet, sync::Arc};

use rollcall_common::backoff::Ladder;

use super::{
    super::{
        Effect, Event, Reply, Settings,
        settings::{Hedging, OnExhausted, StreamSettings},
    },
    desk::{Desk, secs},
};

fn narrow(window: u32, max_in_flight: u32) -> StreamSettings {
    StreamSettings { window, max_in_flight, ..StreamSettings::default() }
}

#[test]
fn results_leave_in_order() {
    let mut desk = Desk::new(StreamSettings::default(), 2);
    desk.fill("a", 4);
    let attempts: Vec<_> = desk.dispatches.drain(..).map(|dispatch| dispatch.attempt).collect();
    for (index, released) in [(2, vec![]), (1, vec![]), (3, vec![]), (0, vec![1, 2, 3, 4])] {
        desk.answer(attempts[index], 200);
        assert_eq!(desk.order(), released);
    }
    let positions: Vec<u64> = desk.released.iter().map(|released| released.position.0).collect();
    assert_eq!(positions, [1, 2, 3, 4]);
}

#[test]
fn a_full_window_lets_in_the_message_that_empties_it() {
    let mut desk = Desk::new(narrow(3, 8), 2);
    desk.fill("a", 6);
    let first = desk.wait_for_dispatch();
    for _ in 0..2 {
        let other = desk.wait_for_dispatch();
        desk.answer(other.attempt, 200);
    }
    assert!(desk.dispatches.is_empty(), "the window is full");
    desk.answer(first.attempt, 500);
    let again = desk.wait_for_dispatch();
    assert_eq!(again.sequence, first.sequence);
    desk.answer(again.attempt, 200);
    assert_eq!(desk.order(), [1, 2, 3]);
    desk.fetch_all();
    assert_eq!(desk.dispatches.len(), 3);
}

#[test]
fn a_timeout_makes_room_for_the_next() {
    let mut settings = narrow(10, 1);
    settings.ladder.max_attempts = 1;
    let mut desk = Desk::new(settings, 2);
    desk.fill("a", 2);
    let first = desk.wait_for_dispatch();
    assert!(desk.dispatches.is_empty());
    desk.wait(first.timeout);
    assert_eq!(desk.dispatches.len(), 1, "the first no longer counts");
}

#[test]
fn streams_take_turns() {
    for at_once in [1, 64] {
        let mut desk = Desk::new(narrow(4096, at_once), 0);
        ["long", "short", "other"].iter().for_each(|stream| desk.fill(stream, 50));
        desk.tell(Event::WorkerSeen {
            id: "w".into(),
            pool: "default".into(),
            concurrency: Some(1),
            beats: false,
        });
        let mut turns = Vec::new();
        for _ in 0..30 {
            let dispatch = desk.wait_for_dispatch();
            turns.push(dispatch.stream_name.to_string());
            desk.answer(dispatch.attempt, 200);
        }
        for round in turns.chunks(3) {
            let streams: BTreeSet<_> = round.iter().collect();
            assert_eq!(streams.len(), 3, "each has its turn: {round:?}");
        }
    }
}

#[test]
fn a_stuck_stream_delays_no_other() {
    let mut desk = Desk::new(narrow(10, 10), 2);
    desk.fill("stuck", 20);
    desk.dispatches.clear();
    desk.fill("well", 1);
    let dispatch = desk.wait_for_dispatch();
    assert_eq!(dispatch.stream_name.as_str(), "well");
}

#[test]
fn a_paused_stream_stands_and_takes_in() {
    let mut desk = Desk::new(StreamSettings::default(), 2);
    desk.fill("a", 1);
    let first = desk.wait_for_dispatch();
    desk.pause("a");
    desk.fill("a", 1);
    desk.answer(first.attempt, 200);
    desk.wait(secs(1_000));
    assert!(desk.dispatches.is_empty() && desk.released.is_empty());
    desk.resume("a");
    assert_eq!((desk.dispatches.len(), desk.order()), (1, vec![1]));
}

#[test]
fn a_stream_without_workers_passes() {
    let settings = StreamSettings { pool: None, ..StreamSettings::default() };
    let mut desk = Desk::new(settings, 0);
    desk.fill("a", 3);
    assert_eq!(desk.order(), [1, 2, 3]);
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
    let mut desk = Desk::new(settings.clone(), 2);
    desk.fill("a", 2);
    // The second one is used up while the first one waits for its next try.
    let first = desk.wait_for_dispatch();
    for _ in 0..2 {
        let second = desk.wait_for_dispatch();
        assert_eq!(second.sequence.0, 2);
        if second.number == 2 {
            desk.answer(first.attempt, 500);
        }
        desk.answer(second.attempt, 500);
    }
    assert!(desk.order().is_empty());
    let default_stream = Arc::new(StreamSettings { pool: None, ..settings });
    desk.tell(Event::Settings(Arc::new(Settings { default_stream, ..Settings::default() })));
    desk.wait(secs(5));
    assert_eq!(desk.order(), [1, 2]);
    assert!(desk.released[1].skipped && !desk.released[0].skipped);
}

#[test]
fn a_batch_is_taken_in_whole_or_not_at_all() {
    let settings = StreamSettings { max_backlog: 3, ..StreamSettings::default() };
    let mut desk = Desk::new(settings, 0);
    desk.fill("a", 2);
    let records = desk.records.len();
    let refused = desk.send("a", &[("", 0), ("", 0)]);
    assert_eq!(refused, Reply::Backlogged { limit: 3, waiting: 2 });
    // What is larger than the bound itself is not told to come again, and makes no stream.
    for stream in ["a", "new"] {
        assert_eq!(desk.send(stream, &[("", 0); 4]), Reply::NeverFits { limit: 3 });
    }
    assert_eq!(desk.records.len(), records);
    desk.fill("a", 1);
}

#[test]
fn a_key_stands_for_one_message() {
    let mut desk = Desk::new(StreamSettings::default(), 0);
    let Reply::Accepted { taken } = desk.send("a", &[("k", 1), ("l", 1), ("k", 1)]) else {
        panic!("it is taken in");
    };
    let places: Vec<_> = taken.iter().map(|taken| (taken.sequence.0, taken.duplicate)).collect();
    assert_eq!(places, [(1, false), (2, false), (1, true)]);
    desk.restart();
    let records = desk.records.len();
    let Reply::Accepted { taken: again } = desk.send("a", &[("l", 1)]) else {
        panic!("it is taken in");
    };
    assert_eq!((again[0].sequence, again[0].id), (taken[1].sequence, taken[1].id));
    assert!(matches!(desk.send("a", &[("new", 0), ("k", 2)]), Reply::Conflict { index: 1, .. }));
    assert_eq!(desk.records.len(), records);
    // Another stream has keys of its own.
    assert!(matches!(desk.send("b", &[("k", 2)]), Reply::Accepted { .. }));
}

#[test]
fn the_door_closes_when_space_is_low() {
    let mut desk = Desk::new(StreamSettings::default(), 0);
    desk.send("a", &[("k", 1)]);
    desk.tell(Event::Space { low: true });
    assert_eq!(desk.send("a", &[("", 1)]), Reply::Full);
    assert!(matches!(desk.send("a", &[("k", 1)]), Reply::Accepted { .. }));
    desk.tell(Event::Space { low: false });
    desk.fill("a", 1);
}

#[test]
fn streams_are_not_made_where_they_may_not_be() {
    let settings = Settings { create_streams: false, ..Settings::default() };
    let mut desk = Desk::with(settings, 0);
    assert_eq!(desk.send("a", &[("", 1)]), Reply::UnknownStream);
}

#[test]
fn a_window_made_smaller_still_reads_what_it_needs() {
    let mut desk = Desk::new(narrow(10, 10), 2);
    desk.fill("a", 8);
    let last = desk.dispatches.pop().unwrap();
    for _ in 0..2 {
        desk.answer(last.attempt, 422);
    }
    desk.wait(secs(5));
    let default_stream = narrow(1, 10).into();
    let settings = Settings { default_stream, ..Settings::default() };
    desk.tell(Event::Settings(settings.into()));
    desk.wait(secs(100));
    assert!(desk.fetches.iter().all(|(_, first, last)| first <= last));
    assert!(
        desk.dispatcher.poll_effect().is_none_or(|effect| !matches!(effect, Effect::Append(_)))
    );
}
