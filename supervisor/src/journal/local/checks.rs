//! What holds for any bytes. Asked by random tests, and by `tests/fuzz`.

use crc32fast::Hasher;
use uuid::Uuid;

use super::{
    super::Entry,
    Log, OpenError, Options,
    bytes::{to_u64, to_usize},
    frame::{Data, HEADER_BYTES, Header, Kind, Salt, frame_bytes},
    segment,
    sim_disk::SimDisk,
};

const FIRST: &str = "00000001.seg";
const SMALL: Options =
    Options { segment_bytes: 16 << 10, reserve_bytes: 4 << 10, extend_bytes: 4 << 10 };

fn identity() -> Uuid {
    Uuid::from_u128(0x0f1e_2d3c_4b5a_6978)
}

/// A frame is read or refused; what is read is written as the same bytes. With `mend` its
/// checksums are made to fit, or hardly any bytes would be a frame.
///
/// # Panics
/// When that is not so.
pub fn frame(bytes: &[u8], mend: bool) {
    let mut bytes = bytes.to_vec();
    if mend {
        mended(&mut bytes);
    }
    let salt = Salt::new(identity(), 1);
    let Some(header) = Header::decode(&bytes, &salt) else { return };
    let mut written = Vec::new();
    header.encode(&salt, &mut written);
    assert_eq!(bytes.get(..HEADER_BYTES), Some(&*written));
    let Some(payload) = header.payload(&bytes) else { return };
    let Header { kind, number, epoch, watermark, .. } = header;
    let padding = bytes.get(HEADER_BYTES + payload.len()..header.frame_bytes());
    if kind == Kind::Data && padding.is_some_and(|bytes| bytes.iter().all(|byte| *byte == 0)) {
        written.clear();
        Data { number, epoch, watermark, payload }.encode(&salt, &mut written);
        assert_eq!(bytes.get(..header.frame_bytes()), Some(&*written));
    }
}

/// A segment with these bytes in the place of its frames is opened or refused; what is opened can
/// be read to its end, and is the same when it is opened again.
///
/// # Panics
/// When that is not so.
pub fn segment(bytes: &[u8], mend: bool) {
    let mut bytes = bytes.to_vec();
    if mend {
        let mut at = 0;
        while let Some(rest) = bytes.get_mut(at..).filter(|rest| rest.len() >= HEADER_BYTES) {
            at += mended(rest);
        }
    }
    let header = segment::Header { identity: identity(), number: 1, first: 1, epoch: 0 };
    let disk = SimDisk::new();
    disk.put(FIRST, Some([header.encode(), bytes].concat()));
    let Ok(found) = entries(&disk) else { return };
    assert_eq!(entries(&disk).ok(), Some(found));
}

/// Opens the journal, reads all of it, and lets it go.
fn entries(disk: &SimDisk) -> Result<Vec<Entry>, OpenError> {
    let (mut log, _) = Log::open(disk.clone(), &SMALL, identity())?;
    let found = log.read(log.first(), usize::MAX);
    assert!(log.finish().is_ok());
    let Ok(found) = found else { unreachable!("what was opened can't be read: {found:?}") };
    let first = log.first().0;
    assert!(found.iter().zip(first..).all(|(entry, number)| entry.number.0 == number));
    assert_eq!(first + to_u64(found.len()), log.durable().0);
    Ok(found)
}

/// Makes the checksums of the frame at the front fit, and gives back its size. They are reckoned
/// here from what the format says, not by what is looked at.
fn mended(bytes: &mut [u8]) -> usize {
    let length =
        bytes.get(4..8).and_then(|bytes| bytes.try_into().ok()).map_or(0, u32::from_le_bytes);
    let size = frame_bytes(to_usize(length.into()));
    if let Some(padded) = bytes.get(HEADER_BYTES..size) {
        let crc = crc32fast::hash(padded);
        put(bytes, 32, crc);
    }
    let mut hasher = Hasher::new();
    hasher.update(identity().as_bytes());
    hasher.update(&1_u64.to_le_bytes());
    hasher.update(bytes.get(..36).unwrap_or_default());
    put(bytes, 36, hasher.finalize());
    size
}

fn put(bytes: &mut [u8], at: usize, number: u32) {
    if let Some(place) = bytes.get_mut(at..at + 4) {
        place.copy_from_slice(&number.to_le_bytes());
    }
}
