//! What all edges that speak HTTP share: bodies in, answers out, a result as JSON, who asks,
//! `Retry-After`, webhook signatures, and how large anything may be.

mod actor;
mod body;
pub mod respond;
mod result;
mod retry_after;
mod signature;
mod sizes;

pub use actor::actor;
pub use body::{read_body, read_rationed};
pub use result::ResultBody;
pub use retry_after::retry_after;
pub use signature::{BadSecret, Secret, sign};
pub use sizes::Sizes;
