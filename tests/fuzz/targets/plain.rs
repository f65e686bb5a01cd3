//! What comes on a plain connection (`[[tcp]]`), and where reads end.

#![no_main]

use libfuzzer_sys::fuzz_target;
use rollcall_common::http::Framing;
use rollcall_supervisor::ingress::checks;

fuzz_target!(|input: (bool, u8, &[u8], &[u8])| {
    let (lines, limit, bytes, cuts) = input;
    let framing = if lines { Framing::Lines } else { Framing::Length };
    checks::plain(framing, limit.into(), (bytes, cuts));
});
