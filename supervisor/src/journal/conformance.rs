//! What every journal must do: one suite, run for each engine.

use std::time::Duration;

use bytes::Bytes;
use rollcall_common::ids::Epoch;
use tempfile::TempDir;
use uuid::Uuid;

use super::{
    AppendError, ENTRY_BYTES, EntryNumber, Journal, ReadError, Space, Tail, Ticket,
    local::{LocalJournal, Options, sim_disk::SimDisk},
    memory::MemoryJournal,
};

/// Where a journal can be opened, again and again.
trait Ground: Default {
    /// Whether entries outlive the journal that they were appended to.
    const LASTS: bool;

    fn open(&self) -> Box<dyn Journal>;
}

#[derive(Default)]
struct Memory;

impl Ground for Memory {
    const LASTS: bool = false;

    fn open(&self) -> Box<dyn Journal> {
        Box::new(MemoryJournal::new())
    }
}

struct RealDisk(TempDir);

impl Default for RealDisk {
    fn default() -> Self {
        Self(tempfile::tempdir().unwrap())
    }
}

const SMALL: Options =
    Options { segment_bytes: 16 << 10, reserve_bytes: 4 << 10, extend_bytes: 4 << 10 };

impl Ground for RealDisk {
    const LASTS: bool = true;

    fn open(&self) -> Box<dyn Journal> {
        Box::new(LocalJournal::open(self.0.path(), &SMALL).unwrap().0)
    }
}

#[derive(Default)]
struct SimulatedDisk(SimDisk);

impl Ground for SimulatedDisk {
    const LASTS: bool = true;

    fn open(&self) -> Box<dyn Journal> {
        let identity = Uuid::from_u128(1);
        let opened = LocalJournal::open_on(self.0.clone(), &SMALL, identity);
        Box::new(opened.unwrap().0)
    }
}

fn wait_until(journal: &dyn Journal, good: impl FnMut(&Tail) -> bool) -> Tail {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    let mut tail = journal.tail();
    runtime.block_on(async {
        let waited = tokio::time::timeout(Duration::from_secs(20), tail.wait_for(good));
        waited.await.unwrap().unwrap().clone()
    })
}

fn append(journal: &dyn Journal, payload: &[u8], epoch: Epoch) -> Ticket {
    journal.append(Bytes::copy_from_slice(payload), epoch).unwrap()
}

fn settle(journal: &dyn Journal, ticket: Ticket) {
    wait_until(journal, |tail| tail.next > ticket.0);
}

fn fill(journal: &dyn Journal, count: u64, size: usize) {
    let mut last = None;
    for n in 0..count {
        let payload = vec![u8::try_from(n % 251).unwrap(); size];
        last = Some(append(journal, &payload, Epoch::FIRST));
    }
    settle(journal, last.unwrap());
}

fn numbers(journal: &dyn Journal, from: u64, limit: usize) -> Vec<u64> {
    let entries = journal.read(EntryNumber(from), limit).unwrap();
    entries.iter().map(|entry| entry.number.0).collect()
}

fn numbers_follow_the_calls<G: Ground>() {
    let ground = G::default();
    let journal = ground.open();
    assert_eq!(journal.first(), EntryNumber::FIRST);
    for n in 1..=100_u64 {
        let ticket = append(&*journal, &n.to_le_bytes(), Epoch::FIRST);
        assert_eq!(ticket.0, EntryNumber(n));
    }
    settle(&*journal, Ticket(EntryNumber(100)));
    let entries = journal.read(EntryNumber::FIRST, usize::MAX).unwrap();
    for (n, entry) in (1..=100_u64).zip(&entries) {
        assert_eq!(entry.number, EntryNumber(n));
        assert_eq!(entry.payload, n.to_le_bytes().as_slice());
        assert_eq!(entry.epoch, Epoch::FIRST);
    }
    assert_eq!(entries.len(), 100);
}

fn calls_of_many_threads_get_numbers_without_gaps<G: Ground>() {
    let ground = G::default();
    let journal = ground.open();
    let mut numbers: Vec<u64> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..4_u8)
            .map(|thread| {
                let journal = &journal;
                scope.spawn(move || {
                    (0..200)
                        .map(|_| append(&**journal, &[thread; 50], Epoch::FIRST).0.0)
                        .collect::<Vec<_>>()
                })
            })
            .collect();
        let each = threads.into_iter().map(|thread| thread.join().unwrap());
        each.flat_map(|numbers| {
            assert!(numbers.is_sorted(), "each thread's calls are in order");
            numbers
        })
        .collect()
    });
    numbers.sort_unstable();
    assert_eq!(numbers, (1..=800).collect::<Vec<_>>());
    settle(&*journal, Ticket(EntryNumber(800)));
    assert_eq!(self::numbers(&*journal, 1, usize::MAX), numbers);
}

fn the_tail_passes_a_ticket_when_it_is_good<G: Ground>() {
    let ground = G::default();
    let journal = ground.open();
    let before = journal.tail().borrow().clone();
    let fresh = Tail { next: EntryNumber::FIRST, space: Space::Enough, failed: None };
    assert_eq!(before, fresh);
    let ticket = append(&*journal, b"one", Epoch::FIRST);
    let tail = wait_until(&*journal, |tail| tail.next > ticket.0);
    assert_eq!(tail.next, EntryNumber(2));
    assert_eq!(numbers(&*journal, 1, 0), [1]);
}

fn entries_are_whole_at_any_size<G: Ground>() {
    let ground = G::default();
    let sizes = [0, 1, 7, 8, 9, 511, 512, 513, 4096, 20_000, 300_000];
    {
        let journal = ground.open();
        let payload = |size| vec![0xa5; size];
        let tickets = sizes.map(|size| append(&*journal, &payload(size), Epoch::FIRST));
        settle(&*journal, tickets[sizes.len() - 1]);
        let entries = journal.read(EntryNumber::FIRST, usize::MAX).unwrap();
        let found: Vec<usize> = entries.iter().map(|entry| entry.payload.len()).collect();
        assert_eq!(found, sizes);
        assert!(entries.iter().all(|entry| entry.payload.iter().all(|byte| *byte == 0xa5)));
    }
    if G::LASTS {
        let entries = ground.open().read(EntryNumber::FIRST, usize::MAX).unwrap();
        let found: Vec<usize> = entries.iter().map(|entry| entry.payload.len()).collect();
        assert_eq!(found, sizes);
    }
}

fn too_large_an_entry_is_refused<G: Ground>() {
    let ground = G::default();
    let journal = ground.open();
    let refused = journal.append(vec![0; ENTRY_BYTES + 1].into(), Epoch::FIRST);
    let expected = AppendError::TooLarge { bytes: ENTRY_BYTES + 1, limit: ENTRY_BYTES };
    assert_eq!(refused, Err(expected));
    let ticket = journal.append(vec![1; ENTRY_BYTES].into(), Epoch::FIRST).unwrap();
    settle(&*journal, ticket);
    let entries = journal.read(EntryNumber::FIRST, 1).unwrap();
    assert_eq!(entries[0].payload.len(), ENTRY_BYTES);
}

fn an_older_epoch_is_refused<G: Ground>() {
    let ground = G::default();
    let journal = ground.open();
    let second = Epoch::FIRST.next();
    let _ticket = append(&*journal, b"first", Epoch::FIRST);
    let _ticket = append(&*journal, b"second", second);
    let stale = AppendError::StaleEpoch { given: Epoch::FIRST, current: second };
    let refused = journal.append(Bytes::new(), Epoch::FIRST);
    assert_eq!(refused, Err(stale));
    let ticket = append(&*journal, b"second", second);
    assert_eq!(ticket.0, EntryNumber(3), "a refused append takes no number");
    settle(&*journal, ticket);
    let entries = journal.read(EntryNumber::FIRST, usize::MAX).unwrap();
    let epochs: Vec<Epoch> = entries.iter().map(|entry| entry.epoch).collect();
    assert_eq!(epochs, [Epoch::FIRST, second, second]);
}

fn a_seal_shuts_out_older_epochs<G: Ground>() {
    let ground = G::default();
    let journal = ground.open();
    let second = Epoch::FIRST.next();
    let third = second.next();
    let _ticket = append(&*journal, b"first", Epoch::FIRST);
    journal.seal(third);
    journal.seal(second);
    for stale in [Epoch::FIRST, second] {
        let expected = AppendError::StaleEpoch { given: stale, current: third };
        assert_eq!(journal.append(Bytes::new(), stale), Err(expected));
    }
    assert_eq!(append(&*journal, b"third", third).0, EntryNumber(2));
}

fn a_read_gives_what_fits_but_at_least_one<G: Ground>() {
    let ground = G::default();
    let journal = ground.open();
    fill(&*journal, 300, 100);
    assert_eq!(numbers(&*journal, 5, 0), [5]);
    assert_eq!(numbers(&*journal, 5, 99), [5]);
    assert_eq!(numbers(&*journal, 5, 100), [5]);
    assert_eq!(numbers(&*journal, 5, 199), [5]);
    assert_eq!(numbers(&*journal, 5, 200), [5, 6]);
    let most = numbers(&*journal, 2, 25_000);
    assert_eq!(most, (2..252).collect::<Vec<_>>());
    for from in 1..=300 {
        let rest = numbers(&*journal, from, usize::MAX);
        assert_eq!(rest, (from..=300).collect::<Vec<_>>());
    }
}

fn what_is_not_durable_can_not_be_read<G: Ground>() {
    let ground = G::default();
    let journal = ground.open();
    assert!(numbers(&*journal, 1, usize::MAX).is_empty());
    fill(&*journal, 3, 10);
    assert!(numbers(&*journal, 4, usize::MAX).is_empty());
    assert!(numbers(&*journal, 1_000_000, usize::MAX).is_empty());
}

fn what_was_trimmed_is_named<G: Ground>() {
    let ground = G::default();
    let first = {
        let journal = ground.open();
        fill(&*journal, 500, 200);
        let size = journal.size_bytes();
        assert_eq!(journal.trim(EntryNumber::FIRST).unwrap(), EntryNumber(1));
        assert_eq!(journal.freed_by(EntryNumber::FIRST), 0);
        let frees = journal.freed_by(EntryNumber(400));
        let first = journal.trim(EntryNumber(400)).unwrap();
        // The writer may be zeroing more room ahead meanwhile, so there may be more than is left.
        assert!(frees > 0 && journal.size_bytes() >= size - frees);
        assert_eq!(journal.freed_by(EntryNumber(400)), 0);
        assert!((300..=400).contains(&first.0), "{first} is first");
        assert_eq!(journal.first(), first);
        assert!(journal.size_bytes() < size);
        let refused = journal.read(EntryNumber(first.0 - 1), 1);
        assert!(matches!(refused, Err(ReadError::Trimmed { first: named }) if named == first));
        let rest = numbers(&*journal, first.0, usize::MAX);
        assert_eq!(rest, (first.0..=500).collect::<Vec<_>>());
        first
    };
    if G::LASTS {
        let journal = ground.open();
        assert_eq!(journal.first(), first);
        assert_eq!(numbers(&*journal, first.0, 0), [first.0]);
    }
}

fn trimming_all_keeps_the_numbers<G: Ground>() {
    let ground = G::default();
    let journal = ground.open();
    fill(&*journal, 100, 200);
    let first = journal.trim(EntryNumber(u64::MAX)).unwrap();
    assert!(first <= EntryNumber(101));
    let ticket = append(&*journal, b"next", Epoch::FIRST);
    assert_eq!(ticket.0, EntryNumber(101));
    settle(&*journal, ticket);
    assert_eq!(numbers(&*journal, 101, 0), [101]);
}

fn it_reopens_as_it_was<G: Ground>() {
    if !G::LASTS {
        return;
    }
    let ground = G::default();
    let mut epoch = Epoch::FIRST;
    for round in 0..5_u64 {
        let journal = ground.open();
        let all = numbers(&*journal, 1, usize::MAX);
        assert_eq!(all, (1..=round * 100).collect::<Vec<_>>());
        assert_eq!(journal.tail().borrow().next, EntryNumber(round * 100 + 1));
        for n in 1..=100 {
            let ticket = append(&*journal, &[7; 90], epoch);
            assert_eq!(ticket.0, EntryNumber(round * 100 + n));
        }
        if epoch > Epoch::FIRST {
            drop(journal);
            let refused = ground.open().append(Bytes::new(), Epoch::FIRST);
            assert!(matches!(refused, Err(AppendError::StaleEpoch { .. })));
        }
        epoch = epoch.next();
    }
}

macro_rules! suite {
    ($($engine:ident: $ground:ty),+ => $tests:tt) => {
        $(suite!(@ $engine, $ground, $tests);)+
    };
    (@ $engine:ident, $ground:ty, [$($test:ident),+ $(,)?]) => {
        mod $engine {
            use super::*;

            $(#[test]
            fn $test() {
                super::$test::<$ground>();
            })+
        }
    };
}

suite!(memory: Memory, local_on_the_real_disk: RealDisk,
    local_on_a_simulated_disk: SimulatedDisk => [
    numbers_follow_the_calls,
    calls_of_many_threads_get_numbers_without_gaps,
    the_tail_passes_a_ticket_when_it_is_good,
    entries_are_whole_at_any_size,
    too_large_an_entry_is_refused,
    an_older_epoch_is_refused,
    a_seal_shuts_out_older_epochs,
    a_read_gives_what_fits_but_at_least_one,
    what_is_not_durable_can_not_be_read,
    what_was_trimmed_is_named,
    trimming_all_keeps_the_numbers,
    it_reopens_as_it_was,
]);
