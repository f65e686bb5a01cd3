//! Memory that was used and is free again.

use std::hint::black_box;

/// Bytes for which the allocator asks its own stock, not what a thread has at hand.
const STOCK_BYTES: usize = 1 << 20;

/// Has the allocator give back to the system what has been free for about a second. It does so
/// when pages are taken from its stock or put back, and only then: after a burst, a process that
/// does little would hold what the burst needed. Nothing is written to, so it costs next to
/// nothing; it is to be called once a second.
pub fn give_back() {
    // Not seen through: the compiler may leave out what is taken for nothing.
    drop(black_box(Vec::<u8>::with_capacity(black_box(STOCK_BYTES))));
}
