//! Messages of one stream that people have decided long before their turn: a result in the middle
//! of a backlog needs no slot for each message before it. Of nearly all streams there are none,
//! and that takes one word.

use std::collections::BTreeMap;

use rollcall_common::ids::Sequence;

use crate::record::Outcome;

/// The decided ones, and how each came by its result.
#[derive(Debug, Default)]
pub(super) struct Decided(Option<Box<All>>);

#[derive(Debug, Default)]
struct All(BTreeMap<Sequence, Outcome>);

impl Decided {
    pub(super) fn insert(&mut self, sequence: Sequence, outcome: Outcome) {
        self.0.get_or_insert_default().0.insert(sequence, outcome);
    }

    /// Takes one out, if it is there.
    pub(super) fn take(&mut self, sequence: Sequence) -> Option<Outcome> {
        let found = self.0.as_mut()?.0.remove(&sequence);
        self.0.take_if(|all| all.0.is_empty());
        found
    }

    pub(super) fn contains(&self, sequence: Sequence) -> bool {
        self.0.as_ref().is_some_and(|all| all.0.contains_key(&sequence))
    }

    pub(super) fn len(&self) -> usize {
        self.0.as_ref().map_or(0, |all| all.0.len())
    }

    /// All of them, the lowest first.
    pub(super) fn iter(&self) -> impl Iterator<Item = (Sequence, Outcome)> {
        self.0.iter().flat_map(|all| all.0.iter().map(|(sequence, outcome)| (*sequence, *outcome)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_a_map_that_takes_one_word_when_it_is_empty() {
        let mut all = Decided::default();
        assert_eq!(size_of_val(&all), size_of::<usize>());
        all.insert(Sequence(9), Outcome::Skipped);
        all.insert(Sequence(7), Outcome::Resolved);
        assert_eq!(
            all.iter().collect::<Vec<_>>(),
            [(Sequence(7), Outcome::Resolved), (Sequence(9), Outcome::Skipped)]
        );
        assert!(all.contains(Sequence(9)) && !all.contains(Sequence(8)));
        assert_eq!(
            (all.len(), all.take(Sequence(9)), all.take(Sequence(9))),
            (2, Some(Outcome::Skipped), None)
        );
        assert_eq!(all.take(Sequence(7)), Some(Outcome::Resolved));
        assert!(all.len() == 0 && all.0.is_none());
    }
}
