//! Messages of which workers die.

use std::sync::Arc;

use super::{
    super::{
        Dispatch, Event, MessageState, WorkerReply,
        event::{Decision, Presence},
        settings::StreamSettings,
    },
    desk::{Desk, ms, parked, secs},
};
use crate::record::{ParkCause, Record};

fn quick() -> StreamSettings {
    let mut settings = StreamSettings::default();
    (settings.ladder.jitter, settings.ladder.max_attempts) = (ms(10), 20);
    settings
}

fn breaks(desk: &mut Desk, dispatch: &Dispatch) {
    let reply = WorkerReply::Broken("reset".into());
    desk.tell(Event::AttemptEnded { attempt: dispatch.attempt, reply });
}

fn found(desk: &mut Desk, worker: &Arc<str>, presence: Presence) {
    desk.tell(Event::Probed { worker: Arc::clone(worker), presence });
}

fn suspected(desk: &Desk) -> Vec<(u64, String)> {
    let all = desk.records.iter().filter_map(|record| {
        if let Record::WorkerDied { sequence, worker, .. } = record {
            Some((sequence.0, worker.to_string()))
        } else {
            None
        }
    });
    all.collect()
}

fn cause(desk: &Desk) -> (ParkCause, String) {
    let (_, _, parking, _) = desk.dispatcher.parked().next().unwrap();
    (parking.cause, parking.reason.to_string())
}

/// What goes out within a second, by sequence.
fn next(desk: &mut Desk) -> Vec<Dispatch> {
    desk.wait(secs(1));
    let mut out = std::mem::take(&mut desk.dispatches);
    out.sort_by_key(|dispatch| dispatch.sequence);
    out
}

/// Lets a worker die with all that it has.
fn die(desk: &mut Desk, worker: &Arc<str>, out: &[Dispatch]) {
    for dispatch in out.iter().filter(|dispatch| dispatch.worker == *worker) {
        breaks(desk, dispatch);
    }
    found(desk, worker, Presence::Absent);
}

#[test]
fn after_two_dead_workers_a_message_is_parked_and_not_sent_to_a_third() {
    let mut desk = Desk::new(quick(), 3);
    desk.fill("a", 1);
    let mut dead = Vec::new();
    for deaths in 1..=2 {
        let dispatch = desk.wait_for_dispatch();
        breaks(&mut desk, &dispatch);
        assert_eq!(desk.probes.pop().as_ref(), Some(&dispatch.worker));
        desk.wait(ms(100));
        assert!(desk.dispatches.is_empty(), "it waits for the look at its worker");
        found(&mut desk, &dispatch.worker, Presence::Absent);
        assert_eq!(suspected(&desk).len(), deaths);
        dead.push(dispatch.worker);
    }
    assert_eq!(parked(&desk), 1);
    let reason =
        format!("suspected poison: workers {} and {} died during its attempts", dead[0], dead[1]);
    assert_eq!(cause(&desk), (ParkCause::Poison, reason));
    desk.wait(secs(1_000));
    assert!(desk.dispatches.is_empty());
    assert_eq!(desk.dispatcher.counters().poison_suspected, 1);
}

#[test]
fn a_broken_connection_to_a_living_worker_is_no_death() {
    let mut desk = Desk::new(quick(), 2);
    desk.fill("a", 1);
    for _ in 0..10 {
        let dispatch = desk.wait_for_dispatch();
        breaks(&mut desk, &dispatch);
        found(&mut desk, &dispatch.worker, Presence::Present);
    }
    assert_eq!((suspected(&desk).len(), parked(&desk)), (0, 0));
}

#[test]
fn one_look_serves_all_that_broke() {
    let mut desk = Desk::without_outages(quick(), 1);
    desk.fill("a", 20);
    for dispatch in std::mem::take(&mut desk.dispatches) {
        breaks(&mut desk, &dispatch);
    }
    assert_eq!(desk.probes.len(), 1);
    // Nobody ever says what came of it: they go on all the same.
    desk.wait(secs(10));
    assert!(desk.dispatches.len() >= 20);
}

#[test]
fn an_idle_connection_that_was_closed_is_looked_after_too() {
    let mut desk = Desk::new(quick(), 3);
    desk.fill("a", 1);
    for _ in 0..2 {
        let dispatch = desk.wait_for_dispatch();
        desk.tell(Event::AttemptEnded { attempt: dispatch.attempt, reply: WorkerReply::Stale });
        assert!(desk.dispatches.is_empty(), "it waits for the look at its worker");
        found(&mut desk, &dispatch.worker, Presence::Absent);
    }
    assert_eq!((parked(&desk), desk.dispatcher.counters().failures), (1, 0));
}

#[test]
fn who_is_not_reached_or_leaves_after_a_break_is_dead() {
    for leaves in [false, true] {
        let mut desk = Desk::new(quick(), 1);
        desk.fill("a", 1);
        let dispatch = desk.wait_for_dispatch();
        breaks(&mut desk, &dispatch);
        if leaves {
            desk.tell(Event::WorkerLeft { id: dispatch.worker });
        } else {
            desk.fill("b", 1);
            let other = desk.wait_for_dispatch();
            let reply = WorkerReply::Unreachable("refused".into());
            desk.tell(Event::AttemptEnded { attempt: other.attempt, reply });
        }
        assert_eq!(suspected(&desk), [(1, "w0".to_owned())]);
    }
}

#[test]
fn neighbours_of_a_poison_message_keep_their_lot() {
    let mut desk = Desk::new(quick(), 4);
    desk.fill("a", 40);
    let out = std::mem::take(&mut desk.dispatches);
    let poison = out[0].clone();
    die(&mut desk, &poison.worker, &out);
    let neighbours = suspected(&desk).len();
    assert!(neighbours > 2);
    for dispatch in out.iter().filter(|dispatch| dispatch.worker != poison.worker) {
        desk.answer(dispatch.attempt, 200);
    }
    // Suspects go out one to a worker, until the first one's time is up.
    let mut done = false;
    for _ in 0..100 {
        let out = next(&mut desk);
        for dispatch in &out {
            if dispatch.sequence == poison.sequence {
                let with = out.iter().filter(|other| other.worker == dispatch.worker).count();
                assert_eq!(with, 1, "it has its worker to itself");
                die(&mut desk, &dispatch.worker.clone(), &out);
                done = true;
            } else {
                desk.answer(dispatch.attempt, 200);
            }
        }
    }
    assert!(done && parked(&desk) == 1);
    assert_eq!(desk.dispatcher.counters().completed, 39);
    assert_eq!(cause(&desk).0, ParkCause::Poison);
}

#[test]
fn two_that_were_at_both_deaths_are_kept_apart_until_one_is_found_out() {
    let mut desk = Desk::new(quick(), 1);
    desk.fill("a", 2);
    // Both at the only worker; it dies, and so does the next one, to which they go together
    // because there is no other for longer than a first attempt may take.
    for worker in ["w0", "w1"] {
        desk.join(worker);
        let mut out = std::mem::take(&mut desk.dispatches);
        desk.wait(if worker == "w0" { ms(0) } else { secs(3) });
        out.append(&mut desk.dispatches);
        let last: Vec<_> = out.iter().filter(|one| &*one.worker == worker).cloned().collect();
        assert_eq!(last.len(), 2);
        for dispatch in &last {
            breaks(&mut desk, dispatch);
        }
        found(&mut desk, &worker.into(), Presence::Absent);
        desk.tell(Event::WorkerLeft { id: worker.into() });
    }
    assert_eq!(suspected(&desk).len(), 4);
    assert_eq!(parked(&desk), 0, "it may be either");
    desk.join("w2");
    let out = next(&mut desk);
    assert_eq!(out.len(), 1, "one at a time");
    die(&mut desk, &"w2".into(), &out);
    assert_eq!(parked(&desk), 1);
    let (_, parked_sequence, ..) = desk.dispatcher.parked().next().unwrap();
    assert_eq!(parked_sequence, out[0].sequence);
    desk.join("w3");
    let other = next(&mut desk);
    desk.answer(other[0].attempt, 200);
    assert_eq!(desk.dispatcher.counters().completed, 1);
}

#[test]
fn what_is_still_out_there_is_waited_for_before_one_is_picked() {
    let mut desk = Desk::new(quick(), 1);
    desk.fill("a", 2);
    let out = std::mem::take(&mut desk.dispatches);
    die(&mut desk, &"w0".into(), &out);
    desk.tell(Event::WorkerLeft { id: "w0".into() });
    desk.join("w1");
    desk.wait(secs(3));
    let out = std::mem::take(&mut desk.dispatches);
    assert_eq!(out.iter().filter(|one| &*one.worker == "w1").count(), 2);
    breaks(&mut desk, &out[0]);
    found(&mut desk, &"w1".into(), Presence::Absent);
    assert_eq!(parked(&desk), 0, "the other one may break too");
    breaks(&mut desk, &out[1]);
    assert_eq!((suspected(&desk).len(), parked(&desk)), (4, 0));
}

#[test]
fn deaths_survive_a_restart_and_end_with_a_decision() {
    let mut desk = Desk::new(quick(), 3);
    desk.fill("a", 1);
    let first = desk.wait_for_dispatch();
    breaks(&mut desk, &first);
    found(&mut desk, &first.worker, Presence::Absent);
    desk.restart();
    ["w0", "w1", "w2"].iter().for_each(|id| desk.join(id));
    desk.wait(secs(1));
    desk.fetch_all();
    let second = desk.dispatches.iter().find(|one| one.worker != first.worker).cloned();
    let second = second.unwrap_or_else(|| desk.wait_for_dispatch());
    breaks(&mut desk, &second);
    found(&mut desk, &second.worker, Presence::Absent);
    assert_eq!(parked(&desk), 1);
    desk.decide("a", 1, Decision::Retry { reason: "".into() });
    desk.dispatches.clear();
    desk.fetch_all();
    let again = desk.wait_for_dispatch();
    breaks(&mut desk, &again);
    found(&mut desk, &again.worker, Presence::Absent);
    assert_eq!(parked(&desk), 0, "it begins anew");
    let stream = desk.dispatcher.state().find_stream("a").unwrap();
    let state = desk.dispatcher.message_state(stream, again.sequence);
    assert!(matches!(state, Some((MessageState::Retrying, _))));
}

#[test]
fn suspects_have_no_copies() {
    let mut desk = Desk::new(quick(), 4);
    desk.fill("steady", 128);
    desk.wait(ms(100));
    for dispatch in std::mem::take(&mut desk.dispatches) {
        desk.answer(dispatch.attempt, 200);
    }
    desk.fill("a", 1);
    let first = desk.wait_for_dispatch();
    breaks(&mut desk, &first);
    found(&mut desk, &first.worker, Presence::Absent);
    let _suspect = desk.wait_for_dispatch();
    desk.wait(secs(1));
    assert!(desk.dispatches.is_empty());
}
