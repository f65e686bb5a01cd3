//! HTTP/1.1 as a client, for the message path: one peer, its connections, and errors that say
//! whether the request can have been seen by the other side. (The command line and the alert
//! senders use reqwest.)

mod address;
mod address_policy;
mod answer_room;
mod connection;
mod dial;
mod metered;
mod own_header;
mod peer;
mod site;
mod socket;
mod target;

pub use address::Address;
pub use address_policy::{AddressPolicy, Exception, Forbidden};
pub use answer_room::{AnswerRoom, AnswerShare};
pub use connection::{Reply, SendError};
pub use dial::{Route, Trust, allowed, dial};
pub use own_header::{BadHeader, OwnHeader};
pub use peer::{Peer, Upgraded};
pub use site::{Site, foreign, is_of_a_page};
pub use socket::{Acks, Framing, SocketTarget};
pub use target::{BadTarget, Target};
