//! What all edges that speak HTTP share: bodies in, answers out, a result as JSON, who asks,
//! `Retry-After`, and how large anything may be.

mod actor;
mod attribute;
pub mod beside;
mod body;
mod body_limits;
mod gap_check;
mod keys;
mod large_body;
pub mod respond;
mod result;
mod retry_after;
#[cfg(test)]
pub(crate) mod test_network;

pub use actor::actor;
pub use attribute::decode_attribute;
pub use body::{read_body, read_rationed, without_mark};
pub use body_limits::BodyLimits;
pub use gap_check::{contiguous_prefix, contiguous_prefix_of_all};
pub use keys::check_query;
#[cfg(any(test, feature = "checks"))]
pub(crate) use keys::routes;
pub use large_body::LargeBodies;
pub use result::{LINE_BYTES, ResultBody};
pub use retry_after::{retry_after, wait};
