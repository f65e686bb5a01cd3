//! Proof of the views: whatever lies in files is found as if it were in memory, and what is
//! trimmed away is said to be.

use std::{collections::BTreeMap, sync::Arc};

use bytes::Bytes;
use proptest::prelude::*;
use rollcall_common::{
    ids::{Epoch, MessageId, Position, Sequence, StreamId},
    limits::{VIEW_SPILL_ROWS, VIEW_TAIL_ROWS},
    message::Payload,
    time::Time,
};
use uuid::Uuid;

use super::{Change, Progress, ReadFailed, ReplayCursor, Source, Views};
use crate::{
    dispatcher::Released,
    journal::{EntryNumber, Journal as _, memory::MemoryJournal},
    record::{Answer, AnswerRef, MessageRef, Outcome, Record, codec::Encoder},
};

/// A journal of results, and its views.
struct Desk {
    journal: Arc<MemoryJournal>,
    views: Arc<Views>,
    /// The last sequence of each stream.
    last: BTreeMap<u32, u64>,
    /// Stream, sequence and whether it was skipped, by position.
    said: Vec<(u32, u64, bool)>,
    _folder: tempfile::TempDir,
}

impl Desk {
    fn new() -> Self {
        let journal = Arc::new(MemoryJournal::new());
        let folder = tempfile::tempdir().unwrap();
        let views = Views::on_disk(journal.clone(), &folder.path().join("views")).unwrap();
        let views = Arc::new(views);
        Self { journal, views, last: BTreeMap::new(), said: Vec::new(), _folder: folder }
    }

    fn open(&mut self, streams: u32) {
        let name = |stream| format!("s{stream}").parse().unwrap();
        let opened = (0..streams).map(|id| Change::Opened { stream: StreamId(id), name: name(id) });
        self.views.publish(EntryNumber(1), opened);
    }

    /// Results of these streams, released one after the other, all in one entry.
    fn release(&mut self, streams: impl IntoIterator<Item = (u32, bool)>) {
        let (mut encoder, mut changes) = (Encoder::default(), Vec::new());
        for (number, skipped) in streams {
            let last = self.last.entry(number).or_default();
            *last += 1;
            let (stream, sequence) = (StreamId(number), Sequence(*last));
            self.said.push((number, *last, skipped));
            let position = Position(self.said.len() as u64);
            let at = Time::from_micros(position.0);
            let answer = Arc::new(answer(position));
            let record = Record::Answered { stream, sequence, at, answer };
            let index = encoder.push(&record);
            changes.extend(Change::of(record, index).map(Change::lean));
            changes.push(Change::Released(Released { position, stream, sequence, at, skipped }));
        }
        let ticket = self.journal.append(encoder.finish(), Epoch::FIRST).unwrap();
        self.views.publish(ticket.0, changes);
        self.views.spill().unwrap();
    }

    fn trim(&self, through: u64) {
        let (through, below) = (Position(through), EntryNumber(1));
        self.views.publish(EntryNumber(1), [Change::Trimmed { through, below }]);
        self.views.spill().unwrap();
    }

    /// All of it, read back and compared.
    fn check(&self, floor: u64) {
        let mut streams: BTreeMap<u32, Vec<(u64, u64, bool)>> = BTreeMap::new();
        for ((stream, sequence, skipped), position) in self.said.iter().zip(1..) {
            let of = streams.entry(*stream).or_default();
            of.push((*sequence, position, *skipped));
        }
        let read = self.views.results(Position(floor), usize::MAX, usize::MAX).unwrap();
        assert_eq!(read.len() as u64, self.said.len() as u64 - floor);
        for (result, position) in read.iter().zip(floor + 1..) {
            let (stream, sequence, _) = self.said[usize::try_from(position).unwrap() - 1];
            assert_eq!((result.position.0, result.sequence.0), (position, sequence));
            assert_eq!(result.stream.as_str(), format!("s{stream}"));
            assert_eq!(result.answer.head, answer(Position(position)).head);
        }
        self.check_reading_on(Source::All, floor, read.iter().map(|one| one.position.0));
        for (stream, of) in streams {
            let stream = StreamId(stream);
            let kept: Vec<_> = of.iter().filter(|(_, position, _)| *position > floor).collect();
            let first = kept.first().map_or(of.len() as u64 + 1, |(first, ..)| *first);
            assert_eq!(self.views.first_sequence(stream).0, first);
            if first > 1 {
                match self.views.stream_results(stream, Sequence(first - 2), 3, usize::MAX) {
                    Err(ReadFailed::Gone { first: said }) => assert_eq!(said, first),
                    other => panic!("{other:?}"),
                }
                assert_eq!(self.views.position(stream, Sequence(first - 1)), None);
            }
            let read = self.views.stream_results(stream, Sequence(first - 1), 1 << 20, usize::MAX);
            let read: Vec<_> = read.unwrap().iter().map(|one| one.position.0).collect();
            assert_eq!(read, kept.iter().map(|(_, position, _)| *position).collect::<Vec<_>>());
            let all = kept.iter().map(|(_, position, _)| *position);
            self.check_reading_on(Source::Stream(stream), first - 1, all);
            for (sequence, position, _) in kept.iter().step_by(1 + kept.len() / 50) {
                let found = self.views.position(stream, Sequence(*sequence));
                assert_eq!(found, Some(Position(*position)));
                let before = of[..usize::try_from(*sequence).unwrap() - 1]
                    .iter()
                    .rev()
                    .find(|(.., skip)| !skip);
                let before = before.map_or(0, |(before, ..)| *before);
                assert_eq!(self.views.previous(stream, Sequence(*sequence)).0, before);
            }
        }
    }
}

impl Desk {
    /// Reading on in pieces finds the same.
    fn check_reading_on(&self, source: Source, after: u64, expected: impl Iterator<Item = u64>) {
        let (mut cursor, mut found) = (ReplayCursor::new(source, after), Vec::new());
        loop {
            let before = found.len();
            let went = self.views.read_on(&mut cursor, |shown| {
                assert_eq!(shown.result, AnswerRef::at(&answer(shown.position)));
                found.push(shown.position.0);
                found.len() < before + 300
            });
            if went.unwrap() == Progress::ToTheEnd {
                break;
            }
        }
        assert_eq!(found, expected.collect::<Vec<_>>());
        if after > 0 {
            let gone = self.views.read_on(&mut ReplayCursor::new(source, after - 1), |_| true);
            assert!(matches!(gone, Err(ReadFailed::Gone { first }) if first == after + 1));
        }
    }
}

fn answer(position: Position) -> Answer {
    let id = MessageId(Uuid::from_u128(u128::from(position.0)));
    Answer {
        head: MessageRef { id, accepted_at: Time::from_micros(position.0) },
        outcome: Outcome::Completed,
        worker: "w".into(),
        reason: "".into(),
        history: Vec::new(),
        attempts: 1,
        payload: Payload {
            content_type: "text/plain".into(),
            // They are read from the journal in another way than others.
            headers: match position.0 % 2 {
                0 => Box::default(),
                _ => [("ce-id".into(), position.to_string().into())].into(),
            },
            body: Bytes::from_static(b"r"),
        },
    }
}

#[test]
fn results_are_found_in_files_as_in_memory() {
    let mut desk = Desk::new();
    desk.open(5);
    let mut rng = fastrand::Rng::with_seed(1);
    let total = VIEW_TAIL_ROWS + 3 * VIEW_SPILL_ROWS;
    while desk.said.len() < total {
        let streams: Vec<_> = (0..1000).map(|_| (rng.u32(..4), rng.u8(..9) == 0)).collect();
        desk.release(streams);
    }
    // One stream comes only now and then: its links lead far back.
    desk.release([(4, false), (0, false), (4, true), (4, false)]);
    assert!(desk.views.unspilled() < VIEW_SPILL_ROWS, "{} stay", desk.views.unspilled());
    desk.check(0);
    for floor in [1, 777, 10_000, desk.said.len() as u64 - 2] {
        desk.trim(floor);
        desk.check(floor);
    }
}

#[test]
fn who_must_not_block_gets_what_a_neighbour_has_just_read() {
    let mut desk = Desk::new();
    desk.open(2);
    desk.release([(0, false), (1, false), (0, false)]);
    desk.release([(0, false)]);
    let recent = |stream, after| {
        let found = desk.views.recent_results(StreamId(stream), Sequence(after), 10);
        found.map(|all| all.iter().map(|one| one.sequence.0).collect::<Vec<_>>())
    };
    assert_eq!(recent(0, 0), None, "all of it is on the disk");
    desk.views.stream_results(StreamId(1), Sequence(0), 10, usize::MAX).unwrap();
    assert_eq!(recent(0, 0), Some(vec![1, 2]), "they lie in the entry that was read for the other");
    assert_eq!(recent(0, 2), None, "this one does not");
    assert_eq!(recent(0, 3), Some(Vec::new()), "there is nothing more");
}

/// Reading an old place takes the lock of the newest ones twice. With a writer in between, a reader
/// that had not given it back the first time stopped everything.
#[test]
fn readers_of_old_places_and_the_writer_never_wait_for_each_other() {
    let mut desk = Desk::new();
    desk.open(1);
    while desk.said.len() < VIEW_TAIL_ROWS + 2 * VIEW_SPILL_ROWS {
        desk.release((0..1000).map(|_| (0, false)));
    }
    let (done, finished) = std::sync::mpsc::channel();
    let views = Arc::clone(&desk.views);
    // Not joined: what stops must not stop the test.
    std::thread::spawn(move || {
        let first = (0..20_000).map(|_| views.position(StreamId(0), Sequence(1)));
        assert!(first.into_iter().all(|position| position == Some(Position(1))));
        done.send(()).unwrap();
    });
    let (written, all_written) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        (0..2_000).for_each(|_| desk.release([(0, false)]));
        written.send(()).unwrap();
    });
    let longest = std::time::Duration::from_secs(60);
    finished.recv_timeout(longest).expect("the reader has come through");
    all_written.recv_timeout(longest).expect("the writer has come through");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn every_sequence_is_found_and_what_is_trimmed_is_gone(
        streams in proptest::collection::vec((0..4_u32, any::<bool>()), 1..300),
        cut in any::<prop::sample::Index>(),
    ) {
        let mut desk = Desk::new();
        desk.open(4);
        for chunk in streams.chunks(7) {
            desk.release(chunk.iter().copied());
        }
        desk.check(0);
        let floor = cut.index(streams.len()) as u64;
        desk.trim(floor);
        desk.check(floor);
    }
}
