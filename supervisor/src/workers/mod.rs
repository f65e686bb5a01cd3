//! The workers' side: who they are, and the calls to them.

pub mod link;
pub mod membership;
pub mod registry;
pub mod routes;
