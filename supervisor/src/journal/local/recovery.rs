//! Reading a log back: what is whole, what was torn while it was being written, what is damaged.
//!
//! Bytes that can't be read are cut off if they may be an entry that was never durable, and refuse
//! the start if they can't. The proof that entry `n` was durable is any later header whose
//! watermark is past `n`, or a later segment.

use std::{
    collections::{BTreeSet, VecDeque},
    io,
    sync::Arc,
};

use rollcall_common::ids::Epoch;
use uuid::Uuid;

use super::{
    bytes::{to_u64, to_usize},
    disk::{Disk, DiskFile},
    error::OpenError,
    frame, preallocate,
    scan::{self, Scan, Stop},
    segment,
    segments::{self, Segment},
    writer::Place,
};

/// What was found at the start.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Recovered {
    /// The log's identity: no other log has the same.
    pub identity: Uuid,
    /// What was cut off the end, if anything.
    pub cut: Option<Cut>,
    /// The first epoch that nobody has used.
    pub next_epoch: Epoch,
    /// How many entries there are.
    pub entries: u64,
    /// How large the files are.
    pub bytes: u64,
}

/// An end that was cut off: it had been torn before it was durable.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Cut {
    /// The file.
    pub file: std::path::PathBuf,
    /// Where the cut is.
    pub offset: u64,
    /// How many bytes were cut off.
    pub bytes: u64,
}

/// A log as it was found, repaired and durable.
#[derive(Debug)]
pub(super) struct Found<F> {
    /// The log's identity.
    pub(super) identity: Uuid,
    /// All its segments.
    pub(super) segments: VecDeque<Arc<Segment>>,
    /// Where to go on.
    pub(super) place: Place<F>,
    /// What there is to tell.
    pub(super) report: Recovered,
}

/// Reads the segments with these numbers, of which there is at least one.
pub(super) fn recover<D: Disk>(
    disk: &D,
    numbers: &BTreeSet<u64>,
) -> Result<Found<D::File>, OpenError> {
    let files = Files { disk };
    let headers = files.headers(numbers)?;
    let mut segments = VecDeque::new();
    let mut bytes = 0;
    let mut rest = headers.iter().peekable();
    while let Some(header) = rest.next() {
        let file = files.open(header.number)?;
        let size = files.io(header.number, "measure", file.size())?;
        let until = rest.peek().map(|next| next.first);
        let scan = files.io(header.number, "read", scan::scan(&file, header, until))?;
        bytes += size;
        let segment = Segment::new(header.number, scan.index.clone(), header.first, size);
        segments.push_back(Arc::new(segment));
        if until.is_some() {
            files.check_inner(header, &scan, until)?;
            continue;
        }
        let cut = files.mend(&file, header, &scan)?;
        let first = headers.first().map_or(1, |first| first.first);
        let report = Recovered {
            identity: header.identity,
            cut,
            next_epoch: segments::epoch(scan.epoch).map_or(Epoch::FIRST, Epoch::next),
            entries: scan.next - first,
            bytes,
        };
        return files.found(file, header, (segments, scan, report));
    }
    Err(files.damaged(1, 0, "the segment is missing"))
}

struct Files<'a, D> {
    disk: &'a D,
}

impl<D: Disk> Files<'_, D> {
    fn found(
        &self,
        file: D::File,
        header: &segment::Header,
        (segments, scan, report): (VecDeque<Arc<Segment>>, Scan, Recovered),
    ) -> Result<Found<D::File>, OpenError> {
        let size = self.io(header.number, "measure", file.size())?;
        let Some(segment) = segments.back().cloned() else {
            return Err(self.damaged(header.number, 0, "the segment is missing"));
        };
        Ok(Found {
            identity: header.identity,
            segments,
            place: Place {
                file,
                segment,
                offset: scan.end,
                zeroed: size.max(scan.end),
                next: scan.next,
                epoch: scan.epoch,
            },
            report,
        })
    }

    /// Reads all headers and checks that they follow each other.
    fn headers(&self, numbers: &BTreeSet<u64>) -> Result<Vec<segment::Header>, OpenError> {
        let mut headers: Vec<segment::Header> = Vec::new();
        for number in numbers.iter().copied() {
            let header = self.header(number)?;
            if let Some(before) = headers.last() {
                if number != before.number + 1 {
                    return Err(self.damaged(before.number + 1, 0, "the segment is missing"));
                }
                if header.identity != before.identity {
                    return Err(self.damaged(number, 0, "the segment belongs to another log"));
                }
                if header.first < before.first || header.epoch < before.epoch {
                    return Err(self.damaged(number, 0, "the segment is out of order"));
                }
            }
            headers.push(header);
        }
        Ok(headers)
    }

    fn header(&self, number: u64) -> Result<segment::Header, OpenError> {
        let file = self.open(number)?;
        let mut block = vec![0; to_usize(segment::HEADER_BYTES)];
        let read = self.io(number, "read", file.read_at(&mut block, 0))?;
        block.truncate(read);
        let header = segment::Header::decode(&block).map_err(|bad| match bad {
            segment::BadHeader::Damaged => {
                self.damaged(number, 0, "the segment's header is not as written")
            }
            segment::BadHeader::Newer(version) => OpenError::Newer {
                file: self.disk.path(&segment::name(number)),
                version,
                known: segment::VERSION,
            },
        })?;
        if header.number != number {
            let what = format!("this is segment {}", header.number);
            return Err(self.damaged(number, 0, &what));
        }
        Ok(header)
    }

    /// Checks a segment that others follow: it must be whole up to the next one's first entry.
    fn check_inner(
        &self,
        header: &segment::Header,
        scan: &Scan,
        until: Option<u64>,
    ) -> Result<(), OpenError> {
        if Some(scan.next) == until {
            return Ok(());
        }
        let what = match &scan.stop {
            Stop::Wrong(what) => what.clone(),
            Stop::Unreadable | Stop::Mark | Stop::Roll => {
                format!("entry {} can't be read, but there is a later segment", scan.next)
            }
        };
        Err(self.damaged(header.number, scan.end, &what))
    }

    /// Judges the end of the last segment, cuts it where it is torn, and makes it durable.
    fn mend(
        &self,
        file: &D::File,
        header: &segment::Header,
        scan: &Scan,
    ) -> Result<Option<Cut>, OpenError> {
        let number = header.number;
        let from = match &scan.stop {
            Stop::Wrong(what) => return Err(self.damaged(number, scan.end, what)),
            Stop::Roll => return Err(self.damaged(number + 1, 0, "the segment is missing")),
            Stop::Mark => scan.end + frame::MARK_BYTES,
            Stop::Unreadable => scan.end,
        };
        let remains = self.io(number, "read", scan::remains(file, header, scan.next, from))?;
        if let Some(proof) = remains.proof {
            let what = format!(
                "entry {} can't be read, but it had been stored: byte {proof} says so",
                scan.next
            );
            return Err(self.damaged(number, scan.end, &what));
        }
        self.io(number, "zero the end of", zero(file, from, remains.end))?;
        let rewritten = rewrite(file, scan.unproven.unwrap_or(scan.end), scan.end);
        self.io(number, "rewrite the end of", rewritten)?;
        self.io(number, "sync", file.sync_data())?;
        self.io(number, "sync the directory of", self.disk.sync_dir())?;
        if remains.end <= from {
            return Ok(None);
        }
        let cut = Cut {
            file: self.disk.path(&segment::name(number)),
            offset: from,
            bytes: remains.end - from,
        };
        tracing::warn!(
            file = %cut.file.display(),
            offset = cut.offset,
            bytes = cut.bytes,
            "cut off the journal's end, which was torn before it was stored"
        );
        Ok(Some(cut))
    }

    fn open(&self, number: u64) -> Result<D::File, OpenError> {
        self.io(number, "open", self.disk.open(&segment::name(number)))
    }

    fn io<T>(&self, number: u64, what: &'static str, done: io::Result<T>) -> Result<T, OpenError> {
        done.map_err(|source| OpenError::Io {
            what,
            path: self.disk.path(&segment::name(number)),
            source,
        })
    }

    fn damaged(&self, number: u64, offset: u64, what: &str) -> OpenError {
        OpenError::Damaged {
            file: self.disk.path(&segment::name(number)),
            offset,
            what: what.to_owned(),
        }
    }
}

fn zero<F: DiskFile>(file: &F, from: u64, to: u64) -> io::Result<()> {
    let mut at = from;
    preallocate::write_zeros(file, &mut at, to)
}

/// Writes again what is there already. After a failed sync the system takes such pages for
/// written, though they are not: only what is written again is sure to reach the disk.
fn rewrite<F: DiskFile>(file: &F, from: u64, to: u64) -> io::Result<()> {
    let mut buffer = vec![0; 1 << 20];
    let mut at = from;
    while at < to {
        let size = to_usize(to - at).min(buffer.len());
        let piece = buffer.get_mut(..size).unwrap_or_default();
        let read = file.read_at(piece, at)?;
        if read == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        file.write_at(piece.get(..read).unwrap_or_default(), at)?;
        at += to_u64(read);
    }
    Ok(())
}
