//! What all edges that speak HTTP share: bodies in, answers out, a result as JSON, who asks,
//! `Retry-After`, and how large anything may be.

mod actor;
mod attribute;
pub mod beside;
mod body;
mod keys;
mod order;
pub mod respond;
mod result;
mod retry_after;
mod sizes;

pub use actor::actor;
pub use attribute::decode_attribute;
pub use body::{read_body, read_rationed, without_mark};
pub use keys::check_query;
#[cfg(any(test, feature = "checks"))]
pub(crate) use keys::routes;
pub use order::{whole_of_all, whole_of_stream};
pub use result::{LINE_BYTES, ResultBody};
pub use retry_after::{retry_after, wait};
pub use sizes::Sizes;
