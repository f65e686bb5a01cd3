//! `cargo xtask test`: all tests, with totals at the end.

use std::{
    io::{BufRead as _, BufReader},
    process::{Command, Stdio},
};

use crate::{
    run::{Failure, cargo, cargo_path, check, root},
    tools,
};

/// Tells the tests that the programs they start were built just now; see the tests' harness.
const BUILT: &str = "ROLLCALL_TESTS_BUILT";

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
    /// Runs a test runner to its end, prints what it says, and takes it in.
    fn follow(&mut self, command: &mut Command) -> Result<(), Failure> {
        let broken = |error: std::io::Error| Failure::Failed(format!("the tests: {error}"));
        // cargo-nextest speaks on standard error: both go into one pipe.
        let (reader, writer) = std::io::pipe().map_err(broken)?;
        command.stdout(writer.try_clone().map_err(broken)?).stderr(writer);
        command.current_dir(root());
        let mut child = command.spawn().map_err(broken)?;
        // So that the pipe ends with the runner.
        command.stdout(Stdio::null()).stderr(Stdio::null());
        for line in BufReader::new(reader).split(b'\n') {
            let line = String::from_utf8_lossy(&line.map_err(broken)?).into_owned();
            println!("{line}");
            self.read(&line);
        }
        check("the tests", child.wait().map_err(broken)?)
    }

    /// Takes in one line of what `cargo test` or cargo-nextest prints.
    fn read(&mut self, line: &str) {
        if let Some((_, counts)) = line.split_once("Summary [")
            && let Some((_, counts)) = counts.split_once("tests run: ")
        {
            return self.add(counts.split(", "));
        }
        if let Some((_, name)) =
            line.split_once("FAIL [").and_then(|(_, rest)| rest.split_once("] "))
        {
            self.names.push(name.trim().to_owned());
        }
        if let Some(name) =
            line.strip_prefix("test ").and_then(|line| line.strip_suffix(" ... FAILED"))
        {
            self.names.push(name.to_owned());
        }
        if let Some(counts) = line.strip_prefix("test result: ") {
            self.add(counts.split(['.', ';']));
        }
    }

    fn add<'a>(&mut self, counts: impl Iterator<Item = &'a str>) {
        for part in counts {
            let Some((number, what)) = part.trim().split_once(' ') else { continue };
            // nextest: "953 passed (1 slow)"
            let what = what.split(" (").next().unwrap_or(what);
            let Ok(number) = number.parse::<u64>() else { continue };
            match what {
                "passed" => self.passed += number,
                "failed" | "timed out" => self.failed += number,
                "ignored" | "skipped" => self.skipped += number,
                _ => {}
            }
        }
    }
}

/// Installs what the tests need, and runs them: with cargo-nextest where it is there, which gives
/// each test a time limit (`.config/nextest.toml`), otherwise with `cargo test`.
///
/// # Errors
/// When something can't be installed, or a test failed.
pub(crate) fn run(rest: &[String]) -> Result<(), Failure> {
    tools::install(tools::TESTS)?;
    let mut totals = Totals::default();
    let passed = if tools::is_there(&[&cargo_path(), "nextest", "--version"]) {
        cargo(&["build", "--workspace", "--locked", "--bins", "--examples"], &[])?;
        let tests = ["nextest", "run", "--workspace", "--locked", "--no-fail-fast"];
        let tests =
            totals.follow(Command::new(cargo_path()).args(tests).args(rest).env(BUILT, "1"));
        // It runs no examples of documentation.
        let docs = ["test", "--workspace", "--locked", "--no-fail-fast", "--doc"];
        tests.and(totals.follow(Command::new(cargo_path()).args(docs)))
    } else {
        let tests = ["test", "--workspace", "--locked", "--no-fail-fast"];
        totals.follow(Command::new(cargo_path()).args(tests).args(rest))
    };
    println!();
    for name in &totals.names {
        println!("failed: {name}");
    }
    let Totals { passed: good, failed, skipped, .. } = totals;
    println!("{good} passed, {failed} failed, {skipped} skipped");
    passed
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

    #[test]
    fn so_is_the_summary_of_nextest() {
        let mut totals = Totals::default();
        totals.read("        PASS [   0.501s] (952/955) tests::tidy what_is_built_in_may_be");
        totals.read(
            "     Summary [ 326.477s] 955 tests run: 953 passed (1 slow), 1 failed, 1 timed out, \
             8 skipped",
        );
        totals.read("        FAIL [   0.203s] (949/955) tests::tidy nothing_is_left_lying_about");
        assert_eq!((totals.passed, totals.failed, totals.skipped), (953, 2, 8));
        assert_eq!(totals.names, ["(949/955) tests::tidy nothing_is_left_lying_about"]);
    }
}
