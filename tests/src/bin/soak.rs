//! The soak: `cargo run --release -p tests --bin soak -- --minutes 60`.

use std::{process::ExitCode, time::Duration};

use clap::Parser;
use tests::soak::{Plan, run};

/// Load and faults for a long time; whether everything held, and nothing grew.
#[derive(Debug, Parser)]
struct Arguments {
    /// For how long.
    #[arg(long, default_value_t = 60)]
    minutes: u64,
    /// Messages a second.
    #[arg(long, default_value_t = 200)]
    rate: u64,
    /// What the dice begin with.
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

fn main() -> ExitCode {
    let Arguments { minutes, rate, seed } = Arguments::parse();
    let plan = Plan { span: Duration::from_secs(minutes * 60), rate, seed };
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let held = runtime.expect("a runtime").block_on(run(plan));
    if held { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
