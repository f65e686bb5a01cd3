//! The segments that are there, as readers and the trimming see them. Shared between threads;
//! the one that writes adds to it.

use std::{
    collections::VecDeque,
    io,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, RwLock,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use bytes::Bytes;
use rollcall_common::ids::Epoch;
use uuid::Uuid;

use super::{
    super::{Entry, EntryNumber, ReadError},
    disk::Disk,
    frame::{self, Kind, Salt},
    index::{Index, Point},
    pages::Pages,
    segment,
};

/// How much is read at a time, at most and at least.
const PIECE: std::ops::RangeInclusive<usize> = (32 << 10)..=(256 << 10);

/// Pieces of memory that are kept to be read into again.
const BUFFERS: usize = 4;

/// A segment as readers see it.
#[derive(Debug)]
pub(super) struct Segment {
    /// Its number.
    pub(super) number: u64,
    /// Its first entry.
    pub(super) first: u64,
    bytes: AtomicU64,
    index: Mutex<Index>,
}

impl Segment {
    /// A segment whose file is `bytes` long.
    pub(super) fn new(number: u64, index: Index, first: u64, bytes: u64) -> Self {
        Self { number, first, bytes: AtomicU64::new(bytes), index: Mutex::new(index) }
    }

    /// Says how large its file is now.
    pub(super) fn set_bytes(&self, bytes: u64) {
        self.bytes.store(bytes, Ordering::Relaxed);
    }

    /// Its index.
    pub(super) fn index(&self) -> MutexGuard<'_, Index> {
        self.index.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The segments that are there.
#[derive(Debug)]
pub(super) struct SegmentSet<D> {
    disk: Arc<D>,
    identity: Uuid,
    segments: RwLock<VecDeque<Arc<Segment>>>,
    durable: AtomicU64,
    spare_bytes: AtomicU64,
    /// Memory that was read into, to be used again.
    buffers: Mutex<Vec<Vec<u8>>>,
    trimming: Mutex<()>,
    trim_failed: AtomicBool,
}

/// A part of a segment that can be read: entries from `from` up to `until`.
struct Range {
    segment: Arc<Segment>,
    from: u64,
    until: u64,
}

/// What a read has found so far.
struct Found {
    entries: Vec<Entry>,
    left: usize,
    full: bool,
}

impl<D: Disk> SegmentSet<D> {
    /// A segments with these segments, of which there is at least one. Entries before `durable` can
    /// be read.
    pub(super) fn new(
        disk: Arc<D>,
        identity: Uuid,
        segments: VecDeque<Arc<Segment>>,
        durable: u64,
    ) -> Self {
        Self {
            disk,
            identity,
            segments: RwLock::new(segments),
            durable: AtomicU64::new(durable),
            spare_bytes: AtomicU64::new(0),
            buffers: Mutex::default(),
            trimming: Mutex::new(()),
            trim_failed: AtomicBool::new(false),
        }
    }

    /// Adds the next segment.
    pub(super) fn push(&self, segment: Arc<Segment>) {
        self.change(|segments| segments.push_back(segment));
    }

    /// Says that entries before `next` are durable.
    pub(super) fn set_durable(&self, next: u64) {
        self.durable.store(next, Ordering::Release);
    }

    /// Says how large the file of the segment prepared next is.
    pub(super) fn set_spare_bytes(&self, bytes: u64) {
        self.spare_bytes.store(bytes, Ordering::Relaxed);
    }

    /// The first entry that is there.
    pub(super) fn first(&self) -> EntryNumber {
        self.look(|segments| EntryNumber(segments.front().map_or(1, |segment| segment.first)))
    }

    /// The size of all files.
    pub(super) fn size_bytes(&self) -> u64 {
        let spare = self.spare_bytes.load(Ordering::Relaxed);
        self.look(|segments| {
            segments.iter().map(|segment| segment.bytes.load(Ordering::Relaxed)).sum::<u64>()
                + spare
        })
    }

    /// Durable entries from `from` on, see [`Journal::read`](super::super::Journal::read).
    pub(super) fn read(&self, from: EntryNumber, limit: usize) -> Result<Vec<Entry>, ReadError> {
        let mut found = Found { entries: Vec::new(), left: limit, full: false };
        let mut next = from.0;
        while let Some(range) = self.range(next, &mut found)? {
            next = range.until;
            match self.read_range(&range, &mut found) {
                Ok(()) => {}
                // Trimmed in the meantime: what comes before is still right.
                Err(_) if self.first().0 > range.from && !found.entries.is_empty() => break,
                Err(_) if self.first().0 > range.from => {
                    return Err(ReadError::Trimmed { first: self.first() });
                }
                Err(error) => return Err(error),
            }
            if found.full {
                break;
            }
        }
        Ok(found.entries)
    }

    fn range(&self, from: u64, found: &mut Found) -> Result<Option<Range>, ReadError> {
        let durable = self.durable.load(Ordering::Acquire);
        let (segment, until) = self.look(|segments| {
            let after = segments.partition_point(|segment| segment.first <= from);
            let segment = after.checked_sub(1).and_then(|at| segments.get(at)).cloned();
            let end = segments.get(after).map_or(u64::MAX, |next| next.first);
            (segment, end.min(durable))
        });
        match segment {
            Some(segment) if from < until => Ok(Some(Range { segment, from, until })),
            Some(_) => Ok(None),
            None if !found.entries.is_empty() => {
                found.full = true;
                Ok(None)
            }
            None => Err(ReadError::Trimmed { first: self.first() }),
        }
    }

    fn read_range(&self, range: &Range, found: &mut Found) -> Result<(), ReadError> {
        let name = segment::name(range.segment.number);
        let file = self.disk.open(&name)?;
        let piece = found.left.clamp(*PIECE.start(), *PIECE.end());
        let mut pages = Pages::into(self.buffers().pop().unwrap_or_default(), &file, piece);
        let read = self.read_pages(&mut pages, range, found);
        let buffer = pages.into_buffer();
        let mut buffers = self.buffers();
        if buffers.len() < BUFFERS && buffer.len() <= *PIECE.end() {
            buffers.push(buffer);
        }
        read
    }

    fn read_pages(
        &self,
        pages: &mut Pages<'_, D::File>,
        range: &Range,
        found: &mut Found,
    ) -> Result<(), ReadError> {
        let name = segment::name(range.segment.number);
        let salt = Salt::new(self.identity, range.segment.number);
        let mut at = range.segment.index().find(range.from);
        while at.number < range.until && !found.full {
            let damaged = |what| {
                let file = self.disk.path(&name);
                let place = format!("{} at offset {}: {what}", file.display(), at.offset);
                ReadError::Damaged(place)
            };
            let bytes = pages.at(at.offset, frame::HEADER_BYTES)?;
            let header = frame::Header::decode(bytes, &salt)
                .filter(|header| header.kind == Kind::Data && header.number == at.number)
                .ok_or_else(|| damaged("the frame's header is not as written"))?;
            if at.number >= range.from {
                let bytes = pages.at(at.offset, header.frame_bytes())?;
                let payload =
                    header.payload(bytes).ok_or_else(|| damaged("the entry is not as written"))?;
                found.add(&header, payload);
            }
            at = Point { number: at.number + 1, offset: frame::end(at.offset, &header) };
        }
        Ok(())
    }

    /// Removes segments that are durable and entirely before `below`, the oldest first.
    pub(super) fn trim(&self, below: EntryNumber) -> io::Result<EntryNumber> {
        let _one_at_a_time = self.trimming.lock().unwrap_or_else(PoisonError::into_inner);
        if self.trim_failed.load(Ordering::Relaxed) {
            return Err(io::Error::other("an earlier removal is not known to be durable"));
        }
        let below = below.0.min(self.durable.load(Ordering::Acquire));
        while let Some(oldest) = self.take_oldest(below) {
            match self.disk.remove(&segment::name(oldest.number)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    self.change(|segments| segments.push_front(oldest));
                    return Err(error);
                }
                Ok(()) | Err(_) => {}
            }
            // One by one: after a power cut no younger one may be gone while an older is there.
            self.disk
                .sync_dir()
                .inspect_err(|_| self.trim_failed.store(true, Ordering::Relaxed))?;
        }
        Ok(self.first())
    }

    /// The size of the segments that [`SegmentSet::trim`] would remove now.
    pub(super) fn freed_by(&self, below: EntryNumber) -> u64 {
        let below = below.0.min(self.durable.load(Ordering::Acquire));
        self.look(|segments| {
            let later = segments.iter().skip(1);
            let gone = segments.iter().zip(later).take_while(|(_, next)| next.first <= below);
            gone.map(|(segment, _)| segment.bytes.load(Ordering::Relaxed)).sum()
        })
    }

    fn buffers(&self) -> MutexGuard<'_, Vec<Vec<u8>>> {
        self.buffers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn take_oldest(&self, below: u64) -> Option<Arc<Segment>> {
        self.change(|segments| {
            let second = segments.get(1)?.first;
            if second > below {
                return None;
            }
            segments.pop_front()
        })
    }

    fn look<T>(&self, at: impl FnOnce(&VecDeque<Arc<Segment>>) -> T) -> T {
        at(&self.segments.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn change<T>(&self, how: impl FnOnce(&mut VecDeque<Arc<Segment>>) -> T) -> T {
        how(&mut self.segments.write().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Found {
    fn add(&mut self, header: &frame::Header, payload: &[u8]) {
        if payload.len() > self.left && !self.entries.is_empty() {
            self.full = true;
            return;
        }
        self.left = self.left.saturating_sub(payload.len());
        self.entries.push(Entry {
            number: EntryNumber(header.number),
            epoch: epoch(header.epoch).unwrap_or(Epoch::FIRST),
            // A slice would keep the whole piece alive for as long as the entry.
            payload: Bytes::copy_from_slice(payload),
        });
    }
}

/// The epoch of a number on disk, where 0 is none.
pub(super) fn epoch(number: u64) -> Option<Epoch> {
    std::num::NonZeroU64::new(number).map(Epoch)
}
