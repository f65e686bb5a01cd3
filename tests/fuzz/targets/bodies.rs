//! Bodies with many messages. The first byte says of which type, the next two how large a message
//! may be.

#![no_main]

use bytes::Bytes;
use http::HeaderMap;
use libfuzzer_sys::fuzz_target;
use rollcall_supervisor::ingress::checks;

const KINDS: [&str; 3] = [
    "application/x-ndjson",
    "application/cloudevents-batch+json",
    "application/vnd.rollcall.frames",
];

fuzz_target!(|input: (u8, u16, &[u8])| {
    let (kind, limit, body) = input;
    let kind = KINDS[usize::from(kind) % KINDS.len()];
    checks::batch(kind, &HeaderMap::new(), &Bytes::copy_from_slice(body), limit.into());
});
