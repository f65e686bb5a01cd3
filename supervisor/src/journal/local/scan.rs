//! Reading a segment from its beginning, frame by frame, and looking through what comes after.

use std::{collections::VecDeque, io};

use super::{
    bytes::to_u64,
    disk::DiskFile,
    frame::{self, Kind, Salt},
    index::{Index, Point},
    pages::Pages,
    segment,
};

/// How much is read at a time.
const PIECE: usize = 1 << 20;
/// Zeros are skipped in blocks of this size.
const BLOCK: usize = 4096;

/// What a segment holds.
#[derive(Debug)]
pub(super) struct Scan {
    /// Where its entries are.
    pub(super) index: Index,
    /// The number after its last entry.
    pub(super) next: u64,
    /// The latest epoch up to there, 0 for none.
    pub(super) epoch: u64,
    /// Where its last entry ends.
    pub(super) end: u64,
    /// What is there.
    pub(super) stop: Stop,
    /// The first frame that no other says was durable.
    pub(super) unproven: Option<u64>,
}

/// What ends the readable part of a segment.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum Stop {
    /// Not a frame: zeros, an end torn, or damage.
    Unreadable,
    /// A mark that all before it is durable.
    Mark,
    /// A mark that there is another segment.
    Roll,
    /// A frame that does not belong here.
    Wrong(String),
}

/// What comes after the readable part of a segment.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Remains {
    /// From here on there are only zeros.
    pub(super) end: u64,
    /// A header that says that the first unreadable entry had been durable.
    pub(super) proof: Option<u64>,
}

/// Reads the segment with this header up to entry `until`, or to its end.
pub(super) fn scan<F: DiskFile>(
    file: &F,
    header: &segment::Header,
    until: Option<u64>,
) -> io::Result<Scan> {
    let mut pages = Pages::new(file, PIECE);
    let salt = Salt::new(header.identity, header.number);
    let mut walk = Walk {
        index: Index::new(header.first),
        next: header.first,
        epoch: header.epoch,
        watermark: header.first,
        unproven: VecDeque::new(),
        end: segment::HEADER_BYTES,
    };
    let stop = loop {
        if until == Some(walk.next) {
            break Stop::Unreadable;
        }
        let bytes = pages.at(walk.end, frame::HEADER_BYTES)?;
        let Some(header) = frame::Header::decode(bytes, &salt) else {
            break Stop::Unreadable;
        };
        let bytes = pages.at(walk.end, header.frame_bytes())?;
        if header.payload(bytes).is_none() {
            break Stop::Unreadable;
        }
        if let Some(stop) = walk.step(&header) {
            break stop;
        }
    };
    Ok(Scan {
        index: walk.index,
        next: walk.next,
        epoch: walk.epoch,
        end: walk.end,
        unproven: walk.unproven.front().map(|point| point.offset),
        stop,
    })
}

struct Walk {
    index: Index,
    next: u64,
    epoch: u64,
    watermark: u64,
    unproven: VecDeque<Point>,
    end: u64,
}

impl Walk {
    /// Takes in the frame at the end of what has been read, unless it ends it.
    fn step(&mut self, header: &frame::Header) -> Option<Stop> {
        if header.number != self.next {
            return Some(Stop::Wrong(format!(
                "entry {} is where entry {} belongs",
                header.number, self.next
            )));
        }
        if header.epoch < self.epoch {
            return Some(Stop::Wrong(format!(
                "entry {} has epoch {} after epoch {}",
                header.number, header.epoch, self.epoch
            )));
        }
        if !(self.watermark..=self.next).contains(&header.watermark) {
            return Some(Stop::Wrong(format!(
                "entry {} can't have the watermark {}",
                header.number, header.watermark
            )));
        }
        self.epoch = header.epoch;
        self.watermark = header.watermark;
        while self.unproven.pop_front_if(|point| point.number < header.watermark).is_some() {}
        match header.kind {
            Kind::Mark => Some(Stop::Mark),
            Kind::Roll => Some(Stop::Roll),
            Kind::Data => {
                let point = Point { number: self.next, offset: self.end };
                self.index.note(point);
                self.unproven.push_back(point);
                self.next += 1;
                self.end = frame::end(self.end, header);
                None
            }
        }
    }
}

/// Looks through what comes after entry `next` could not be read: everything `from` there.
pub(super) fn remains<F: DiskFile>(
    file: &F,
    header: &segment::Header,
    next: u64,
    from: u64,
) -> io::Result<Remains> {
    let salt = Salt::new(header.identity, header.number);
    let mut pages = Pages::new(file, PIECE);
    let mut remains = Remains { end: from, proof: None };
    let mut at = from;
    loop {
        // A header may begin in one block and end in the next.
        let bytes = pages.at(at, BLOCK + frame::HEADER_BYTES)?;
        let block = bytes.get(..BLOCK).unwrap_or(bytes);
        if block.is_empty() {
            return Ok(remains);
        }
        if let Some(last) = last_nonzero(block) {
            remains.end = at + to_u64(last) + 1;
            let proof = (0..block.len()).step_by(frame::ALIGN).find(|start| {
                bytes
                    .get(*start..)
                    .and_then(|bytes| frame::Header::decode(bytes, &salt))
                    .is_some_and(|header| header.watermark > next)
            });
            if let Some(start) = proof {
                remains.proof = Some(at + to_u64(start));
                return Ok(remains);
            }
        }
        at += to_u64(block.len());
    }
}

fn last_nonzero(block: &[u8]) -> Option<usize> {
    const ZEROS: [u8; BLOCK] = [0; BLOCK];
    if ZEROS.get(..block.len()) == Some(block) {
        return None;
    }
    block.iter().rposition(|byte| *byte != 0)
}
