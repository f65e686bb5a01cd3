//! What has to hold of everything that a destination got, whatever happened meanwhile.

use std::collections::BTreeMap;

use bytes::Bytes;

use crate::peers::Delivered;

/// What was first seen of a message.
struct First<'a> {
    key: &'a str,
    body: &'a Bytes,
    position: u64,
}

/// Checks deliveries in the order of arrival, with nothing skipped: per stream every sequence
/// comes, the next one only after the one before was taken, repeats are the same to the byte and
/// under the same key, and while one supervisor lives nothing taken comes again.
///
/// # Panics
/// When something does not hold.
pub fn check_deliveries(deliveries: &[Delivered]) {
    let mut streams: BTreeMap<&str, BTreeMap<u64, First<'_>>> = BTreeMap::new();
    let mut last: BTreeMap<&str, (u64, u64, bool)> = BTreeMap::new();
    for one in deliveries {
        let place = format!("{}/{}", one.stream, one.sequence);
        let seen = streams.entry(&one.stream).or_default();
        let highest = seen.last_key_value().map_or(0, |(sequence, _)| *sequence);
        assert!(one.sequence <= highest + 1, "{place} came after {highest}");
        assert_eq!(one.previous, one.sequence - 1, "{place}: previous sequence");
        let new = First { key: &one.key, body: &one.body, position: one.position };
        let first = seen.entry(one.sequence).or_insert(new);
        assert_eq!(first.key, one.key, "{place}: another key");
        assert_eq!(first.body, &one.body, "{place}: other bytes");
        assert_eq!(first.position, one.position, "{place}: another position");
        if let Some((epoch, sequence, taken)) = last.get(&*one.stream).copied() {
            assert!(one.epoch >= epoch, "{place}: epoch {} after {epoch}", one.epoch);
            if one.epoch == epoch {
                let expected = sequence + u64::from(taken);
                assert_eq!(one.sequence, expected, "{place}: out of turn");
            }
        }
        last.insert(&one.stream, (one.epoch, one.sequence, one.taken));
    }
    check_positions(&streams);
}

/// Positions are given once, and rise within a stream.
fn check_positions(streams: &BTreeMap<&str, BTreeMap<u64, First<'_>>>) {
    let mut given = BTreeMap::new();
    for (stream, messages) in streams {
        let mut before = 0;
        for (sequence, first) in messages {
            assert!(first.position > before, "{stream}/{sequence}: position falls");
            before = first.position;
            let other = given.insert(first.position, (stream, sequence));
            assert!(other.is_none(), "position {} twice: {other:?}", first.position);
        }
    }
}
