//! The benchmark: `cargo run --release -p tests --bin bench`. See `docs/performance.md`.

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use tests::bench::{Format, Load, Plan, load, run, sink, worker};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Throughput and CPU of the message path, beside nginx as a plain proxy.
#[derive(Parser)]
struct CommandLine {
    #[command(subcommand)]
    part: Option<Part>,
    /// Messages in a run
    #[arg(long, default_value_t = 50_000)]
    messages: u64,
    /// Bytes of a message
    #[arg(long, default_value_t = 1024)]
    bytes: usize,
    /// The client's connections
    #[arg(long, default_value_t = 256)]
    connections: usize,
    /// Worker processes
    #[arg(long, default_value_t = 3)]
    workers: usize,
    /// Runs of each thing
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// How to print the figures
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
}

/// The other processes of a run.
#[derive(Subcommand)]
enum Part {
    /// The client
    Load {
        #[arg(long)]
        url: String,
        #[arg(long)]
        messages: u64,
        #[arg(long)]
        bytes: usize,
        #[arg(long)]
        connections: usize,
        #[arg(long)]
        streams: u64,
    },
    /// The destination
    Sink,
    /// A worker
    Worker,
}

fn main() -> ExitCode {
    let line = CommandLine::parse();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let ended = runtime.map_err(|error| error.to_string()).and_then(|runtime| {
        runtime.block_on(async {
            match line.part {
                None => run(&line.plan()).await,
                Some(Part::Load { url, messages, bytes, connections, streams }) => {
                    load(Load { url, messages, bytes, connections, streams }).await
                }
                Some(Part::Sink) => sink().await.map_err(|error| error.to_string()),
                Some(Part::Worker) => worker().await.map_err(|error| error.to_string()),
            }
        })
    });
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

impl CommandLine {
    fn plan(&self) -> Plan {
        Plan {
            messages: self.messages,
            bytes: self.bytes,
            connections: self.connections,
            workers: self.workers,
            rounds: self.rounds,
            format: self.format,
        }
    }
}
