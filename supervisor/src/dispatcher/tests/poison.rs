//! Messages of which workers die.

use std::sync::Arc;

use super::{
    super::{
        Dispatch, Event, MessageState, WorkerReply,
        event::{Decision, Presence},
        settings::StreamSettings,
    },
    fixture::{Fixture, ms, parked, secs},
};
use crate::record::{ParkCause, Record};

fn quick() -> StreamSettings {
    let mut settings = StreamSettings::default();
    (settings.ladder.jitter, settings.ladder.max_attempts) = (ms(10), 20);
    settings
}

fn breaks(fixture: &mut Fixture, dispatch: &Dispatch) {
    let reply = WorkerReply::Broken("reset".into());
    fixture.tell(Event::AttemptEnded { attempt: dispatch.attempt, reply });
}

fn found(fixture: &mut Fixture, worker: &Arc<str>, presence: Presence) {
    fixture.tell(Event::Probed { worker: Arc::clone(worker), presence });
}

fn suspected(fixture: &Fixture) -> Vec<(u64, String)> {
    let all = fixture.records.iter().filter_map(|record| {
        if let Record::WorkerDied { sequence, worker, .. } = record {
            Some((sequence.0, worker.to_string()))
        } else {
            None
        }
    });
    all.collect()
}

fn cause(fixture: &Fixture) -> (ParkCause, String) {
    let (_, _, parking, _) = fixture.dispatcher.parked().next().unwrap();
    (parking.cause, parking.reason.to_string())
}

/// What goes out within a second, by sequence.
fn next(fixture: &mut Fixture) -> Vec<Dispatch> {
    fixture.wait(secs(1));
    let mut out = std::mem::take(&mut fixture.dispatches);
    out.sort_by_key(|dispatch| dispatch.sequence);
    out
}

/// Lets a worker die with all that it has.
fn die(fixture: &mut Fixture, worker: &Arc<str>, out: &[Dispatch]) {
    for dispatch in out.iter().filter(|dispatch| dispatch.worker == *worker) {
        breaks(fixture, dispatch);
    }
    found(fixture, worker, Presence::Absent);
}

#[test]
fn after_two_dead_workers_a_message_is_parked_and_not_sent_to_a_third() {
    let mut fixture = Fixture::new(quick(), 3);
    fixture.fill("a", 1);
    let mut dead = Vec::new();
    for deaths in 1..=2 {
        let dispatch = fixture.wait_for_dispatch();
        breaks(&mut fixture, &dispatch);
        assert_eq!(fixture.probes.pop().as_ref(), Some(&dispatch.worker));
        fixture.wait(ms(100));
        assert!(fixture.dispatches.is_empty(), "it waits for the look at its worker");
        found(&mut fixture, &dispatch.worker, Presence::Absent);
        assert_eq!(suspected(&fixture).len(), deaths);
        dead.push(dispatch.worker);
    }
    assert_eq!(parked(&fixture), 1);
    let reason =
        format!("suspected poison: workers {} and {} died during its attempts", dead[0], dead[1]);
    assert_eq!(cause(&fixture), (ParkCause::Poison, reason));
    fixture.wait(secs(1_000));
    assert!(fixture.dispatches.is_empty());
    assert_eq!(fixture.dispatcher.counters().poison_suspected, 1);
}

#[test]
fn a_broken_connection_to_a_living_worker_is_no_death() {
    let mut fixture = Fixture::new(quick(), 2);
    fixture.fill("a", 1);
    for _ in 0..10 {
        let dispatch = fixture.wait_for_dispatch();
        breaks(&mut fixture, &dispatch);
        found(&mut fixture, &dispatch.worker, Presence::Present);
    }
    assert_eq!((suspected(&fixture).len(), parked(&fixture)), (0, 0));
}

#[test]
fn one_look_serves_all_that_broke() {
    let mut fixture = Fixture::without_outages(quick(), 1);
    fixture.fill("a", 20);
    for dispatch in std::mem::take(&mut fixture.dispatches) {
        breaks(&mut fixture, &dispatch);
    }
    assert_eq!(fixture.probes.len(), 1);
    // Nobody ever says what came of it: they go on all the same.
    fixture.wait(secs(10));
    assert!(fixture.dispatches.len() >= 20);
}

#[test]
fn an_idle_connection_that_was_closed_is_looked_after_too() {
    let mut fixture = Fixture::new(quick(), 3);
    fixture.fill("a", 1);
    for _ in 0..2 {
        let dispatch = fixture.wait_for_dispatch();
        fixture.tell(Event::AttemptEnded { attempt: dispatch.attempt, reply: WorkerReply::Stale });
        assert!(fixture.dispatches.is_empty(), "it waits for the look at its worker");
        found(&mut fixture, &dispatch.worker, Presence::Absent);
    }
    assert_eq!((parked(&fixture), fixture.dispatcher.counters().failures), (1, 0));
}

#[test]
fn who_is_not_reached_or_leaves_after_a_break_is_dead() {
    for leaves in [false, true] {
        let mut fixture = Fixture::new(quick(), 1);
        fixture.fill("a", 1);
        let dispatch = fixture.wait_for_dispatch();
        breaks(&mut fixture, &dispatch);
        if leaves {
            fixture.tell(Event::WorkerLeft { id: dispatch.worker });
        } else {
            fixture.fill("b", 1);
            let other = fixture.wait_for_dispatch();
            let reply = WorkerReply::Unreachable("refused".into());
            fixture.tell(Event::AttemptEnded { attempt: other.attempt, reply });
        }
        assert_eq!(suspected(&fixture), [(1, "w0".to_owned())]);
    }
}

#[test]
fn neighbours_of_a_poison_message_keep_their_lot() {
    let mut fixture = Fixture::new(quick(), 4);
    fixture.fill("a", 40);
    let out = std::mem::take(&mut fixture.dispatches);
    let poison = out[0].clone();
    die(&mut fixture, &poison.worker, &out);
    let neighbours = suspected(&fixture).len();
    assert!(neighbours > 2);
    for dispatch in out.iter().filter(|dispatch| dispatch.worker != poison.worker) {
        fixture.answer(dispatch.attempt, 200);
    }
    // Suspects go out one to a worker, until the first one's time is up.
    let mut done = false;
    for _ in 0..100 {
        let out = next(&mut fixture);
        for dispatch in &out {
            if dispatch.sequence == poison.sequence {
                let with = out.iter().filter(|other| other.worker == dispatch.worker).count();
                assert_eq!(with, 1, "it has its worker to itself");
                die(&mut fixture, &dispatch.worker.clone(), &out);
                done = true;
            } else {
                fixture.answer(dispatch.attempt, 200);
            }
        }
    }
    assert!(done && parked(&fixture) == 1);
    assert_eq!(fixture.dispatcher.counters().completed, 39);
    assert_eq!(cause(&fixture).0, ParkCause::Poison);
}

#[test]
fn two_that_were_at_both_deaths_are_kept_apart_until_one_is_found_out() {
    let mut fixture = Fixture::new(quick(), 1);
    fixture.fill("a", 2);
    // Both at the only worker; it dies, and so does the next one, to which they go together
    // because there is no other for longer than a first attempt may take.
    for worker in ["w0", "w1"] {
        fixture.join(worker);
        let mut out = std::mem::take(&mut fixture.dispatches);
        fixture.wait(if worker == "w0" { ms(0) } else { secs(3) });
        out.append(&mut fixture.dispatches);
        let last: Vec<_> = out.iter().filter(|one| &*one.worker == worker).cloned().collect();
        assert_eq!(last.len(), 2);
        for dispatch in &last {
            breaks(&mut fixture, dispatch);
        }
        found(&mut fixture, &worker.into(), Presence::Absent);
        fixture.tell(Event::WorkerLeft { id: worker.into() });
    }
    assert_eq!(suspected(&fixture).len(), 4);
    assert_eq!(parked(&fixture), 0, "it may be either");
    fixture.join("w2");
    let out = next(&mut fixture);
    assert_eq!(out.len(), 1, "one at a time");
    die(&mut fixture, &"w2".into(), &out);
    assert_eq!(parked(&fixture), 1);
    let (_, parked_sequence, ..) = fixture.dispatcher.parked().next().unwrap();
    assert_eq!(parked_sequence, out[0].sequence);
    fixture.join("w3");
    let other = next(&mut fixture);
    fixture.answer(other[0].attempt, 200);
    assert_eq!(fixture.dispatcher.counters().completed, 1);
}

#[test]
fn what_is_still_out_there_is_waited_for_before_one_is_picked() {
    let mut fixture = Fixture::new(quick(), 1);
    fixture.fill("a", 2);
    let out = std::mem::take(&mut fixture.dispatches);
    die(&mut fixture, &"w0".into(), &out);
    fixture.tell(Event::WorkerLeft { id: "w0".into() });
    fixture.join("w1");
    fixture.wait(secs(3));
    let out = std::mem::take(&mut fixture.dispatches);
    assert_eq!(out.iter().filter(|one| &*one.worker == "w1").count(), 2);
    breaks(&mut fixture, &out[0]);
    found(&mut fixture, &"w1".into(), Presence::Absent);
    assert_eq!(parked(&fixture), 0, "the other one may break too");
    breaks(&mut fixture, &out[1]);
    assert_eq!((suspected(&fixture).len(), parked(&fixture)), (4, 0));
}

#[test]
fn deaths_survive_a_restart_and_end_with_a_decision() {
    let mut fixture = Fixture::new(quick(), 3);
    fixture.fill("a", 1);
    let first = fixture.wait_for_dispatch();
    breaks(&mut fixture, &first);
    found(&mut fixture, &first.worker, Presence::Absent);
    fixture.restart();
    ["w0", "w1", "w2"].iter().for_each(|id| fixture.join(id));
    fixture.wait(secs(1));
    fixture.fetch_all();
    let second = fixture.dispatches.iter().find(|one| one.worker != first.worker).cloned();
    let second = second.unwrap_or_else(|| fixture.wait_for_dispatch());
    breaks(&mut fixture, &second);
    found(&mut fixture, &second.worker, Presence::Absent);
    assert_eq!(parked(&fixture), 1);
    fixture.decide("a", 1, Decision::Retry { reason: "".into() });
    fixture.dispatches.clear();
    fixture.fetch_all();
    let again = fixture.wait_for_dispatch();
    breaks(&mut fixture, &again);
    found(&mut fixture, &again.worker, Presence::Absent);
    assert_eq!(parked(&fixture), 0, "it begins anew");
    let stream = fixture.dispatcher.state().find_stream("a").unwrap();
    let state = fixture.dispatcher.message_state(stream, again.sequence);
    assert!(matches!(state, Some((MessageState::Retrying, _))));
}

#[test]
fn suspects_have_no_copies() {
    let mut fixture = Fixture::new(quick(), 4);
    fixture.fill("steady", 128);
    fixture.wait(ms(100));
    for dispatch in std::mem::take(&mut fixture.dispatches) {
        fixture.answer(dispatch.attempt, 200);
    }
    fixture.fill("a", 1);
    let first = fixture.wait_for_dispatch();
    breaks(&mut fixture, &first);
    found(&mut fixture, &first.worker, Presence::Absent);
    let _suspect = fixture.wait_for_dispatch();
    fixture.wait(secs(1));
    assert!(fixture.dispatches.is_empty());
}
