//! Outages of pools, calls that hang, and who is tried next.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use super::{
    super::{
        Cause, Dispatch, Event, RequestId, Settings,
        event::Decision,
        settings::{Hedging, OutageDetection, PoolSettings, StreamSettings},
    },
    fixture::{Fixture, ms, parked, secs},
    snapshot::folded,
};
use crate::record::{Reason, Record, Severity};

fn quick() -> StreamSettings {
    let mut settings = StreamSettings { hedge: Hedging::Off, ..StreamSettings::default() };
    (settings.ladder.jitter, settings.ladder.multiplier_permille) = (ms(50), 1_000);
    settings
}

fn fixture_of(pool: PoolSettings, stream: StreamSettings, workers: usize) -> Fixture {
    let (default_stream, pools) = (Arc::new(stream), vec![("default".into(), pool)]);
    Fixture::with(Settings { default_stream, pools, ..Settings::default() }, workers)
}

/// Lets all that is out, and all that comes out in a while, end with this status.
fn all_answer(fixture: &mut Fixture, span: Duration, status: impl Fn(&Dispatch) -> u16) -> u64 {
    let (until, mut count) = (fixture.now + span, 0);
    while fixture.now < until {
        for dispatch in std::mem::take(&mut fixture.dispatches) {
            count += 1;
            fixture.answer(dispatch.attempt, status(&dispatch));
        }
        fixture.fetch_all();
        fixture.wait(ms(20));
    }
    count
}

fn failures(fixture: &Fixture) -> usize {
    fixture.records.iter().filter(|record| matches!(record, Record::Failed { .. })).count()
}

fn cause(fixture: &Fixture, stream: &str) -> Option<Cause> {
    let stream = fixture.dispatcher.state().find_stream(stream)?;
    fixture.dispatcher.stream_status(stream).cause
}

fn alerts(fixture: &Fixture) -> Vec<(&'static str, Severity, bool)> {
    let all = fixture.dispatcher.alerts();
    all.map(|alert| (alert.kind, alert.severity, alert.until.is_none())).collect()
}

#[test]
fn an_outage_of_a_pool_is_charged_to_no_message() {
    let mut fixture = Fixture::new(StreamSettings::default(), 4);
    for stream in ["a", "b", "c"] {
        fixture.fill(stream, 20);
    }
    all_answer(&mut fixture, secs(3_600), |_| 500);
    assert_eq!((failures(&fixture), parked(&fixture)), (5, 0));
    assert_eq!(alerts(&fixture), [("pool_outage", Severity::Critical, true)]);
    assert_eq!(cause(&fixture, "a"), Some(Cause::PoolOutage));
    let healed = fixture.now;
    while fixture.released.len() < 60 {
        all_answer(&mut fixture, ms(20), |_| 200);
        assert!(fixture.now < healed + secs(15), "{} are released", fixture.released.len());
    }
    fixture.wait(secs(2));
    assert_eq!(alerts(&fixture), [("pool_outage", Severity::Critical, false)]);
    assert_eq!(cause(&fixture, "a"), None);
}

#[test]
fn a_refusal_keeps_an_outage_going_and_the_next_probe_from_waiting() {
    let mut fixture = Fixture::new(StreamSettings::default(), 1);
    (0..40).for_each(|stream| fixture.fill(&format!("s{stream}"), 1));
    all_answer(&mut fixture, secs(60), |_| 500);
    assert_eq!((alerts(&fixture).len(), parked(&fixture)), (1, 0));
    // A probe is due within 15 s; each refusal parks its message, and shows that somebody answers.
    all_answer(&mut fixture, secs(20), |_| 422);
    assert_eq!(parked(&fixture), 40);
    assert_eq!(alerts(&fixture)[0], ("pool_outage", Severity::Critical, true));
    // They wait no shorter for what fails as before.
    (0..40).for_each(|stream| fixture.fill(&format!("t{stream}"), 1));
    let probes = all_answer(&mut fixture, secs(60), |_| 500);
    assert!((4..=12).contains(&probes), "{probes}");
}

#[test]
fn probes_are_one_at_a_time_and_rarer_with_each() {
    let mut fixture = Fixture::new(quick(), 4);
    for stream in ["a", "b", "c"] {
        fixture.fill(stream, 20);
    }
    all_answer(&mut fixture, ms(200), |_| 500);
    assert_eq!(cause(&fixture, "b"), Some(Cause::PoolOutage));
    // They hang: a worker has one more in time with none before it.
    let mut streams = BTreeSet::new();
    for _ in 0..100 {
        fixture.wait(ms(100));
        let mut workers: Vec<_> = fixture.dispatches.iter().map(|one| one.worker.clone()).collect();
        workers.sort();
        workers.dedup();
        assert_eq!(workers.len(), fixture.dispatches.len());
        streams.extend(fixture.dispatches.iter().map(|one| one.stream));
        fixture.wait(secs(2));
        fixture.dispatches.clear();
    }
    assert_eq!(streams.len(), 3, "the streams have their turns");
    fixture.dispatches.clear();
    let probes = all_answer(&mut fixture, secs(300), |_| 500);
    assert!((4 * 19..=4 * 41).contains(&probes), "{probes} in five minutes");
}

#[test]
fn a_poison_message_at_the_head_does_not_pass_for_an_outage() {
    let mut fixture = Fixture::new(quick(), 4);
    fixture.fill("a", 40);
    all_answer(&mut fixture, secs(60), |_| 500);
    assert_eq!(cause(&fixture, "a"), Some(Cause::PoolOutage));
    let poison = |dispatch: &Dispatch| if dispatch.sequence.0 == 1 { 500 } else { 200 };
    all_answer(&mut fixture, secs(40), poison);
    assert_eq!(parked(&fixture), 1, "it alone");
    fixture.decide("a", 1, Decision::Skip { reason: "".into() });
    assert_eq!(fixture.released.len(), 40);
}

#[test]
fn what_fails_alone_or_at_one_worker_is_no_outage() {
    // One message, everywhere; two workers.
    let mut fixture = Fixture::new(quick(), 2);
    fixture.fill("a", 1);
    all_answer(&mut fixture, secs(60), |_| 500);
    assert_eq!((parked(&fixture), fixture.dispatcher.counters().outages), (1, 0));
    // Everything, at one of two workers, and the other one does well in between.
    let mut fixture = Fixture::new(quick(), 2);
    fixture.fill("a", 50);
    all_answer(
        &mut fixture,
        secs(60),
        |dispatch| if &*dispatch.worker == "w0" { 500 } else { 200 },
    );
    assert_eq!(fixture.dispatcher.counters().outages, 0);
    // A pool of one.
    let mut fixture = Fixture::new(quick(), 1);
    fixture.fill("a", 2);
    all_answer(&mut fixture, secs(60), |_| 500);
    assert_eq!((parked(&fixture), fixture.dispatcher.counters().outages), (0, 1));
    // Refusals speak of their messages.
    let mut fixture = Fixture::new(quick(), 3);
    fixture.fill("a", 20);
    all_answer(&mut fixture, secs(60), |_| 422);
    assert_eq!((parked(&fixture), fixture.dispatcher.counters().outages), (20, 0));
    // Nobody wants it.
    let off = PoolSettings { outage: OutageDetection::Off, ..PoolSettings::default() };
    let mut fixture = fixture_of(off, quick(), 4);
    fixture.fill("a", 5);
    all_answer(&mut fixture, secs(120), |_| 500);
    assert_eq!((parked(&fixture), fixture.dispatcher.counters().outages), (5, 0));
}

#[test]
fn an_outage_survives_a_restart_and_a_snapshot() {
    let mut fixture = Fixture::new(quick(), 3);
    fixture.fill("a", 10);
    all_answer(&mut fixture, secs(5), |_| 500);
    let counted = failures(&fixture);
    fixture.restart();
    (0..3).for_each(|number| fixture.join(&format!("w{number}")));
    fixture.dispatches.clear();
    assert_eq!(cause(&fixture, "a"), Some(Cause::PoolOutage));
    fixture.fetch_all();
    all_answer(&mut fixture, secs(60), |_| 500);
    assert_eq!((failures(&fixture), parked(&fixture)), (counted, 0));
    let begin = fixture.records.len();
    fixture.dispatcher.handle(Event::Snapshot { request: RequestId(9) }, fixture.now);
    while fixture.dispatcher.is_exporting() {
        fixture.dispatcher.export();
    }
    fixture.listen();
    assert_eq!(folded(&fixture, begin).facts(), folded(&fixture, 0).facts());
    all_answer(&mut fixture, secs(20), |_| 200);
    assert_eq!(fixture.released.len(), 10);
}

#[test]
fn turning_it_off_ends_it() {
    let mut fixture = Fixture::new(quick(), 3);
    fixture.fill("a", 10);
    all_answer(&mut fixture, secs(5), |_| 500);
    let off = PoolSettings { outage: OutageDetection::Off, ..PoolSettings::default() };
    let (default_stream, pools) = (Arc::new(quick()), vec![("default".into(), off)]);
    let settings = Settings { default_stream, pools, ..Settings::default() };
    fixture.tell(Event::Settings(Arc::new(settings)));
    assert_eq!(alerts(&fixture), [("pool_outage", Severity::Critical, false)]);
    all_answer(&mut fixture, secs(60), |_| 500);
    assert_eq!(parked(&fixture), 10);
}

/// A fixture whose workers have four places each, and whose pool is never in an outage.
fn with_places(stream: StreamSettings, workers: usize) -> Fixture {
    let mut fixture = Fixture::without_outages(stream, 0);
    for number in 0..workers {
        let id = format!("w{number}").into();
        let (pool, concurrency) = ("default".into(), Some(4));
        fixture.tell(Event::WorkerSeen { id, pool, concurrency, beats: false });
    }
    fixture
}

#[test]
fn calls_that_hang_make_place_for_what_waits() {
    let mut fixture = with_places(StreamSettings { max_in_flight: 8, ..quick() }, 2);
    fixture.fill("bad", 8);
    let hanging: Vec<_> = fixture.dispatches.drain(..).map(|one| one.attempt).collect();
    assert_eq!(hanging.len(), 8);
    fixture.fill("good", 1);
    fixture.wait(secs(1));
    assert!(fixture.dispatches.is_empty() && fixture.given_up.is_empty(), "they are in time");
    let begun = fixture.now;
    let good = fixture.dispatcher.state().find_stream("good").unwrap();
    while fixture.dispatches.iter().all(|dispatch| dispatch.stream != good) {
        fixture.wait(ms(10));
        assert!(fixture.now < begun + secs(15));
    }
    assert_eq!(fixture.given_up.first(), hanging.first(), "the oldest first");
    let late = *hanging.last().unwrap();
    if !fixture.given_up.contains(&late) {
        fixture.answer(late, 200);
        assert_eq!(fixture.dispatcher.counters().completed, 1, "nobody needed its place");
    }
}

#[test]
fn a_late_call_stays_while_nobody_needs_its_place() {
    let mut fixture = with_places(quick(), 2);
    fixture.fill("a", 1);
    let first = fixture.wait_for_dispatch();
    fixture.wait(secs(3));
    assert_eq!(fixture.dispatches.len(), 1);
    assert!(fixture.given_up.is_empty());
    fixture.answer(first.attempt, 200);
    assert_eq!(fixture.order(), [1]);
}

#[test]
fn the_worker_that_has_just_failed_is_not_the_next_one() {
    let mut stream = quick();
    stream.ladder.max_attempts = 40;
    let mut fixture = Fixture::new(stream, 3);
    fixture.fill("a", 1);
    let mut last = None;
    for _ in 0..39 {
        let dispatch = fixture.wait_for_dispatch();
        assert_ne!(last.as_ref(), Some(&dispatch.worker));
        fixture.answer(dispatch.attempt, 500);
        last = Some(dispatch.worker);
        // The pool does well otherwise, so that nobody is taken out.
        for number in 0..3 {
            fixture.fill("others", 1);
            let other = fixture.dispatches.pop().unwrap();
            fixture.answer(other.attempt, 200);
            assert!(number < 3);
        }
    }
    // Alone, it is better than nobody.
    let mut stream = quick();
    stream.ladder.max_attempts = 5;
    let mut fixture = Fixture::new(stream, 1);
    fixture.fill("a", 1);
    all_answer(&mut fixture, secs(20), |_| 500);
    assert_eq!(parked(&fixture), 1);
}

/// What goes out next, once it is read back.
fn next(fixture: &mut Fixture) -> Dispatch {
    while fixture.dispatches.is_empty() {
        fixture.fetch_all();
        fixture.wait(ms(100));
    }
    fixture.dispatches.remove(0)
}

#[test]
fn a_message_is_tried_for_as_long_as_its_stream_says() {
    let mut stream = StreamSettings { retry_for: Some(secs(3_600)), ..quick() };
    (stream.ladder.max_attempts, stream.ladder.multiplier_permille) = (3, 2_000);
    stream.ladder.max_delay = secs(60);
    let mut fixture = Fixture::new(stream, 2);
    fixture.fill("a", 1);
    let begun = fixture.now;
    let mut longest = Duration::ZERO;
    while parked(&fixture) == 0 {
        let dispatch = next(&mut fixture);
        longest = longest.max(dispatch.timeout);
        assert!(dispatch.number == 1 || dispatch.reason == Reason::Retry);
        fixture.answer(dispatch.attempt, 500);
        if dispatch.number == 20 {
            fixture.restart();
            (0..2).for_each(|number| fixture.join(&format!("w{number}")));
        }
    }
    let took = fixture.now.since(begun);
    assert!((secs(3_600)..secs(3_700)).contains(&took), "{took:?}");
    assert_eq!(longest, secs(60));
    fixture.decide("a", 1, Decision::Retry { reason: "".into() });
    let (again, mut tries) = (fixture.now, 0);
    while parked(&fixture) == 0 {
        let dispatch = next(&mut fixture);
        fixture.answer(dispatch.attempt, 500);
        tries += 1;
    }
    assert!(
        fixture.now.since(again) >= secs(3_600),
        "from when a person sent it back; {tries} tries"
    );
}

/// Streams whose calls may take long.
fn patient(span: Duration) -> StreamSettings {
    let mut stream = StreamSettings { hedge: Hedging::Off, max_in_flight: 8, ..quick() };
    stream.ladder.timeout = span;
    stream
}

#[test]
fn a_long_call_does_not_keep_a_limited_worker_from_others() {
    let mut fixture = Fixture::without_outages(patient(secs(600)), 1);
    fixture.fill("long", 1);
    let busy = fixture.wait_for_dispatch();
    // From now on it gets one call at a time.
    fixture.answer(busy.attempt, 503);
    let long = fixture.wait_for_dispatch();
    fixture.fill("others", 3);
    let begun = fixture.now;
    for _ in 0..3 {
        let other = fixture.wait_for_dispatch();
        assert_ne!(other.stream, long.stream);
        fixture.answer(other.attempt, 200);
    }
    assert!(fixture.now < begun + secs(10), "{:?}", fixture.now.since(begun));
    assert_eq!(fixture.released.len(), 3);
}

#[test]
fn a_limited_worker_that_hangs_gets_little_more() {
    let mut fixture = Fixture::without_outages(patient(secs(600)), 1);
    fixture.fill("a", 8);
    fixture.fill("b", 8);
    for dispatch in std::mem::take(&mut fixture.dispatches) {
        fixture.answer(dispatch.attempt, 503);
    }
    fixture.wait(secs(20));
    assert!((4..=8).contains(&fixture.dispatches.len()), "{} calls", fixture.dispatches.len());
}

/// The number of a stream, by its name.
fn number(fixture: &Fixture, stream: &str) -> rollcall_common::ids::StreamId {
    fixture.dispatcher.state().find_stream(stream).unwrap()
}

#[test]
fn long_calls_from_before_keep_no_outage_alive() {
    let mut fixture = Fixture::new(patient(secs(300)), 2);
    fixture.fill("long", 6);
    let long: Vec<_> = fixture.dispatches.drain(..).collect();
    assert_eq!(long.len(), 6);
    fixture.fill("a", 3);
    fixture.fill("b", 3);
    while alerts(&fixture).is_empty() {
        let failing = fixture.wait_for_dispatch();
        fixture.answer(failing.attempt, 500);
    }
    assert_eq!(alerts(&fixture), [("pool_outage", Severity::Critical, true)]);
    let begun = fixture.now;
    all_answer(&mut fixture, secs(15), |_| 200);
    assert_eq!(alerts(&fixture), [("pool_outage", Severity::Critical, false)]);
    let released = |stream| fixture.dispatcher.stream_status(stream).released.0;
    assert_eq!((released(number(&fixture, "a")), released(number(&fixture, "b"))), (3, 3));
    assert!(fixture.now <= begun + secs(16));
}

#[test]
fn probes_that_take_long_keep_no_outage_alive() {
    let mut fixture = Fixture::new(patient(secs(300)), 2);
    fixture.fill("a", 3);
    fixture.fill("b", 3);
    while alerts(&fixture).is_empty() {
        let failing = fixture.wait_for_dispatch();
        fixture.answer(failing.attempt, 500);
    }
    fixture.dispatches.clear();
    // Both workers hang, each with a probe that has five minutes.
    fixture.wait(secs(10));
    let probes: BTreeSet<_> = fixture.dispatches.drain(..).map(|one| one.worker).collect();
    assert_eq!(probes.len(), 2);
    all_answer(&mut fixture, secs(40), |_| 200);
    assert_eq!(alerts(&fixture), [("pool_outage", Severity::Critical, false)]);
}
