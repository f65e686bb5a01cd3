//! The handlers that come with the crate.

mod builtin;
mod exec;
mod exec_stream;
mod program;
mod proxy;

pub use builtin::{BadBuiltin, Builtin};
pub use exec::Exec;
pub use exec_stream::ExecStream;
pub use program::{BadCommand, Group, Program};
pub use proxy::Proxy;
