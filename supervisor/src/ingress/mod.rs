//! The way in: listening, the checks that every request passes, and messages in all their
//! formats.

mod batch;
#[cfg(any(test, feature = "checks"))]
pub mod checks;
mod chunks;
mod cloudevents;
mod connection_limit;
mod crowd;
mod gate;
mod guard;
mod head;
mod headers;
mod intake;
mod linger;
pub mod listener;
mod pace;
mod room;
mod structured;
pub mod tcp;
#[cfg(test)]
mod tests;
mod turn_away;
mod write_stall;

pub use crowd::Crowd;
pub use gate::{Answers, Gate};
pub use intake::{Intake, routes};
pub use room::Room;
