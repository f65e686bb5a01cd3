//! `cargo xtask test`: all tests, with totals at the end.

use std::{
    io::{BufRead as _, BufReader},
    process::{Command, Stdio},
};

use crate::{
    run::{Failure, cargo_path, check, root},
    tools,
};

/// Sums of the closing lines of all test programs.
#[derive(Default)]
struct Totals {
    passed: u64,
    failed: u64,
    skipped: u64,
    /// Tests that failed, by the lines that say so.
    names: Vec<String>,
}

impl Totals {
    /// Takes in one line of what `cargo test` prints.
    fn read(&mut self, line: &str) {
        if let Some(name) =
            line.strip_prefix("test ").and_then(|line| line.strip_suffix(" ... FAILED"))
        {
            self.names.push(name.to_owned());
        }
        let Some(counts) = line.strip_prefix("test result: ") else { return };
        for part in counts.split(['.', ';']) {
            let Some((number, what)) = part.trim().split_once(' ') else { continue };
            let Ok(number) = number.parse::<u64>() else { continue };
            match what {
                "passed" => self.passed += number,
                "failed" => self.failed += number,
                "ignored" => self.skipped += number,
                _ => {}
            }
        }
    }
}

/// Installs what the tests need, and runs them.
///
/// # Errors
/// When something can't be installed, or a test failed.
pub(crate) fn run(rest: &[String]) -> Result<(), Failure> {
    tools::install(tools::TESTS)?;
    let mut command = Command::new(cargo_path());
    command.args(["test", "--workspace", "--locked", "--no-fail-fast"]).args(rest);
    command.current_dir(root()).stdout(Stdio::piped());
    let broken = |error: std::io::Error| Failure::Failed(format!("cargo test: {error}"));
    let mut child = command.spawn().map_err(broken)?;
    let mut totals = Totals::default();
    if let Some(output) = child.stdout.take() {
        for line in BufReader::new(output).split(b'\n') {
            let line = String::from_utf8_lossy(&line.map_err(broken)?).into_owned();
            println!("{line}");
            totals.read(&line);
        }
    }
    let status = child.wait().map_err(broken)?;
    println!();
    for name in &totals.names {
        println!("failed: {name}");
    }
    let Totals { passed, failed, skipped, .. } = totals;
    println!("{passed} passed, {failed} failed, {skipped} skipped");
    check("cargo test", status)
}

#[cfg(test)]
mod tests {
    use super::Totals;

    #[test]
    fn closing_lines_are_summed() {
        let mut totals = Totals::default();
        totals.read("test a::b ... FAILED");
        totals.read("test a::c ... ok");
        totals.read(
            "test result: FAILED. 7 passed; 1 failed; 2 ignored; 0 measured; 3 filtered out; \
             finished in 0.10s",
        );
        totals.read("test result: ok. 5 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out");
        assert_eq!((totals.passed, totals.failed, totals.skipped), (12, 1, 2));
        assert_eq!(totals.names, ["a::b"]);
    }
}
