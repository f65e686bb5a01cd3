//! What all edges that speak HTTP share: bodies in, answers out, a result as JSON, and
//! `Retry-After`.

mod body;
pub mod respond;
mod result;
mod retry_after;

pub use body::read_body;
pub use result::ResultBody;
pub use retry_after::retry_after;
