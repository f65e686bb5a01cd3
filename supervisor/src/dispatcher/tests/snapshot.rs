//! Snapshots: what begins at one goes on like what went on.

use rollcall_common::ids::Position;

use super::{
    super::{Event, LaggingSubscribers, Reply, RequestId, State, settings::StreamSettings},
    fixture::{Fixture, name},
};
use crate::record::{
    Record,
    snapshot::{SnapshotPart, SnapshotSlotState},
};

/// A fixture with a released, a failed, an answered and a new message, and a snapshot of it.
fn with_snapshot() -> (Fixture, usize) {
    let mut fixture = Fixture::new(StreamSettings { window: 4, ..StreamSettings::default() }, 2);
    fixture.subscribe("all");
    let reply = fixture.send("a", &[("k1", 1), ("k2", 2), ("", 3), ("k4", 4), ("k5", 5)]);
    assert!(matches!(reply, Reply::Accepted { .. }), "{reply:?}");
    for status in [200, 500, 200] {
        let attempt = fixture.wait_for_dispatch().attempt;
        fixture.answer(attempt, status);
    }
    let begin = fixture.records.len();
    fixture.dispatcher.handle(Event::Snapshot { request: RequestId(9) }, fixture.now);
    while fixture.dispatcher.is_exporting() {
        fixture.dispatcher.export();
    }
    fixture.listen();
    (fixture, begin)
}

pub(super) fn folded(fixture: &Fixture, from: usize) -> State {
    let mut state = State::default();
    for record in &fixture.records[from..] {
        state.apply(record, &fixture.settings, &mut Vec::new());
    }
    state
}

#[test]
fn a_fold_from_a_snapshot_is_the_fold_of_all() {
    let (mut fixture, begin) = with_snapshot();
    assert!(matches!(fixture.records[begin], Record::Snapshot(SnapshotPart::Header(_))));
    let slots = fixture.records[begin..].iter().filter_map(|record| {
        let Record::Snapshot(SnapshotPart::Slot { sequence, slot, .. }) = record else {
            return None;
        };
        Some((sequence.0, &slot.state))
    });
    let slots: Vec<_> = slots.collect();
    assert!(
        matches!(
            slots[..],
            [(2, SnapshotSlotState::Waiting { .. }), (3, SnapshotSlotState::Done { .. })]
        ),
        "{slots:?}"
    );
    fixture.fill("a", 2);
    let (mut whole, short) = (folded(&fixture, 0), folded(&fixture, begin));
    assert!(short.is_rooted());
    assert_eq!(whole.floor(), Position(0));
    // Who begins at a snapshot has nothing of what lies before it.
    let trimmed = Record::Trimmed { through: Position(1), below: 1 };
    whole.apply(&trimmed, &fixture.settings, &mut Vec::new());
    assert_eq!(whole.facts(), short.facts());
    assert_eq!(short.floor(), Position(1));
}

#[test]
fn keys_go_with_their_messages() {
    let (mut fixture, begin) = with_snapshot();
    assert_eq!(fixture.dispatcher.state().key_count(), 4);
    let (request, through, below) = (RequestId(9), Position(1), 1);
    fixture.tell(Event::Trim { request, through, below, slow: LaggingSubscribers::Kept });
    assert_eq!(fixture.dispatcher.state().key_count(), 4, "a subscription has yet to take it");
    fixture.tell(Event::Trim { request, through, below, slow: LaggingSubscribers::Dropped });
    assert_eq!(fixture.dispatcher.state().key_count(), 3);
    assert_eq!(folded(&fixture, begin).key_count(), 3);
    assert!(fixture.dispatcher.state().find_subscription("all").is_some());
    assert!(fixture.dispatcher.state().ends().any(|(_, stream, _)| *stream == name("a")));
}

#[test]
fn half_a_snapshot_is_no_root() {
    let (fixture, begin) = with_snapshot();
    let mut state = State::default();
    for record in &fixture.records[begin..fixture.records.len() - 1] {
        state.apply(record, &fixture.settings, &mut Vec::new());
    }
    assert!(!state.is_rooted());
}
