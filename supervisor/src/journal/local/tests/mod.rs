//! Proof of the local journal.

use std::time::Duration;

use super::super::{Journal, Space};
use super::*;

#[test]
fn smoke() {
    let dir = tempfile::tempdir().unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    for round in 0..3_u64 {
        let (journal, recovered) = LocalJournal::open(dir.path(), &Options::default()).unwrap();
        assert_eq!(recovered.entries, round * 1000);
        let mut last = None;
        for n in 0..1000 {
            last = Some(
                journal
                    .append(format!("{n}").into(), recovered.next_epoch)
                    .unwrap(),
            );
        }
        let mut tail = journal.tail();
        runtime.block_on(async {
            tokio::time::timeout(
                Duration::from_secs(10),
                tail.wait_for(|tail| tail.next > last.unwrap().0),
            )
            .await
            .unwrap()
            .unwrap();
        });
        assert_eq!(tail.borrow().space, Space::Enough);
        assert_eq!(
            journal.read(EntryNumber(1), usize::MAX).unwrap().len() as u64,
            (round + 1) * 1000
        );
        journal.close().unwrap();
    }
}
