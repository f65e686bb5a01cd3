//! Throughput, latency and CPU of the message path, measured with real processes: a supervisor,
//! workers, a destination, and a client, each its own process, so that the system's own
//! accounting tells what each hop costs. In the same run, what a user could take instead.
//!
//! What is delivered is checked: order, completeness, and that each result is the right one.

mod body;
mod door;
mod ends;
mod load;
mod local;
mod machine;
mod modes;
mod nats;
mod nats_wire;
mod peers;
mod processes;
mod proxies;
mod redis;
mod report;
mod resp;
mod rollcall;
mod run;
mod seen;
mod wire;

pub use ends::{Work, sink, worker};
pub use load::{Load, To, load};
pub use machine::{Done, Machine, Shape, count};
pub use nats::{nats_sink, nats_worker};
pub use redis::{redis_sink, redis_worker};
pub use report::Format;
pub use run::{Plan, run};
