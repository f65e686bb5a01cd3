//! The words of Rollcall and what its binaries share: names and numbers, time, messages, limits,
//! the arithmetic of waiting, the wire protocol, and the small pieces of shell (HTTP connections,
//! tasks, shutdown, logging) that supervisor and worker both need.

pub mod backoff;
pub mod chunked;
pub mod client;
pub mod exhaustion;
pub mod files;
pub mod frame;
pub mod http;
pub mod ids;
pub mod limits;
pub mod link;
pub mod message;
pub mod net;
pub mod problem;
pub mod protocol;
pub mod readmodel;
pub mod reconnect;
pub mod secret;
pub mod seed;
pub mod shown;
pub mod shutdown;
pub mod spare;
pub mod task;
pub mod telemetry;
pub mod threads;
pub mod time;
pub mod tls;
pub mod units;
