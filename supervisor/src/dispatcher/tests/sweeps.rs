//! New settings, and what is shown of a pool, reach a multitude of streams a part at a time.

use std::sync::Arc;

use super::fixture::Fixture;
use crate::dispatcher::{
    Event, Settings,
    settings::{Bounds, StreamSettings},
};

/// Streams that one call looks at.
const PART: usize = 10;
const STREAMS: usize = 95;

fn settings(pool: Option<&str>) -> Settings {
    let default_stream =
        Arc::new(StreamSettings { pool: pool.map(Into::into), ..StreamSettings::default() });
    let bounds = Bounds { sweep: PART, ..Bounds::default() };
    Settings { default_stream, bounds, ..Settings::default() }
}

fn reload(fixture: &mut Fixture, pool: Option<&str>) {
    fixture.settings = Arc::new(settings(pool));
    fixture.tell(Event::Settings(Arc::clone(&fixture.settings)));
}

/// How many streams have the newest settings.
fn adopted(fixture: &Fixture) -> usize {
    let state = fixture.dispatcher.state();
    state.stream_ids().filter(|stream| fixture.dispatcher.has_adopted(*stream)).count()
}

/// One more call; whether it is over.
fn call(fixture: &mut Fixture) -> bool {
    fixture.dispatcher.handle_timeout(fixture.now);
    fixture.listen();
    fixture.dispatcher.poll_timeout().is_none_or(|at| at > fixture.now)
}

fn with_streams() -> Fixture {
    let mut fixture = Fixture::with(settings(Some("nobody")), 1);
    (0..STREAMS).for_each(|number| fixture.fill(&format!("s{number}"), 1));
    fixture
}

#[test]
fn new_settings_reach_all_streams_a_part_at_a_time() {
    let mut fixture = with_streams();
    assert_eq!(adopted(&fixture), STREAMS);
    reload(&mut fixture, Some("default"));
    assert_eq!(adopted(&fixture), PART);
    let mut calls = 1;
    while !call(&mut fixture) {
        calls += 1;
        assert!(adopted(&fixture) <= calls * PART);
    }
    assert_eq!(adopted(&fixture), STREAMS);
    // They stood in line for a pool without workers, and go out in that order.
    let order: Vec<u32> = fixture.dispatches.iter().map(|dispatch| dispatch.stream.0).collect();
    assert!(!order.is_empty() && order.is_sorted(), "{order:?}");
}

#[test]
fn a_stream_for_which_something_happens_has_them_at_once() {
    let mut fixture = with_streams();
    reload(&mut fixture, None);
    let last = format!("s{}", STREAMS - 1);
    fixture.fill(&last, 1);
    let passed: Vec<_> = fixture.released.iter().map(|one| one.sequence.0).collect();
    let stream = fixture.dispatcher.state().find_stream(&last).unwrap();
    assert!(fixture.dispatcher.has_adopted(stream));
    while !call(&mut fixture) {}
    assert_eq!(fixture.released.len(), STREAMS + 1, "{passed:?} at first");
}

#[test]
fn settings_that_come_meanwhile_win() {
    let mut fixture = with_streams();
    reload(&mut fixture, Some("default"));
    call(&mut fixture);
    reload(&mut fixture, None);
    assert!(adopted(&fixture) <= 2 * PART);
    while !call(&mut fixture) {}
    assert_eq!(adopted(&fixture), STREAMS);
    // What was with a worker by then is answered; everything else has passed.
    for dispatch in std::mem::take(&mut fixture.dispatches) {
        fixture.answer(dispatch.attempt, 200);
    }
    assert_eq!(fixture.released.len(), STREAMS);
}
