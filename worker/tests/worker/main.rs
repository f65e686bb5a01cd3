//! The worker from the outside: over HTTP, and as real processes.

#![expect(
    clippy::tests_outside_test_module,
    clippy::unwrap_used,
    clippy::panic,
    clippy::string_slice,
    reason = "integration tests"
)]

mod binary;
mod calls;
mod executors;
mod hanging;
mod harness;
mod line_children;
mod link;
mod membership;
mod scripts;
