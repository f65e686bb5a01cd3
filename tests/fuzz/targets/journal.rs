//! Frames of the journal, and segments made of them.

#![no_main]

use libfuzzer_sys::fuzz_target;
use rollcall_supervisor::journal::local::checks;

fuzz_target!(|bytes: &[u8]| checks::journal(bytes));
