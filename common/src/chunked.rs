//! A list that never moves what is in it, however long it becomes: nobody waits while a million
//! items are copied, and no memory of their old place is left behind.

use std::iter::FusedIterator;

/// Items of a chunk.
const CHUNK: usize = 8192;

/// A list in chunks.
#[derive(Debug)]
pub struct Chunked<T>(Vec<Vec<T>>);

impl<T> Chunked<T> {
    /// How many items there are.
    #[must_use]
    pub fn len(&self) -> usize {
        // All but the last one are full.
        self.0.last().map_or(0, |last| (self.0.len() - 1) * CHUNK + last.len())
    }

    /// Whether there is none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The item at `index`.
    #[must_use]
    pub fn get(&self, index: usize) -> Option<&T> {
        self.0.get(index / CHUNK)?.get(index % CHUNK)
    }

    /// The item at `index`.
    #[must_use]
    pub fn get_mut(&mut self, index: usize) -> Option<&mut T> {
        self.0.get_mut(index / CHUNK)?.get_mut(index % CHUNK)
    }

    /// Adds an item behind the others.
    pub fn push(&mut self, item: T) {
        match self.0.last_mut() {
            Some(last) if last.len() < CHUNK => last.push(item),
            // A short list, of which there may be many, has no more room than it needs.
            None => self.0.push(vec![item]),
            Some(_) => {
                let mut chunk = Vec::with_capacity(CHUNK);
                chunk.push(item);
                self.0.push(chunk);
            }
        }
    }

    /// All items.
    pub fn iter(&self) -> impl FusedIterator<Item = &T> {
        self.iter_from(0)
    }

    /// All items, to be changed.
    pub fn iter_mut(&mut self) -> impl FusedIterator<Item = &mut T> {
        self.0.iter_mut().flatten()
    }

    /// The items from `index` on.
    pub fn iter_from(&self, index: usize) -> impl FusedIterator<Item = &T> {
        let (chunk, skip) = (index / CHUNK, index % CHUNK);
        let rest = self.0.get(chunk..).unwrap_or_default();
        let begun = rest.first().and_then(|first| first.get(skip..)).unwrap_or_default();
        begun.iter().chain(rest.iter().skip(1).flatten())
    }
}

impl<T> Default for Chunked<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn items_stay_where_they_are_and_are_found_by_their_number() {
        let mut list = Chunked::default();
        assert!(list.is_empty() && list.get(0).is_none() && list.iter().next().is_none());
        for number in 0..3 * CHUNK + 1 {
            assert_eq!(list.len(), number);
            list.push(number);
        }
        let places: Vec<_> = list.iter().skip(CHUNK).map(std::ptr::from_ref).collect();
        (0..CHUNK).for_each(|more| list.push(3 * CHUNK + 1 + more));
        assert!(list.iter().skip(CHUNK).map(std::ptr::from_ref).zip(places).all(|(a, b)| a == b));
        assert!((0..list.len()).all(|number| list.get(number) == Some(&number)));
        assert_eq!(list.get(list.len()), None);
        for from in [0, 1, CHUNK - 1, CHUNK, 4 * CHUNK, 4 * CHUNK + 1, 9 * CHUNK] {
            assert!(list.iter_from(from).copied().eq(from..list.len()), "{from}");
        }
        list.iter_mut().for_each(|item| *item += 1);
        *list.get_mut(CHUNK).unwrap() = 0;
        let changed = [0, CHUNK, CHUNK + 1].map(|number| list.get(number).copied());
        assert_eq!(changed, [Some(1), Some(0), Some(CHUNK + 2)]);
    }
}
