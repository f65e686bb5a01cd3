//! A torn end is cut; damage is refused, with its place.

use proptest::{collection::vec, prelude::*};

use super::*;
use crate::journal::local::{checks, frame, segment};

const FIRST: &str = "00000001.seg";

/// Ten entries of 50 bytes, each synced by itself; a mark follows.
fn ten() -> SimDisk {
    let disk = SimDisk::new();
    let (mut log, _) = open(&disk).unwrap();
    for n in 0..10 {
        store(&mut log, &[b'a' + n; 50]);
    }
    log.finish().unwrap();
    disk
}

fn frame_size() -> u64 {
    u64::try_from(frame::frame_bytes(50)).unwrap()
}

fn frame_start(entry: u64) -> u64 {
    segment::HEADER_BYTES + (entry - 1) * frame_size()
}

/// Checks that opening is refused because of this place.
fn refused_at(disk: &SimDisk, file: &str, place: u64) -> String {
    let error = open(disk).unwrap_err();
    let text = error.to_string();
    assert!(
        matches!(&error, OpenError::Damaged { file: named, offset, .. }
            if named.as_os_str() == file && *offset == place),
        "{text}, but expected {file} at {place}"
    );
    assert!(text.contains(file) && text.contains(&place.to_string()));
    text
}

/// Fills several segments and closes the log.
fn segments(identity: Uuid) -> SimDisk {
    let disk = SimDisk::new();
    let (mut log, _) = Log::open(disk.clone(), &SMALL, identity).unwrap();
    for n in 0..60_u8 {
        store(&mut log, &[n; 1000]);
    }
    log.finish().unwrap();
    assert!(disk.content("00000004.seg").is_some());
    disk
}

#[test]
fn an_end_torn_at_any_byte_is_cut() {
    for size in [0, 1, 13, 50] {
        let disk = SimDisk::new();
        let (mut log, _) = open(&disk).unwrap();
        for n in 0..5 {
            store(&mut log, &[n; 50]);
        }
        log.write_group(&mut group([[9; 50].get(..size).unwrap()])).unwrap();
        drop(log);
        let whole = disk.content(FIRST).unwrap();
        let start = usize::try_from(frame_start(6)).unwrap();
        for kept in 0..frame::frame_bytes(size) {
            let disk = SimDisk::new();
            disk.put(FIRST, Some(whole[..start + kept].to_vec()));
            let (mut log, recovered) = open(&disk).unwrap();
            assert_eq!(recovered.entries, 5, "{kept} bytes kept");
            assert_eq!(recovered.cut.is_some(), kept > 0);
            if let Some(cut) = recovered.cut {
                assert_eq!(cut.offset, frame_start(6));
                assert!(cut.bytes <= u64::try_from(kept).unwrap());
            }
            store(&mut log, b"sixth");
            drop(log);
            let (log, recovered) = open(&disk).unwrap();
            assert_eq!(recovered.cut, None);
            assert_eq!(payloads(&log).len(), 6);
        }
    }
}

#[test]
fn a_flip_in_any_byte_of_a_middle_frame_is_refused() {
    let disk = ten();
    for offset in frame_start(5)..frame_start(6) {
        for mask in [1, 0x80, 0xff] {
            assert!(disk.flip(FIRST, offset, mask));
            refused_at(&disk, FIRST, frame_start(5));
            assert!(disk.flip(FIRST, offset, mask));
        }
    }
    assert_eq!(open(&disk).unwrap().1.entries, 10);
}

#[test]
fn a_flip_in_any_byte_of_the_last_frame_is_refused_if_it_was_marked() {
    let disk = ten();
    for offset in frame_start(10)..frame_start(11) {
        disk.flip(FIRST, offset, 4);
        refused_at(&disk, FIRST, frame_start(10));
        disk.flip(FIRST, offset, 4);
    }
}

#[test]
fn without_a_mark_the_entry_after_proves_that_one_was_stored() {
    let disk = SimDisk::new();
    let (mut log, _) = open(&disk).unwrap();
    for n in 0..10 {
        store(&mut log, &[n; 50]);
    }
    drop(log);
    let content = disk.content(FIRST).unwrap();
    for entry in 1..10 {
        disk.flip(FIRST, frame_start(entry) + 60, 1);
        refused_at(&disk, FIRST, frame_start(entry));
        disk.flip(FIRST, frame_start(entry) + 60, 1);
    }
    disk.flip(FIRST, frame_start(10) + 60, 1);
    let (_, recovered) = open(&disk).unwrap();
    assert_eq!(recovered.cut.unwrap().offset, frame_start(10));

    disk.put(FIRST, Some(content));
    drop(open(&disk).unwrap());
    disk.flip(FIRST, frame_start(10) + 60, 1);
    refused_at(&disk, FIRST, frame_start(10));
}

#[test]
fn a_flip_in_any_byte_of_the_header_is_refused() {
    let disk = ten();
    for offset in 0..segment::HEADER_BYTES {
        disk.flip(FIRST, offset, 2);
        refused_at(&disk, FIRST, 0);
        disk.flip(FIRST, offset, 2);
    }
}

#[test]
fn zeros_over_what_was_stored_are_refused() {
    let disk = ten();
    let mut content = disk.content(FIRST).unwrap();
    let start = usize::try_from(frame_start(3)).unwrap();
    content[start..start + 200].fill(0);
    disk.put(FIRST, Some(content));
    refused_at(&disk, FIRST, frame_start(3));
}

#[test]
fn a_flip_is_seen_by_a_reader() {
    let disk = ten();
    let (log, _) = open(&disk).unwrap();
    for offset in frame_start(5)..frame_start(6) {
        disk.flip(FIRST, offset, 1);
        let error = log.read(EntryNumber(4), usize::MAX).unwrap_err();
        let text = error.to_string();
        assert!(text.contains(&format!("{FIRST} at offset {}", frame_start(5))), "{text}");
        disk.flip(FIRST, offset, 1);
    }
}

#[test]
fn garbage_behind_the_end_is_cut() {
    let mut rng = fastrand::Rng::with_seed(3);
    for size in [1, 7, 40, 41, 1000, 6000] {
        for from in [frame_start(11), frame_start(11) + frame::MARK_BYTES] {
            let disk = ten();
            let mut content = disk.content(FIRST).unwrap();
            let from = usize::try_from(from).unwrap();
            let mut garbage = vec![0; size];
            rng.fill(&mut garbage);
            garbage[size - 1] |= 1;
            content.truncate(from);
            content.extend_from_slice(&garbage);
            disk.put(FIRST, Some(content));
            let (log, recovered) = open(&disk).unwrap();
            let cut = recovered.cut.unwrap();
            assert_eq!(cut.bytes, u64::try_from(size).unwrap());
            assert_eq!(payloads(&log).len(), 10);
            drop(log);
            assert_eq!(open(&disk).unwrap().1.cut, None);
        }
    }
}

#[test]
fn what_was_written_for_another_segment_proves_nothing() {
    for (segment, proves) in [(1, true), (2, false)] {
        let disk = ten();
        let mut content = disk.content(FIRST).unwrap();
        content.truncate(usize::try_from(frame_start(11)).unwrap());
        content.resize(content.len() + 80, 0);
        let stray = frame::Data { number: 13, epoch: 1, watermark: 12, payload: &[1; 50] };
        stray.encode(&frame::Salt::new(identity(), segment), &mut content);
        disk.put(FIRST, Some(content));
        if proves {
            refused_at(&disk, FIRST, frame_start(11));
        } else {
            assert_eq!(open(&disk).unwrap().1.entries, 10);
        }
    }
}

#[test]
fn an_entry_that_was_never_safe_goes_with_those_after_it() {
    let disk = SimDisk::new();
    let (mut log, _) = open(&disk).unwrap();
    for n in 0..6 {
        store(&mut log, &[n; 50]);
    }
    log.write_group(&mut group([[7; 50].as_slice(), &[8; 50], &[9; 50]])).unwrap();
    drop(log);
    let mut content = disk.content(FIRST).unwrap();
    let start = usize::try_from(frame_start(7)).unwrap();
    content[start..start + 90].fill(0);
    disk.put(FIRST, Some(content));
    let (log, recovered) = open(&disk).unwrap();
    assert_eq!(recovered.entries, 6);
    assert_eq!(recovered.cut.unwrap().offset, frame_start(7));
    assert_eq!(payloads(&log).len(), 6);
}

#[test]
fn a_missing_segment_is_refused() {
    for name in ["00000002.seg", "00000003.seg"] {
        let disk = segments(identity());
        disk.put(name, None);
        assert!(refused_at(&disk, name, 0).contains("missing"));
    }
}

#[test]
fn the_last_segment_is_missed_too() {
    let disk = SimDisk::new();
    let (mut log, _) = open(&disk).unwrap();
    while disk.content("00000003.seg").is_none() {
        store(&mut log, &[1; 1000]);
    }
    drop(log);
    disk.put("00000003.seg", None);
    assert!(refused_at(&disk, "00000003.seg", 0).contains("missing"));
}

#[test]
fn swapped_segments_are_refused() {
    let disk = segments(identity());
    let (second, third) = (disk.content("00000002.seg"), disk.content("00000003.seg"));
    disk.put("00000002.seg", third);
    disk.put("00000003.seg", second);
    refused_at(&disk, "00000002.seg", 0);
}

#[test]
fn a_segment_of_another_log_is_refused() {
    let disk = segments(identity());
    let other = segments(Uuid::from_u128(2));
    disk.put("00000002.seg", other.content("00000002.seg"));
    assert!(refused_at(&disk, "00000002.seg", 0).contains("another log"));
}

#[test]
fn frames_of_another_place_do_not_count() {
    let disk = segments(identity());
    let mut second = disk.content("00000002.seg").unwrap();
    let third = disk.content("00000003.seg").unwrap();
    let size = second.len();
    second[4096..].copy_from_slice(&third[4096..size]);
    disk.put("00000002.seg", Some(second));
    let error = open(&disk).unwrap_err();
    assert!(error.to_string().starts_with("00000002.seg is damaged at offset 4096"), "{error}");
}

#[test]
fn an_older_copy_of_a_segment_is_refused() {
    let disk = SimDisk::new();
    let (mut log, _) = open(&disk).unwrap();
    for n in 0..5 {
        store(&mut log, &[n; 1000]);
    }
    let old = disk.content(FIRST).unwrap();
    while disk.content("00000002.seg").is_none() {
        store(&mut log, &[6; 1000]);
    }
    drop(log);
    disk.put(FIRST, Some(old));
    let size = u64::try_from(frame::frame_bytes(1000)).unwrap();
    refused_at(&disk, FIRST, segment::HEADER_BYTES + 5 * size);
}

#[test]
fn a_newer_format_is_named() {
    let disk = ten();
    let mut content = disk.content(FIRST).unwrap();
    content[8] = 9;
    let crc = crc32fast::hash(&content[..52]);
    content[52..56].copy_from_slice(&crc.to_le_bytes());
    disk.put(FIRST, Some(content));
    let error = open(&disk).unwrap_err();
    assert!(matches!(error, OpenError::Newer { version: 9, known: 1, .. }), "{error}");
}

#[test]
fn what_is_not_a_segment_is_left_alone() {
    let disk = ten();
    disk.put("notes.txt", Some(b"mine".to_vec()));
    disk.put("00000002.tmp", Some(Vec::new()));
    assert_eq!(open(&disk).unwrap().1.entries, 10);
    assert_eq!(disk.content("notes.txt").unwrap(), b"mine");
}

#[test]
fn a_frame_longer_than_any_entry_is_none() {
    let salt = frame::Salt::new(identity(), 1);
    let most = u32::try_from(ENTRY_BYTES).unwrap();
    for (length, is_one) in [(most, true), (most + 1, false), (u32::MAX, false)] {
        let mut header = frame::Header::mark(frame::Kind::Data, 1, 1);
        header.length = length;
        let mut bytes = Vec::new();
        header.encode(&salt, &mut bytes);
        assert_eq!(frame::Header::decode(&bytes, &salt).is_some(), is_one, "{length}");
    }
}

/// Bytes of any kind, and frames that follow each other, of which one byte is another.
fn segment_bytes() -> impl Strategy<Value = Vec<u8>> {
    let payloads = vec(vec(any::<u8>(), 0..30), 0..6);
    let near = (payloads, any::<prop::sample::Index>(), any::<u8>());
    let near = near.prop_map(|(payloads, at, to)| {
        let (mut bytes, salt) = (Vec::new(), frame::Salt::new(identity(), 1));
        for (payload, number) in payloads.iter().zip(1..) {
            frame::Data { number, epoch: 1, watermark: 1, payload }.encode(&salt, &mut bytes);
        }
        frame::Header::mark(frame::Kind::Mark, 7, 1).encode(&salt, &mut bytes);
        let at = at.index(bytes.len());
        bytes[at] = to;
        bytes
    });
    prop_oneof![near, vec(any::<u8>(), 0..300)]
}

proptest! {
    #[test]
    fn any_bytes_are_a_segment_or_refused(bytes in segment_bytes()) {
        checks::journal(&bytes);
    }
}
