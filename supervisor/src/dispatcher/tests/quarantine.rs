//! What contradicts itself is left alone and told, and everything else goes on.

use std::sync::Arc;

use rollcall_common::ids::{Position, Sequence, StreamId};

use super::{
    super::{
        Event, LaggingSubscribers, RequestId, State,
        event::{Decision, Order},
        settings::{Settings, StreamSettings},
    },
    desk::{Desk, secs},
};
use crate::record::{DeliveryMode, Origin, PauseReason, Record, SequenceRange, SubscriptionSpec};

/// Streams without a processing step, of whose results hardly any are at hand.
fn passing() -> Desk {
    let default_stream = Arc::new(StreamSettings { pool: None, ..StreamSettings::default() });
    Desk::with(Settings { default_stream, recent: 1, ..Settings::default() }, 0)
}

fn run(stream: u32, first: u64, position: u64, last: u64) -> SequenceRange {
    let (first, last) = (Sequence(first), Sequence(last));
    SequenceRange { stream: StreamId(stream), first, position: Position(position), last }
}

/// What the look that is out finds.
fn find(desk: &mut Desk, to: u64, found: &[SequenceRange]) {
    let (subscription, revision, _) = desk.scans.remove(0);
    let (to, found) = (Position(to), found.to_vec());
    desk.tell(Event::Scanned { subscription, revision, to, found });
}

fn paused(desk: &Desk) -> Option<PauseReason> {
    desk.dispatcher.subscription_status(desk.first_subscription())?.paused
}

fn alerts(desk: &Desk) -> Vec<(&'static str, String)> {
    let live = desk.dispatcher.alerts().filter(|alert| alert.until.is_none());
    live.map(|alert| (alert.kind, alert.detail.into())).collect()
}

/// A subscription that looks through twelve results of two streams and was shown four of them.
fn looking() -> Desk {
    let mut desk = passing();
    desk.subscribe("s");
    (0..6).for_each(|_| ["a", "b"].iter().for_each(|name| desk.fill(name, 1)));
    desk.say("s", Order::Rewind(Position(0)));
    find(&mut desk, 4, &[run(0, 1, 1, 2), run(1, 1, 2, 2)]);
    desk
}

fn trim(desk: &mut Desk, through: u64) {
    let (request, through) = (RequestId(9), Position(through));
    desk.tell(Event::Trim { request, through, below: 1, slow: LaggingSubscribers::Dropped });
}

#[test]
fn a_look_that_begins_below_what_is_kept_goes_on_with_the_first_that_is() {
    let mut desk = looking();
    trim(&mut desk, 8);
    find(&mut desk, 10, &[run(0, 5, 9, 5), run(1, 5, 10, 5)]);
    assert_eq!((paused(&desk), alerts(&desk)), (None, vec![]));
    find(&mut desk, 12, &[run(0, 6, 11, 6), run(1, 6, 12, 6)]);
    // The streams go on with what is there, once what was sent out before is back.
    for _ in 0..4 {
        for delivery in std::mem::take(&mut desk.deliveries) {
            if delivery.first > Sequence(2) {
                assert_eq!((delivery.first, delivery.last), (Sequence(5), Sequence(6)));
            }
            desk.take(&delivery, delivery.last.0);
        }
    }
    desk.restart();
    let status = desk.dispatcher.subscription_status(desk.first_subscription()).unwrap();
    assert_eq!((status.checkpoint, status.paused), (Position(12), None));
}

#[test]
fn a_hole_that_nothing_explains_stops_that_subscription_and_nothing_else() {
    let mut desk = looking();
    desk.put("other", SubscriptionSpec::new(Origin::Api, DeliveryMode::Push));
    find(&mut desk, 10, &[run(0, 5, 9, 5), run(1, 3, 6, 5)]);
    assert_eq!(paused(&desk), Some(PauseReason::Inconsistent));
    desk.wait(secs(2));
    let told = alerts(&desk);
    assert!(told.iter().any(|(kind, _)| *kind == "position_gap"), "{told:?}");
    desk.deliveries.clear();
    desk.fill("c", 1);
    let names: Vec<_> = desk.deliveries.iter().map(|one| one.name.to_string()).collect();
    assert_eq!(names, ["other"]);
    // It is paused after a restart too, and goes on once a person says so.
    desk.restart();
    assert_eq!(paused(&desk), Some(PauseReason::Inconsistent));
    desk.say("s", Order::Rewind(Position(0)));
    desk.say("s", Order::Resume);
    assert_eq!(paused(&desk), None);
    desk.wait(secs(2));
    assert!(alerts(&desk).iter().all(|(kind, _)| *kind != "position_gap"));
}

#[test]
fn what_cannot_follow_is_refused_with_a_reason_and_ends_nothing() {
    let mut desk = Desk::new(StreamSettings::default(), 1);
    desk.fill("a", 2);
    let dispatch = desk.wait_for_dispatch();
    desk.answer(dispatch.attempt, 200);
    let settings = Arc::clone(&desk.settings);
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
    assert_eq!(folded(&desk.records), Ok(()));
    for (at, record) in desk.records.iter().enumerate() {
        // Left out, said twice, or of another stream.
        let mut without = desk.records.clone();
        without.remove(at);
        let mut twice = desk.records.clone();
        twice.insert(at, record.clone());
        let good = matches!(record, Record::Started { .. } | Record::Alert(_));
        let opened = matches!(record, Record::StreamCreated { .. } | Record::Accepted { .. });
        assert!(folded(&without).is_err() == opened || folded(&without).is_ok(), "{record:?}");
        assert_eq!(folded(&twice).is_ok(), good, "{record:?}");
    }
    let first = &desk.records[..1];
    let at = desk.now;
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
fn fetching() -> (Desk, StreamId, Sequence) {
    let mut desk = Desk::new(StreamSettings::default(), 0);
    desk.fill("a", 2);
    desk.fill("b", 1);
    desk.restart();
    desk.join("w0");
    let at = desk.fetches.iter().position(|(stream, ..)| stream.0 == 0).unwrap();
    let (stream, first, _) = desk.fetches.remove(at);
    (desk, stream, first)
}

#[test]
fn a_message_that_is_nowhere_stops_its_stream_and_nothing_else() {
    let (mut desk, stream, first) = fetching();
    desk.tell(Event::Fetched { at: (stream, first), messages: Vec::new() });
    assert!(desk.dispatcher.stream_status(stream).paused);
    assert!(
        desk.records
            .iter()
            .any(|one| matches!(one, Record::Audited(one) if &*one.by == "supervisor"))
    );
    let told = alerts(&desk);
    assert!(told.iter().any(|(kind, text)| *kind == "stream_held" && text.contains("not in")));
    desk.fetch_all();
    let other = desk.wait_for_dispatch();
    assert_eq!(other.stream_name.as_str(), "b");
    // Whoever resumes it has the message looked for again.
    desk.resume("a");
    desk.fetch_all();
    assert_eq!(desk.wait_for_dispatch().stream_name.as_str(), "a");
}

#[test]
fn a_message_that_has_its_result_when_it_is_read_back_is_not_missed() {
    let mut desk = Desk::new(StreamSettings::default(), 1);
    desk.fill("a", 1);
    let late = desk.wait_for_dispatch();
    while super::desk::parked(&desk) == 0 {
        desk.wait(secs(10));
    }
    desk.dispatches.clear();
    desk.decide("a", 1, Decision::Retry { reason: "again".into() });
    let (stream, first, _) = desk.fetches.remove(0);
    // A late answer comes before the message is read.
    desk.answer(late.attempt, 200);
    assert_eq!(desk.order(), [1]);
    desk.tell(Event::Fetched { at: (stream, first), messages: Vec::new() });
    assert!(!desk.dispatcher.stream_status(stream).paused);
    assert_eq!(desk.dispatcher.counters().quarantined, 0);
}
