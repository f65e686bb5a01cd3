//! Frames of the journal, and segments made of them. The first byte says whether their checksums
//! are made to fit.

#![no_main]

use libfuzzer_sys::fuzz_target;
use rollcall_supervisor::journal::local::checks;

fuzz_target!(|input: (bool, &[u8])| {
    let (mend, bytes) = input;
    checks::frame(bytes, mend);
    checks::segment(bytes, mend);
});
