//! The supervisor: takes messages in, journals them, hands them to random workers, puts the
//! results back in arrival order and delivers them. `ARCHITECTURE.md` is the map.

pub mod access;
pub mod alerts;
pub mod api;
pub mod app;
pub mod cli;
pub mod config;
#[forbid(clippy::disallowed_types)]
pub mod dispatcher;
pub mod driver;
pub mod egress;
pub mod ingress;
pub mod journal;
#[forbid(clippy::disallowed_types)]
pub mod record;
pub mod secrets;
pub mod views;
pub mod web;
pub mod workers;
