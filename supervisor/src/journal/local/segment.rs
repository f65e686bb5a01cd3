//! A segment: a file with a header of one block and then frames. Its name is its number.
//!
//! ```text
//!   0       8         12         28       36      44      52    56 ...... 4096
//!   │ magic │ version │ identity │ number │ first │ epoch │ CRC │ zeros     │ frames
//! ```
//!
//! A whole block is the header's own, so that no torn write of a frame can reach it. The first 56
//! bytes mean the same in every version: a newer one can be told from a damaged one.

use uuid::Uuid;

use super::bytes::{split_array, to_u64};

/// Size of the header's block, and so the place of the first frame.
pub(super) const HEADER_BYTES: u64 = 4096;
/// The format that is written here.
pub(super) const VERSION: u32 = 1;

const MAGIC: [u8; 8] = *b"rollcall";
const COVERED: usize = 52;

/// The header of a segment.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Header {
    /// The log that it belongs to.
    pub(super) identity: Uuid,
    /// Its number in the log.
    pub(super) number: u64,
    /// The number of its first entry. All before are durable.
    pub(super) first: u64,
    /// The latest epoch when it was made, 0 for none.
    pub(super) epoch: u64,
}

/// Why a block is not a header.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum BadHeader {
    /// It is damaged, or something else.
    Damaged,
    /// A later version wrote it.
    Newer(u32),
}

impl Header {
    /// The header's block as bytes.
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(4096);
        bytes.extend_from_slice(&MAGIC);
        bytes.extend_from_slice(&VERSION.to_le_bytes());
        bytes.extend_from_slice(self.identity.as_bytes());
        bytes.extend_from_slice(&self.number.to_le_bytes());
        bytes.extend_from_slice(&self.first.to_le_bytes());
        bytes.extend_from_slice(&self.epoch.to_le_bytes());
        bytes.extend_from_slice(&crc32fast::hash(&bytes).to_le_bytes());
        bytes.resize(4096, 0);
        bytes
    }

    /// Reads the header's block.
    pub(super) fn decode(block: &[u8]) -> Result<Self, BadHeader> {
        let (version, header, rest) = Self::parse(block).ok_or(BadHeader::Damaged)?;
        if version > VERSION {
            return Err(BadHeader::Newer(version));
        }
        let whole = version == VERSION && to_u64(block.len()) == HEADER_BYTES;
        if !whole || rest.iter().any(|byte| *byte != 0) {
            return Err(BadHeader::Damaged);
        }
        Ok(header)
    }

    fn parse(block: &[u8]) -> Option<(u32, Self, &[u8])> {
        let (magic, rest) = split_array::<8>(block)?;
        let (version, rest) = split_array::<4>(rest)?;
        let (identity, rest) = split_array::<16>(rest)?;
        let (number, rest) = split_array::<8>(rest)?;
        let (first, rest) = split_array::<8>(rest)?;
        let (epoch, rest) = split_array::<8>(rest)?;
        let (crc, rest) = split_array::<4>(rest)?;
        let covered = crc32fast::hash(block.get(..COVERED)?);
        (magic == MAGIC && covered == u32::from_le_bytes(crc)).then(|| {
            let header = Self {
                identity: Uuid::from_bytes(identity),
                number: u64::from_le_bytes(number),
                first: u64::from_le_bytes(first),
                epoch: u64::from_le_bytes(epoch),
            };
            (u32::from_le_bytes(version), header, rest)
        })
    }
}

/// The name of a segment's file.
pub(super) fn name(number: u64) -> String {
    format!("{number:08}.seg")
}

/// The name of a segment's file while it is being prepared. What is found under such a name at
/// the next start is thrown away.
pub(super) fn spare_name(number: u64) -> String {
    format!("{number:08}.tmp")
}

/// The segment's number in a file's name.
pub(super) fn number(file: &str) -> Option<u64> {
    let number = file.strip_suffix(".seg")?.parse().ok()?;
    (name(number) == file).then_some(number)
}

/// Whether a file's name is that of a segment that was being prepared.
pub(super) fn is_spare(file: &str) -> bool {
    file.strip_suffix(".tmp").is_some_and(|number| number.parse::<u64>().is_ok())
}
