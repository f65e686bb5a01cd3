//! Throughput, latency and CPU of the message path, measured with real processes: a supervisor,
//! workers, a destination, and a client, each its own process, so that the system's own
//! accounting tells what each hop costs. In the same run, what a user could take instead.
//!
//! What is delivered is checked: order, completeness, and that each result is the right one.

mod amqp;
mod amqp_frames;
mod beside;
mod body;
mod crowd;
mod endpoints;
mod http_client;
mod in_memory;
mod load;
mod local;
mod message_modes;
mod modes;
mod nats;
mod nats_wire;
mod peers;
mod prefilled;
mod prober;
mod processes;
mod proxies;
mod rabbitmq;
mod reader;
mod reading;
mod reading_modes;
mod redis;
mod report;
mod resp;
mod rollcall;
mod run;
mod sink_checker;
mod sorter;
mod wire;

pub use crowd::{Crowd, crowd};
pub use endpoints::{Work, sink, worker};
pub use in_memory::{Done, Machine, Shape, count};
pub use load::{Content, Load, To, load};
pub use nats::{nats_sink, nats_worker};
pub use prober::{Ask, ask};
pub use rabbitmq::{rabbitmq_sink, rabbitmq_worker};
pub use reader::{Form, Read, read};
pub use redis::{redis_sink, redis_worker};
pub use report::Format;
pub use run::{Plan, run};
