//! The project's tasks, one command each: `cargo xtask test`, `cargo xtask --help`.

mod cases;
mod instructions;
mod run;
mod testing;
mod tools;

use std::process::{Command, ExitCode};

use run::{Failure, cargo};

const HELP: &str = "\
Usage: cargo xtask TASK [ARGUMENTS]

  test [ARGUMENTS]     installs what the tests need (after saying so), runs them all, prints totals;
                       arguments go to the test runner (cargo-nextest if it is
                       there, or `cargo test`)
  ci                   everything that has to hold before a change lands: .ci/run
  sim [ARGUMENTS]      the simulator, e.g. `--seeds 1..20001`, `--seed 17 --trace`
  bench [ARGUMENTS]    the benchmark, e.g. `--list`, `--only http-64`
  mutants [ARGUMENTS]  plants bugs and tells who noticed, e.g. `--only late`
  soak [ARGUMENTS]     load and faults for a long time, e.g. `--minutes 60`
  fuzz TARGET [SECS]   one fuzz target (tests/fuzz), for so many seconds (600)
  faults               what needs root: failing disks, cut networks, clocks that jump;
                       with `--if-possible` only where the machine lets root make those
  instructions         counts what a message costs in the engine; `--write` notes the count
  cases FOLDER…        runs each script of the folders against the release build; says which fail
";

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    let task = arguments.next().unwrap_or_default();
    let rest: Vec<String> = arguments.collect();
    match perform(&task, &rest) {
        Ok(()) => ExitCode::SUCCESS,
        Err(Failure::Usage(text)) => {
            eprintln!("xtask: {text}\n\n{HELP}");
            ExitCode::from(2)
        }
        Err(Failure::Failed(text)) => {
            eprintln!("xtask: {text}");
            ExitCode::FAILURE
        }
    }
}

fn perform(task: &str, rest: &[String]) -> Result<(), Failure> {
    match task {
        "test" => testing::run(rest),
        "ci" => run::command("bash", &[".ci/run"], &[]),
        "sim" => cargo(&["run", "--profile", "sim", "-p", "tests", "--bin", "sim", "--"], rest),
        "bench" => cargo(&["run", "--release", "-p", "tests", "--bin", "bench", "--"], rest),
        "mutants" => cargo(&["run", "-p", "tests", "--bin", "mutants", "--"], rest),
        "soak" => cargo(&["run", "--release", "-p", "tests", "--bin", "soak", "--"], rest),
        "fuzz" => fuzz(rest),
        "faults" => faults(rest),
        "cases" => cases::run(rest),
        "instructions" => instructions::run(rest),
        "help" | "--help" | "-h" => {
            println!("{HELP}");
            Ok(())
        }
        "" => Err(Failure::Usage("which task?".into())),
        other => Err(Failure::Usage(format!("there is no task {other:?}"))),
    }
}

fn fuzz(rest: &[String]) -> Result<(), Failure> {
    let target = rest.first().ok_or_else(|| Failure::Usage("fuzz: which target?".into()))?;
    let seconds = rest.get(1).map_or("600", String::as_str);
    let mut command = Command::new(run::cargo_path());
    command.args(["fuzz", "run", target, "--fuzz-dir", "tests/fuzz", "--sanitizer", "none"]);
    command.args(["--target-dir", "target/fuzz", "--", &format!("-max_total_time={seconds}")]);
    let dictionary = format!("tests/fuzz/{target}.dict");
    if run::root().join(&dictionary).exists() {
        command.arg(format!("-dict={dictionary}"));
    }
    // Coverage is an unstable flag of the stable compiler.
    command.env("RUSTC_BOOTSTRAP", "1").current_dir(run::root());
    let status = command.status();
    let status = status.map_err(|error| Failure::Failed(format!("cargo fuzz: {error}")))?;
    run::check("cargo fuzz", status)
}

fn faults(rest: &[String]) -> Result<(), Failure> {
    let (rest, only_if_possible) = match rest {
        [first, rest @ ..] if first == "--if-possible" => (rest, true),
        rest => (rest, false),
    };
    tools::install(tools::FAULTS)?;
    if only_if_possible && let Some(missing) = tools::missing_for_faults() {
        println!("left out: this machine lets nobody have {missing}");
        return Ok(());
    }
    let base = ["test", "--locked", "-p", "tests", "--test", "faults", "--"];
    // One at a time: each has a disk, a network or a clock of its own, and times it.
    cargo(&[base.as_slice(), &["--include-ignored", "--test-threads", "1"]].concat(), rest)
}
