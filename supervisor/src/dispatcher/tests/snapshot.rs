//! Snapshots: what begins at one goes on like what went on.

use rollcall_common::ids::Position;

use super::{
    super::{Event, LaggingSubscribers, Reply, RequestId, State, settings::StreamSettings},
    desk::{Desk, name},
};
use crate::record::{
    Record,
    snapshot::{SnapshotPart, SnapshotSlotState},
};

/// A desk with a released, a failed, an answered and a new message, and a snapshot of it.
fn with_snapshot() -> (Desk, usize) {
    let mut desk = Desk::new(StreamSettings { window: 4, ..StreamSettings::default() }, 2);
    desk.subscribe("all");
    let reply = desk.send("a", &[("k1", 1), ("k2", 2), ("", 3), ("k4", 4), ("k5", 5)]);
    assert!(matches!(reply, Reply::Accepted { .. }), "{reply:?}");
    for status in [200, 500, 200] {
        let attempt = desk.wait_for_dispatch().attempt;
        desk.answer(attempt, status);
    }
    let begin = desk.records.len();
    desk.dispatcher.handle(Event::Snapshot { request: RequestId(9) }, desk.now);
    while desk.dispatcher.is_exporting() {
        desk.dispatcher.export();
    }
    desk.listen();
    (desk, begin)
}

pub(super) fn folded(desk: &Desk, from: usize) -> State {
    let mut state = State::default();
    for record in &desk.records[from..] {
        state.apply(record, &desk.settings, &mut Vec::new());
    }
    state
}

#[test]
fn a_fold_from_a_snapshot_is_the_fold_of_all() {
    let (mut desk, begin) = with_snapshot();
    assert!(matches!(desk.records[begin], Record::Snapshot(SnapshotPart::Header(_))));
    let slots = desk.records[begin..].iter().filter_map(|record| {
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
    desk.fill("a", 2);
    let (mut whole, short) = (folded(&desk, 0), folded(&desk, begin));
    assert!(short.is_rooted());
    assert_eq!(whole.floor(), Position(0));
    // Who begins at a snapshot has nothing of what lies before it.
    let trimmed = Record::Trimmed { through: Position(1), below: 1 };
    whole.apply(&trimmed, &desk.settings, &mut Vec::new());
    assert_eq!(whole.facts(), short.facts());
    assert_eq!(short.floor(), Position(1));
}

#[test]
fn keys_go_with_their_messages() {
    let (mut desk, begin) = with_snapshot();
    assert_eq!(desk.dispatcher.state().key_count(), 4);
    let (request, through, below) = (RequestId(9), Position(1), 1);
    desk.tell(Event::Trim { request, through, below, slow: LaggingSubscribers::Kept });
    assert_eq!(desk.dispatcher.state().key_count(), 4, "a subscription has yet to take it");
    desk.tell(Event::Trim { request, through, below, slow: LaggingSubscribers::Dropped });
    assert_eq!(desk.dispatcher.state().key_count(), 3);
    assert_eq!(folded(&desk, begin).key_count(), 3);
    assert!(desk.dispatcher.state().find_subscription("all").is_some());
    assert!(desk.dispatcher.state().ends().any(|(_, stream, _)| *stream == name("a")));
}

#[test]
fn half_a_snapshot_is_no_root() {
    let (desk, begin) = with_snapshot();
    let mut state = State::default();
    for record in &desk.records[begin..desk.records.len() - 1] {
        state.apply(record, &desk.settings, &mut Vec::new());
    }
    assert!(!state.is_rooted());
}
