//! The checks at the end, when everything has had time to settle.

use std::sync::Arc;

use super::{
    End, Invariant, Outcome, Place, Violation,
    checker::{Checked, Checker, Known, Reader, ensure},
};

impl Checker {
    /// Checks that nothing is missing.
    ///
    /// # Errors
    /// When something is.
    pub fn finish(&self, end: &End) -> Result<(), Violation> {
        for (place, known) in &self.acknowledged {
            self.arrived(place, known, end)?;
        }
        for ((position, _), expected) in self.positions.iter().zip(1_u64..) {
            ensure(*position == expected, Invariant::I4, || {
                format!("position {expected} is missing")
            })?;
        }
        for (place, result) in &self.results {
            let (stream, sequence) = place;
            let before = (Arc::clone(stream), sequence - 1);
            let whole = *sequence == 1 || self.results.contains_key(&before);
            ensure(whole, Invariant::I2, || {
                format!("{place:?} is released and {before:?} is not")
            })?;
            if result.outcome == Outcome::Skipped {
                self.may_be_skipped(place, end)?;
            }
        }
        for (place, previous) in &self.previous {
            let really = self.really_previous(place);
            ensure(*previous == really, Invariant::I2, || {
                format!("{place:?} says it follows {previous}, but it follows {really}")
            })?;
        }
        self.readers.iter().try_for_each(|(name, reader)| self.has_all(name, reader))
    }

    fn arrived(&self, place: &Place, known: &Known, end: &End) -> Checked {
        if let Some(result) = self.results.get(place) {
            return ensure(result.id == known.id, Invariant::I3, || {
                format!("{place:?} was released under another id")
            });
        }
        let (stream, sequence) = place;
        let behind = end.standing.get(stream).is_some_and(|last| sequence <= last);
        ensure(end.parked.contains(place) || behind, Invariant::I1, || {
            format!("{place:?} was acknowledged, and is neither released nor to be seen")
        })
    }

    fn may_be_skipped(&self, place: &Place, end: &End) -> Checked {
        let decided = self.decided.get(place).into_iter().flatten();
        let person = decided.clone().any(|(outcome, _)| *outcome == Outcome::Skipped);
        ensure(person || end.may_skip.contains(place), Invariant::I1, || {
            format!("{place:?} was skipped, and nobody said so")
        })
    }

    fn really_previous(&self, (stream, sequence): &Place) -> u64 {
        let before = self.results.range((Arc::clone(stream), 0)..(Arc::clone(stream), *sequence));
        let mut pushed = before.filter(|(_, result)| result.outcome != Outcome::Skipped);
        pushed.next_back().map_or(0, |((_, sequence), _)| *sequence)
    }

    /// A subscription has been given everything that is for it.
    fn has_all(&self, name: &Arc<str>, reader: &Reader) -> Checked {
        if reader.gone {
            return Ok(());
        }
        for (place, result) in &self.results {
            let (stream, sequence) = place;
            let wanted = result.outcome != Outcome::Skipped
                && result.position > reader.begins(stream)
                && reader.wants(stream)
                && !reader.passed_over.contains(place);
            let given = || {
                let given = reader.given.get(stream);
                given.is_some_and(|given| given.contains(sequence))
            };
            ensure(!wanted || given(), Invariant::I1, || {
                format!("{place:?} was released and never reached {name}")
            })?;
        }
        Ok(())
    }
}
