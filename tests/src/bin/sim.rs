//! Plays the simulator: `--seeds A..B`, `--seed N --trace`, `--shrink N`, `--twice A..B`.

use std::{ops::ControlFlow, process::ExitCode};

use clap::Parser;
use tests::sim::{Coverage, Shrunk, Something, Summary, Telling, play, play_all, shrink};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Runs of at least so many seeds must have seen everything.
const ENOUGH: u64 = 500;

/// Plays the supervisor against a world that fails in every way, by seeds.
#[derive(Debug, Parser)]
struct Arguments {
    /// Seeds to play: `A..B`, without B.
    #[arg(long, value_parser = range)]
    seeds: Option<(u64, u64)>,
    /// One seed to play.
    #[arg(long)]
    seed: Option<u64>,
    /// Print all of the seed's story.
    #[arg(long)]
    trace: bool,
    /// Play no further than to the first seed that fails.
    #[arg(long, conflicts_with = "trace")]
    until_bad: bool,
    /// A seed that fails: look for a short story that fails in the same way.
    #[arg(long)]
    shrink: Option<u64>,
    /// Seeds to play twice each: both stories must be the same.
    #[arg(long, value_parser = range)]
    twice: Option<(u64, u64)>,
    /// Threads to play on.
    #[arg(long, default_value_t = 2)]
    threads: usize,
}

/// How far many seeds are played.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum End {
    FirstBad,
    Last,
}

fn range(text: &str) -> Result<(u64, u64), String> {
    let wrong = || format!("{text:?} is not A..B");
    let (from, to) = text.split_once("..").ok_or_else(wrong)?;
    let number = |text: &str| text.parse().map_err(|_| wrong());
    Ok((number(from)?, number(to)?))
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    std::panic::set_hook(Box::new(|_| {}));
    let mut good = true;
    if let Some(seed) = arguments.seed {
        good &= one(seed, arguments.trace);
    }
    if let Some(seed) = arguments.shrink {
        good &= short(seed, arguments.trace);
    }
    if let Some((from, to)) = arguments.twice {
        good &= (from..to).all(twice);
    }
    if let Some(seeds) = arguments.seeds {
        let end = if arguments.until_bad { End::FirstBad } else { End::Last };
        good &= many(seeds, end, arguments.threads);
    }
    if good { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn one(seed: u64, all: bool) -> bool {
    let report = play(seed, if all { Telling::All } else { Telling::End });
    if report.failure.is_some() && !all {
        report.trace.iter().for_each(|line| println!("{line}"));
    }
    println!(
        "seed {seed}: {} events, story {:016x}: {}",
        report.events,
        report.hash,
        report.failure.as_deref().unwrap_or("good")
    );
    report.failure.is_none()
}

/// Prints a short story that fails as the seed does. Whether the seed is good.
fn short(seed: u64, all: bool) -> bool {
    let Some(shrunk) = shrink(seed, if all { Telling::All } else { Telling::End }) else {
        println!("seed {seed}: good");
        return true;
    };
    let Shrunk { scenario, without, report } = shrunk;
    report.trace.iter().for_each(|line| println!("{line}"));
    println!("{scenario}\nwithout: {}", without.join(", "));
    println!("{} events: {}", report.events, report.failure.as_deref().unwrap_or("good"));
    false
}

fn twice(seed: u64) -> bool {
    let (first, second) = (play(seed, Telling::Hash), play(seed, Telling::Hash));
    let same = first.hash == second.hash;
    if !same {
        println!("seed {seed}: two stories, {:016x} and {:016x}", first.hash, second.hash);
    }
    same && first.failure.is_none()
}

#[expect(clippy::disallowed_methods, reason = "to say how fast it was")]
fn many((from, to): (u64, u64), end: End, threads: usize) -> bool {
    let begun = std::time::Instant::now();
    let rate = |summary: &Summary| {
        let seconds = begun.elapsed().as_secs_f64().max(0.001);
        format!("{:.1} seeds/s", summary.seeds as f64 / seconds)
    };
    let summary = play_all((from, to), threads, |summary| {
        if summary.seeds.is_multiple_of(250) {
            let failed = summary.failures.len();
            eprintln!("{} seeds, {failed} failed, {}", summary.seeds, rate(summary));
        }
        match end {
            End::FirstBad if !summary.failures.is_empty() => ControlFlow::Break(()),
            End::FirstBad | End::Last => ControlFlow::Continue(()),
        }
    });
    table(&summary.sometimes);
    println!(
        "{} seeds, {} events, {}, {:.1} s",
        summary.seeds,
        summary.events,
        rate(&summary),
        begun.elapsed().as_secs_f64()
    );
    for (seed, failure) in summary.failures.iter().take(5_000) {
        println!("seed {seed}: {failure}");
    }
    if let Some((seed, _)) = summary.failures.first() {
        one(*seed, false);
        println!("{} seeds failed. To play the first again:", summary.failures.len());
        println!("  cargo run --profile sim -p tests --bin sim -- --seed {seed} --trace");
    }
    let missing = summary.sometimes.missing();
    let seen_all = summary.seeds < ENOUGH || missing.is_empty();
    if !seen_all {
        for something in missing {
            println!("never happened: {}", something.as_str());
        }
    }
    summary.failures.is_empty() && seen_all
}

fn table(sometimes: &Coverage) {
    for something in Something::ALL {
        println!("{:>10}  {}", sometimes.count(*something), something.as_str());
    }
}
