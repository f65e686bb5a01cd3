//! The insides of frames that supervisor and worker send each other.

#![no_main]

use libfuzzer_sys::fuzz_target;
use rollcall_supervisor::workers::checks;

fuzz_target!(|bytes: &[u8]| checks::frame(bytes));
