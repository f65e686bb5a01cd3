//! The dispatcher alone, driven by hand.

mod answers;
mod delivery;
mod desk;
mod streams;
