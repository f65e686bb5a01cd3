//! The journal on the real disk, with threads.

use std::{
    sync::atomic::{AtomicBool, Ordering},
    thread,
};

use super::*;
use crate::journal::ReadError;

#[test]
fn a_second_opener_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a/b");
    let (journal, _) = LocalJournal::open(&path, &SMALL).unwrap();
    let error = LocalJournal::open(&path, &SMALL).unwrap_err();
    assert!(matches!(&error, OpenError::Locked { path: named } if *named == path));
    assert!(error.to_string().contains(path.to_str().unwrap()));
    drop(journal);
    LocalJournal::open(&path, &SMALL).unwrap();
}

#[test]
fn a_hundred_entries_are_there_again() {
    let dir = tempfile::tempdir().unwrap();
    for round in 0..3_u64 {
        let (journal, recovered) = LocalJournal::open(dir.path(), &Options::default()).unwrap();
        assert_eq!(recovered.entries, round * 100);
        assert_eq!(recovered.next_epoch.0.get(), round + 1);
        assert_eq!(recovered.cut, None);
        for n in 0..100_u64 {
            let payload = Bytes::copy_from_slice(&n.to_le_bytes());
            let ticket = journal.append(payload, recovered.next_epoch).unwrap();
            assert_eq!(ticket.0, EntryNumber(round * 100 + n + 1));
        }
        journal.close().unwrap();
    }
}

#[test]
fn a_flip_on_the_real_disk_names_file_and_byte() {
    let dir = tempfile::tempdir().unwrap();
    let (journal, recovered) = LocalJournal::open(dir.path(), &SMALL).unwrap();
    for _ in 0..10 {
        let _ticket = journal.append("12345678".into(), recovered.next_epoch).unwrap();
    }
    journal.close().unwrap();
    let file = dir.path().join("00000001.seg");
    let mut content = std::fs::read(&file).unwrap();
    content[4096 + 48 * 4 + 45] ^= 1;
    std::fs::write(&file, content).unwrap();
    let text = LocalJournal::open(dir.path(), &SMALL).unwrap_err().to_string();
    let expected = format!("{} is damaged at offset {}", file.display(), 4096 + 48 * 4);
    assert!(text.starts_with(&expected), "{text}");
}

#[test]
fn appending_reading_and_trimming_go_together() {
    const COUNT: u64 = 6000;
    let dir = tempfile::tempdir().unwrap();
    let (journal, recovered) = LocalJournal::open(dir.path(), &SMALL).unwrap();
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        for limit in [1, 3000, 100_000] {
            let (journal, done) = (&journal, &done);
            scope.spawn(move || follow(journal, done, limit));
        }
        scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                let durable = journal.tail().borrow().next.0;
                let below = EntryNumber(durable.saturating_sub(200));
                assert!(journal.trim(below).unwrap() <= below.max(EntryNumber::FIRST));
                thread::yield_now();
            }
        });
        for n in 1..=COUNT {
            let payload = vec![u8::try_from(n % 251).unwrap(); usize::try_from(n % 400).unwrap()];
            let ticket = journal.append(payload.into(), recovered.next_epoch).unwrap();
            assert_eq!(ticket.0, EntryNumber(n));
            // Some pace, so that groups of all sizes are written.
            if n % 64 == 0 {
                while journal.tail().borrow().next.0 + 200 < n {
                    thread::yield_now();
                }
            }
        }
        while journal.tail().borrow().next.0 <= COUNT {
            thread::yield_now();
        }
        done.store(true, Ordering::Relaxed);
    });
    let first = journal.first();
    assert!(first > EntryNumber::FIRST);
    drop(journal);
    let (journal, recovered) = LocalJournal::open(dir.path(), &SMALL).unwrap();
    assert_eq!(journal.first(), first);
    assert_eq!(recovered.entries, COUNT + 1 - first.0);
}

fn follow(journal: &LocalJournal, done: &AtomicBool, limit: usize) {
    let mut next = EntryNumber::FIRST;
    while !done.load(Ordering::Relaxed) {
        let entries = match journal.read(next, limit) {
            Ok(entries) => entries,
            Err(ReadError::Trimmed { first }) => {
                assert!(first > next);
                next = first;
                continue;
            }
            Err(error) => panic!("{error}"),
        };
        for entry in entries {
            assert_eq!(entry.number, next);
            let size = usize::try_from(next.0 % 400).unwrap();
            assert_eq!(entry.payload, vec![u8::try_from(next.0 % 251).unwrap(); size]);
            next = next.next();
        }
        thread::yield_now();
    }
}
