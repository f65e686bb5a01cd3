//! The journal and the bytes in it: entries until they are durable, records and frames written
//! and read. `cargo bench -p tests --bench journal`.

use std::{hint::black_box, sync::Arc};

use bytes::{Bytes, BytesMut};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use rollcall_common::{
    frame,
    ids::{Epoch, MessageId, Sequence, StreamId},
    message::{Message, OCTET_STREAM},
    time::Time,
};
use rollcall_supervisor::{
    journal::{
        Journal,
        local::{LocalJournal, Options},
        memory::MemoryJournal,
    },
    record::{
        Record,
        codec::{Encoder, decode},
    },
};
use tokio::runtime::Runtime;
use uuid::Uuid;

/// Bytes of a message.
const BODY: usize = 256;
/// Messages in what is encoded and framed.
const MESSAGES: u64 = 64;

/// Appends `entries` entries, and waits until all are durable.
fn append(journal: &dyn Journal, epoch: Epoch, entries: u64, runtime: &Runtime) {
    let payload = Bytes::from(vec![7; 512]);
    let mut tail = journal.tail();
    let mut last = None;
    for _ in 0..entries {
        last = Some(journal.append(payload.clone(), epoch).expect("it takes entries"));
    }
    let last = last.expect("there was an entry").0;
    let durable = tail.wait_for(|tail| tail.next > last || tail.failed.is_some());
    let failed = runtime.block_on(durable).expect("the journal is there").failed.clone();
    assert_eq!(failed, None);
    // What is durable may go, so that a long run takes no more room than a short one.
    journal.trim(last).expect("it can be trimmed");
}

fn journal(c: &mut Criterion) {
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    let directory = tempfile::tempdir().expect("a directory");
    let (local, found) =
        LocalJournal::open(directory.path(), &Options::default()).expect("a journal");
    let memory = MemoryJournal::new();
    let engines: [(&str, &dyn Journal, Epoch); 2] =
        [("memory", &memory, Epoch::FIRST), ("local", &local, found.next_epoch)];
    for (name, journal, epoch) in engines {
        let mut group = c.benchmark_group(format!("journal, {name}"));
        for entries in [1, 32, 512] {
            group.throughput(Throughput::Elements(entries));
            group.bench_function(format!("{entries} at once"), |b| {
                b.iter(|| append(journal, epoch, entries, &runtime));
            });
        }
        group.finish();
    }
}

fn codecs(c: &mut Criterion) {
    let body = Bytes::from(vec![b'x'; BODY]);
    let records: Vec<Record> = (1..=MESSAGES)
        .map(|sequence| Record::Accepted {
            stream: StreamId(0),
            sequence: Sequence(sequence),
            at: Time::from_micros(1_000_000),
            message: Arc::new(Message {
                id: MessageId(Uuid::from_u128(u128::from(sequence))),
                key: None,
                content_type: OCTET_STREAM.into(),
                headers: Arc::default(),
                body: body.clone(),
            }),
        })
        .collect();
    let encode = || {
        let mut encoder = Encoder::default();
        records.iter().for_each(|record| {
            encoder.push(record);
        });
        encoder.finish()
    };
    let join = || {
        let mut frames = BytesMut::new();
        (0..MESSAGES).for_each(|_| frame::put(&mut frames, &body));
        frames.freeze()
    };
    let (entry, frames) = (encode(), join());
    let mut group = c.benchmark_group("codec");
    group.throughput(Throughput::Elements(MESSAGES));
    group.bench_function("records written", |b| b.iter(|| black_box(encode())));
    group.bench_function("records read", |b| b.iter(|| black_box(decode(&entry))));
    group.bench_function("frames written", |b| b.iter(|| black_box(join())));
    group.bench_function("frames read", |b| {
        b.iter(|| black_box(frame::split_all(frames.clone(), BODY)));
    });
    group.finish();
}

criterion_group!(benches, journal, codecs);
criterion_main!(benches);
