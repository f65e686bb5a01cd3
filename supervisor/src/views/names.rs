//! The streams' names in order, for anybody to read without a lock: leaves of some streams each,
//! which are replaced as a whole. What a reader has begun to look at stays as it was. The names
//! themselves are on the board.

use std::sync::Arc;

use arc_swap::ArcSwap;
use rollcall_common::ids::{StreamId, StreamName};

use super::status_table::StatusTable;

/// Most streams of a leaf: so many are copied for a new one.
const LEAF: usize = 256;

/// The streams in the order of their names.
#[derive(Debug, Default)]
pub(super) struct Names(ArcSwap<Vec<Arc<ArcSwap<Leaf>>>>);

/// Some streams in the order of their names; never none.
type Leaf = Vec<StreamId>;

impl Names {
    /// Has all streams of the board.
    pub(super) fn reset(&self, table: &StatusTable) {
        let count = u32::try_from(table.len()).unwrap_or(u32::MAX);
        let mut all: Vec<(StreamName, StreamId)> = (0..count)
            .filter_map(|stream| Some((table.name(StreamId(stream))?, StreamId(stream))))
            .collect();
        all.sort_unstable();
        let leaves = all.chunks(LEAF / 2).map(|part| {
            let leaf: Leaf = part.iter().map(|(_, stream)| *stream).collect();
            Arc::new(ArcSwap::from_pointee(leaf))
        });
        self.0.store(Arc::new(leaves.collect()));
    }

    /// Adds a stream of the board. One at a time does so.
    pub(super) fn add(&self, table: &StatusTable, stream: StreamId) {
        let Some(name) = table.name(stream) else {
            return;
        };
        let leaves = self.0.load_full();
        let at = leaf_of(table, &leaves, &name);
        let Some(place) = leaves.get(at) else {
            let first = Arc::new(ArcSwap::from_pointee(vec![stream]));
            return self.0.store(Arc::new(vec![first]));
        };
        let old = place.load();
        let before = old.partition_point(|other| is_before(table, *other, &name));
        let (lower, upper) = old.split_at(before);
        let leaf = [lower, &[stream], upper].concat();
        if leaf.len() < LEAF {
            return place.store(Arc::new(leaf));
        }
        let mut leaves = Vec::clone(&leaves);
        let halves = leaf.chunks(LEAF / 2);
        let halves = halves.map(|half| Arc::new(ArcSwap::from_pointee(half.to_vec())));
        leaves.splice(at..=at, halves);
        self.0.store(Arc::new(leaves));
    }

    /// The stream of a name.
    pub(super) fn find(&self, table: &StatusTable, name: &StreamName) -> Option<StreamId> {
        let leaves = self.0.load();
        let leaf = leaves.get(leaf_of(table, &leaves, name))?.load();
        let at = leaf.partition_point(|other| is_before(table, *other, name));
        let stream = *leaf.get(at)?;
        table.has_name(stream, |other| other == name).then_some(stream)
    }

    /// The streams behind the name `after`, at most `limit`.
    pub(super) fn page(
        &self,
        table: &StatusTable,
        after: Option<&StreamName>,
        limit: usize,
    ) -> Vec<(StreamName, StreamId)> {
        let leaves = self.0.load();
        let from = after.map_or(0, |name| leaf_of(table, &leaves, name));
        let mut page = Vec::new();
        for leaf in leaves.iter().skip(from) {
            let leaf = leaf.load();
            let skip = after.map_or(0, |after| {
                leaf.partition_point(|one| table.has_name(*one, |name| name <= after))
            });
            let later = leaf.iter().skip(skip).take(limit - page.len());
            page.extend(later.filter_map(|stream| Some((table.name(*stream)?, *stream))));
            if page.len() >= limit {
                break;
            }
        }
        page
    }
}

fn is_before(table: &StatusTable, stream: StreamId, name: &StreamName) -> bool {
    table.has_name(stream, |other| other < name)
}

/// The leaf in which a name is, if it is there.
fn leaf_of(table: &StatusTable, leaves: &[Arc<ArcSwap<Leaf>>], name: &StreamName) -> usize {
    let begins = |leaf: &Arc<ArcSwap<Leaf>>| {
        let first = leaf.load().first().copied();
        first.is_none_or(|first| table.has_name(first, |first| first <= name))
    };
    leaves.partition_point(begins).saturating_sub(1)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[test]
    fn names_are_found_and_listed_in_order() {
        let (table, names) = (StatusTable::default(), Names::default());
        let mut expected = BTreeMap::new();
        assert_eq!(names.page(&table, None, 10), []);
        let mut rng = fastrand::Rng::with_seed(7);
        for number in 0..3000 {
            let name: StreamName = format!("{:x}-{number}", rng.u32(..)).parse().unwrap();
            expected.insert(name.clone(), StreamId(number));
            table.add(name);
            names.add(&table, StreamId(number));
        }
        let whole: Vec<_> = expected.iter().map(|(name, id)| (name.clone(), *id)).collect();
        for again in [false, true] {
            if again {
                names.reset(&table);
            }
            assert_eq!(names.page(&table, None, usize::MAX), whole);
            for (at, (name, stream)) in whole.iter().enumerate().step_by(37) {
                assert_eq!(names.find(&table, name), Some(*stream));
                let five: Vec<_> = whole[at + 1..].iter().take(5).cloned().collect();
                assert_eq!(names.page(&table, Some(name), 5), five);
            }
            let between: StreamName = "7".parse().unwrap();
            assert_eq!(names.find(&table, &between), None);
            let after = names.page(&table, Some(&between), 1);
            assert_eq!(after.first(), whole.iter().find(|(name, _)| *name > between));
        }
    }
}
