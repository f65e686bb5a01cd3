//! Proof of the local journal.

mod crash;
mod damage;
mod space;
mod threads;

use std::collections::VecDeque;

use ::bytes::Bytes;
use rollcall_common::ids::Epoch;
use uuid::Uuid;

use super::{super::EntryNumber, sim_disk::SimDisk, *};

const SMALL: Options =
    Options { segment_bytes: 16 << 10, reserve_bytes: 4 << 10, extend_bytes: 4 << 10 };

fn identity() -> Uuid {
    Uuid::from_u128(0x0f1e_2d3c_4b5a_6978)
}

fn open(disk: &SimDisk) -> Result<(Log<SimDisk>, Recovered), OpenError> {
    Log::open(disk.clone(), &SMALL, identity())
}

fn group<const N: usize>(payloads: [&[u8]; N]) -> VecDeque<Unwritten> {
    payloads
        .into_iter()
        .map(|payload| Unwritten { epoch: Epoch::FIRST, payload: Bytes::copy_from_slice(payload) })
        .collect()
}

fn store(log: &mut Log<SimDisk>, payload: &[u8]) {
    log.write_group(&mut group([payload])).unwrap();
    log.sync().unwrap();
}

fn payloads(log: &Log<SimDisk>) -> Vec<Bytes> {
    let entries = log.read(log.first(), usize::MAX).unwrap();
    for (entry, number) in entries.iter().zip(log.first().0..) {
        assert_eq!(entry.number, EntryNumber(number));
    }
    entries.into_iter().map(|entry| entry.payload).collect()
}
