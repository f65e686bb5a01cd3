//! What a destination does where nobody releases in order: results wait in its memory until those
//! before have come.

use std::collections::BTreeMap;

use super::sink_checker::Seen;

/// Results that wait for those before.
#[derive(Debug)]
pub(super) struct Sorter {
    waiting: BTreeMap<u64, Vec<u8>>,
    due: u64,
}

impl Sorter {
    /// Of results from place 1 on.
    pub(super) fn new() -> Self {
        Self { waiting: BTreeMap::new(), due: 1 }
    }

    /// The result of this place has come.
    pub(super) fn put(&mut self, place: u64, result: Vec<u8>) {
        self.waiting.insert(place, result);
    }

    /// Hands on those whose turn has come, without so many bytes before each.
    pub(super) fn pass(&mut self, seen: &mut Seen, before: usize) {
        while let Some(result) = self.waiting.remove(&self.due) {
            seen.take(0, self.due, &result[before..]);
            self.due += 1;
        }
    }
}
