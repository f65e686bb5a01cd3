//! How each stream stands, for anybody to read without a lock. Whoever publishes writes a stream's
//! place, and does not wait for those who read it; they read again if it was written meanwhile.

use std::{
    hint,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicU32, AtomicU64, AtomicUsize, Ordering, fence},
    },
};

use arc_swap::ArcSwap;
use rollcall_common::{
    ids::{Position, Sequence, StreamId, StreamName},
    time::Time,
};

use crate::dispatcher::{Cause, Room, StreamStatus};

/// Streams whose places are made together.
const CHUNK: usize = 256;
/// How all streams stand.
#[derive(Debug, Default)]
pub(super) struct StatusTable {
    chunks: ArcSwap<Vec<Arc<Chunk>>>,
    count: AtomicUsize,
}

#[derive(Debug)]
struct Chunk([SeqLockCell; CHUNK]);

/// A stream, or the place of one that is yet to come. There may be a million of them.
#[derive(Debug, Default)]
struct SeqLockCell {
    name: OnceLock<StreamName>,
    /// Odd while it is written.
    version: AtomicU32,
    parked: AtomicU32,
    words: [AtomicU64; 5],
}

/// What is written into a place.
#[derive(Clone, Copy, Debug, Default)]
struct Packed {
    parked: u32,
    words: [u64; 5],
}

/// How a stream stands.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct StreamSnapshot {
    /// As the dispatcher says; not before it has said anything.
    pub(super) status: Option<StreamStatus>,
    /// The last released one, and its position; 0 where there is none.
    pub(super) newest: (Sequence, Position),
    /// When the oldest unreleased message was taken in.
    pub(super) oldest: Option<Time>,
}

impl StatusTable {
    /// How many streams there are.
    pub(super) fn len(&self) -> usize {
        self.count.load(Ordering::Acquire)
    }

    /// Forgets all of them.
    pub(super) fn clear(&self) {
        self.count.store(0, Ordering::Release);
        self.chunks.store(Arc::default());
    }

    /// Adds a stream; its number is how many there were.
    pub(super) fn add(&self, name: StreamName) {
        let at = self.count.load(Ordering::Relaxed);
        let mut chunks = self.chunks.load_full();
        if chunks.len() == at / CHUNK {
            let chunk = Arc::new(Chunk(std::array::from_fn(|_| SeqLockCell::default())));
            chunks = Arc::new(chunks.iter().cloned().chain([chunk]).collect());
            self.chunks.store(Arc::clone(&chunks));
        }
        let place = chunks.get(at / CHUNK).and_then(|chunk| chunk.0.get(at % CHUNK));
        if let Some(place) = place {
            place.name.get_or_init(|| name);
            self.count.store(at + 1, Ordering::Release);
        }
    }

    /// A stream's name.
    pub(super) fn name(&self, stream: StreamId) -> Option<StreamName> {
        self.with(stream, |_, name| name.clone())
    }

    /// Whether there is a stream whose name is like this.
    pub(super) fn has_name(
        &self,
        stream: StreamId,
        like: impl FnOnce(&StreamName) -> bool,
    ) -> bool {
        self.with(stream, |_, name| like(name)).unwrap_or(false)
    }

    /// How a stream stands.
    pub(super) fn read(&self, stream: StreamId) -> Option<StreamSnapshot> {
        self.with(stream, |cell, _| StreamSnapshot::unpack(cell.read()))
    }

    /// Says how a stream stands. One at a time does so.
    pub(super) fn write(&self, stream: StreamId, shape: &StreamSnapshot) {
        self.with(stream, |cell, _| cell.write(shape.pack()));
    }

    fn with<T>(
        &self,
        stream: StreamId,
        look: impl FnOnce(&SeqLockCell, &StreamName) -> T,
    ) -> Option<T> {
        let at = usize::try_from(stream.0).ok()?;
        let chunks = self.chunks.load();
        let cell = chunks.get(at / CHUNK)?.0.get(at % CHUNK)?;
        cell.name.get().map(|name| look(cell, name))
    }
}

impl SeqLockCell {
    fn write(&self, packed: Packed) {
        let version = self.version.load(Ordering::Relaxed);
        self.version.store(version.wrapping_add(1), Ordering::Relaxed);
        fence(Ordering::Release);
        for (place, word) in self.words.iter().zip(packed.words) {
            place.store(word, Ordering::Relaxed);
        }
        self.parked.store(packed.parked, Ordering::Relaxed);
        self.version.store(version.wrapping_add(2), Ordering::Release);
    }

    fn read(&self) -> Packed {
        loop {
            let before = self.version.load(Ordering::Acquire);
            let parked = self.parked.load(Ordering::Relaxed);
            let mut packed = Packed { parked, ..Packed::default() };
            for (word, place) in packed.words.iter_mut().zip(&self.words) {
                *word = place.load(Ordering::Relaxed);
            }
            fence(Ordering::Acquire);
            if before.is_multiple_of(2) && self.version.load(Ordering::Relaxed) == before {
                return packed;
            }
            hint::spin_loop();
        }
    }
}

/// Bits beside the time of the oldest message: whether there is a status, whether it is paused,
/// whether it is full.
const KNOWN: u64 = 1 << 7;
const PAUSED: u64 = 1 << 6;
const FULL: u64 = 1 << 5;
/// Those for the cause; 0: none.
const CAUSE: u64 = 7;
/// How many they are.
const FLAGS: u32 = 8;

impl StreamSnapshot {
    fn pack(&self) -> Packed {
        let (released, position) = (self.newest.0.0, self.newest.1.0);
        let oldest = self.oldest.map_or(0, |at| at.as_micros().saturating_add(1));
        // Microseconds of two thousand years have room.
        let oldest = oldest.min(u64::MAX >> FLAGS) << FLAGS;
        let Some(status) = self.status else {
            return Packed { parked: 0, words: [0, released, position, 0, oldest] };
        };
        let flag = |bit, set| if set { bit } else { 0 };
        let flags = KNOWN | flag(PAUSED, status.paused) | flag(FULL, status.room == Room::Full);
        let flags = flags | cause_code(status.cause);
        let calls = u64::from(status.in_flight) | u64::from(status.waiting) << 32;
        let words = [status.next.0, released, position, calls, oldest | flags];
        Packed { parked: status.parked, words }
    }

    fn unpack(packed: Packed) -> Self {
        let [next, released, position, calls, oldest] = packed.words;
        let low = |word: u64| u32::try_from(word & u64::from(u32::MAX)).unwrap_or_default();
        let status = StreamStatus {
            next: Sequence(next),
            released: Sequence(released),
            in_flight: low(calls),
            waiting: low(calls >> 32),
            parked: packed.parked,
            paused: oldest & PAUSED != 0,
            room: if oldest & FULL == 0 { Room::Enough } else { Room::Full },
            cause: cause_of(oldest & CAUSE),
        };
        Self {
            status: Some(status).filter(|_| oldest & KNOWN != 0),
            newest: (Sequence(released), Position(position)),
            oldest: (oldest >> FLAGS).checked_sub(1).map(Time::from_micros),
        }
    }
}

/// All causes.
const CAUSES: [Cause; 6] = [
    Cause::NoWorker,
    Cause::Parked,
    Cause::Paused,
    Cause::PoolOutage,
    Cause::Retrying,
    Cause::Waiting,
];

fn cause_code(cause: Option<Cause>) -> u64 {
    match cause {
        None => 0,
        Some(Cause::NoWorker) => 1,
        Some(Cause::Parked) => 2,
        Some(Cause::Paused) => 3,
        Some(Cause::Retrying) => 4,
        Some(Cause::Waiting) => 5,
        Some(Cause::PoolOutage) => 6,
    }
}

fn cause_of(code: u64) -> Option<Cause> {
    CAUSES.into_iter().find(|cause| cause_code(Some(*cause)) == code)
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicBool;

    use super::*;

    fn shape(number: u32) -> StreamSnapshot {
        let status = StreamStatus {
            next: Sequence(u64::from(number) + 9),
            released: Sequence(number.into()),
            in_flight: number,
            waiting: u32::MAX - number,
            parked: number ^ 0x5555_5555,
            paused: number.is_multiple_of(2),
            room: if number.is_multiple_of(5) { Room::Full } else { Room::Enough },
            cause: CAUSES.get(number as usize % 7).copied(),
        };
        let oldest = (!number.is_multiple_of(3)).then(|| Time::from_micros(number.into()));
        StreamSnapshot {
            status: (!number.is_multiple_of(7)).then_some(status),
            newest: (Sequence(number.into()), Position(u64::from(number) * 3)),
            oldest,
        }
    }

    #[test]
    fn what_is_written_is_read() {
        let table = StatusTable::default();
        for number in 0..700 {
            table.add(format!("s{number}").parse().unwrap());
            table.write(StreamId(number), &shape(number));
        }
        assert_eq!(table.len(), 700);
        for number in 0..700 {
            assert_eq!(table.name(StreamId(number)).unwrap().as_str(), format!("s{number}"));
            assert_eq!(table.read(StreamId(number)), Some(shape(number)));
        }
        assert_eq!(table.read(StreamId(700)), None);
        table.clear();
        assert_eq!(table.read(StreamId(0)), None);
    }

    #[test]
    fn nobody_sees_half_of_it() {
        let table = StatusTable::default();
        table.add("s".parse().unwrap());
        let over = AtomicBool::new(false);
        std::thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(|| {
                    while !over.load(Ordering::Relaxed) {
                        let read = table.read(StreamId(0)).unwrap();
                        let number = u32::try_from(read.newest.0.0).unwrap();
                        assert!(read == shape(number) || number == 0);
                    }
                });
            }
            (1..200_000).for_each(|number| table.write(StreamId(0), &shape(number)));
            over.store(true, Ordering::Relaxed);
        });
    }
}
