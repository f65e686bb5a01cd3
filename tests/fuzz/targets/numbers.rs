//! Texts wherever a number is read: in requests (the first bit is 0), and in configurations.

#![no_main]

use libfuzzer_sys::fuzz_target;
use rollcall_supervisor::{app, config};

fuzz_target!(|input: (bool, u8, &str)| {
    let (in_file, place, text) = input;
    if in_file {
        config::checks::number(place, text);
    } else {
        app::checks::number(place.into(), text);
    }
});
