//! Proof of the way out.

mod bench;
mod desk;
mod odd_destination;
mod sender;
mod socket;
