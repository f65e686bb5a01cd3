//! Proof of the workers' side.

mod link;
mod odd_worker;
mod replies;
mod stage;
