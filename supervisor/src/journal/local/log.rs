//! The log without threads: open, write, sync, maintain, read, trim, one step at a time.

use std::{
    collections::{BTreeSet, VecDeque},
    io,
    sync::Arc,
};

use uuid::Uuid;

use super::{
    super::{Entry, EntryNumber, ReadError, Space},
    disk::{Disk, DiskFile},
    error::OpenError,
    frame,
    options::Options,
    preallocate::{self, Load},
    recovery::{self, Recovered},
    segment,
    segments::SegmentSet,
    writer::{Unwritten, WriteError, Writer},
};

/// A log on a disk, driven step by step.
#[derive(Debug)]
pub struct Log<D: Disk> {
    writer: Writer<D>,
    segments: Arc<SegmentSet<D>>,
}

impl<D: Disk> Log<D> {
    /// Opens the log on `disk`, or makes a new one with this `identity`. What is found is durable
    /// when this returns.
    ///
    /// # Errors
    /// When the log is damaged, or the system refuses.
    pub fn open(
        disk: D,
        options: &Options,
        identity: Uuid,
    ) -> Result<(Self, Recovered), OpenError> {
        let options = options.clamped();
        let mut numbers = tidy(&disk)?;
        if numbers.is_empty() {
            create(&disk, &options, identity).map_err(|source| OpenError::Io {
                what: "create",
                path: disk.path(&segment::name(1)),
                source,
            })?;
            numbers.insert(1);
        }
        let found = recovery::recover(&disk, &numbers)?;
        let disk = Arc::new(disk);
        let segments =
            SegmentSet::new(disk.clone(), found.identity, found.segments, found.place.next);
        let segments = Arc::new(segments);
        let settings = (found.identity, options);
        let path = disk.path(&segment::name(found.place.segment.number));
        let writer = Writer::new(disk, segments.clone(), settings, found.place);
        let mut log = Self { writer, segments };
        let begun =
            log.maintain(Load::Busy).and_then(|()| log.mark()).and_then(|()| log.writer.sync());
        begun.map_err(|error| OpenError::Io {
            what: "begin to write",
            path,
            source: io::Error::other(error),
        })?;
        Ok((log, found.report))
    }

    /// Writes the entries of `group`, in order, and takes them out of it. Those for which there
    /// was no room stay. What was written may be lost until the next [`sync`](Self::sync).
    ///
    /// # Errors
    /// When the disk is full, or storage has failed.
    pub fn write_group(&mut self, group: &mut VecDeque<Unwritten>) -> Result<(), WriteError> {
        self.writer.write_group(group)
    }

    /// Makes durable what has been written.
    ///
    /// # Errors
    /// When storage has failed. There is no second try.
    pub fn sync(&mut self) -> Result<(), WriteError> {
        if self.writer.is_behind() { self.writer.sync() } else { self.writer.check() }
    }

    /// Extends the zeros ahead.
    ///
    /// # Errors
    /// When storage has failed. A full disk is no error: see [`space`](Self::space).
    pub fn maintain(&mut self, load: Load) -> Result<(), WriteError> {
        self.writer.maintain(load)
    }

    /// Marks the end of the log, if all of it is durable, so that a later start can tell a torn
    /// end from damage.
    ///
    /// # Errors
    /// When storage has failed.
    pub fn mark(&mut self) -> Result<(), WriteError> {
        match self.writer.mark() {
            // It is a help, not a need.
            Err(WriteError::Full) => Ok(()),
            done => done,
        }
    }

    /// Makes the end of the log and its mark durable, before the log is let go.
    ///
    /// # Errors
    /// When storage has failed.
    pub fn finish(&mut self) -> Result<(), WriteError> {
        self.sync()?;
        self.mark()?;
        self.writer.sync()
    }

    /// The first entry that is not durable.
    #[must_use]
    pub fn durable(&self) -> EntryNumber {
        EntryNumber(self.writer.durable())
    }

    /// The number that the next entry given to [`write_group`](Self::write_group) gets.
    #[must_use]
    pub fn next(&self) -> EntryNumber {
        EntryNumber(self.writer.next)
    }

    /// Whether the reserve is whole, as of the last [`maintain`](Self::maintain).
    #[must_use]
    pub fn space(&self) -> Space {
        self.writer.space
    }

    /// Durable entries, see [`Journal::read`](super::super::Journal::read).
    ///
    /// # Errors
    /// When `from` has been trimmed away, or the bytes can't be read.
    pub fn read(&self, from: EntryNumber, limit_bytes: usize) -> Result<Vec<Entry>, ReadError> {
        self.segments.read(from, limit_bytes)
    }

    /// The first entry that is there.
    #[must_use]
    pub fn first(&self) -> EntryNumber {
        self.segments.first()
    }

    /// Removes segments that are entirely before `below`, see
    /// [`Journal::trim`](super::super::Journal::trim).
    ///
    /// # Errors
    /// When files can't be removed.
    pub fn trim(&self, below: EntryNumber) -> io::Result<EntryNumber> {
        self.segments.trim(below)
    }

    /// The size of all files.
    #[must_use]
    pub fn size_bytes(&self) -> u64 {
        self.segments.size_bytes()
    }

    /// Bytes that [`trim`](Self::trim) would free now.
    #[must_use]
    pub fn freed_by(&self, below: EntryNumber) -> u64 {
        self.segments.freed_by(below)
    }

    /// What readers use, from any thread.
    pub(super) fn segments(&self) -> Arc<SegmentSet<D>> {
        self.segments.clone()
    }
}

/// Removes what was being prepared when the log was last let go. Gives the segments' numbers.
fn tidy<D: Disk>(disk: &D) -> Result<BTreeSet<u64>, OpenError> {
    let failed = |what, name: &str| {
        let path = disk.path(name);
        move |source| OpenError::Io { what, path, source }
    };
    let names = disk.list().map_err(failed("list", ""))?;
    for name in names.iter().filter(|name| segment::is_spare(name)) {
        disk.remove(name).map_err(failed("remove", name))?;
    }
    Ok(names.iter().filter_map(|name| segment::number(name)).collect())
}

/// Makes the first segment. It gets its name when it is whole.
fn create<D: Disk>(disk: &D, options: &Options, identity: Uuid) -> io::Result<()> {
    let header = segment::Header { identity, number: 1, first: EntryNumber::FIRST.0, epoch: 0 };
    let file = disk.create(&segment::spare_name(1))?;
    file.write_at(&header.encode(), 0)?;
    let mut zeroed = segment::HEADER_BYTES;
    let to =
        (zeroed + options.extend_bytes).min(options.segment_bytes).max(zeroed + frame::MARK_BYTES);
    match preallocate::write_zeros(&file, &mut zeroed, to) {
        Err(error) if !super::writer::is_full(&error) => return Err(error),
        Ok(()) | Err(_) => {}
    }
    file.sync_data()?;
    disk.rename(&segment::spare_name(1), &segment::name(1))?;
    disk.sync_dir()
}
