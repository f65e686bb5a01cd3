//! The supervisor of Rollcall.

pub mod journal;
