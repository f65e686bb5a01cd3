//! Room for the log: zeros written ahead, the next segment prepared, and the roll into it.
//!
//! ```text
//!   active:  │ header │ frames │ zeros ......... │      spare:  │ (header) │ zeros ... │
//!                              ▲ offset          ▲ zeroed                              ▲ zeroed
//!                              └───── ahead ─────┘         +   └──────── ahead ────────┘
//! ```
//!
//! Writing into zeros needs no new blocks: what is ahead can be written on a full disk, and syncs
//! faster too. [`Writer::maintain`] keeps at least the reserve ahead.

use std::sync::Arc;

use super::{
    super::Space,
    bytes::to_u64,
    disk::{Disk, DiskFile},
    frame::{self, Kind, Salt},
    index::Index,
    segment,
    segments::Segment,
    writer::{Active, Spare, WriteError, Writer},
};

static ZEROS: [u8; 64 << 10] = [0; 64 << 10];

/// What a spare segment can't give to frames.
const OVERHEAD: u64 = segment::HEADER_BYTES + frame::MARK_BYTES;

/// Whether anybody waits for the log.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Load {
    /// Entries wait to be written.
    Busy,
    /// None do.
    Idle,
}

impl<D: Disk> Writer<D> {
    /// Extends what is ahead: up to the reserve or, when there is time, somewhat more.
    pub(super) fn maintain(&mut self, load: Load) -> Result<(), WriteError> {
        self.check()?;
        let extra = match load {
            Load::Idle => self.options.extend_bytes,
            Load::Busy => 0,
        };
        let goal = self.options.reserve_bytes + extra;
        while self.ahead() < goal {
            let before = self.ahead();
            match self.extend() {
                Ok(()) if self.ahead() > before => {}
                Ok(()) | Err(WriteError::Full) => break,
                Err(error) => return Err(error),
            }
        }
        let enough = self.ahead() >= self.options.reserve_bytes;
        self.set_space(if enough { Space::Enough } else { Space::Low });
        Ok(())
    }

    fn set_space(&mut self, space: Space) {
        match (self.space, space) {
            (Space::Enough, Space::Low) => {
                tracing::warn!("the journal's disk is full: only the reserve is left");
            }
            (Space::Low, Space::Enough) => tracing::info!("the journal has room again"),
            (Space::Enough, Space::Enough) | (Space::Low, Space::Low) => {}
        }
        self.space = space;
    }

    /// How much can be written without asking for more room.
    fn ahead(&self) -> u64 {
        let active = &self.active;
        let spare = self.spare.as_ref().map_or(0, |spare| spare.zeroed);
        active.zeroed.saturating_sub(active.offset) + spare.saturating_sub(OVERHEAD)
    }

    fn extend(&mut self) -> Result<(), WriteError> {
        let (target, step) = (self.options.segment_bytes, self.options.extend_bytes);
        if self.active.zeroed < target {
            self.extend_active(target.min(self.active.zeroed + step))
        } else {
            let zeroed = self.spare()?.zeroed.max(OVERHEAD);
            self.extend_spare(target.min(zeroed + step))
        }
    }

    fn extend_active(&mut self, to: u64) -> Result<(), WriteError> {
        let active = &mut self.active;
        let written = write_zeros(&active.file, &mut active.zeroed, to);
        active.segment.set_bytes(active.zeroed);
        written.map_err(|error| self.fault("extend", &error))
    }

    fn extend_spare(&mut self, to: u64) -> Result<(), WriteError> {
        let spare = self.spare()?;
        let written = write_zeros(&spare.file, &mut spare.zeroed, to);
        let bytes = spare.zeroed;
        self.segments.set_spare_bytes(bytes);
        written.map_err(|error| self.fault("extend the segment after", &error))
    }

    fn spare(&mut self) -> Result<&mut Spare<D::File>, WriteError> {
        let spare = match self.spare.take() {
            Some(spare) => spare,
            None => {
                let number = self.active.segment.number + 1;
                let file = self.disk.create(&segment::spare_name(number));
                Spare {
                    // Nothing hangs on this file yet, so whatever the reason is, it may pass.
                    file: file.map_err(|error| {
                        tracing::debug!(%error, "can't prepare the next segment");
                        WriteError::Full
                    })?,
                    number,
                    zeroed: 0,
                }
            }
        };
        Ok(self.spare.insert(spare))
    }

    /// Sees to it that a frame of `bytes` can be staged: in the active segment or in the next.
    pub(super) fn make_room(&mut self, bytes: u64) -> Result<(), WriteError> {
        let end = self.active.offset + bytes + frame::MARK_BYTES;
        let empty = self.active.offset == segment::HEADER_BYTES;
        if end > self.options.segment_bytes && !empty {
            return self.roll(bytes);
        }
        if end > self.active.zeroed {
            let ample = self.active.zeroed + self.options.extend_bytes;
            let to = end.max(ample.min(self.options.segment_bytes));
            match self.extend_active(to) {
                Err(WriteError::Full) if self.active.zeroed >= end => {}
                done => done.inspect_err(|_| self.set_space(Space::Low))?,
            }
        }
        Ok(())
    }

    /// Goes on in the next segment, whose first frame will have `bytes`. When the next one's
    /// name is durable, everything before it is, too.
    fn roll(&mut self, bytes: u64) -> Result<(), WriteError> {
        self.write_staged()?;
        self.extend_spare(OVERHEAD + bytes).inspect_err(|_| self.set_space(Space::Low))?;
        if self.is_behind() {
            self.sync()?;
        }
        self.name_spare()?;
        let Some(spare) = self.spare.take() else {
            return Err(WriteError::Full);
        };
        let last = self.use_spare(spare);
        self.end_segment(&last)
    }

    fn name_spare(&mut self) -> Result<(), WriteError> {
        let (first, epoch, identity) = (self.next, self.epoch, self.identity);
        let spare = self.spare()?;
        let number = spare.number;
        let header = segment::Header { identity, number, first, epoch };
        let written = spare.file.write_at(&header.encode(), 0);
        written.map_err(|error| self.fault("write the segment after", &error))?;
        let synced = self.spare()?.file.sync_data();
        synced.map_err(|error| self.failure("sync the segment after", &error))?;
        let named = self.disk.rename(&segment::spare_name(number), &segment::name(number));
        named.map_err(|error| self.fault("name the segment after", &error))?;
        let synced = self.disk.sync_dir();
        synced.map_err(|error| self.failure("sync the directory of", &error))
    }

    fn use_spare(&mut self, spare: Spare<D::File>) -> Active<D::File> {
        let index = Index::new(self.next);
        let segment = Arc::new(Segment::new(spare.number, index, self.next, spare.zeroed));
        self.segments.push(segment.clone());
        self.segments.set_spare_bytes(0);
        let active = Active {
            salt: Salt::new(self.identity, spare.number),
            file: spare.file,
            segment,
            offset: segment::HEADER_BYTES,
            zeroed: spare.zeroed,
        };
        std::mem::replace(&mut self.active, active)
    }

    /// Notes at the end of a segment that there is another: so it will be missed if it is lost.
    fn end_segment(&mut self, last: &Active<D::File>) -> Result<(), WriteError> {
        let mut bytes = Vec::new();
        frame::Header::mark(Kind::Roll, self.next, self.epoch).encode(&last.salt, &mut bytes);
        let noted = last.file.write_at(&bytes, last.offset);
        match noted.map_err(|error| self.fault("end the segment before", &error)) {
            Ok(()) => {}
            // It is a help, not a need.
            Err(WriteError::Full) => return Ok(()),
            Err(error) => return Err(error),
        }
        let synced = last.file.sync_data();
        synced.map_err(|error| self.failure("sync the segment before", &error))
    }
}

/// Writes zeros up to `to`. `zeroed` goes along, so that a full disk loses nothing.
pub(super) fn write_zeros<F: DiskFile>(file: &F, zeroed: &mut u64, to: u64) -> std::io::Result<()> {
    while *zeroed < to {
        let size = (to - *zeroed).min(to_u64(ZEROS.len()));
        let zeros = ZEROS.get(..super::bytes::to_usize(size)).unwrap_or(&ZEROS);
        file.write_at(zeros, *zeroed)?;
        *zeroed += size;
    }
    Ok(())
}
