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

/// The bytes, as they are and with checksums that fit, are a frame or refused, and so are they as
/// a segment's frames. What is read of a frame is written as the same bytes. A segment that is
/// opened can be read to its end, and is the same when it is opened again.
///
/// # Panics
/// When that is not so.
pub fn journal(bytes: &[u8]) {
    let mut mended = bytes.to_vec();
    let mut rest = &mut *mended;
    while rest.len() >= HEADER_BYTES {
        let size = mend(rest);
        rest = rest.get_mut(size..).unwrap_or_default();
    }
    for bytes in [bytes, &mended] {
        frame(bytes);
        segment(bytes);
    }
}

fn frame(bytes: &[u8]) {
    let salt = Salt::new(identity(), 1);
    let Some(header) = Header::decode(bytes, &salt) else { return };
    let mut written = Vec::new();
    header.encode(&salt, &mut written);
    assert_eq!(bytes.get(..HEADER_BYTES), Some(&*written));
    let Some(payload) = header.payload(bytes) else { return };
    let Header { kind, number, epoch, watermark, .. } = header;
    let padding = bytes.get(HEADER_BYTES + payload.len()..header.frame_bytes());
    // Other padding would be read, too, but nobody writes it.
    if kind == Kind::Data && padding.is_some_and(|bytes| bytes.iter().all(|byte| *byte == 0)) {
        written.clear();
        Data { number, epoch, watermark, payload }.encode(&salt, &mut written);
        assert_eq!(bytes.get(..header.frame_bytes()), Some(&*written));
    }
}

fn segment(bytes: &[u8]) {
    let header = segment::Header { identity: identity(), number: 1, first: 1, epoch: 0 };
    let disk = SimDisk::new();
    disk.put(FIRST, Some([&*header.encode(), bytes].concat()));
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
fn mend(bytes: &mut [u8]) -> usize {
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
