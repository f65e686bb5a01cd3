//! Where chance comes from: one seed for a process. What is drawn from it is drawn from
//! generators that were seeded, so that tests can seed them too.

use std::hash::{BuildHasher as _, RandomState};

/// A seed that differs from process to process and from call to call.
#[must_use]
pub fn seed() -> u64 {
    RandomState::new().hash_one(0_u8)
}
