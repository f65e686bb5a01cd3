//! The way out: results to the destinations of push subscriptions.

pub mod forwarder;
mod request;
