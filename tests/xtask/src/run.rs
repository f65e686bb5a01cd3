//! Running other programs from the repository's root.

use std::{
    path::{Path, PathBuf},
    process::{Command, ExitStatus},
};

/// Why a task did not succeed.
pub(crate) enum Failure {
    /// The command line can't be understood: exit code 2.
    Usage(String),
    /// Something that had to hold did not: exit code 1.
    Failed(String),
}

/// The repository's root, whatever folder the task was called from.
pub(crate) fn root() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.ancestors().nth(2).unwrap_or(here).to_owned()
}

/// Runs cargo with these arguments and those of the person.
pub(crate) fn cargo(fixed: &[&str], rest: &[String]) -> Result<(), Failure> {
    command(&cargo_path(), fixed, rest)
}

/// The cargo that this program was started by.
pub(crate) fn cargo_path() -> String {
    std::env::var("CARGO").unwrap_or_else(|_| "cargo".into())
}

/// Runs a program to its end.
pub(crate) fn command(program: &str, fixed: &[&str], rest: &[String]) -> Result<(), Failure> {
    let mut command = Command::new(program);
    command.args(fixed).args(rest).current_dir(root());
    let status =
        command.status().map_err(|error| Failure::Failed(format!("{program}: {error}")))?;
    check(program, status)
}

/// Turns a bad exit status into a failure.
pub(crate) fn check(program: &str, status: ExitStatus) -> Result<(), Failure> {
    if status.success() { Ok(()) } else { Err(Failure::Failed(format!("{program}: {status}"))) }
}
