//! What stands on the other side of a supervisor: workers and destinations in this process, which
//! do as they are told, also what no well-behaved server would.

mod act;
mod destination;
mod server;
mod sink;
mod worker;

pub use act::{Act, Reply};
pub use destination::{Delivered, Destination};
pub use server::{Request, Server};
pub use sink::{Records, Sink, SinkAct};
pub use worker::{Call, FakeWorker};
