//! What contradicts itself is left alone and told, and everything else goes on.

use std::sync::Arc;

use rollcall_common::ids::{Position, Sequence, StreamId};

use super::{
    super::{
        Event, LaggingSubscribers, RequestId, State,
        event::{Decision, Order},
        settings::{Settings, StreamSettings},
    },
    fixture::{Fixture, secs},
};
use crate::record::{DeliveryMode, Origin, PauseReason, Record, SequenceRange, SubscriptionSpec};

/// Streams without a processing step, of whose results hardly any are at hand.
fn passing() -> Fixture {
    let default_stream = Arc::new(StreamSettings { pool: None, ..StreamSettings::default() });
    Fixture::with(Settings { default_stream, recent: 1, ..Settings::default() }, 0)
}

fn run(stream: u32, first: u64, position: u64, last: u64) -> SequenceRange {
    let (first, last) = (Sequence(first), Sequence(last));
    SequenceRange { stream: StreamId(stream), first, position: Position(position), last }
}

/// What the look that is out finds.
fn find(fixture: &mut Fixture, to: u64, found: &[SequenceRange]) {
    let (subscription, revision, _) = fixture.scans.remove(0);
    let (to, found) = (Position(to), found.to_vec());
    fixture.tell(Event::Scanned { subscription, revision, to, found });
}

fn paused(fixture: &Fixture) -> Option<PauseReason> {
    fixture.dispatcher.subscription_status(fixture.first_subscription())?.paused
}

fn alerts(fixture: &Fixture) -> Vec<(&'static str, String)> {
    let live = fixture.dispatcher.alerts().filter(|alert| alert.until.is_none());
    live.map(|alert| (alert.kind, alert.detail.into())).collect()
}

/// A subscription that looks through twelve results of two streams and was shown four of them.
fn looking() -> Fixture {
    let mut fixture = passing();
    fixture.subscribe("s");
    (0..6).for_each(|_| ["a", "b"].iter().for_each(|name| fixture.fill(name, 1)));
    fixture.say("s", Order::Rewind(Position(0)));
    find(&mut fixture, 4, &[run(0, 1, 1, 2), run(1, 1, 2, 2)]);
    fixture
}

fn trim(fixture: &mut Fixture, through: u64) {
    let (request, through) = (RequestId(9), Position(through));
    fixture.tell(Event::Trim { request, through, below: 1, slow: LaggingSubscribers::Dropped });
}

#[test]
fn a_look_that_begins_below_what_is_kept_goes_on_with_the_first_that_is() {
    let mut fixture = looking();
    trim(&mut fixture, 8);
    find(&mut fixture, 10, &[run(0, 5, 9, 5), run(1, 5, 10, 5)]);
    assert_eq!((paused(&fixture), alerts(&fixture)), (None, vec![]));
    find(&mut fixture, 12, &[run(0, 6, 11, 6), run(1, 6, 12, 6)]);
    // The streams go on with what is there, once what was sent out before is back.
    for _ in 0..4 {
        for delivery in std::mem::take(&mut fixture.deliveries) {
            if delivery.first > Sequence(2) {
                assert_eq!((delivery.first, delivery.last), (Sequence(5), Sequence(6)));
            }
            fixture.take(&delivery, delivery.last.0);
        }
    }
    fixture.restart();
    let status = fixture.dispatcher.subscription_status(fixture.first_subscription()).unwrap();
    assert_eq!((status.checkpoint, status.paused), (Position(12), None));
}

#[test]
fn a_hole_that_nothing_explains_stops_that_subscription_and_nothing_else() {
    let mut fixture = looking();
    fixture.put("other", SubscriptionSpec::new(Origin::Api, DeliveryMode::Push));
    find(&mut fixture, 10, &[run(0, 5, 9, 5), run(1, 3, 6, 5)]);
    assert_eq!(paused(&fixture), Some(PauseReason::Inconsistent));
    fixture.wait(secs(2));
    let told = alerts(&fixture);
    assert!(told.iter().any(|(kind, _)| *kind == "position_gap"), "{told:?}");
    fixture.deliveries.clear();
    fixture.fill("c", 1);
    let names: Vec<_> = fixture.deliveries.iter().map(|one| one.name.to_string()).collect();
    assert_eq!(names, ["other"]);
    // It is paused after a restart too, and goes on once a person says so.
    fixture.restart();
    assert_eq!(paused(&fixture), Some(PauseReason::Inconsistent));
    fixture.say("s", Order::Rewind(Position(0)));
    fixture.say("s", Order::Resume);
    assert_eq!(paused(&fixture), None);
    fixture.wait(secs(2));
    assert!(alerts(&fixture).iter().all(|(kind, _)| *kind != "position_gap"));
}

#[test]
fn what_cannot_follow_is_refused_with_a_reason_and_ends_nothing() {
    let mut fixture = Fixture::new(StreamSettings::default(), 1);
    fixture.fill("a", 2);
    let dispatch = fixture.wait_for_dispatch();
    fixture.answer(dispatch.attempt, 200);
    let settings = Arc::clone(&fixture.settings);
    let folded = |records: &[Record]| {
        let mut state = State::default();
        for record in records {
            if let Some(why) = state.contradiction(record) {
                return Err(why);
            }
            state.apply(record, &settings, &mut Vec::new());
        }
        Ok(())
    };
    assert_eq!(folded(&fixture.records), Ok(()));
    for (at, record) in fixture.records.iter().enumerate() {
        // Left out, said twice, or of another stream.
        let mut without = fixture.records.clone();
        without.remove(at);
        let mut twice = fixture.records.clone();
        twice.insert(at, record.clone());
        let good = matches!(record, Record::Started { .. } | Record::Alert(_));
        let opened = matches!(record, Record::StreamCreated { .. } | Record::Accepted { .. });
        assert!(folded(&without).is_err() == opened || folded(&without).is_ok(), "{record:?}");
        assert_eq!(folded(&twice).is_ok(), good, "{record:?}");
    }
    let first = &fixture.records[..1];
    let at = fixture.now;
    let strange = [
        Record::Paused { stream: StreamId(u32::MAX), at },
        Record::Retried { stream: StreamId(0), sequence: Sequence(1), at, reason: "".into() },
        Record::PassedThrough {
            stream: StreamId(0),
            first: Sequence(1),
            last: Sequence(u64::MAX),
            at,
        },
    ];
    for record in strange {
        assert!(folded(&[first, std::slice::from_ref(&record)].concat()).is_err(), "{record:?}");
    }
}

/// A stream of two messages, the first of which is to be read back.
fn fetching() -> (Fixture, StreamId, Sequence) {
    let mut fixture = Fixture::new(StreamSettings::default(), 0);
    fixture.fill("a", 2);
    fixture.fill("b", 1);
    fixture.restart();
    fixture.join("w0");
    let at = fixture.fetches.iter().position(|(stream, ..)| stream.0 == 0).unwrap();
    let (stream, first, _) = fixture.fetches.remove(at);
    (fixture, stream, first)
}

#[test]
fn a_message_that_is_nowhere_stops_its_stream_and_nothing_else() {
    let (mut fixture, stream, first) = fetching();
    fixture.tell(Event::Fetched { at: (stream, first), messages: Vec::new() });
    assert!(fixture.dispatcher.stream_status(stream).paused);
    assert!(
        fixture
            .records
            .iter()
            .any(|one| matches!(one, Record::Audited(one) if &*one.by == "supervisor"))
    );
    let told = alerts(&fixture);
    assert!(told.iter().any(|(kind, text)| *kind == "stream_held" && text.contains("not in")));
    fixture.fetch_all();
    let other = fixture.wait_for_dispatch();
    assert_eq!(other.stream_name.as_str(), "b");
    // Whoever resumes it has the message looked for again.
    fixture.resume("a");
    fixture.fetch_all();
    assert_eq!(fixture.wait_for_dispatch().stream_name.as_str(), "a");
}

#[test]
fn a_message_that_has_its_result_when_it_is_read_back_is_not_missed() {
    let mut fixture = Fixture::new(StreamSettings::default(), 1);
    fixture.fill("a", 1);
    let late = fixture.wait_for_dispatch();
    while super::fixture::parked(&fixture) == 0 {
        fixture.wait(secs(10));
    }
    fixture.dispatches.clear();
    fixture.decide("a", 1, Decision::Retry { reason: "again".into() });
    let (stream, first, _) = fixture.fetches.remove(0);
    // A late answer comes before the message is read.
    fixture.answer(late.attempt, 200);
    assert_eq!(fixture.order(), [1]);
    fixture.tell(Event::Fetched { at: (stream, first), messages: Vec::new() });
    assert!(!fixture.dispatcher.stream_status(stream).paused);
    assert_eq!(fixture.dispatcher.counters().quarantined, 0);
}
