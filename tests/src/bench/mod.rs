//! Throughput, latency and CPU of the message path, measured with real processes: a supervisor,
//! workers, a destination, and a client, each its own process, so that the system's own
//! accounting tells what each hop costs. In the same run, what a user could take instead.
//!
//! What is delivered is checked: order, completeness, and that each result is the right one.

mod body;
mod ends;
mod load;
mod modes;
mod processes;
mod proxies;
mod report;
mod rollcall;
mod run;
mod seen;
mod wire;

pub use ends::{Work, sink, worker};
pub use load::{Load, To, load};
pub use report::Format;
pub use run::{Plan, run};
