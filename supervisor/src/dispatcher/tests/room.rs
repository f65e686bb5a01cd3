//! What is out at workers, and what waits in memory, has a bound in bytes.

use super::{
    super::{
        Dispatch, Event, Settings,
        settings::{
            Bounds, OutageDetection, PoolSettings, Processing, StreamOverlay, StreamSettings,
        },
        settings::{Pattern, StreamTable},
    },
    desk::{Desk, ms, secs},
};

/// Bytes of one of a desk's messages.
fn weight() -> usize {
    let mut desk = Desk::new(StreamSettings::default(), 1);
    desk.fill("a", 1);
    desk.wait_for_dispatch().message.weight()
}

/// A desk with a worker, at which `messages` may be out; streams `b*` have a pool of their own.
fn bounded(messages: usize, bounds: Bounds) -> Desk {
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
    let mut desk = Desk::with(settings, 1);
    let (id, pool) = ("v0".into(), "other".into());
    desk.tell(Event::WorkerSeen { id, pool, concurrency: None, beats: false });
    desk
}

fn take(desk: &mut Desk) -> Vec<Dispatch> {
    desk.dispatches.drain(..).collect()
}

#[test]
fn calls_out_are_bounded_by_bytes_and_what_does_not_fit_goes_out_later() {
    let mut desk = bounded(8, Bounds::default());
    desk.fill("a", 20);
    let mut out = take(&mut desk);
    assert_eq!(out.len(), 4, "alone it has half");
    for _ in 0..20 {
        desk.answer(out.remove(0).attempt, 200);
        out.extend(take(&mut desk));
        assert!(out.len() <= 4);
    }
    assert_eq!(desk.order(), (1..=20).collect::<Vec<_>>());
}

#[test]
fn one_message_goes_out_however_large_it_is() {
    let mut desk = bounded(0, Bounds::default());
    desk.fill("a", 3);
    desk.fill("b", 3);
    for _ in 0..3 {
        let out = take(&mut desk);
        assert_eq!(out.len(), 2, "one of each pool");
        out.iter().for_each(|one| desk.answer(one.attempt, 200));
    }
    assert_eq!(desk.released.len(), 6);
}

#[test]
fn a_pool_that_hangs_leaves_room_for_another() {
    let mut desk = bounded(8, Bounds::default());
    desk.fill("a", 20);
    assert_eq!(take(&mut desk).len(), 4);
    desk.fill("b", 20);
    let mut out = take(&mut desk);
    assert_eq!(out.len(), 2, "as much as is left then");
    for _ in 0..20 {
        desk.answer(out.remove(0).attempt, 200);
        out.extend(take(&mut desk));
    }
    assert_eq!(desk.released.len(), 20);
}

#[test]
fn late_calls_give_way_the_oldest_first() {
    let mut desk = bounded(8, Bounds::default());
    desk.fill("a", 4);
    let hanging = take(&mut desk);
    desk.fill("c", 3);
    assert!(desk.dispatches.is_empty() && desk.given_up.is_empty(), "they are in time");
    let begun = desk.now;
    let stream = desk.dispatcher.state().find_stream("c").unwrap();
    while desk.dispatches.iter().filter(|one| one.stream == stream).count() < 3 {
        desk.wait(ms(10));
        assert!(desk.now < begun + secs(15));
    }
    assert_eq!(desk.given_up.first(), hanging.first().map(|one| &one.attempt));
}

#[test]
fn a_late_call_stays_while_nobody_needs_its_room() {
    let mut desk = bounded(8, Bounds::default());
    desk.fill("a", 1);
    let first = desk.wait_for_dispatch();
    desk.wait(secs(4));
    assert!(desk.given_up.is_empty());
    desk.answer(first.attempt, 200);
    assert_eq!(desk.order(), [1]);
}

#[test]
fn what_waits_to_be_tried_again_is_let_go_and_its_late_answer_counts() {
    let mut desk = bounded(100, Bounds { cache_bytes: 0, ..Bounds::default() });
    desk.fill("a", 3);
    desk.fetch_all();
    let mut first = take(&mut desk);
    while first.len() < 3 {
        desk.fetch_all();
        first.extend(take(&mut desk));
    }
    desk.wait(ms(2_001));
    let sizes = desk.dispatcher.verify(desk.now).unwrap();
    assert_eq!(sizes.held_bytes, 0, "nothing of it is held: {sizes:?}");
    desk.answer(first.remove(0).attempt, 200);
    assert_eq!(desk.order(), [1]);
    // The others are read back when they are due.
    let begun = desk.now;
    while desk.released.len() < 3 {
        desk.wait(ms(50));
        desk.fetch_all();
        take(&mut desk).iter().for_each(|one| desk.answer(one.attempt, 200));
        assert!(desk.now < begun + secs(10));
    }
}

#[test]
fn so_many_reads_are_out_and_only_when_there_is_room() {
    let mut desk = bounded(8, Bounds { cache_bytes: 0, fetches: 3, ..Bounds::default() });
    (0..20).for_each(|number| desk.fill(&format!("a{number}"), 1));
    assert_eq!(desk.fetches.len(), 3);
    let mut out = Vec::new();
    while out.len() < 4 {
        assert!(desk.fetches.len() <= 3);
        desk.fetch_all();
        out.extend(take(&mut desk));
    }
    assert!(desk.fetches.is_empty(), "what was read would wait in memory");
    let held = desk.dispatcher.verify(desk.now).unwrap().held_bytes;
    assert!(held <= (4 + 3) * out[0].message.weight(), "{held} bytes are held");
    while desk.released.len() < 20 {
        let one = out.pop().expect("something is out");
        desk.answer(one.attempt, 200);
        desk.fetch_all();
        out.extend(take(&mut desk));
    }
}

#[test]
fn a_worker_that_goes_to_another_pool_takes_along_what_it_has() {
    let mut desk = bounded(8, Bounds::default());
    desk.fill("a", 9);
    let out = take(&mut desk);
    desk.tell(Event::WorkerSeen {
        id: "w0".into(),
        pool: "other".into(),
        concurrency: None,
        beats: false,
    });
    desk.join("w1");
    assert_eq!(take(&mut desk).len(), 2, "as if the other pool had sent it");
    out.iter().for_each(|one| desk.answer(one.attempt, 200));
    assert_eq!(desk.dispatcher.verify(desk.now).unwrap().out_bytes, 4 * out[0].message.weight());
}

#[test]
fn copies_of_slow_attempts_are_bounded_too() {
    let mut desk = bounded(8, Bounds::default());
    desk.join("w1");
    for _ in 0..200 {
        desk.fill("a", 1);
        let one = desk.wait_for_dispatch();
        desk.wait(ms(5));
        desk.answer(one.attempt, 200);
    }
    desk.fill("a", 4);
    assert_eq!(take(&mut desk).len(), 4);
    desk.wait(ms(500));
    assert!(desk.dispatches.is_empty(), "there is no room for a copy");
}
