//! What is out at workers, and what waits in memory, has a bound in bytes.

use super::{
    super::{
        Dispatch, Event, Settings,
        settings::{
            Bounds, OutageDetection, PoolSettings, Processing, StreamOverlay, StreamSettings,
        },
        settings::{Pattern, StreamTable},
    },
    fixture::{Fixture, ms, secs},
};

/// Bytes of one of a fixture's messages.
fn weight() -> usize {
    let mut fixture = Fixture::new(StreamSettings::default(), 1);
    fixture.fill("a", 1);
    fixture.wait_for_dispatch().message.weight()
}

/// A fixture with a worker, at which `messages` may be out; streams `b*` have a pool of their own.
fn bounded(messages: usize, bounds: Bounds) -> Fixture {
    let bounds = Bounds { in_flight_bytes: messages * weight(), ..bounds };
    let other = Some(Processing::Pool("other".into()));
    let overlay = StreamOverlay { processing: other, ..StreamOverlay::default() };
    let off = PoolSettings { outage: OutageDetection::Off, ..PoolSettings::default() };
    let settings = Settings {
        streams: StreamTable::new([(Pattern::new("b*"), overlay)]),
        pools: ["default", "other"].map(|name| (name.into(), off.clone())).into(),
        bounds,
        ..Settings::default()
    };
    let mut fixture = Fixture::with(settings, 1);
    let (id, pool) = ("v0".into(), "other".into());
    fixture.tell(Event::WorkerSeen { id, pool, concurrency: None, beats: false });
    fixture
}

fn take(fixture: &mut Fixture) -> Vec<Dispatch> {
    fixture.dispatches.drain(..).collect()
}

#[test]
fn calls_out_are_bounded_by_bytes_and_what_does_not_fit_goes_out_later() {
    let mut fixture = bounded(8, Bounds::default());
    fixture.fill("a", 20);
    let mut out = take(&mut fixture);
    assert_eq!(out.len(), 4, "alone it has half");
    for _ in 0..20 {
        fixture.answer(out.remove(0).attempt, 200);
        out.extend(take(&mut fixture));
        assert!(out.len() <= 4);
    }
    assert_eq!(fixture.order(), (1..=20).collect::<Vec<_>>());
}

#[test]
fn one_message_goes_out_however_large_it_is() {
    let mut fixture = bounded(0, Bounds::default());
    fixture.fill("a", 3);
    fixture.fill("b", 3);
    for _ in 0..3 {
        let out = take(&mut fixture);
        assert_eq!(out.len(), 2, "one of each pool");
        out.iter().for_each(|one| fixture.answer(one.attempt, 200));
    }
    assert_eq!(fixture.released.len(), 6);
}

#[test]
fn a_pool_that_hangs_leaves_room_for_another() {
    let mut fixture = bounded(8, Bounds::default());
    fixture.fill("a", 20);
    assert_eq!(take(&mut fixture).len(), 4);
    fixture.fill("b", 20);
    let mut out = take(&mut fixture);
    assert_eq!(out.len(), 2, "as much as is left then");
    for _ in 0..20 {
        fixture.answer(out.remove(0).attempt, 200);
        out.extend(take(&mut fixture));
    }
    assert_eq!(fixture.released.len(), 20);
}

#[test]
fn late_calls_give_way_the_oldest_first() {
    let mut fixture = bounded(8, Bounds::default());
    fixture.fill("a", 4);
    let hanging = take(&mut fixture);
    fixture.fill("c", 3);
    assert!(fixture.dispatches.is_empty() && fixture.given_up.is_empty(), "they are in time");
    let begun = fixture.now;
    let stream = fixture.dispatcher.state().find_stream("c").unwrap();
    while fixture.dispatches.iter().filter(|one| one.stream == stream).count() < 3 {
        fixture.wait(ms(10));
        assert!(fixture.now < begun + secs(15));
    }
    assert_eq!(fixture.given_up.first(), hanging.first().map(|one| &one.attempt));
}

#[test]
fn a_late_call_stays_while_nobody_needs_its_room() {
    let mut fixture = bounded(8, Bounds::default());
    fixture.fill("a", 1);
    let first = fixture.wait_for_dispatch();
    fixture.wait(secs(4));
    assert!(fixture.given_up.is_empty());
    fixture.answer(first.attempt, 200);
    assert_eq!(fixture.order(), [1]);
}

#[test]
fn what_waits_to_be_tried_again_is_let_go_and_its_late_answer_counts() {
    let mut fixture = bounded(100, Bounds { cache_bytes: 0, ..Bounds::default() });
    fixture.fill("a", 3);
    fixture.fetch_all();
    let mut first = take(&mut fixture);
    while first.len() < 3 {
        fixture.fetch_all();
        first.extend(take(&mut fixture));
    }
    fixture.wait(ms(2_001));
    let sizes = fixture.dispatcher.verify(fixture.now).unwrap();
    assert_eq!(sizes.held_bytes, 0, "nothing of it is held: {sizes:?}");
    fixture.answer(first.remove(0).attempt, 200);
    assert_eq!(fixture.order(), [1]);
    // The others are read back when they are due.
    let begun = fixture.now;
    while fixture.released.len() < 3 {
        fixture.wait(ms(50));
        fixture.fetch_all();
        take(&mut fixture).iter().for_each(|one| fixture.answer(one.attempt, 200));
        assert!(fixture.now < begun + secs(10));
    }
}

#[test]
fn so_many_reads_are_out_and_only_when_there_is_room() {
    let mut fixture = bounded(8, Bounds { cache_bytes: 0, fetches: 3, ..Bounds::default() });
    (0..20).for_each(|number| fixture.fill(&format!("a{number}"), 1));
    assert_eq!(fixture.fetches.len(), 3);
    let mut out = Vec::new();
    while out.len() < 4 {
        assert!(fixture.fetches.len() <= 3);
        fixture.fetch_all();
        out.extend(take(&mut fixture));
    }
    assert!(fixture.fetches.is_empty(), "what was read would wait in memory");
    let held = fixture.dispatcher.verify(fixture.now).unwrap().held_bytes;
    assert!(held <= (4 + 3) * out[0].message.weight(), "{held} bytes are held");
    while fixture.released.len() < 20 {
        let one = out.pop().expect("something is out");
        fixture.answer(one.attempt, 200);
        fixture.fetch_all();
        out.extend(take(&mut fixture));
    }
}

#[test]
fn a_worker_that_goes_to_another_pool_takes_along_what_it_has() {
    let mut fixture = bounded(8, Bounds::default());
    fixture.fill("a", 9);
    let out = take(&mut fixture);
    fixture.tell(Event::WorkerSeen {
        id: "w0".into(),
        pool: "other".into(),
        concurrency: None,
        beats: false,
    });
    fixture.join("w1");
    assert_eq!(take(&mut fixture).len(), 2, "as if the other pool had sent it");
    out.iter().for_each(|one| fixture.answer(one.attempt, 200));
    assert_eq!(
        fixture.dispatcher.verify(fixture.now).unwrap().out_bytes,
        4 * out[0].message.weight()
    );
}

#[test]
fn copies_of_slow_attempts_are_bounded_too() {
    let mut fixture = bounded(8, Bounds::default());
    fixture.join("w1");
    for _ in 0..200 {
        fixture.fill("a", 1);
        let one = fixture.wait_for_dispatch();
        fixture.wait(ms(5));
        fixture.answer(one.attempt, 200);
    }
    fixture.fill("a", 4);
    assert_eq!(take(&mut fixture).len(), 4);
    fixture.wait(ms(500));
    assert!(fixture.dispatches.is_empty(), "there is no room for a copy");
}
