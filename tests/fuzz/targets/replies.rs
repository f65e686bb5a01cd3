//! Heads of a worker's replies over plain HTTP, and addresses as people and workers write them.

#![no_main]

use libfuzzer_sys::fuzz_target;
use rollcall_supervisor::{config, workers};

fuzz_target!(|input: (u16, &[u8])| {
    let (status, lines) = input;
    workers::checks::plain_reply(status, lines);
    config::checks::address(&String::from_utf8_lossy(lines));
});
