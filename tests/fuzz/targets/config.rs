//! Texts for a configuration.

#![no_main]

use libfuzzer_sys::fuzz_target;
use rollcall_supervisor::config::checks;

fuzz_target!(|text: &str| checks::text(text));
