//! A frame: an entry, or a mark, as bytes.
//!
//! ```text
//!   0      4        8        16      24          32            36           40
//!   │ kind │ length │ number │ epoch │ watermark │ payload CRC │ header CRC │ payload, zeros │
//! ```
//!
//! Numbers are little-endian. The header's CRC begins with the log's identity and the segment's
//! number, so that a frame counts only where it was written. As the header has a CRC of its own,
//! its watermark can be believed even if the payload is torn.

use crc32fast::Hasher;
use uuid::Uuid;

use super::{
    super::ENTRY_BYTES,
    bytes::{split_array, to_u64, to_usize},
};

/// Size of a header.
pub(super) const HEADER_BYTES: usize = 40;
/// Size of a frame without payload.
pub(super) const MARK_BYTES: u64 = 40;
/// Frames begin at multiples of this.
pub(super) const ALIGN: usize = 8;

/// What a frame is. None of the codes is zero: zeros mean "nothing was written here".
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Kind {
    /// An entry.
    Data,
    /// The end of the log at an idle moment: everything before it is durable. The next entry
    /// takes its place.
    Mark,
    /// The end of a segment: everything before it and the next segment's file are durable.
    Roll,
}

impl Kind {
    fn code(self) -> &'static [u8; 4] {
        match self {
            Self::Data => b"data",
            Self::Mark => b"mark",
            Self::Roll => b"roll",
        }
    }

    fn from_code(code: [u8; 4]) -> Option<Self> {
        [Self::Data, Self::Mark, Self::Roll].into_iter().find(|kind| *kind.code() == code)
    }
}

/// What ties frames to their place: the log and the segment.
#[derive(Clone, Debug)]
pub(super) struct Salt(Hasher);

impl Salt {
    pub(super) fn new(identity: Uuid, segment: u64) -> Self {
        let mut hasher = Hasher::new();
        hasher.update(identity.as_bytes());
        hasher.update(&segment.to_le_bytes());
        Self(hasher)
    }

    fn crc(&self, bytes: &[u8]) -> u32 {
        let mut hasher = self.0.clone();
        hasher.update(bytes);
        hasher.finalize()
    }
}

/// The header of a frame.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Header {
    /// What it is.
    pub(super) kind: Kind,
    /// Size of the payload.
    pub(super) length: u32,
    /// Its entry's number; of a mark, the next entry's.
    pub(super) number: u64,
    /// The epoch of the append; of a mark, the latest.
    pub(super) epoch: u64,
    /// The first entry that was not known to be durable when this was written.
    pub(super) watermark: u64,
    payload_crc: u32,
}

impl Header {
    /// The header of a frame without payload.
    pub(super) fn mark(kind: Kind, number: u64, epoch: u64) -> Self {
        Self {
            kind,
            length: 0,
            number,
            epoch,
            watermark: number,
            payload_crc: crc32fast::hash(&[]),
        }
    }

    /// Reads a header, if there is one. What says that it is longer than any entry is none: nobody
    /// wrote it, and nobody shall make room for it.
    pub(super) fn decode(bytes: &[u8], salt: &Salt) -> Option<Self> {
        let (code, rest) = split_array::<4>(bytes)?;
        let kind = Kind::from_code(code)?;
        let (length, rest) = split_array::<4>(rest)?;
        let (number, rest) = split_array::<8>(rest)?;
        let (epoch, rest) = split_array::<8>(rest)?;
        let (watermark, rest) = split_array::<8>(rest)?;
        let (payload_crc, rest) = split_array::<4>(rest)?;
        let (header_crc, _) = split_array::<4>(rest)?;
        let covered = bytes.get(..HEADER_BYTES - 4)?;
        let length = u32::from_le_bytes(length);
        let fits = to_usize(length.into()) <= ENTRY_BYTES;
        (fits && salt.crc(covered) == u32::from_le_bytes(header_crc)).then(|| Self {
            kind,
            length,
            number: u64::from_le_bytes(number),
            epoch: u64::from_le_bytes(epoch),
            watermark: u64::from_le_bytes(watermark),
            payload_crc: u32::from_le_bytes(payload_crc),
        })
    }

    /// The header as bytes, behind what `into` has.
    pub(super) fn encode(&self, salt: &Salt, into: &mut Vec<u8>) {
        let mut bytes = [0_u8; HEADER_BYTES - 4];
        let fields = [
            self.kind.code().as_slice(),
            &self.length.to_le_bytes(),
            &self.number.to_le_bytes(),
            &self.epoch.to_le_bytes(),
            &self.watermark.to_le_bytes(),
            &self.payload_crc.to_le_bytes(),
        ];
        let source = fields.into_iter().flatten();
        bytes.iter_mut().zip(source).for_each(|(to, from)| *to = *from);
        into.extend_from_slice(&bytes);
        into.extend_from_slice(&salt.crc(&bytes).to_le_bytes());
    }

    /// Size of the whole frame.
    pub(super) fn frame_bytes(&self) -> usize {
        frame_bytes(to_usize(self.length.into()))
    }

    /// The payload in `frame`, which is the whole frame, if it is as written.
    pub(super) fn payload<'a>(&self, frame: &'a [u8]) -> Option<&'a [u8]> {
        let padded = frame.get(HEADER_BYTES..self.frame_bytes())?;
        let payload = padded.get(..to_usize(self.length.into()))?;
        (crc32fast::hash(padded) == self.payload_crc).then_some(payload)
    }
}

/// Size of the frame of a payload of `length` bytes.
pub(super) fn frame_bytes(length: usize) -> usize {
    (HEADER_BYTES + length).next_multiple_of(ALIGN)
}

/// An entry to be written.
#[derive(Clone, Copy, Debug)]
pub(super) struct Data<'a> {
    /// Its number.
    pub(super) number: u64,
    /// Its epoch.
    pub(super) epoch: u64,
    /// The first entry that is not known to be durable.
    pub(super) watermark: u64,
    /// Its bytes, at most [`ENTRY_BYTES`].
    pub(super) payload: &'a [u8],
}

impl Data<'_> {
    /// The frame as bytes, behind what `into` has.
    pub(super) fn encode(&self, salt: &Salt, into: &mut Vec<u8>) {
        let padding = frame_bytes(self.payload.len()) - HEADER_BYTES - self.payload.len();
        let zeros = [0_u8; ALIGN];
        let padding = zeros.get(..padding).unwrap_or_default();
        let mut hasher = Hasher::new();
        hasher.update(self.payload);
        hasher.update(padding);
        let header = Header {
            kind: Kind::Data,
            length: u32::try_from(self.payload.len()).unwrap_or(u32::MAX),
            number: self.number,
            epoch: self.epoch,
            watermark: self.watermark,
            payload_crc: hasher.finalize(),
        };
        into.reserve(frame_bytes(self.payload.len()));
        header.encode(salt, into);
        into.extend_from_slice(self.payload);
        into.extend_from_slice(padding);
    }
}

/// Where a frame of this length ends that begins at `offset`.
pub(super) fn end(offset: u64, header: &Header) -> u64 {
    offset + to_u64(header.frame_bytes())
}
