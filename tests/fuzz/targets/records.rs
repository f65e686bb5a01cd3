//! Payloads of journal entries.

#![no_main]

use libfuzzer_sys::fuzz_target;
use rollcall_supervisor::record::checks;

fuzz_target!(|bytes: &[u8]| checks::payload(bytes));
