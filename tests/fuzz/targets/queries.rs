//! Queries of every route. The first bytes say which route, with which method, and what is wanted.

#![no_main]

use libfuzzer_sys::fuzz_target;
use rollcall_supervisor::app::checks;

fuzz_target!(|input: (u8, u8, u8, &[u8])| {
    checks::query((input.0, input.1, input.2), input.3);
});
