//! The dispatcher alone, driven by hand.

mod alerts;
mod answers;
mod delivery;
mod desk;
mod streams;
