//! Plants faults in a copy of the sources, one after the other, and tells who noticed.

use std::{
    io::{BufRead as _, BufReader},
    path::{Path, PathBuf},
    process::{Command, ExitCode, Stdio},
    sync::mpsc::{RecvTimeoutError, channel},
    time::{Duration, Instant},
};

use clap::Parser;
use tests::mutants::{MUTANTS, Mutant, Noticed, SWITCH, plant};

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
    /// It was noticed, as this says.
    Caught(String),
    /// Nobody noticed.
    Missed,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the sources' root");
    let tree = root.join("target/mutants");
    if let Err(error) = plant(root, &tree, MUTANTS) {
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
    let mut missed = 0;
    println!("| fault | noticed by |\n|---|---|");
    for (number, mutant) in (1..).zip(MUTANTS) {
        if !mutant.name.contains(&arguments.only) {
            continue;
        }
        let outcome = match mutant.by {
            Noticed::Seeds => seeds(&sim, number, arguments.seeds),
            Noticed::Test(name) => test(&tests, number, name),
        };
        missed += u32::from(matches!(outcome, Outcome::Missed));
        tell(mutant, &outcome);
    }
    println!("\n{missed} went unnoticed");
    if missed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn tell(mutant: &Mutant, outcome: &Outcome) {
    let said = match outcome {
        Outcome::Caught(how) => how.as_str(),
        Outcome::Missed => "**nobody**",
    };
    println!("| {} | {said} |", mutant.name);
}

/// Builds something of the copy; gives back the program.
fn build(tree: &Path, target: &Path, arguments: &[&str]) -> Option<PathBuf> {
    let cargo = Command::new(env!("CARGO"))
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
    command.args(["--until-bad", "--seeds", &seeds]);
    run(command, number, |line| {
        let bad = line.starts_with("seed ") || line.starts_with("never happened");
        bad.then(|| line.replace('|', "/").chars().take(110).collect())
    })
}

fn test(tests: &Path, number: u32, name: &str) -> Outcome {
    let mut command = Command::new(tests);
    command.arg(name);
    run(command, number, |line| {
        let test = line.strip_prefix("test ")?.strip_suffix(" ... FAILED")?;
        Some(format!("`{}`", test.trim_start_matches("rollcall_supervisor::")))
    })
}

/// Runs somebody who should notice; the first line that tells is the answer.
fn run(mut command: Command, number: u32, tells: impl Fn(&str) -> Option<String>) -> Outcome {
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
        return Outcome::Caught("it does not come to an end".to_owned());
    }
    if status.success() {
        return Outcome::Missed;
    }
    Outcome::Caught(told.unwrap_or_else(|| format!("it ended with {status}")))
}

#[expect(clippy::disallowed_methods, reason = "a bound on how long a run may take")]
fn now() -> Instant {
    Instant::now()
}
