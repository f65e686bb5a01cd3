//! A read model: any data structure kept by folding results into it, in order, while readers read.
//!
//! Two copies stand behind it: readers see one, the writer changes the other, and publishing swaps
//! them. A reader never waits for the writer. A rebuild fills a fresh model beside the one that
//! readers see, which goes on meanwhile, and takes its place when it has come as far.

use std::{collections::HashMap, fmt, sync::Arc};

use arc_swap::ArcSwap;
use left_right::{Absorb, ReadHandle, ReadHandleFactory, WriteHandle};

/// What results are folded into.
///
/// Each item is folded twice, once into each copy: so a fold must do the same both times, and have
/// no side effects. Those belong after [`Writer::fold`], which says whether they are due.
pub trait Fold: Clone + Default + Send + Sync + 'static {
    /// What is made of a result.
    type Item: Send + Sync + 'static;

    /// Takes one in.
    fn fold(&mut self, item: &Self::Item);
}

/// Whether a result comes again, or for the first time (`replay` of a result).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Mode {
    /// Its side effects are due.
    Live,
    /// State is rebuilt: its side effects are not due.
    Replaying,
}

/// Where a stream may begin.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Start {
    /// At sequence 1: whatever is missing is a hole.
    Beginning,
    /// At the first that comes: older ones are gone (retention), or were not asked for.
    Kept,
}

/// Which result: its `position`, `stream` and `sequence`.
#[derive(Clone, Copy, Debug)]
pub struct Place<'a> {
    /// Its position; rises from result to result.
    pub position: u64,
    /// Its stream.
    pub stream: &'a str,
    /// Its sequence; rises by one from result to result of its stream.
    pub sequence: u64,
}

/// Why a result was not folded. Nothing was changed.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum FoldError {
    /// A result of its stream is missing before it.
    #[error("a hole in stream {stream}: sequence {expected} should be next, {sequence} came")]
    Hole {
        /// The stream.
        stream: String,
        /// What should have come.
        expected: u64,
        /// What came.
        sequence: u64,
    },
    /// It, or one after it, was folded before.
    #[error("position {position} comes again: {last} was folded last")]
    Repeated {
        /// What came.
        position: u64,
        /// The last position folded.
        last: u64,
    },
}

#[derive(Clone, Default)]
struct Copied<M> {
    model: M,
    position: u64,
}

struct Step<I> {
    position: u64,
    item: I,
}

impl<M: Fold> Absorb<Step<M::Item>> for Copied<M> {
    fn absorb_first(&mut self, step: &mut Step<M::Item>, _: &Self) {
        self.model.fold(&step.item);
        self.position = step.position;
    }

    fn sync_with(&mut self, first: &Self) {
        self.clone_from(first);
    }
}

type Side<M> = WriteHandle<Copied<M>, Step<<M as Fold>::Item>>;
type Door<M> = ReadHandleFactory<Copied<M>>;

/// The one that folds. When it is dropped, readers read nothing more.
pub struct Writer<M: Fold> {
    /// What is folded into.
    side: Side<M>,
    shown: Arc<ArcSwap<Door<M>>>,
    start: Start,
    position: u64,
    sequences: HashMap<String, u64>,
}

impl<M: Fold> fmt::Debug for Writer<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Writer").field("position", &self.position).finish_non_exhaustive()
    }
}

impl<M: Fold> Writer<M> {
    /// An empty model, at position 0.
    #[must_use]
    pub fn new(start: Start) -> Self {
        let (side, door) = pair::<M>();
        let shown = Arc::new(ArcSwap::from_pointee(door));
        Self { side, shown, start, position: 0, sequences: HashMap::new() }
    }

    /// Folds a result into the copy that nobody reads; gives back whether side effects are due:
    /// they are not for a result that is `replay`.
    ///
    /// # Errors
    /// When the result was folded before, or one before it is missing.
    pub fn fold(&mut self, place: Place<'_>, mode: Mode, item: M::Item) -> Result<Mode, FoldError> {
        let Place { position, stream, sequence } = place;
        if position <= self.position {
            return Err(FoldError::Repeated { position, last: self.position });
        }
        let expected = match (self.sequences.get(stream), self.start) {
            (Some(last), _) => last.saturating_add(1),
            (None, Start::Beginning) => 1,
            (None, Start::Kept) => sequence,
        };
        if sequence != expected {
            return Err(FoldError::Hole { stream: stream.to_owned(), expected, sequence });
        }
        match self.sequences.get_mut(stream) {
            Some(last) => *last = sequence,
            None => drop(self.sequences.insert(stream.to_owned(), sequence)),
        }
        self.position = position;
        self.side.append(Step { position, item });
        Ok(mode)
    }

    /// Shows readers what has been folded. Waits for reads that are under way, never the other way
    /// round.
    pub fn publish(&mut self) {
        self.side.publish();
    }

    /// Lets readers see `rebuilt` from now on, all that was folded into it; the model before it is
    /// dropped. It is for a rebuild: [`Writer::new`], results from the start folded into it, up to
    /// the position of this one.
    ///
    /// # Errors
    /// Gives `rebuilt` back when it is at another position: readers would go back in time, or
    /// results be missed whose side effects are due.
    pub fn replace(&mut self, mut rebuilt: Self) -> Result<(), Box<Self>> {
        if rebuilt.position != self.position {
            return Err(Box::new(rebuilt));
        }
        rebuilt.publish();
        self.shown.store(Arc::new(rebuilt.side.factory()));
        rebuilt.shown = Arc::clone(&self.shown);
        *self = rebuilt;
        Ok(())
    }

    /// The last position folded; 0 before the first.
    #[must_use]
    pub const fn position(&self) -> u64 {
        self.position
    }

    /// A reader; each thread takes one of its own.
    #[must_use]
    pub fn reader(&self) -> Reader<M> {
        let door = self.shown.load_full();
        Reader { handle: door.handle(), door, shown: Arc::clone(&self.shown) }
    }
}

fn pair<M: Fold>() -> (Side<M>, Door<M>) {
    let (side, handle) = left_right::new();
    (side, handle.factory())
}

/// Reads what was published last, and never waits for the writer.
pub struct Reader<M: Fold> {
    handle: ReadHandle<Copied<M>>,
    door: Arc<Door<M>>,
    shown: Arc<ArcSwap<Door<M>>>,
}

impl<M: Fold> Clone for Reader<M> {
    fn clone(&self) -> Self {
        let (door, shown) = (Arc::clone(&self.door), Arc::clone(&self.shown));
        Self { handle: door.handle(), door, shown }
    }
}

impl<M: Fold> fmt::Debug for Reader<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reader").finish_non_exhaustive()
    }
}

impl<M: Fold> Reader<M> {
    /// Looks at the model and its position; nothing, once the writer is gone. Keep it short: the
    /// writer can't publish twice while one read goes on.
    pub fn read<T>(&mut self, look: impl FnOnce(&M, u64) -> T) -> Option<T> {
        loop {
            let fresh = {
                let door = self.shown.load();
                (!Arc::ptr_eq(&door, &self.door)).then(|| Arc::clone(&door))
            };
            let changed = fresh.is_some();
            if let Some(door) = fresh {
                self.handle = door.handle();
                self.door = door;
            }
            if let Some(copy) = self.handle.enter() {
                return Some(look(&copy.model, copy.position));
            }
            // A rebuild may have taken its place between the two.
            if !changed && Arc::ptr_eq(&self.shown.load(), &self.door) {
                return None;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{
        collections::BTreeMap,
        sync::atomic::{AtomicBool, Ordering},
        thread,
        time::Instant,
    };

    use super::*;

    #[derive(Clone, Default)]
    struct Sums(BTreeMap<u64, u64>);

    impl Fold for Sums {
        type Item = u64;

        fn fold(&mut self, item: &u64) {
            *self.0.entry(item % 1000).or_default() += item;
        }
    }

    fn at(position: u64) -> Place<'static> {
        Place { position, stream: "a", sequence: position }
    }

    fn fill(writer: &mut Writer<Sums>, until: u64) {
        for position in writer.position() + 1..=until {
            let _ = writer.fold(at(position), Mode::Replaying, position).unwrap();
            if position % 64 == 0 {
                writer.publish();
            }
        }
        writer.publish();
    }

    fn total(reader: &mut Reader<Sums>) -> (u64, u64) {
        reader.read(|sums, position| (sums.0.values().sum(), position)).unwrap()
    }

    #[test]
    fn readers_see_what_was_published_whole() {
        let mut writer = Writer::<Sums>::new(Start::Beginning);
        let mut reader = writer.reader();
        assert_eq!(writer.fold(at(1), Mode::Replaying, 5), Ok(Mode::Replaying));
        assert_eq!(writer.fold(at(2), Mode::Live, 6), Ok(Mode::Live));
        assert_eq!(total(&mut reader), (0, 0));
        writer.publish();
        assert_eq!(total(&mut reader), (11, 2));
        for position in 3..=9 {
            writer.fold(at(position), Mode::Live, 1).unwrap();
            writer.publish();
            assert_eq!(total(&mut reader.clone()), (9 + position, position));
        }
        drop(writer);
        assert_eq!(reader.read(|_, position| position), None);
    }

    #[test]
    fn a_repeat_and_a_hole_are_refused_and_change_nothing() {
        let mut writer = Writer::<Sums>::new(Start::Beginning);
        fill(&mut writer, 3);
        let again = writer.fold(at(3), Mode::Live, 7).unwrap_err();
        assert_eq!(again, FoldError::Repeated { position: 3, last: 3 });
        let hole = writer.fold(at(5), Mode::Live, 7).unwrap_err();
        assert_eq!(hole, FoldError::Hole { stream: "a".into(), expected: 4, sequence: 5 });
        let late = Place { position: 9, stream: "b", sequence: 2 };
        assert!(writer.fold(late, Mode::Live, 7).is_err());
        writer.publish();
        assert_eq!(total(&mut writer.reader()), (6, 3));
        assert_eq!(writer.fold(at(4), Mode::Live, 7), Ok(Mode::Live));
        let mut kept = Writer::<Sums>::new(Start::Kept);
        assert_eq!(kept.fold(late, Mode::Live, 7), Ok(Mode::Live));
        let hole = Place { position: 10, stream: "b", sequence: 4 };
        assert!(kept.fold(hole, Mode::Live, 7).is_err());
    }

    #[test]
    fn a_rebuild_takes_its_place_when_it_has_come_as_far_as_the_one_before() {
        let mut writer = Writer::<Sums>::new(Start::Beginning);
        let mut reader = writer.reader();
        fill(&mut writer, 100);
        let mut rebuilt = Writer::new(Start::Beginning);
        fill(&mut rebuilt, 99);
        let mut rebuilt = *writer.replace(rebuilt).unwrap_err();
        // Meanwhile the one before goes on.
        fill(&mut writer, 101);
        assert_eq!(total(&mut reader), (5151, 101));
        fill(&mut rebuilt, 102);
        let _ahead = writer.replace(rebuilt).unwrap_err();
        let mut rebuilt = Writer::new(Start::Beginning);
        fill(&mut rebuilt, 100);
        rebuilt.fold(at(101), Mode::Replaying, 1).unwrap();
        writer.replace(rebuilt).unwrap();
        assert_eq!(total(&mut reader), (5051, 101));
        fill(&mut writer, 102);
        assert_eq!(total(&mut reader), (5153, 102));
        assert_eq!(total(&mut writer.reader()), (5153, 102));
        drop(writer);
        assert_eq!(reader.read(|_, position| position), None);
    }

    /// How long the slowest of a thousand reads takes, in nanoseconds.
    #[expect(clippy::disallowed_methods, reason = "a read takes less than the clock's step")]
    fn slowest_of_a_thousand(reader: &mut Reader<Sums>) -> u128 {
        let one = |key: u64| {
            let begun = Instant::now();
            let found = reader.read(|sums, _| sums.0.get(&(key % 1000)).copied());
            assert!(found.flatten().is_some());
            begun.elapsed().as_nanos()
        };
        let mut times: Vec<u128> = (0..200_000).map(one).collect();
        times.sort_unstable();
        times[times.len() * 999 / 1000]
    }

    #[test]
    fn reads_stay_flat_while_a_writer_and_rebuilds_run() {
        const RATIO: u128 = 100;
        let mut writer = Writer::<Sums>::new(Start::Beginning);
        fill(&mut writer, 20_000);
        let mut reader = writer.reader();
        let stop = AtomicBool::new(false);
        let alone = slowest_of_a_thousand(&mut reader);
        let (busy, rebuilds) = thread::scope(|scope| {
            let work = scope.spawn(|| {
                let mut rebuilds = 0;
                while !stop.load(Ordering::Relaxed) || rebuilds == 0 {
                    fill(&mut writer, 20_000 + 100 * (rebuilds + 1));
                    let mut rebuilt = Writer::new(Start::Beginning);
                    fill(&mut rebuilt, writer.position());
                    writer.replace(rebuilt).unwrap();
                    rebuilds += 1;
                }
                rebuilds
            });
            let busy = slowest_of_a_thousand(&mut reader);
            stop.store(true, Ordering::Relaxed);
            (busy, work.join().unwrap())
        });
        assert!(rebuilds > 0);
        assert!(busy <= alone.max(100) * RATIO, "{busy} ns, {alone} ns alone");
    }
}
