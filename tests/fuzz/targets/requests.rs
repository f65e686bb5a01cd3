//! HTTP as it comes on a connection: heads that can be read in two ways, headers, bodies. The
//! first two bytes say where the first read ends.

#![no_main]

use libfuzzer_sys::fuzz_target;
use rollcall_supervisor::ingress::checks;

fuzz_target!(|input: (u16, &[u8])| {
    checks::connection(input.1, input.0.into());
});
