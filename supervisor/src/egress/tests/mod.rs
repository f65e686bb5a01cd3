//! Proof of the way out.

mod bench;
mod odd_destination;
mod sender;
