//! Lines of a request's head, to a whole supervisor. The first byte says what is asked.

#![no_main]

use libfuzzer_sys::fuzz_target;
use rollcall_supervisor::app::checks;

fuzz_target!(|input: (u8, &[u8])| checks::head(input.0, input.1));
