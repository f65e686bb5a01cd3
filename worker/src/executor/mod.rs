//! The handlers that come with the crate.

mod builtin;
mod exec;
mod exec_stream;
mod line_child;
mod patience;
mod process;
mod program;
mod proxy;
mod room;

pub use builtin::{BadBuiltin, Builtin};
pub use exec::Exec;
pub use exec_stream::ExecStream;
pub use process::processes_ended;
pub use program::{BadCommand, Group, Program};
pub use proxy::Proxy;
pub use room::process_limit;
