//! The supervisor: takes messages in, journals them, hands them to random workers, puts the
//! results back in arrival order and delivers them. `ARCHITECTURE.md` is the map.

pub mod config;
pub mod dispatcher;
pub mod journal;
pub mod record;
