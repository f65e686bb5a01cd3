//! The workers' side: who they are, and the calls to them.

pub mod calls;
#[cfg(any(test, feature = "checks"))]
pub mod checks;
mod link;
pub mod membership;
mod plain;
pub mod registry;
pub mod routes;
#[cfg(test)]
mod tests;
