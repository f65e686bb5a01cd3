//! The dispatcher alone, driven by hand.

mod alerts;
mod answers;
mod delivery;
mod desk;
mod health;
mod poison;
mod snapshot;
mod streams;
