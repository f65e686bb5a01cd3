//! The engine without IO: a message from its arrival to its delivery, and the fold, in which
//! results that came in any order get their turn. `cargo bench -p tests --bench engine`.

use std::{hint::black_box, sync::Arc};

use bytes::Bytes;
use criterion::{BatchSize, BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use rollcall_common::{
    ids::{MessageId, Sequence, StreamId},
    message::{Message, OCTET_STREAM, Payload},
    time::Time,
};
use rollcall_supervisor::{
    dispatcher::{Settings, State},
    record::{Answer, MessageRef, Outcome, Record},
};
use tests::bench::{Machine, Shape};
use uuid::Uuid;

/// Messages of one iteration.
const MESSAGES: u64 = 1024;

fn engine(c: &mut Criterion) {
    let mut group = c.benchmark_group("engine");
    group.throughput(Throughput::Elements(MESSAGES));
    for (streams, turn) in [(1, 1), (1, 64), (64, 64), (10_000, 64)] {
        let mut machine = Machine::new(Shape { streams, turn, bytes: 256 });
        machine.run(2 * streams);
        let name = format!("{streams} streams, {turn} a turn");
        group.bench_function(name, |b| b.iter(|| black_box(machine.run(MESSAGES))));
    }
    group.finish();
}

fn fold(c: &mut Criterion) {
    let mut group = c.benchmark_group("fold");
    group.throughput(Throughput::Elements(MESSAGES));
    for window in [1, 64, 1024] {
        let records = records(window);
        group.bench_with_input(BenchmarkId::new("window", window), &records, |b, records| {
            let settings = Settings::default();
            let apply = |mut state: State| {
                let mut released = Vec::new();
                for record in records {
                    state.apply(record, &settings, &mut released);
                }
                assert_eq!(released.len() as u64, MESSAGES);
                state
            };
            b.iter_batched(State::default, apply, BatchSize::SmallInput);
        });
    }
    group.finish();
}

/// Messages of one stream whose results come `window` at a time, the last one first.
fn records(window: u64) -> Vec<Record> {
    let at = Time::from_micros(1_000_000);
    let stream = StreamId(0);
    let name = "s0".parse().expect("a good name");
    let mut all = vec![Record::StreamCreated { stream, name }];
    for first in (1..=MESSAGES).step_by(window as usize) {
        let sequences = first..first + window;
        all.extend(sequences.clone().map(|sequence| Record::Accepted {
            stream,
            sequence: Sequence(sequence),
            at,
            message: Arc::new(message(sequence)),
        }));
        all.extend(sequences.rev().map(|sequence| Record::Answered {
            stream,
            sequence: Sequence(sequence),
            at,
            answer: Arc::new(Answer {
                head: MessageRef { id: message(sequence).id, accepted_at: at },
                outcome: Outcome::Completed,
                worker: "w0".into(),
                reason: "".into(),
                history: Vec::new(),
                attempts: 1,
                payload: Payload::default(),
            }),
        }));
    }
    all
}

fn message(sequence: u64) -> Message {
    Message {
        id: MessageId(Uuid::from_u128(u128::from(sequence))),
        key: None,
        content_type: OCTET_STREAM.into(),
        headers: Arc::default(),
        body: Bytes::from_static(b"a body"),
    }
}

criterion_group!(benches, engine, fold);
criterion_main!(benches);
