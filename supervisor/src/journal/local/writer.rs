//! Writing the log: stage frames, write them in one piece, sync, mark. One thread owns the
//! writer and drives it step by step.

use std::{collections::VecDeque, io, sync::Arc};

use bytes::Bytes;
use rollcall_common::ids::Epoch;
use uuid::Uuid;

use super::{
    super::Space,
    bytes::to_u64,
    disk::{Disk, DiskFile},
    frame::{self, Kind, Salt},
    index::Point,
    options::Options,
    segments::{Segment, SegmentSet},
};

/// Frames are written when this much has been staged, even if the group goes on.
const STAGE_BYTES: usize = 4 << 20;

/// An entry that has its place in the order and is to be written.
#[derive(Clone, Debug)]
pub struct Unwritten {
    /// The epoch under which it was appended.
    pub epoch: Epoch,
    /// Its bytes.
    pub payload: Bytes,
}

/// Why the log could not go on.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum WriteError {
    /// The disk is full. Nothing is lost; the same call may be made again.
    #[error("the disk is full")]
    Full,
    /// Storage has failed for good.
    #[error("{0}")]
    Failed(Arc<str>),
}

/// Where the writer goes on after recovery.
#[derive(Debug)]
pub(super) struct Place<F> {
    /// The last segment's file.
    pub(super) file: F,
    /// The last segment.
    pub(super) segment: Arc<Segment>,
    /// Where its next frame goes.
    pub(super) offset: u64,
    /// How large the file is; behind `offset` there are zeros.
    pub(super) zeroed: u64,
    /// The number of the next entry.
    pub(super) next: u64,
    /// The latest epoch, 0 for none.
    pub(super) epoch: u64,
}

/// The segment that is being written.
#[derive(Debug)]
pub(super) struct Active<F> {
    /// Its file.
    pub(super) file: F,
    /// How readers see it.
    pub(super) segment: Arc<Segment>,
    /// What ties its frames to it.
    pub(super) salt: Salt,
    /// Where the next frame goes, behind all that is staged.
    pub(super) offset: u64,
    /// Up to here the file has been written.
    pub(super) zeroed: u64,
}

/// The segment that is prepared next.
#[derive(Debug)]
pub(super) struct Spare<F> {
    /// Its file.
    pub(super) file: F,
    /// Its number.
    pub(super) number: u64,
    /// Up to here the file has been written.
    pub(super) zeroed: u64,
}

/// Writes the log.
#[derive(Debug)]
pub(super) struct Writer<D: Disk> {
    pub(super) disk: Arc<D>,
    pub(super) segments: Arc<SegmentSet<D>>,
    pub(super) identity: Uuid,
    pub(super) options: Options,
    pub(super) active: Active<D::File>,
    pub(super) spare: Option<Spare<D::File>>,
    pub(super) space: Space,
    /// Frames that end at the active segment's offset and are not written yet.
    staged: Vec<u8>,
    /// The number of the next entry to be staged.
    pub(super) next: u64,
    /// The first entry that is not written.
    written: u64,
    /// The first entry that is not durable.
    durable: u64,
    /// The latest epoch, 0 for none.
    pub(super) epoch: u64,
    marked: bool,
    failed: Option<Arc<str>>,
}

impl<D: Disk> Writer<D> {
    /// Goes on at `place`, before which everything is durable.
    pub(super) fn new(
        disk: Arc<D>,
        segments: Arc<SegmentSet<D>>,
        (identity, options): (Uuid, Options),
        place: Place<D::File>,
    ) -> Self {
        let active = Active {
            salt: Salt::new(identity, place.segment.number),
            file: place.file,
            segment: place.segment,
            offset: place.offset,
            zeroed: place.zeroed,
        };
        active.segment.set_bytes(active.zeroed);
        Self {
            disk,
            segments,
            identity,
            options,
            active,
            spare: None,
            space: Space::Enough,
            staged: Vec::new(),
            next: place.next,
            written: place.next,
            durable: place.next,
            epoch: place.epoch,
            marked: false,
            failed: None,
        }
    }

    /// The first entry that is not durable.
    pub(super) fn durable(&self) -> u64 {
        self.durable
    }

    /// Whether anything was written that is not durable.
    pub(super) fn is_behind(&self) -> bool {
        self.durable < self.written
    }

    /// Writes the entries of `group`, in order, and takes them out of it. If the disk is full,
    /// those for which there was no room stay.
    pub(super) fn write_group(
        &mut self,
        group: &mut VecDeque<Unwritten>,
    ) -> Result<(), WriteError> {
        self.check()?;
        while let Some(entry) = group.front() {
            let bytes = to_u64(frame::frame_bytes(entry.payload.len()));
            if let Err(error) = self.make_room(bytes) {
                self.write_staged()?;
                return Err(error);
            }
            self.stage(entry);
            group.pop_front();
            if self.staged.len() >= STAGE_BYTES {
                self.write_staged()?;
            }
        }
        self.write_staged()
    }

    fn stage(&mut self, entry: &Unwritten) {
        let before = self.staged.len();
        let data = frame::Data {
            number: self.next,
            epoch: entry.epoch.0.get(),
            watermark: self.durable,
            payload: &entry.payload,
        };
        data.encode(&self.active.salt, &mut self.staged);
        let point = Point { number: self.next, offset: self.active.offset };
        self.active.segment.index().note(point);
        self.active.offset += to_u64(self.staged.len() - before);
        self.epoch = data.epoch;
        self.next += 1;
    }

    /// Writes what is staged.
    pub(super) fn write_staged(&mut self) -> Result<(), WriteError> {
        if self.staged.is_empty() {
            return Ok(());
        }
        let at = self.active.offset - to_u64(self.staged.len());
        self.marked = false;
        self.active.file.write_at(&self.staged, at).map_err(|error| self.fault("write", &error))?;
        self.staged.clear();
        self.staged.shrink_to(STAGE_BYTES);
        self.written = self.next;
        Ok(())
    }

    /// Makes durable what has been written.
    pub(super) fn sync(&mut self) -> Result<(), WriteError> {
        self.check()?;
        let synced = self.active.file.sync_data();
        synced.map_err(|error| self.failure("sync", &error))?;
        self.durable = self.written;
        self.segments.set_durable(self.durable);
        Ok(())
    }

    /// Writes a mark at the end of the log, if everything before it is durable. It is not synced:
    /// it only helps a later recovery to know more.
    pub(super) fn mark(&mut self) -> Result<(), WriteError> {
        self.check()?;
        let idle = self.durable == self.next && self.staged.is_empty();
        let room = self.active.offset + frame::MARK_BYTES <= self.active.zeroed;
        if self.marked || !idle || !room {
            return Ok(());
        }
        let mut bytes = Vec::new();
        let header = frame::Header::mark(Kind::Mark, self.next, self.epoch);
        header.encode(&self.active.salt, &mut bytes);
        self.active
            .file
            .write_at(&bytes, self.active.offset)
            .map_err(|error| self.fault("write", &error))?;
        self.marked = true;
        Ok(())
    }

    /// Refuses if storage has failed.
    pub(super) fn check(&self) -> Result<(), WriteError> {
        self.failed.clone().map_or(Ok(()), |reason| Err(WriteError::Failed(reason)))
    }

    /// What an error of the disk means to the log.
    pub(super) fn fault(&mut self, what: &str, error: &io::Error) -> WriteError {
        if is_full(error) { WriteError::Full } else { self.failure(what, error) }
    }

    /// Remembers that storage has failed.
    pub(super) fn failure(&mut self, what: &str, error: &io::Error) -> WriteError {
        let file = super::segment::name(self.active.segment.number);
        let path = self.disk.path(&file);
        let reason: Arc<str> = format!("can't {what} {}: {error}", path.display()).into();
        self.failed = Some(reason.clone());
        WriteError::Failed(reason)
    }
}

/// Whether there was no room.
pub(super) fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}
