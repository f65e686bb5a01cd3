//! Outages of pools, calls that hang, and who is tried next.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use super::{
    super::{
        Cause, Dispatch, Event, RequestId, Settings,
        event::Decision,
        settings::{Hedging, OutageDetection, PoolSettings, StreamSettings},
    },
    desk::{Desk, ms, parked, secs},
    snapshot::folded,
};
use crate::record::{Reason, Record, Severity};

fn quick() -> StreamSettings {
    let mut settings = StreamSettings { hedge: Hedging::Off, ..StreamSettings::default() };
    (settings.ladder.jitter, settings.ladder.multiplier_permille) = (ms(50), 1_000);
    settings
}

fn desk_of(pool: PoolSettings, stream: StreamSettings, workers: usize) -> Desk {
    let (default_stream, pools) = (Arc::new(stream), vec![("default".into(), pool)]);
    Desk::with(Settings { default_stream, pools, ..Settings::default() }, workers)
}

/// Lets all that is out, and all that comes out in a while, end with this status.
fn all_answer(desk: &mut Desk, span: Duration, status: impl Fn(&Dispatch) -> u16) -> u64 {
    let (until, mut count) = (desk.now + span, 0);
    while desk.now < until {
        for dispatch in std::mem::take(&mut desk.dispatches) {
            count += 1;
            desk.answer(dispatch.attempt, status(&dispatch));
        }
        desk.fetch_all();
        desk.wait(ms(20));
    }
    count
}

fn failures(desk: &Desk) -> usize {
    desk.records.iter().filter(|record| matches!(record, Record::Failed { .. })).count()
}

fn cause(desk: &Desk, stream: &str) -> Option<Cause> {
    let stream = desk.dispatcher.state().find_stream(stream)?;
    desk.dispatcher.stream_status(stream).cause
}

fn alerts(desk: &Desk) -> Vec<(&'static str, Severity, bool)> {
    let all = desk.dispatcher.alerts();
    all.map(|alert| (alert.kind, alert.severity, alert.until.is_none())).collect()
}

#[test]
fn an_outage_of_a_pool_is_charged_to_no_message() {
    let mut desk = Desk::new(StreamSettings::default(), 4);
    for stream in ["a", "b", "c"] {
        desk.fill(stream, 20);
    }
    all_answer(&mut desk, secs(3_600), |_| 500);
    assert_eq!((failures(&desk), parked(&desk)), (5, 0));
    assert_eq!(alerts(&desk), [("pool_outage", Severity::Critical, true)]);
    assert_eq!(cause(&desk, "a"), Some(Cause::PoolOutage));
    let healed = desk.now;
    while desk.released.len() < 60 {
        all_answer(&mut desk, ms(20), |_| 200);
        assert!(desk.now < healed + secs(15), "{} are released", desk.released.len());
    }
    desk.wait(secs(2));
    assert_eq!(alerts(&desk), [("pool_outage", Severity::Critical, false)]);
    assert_eq!(cause(&desk, "a"), None);
}

#[test]
fn probes_are_one_at_a_time_and_rarer_with_each() {
    let mut desk = Desk::new(quick(), 4);
    for stream in ["a", "b", "c"] {
        desk.fill(stream, 20);
    }
    all_answer(&mut desk, ms(200), |_| 500);
    assert_eq!(cause(&desk, "b"), Some(Cause::PoolOutage));
    // They hang: a worker has one more in time with none before it.
    let mut streams = BTreeSet::new();
    for _ in 0..100 {
        desk.wait(ms(100));
        let mut workers: Vec<_> = desk.dispatches.iter().map(|one| one.worker.clone()).collect();
        workers.sort();
        workers.dedup();
        assert_eq!(workers.len(), desk.dispatches.len());
        streams.extend(desk.dispatches.iter().map(|one| one.stream));
        desk.wait(secs(2));
        desk.dispatches.clear();
    }
    assert_eq!(streams.len(), 3, "the streams have their turns");
    desk.dispatches.clear();
    let probes = all_answer(&mut desk, secs(300), |_| 500);
    assert!((4 * 19..=4 * 41).contains(&probes), "{probes} in five minutes");
}

#[test]
fn a_poison_message_at_the_head_does_not_pass_for_an_outage() {
    let mut desk = Desk::new(quick(), 4);
    desk.fill("a", 40);
    all_answer(&mut desk, secs(60), |_| 500);
    assert_eq!(cause(&desk, "a"), Some(Cause::PoolOutage));
    let poison = |dispatch: &Dispatch| if dispatch.sequence.0 == 1 { 500 } else { 200 };
    all_answer(&mut desk, secs(40), poison);
    assert_eq!(parked(&desk), 1, "it alone");
    desk.decide("a", 1, Decision::Skip { reason: "".into() });
    assert_eq!(desk.released.len(), 40);
}

#[test]
fn what_fails_alone_or_at_one_worker_is_no_outage() {
    // One message, everywhere; two workers.
    let mut desk = Desk::new(quick(), 2);
    desk.fill("a", 1);
    all_answer(&mut desk, secs(60), |_| 500);
    assert_eq!((parked(&desk), desk.dispatcher.counters().outages), (1, 0));
    // Everything, at one of two workers, and the other one does well in between.
    let mut desk = Desk::new(quick(), 2);
    desk.fill("a", 50);
    all_answer(&mut desk, secs(60), |dispatch| if &*dispatch.worker == "w0" { 500 } else { 200 });
    assert_eq!(desk.dispatcher.counters().outages, 0);
    // A pool of one.
    let mut desk = Desk::new(quick(), 1);
    desk.fill("a", 2);
    all_answer(&mut desk, secs(60), |_| 500);
    assert_eq!((parked(&desk), desk.dispatcher.counters().outages), (0, 1));
    // Refusals speak of their messages.
    let mut desk = Desk::new(quick(), 3);
    desk.fill("a", 20);
    all_answer(&mut desk, secs(60), |_| 422);
    assert_eq!((parked(&desk), desk.dispatcher.counters().outages), (20, 0));
    // Nobody wants it.
    let off = PoolSettings { outage: OutageDetection::Off, ..PoolSettings::default() };
    let mut desk = desk_of(off, quick(), 4);
    desk.fill("a", 5);
    all_answer(&mut desk, secs(120), |_| 500);
    assert_eq!((parked(&desk), desk.dispatcher.counters().outages), (5, 0));
}

#[test]
fn an_outage_survives_a_restart_and_a_snapshot() {
    let mut desk = Desk::new(quick(), 3);
    desk.fill("a", 10);
    all_answer(&mut desk, secs(5), |_| 500);
    let counted = failures(&desk);
    desk.restart();
    (0..3).for_each(|number| desk.join(&format!("w{number}")));
    desk.dispatches.clear();
    assert_eq!(cause(&desk, "a"), Some(Cause::PoolOutage));
    desk.fetch_all();
    all_answer(&mut desk, secs(60), |_| 500);
    assert_eq!((failures(&desk), parked(&desk)), (counted, 0));
    let begin = desk.records.len();
    desk.dispatcher.handle(Event::Snapshot { request: RequestId(9) }, desk.now);
    while desk.dispatcher.is_exporting() {
        desk.dispatcher.export();
    }
    desk.listen();
    assert_eq!(folded(&desk, begin).facts(), folded(&desk, 0).facts());
    all_answer(&mut desk, secs(20), |_| 200);
    assert_eq!(desk.released.len(), 10);
}

#[test]
fn turning_it_off_ends_it() {
    let mut desk = Desk::new(quick(), 3);
    desk.fill("a", 10);
    all_answer(&mut desk, secs(5), |_| 500);
    let off = PoolSettings { outage: OutageDetection::Off, ..PoolSettings::default() };
    let (default_stream, pools) = (Arc::new(quick()), vec![("default".into(), off)]);
    let settings = Settings { default_stream, pools, ..Settings::default() };
    desk.tell(Event::Settings(Arc::new(settings)));
    assert_eq!(alerts(&desk), [("pool_outage", Severity::Critical, false)]);
    all_answer(&mut desk, secs(60), |_| 500);
    assert_eq!(parked(&desk), 10);
}

/// A desk whose workers have four places each, and whose pool is never in an outage.
fn with_places(stream: StreamSettings, workers: usize) -> Desk {
    let mut desk = Desk::without_outages(stream, 0);
    for number in 0..workers {
        let id = format!("w{number}").into();
        let (pool, concurrency) = ("default".into(), Some(4));
        desk.tell(Event::WorkerSeen { id, pool, concurrency, beats: false });
    }
    desk
}

#[test]
fn calls_that_hang_make_place_for_what_waits() {
    let mut desk = with_places(StreamSettings { max_in_flight: 8, ..quick() }, 2);
    desk.fill("bad", 8);
    let hanging: Vec<_> = desk.dispatches.drain(..).map(|one| one.attempt).collect();
    assert_eq!(hanging.len(), 8);
    desk.fill("good", 1);
    desk.wait(secs(1));
    assert!(desk.dispatches.is_empty() && desk.given_up.is_empty(), "they are in time");
    let begun = desk.now;
    let good = desk.dispatcher.state().find_stream("good").unwrap();
    while desk.dispatches.iter().all(|dispatch| dispatch.stream != good) {
        desk.wait(ms(10));
        assert!(desk.now < begun + secs(15));
    }
    assert_eq!(desk.given_up.first(), hanging.first(), "the oldest first");
    let late = *hanging.last().unwrap();
    if !desk.given_up.contains(&late) {
        desk.answer(late, 200);
        assert_eq!(desk.dispatcher.counters().completed, 1, "nobody needed its place");
    }
}

#[test]
fn a_late_call_stays_while_nobody_needs_its_place() {
    let mut desk = with_places(quick(), 2);
    desk.fill("a", 1);
    let first = desk.wait_for_dispatch();
    desk.wait(secs(3));
    assert_eq!(desk.dispatches.len(), 1);
    assert!(desk.given_up.is_empty());
    desk.answer(first.attempt, 200);
    assert_eq!(desk.order(), [1]);
}

#[test]
fn the_worker_that_has_just_failed_is_not_the_next_one() {
    let mut stream = quick();
    stream.ladder.max_attempts = 40;
    let mut desk = Desk::new(stream, 3);
    desk.fill("a", 1);
    let mut last = None;
    for _ in 0..39 {
        let dispatch = desk.wait_for_dispatch();
        assert_ne!(last.as_ref(), Some(&dispatch.worker));
        desk.answer(dispatch.attempt, 500);
        last = Some(dispatch.worker);
        // The pool does well otherwise, so that nobody is taken out.
        for number in 0..3 {
            desk.fill("others", 1);
            let other = desk.dispatches.pop().unwrap();
            desk.answer(other.attempt, 200);
            assert!(number < 3);
        }
    }
    // Alone, it is better than nobody.
    let mut stream = quick();
    stream.ladder.max_attempts = 5;
    let mut desk = Desk::new(stream, 1);
    desk.fill("a", 1);
    all_answer(&mut desk, secs(20), |_| 500);
    assert_eq!(parked(&desk), 1);
}

/// What goes out next, once it is read back.
fn next(desk: &mut Desk) -> Dispatch {
    while desk.dispatches.is_empty() {
        desk.fetch_all();
        desk.wait(ms(100));
    }
    desk.dispatches.remove(0)
}

#[test]
fn a_message_is_tried_for_as_long_as_its_stream_says() {
    let mut stream = StreamSettings { retry_for: Some(secs(3_600)), ..quick() };
    (stream.ladder.max_attempts, stream.ladder.multiplier_permille) = (3, 2_000);
    stream.ladder.max_delay = secs(60);
    let mut desk = Desk::new(stream, 2);
    desk.fill("a", 1);
    let begun = desk.now;
    let mut longest = Duration::ZERO;
    while parked(&desk) == 0 {
        let dispatch = next(&mut desk);
        longest = longest.max(dispatch.timeout);
        assert!(dispatch.number == 1 || dispatch.reason == Reason::Retry);
        desk.answer(dispatch.attempt, 500);
        if dispatch.number == 20 {
            desk.restart();
            (0..2).for_each(|number| desk.join(&format!("w{number}")));
        }
    }
    let took = desk.now.since(begun);
    assert!((secs(3_600)..secs(3_700)).contains(&took), "{took:?}");
    assert_eq!(longest, secs(60));
    desk.decide("a", 1, Decision::Retry { reason: "".into() });
    let (again, mut tries) = (desk.now, 0);
    while parked(&desk) == 0 {
        let dispatch = next(&mut desk);
        desk.answer(dispatch.attempt, 500);
        tries += 1;
    }
    assert!(desk.now.since(again) >= secs(3_600), "from when a person sent it back; {tries} tries");
}

/// Streams whose calls may take long.
fn patient(span: Duration) -> StreamSettings {
    let mut stream = StreamSettings { hedge: Hedging::Off, max_in_flight: 8, ..quick() };
    stream.ladder.timeout = span;
    stream
}

#[test]
fn a_long_call_does_not_keep_a_limited_worker_from_others() {
    let mut desk = Desk::without_outages(patient(secs(600)), 1);
    desk.fill("long", 1);
    let busy = desk.wait_for_dispatch();
    // From now on it gets one call at a time.
    desk.answer(busy.attempt, 503);
    let long = desk.wait_for_dispatch();
    desk.fill("others", 3);
    let begun = desk.now;
    for _ in 0..3 {
        let other = desk.wait_for_dispatch();
        assert_ne!(other.stream, long.stream);
        desk.answer(other.attempt, 200);
    }
    assert!(desk.now < begun + secs(10), "{:?}", desk.now.since(begun));
    assert_eq!(desk.released.len(), 3);
}

#[test]
fn a_limited_worker_that_hangs_gets_little_more() {
    let mut desk = Desk::without_outages(patient(secs(600)), 1);
    desk.fill("a", 8);
    desk.fill("b", 8);
    for dispatch in std::mem::take(&mut desk.dispatches) {
        desk.answer(dispatch.attempt, 503);
    }
    desk.wait(secs(20));
    assert!((4..=8).contains(&desk.dispatches.len()), "{} calls", desk.dispatches.len());
}

/// The number of a stream, by its name.
fn number(desk: &Desk, stream: &str) -> rollcall_common::ids::StreamId {
    desk.dispatcher.state().find_stream(stream).unwrap()
}

#[test]
fn long_calls_from_before_keep_no_outage_alive() {
    let mut desk = Desk::new(patient(secs(300)), 2);
    desk.fill("long", 6);
    let long: Vec<_> = desk.dispatches.drain(..).collect();
    assert_eq!(long.len(), 6);
    desk.fill("a", 3);
    desk.fill("b", 3);
    while alerts(&desk).is_empty() {
        let failing = desk.wait_for_dispatch();
        desk.answer(failing.attempt, 500);
    }
    assert_eq!(alerts(&desk), [("pool_outage", Severity::Critical, true)]);
    let begun = desk.now;
    all_answer(&mut desk, secs(15), |_| 200);
    assert_eq!(alerts(&desk), [("pool_outage", Severity::Critical, false)]);
    let released = |stream| desk.dispatcher.stream_status(stream).released.0;
    assert_eq!((released(number(&desk, "a")), released(number(&desk, "b"))), (3, 3));
    assert!(desk.now <= begun + secs(16));
}

#[test]
fn probes_that_take_long_keep_no_outage_alive() {
    let mut desk = Desk::new(patient(secs(300)), 2);
    desk.fill("a", 3);
    desk.fill("b", 3);
    while alerts(&desk).is_empty() {
        let failing = desk.wait_for_dispatch();
        desk.answer(failing.attempt, 500);
    }
    desk.dispatches.clear();
    // Both workers hang, each with a probe that has five minutes.
    desk.wait(secs(10));
    let probes: BTreeSet<_> = desk.dispatches.drain(..).map(|one| one.worker).collect();
    assert_eq!(probes.len(), 2);
    all_answer(&mut desk, secs(40), |_| 200);
    assert_eq!(alerts(&desk), [("pool_outage", Severity::Critical, false)]);
}
