//! The way out: results to the destinations of push subscriptions.

pub mod destination;
pub mod forwarder;
mod places;
mod request;
pub mod runtime;
mod sender;
mod socket;
#[cfg(test)]
mod tests;

use crate::dispatcher::Refusal;

/// What a destination made of a push.
#[derive(Debug)]
enum Pushed {
    /// It has all of it.
    Done,
    /// It has the first so many, and not the rest.
    Refused { taken: usize, refusal: Refusal, detail: Box<str> },
}
