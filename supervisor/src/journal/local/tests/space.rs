//! A full disk is not a failure; a failed write or sync is.

use std::time::Duration;

use super::*;
use crate::journal::{Space, Tail};

fn wait_until(journal: &impl Journal, good: impl FnMut(&Tail) -> bool) -> Tail {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    let mut tail = journal.tail();
    runtime.block_on(async {
        let waited = tokio::time::timeout(Duration::from_secs(20), tail.wait_for(good));
        waited.await.unwrap().unwrap().clone()
    })
}

#[test]
fn a_full_disk_leaves_the_reserve() {
    for size in [10, 100, 1000, 3000] {
        let disk = SimDisk::new();
        let (mut log, _) = open(&disk).unwrap();
        for _ in 0..20 {
            store(&mut log, &[1; 700]);
            log.maintain(Load::Idle).unwrap();
        }
        disk.set_capacity(Some(log.size_bytes()));
        let (mut stored, mut low_at) = (0_u64, None);
        loop {
            log.maintain(Load::Busy).unwrap();
            if log.space() == Space::Low && low_at.is_none() {
                low_at = Some(stored);
            }
            let mut group = group([vec![2; size].as_slice()]);
            match log.write_group(&mut group) {
                Ok(()) => log.sync().unwrap(),
                Err(WriteError::Full) => break,
                Err(error) => panic!("{error}"),
            }
            stored += 1;
        }
        let reserve = stored - low_at.unwrap();
        let size = u64::try_from(size).unwrap();
        let waste = 2 * size + 200;
        assert!(reserve * (size + 48) + waste >= SMALL.reserve_bytes - 1000, "{reserve}");
        assert_eq!(log.durable(), log.next());
        let next = log.next();
        drop(log);

        let (mut log, recovered) = open(&disk).unwrap();
        assert_eq!(recovered.cut, None);
        assert_eq!(log.next(), next);
        assert_eq!(log.space(), Space::Low);
        disk.set_capacity(None);
        log.maintain(Load::Busy).unwrap();
        assert_eq!(log.space(), Space::Enough);
        store(&mut log, b"goes on");
        assert_eq!(payloads(&log).last().unwrap(), "goes on");
    }
}

#[test]
fn an_entry_too_large_for_what_is_left_waits_and_loses_nothing() {
    let disk = SimDisk::new();
    let (mut log, _) = open(&disk).unwrap();
    disk.set_capacity(Some(log.size_bytes()));
    let large = vec![3; 30_000];
    let mut group = group([b"small".as_slice(), &large, b"after"]);
    for _ in 0..3 {
        assert_eq!(log.write_group(&mut group), Err(WriteError::Full));
        log.sync().unwrap();
        assert_eq!(log.durable(), EntryNumber(2));
        assert_eq!(group.len(), 2);
    }
    disk.set_capacity(None);
    log.write_group(&mut group).unwrap();
    log.sync().unwrap();
    assert_eq!(payloads(&log), [Bytes::from("small"), large.into(), "after".into()]);
}

#[test]
fn low_space_is_published_and_passes() {
    let disk = SimDisk::new();
    let opened = LocalJournal::open_on(disk.clone(), &SMALL, identity());
    let (journal, _) = opened.unwrap();
    disk.set_capacity(Some(journal.size_bytes()));
    let mut last = None;
    for n in 0..40_u8 {
        last = Some(journal.append(vec![n; 1000].into(), Epoch::FIRST).unwrap());
    }
    let last = last.unwrap();
    let tail = wait_until(&journal, |tail| tail.space == Space::Low);
    assert_eq!(tail.failed, None);
    assert!(tail.next <= last.0);
    disk.set_capacity(None);
    let tail = wait_until(&journal, |tail| tail.next > last.0 && tail.space == Space::Enough);
    assert_eq!(tail.failed, None);
    assert_eq!(journal.read(EntryNumber(1), usize::MAX).unwrap().len(), 40);
    journal.close().unwrap();
}

#[test]
fn closing_on_a_full_disk_says_that_not_all_is_stored() {
    let disk = SimDisk::new();
    let opened = LocalJournal::open_on(disk.clone(), &SMALL, identity());
    let (journal, _) = opened.unwrap();
    disk.set_capacity(Some(journal.size_bytes()));
    let _ticket = journal.append(vec![0; 50_000].into(), Epoch::FIRST).unwrap();
    assert!(journal.close().unwrap_err().contains("full"));
}

#[test]
fn a_failed_sync_is_the_end() {
    let disk = SimDisk::new();
    let opened = LocalJournal::open_on(disk.clone(), &SMALL, identity());
    let (journal, _) = opened.unwrap();
    let ticket = journal.append("stored".into(), Epoch::FIRST).unwrap();
    wait_until(&journal, |tail| tail.next > ticket.0);
    disk.fail_sync(1);
    let _ticket = journal.append("unknown".into(), Epoch::FIRST).unwrap();
    let tail = wait_until(&journal, |tail| tail.failed.is_some());
    assert_eq!(tail.next, EntryNumber(2));
    let reason = tail.failed.unwrap();
    assert!(reason.contains("sync 00000001.seg"), "{reason}");
    let refused = journal.append("late".into(), Epoch::FIRST);
    assert_eq!(refused, Err(AppendError::Failed(reason.clone())));
    assert_eq!(journal.read(EntryNumber(1), 100).unwrap().len(), 1);
    let calls = disk.calls();
    assert_eq!(journal.close(), Err(reason));
    assert_eq!(disk.calls(), calls, "nothing more is written or synced");
}

#[test]
fn a_failed_write_is_the_end_and_its_half_is_cut() {
    let disk = SimDisk::new();
    let (mut log, _) = open(&disk).unwrap();
    store(&mut log, b"stored");
    disk.fail_write(1);
    let mut torn = group([[5; 900].as_slice()]);
    assert!(matches!(log.write_group(&mut torn), Err(WriteError::Failed(_))));
    assert!(matches!(log.sync(), Err(WriteError::Failed(_))));
    assert!(matches!(log.mark(), Err(WriteError::Failed(_))));
    assert!(matches!(log.maintain(Load::Idle), Err(WriteError::Failed(_))));
    assert_eq!(log.durable(), EntryNumber(2));
    drop(log);
    let (log, recovered) = open(&disk).unwrap();
    assert!(recovered.cut.is_some());
    assert_eq!(payloads(&log), ["stored"]);
}

#[test]
fn what_a_failed_sync_left_in_memory_is_written_again() {
    let disk = SimDisk::new();
    let (mut log, _) = open(&disk).unwrap();
    store(&mut log, b"stored");
    disk.fail_sync(1);
    log.write_group(&mut group([b"unknown".as_slice()])).unwrap();
    assert!(log.sync().is_err());
    drop(log);
    disk.restart();
    let (log, _) = open(&disk).unwrap();
    assert_eq!(payloads(&log), ["stored", "unknown"]);
    drop(log);
    for seed in 0..20 {
        disk.crash(&mut fastrand::Rng::with_seed(seed));
        assert_eq!(payloads(&open(&disk).unwrap().0), ["stored", "unknown"]);
    }
}
