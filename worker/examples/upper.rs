//! A worker in Rust: `cargo run --example upper -- 127.0.0.1:9000 [SUPERVISOR-URL]`.

use std::io::Write as _;

use rollcall_worker::{Handler, Reply, Request, Worker};

struct Upper;

impl Handler for Upper {
    async fn handle(&self, request: Request) -> Reply {
        match str::from_utf8(&request.body) {
            Ok(text) => Reply::ok(text.to_uppercase()),
            Err(error) => Reply::park(error.to_string()),
        }
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let address = arguments.next().unwrap_or_else(|| "127.0.0.1:0".to_owned());
    let worker = Worker::new(Upper).listen(address);
    let running = arguments.fold(worker, Worker::supervisor).start().await?;
    writeln!(std::io::stdout(), "{}", running.url())?;
    running.ended().await;
    Ok(())
}
