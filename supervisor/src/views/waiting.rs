//! Readers that wait for what is released, by what they wait for: whoever publishes wakes those
//! whom a release concerns, and nobody else.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
};

use rollcall_common::{
    ids::{Sequence, StreamId, StreamName},
    limits::{READER_FILTERS, READER_STREAMS},
};
use tokio::sync::Notify;

use crate::dispatcher::settings::Pattern;

/// What a reader waits for.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Interest {
    /// Any result.
    All,
    /// The first result of a stream that may not be there yet.
    Coming(StreamName),
    /// The results of streams whose names fit one of these.
    Matching(Arc<[Pattern]>),
    /// The result of one message.
    Message(StreamId, Sequence),
    /// The results of one stream.
    Stream(StreamId),
}

/// Readers that wait, by what they wait for.
#[derive(Debug, Default)]
pub(super) struct WaitingReaders {
    /// How many there are, for those who publish: mostly there is nobody.
    count: AtomicUsize,
    readers: Mutex<Readers>,
}

#[derive(Debug, Default)]
struct Readers {
    all: Bells,
    coming: HashMap<StreamName, Bells>,
    messages: BTreeMap<(StreamId, Sequence), Bells>,
    streams: HashMap<StreamId, Bells>,
    /// By their patterns. One that nobody waits with stays for a while: a long poll comes back.
    filters: BTreeMap<Arc<[Pattern]>, Bells>,
    /// The filters that a stream fits, where that was looked up.
    fitting: HashMap<StreamId, Vec<Arc<[Pattern]>>>,
    /// The number of the next reader.
    next: u64,
}

/// Who is to be woken, by number.
type Bells = BTreeMap<u64, Arc<Bell>>;

#[derive(Debug, Default)]
struct Bell {
    rung: AtomicBool,
    notify: Notify,
}

/// A reader that waits; it is forgotten when this is dropped.
#[derive(Debug)]
pub struct WaitingReader {
    waiting: Arc<WaitingReaders>,
    interest: Interest,
    number: u64,
    bell: Arc<Bell>,
}

impl WaitingReader {
    /// Waits until something has been released that concerns it, since the last time.
    pub async fn woken(&self) {
        while !self.bell.rung.swap(false, Ordering::AcqRel) {
            self.bell.notify.notified().await;
        }
    }

    /// Whether something has been released that concerns it, since it was last woken.
    #[must_use]
    pub fn is_concerned(&self) -> bool {
        self.bell.rung.load(Ordering::Acquire)
    }
}

impl Drop for WaitingReader {
    fn drop(&mut self) {
        self.waiting.count.fetch_sub(1, Ordering::Relaxed);
        self.waiting.lock().leave(&self.interest, self.number);
    }
}

impl Bell {
    fn ring(&self) {
        if !self.rung.swap(true, Ordering::AcqRel) {
            self.notify.notify_one();
        }
    }
}

impl WaitingReaders {
    /// Another one. What is released from now on wakes it, so it looks after this.
    pub(super) fn enter(self: &Arc<Self>, interest: Interest) -> WaitingReader {
        let bell = Arc::<Bell>::default();
        // Before the lock: whoever publishes after this sees that there is somebody.
        self.count.fetch_add(1, Ordering::SeqCst);
        let number = self.lock().enter(interest.clone(), &bell);
        WaitingReader { waiting: Arc::clone(self), interest, number, bell }
    }

    /// Wakes those whom these releases concern.
    pub(super) fn wake(
        &self,
        released: &[(StreamId, Sequence)],
        name: impl Fn(StreamId) -> Option<StreamName>,
    ) {
        if self.count.load(Ordering::SeqCst) == 0 {
            return;
        }
        let mut readers = self.lock();
        ring(&readers.all);
        let mut before = None;
        for (stream, sequence) in released {
            if let Some(bells) = readers.messages.get(&(*stream, *sequence)) {
                ring(bells);
            }
            if *sequence == Sequence::FIRST && !readers.coming.is_empty() {
                name(*stream)
                    .and_then(|name| readers.coming.get(&name))
                    .iter()
                    .for_each(|b| ring(b));
            }
            if before.replace(*stream) == Some(*stream) {
                continue;
            }
            if let Some(bells) = readers.streams.get(stream) {
                ring(bells);
            }
            readers.ring_filters(*stream, &name);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Readers> {
        self.readers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn ring(bells: &Bells) {
    bells.values().for_each(|bell| bell.ring());
}

impl Readers {
    fn enter(&mut self, interest: Interest, bell: &Arc<Bell>) -> u64 {
        self.next += 1;
        let number = self.next;
        let bells = match interest {
            Interest::All => &mut self.all,
            Interest::Coming(name) => self.coming.entry(name).or_default(),
            Interest::Matching(patterns) => {
                if !self.filters.contains_key(&patterns) {
                    self.fitting.clear();
                    if self.filters.len() >= READER_FILTERS {
                        self.filters.retain(|_, bells| !bells.is_empty());
                    }
                }
                self.filters.entry(patterns).or_default()
            }
            Interest::Message(stream, sequence) => {
                self.messages.entry((stream, sequence)).or_default()
            }
            Interest::Stream(stream) => self.streams.entry(stream).or_default(),
        };
        bells.insert(number, Arc::clone(bell));
        number
    }

    fn leave(&mut self, interest: &Interest, number: u64) {
        let is_empty = |bells: &mut Bells| {
            bells.remove(&number);
            bells.is_empty()
        };
        match interest {
            Interest::All => {
                self.all.remove(&number);
            }
            Interest::Coming(name) => {
                if self.coming.get_mut(name).is_some_and(is_empty) {
                    self.coming.remove(name);
                }
            }
            Interest::Matching(patterns) => {
                self.filters.get_mut(patterns).map(is_empty);
            }
            Interest::Message(stream, sequence) => {
                if self.messages.get_mut(&(*stream, *sequence)).is_some_and(is_empty) {
                    self.messages.remove(&(*stream, *sequence));
                }
            }
            Interest::Stream(stream) => {
                if self.streams.get_mut(stream).is_some_and(is_empty) {
                    self.streams.remove(stream);
                }
            }
        }
    }

    /// Which filters a stream fits is looked up once, and not again for each release.
    fn ring_filters(&mut self, stream: StreamId, name: impl Fn(StreamId) -> Option<StreamName>) {
        if self.filters.is_empty() {
            return;
        }
        if self.fitting.len() >= READER_STREAMS {
            self.fitting.clear();
        }
        let filters = &self.filters;
        let fitting = self.fitting.entry(stream).or_insert_with(|| {
            let Some(name) = name(stream) else {
                return Vec::new();
            };
            let fits = |patterns: &&Arc<[Pattern]>| {
                patterns.iter().any(|pattern| pattern.matches(name.as_str()))
            };
            filters.keys().filter(fits).cloned().collect()
        });
        fitting.iter().filter_map(|patterns| filters.get(patterns)).for_each(ring);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(stream: StreamId) -> Option<StreamName> {
        ["orders.eu", "orders.us", "quiet"].get(stream.0 as usize)?.parse().ok()
    }

    fn matching(patterns: &[&str]) -> Interest {
        Interest::Matching(patterns.iter().map(|text| Pattern::new(text)).collect())
    }

    /// Which of these are woken when these are released.
    fn woken(interests: &[Interest], released: &[(u32, u64)]) -> Vec<bool> {
        let waiting = Arc::new(WaitingReaders::default());
        let readers: Vec<_> = interests.iter().map(|one| waiting.enter(one.clone())).collect();
        let released: Vec<_> =
            released.iter().map(|(stream, seq)| (StreamId(*stream), Sequence(*seq))).collect();
        waiting.wake(&released, name);
        let woken = readers.iter().map(WaitingReader::is_concerned).collect();
        drop(readers);
        assert_eq!(waiting.count.load(Ordering::Relaxed), 0);
        let left = waiting.lock();
        assert!(left.all.is_empty() && left.coming.is_empty() && left.messages.is_empty());
        assert!(left.streams.is_empty() && left.filters.values().all(BTreeMap::is_empty));
        woken
    }

    #[test]
    fn readers_are_woken_by_what_concerns_them_alone() {
        let interests = [
            Interest::All,
            Interest::Stream(StreamId(0)),
            Interest::Stream(StreamId(2)),
            matching(&["orders.*"]),
            matching(&["quiet", "x*"]),
            Interest::Message(StreamId(0), Sequence(7)),
            Interest::Message(StreamId(0), Sequence(8)),
            Interest::Coming("quiet".parse().unwrap()),
        ];
        let yes = |which: &[usize]| (0..8).map(|at| which.contains(&at)).collect::<Vec<_>>();
        assert_eq!(woken(&interests, &[(0, 6), (0, 7)]), yes(&[0, 1, 3, 5]));
        assert_eq!(woken(&interests, &[(1, 1), (0, 8)]), yes(&[0, 1, 3, 6]));
        assert_eq!(woken(&interests, &[(2, 1)]), yes(&[0, 2, 4, 7]));
        assert_eq!(woken(&interests, &[(2, 2)]), yes(&[0, 2, 4]));
    }

    #[test]
    fn a_filter_that_comes_later_knows_streams_that_were_looked_up_before() {
        let waiting = Arc::new(WaitingReaders::default());
        let _first = waiting.enter(matching(&["quiet"]));
        waiting.wake(&[(StreamId(0), Sequence(1))], name);
        let second = waiting.enter(matching(&["orders.eu"]));
        assert!(!second.is_concerned());
        waiting.wake(&[(StreamId(0), Sequence(2))], name);
        assert!(second.is_concerned());
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let waiting = Arc::new(WaitingReaders::default());
        for number in 0..READER_FILTERS + 10 {
            drop(waiting.enter(matching(&[&format!("s{number}")])));
        }
        assert!(waiting.lock().filters.len() <= READER_FILTERS);
        let _one = waiting.enter(matching(&["quiet"]));
        for stream in 0..READER_STREAMS + 10 {
            let stream = StreamId(u32::try_from(stream).unwrap());
            waiting.wake(&[(stream, Sequence(2))], name);
        }
        assert!(waiting.lock().fitting.len() <= READER_STREAMS);
    }

    #[tokio::test]
    async fn what_came_before_the_wait_wakes_as_well_and_once() {
        let waiting = Arc::new(WaitingReaders::default());
        let reader = waiting.enter(Interest::All);
        waiting.wake(&[(StreamId(0), Sequence(1))], name);
        waiting.wake(&[(StreamId(0), Sequence(2))], name);
        reader.woken().await;
        assert!(!reader.is_concerned());
        let late = std::time::Duration::from_millis(20);
        assert!(tokio::time::timeout(late, reader.woken()).await.is_err());
    }
}
