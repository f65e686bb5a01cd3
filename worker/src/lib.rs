//! A worker turns messages into results. This crate is the `worker` binary (a command, a local
//! HTTP service or a trial builtin behind `POST`), and the library to write a worker in Rust:
//! implement [`Handler`], hand it to [`Worker`].

pub mod app;
pub mod config;
pub mod executor;
pub mod handler;
pub mod tls;

mod call;
mod exposure;
mod heartbeat;
mod lifecycle;
mod link;
mod result_cache;
mod running;
mod server;
mod worker;

pub use executor::{Builtin, Exec, ExecStream, Proxy};
pub use handler::{AnyHandler, FromFn, Handler, Reply, Request, from_fn};
pub use running::{Ended, Running};
pub use worker::{StartError, Worker};
