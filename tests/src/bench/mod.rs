//! Throughput and CPU of the message path, measured with real processes: a supervisor, plain HTTP
//! workers, a destination, and a client with many connections, each its own process, so that the
//! system's own accounting tells what each hop costs. In the same run, with the same client and
//! the same workers, nginx as a plain reverse proxy: unordered, nothing kept.

mod load;
mod processes;
mod report;
mod run;
mod sink;

pub use load::{Load, load};
pub use report::Format;
pub use run::{Plan, run};
pub use sink::{sink, worker};
