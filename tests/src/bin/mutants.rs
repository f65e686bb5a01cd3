//! Plants faults in a copy of the sources, one after the other, and tells who noticed.

use std::{
    io::{BufRead as _, BufReader},
    path::{Path, PathBuf},
    process::{Command, ExitCode, Stdio},
    sync::mpsc::{RecvTimeoutError, channel},
    time::{Duration, Instant},
};

use clap::Parser;
use tests::mutants::{Mutant, Noticed, SWITCH, mutants, plant};

/// A fault that hangs is noticed as well, by whoever waits.
const PATIENCE: Duration = Duration::from_secs(240);

/// Plants faults on purpose, and tells who noticed.
#[derive(Debug, Parser)]
struct Arguments {
    /// Only those with this in their names.
    #[arg(long, default_value = "")]
    only: String,
    /// Seeds to play for each, at most.
    #[arg(long, default_value_t = 2_000)]
    seeds: u64,
}

/// What came of a planted fault.
enum Outcome {
    /// It was noticed: by whom, and how many seeds it took.
    Caught(String, Option<u64>),
    /// Nobody noticed.
    Missed,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the sources' root");
    let tree = root.join("target/mutants");
    if let Err(error) = plant(root, &tree, &mutants()) {
        println!("{error}");
        return ExitCode::FAILURE;
    }
    let target = root.join("target");
    let sim =
        build(&tree, &target, &["build", "--profile", "sim", "-p", "tests", "--bin", "planted"]);
    let tests = build(&tree, &target, &["test", "--no-run", "-p", "rollcall-supervisor", "--lib"]);
    let (Some(sim), Some(tests)) = (sim, tests) else {
        println!("the copy with the faults can't be built");
        return ExitCode::FAILURE;
    };
    let (mut planted, mut missed) = (0, 0);
    println!("| planted bug | noticed by | seeds until then |\n|---|---|---|");
    for (number, mutant) in (1..).zip(&mutants()) {
        if !mutant.name.contains(&arguments.only) {
            continue;
        }
        let outcome = match mutant.by {
            Noticed::Seeds => seeds(&sim, number, arguments.seeds),
            Noticed::Test(name) => test(&tests, number, name),
        };
        planted += 1;
        missed += u32::from(matches!(outcome, Outcome::Missed));
        tell(mutant, &outcome);
    }
    println!("\n{missed} of {planted} went unnoticed");
    if missed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn tell(mutant: &Mutant, outcome: &Outcome) {
    let (by, seeds) = match outcome {
        Outcome::Caught(by, seeds) => (by.as_str(), seeds.map(|seeds| seeds.to_string())),
        Outcome::Missed => ("**nobody**", None),
    };
    println!("| {} | {by} | {} |", mutant.name, seeds.unwrap_or_default());
}

/// Builds something of the copy; gives back the program.
fn build(tree: &Path, target: &Path, arguments: &[&str]) -> Option<PathBuf> {
    let mut command = Command::new(env!("CARGO"));
    // What cargo says to a program that it runs would make it build all dependencies again.
    let told = std::env::vars_os().map(|(name, _)| name);
    let told = told.filter(|name| {
        let name = name.to_string_lossy();
        ["CARGO_PKG_", "CARGO_MANIFEST_"].iter().any(|prefix| name.starts_with(prefix))
    });
    told.for_each(|name| {
        command.env_remove(name);
    });
    let cargo = command
        .args(arguments)
        .args(["--locked", "--message-format", "json-render-diagnostics"])
        .current_dir(tree)
        .env("CARGO_TARGET_DIR", target)
        .stdout(Stdio::piped())
        .spawn();
    let mut cargo = cargo.ok()?;
    let lines = BufReader::new(cargo.stdout.take()?).lines().map_while(Result::ok);
    let programs = lines.filter_map(|line| {
        let message: serde_json::Value = serde_json::from_str(&line).ok()?;
        message.get("executable")?.as_str().map(PathBuf::from)
    });
    let program = programs.last();
    cargo.wait().ok()?.success().then_some(program)?
}

fn seeds(sim: &Path, number: u32, most: u64) -> Outcome {
    let seeds = format!("1..{}", most + 1);
    let mut command = Command::new(sim);
    // One thread, here and below: who is the first to notice is then no matter of luck.
    command.args(["--until-bad", "--threads", "1", "--seeds", &seeds]);
    run(command, number, |line| {
        if let Some(what) = line.strip_prefix("never happened: ") {
            return Some((format!("never happened: *{what}*"), Some(most)));
        }
        let (seed, failure) = line.strip_prefix("seed ")?.split_once(": ")?;
        Some((who(failure), seed.parse().ok()))
    })
}

/// Who noticed, by what is said of a seed's failure.
fn who(failure: &str) -> String {
    let (invariant, detail) = failure.split_once(": ").unwrap_or((failure, ""));
    if invariant == "panic" {
        return format!("a panic: {}", detail.replace('|', "/"));
    }
    let by = match detail.split_once(": ") {
        Some(("the model says", _)) => "the model",
        Some(("the dispatcher says", _)) => "the dispatcher's own check",
        Some(_) | None => "the oracle",
    };
    format!("{by}, {invariant}")
}

fn test(tests: &Path, number: u32, name: &str) -> Outcome {
    let mut command = Command::new(tests);
    command.args([name, "--test-threads", "1"]);
    run(command, number, |line| {
        let test = line.strip_prefix("test ")?.strip_suffix(" ... FAILED")?;
        Some((format!("`{}`", test.trim_start_matches("rollcall_supervisor::")), None))
    })
}

/// Runs somebody who should notice; the first line that tells is the answer.
fn run(
    mut command: Command,
    number: u32,
    tells: impl Fn(&str) -> Option<(String, Option<u64>)>,
) -> Outcome {
    let spawned = command
        .env(SWITCH, number.to_string())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn();
    let mut child = spawned.expect("a program that was just built");
    let pipe = child.stdout.take().expect("its output is a pipe");
    let (sender, lines) = channel();
    let reader = std::thread::spawn(move || {
        for line in BufReader::new(pipe).lines().map_while(Result::ok) {
            // Whoever listens may have lost patience.
            let _ = sender.send(line);
        }
    });
    let (begun, mut told) = (now(), None);
    let ended = loop {
        match lines.recv_timeout(PATIENCE.saturating_sub(begun.elapsed())) {
            Ok(line) => told = told.or_else(|| tells(&line)),
            Err(RecvTimeoutError::Disconnected) => break true,
            Err(RecvTimeoutError::Timeout) => break false,
        }
    };
    if !ended {
        let _ = child.kill();
    }
    let status = child.wait().expect("a program that was started");
    let _ = reader.join();
    if !ended {
        return Outcome::Caught("it does not come to an end".to_owned(), None);
    }
    if status.success() {
        return Outcome::Missed;
    }
    let (by, seeds) = told.unwrap_or_else(|| (format!("it ended with {status}"), None));
    Outcome::Caught(by, seeds)
}

#[expect(clippy::disallowed_methods, reason = "a bound on how long a run may take")]
fn now() -> Instant {
    Instant::now()
}
