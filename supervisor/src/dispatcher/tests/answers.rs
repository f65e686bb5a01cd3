//! Answers, failures and what comes of them.

use std::{sync::Arc, time::Duration};

use super::{
    super::{
        Event, Reply, WorkerReply,
        event::Decision,
        settings::{OnExhausted, StreamSettings},
    },
    fixture::{Fixture, parked, secs},
};
use crate::record::{Outcome, Reason, Record};

fn outcomes(fixture: &Fixture) -> Vec<Outcome> {
    let answers = fixture.records.iter().filter_map(|record| {
        if let Record::Answered { answer, .. } = record { Some(answer.outcome) } else { None }
    });
    answers.collect()
}

#[test]
fn the_ladder_doubles_and_ends() {
    let mut fixture = Fixture::new(StreamSettings::default(), 3);
    fixture.fill("a", 1);
    let mut due = fixture.now;
    for attempt in 1..=5_u32 {
        let dispatch = fixture.wait_for_dispatch();
        assert_eq!((dispatch.number, dispatch.max_attempts), (attempt, 5));
        assert_eq!(dispatch.timeout, secs(2) * 2_u32.pow(attempt - 1));
        let waited = fixture.now.since(due);
        let bound = if attempt == 1 { 1 } else { 2_u64.pow(attempt - 2) };
        assert!(waited < secs(bound), "attempt {attempt} waited {waited:?}");
        let (right, reason) =
            (dispatch.reason, if attempt == 1 { Reason::First } else { Reason::Retry });
        assert_eq!(right, reason);
        due = fixture.now + dispatch.timeout;
        fixture.wait(dispatch.timeout);
    }
    assert_eq!(parked(&fixture), 1);
    fixture.wait(secs(10_000));
    assert!(fixture.dispatches.is_empty());
}

#[test]
fn waits_are_drawn_from_all_of_what_they_may_be() {
    let mut fixture = Fixture::without_outages(StreamSettings::default(), 3);
    fixture.fill("a", 100);
    for dispatch in std::mem::take(&mut fixture.dispatches) {
        fixture.answer(dispatch.attempt, 500);
    }
    let waits = fixture.records.iter().filter_map(|record| {
        if let Record::Failed { due, .. } = record { Some(due.since(fixture.now)) } else { None }
    });
    let waits: Vec<Duration> = waits.collect();
    assert_eq!(waits.len(), 100);
    assert!(waits.iter().any(|wait| *wait < secs(1) / 10));
    assert!(waits.iter().any(|wait| *wait > secs(1) * 9 / 10));
}

#[test]
fn another_worker_has_the_next_try() {
    let mut fixture = Fixture::new(StreamSettings::default(), 3);
    fixture.fill("a", 1);
    let mut tried = Vec::new();
    for _ in 0..3 {
        let dispatch = fixture.wait_for_dispatch();
        assert!(!tried.contains(&dispatch.worker));
        tried.push(dispatch.worker);
        fixture.answer(dispatch.attempt, 500);
    }
    // All have been tried: any may be chosen again.
    assert_eq!(fixture.wait_for_dispatch().number, 4);
}

#[test]
fn attempt_counts_and_due_times_survive_a_restart() {
    let mut fixture = Fixture::new(StreamSettings::default(), 2);
    fixture.fill("a", 1);
    let first = fixture.wait_for_dispatch();
    fixture.answer(first.attempt, 500);
    let Some(Record::Failed { due, .. }) = fixture.records.last().cloned() else {
        panic!("the failure is written down");
    };
    fixture.restart();
    ["w0", "w1"].iter().for_each(|id| fixture.join(id));
    assert!(fixture.dispatches.is_empty() || due <= fixture.now);
    while fixture.dispatches.is_empty() && fixture.fetches.is_empty() {
        let at = fixture.dispatcher.poll_timeout().unwrap();
        fixture.wait(at.since(fixture.now));
    }
    assert_eq!(fixture.now, due);
}

#[test]
fn the_first_answer_is_the_answer() {
    let mut fixture = Fixture::new(StreamSettings::default(), 2);
    fixture.fill("a", 1);
    let first = fixture.wait_for_dispatch();
    let second = fixture.wait_for_dispatch();
    fixture.answer_with(second.attempt, 200, "second");
    fixture.answer_with(first.attempt, 200, "first");
    fixture.answer_with(first.attempt, 200, "first, again");
    assert_eq!(fixture.order(), [1]);
    assert_eq!(outcomes(&fixture), [Outcome::Completed]);
    assert_eq!(fixture.dispatcher.counters().diverging_answers, 1);
}

#[test]
fn a_late_answer_counts_while_there_is_none() {
    let mut fixture = Fixture::new(StreamSettings::default(), 2);
    fixture.fill("a", 1);
    let first = fixture.wait_for_dispatch();
    let _second = fixture.wait_for_dispatch();
    fixture.answer(first.attempt, 200);
    assert_eq!(fixture.order(), [1]);
}

fn parks_at_once() -> StreamSettings {
    let mut settings = StreamSettings::default();
    settings.ladder.max_attempts = 1;
    settings
}

#[test]
fn a_late_answer_resolves_the_parking() {
    let mut fixture = Fixture::new(parks_at_once(), 2);
    fixture.fill("a", 1);
    let first = fixture.wait_for_dispatch();
    fixture.wait(first.timeout);
    assert_eq!(parked(&fixture), 1);
    fixture.answer(first.attempt, 200);
    assert_eq!((parked(&fixture), fixture.order()), (0, vec![1]));
}

#[test]
fn a_late_answer_counts_while_the_message_is_read_back() {
    let mut fixture = Fixture::new(parks_at_once(), 2);
    fixture.fill("a", 1);
    let first = fixture.wait_for_dispatch();
    fixture.wait(first.timeout);
    assert_eq!(fixture.decide("a", 1, Decision::Retry { reason: "".into() }), Reply::Done);
    assert_eq!(fixture.fetches.len(), 1);
    fixture.answer(first.attempt, 200);
    assert_eq!(fixture.order(), [1]);
}

#[test]
fn an_old_timer_ends_no_new_wait() {
    let mut settings = StreamSettings::default();
    (settings.ladder.max_attempts, settings.ladder.jitter) = (2, secs(1_000));
    let mut fixture = Fixture::new(settings, 1);
    fixture.fill("a", 1);
    for _ in 0..20 {
        for number in 1..=2 {
            let dispatch = fixture.wait_for_dispatch();
            assert_eq!(dispatch.number, number);
            let due = fixture.records.iter().rev().find_map(|record| {
                if let Record::Failed { due, .. } = record { Some(*due) } else { None }
            });
            assert!(number == 1 || due == Some(fixture.now), "it goes out when it is due");
            fixture.answer(dispatch.attempt, 500);
        }
        assert_eq!(fixture.decide("a", 1, Decision::Retry { reason: "".into() }), Reply::Done);
        fixture.fetch_all();
    }
}

#[test]
fn two_workers_refuse_for_good() {
    let mut fixture = Fixture::new(StreamSettings::default(), 3);
    fixture.fill("a", 1);
    for refusals in 1..=2 {
        assert_eq!(parked(&fixture), 0);
        let dispatch = fixture.wait_for_dispatch();
        assert_eq!(dispatch.number, refusals);
        fixture.answer(dispatch.attempt, 422);
    }
    assert_eq!(parked(&fixture), 1);
}

#[test]
fn one_worker_alone_refuses_for_good() {
    let mut fixture = Fixture::new(StreamSettings::default(), 1);
    fixture.fill("a", 1);
    let dispatch = fixture.wait_for_dispatch();
    fixture.answer(dispatch.attempt, 400);
    assert_eq!(parked(&fixture), 1);
}

#[test]
fn a_worker_that_has_left_is_not_its_pools_only_word() {
    let mut fixture = Fixture::new(StreamSettings::default(), 3);
    fixture.fill("a", 1);
    let first = fixture.wait_for_dispatch();
    fixture.tell(Event::WorkerLeft { id: Arc::clone(&first.worker) });
    fixture.answer(first.attempt, 422);
    assert_eq!(parked(&fixture), 0);
    let second = fixture.wait_for_dispatch();
    fixture.answer(second.attempt, 422);
    assert_eq!(parked(&fixture), 1);
}

#[test]
fn what_does_not_count_goes_on_at_once_and_then_slowly() {
    for status in [401, 404, 429, 503] {
        let mut fixture = Fixture::new(StreamSettings::default(), 3);
        fixture.fill("a", 1);
        let begun = fixture.now;
        for _ in 0..3 {
            let dispatch = fixture.wait_for_dispatch();
            assert_eq!((dispatch.number, fixture.now), (1, begun));
            fixture.answer(dispatch.attempt, status);
        }
        // All have turned it away: no hot circle.
        for _ in 0..20 {
            let before = fixture.now;
            let dispatch = fixture.wait_for_dispatch();
            assert_eq!(dispatch.number, 1);
            assert!(fixture.now.since(before) >= Duration::from_millis(40), "{status}");
            fixture.answer(dispatch.attempt, status);
        }
        assert_eq!(parked(&fixture), 0);
    }
}

#[test]
fn a_worker_that_is_not_there_costs_no_attempt() {
    let mut fixture = Fixture::new(StreamSettings::default(), 2);
    fixture.fill("a", 1);
    let (first, begun) = (fixture.wait_for_dispatch(), fixture.now);
    let reply = WorkerReply::Unreachable("".into());
    fixture.tell(Event::AttemptEnded { attempt: first.attempt, reply });
    let second = fixture.wait_for_dispatch();
    assert_eq!((second.number, fixture.now), (1, begun));
    assert_ne!(second.worker, first.worker);
}

#[test]
fn never_more_than_half_of_a_pool_is_taken_out() {
    let mut fixture = Fixture::without_outages(StreamSettings::default(), 4);
    fixture.fill("a", 300);
    for _ in 0..200 {
        let dispatch = fixture.wait_for_dispatch();
        fixture.answer(dispatch.attempt, 500);
        let now = fixture.now;
        let out = fixture.dispatcher.workers().filter(|(_, worker)| worker.ejected_until > now);
        assert!(out.count() <= 2);
    }
    assert!(fixture.dispatcher.counters().ejections >= 2);
}

#[test]
fn a_held_head_waits_and_a_decision_frees_what_is_behind() {
    for (decision, outcome, order) in [
        (Decision::Skip { reason: "".into() }, Some(Outcome::Skipped), vec![1, 2]),
        (
            Decision::Resolve { payload: Default::default(), reason: "".into() },
            Some(Outcome::Resolved),
            vec![1, 2],
        ),
        (Decision::Retry { reason: "".into() }, None, vec![]),
    ] {
        let mut fixture = Fixture::new(parks_at_once(), 2);
        fixture.fill("a", 2);
        let (first, second) = (fixture.wait_for_dispatch(), fixture.wait_for_dispatch());
        fixture.answer(second.attempt, 200);
        fixture.answer(first.attempt, 500);
        fixture.wait(secs(100_000));
        assert!(fixture.released.is_empty());
        let refused = if outcome.is_some() { Reply::HasResult } else { Reply::NotParked };
        assert_eq!(fixture.decide("a", 2, decision.clone()), refused);
        assert_eq!(fixture.decide("a", 1, decision), Reply::Done);
        assert_eq!(fixture.order(), order);
        assert_eq!(outcomes(&fixture).get(1).copied(), outcome);
    }
}

#[test]
fn an_exhausted_head_is_skipped_where_the_stream_says_so() {
    let settings = StreamSettings { on_exhausted: OnExhausted::Skip, window: 1, ..parks_at_once() };
    let mut fixture = Fixture::new(settings, 2);
    fixture.fill("a", 3);
    for _ in 0..3 {
        if fixture.dispatches.is_empty() {
            fixture.fetch_all();
        }
        let dispatch = fixture.wait_for_dispatch();
        fixture.answer(dispatch.attempt, 500);
    }
    assert_eq!(fixture.order(), [1, 2, 3]);
    assert!(fixture.released.iter().all(|released| released.skipped));
}
