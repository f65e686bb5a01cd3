//! HTTP/1.1 as a client, for the message path: one peer, its connections, and errors that say
//! whether the request can have been seen by the other side. (The command line and the alert
//! senders use reqwest.)

mod peer;
mod target;

pub use peer::{Peer, Reply, SendError};
pub use target::{BadTarget, Target};
