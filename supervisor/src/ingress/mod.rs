//! The way in: listening, the checks that every request passes, and messages in all their
//! formats.

mod address_limit;
mod authorize;
mod batch;
mod byte_budget;
#[cfg(any(test, feature = "checks"))]
pub mod checks;
mod chunks;
mod cloudevents;
mod connection_limit;
mod head;
mod headers;
mod intake;
mod lingering_close;
pub mod listener;
mod read_timeout;
mod request_smuggling;
mod structured;
pub mod tcp;
#[cfg(test)]
mod tests;
mod turn_away;
mod write_stall;

pub use address_limit::AddressLimiter;
pub use authorize::{Answers, Authorizer};
pub use byte_budget::ByteBudget;
pub use intake::{Intake, routes};
