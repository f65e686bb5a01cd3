//! A set of sequences that is nearly always empty, and takes one word then: there is one for every
//! stream, and most streams are idle.

use std::{collections::BTreeSet, ops::Bound};

use rollcall_common::ids::Sequence;

/// A set of sequences.
#[derive(Debug, Default)]
pub(super) struct Sequences(Option<Box<Many>>);

#[derive(Debug, Default)]
struct Many(BTreeSet<Sequence>);

impl Sequences {
    pub(super) fn insert(&mut self, sequence: Sequence) {
        self.0.get_or_insert_default().0.insert(sequence);
    }

    pub(super) fn remove(&mut self, sequence: Sequence) {
        if let Some(some) = &mut self.0 {
            some.0.remove(&sequence);
        }
        self.shrink();
    }

    pub(super) fn pop_first(&mut self) -> Option<Sequence> {
        let first = self.0.as_mut()?.0.pop_first();
        self.shrink();
        first
    }

    pub(super) fn contains(&self, sequence: Sequence) -> bool {
        self.0.as_ref().is_some_and(|some| some.0.contains(&sequence))
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_none()
    }

    pub(super) fn len(&self) -> usize {
        self.0.as_ref().map_or(0, |some| some.0.len())
    }

    /// All of them, the lowest first.
    pub(super) fn iter(&self) -> impl Iterator<Item = Sequence> {
        self.0.iter().flat_map(|some| some.0.iter().copied())
    }

    /// The highest of them.
    pub(super) fn last(&self) -> Option<Sequence> {
        self.0.as_ref()?.0.last().copied()
    }

    /// Those above `sequence`, the lowest first.
    pub(super) fn above(&self, sequence: Sequence) -> impl Iterator<Item = Sequence> {
        let range = (Bound::Excluded(sequence), Bound::Unbounded);
        self.0.iter().flat_map(move |some| some.0.range(range).copied())
    }

    fn shrink(&mut self) {
        self.0.take_if(|some| some.0.is_empty());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_a_set_that_takes_one_word_when_it_is_empty() {
        let mut all = Sequences::default();
        assert_eq!(size_of_val(&all), size_of::<usize>());
        for number in [3, 1, 2, 3] {
            all.insert(Sequence(number));
        }
        assert_eq!(all.iter().map(|one| one.0).collect::<Vec<_>>(), [1, 2, 3]);
        all.remove(Sequence(2));
        assert!(all.contains(Sequence(3)) && !all.contains(Sequence(2)));
        assert_eq!(
            (all.len(), all.pop_first(), all.pop_first()),
            (2, Some(Sequence(1)), Some(Sequence(3)))
        );
        assert!(all.is_empty() && all.0.is_none());
        assert_eq!(all.pop_first(), None);
    }
}
