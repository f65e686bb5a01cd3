//! The streams' names in order, for anybody to read without a lock: leaves of some names each,
//! which are replaced as a whole. What a reader has begun to look at stays as it was.

use std::{ops::Bound, sync::Arc};

use arc_swap::ArcSwap;
use rollcall_common::ids::{StreamId, StreamName};

/// Most names of a leaf: so many are copied for a new one.
const LEAF: usize = 256;

/// The names in order.
#[derive(Debug, Default)]
pub(super) struct Names(ArcSwap<Vec<Arc<ArcSwap<Leaf>>>>);

/// Some names in order; never none.
type Leaf = Vec<(StreamName, StreamId)>;

impl Names {
    /// Has these names and no others.
    pub(super) fn reset(&self, mut names: Leaf) {
        names.sort_unstable();
        let leaves =
            names.chunks(LEAF / 2).map(|part| Arc::new(ArcSwap::from_pointee(part.into())));
        self.0.store(Arc::new(leaves.collect()));
    }

    /// Adds a name. One at a time does so.
    pub(super) fn add(&self, name: StreamName, stream: StreamId) {
        let leaves = self.0.load_full();
        let at = leaf_of(&leaves, &name);
        let Some(place) = leaves.get(at) else {
            return self.reset(vec![(name, stream)]);
        };
        let old = place.load();
        let before = old.partition_point(|(other, _)| *other < name);
        let (lower, upper) = old.split_at(before);
        let mut leaf = Leaf::with_capacity(old.len() + 1);
        leaf.extend_from_slice(lower);
        leaf.push((name, stream));
        leaf.extend_from_slice(upper);
        if leaf.len() < LEAF {
            return place.store(Arc::new(leaf));
        }
        let upper = leaf.split_off(LEAF / 2);
        leaf.shrink_to_fit();
        let mut leaves = Vec::clone(&leaves);
        let halves = [leaf, upper].map(|half| Arc::new(ArcSwap::from_pointee(half)));
        leaves.splice(at..=at, halves);
        self.0.store(Arc::new(leaves));
    }

    /// The stream of a name.
    pub(super) fn find(&self, name: &StreamName) -> Option<StreamId> {
        let leaves = self.0.load();
        let leaf = leaves.get(leaf_of(&leaves, name))?.load();
        let at = leaf.binary_search_by(|(other, _)| other.cmp(name)).ok()?;
        leaf.get(at).map(|(_, stream)| *stream)
    }

    /// The names after `after`, at most `limit`.
    pub(super) fn page(&self, after: Option<&StreamName>, limit: usize) -> Leaf {
        let leaves = self.0.load();
        let from = after.map_or(0, |name| leaf_of(&leaves, name));
        let after = after.map_or(Bound::Unbounded, Bound::Excluded);
        let mut page = Leaf::new();
        for leaf in leaves.iter().skip(from) {
            let leaf = leaf.load();
            let later = leaf.iter().skip_while(|(name, _)| match after {
                Bound::Excluded(after) => name <= after,
                Bound::Included(_) | Bound::Unbounded => false,
            });
            page.extend(later.take(limit - page.len()).cloned());
            if page.len() >= limit {
                break;
            }
        }
        page
    }
}

/// The leaf in which a name is, if it is there.
fn leaf_of(leaves: &[Arc<ArcSwap<Leaf>>], name: &StreamName) -> usize {
    let begins = |leaf: &Arc<ArcSwap<Leaf>>| {
        let leaf = leaf.load();
        leaf.first().is_none_or(|(first, _)| first <= name)
    };
    leaves.partition_point(begins).saturating_sub(1)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[test]
    fn names_are_found_and_listed_in_order() {
        let (names, mut expected) = (Names::default(), BTreeMap::new());
        assert_eq!(names.page(None, 10), []);
        let mut rng = fastrand::Rng::with_seed(7);
        for number in 0..3000 {
            let name: StreamName = format!("{:x}-{number}", rng.u32(..)).parse().unwrap();
            expected.insert(name.clone(), StreamId(number));
            names.add(name, StreamId(number));
        }
        let whole: Leaf = expected.iter().map(|(name, id)| (name.clone(), *id)).collect();
        for again in [false, true] {
            if again {
                names.reset(whole.clone());
            }
            assert_eq!(names.page(None, usize::MAX), whole);
            for (at, (name, stream)) in whole.iter().enumerate().step_by(37) {
                assert_eq!(names.find(name), Some(*stream));
                assert_eq!(
                    names.page(Some(name), 5),
                    whole[at + 1..].iter().take(5).cloned().collect::<Leaf>()
                );
            }
            let between: StreamName = "7".parse().unwrap();
            assert_eq!(names.find(&between), None);
            let after = names.page(Some(&between), 1);
            assert_eq!(after.first(), whole.iter().find(|(name, _)| *name > between));
        }
    }
}
