//! No state and no event makes one call, or one entry of the journal, grow beyond its bound.

use std::sync::Arc;

use super::{
    super::{
        Event, Reply,
        settings::{Bounds, OnExhausted, Settings, StreamSettings},
    },
    fixture::{Fixture, name, secs},
};
use crate::record::{AlertRecord, Outcome, Record, Subject};

/// A fixture without workers, whose calls do `work` things at once.
fn small(work: usize, stream: StreamSettings) -> Fixture {
    let bounds = Bounds { work, passes: work, held_alerts: 3, ..Bounds::default() };
    Fixture::with(Settings { default_stream: Arc::new(stream), bounds, ..Settings::default() }, 0)
}

fn held(seconds: u64) -> StreamSettings {
    StreamSettings { hold_alert_after: secs(seconds), ..StreamSettings::default() }
}

/// Calls until nothing is due; the most records that one of them wrote down.
fn work_off(fixture: &mut Fixture) -> (usize, usize) {
    let (mut calls, mut most) = (0, 0);
    while fixture.dispatcher.poll_timeout().is_some_and(|at| at <= fixture.now) {
        let before = fixture.records.len();
        fixture.dispatcher.handle_timeout(fixture.now);
        fixture.listen();
        calls += 1;
        most = most.max(fixture.records.len() - before);
    }
    (calls, most)
}

fn live(fixture: &Fixture) -> Vec<(Option<String>, String)> {
    let alerts = fixture.dispatcher.alerts().filter(|alert| alert.until.is_none());
    let held = alerts.filter(|alert| alert.kind == "stream_held");
    let shown = held.map(|alert| (alert.stream.map(|name| name.to_string()), alert.detail.into()));
    shown.collect()
}

#[test]
fn timers_that_are_due_together_are_worked_off_in_parts() {
    let mut fixture = small(2, held(1));
    (0..20).for_each(|number| fixture.fill(&format!("s{number}"), 1));
    fixture.now = fixture.now + secs(2);
    let (calls, most) = work_off(&mut fixture);
    assert!(calls >= 10 && most <= 4, "{calls} calls, at most {most} records");
    assert!(fixture.dispatcher.poll_timeout().is_some_and(|at| at > fixture.now));
}

#[test]
fn streams_that_stand_still_have_so_many_alerts_and_one_that_counts_the_rest() {
    let mut fixture = small(512, held(1));
    (0..10).for_each(|number| fixture.fill(&format!("s{number}"), 1));
    fixture.wait(secs(3));
    let all = live(&fixture);
    assert_eq!(all.len(), 4, "{all:?}");
    let counted: Vec<_> = all.iter().filter(|(stream, _)| stream.is_none()).collect();
    assert!(counted[0].1.starts_with("7 more streams stand still"), "{counted:?}");
    let again = fixture.records.len();
    fixture.wait(secs(20));
    let raised = fixture.records.iter().skip(again);
    let subjects = raised.filter_map(|one| {
        let Record::Alert(AlertRecord::Raised { subject, .. }) = one else { return None };
        (!matches!(subject, Subject::Pool(_))).then_some(subject)
    });
    let subjects: Vec<_> = subjects.collect();
    let own = subjects.iter().all(|subject| matches!(subject, Subject::Held(_)));
    assert!(own && subjects.len() == 3, "those that have one get worse: {subjects:?}");
    // After a restart it is the same.
    fixture.restart();
    fixture.wait(secs(30));
    assert_eq!(live(&fixture).len(), 4);
    // When streams go on, others move up, and at last nothing is counted any more.
    fixture.join("w0");
    fixture.fetch_all();
    for _ in 0..7 {
        let dispatch = fixture.wait_for_dispatch();
        fixture.answer(dispatch.attempt, 200);
    }
    fixture.wait(secs(1));
    let left = live(&fixture);
    assert!(left.len() == 3 && left.iter().all(|(stream, _)| stream.is_some()), "{left:?}");
}

#[test]
fn what_passes_passes_in_parts() {
    let mut fixture = small(3, StreamSettings { pool: None, ..StreamSettings::default() });
    fixture.fill("a", 1);
    fixture.pause("a");
    fixture.fill("a", 10);
    fixture.resume("a");
    assert!(
        fixture.order().len() < 11 && fixture.dispatcher.is_deferred(super::super::StreamId(0))
    );
    let (calls, most) = work_off(&mut fixture);
    assert!(calls >= 2 && most <= 3, "{calls} calls, at most {most} records");
    assert_eq!(fixture.order(), (1..=11).collect::<Vec<_>>());
}

#[test]
fn heads_that_are_skipped_are_skipped_in_parts() {
    let hold = StreamSettings { on_exhausted: OnExhausted::Hold, ..StreamSettings::default() };
    let mut fixture = small(2, hold.clone());
    fixture.join("w0");
    fixture.fill("a", 9);
    for _ in 0..9 {
        let dispatch = fixture.wait_for_dispatch();
        let refused = super::super::WorkerReply::Answer {
            status: 200,
            outcome: Some(rollcall_common::protocol::Outcome::Park),
            reason: "no".into(),
            retry_after: None,
            payload: Default::default(),
        };
        fixture.tell(Event::AttemptEnded { attempt: dispatch.attempt, reply: refused });
    }
    assert_eq!(super::fixture::parked(&fixture), 9);
    let before = fixture.records.len();
    let skip = Arc::new(StreamSettings { on_exhausted: OnExhausted::Skip, ..hold });
    let settings = Settings { default_stream: skip, ..(*fixture.settings).clone() };
    fixture.tell(Event::Settings(Arc::new(settings)));
    assert_eq!(fixture.records.len(), before, "a reload itself writes nothing down");
    let (calls, most) = work_off(&mut fixture);
    assert!(calls >= 3 && most <= 4, "{calls} calls, at most {most} records");
    let skipped = fixture.records.iter().filter(
        |one| matches!(one, Record::Answered { answer, .. } if answer.outcome == Outcome::Skipped),
    );
    assert_eq!((skipped.count(), fixture.order().len()), (9, 9));
}

#[test]
fn a_request_that_no_entry_holds_is_refused_whole() {
    let bounds =
        Bounds { entry_bytes: 1000, turn_bytes: 100, reserve_bytes: 100, ..Bounds::default() };
    let mut fixture = Fixture::with(Settings { bounds, ..Settings::default() }, 0);
    let many = vec![("", 0); 13];
    let reply = fixture.send("a", &many);
    assert!(matches!(reply, Reply::TooLarge { limit: 800, bytes } if bytes > 800), "{reply:?}");
    assert!(fixture.dispatcher.state().find_stream("a").is_none(), "not even the stream is made");
    fixture.fill("a", 5);
    let keyed: Vec<_> = ["a", "b", "c"].map(|key| (key, 1)).into();
    assert!(matches!(fixture.send("a", &keyed), Reply::Accepted { .. }));
    let mut more = keyed.repeat(4);
    more.push(("d", 1));
    // What was seen before takes up no room.
    assert!(matches!(fixture.send("a", &more), Reply::Accepted { .. }));
}

#[test]
fn there_are_so_many_streams_and_no_more() {
    let bounds = Bounds { streams: 2, ..Bounds::default() };
    let mut fixture = Fixture::with(Settings { bounds, ..Settings::default() }, 0);
    fixture.fill("a", 1);
    fixture.fill("b", 1);
    assert_eq!(fixture.send("c", &[("", 0)]), Reply::TooManyStreams { limit: 2 });
    fixture.fill("b", 1);
    assert_eq!(fixture.dispatcher.state().stream_count(), 2);
    assert!(fixture.dispatcher.state().find_stream(name("c").as_str()).is_none());
}

#[test]
fn the_alert_that_counts_is_of_no_stream() {
    assert_eq!((Subject::HeldFlood.stream(), Subject::HeldFlood.sequence()), (None, None));
}
