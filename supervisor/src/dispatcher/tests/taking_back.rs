//! People decide on messages that have no result yet, parked or not.

use super::{
    super::{Event, MessageState, Reply, RequestId, event::Decision, settings::StreamSettings},
    fixture::{Fixture, name, secs},
};
use crate::record::{Ending, Outcome, Record};

fn skip() -> Decision {
    Decision::Skip { reason: "cancelled".into() }
}

fn resolve(body: &'static str) -> Decision {
    let payload = rollcall_common::message::Payload {
        content_type: "text/plain".into(),
        body: body.into(),
        ..Default::default()
    };
    Decision::Resolve { payload, reason: "".into() }
}

fn alone() -> StreamSettings {
    StreamSettings { max_in_flight: 1, ..StreamSettings::default() }
}

/// The results in the order of their records: sequence, outcome, and how the attempts ended.
fn results(fixture: &Fixture) -> Vec<(u64, Outcome, Vec<Ending>)> {
    let answers = fixture.records.iter().filter_map(|record| {
        let Record::Answered { sequence, answer, .. } = record else { return None };
        let endings = answer.history.iter().map(|report| report.ending).collect();
        Some((sequence.0, answer.outcome, endings))
    });
    answers.collect()
}

#[test]
fn a_waiting_message_is_taken_back_and_keeps_its_place() {
    let mut fixture = Fixture::new(alone(), 2);
    fixture.fill("a", 4);
    let first = fixture.wait_for_dispatch();
    assert_eq!(fixture.decide("a", 2, skip()), Reply::Done);
    assert_eq!(fixture.decide("a", 3, resolve("by hand")), Reply::Done);
    assert_eq!(fixture.decide("a", 2, skip()), Reply::HasResult, "it has one by now");
    assert_eq!(fixture.decide("a", 4, Decision::Retry { reason: "".into() }), Reply::NotParked);
    assert_eq!(fixture.decide("a", 5, skip()), Reply::UnknownMessage);
    assert!(fixture.order().is_empty());
    fixture.answer(first.attempt, 200);
    assert_eq!(fixture.order(), [1, 2, 3]);
    let fourth = fixture.wait_for_dispatch();
    assert_eq!(fourth.sequence.0, 4, "nobody works on what was taken back");
    fixture.answer(fourth.attempt, 200);
    assert_eq!(fixture.order(), [1, 2, 3, 4]);
    assert_eq!(fixture.decide("a", 1, skip()), Reply::HasResult, "it is released");
    fixture.dispatcher.verify(fixture.now).unwrap();
}

#[test]
fn a_message_that_is_worked_on_is_taken_back_and_its_attempt_given_up() {
    let mut fixture = Fixture::new(StreamSettings::default(), 2);
    fixture.fill("a", 2);
    let (first, second) = (fixture.wait_for_dispatch(), fixture.wait_for_dispatch());
    assert_eq!(fixture.decide("a", 1, skip()), Reply::Done);
    assert_eq!(fixture.given_up, [first.attempt]);
    assert_eq!(results(&fixture), [(1, Outcome::Skipped, vec![Ending::Cancelled])]);
    fixture.dispatcher.verify(fixture.now).unwrap();
    // What it says all the same is dropped, and differs from nothing.
    fixture.answer_with(first.attempt, 200, "too late");
    assert_eq!(fixture.dispatcher.counters().diverging_answers, 0);
    fixture.answer(second.attempt, 200);
    assert_eq!((fixture.order(), results(&fixture).len()), (vec![1, 2], 2));
}

#[test]
fn a_message_between_two_attempts_is_taken_back() {
    let mut fixture = Fixture::new(StreamSettings::default(), 2);
    fixture.fill("a", 1);
    let first = fixture.wait_for_dispatch();
    fixture.answer(first.attempt, 500);
    assert_eq!(fixture.decide("a", 1, resolve("by hand")), Reply::Done);
    assert_eq!(results(&fixture), [(1, Outcome::Resolved, vec![Ending::Error])]);
    fixture.wait(secs(100));
    assert!(fixture.dispatches.is_empty(), "its next attempt is off");
    assert_eq!(fixture.order(), [1]);
}

#[test]
fn a_late_attempt_of_a_parked_message_is_given_up_with_it() {
    let mut settings = alone();
    settings.ladder.max_attempts = 1;
    let mut fixture = Fixture::new(settings, 2);
    fixture.fill("a", 1);
    let first = fixture.wait_for_dispatch();
    fixture.wait(secs(3));
    assert_eq!(super::fixture::parked(&fixture), 1);
    assert_eq!(fixture.decide("a", 1, skip()), Reply::Done);
    assert_eq!(fixture.given_up, [first.attempt]);
    fixture.answer(first.attempt, 200);
    assert_eq!(results(&fixture), [(1, Outcome::Skipped, vec![Ending::Timeout])]);
}

#[test]
fn what_is_taken_back_of_a_paused_stream_is_released_with_it() {
    let mut fixture = Fixture::new(alone(), 1);
    fixture.fill("a", 1);
    let first = fixture.wait_for_dispatch();
    fixture.pause("a");
    assert_eq!(fixture.decide("a", 1, skip()), Reply::Done);
    assert!(fixture.order().is_empty());
    assert_eq!(fixture.given_up, [first.attempt]);
    fixture.resume("a");
    assert_eq!(fixture.order(), [1]);
}

#[test]
fn one_deep_in_a_backlog_needs_no_slots_before_it() {
    let settings = StreamSettings { window: 1, max_backlog: 1_000_000, ..alone() };
    let mut fixture = Fixture::new(settings, 1);
    fixture.fill("a", 2_000);
    for sequence in [1_500, 2_000, 1_501] {
        assert_eq!(fixture.decide("a", sequence, skip()), Reply::Done);
        assert_eq!(fixture.decide("a", sequence, resolve("")), Reply::HasResult);
    }
    let sizes = fixture.dispatcher.verify(fixture.now).unwrap();
    assert!(sizes.streams[0].0 < 100, "{} slots", sizes.streams[0].0);
    let stream = fixture.dispatcher.state().find_stream("a").unwrap();
    let state = |fixture: &Fixture, sequence| {
        let state =
            fixture.dispatcher.message_state(stream, rollcall_common::ids::Sequence(sequence));
        state.map(|(state, _)| state)
    };
    assert!(matches!(state(&fixture, 1_500), Some(MessageState::Completed)));
    assert!(matches!(state(&fixture, 1_502), Some(MessageState::Accepted)));
    // It is there after a restart, from a snapshot too.
    let begin = fixture.records.len();
    fixture.dispatcher.handle(Event::Snapshot { request: RequestId(9) }, fixture.now);
    while fixture.dispatcher.is_exporting() {
        fixture.dispatcher.export();
    }
    fixture.listen();
    let whole = super::snapshot::folded(&fixture, 0);
    assert_eq!(whole.facts(), super::snapshot::folded(&fixture, begin).facts());
    fixture.restart();
    fixture.join("again");
    assert!(matches!(state(&fixture, 2_000), Some(MessageState::Completed)));
    while fixture.order().len() < 2_000 {
        if fixture.dispatches.is_empty() {
            fixture.fetch_all();
        }
        let dispatch = fixture.wait_for_dispatch();
        assert!(![1_500, 1_501, 2_000].contains(&dispatch.sequence.0), "nobody works on it");
        fixture.answer(dispatch.attempt, 200);
    }
    let skipped = fixture.released.iter().filter(|one| one.skipped).map(|one| one.sequence.0);
    assert_eq!(skipped.collect::<Vec<_>>(), [1_500, 1_501, 2_000]);
    fixture.dispatcher.verify(fixture.now).unwrap();
}

#[test]
fn one_of_a_stream_without_workers_does_not_pass() {
    let mut fixture = Fixture::new(StreamSettings { pool: None, ..StreamSettings::default() }, 0);
    fixture.fill("a", 1);
    fixture.pause("a");
    fixture.fill("a", 3);
    // The next one, and one that has no slot yet.
    assert_eq!(fixture.decide("a", 2, resolve("another")), Reply::Done);
    assert_eq!(fixture.decide("a", 4, resolve("another")), Reply::Done);
    fixture.resume("a");
    assert_eq!(fixture.order(), [1, 2, 3, 4]);
    let resolved = |sequence| (sequence, Outcome::Resolved, vec![]);
    assert_eq!(results(&fixture), [resolved(2), resolved(4)]);
    assert_eq!(fixture.dispatcher.state().find_stream(name("a").as_str()).map(|id| id.0), Some(0));
}
