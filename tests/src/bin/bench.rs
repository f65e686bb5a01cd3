//! The benchmark: `cargo run --release -p tests --bin bench`. See `docs/performance.md`.

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use tests::bench::{
    Ask, Crowd, Load, Plan, Read, Shape, Work, ask, count, crowd, load, nats_sink, nats_worker,
    rabbitmq_sink, rabbitmq_worker, read, redis_sink, redis_worker, run, sink, worker,
};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Throughput, latency and CPU of the message path, beside what a user could take instead.
#[derive(Parser)]
struct CommandLine {
    #[command(subcommand)]
    part: Option<Part>,
    #[command(flatten)]
    plan: Plan,
}

/// The other processes of a run.
#[derive(Subcommand)]
enum Part {
    /// Somebody who asks how things are
    Ask(Ask),
    /// Many who read
    Crowd(Crowd),
    /// The engine alone, without IO: for counting instructions
    Engine {
        #[command(flatten)]
        shape: Shape,
        /// Messages that are sent through
        #[arg(long, default_value_t = 100_000)]
        messages: u64,
    },
    /// The client
    Load(Load),
    /// The destination of results from NATS
    NatsSink {
        #[arg(long)]
        address: String,
        /// Bytes of a result
        #[arg(long)]
        bytes: usize,
    },
    /// A worker for NATS
    NatsWorker {
        #[arg(long)]
        address: String,
    },
    /// The destination of results from RabbitMQ
    RabbitmqSink {
        #[arg(long)]
        address: String,
        /// Bytes of a result
        #[arg(long)]
        bytes: usize,
    },
    /// A worker for RabbitMQ
    RabbitmqWorker {
        #[arg(long)]
        address: String,
    },
    /// A reader of results
    Read(Read),
    /// The destination of results from Redis
    RedisSink {
        #[arg(long)]
        address: String,
        /// Bytes of a result
        #[arg(long)]
        bytes: usize,
    },
    /// A worker for Redis
    RedisWorker {
        #[arg(long)]
        address: String,
    },
    /// The destination
    Sink {
        /// Bytes of a result
        #[arg(long)]
        bytes: usize,
    },
    /// A worker
    Worker(Work),
}

fn main() -> ExitCode {
    let line = CommandLine::parse();
    // One thread each: what is measured needs the cores more than the ends do.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let ended = runtime.map_err(|error| error.to_string()).and_then(|runtime| {
        runtime.block_on(async {
            match line.part {
                None => run(&line.plan).await,
                Some(Part::Ask(plan)) => ask(&plan),
                Some(Part::Crowd(plan)) => crowd(plan).await,
                Some(Part::Engine { shape, messages }) => count(shape, messages),
                Some(Part::Load(plan)) => load(plan).await,
                Some(Part::NatsSink { address, bytes }) => nats_sink(&address, bytes).await,
                Some(Part::NatsWorker { address }) => nats_worker(&address).await,
                Some(Part::RabbitmqSink { address, bytes }) => rabbitmq_sink(&address, bytes).await,
                Some(Part::RabbitmqWorker { address }) => rabbitmq_worker(&address).await,
                Some(Part::Read(plan)) => read(&plan),
                Some(Part::RedisSink { address, bytes }) => redis_sink(&address, bytes).await,
                Some(Part::RedisWorker { address }) => redis_worker(&address).await,
                Some(Part::Sink { bytes }) => sink(bytes).await.map_err(|error| error.to_string()),
                Some(Part::Worker(work)) => worker(work).await.map_err(|error| error.to_string()),
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
