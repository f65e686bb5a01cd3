//! The way in: listening, the checks that every request passes, and messages in all their
//! formats.

mod batch;
mod body;
mod cloudevents;
mod guard;
mod headers;
mod intake;
pub mod listener;
mod pace;
pub mod respond;

pub use body::read_body;
pub use intake::{Intake, Sizes, routes};
