//! Workers' health: what retries may cost, copies of slow attempts, and when all have failed.

use std::{sync::Arc, time::Duration};

use rollcall_common::limits::LATE_ANSWER;

use super::{
    super::{
        Dispatch, Event, WorkerReply,
        event::{Decision, Presence},
        settings::{
            BudgetSettings, Hedging, OutageDetection, PoolSettings, Settings, StreamSettings,
        },
    },
    fixture::{Fixture, ms, parked, secs},
};
use crate::record::{Ending, Reason, Record};

/// A fixture whose default pool has this budget and takes nobody out.
fn with_budget(percent: u32, per_second: u32, workers: usize) -> Fixture {
    let budget = BudgetSettings { percent, per_second };
    let outage = OutageDetection::Off;
    let pool = PoolSettings { budget, eject_after: 1_000_000, outage, ..PoolSettings::default() };
    let mut stream = StreamSettings::default();
    (stream.ladder.jitter, stream.ladder.max_attempts) = (Duration::ZERO, 1_000);
    let pools = vec![("default".into(), pool)];
    let default_stream = Arc::new(stream);
    Fixture::with(Settings { default_stream, pools, ..Settings::default() }, workers)
}

fn of_reason(dispatches: &[Dispatch], reason: Reason) -> usize {
    dispatches.iter().filter(|dispatch| dispatch.reason == reason).count()
}

#[test]
fn retries_of_a_failing_pool_stay_within_the_budget() {
    let mut fixture = with_budget(20, 10, 3);
    fixture.fill("a", 200);
    let (mut first, mut retries) = (0, 0);
    let begun = fixture.now;
    while fixture.now < begun + secs(60) {
        for dispatch in std::mem::take(&mut fixture.dispatches) {
            match dispatch.reason {
                Reason::First => first += 1,
                Reason::Hedge | Reason::Manual | Reason::Retry => retries += 1,
            }
            fixture.answer(dispatch.attempt, 500);
        }
        fixture.wait(ms(50));
    }
    assert_eq!(first, 200);
    // A fifth of the fresh ones, and 10/s; the floor counts back for ten seconds.
    let most = 200 / 5 + 10 * (60 + 10);
    assert!((500..=most).contains(&retries), "{retries} retries");
    assert!(fixture.dispatcher.counters().retries_deferred > 0);
    assert_eq!(parked(&fixture), 0, "waiting is no failure");
}

#[test]
fn a_pool_that_answers_again_works_everything_off_at_once() {
    let mut fixture = with_budget(0, 10, 3);
    fixture.fill("a", 256);
    for dispatch in std::mem::take(&mut fixture.dispatches) {
        fixture.answer(dispatch.attempt, 500);
    }
    let healed = fixture.now;
    while fixture.released.len() < 256 {
        for dispatch in std::mem::take(&mut fixture.dispatches) {
            fixture.answer(dispatch.attempt, 200);
        }
        fixture.wait(ms(10));
    }
    let took = fixture.now.since(healed);
    assert!(took < secs(3), "what brings the answer is given back: {took:?}");
}

#[test]
fn first_tries_and_people_never_pay() {
    let mut fixture = with_budget(0, 0, 2);
    fixture.fill("a", 300);
    assert_eq!(fixture.dispatches.len(), 256);
    for dispatch in std::mem::take(&mut fixture.dispatches) {
        let status = if dispatch.sequence.0 == 1 { 422 } else { 200 };
        fixture.answer(dispatch.attempt, status);
    }
    assert_eq!(of_reason(&fixture.dispatches, Reason::First), 44);
    fixture.dispatches.clear();
    fixture.wait(secs(60));
    assert_eq!(fixture.dispatches.len(), 0, "a budget of nothing allows no retry");
    // The refusal of a second worker would park it; here it is a person who does not wait.
    let mut fixture = with_budget(0, 0, 1);
    fixture.fill("a", 1);
    let first = fixture.wait_for_dispatch();
    fixture.answer(first.attempt, 422);
    for _ in 0..3 {
        fixture.decide("a", 1, Decision::Retry { reason: "".into() });
        fixture.fetch_all();
        let again = fixture.wait_for_dispatch();
        assert_eq!(again.reason, Reason::Manual);
        fixture.answer(again.attempt, 422);
    }
}

#[test]
fn what_is_turned_away_pays_once_all_may_have_done_so() {
    let mut fixture = with_budget(0, 0, 3);
    fixture.fill("a", 1);
    let begun = fixture.now;
    while fixture.now < begun + secs(30) {
        for dispatch in std::mem::take(&mut fixture.dispatches) {
            fixture.answer(dispatch.attempt, 404);
        }
        fixture.wait(ms(100));
    }
    assert_eq!(fixture.dispatcher.counters().attempts, 4);
    assert_eq!(parked(&fixture), 0);
}

fn slowly() -> StreamSettings {
    let mut settings = StreamSettings::default();
    settings.ladder.jitter = Duration::ZERO;
    settings
}

/// A fixture that knows its workers' latency: a tenth of a second, each.
fn steady(settings: StreamSettings, workers: usize) -> Fixture {
    let mut fixture = Fixture::new(settings, workers);
    fixture.fill("steady", 128);
    fixture.wait(ms(100));
    for dispatch in std::mem::take(&mut fixture.dispatches) {
        fixture.answer(dispatch.attempt, 200);
    }
    fixture.released.clear();
    fixture
}

/// One message's slow attempt and its copy.
fn pair(fixture: &mut Fixture) -> (Dispatch, Dispatch) {
    fixture.fill("a", 1);
    let slow = fixture.wait_for_dispatch();
    assert_eq!(slow.reason, Reason::First);
    fixture.wait(ms(149));
    assert!(fixture.dispatches.is_empty(), "it isn't slow yet");
    fixture.wait(ms(1));
    let copy = fixture.dispatches.pop().unwrap();
    (slow, copy)
}

#[test]
fn a_slow_attempt_gets_one_copy_at_another_worker() {
    for _ in 0..20 {
        let mut fixture = steady(StreamSettings::default(), 3);
        let (slow, copy) = pair(&mut fixture);
        assert_eq!((copy.reason, copy.number), (Reason::Hedge, slow.number));
        assert_ne!(copy.worker, slow.worker);
        assert_eq!(copy.timeout, secs(2) - ms(150), "they share the deadline");
        fixture.wait(ms(500));
        assert!(fixture.dispatches.is_empty(), "one copy");
        fixture.answer_with(copy.attempt, 200, "copy");
        assert_eq!(fixture.order(), [1]);
        fixture.answer_with(slow.attempt, 200, "slow");
        let counters = *fixture.dispatcher.counters();
        assert_eq!((counters.hedges, counters.hedges_won, counters.diverging_answers), (1, 1, 1));
        let stream = fixture.dispatcher.state().find_stream("a").unwrap();
        let divergence = fixture.dispatcher.divergence(stream).unwrap();
        assert_eq!((&divergence.accepted, &divergence.other), (&copy.worker, &slow.worker));
    }
}

#[test]
fn the_slow_one_may_still_win() {
    let mut fixture = steady(StreamSettings::default(), 2);
    let (slow, copy) = pair(&mut fixture);
    fixture.answer(slow.attempt, 200);
    assert_eq!((fixture.order(), fixture.dispatcher.counters().hedges_won), (vec![1], 0));
    fixture.answer(copy.attempt, 500);
    assert_eq!(fixture.dispatcher.counters().failures, 0);
}

#[test]
fn a_copy_that_lost_is_cancelled_and_frees_its_worker() {
    let mut fixture = steady(StreamSettings::default(), 2);
    let (slow, copy) = pair(&mut fixture);
    fixture.answer(copy.attempt, 200);
    assert_eq!(fixture.cancelled, [slow.attempt]);
    fixture.tell(Event::AttemptEnded { attempt: slow.attempt, reply: WorkerReply::Cancelled });
    assert_eq!(fixture.dispatcher.verify(fixture.now).unwrap().attempts, 0);
    let counters = fixture.dispatcher.counters();
    assert_eq!((counters.failures, counters.late_answers), (0, 0));
}

#[test]
fn an_attempt_whose_time_is_up_is_not_cancelled_until_it_is_given_up() {
    let mut fixture = Fixture::new(StreamSettings { hedge: Hedging::Off, ..slowly() }, 2);
    fixture.fill("a", 1);
    let late = fixture.wait_for_dispatch();
    let second = fixture.wait_for_dispatch();
    fixture.answer(second.attempt, 200);
    assert_eq!(fixture.cancelled, [], "its answer is still compared with the accepted one");
    fixture.wait(LATE_ANSWER + secs(10));
    assert_eq!(fixture.given_up, [late.attempt]);
}

#[test]
fn what_a_worker_drops_unasked_has_failed() {
    let mut fixture = Fixture::new(slowly(), 2);
    fixture.fill("a", 1);
    let dispatch = fixture.wait_for_dispatch();
    fixture.tell(Event::AttemptEnded { attempt: dispatch.attempt, reply: WorkerReply::Cancelled });
    assert_eq!(fixture.dispatcher.counters().failures, 1);
    let again = fixture.wait_for_dispatch();
    fixture.answer(again.attempt, 200);
    assert_eq!(fixture.order(), [1]);
}

#[test]
fn two_are_one_try_that_fails_when_both_have() {
    // Either of them first; and the last one fails, is turned away, or takes too long.
    for (swap, last) in [(false, 500), (true, 500), (false, 503), (true, 0)] {
        let mut fixture = steady(StreamSettings::default(), 3);
        let (slow, copy) = pair(&mut fixture);
        let (first, second) = if swap { (copy, slow) } else { (slow, copy) };
        fixture.answer(first.attempt, 500);
        assert_eq!(fixture.dispatcher.counters().failures, 0, "the other one is in time");
        fixture.wait(ms(1_700));
        assert!(fixture.dispatches.is_empty(), "no retry meanwhile");
        if last == 0 {
            fixture.wait(secs(1));
        } else {
            fixture.answer(second.attempt, last);
        }
        assert_eq!(fixture.dispatcher.counters().failures, 1);
        let retry = fixture.wait_for_dispatch();
        assert_eq!((retry.number, retry.reason), (2, Reason::Retry));
        assert_ne!(retry.worker, first.worker, "neither of the two");
        assert_ne!(retry.worker, second.worker, "neither of the two");
        fixture.answer(retry.attempt, 200);
        assert_eq!(fixture.order(), [1]);
        let histories = fixture.records.iter().rev().find_map(|record| {
            if let Record::Answered { answer, .. } = record { Some(&answer.history) } else { None }
        });
        assert_eq!(histories.unwrap().len(), 3, "all are told");
    }
}

#[test]
fn both_time_out_as_one() {
    let mut fixture = steady(StreamSettings::default(), 3);
    let (slow, copy) = pair(&mut fixture);
    fixture.wait(secs(2) - ms(150));
    let counters = *fixture.dispatcher.counters();
    assert_eq!((counters.timeouts, counters.failures), (2, 1));
    // Late, both are still welcome.
    fixture.answer(copy.attempt, 200);
    fixture.answer(slow.attempt, 200);
    assert_eq!(fixture.order(), [1]);
}

#[test]
fn two_that_are_turned_away_cost_nothing() {
    let mut fixture = steady(StreamSettings::default(), 3);
    let (slow, copy) = pair(&mut fixture);
    fixture.answer(slow.attempt, 503);
    assert!(fixture.dispatches.is_empty(), "the copy is in time");
    fixture.answer(copy.attempt, 503);
    assert_eq!(fixture.dispatcher.counters().failures, 0);
    assert_eq!(fixture.wait_for_dispatch().number, 1);
}

#[test]
fn two_that_refuse_for_good_are_two_workers_words() {
    let mut fixture = steady(StreamSettings::default(), 3);
    let (slow, copy) = pair(&mut fixture);
    fixture.answer(copy.attempt, 422);
    assert_eq!(parked(&fixture), 0);
    fixture.answer(slow.attempt, 422);
    assert_eq!((parked(&fixture), fixture.dispatcher.counters().failures), (1, 1));
    let endings = fixture.records.iter().filter_map(|record| {
        if let Record::Failed { report, .. } = record { Some(report.ending) } else { None }
    });
    assert_eq!(endings.collect::<Vec<_>>(), [Ending::Refused]);
}

#[test]
fn what_a_worker_parks_is_parked_and_the_other_answer_resolves_it() {
    let mut fixture = steady(StreamSettings::default(), 3);
    let (slow, copy) = pair(&mut fixture);
    fixture.tell(Event::AttemptEnded {
        attempt: slow.attempt,
        reply: WorkerReply::Answer {
            status: 200,
            outcome: Some(rollcall_common::protocol::Outcome::Park),
            reason: "look".into(),
            retry_after: None,
            payload: Default::default(),
        },
    });
    assert_eq!(parked(&fixture), 1);
    fixture.answer(copy.attempt, 200);
    assert_eq!((parked(&fixture), fixture.order()), (0, vec![1]));
}

#[test]
fn no_copy_where_there_should_be_none() {
    let off = StreamSettings { hedge: Hedging::Off, ..StreamSettings::default() };
    let narrow = StreamSettings { max_in_flight: 1, ..StreamSettings::default() };
    for (settings, workers) in [(off, 3), (narrow, 3), (StreamSettings::default(), 1)] {
        let mut fixture = Fixture::new(settings, workers);
        for _ in 0..130 {
            fixture.fill("a", 1);
            let dispatch = fixture.wait_for_dispatch();
            fixture.wait(ms(100));
            fixture.answer(dispatch.attempt, 200);
        }
        fixture.fill("a", 1);
        fixture.wait(secs(1));
        assert_eq!(fixture.dispatches.len(), 1);
    }
    // What a person tries again has no copy either.
    let mut fixture = steady(StreamSettings::default(), 3);
    fixture.fill("a", 1);
    for _ in 0..2 {
        let dispatch = fixture.wait_for_dispatch();
        fixture.answer(dispatch.attempt, 422);
    }
    fixture.decide("a", 1, Decision::Retry { reason: "".into() });
    fixture.fetch_all();
    let by_hand = fixture.wait_for_dispatch();
    fixture.wait(secs(1));
    assert!(by_hand.reason == Reason::Manual && fixture.dispatches.is_empty());
}

#[test]
fn a_stream_that_has_changed_its_pool_sends_no_copy_to_the_old_one() {
    for pool in [None, Some("other".into())] {
        let mut fixture = steady(StreamSettings::default(), 3);
        fixture.fill("a", 1);
        let slow = fixture.wait_for_dispatch();
        let default_stream = Arc::new(StreamSettings { pool, ..StreamSettings::default() });
        fixture.tell(Event::Settings(Arc::new(Settings { default_stream, ..Settings::default() })));
        fixture.wait(ms(150));
        assert!(fixture.dispatches.is_empty());
        fixture.answer(slow.attempt, 200);
        assert_eq!(fixture.order(), [1], "what is out may still answer");
    }
}

#[test]
fn copies_stop_when_half_of_the_budget_is_spent() {
    let mut fixture = with_budget(20, 0, 3);
    fixture.fill("steady", 200);
    fixture.wait(ms(100));
    for dispatch in std::mem::take(&mut fixture.dispatches) {
        fixture.answer(dispatch.attempt, 200);
    }
    fixture.fill("a", 100);
    assert_eq!(fixture.dispatches.len(), 100);
    fixture.wait(ms(200));
    // 300 fresh ones allow 60; half of that may be copies.
    assert_eq!(of_reason(&fixture.dispatches, Reason::Hedge), 30);
}

#[test]
fn a_pool_without_an_able_worker_takes_back_those_that_failed() {
    let mut fixture = Fixture::new(StreamSettings::default(), 2);
    fixture.fill("a", 40);
    let failing = fixture.dispatches[0].worker.clone();
    for dispatch in std::mem::take(&mut fixture.dispatches) {
        if dispatch.worker == failing {
            fixture.answer(dispatch.attempt, 500);
        }
    }
    assert_eq!(fixture.dispatcher.counters().ejections, 1);
    fixture.wait(ms(900));
    assert!(fixture.dispatches.iter().all(|dispatch| dispatch.worker != failing));
    let other = fixture.dispatches[0].worker.clone();
    fixture.dispatches.clear();
    fixture.tell(Event::WorkerLeft { id: other });
    fixture.fill("b", 1);
    assert_eq!(fixture.wait_for_dispatch().worker, failing);
    assert_eq!(fixture.dispatcher.counters().readmissions, 1);
}

#[test]
fn a_pause_that_a_worker_asked_for_is_kept_even_then() {
    let mut fixture = Fixture::new(StreamSettings::default(), 1);
    fixture.fill("a", 1);
    let first = fixture.wait_for_dispatch();
    let begun = fixture.now;
    fixture.tell(Event::AttemptEnded {
        attempt: first.attempt,
        reply: WorkerReply::Answer {
            status: 503,
            outcome: None,
            reason: "".into(),
            retry_after: Some(secs(20)),
            payload: Default::default(),
        },
    });
    let _ = fixture.wait_for_dispatch();
    assert!(fixture.now.since(begun) >= secs(20));
}

#[test]
fn a_worker_that_was_away_soon_has_as_much_as_ever_however_long_its_work_takes() {
    let mut fixture = Fixture::new(StreamSettings::default(), 1);
    fixture.fill("a", 200);
    let refused = std::mem::take(&mut fixture.dispatches);
    for dispatch in &refused {
        let reply = WorkerReply::Unreachable("".into());
        fixture.tell(Event::AttemptEnded { attempt: dispatch.attempt, reply });
    }
    let mut rounds = Vec::new();
    while fixture.released.len() < 200 {
        if let Some(worker) = fixture.probes.pop() {
            fixture.tell(Event::Probed { worker, presence: Presence::Present });
        }
        if fixture.dispatches.is_empty() {
            let at = fixture.dispatcher.poll_timeout().unwrap();
            fixture.wait(at.since(fixture.now));
            continue;
        }
        // Much of what a call may take: two seconds.
        fixture.wait(Duration::from_millis(1_500));
        let round = std::mem::take(&mut fixture.dispatches);
        rounds.push(round.len());
        round.iter().for_each(|dispatch| fixture.answer(dispatch.attempt, 200));
    }
    assert_eq!(rounds[..6], [1, 2, 4, 8, 16, 32], "{rounds:?}");
}
