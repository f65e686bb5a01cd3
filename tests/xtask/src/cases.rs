//! `cargo xtask cases FOLDER…`: scripts that each show one thing that must hold, run one after the
//! other against the release build. A script says `ok` and ends with 0, or says what is wrong.

use std::{
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Instant,
};

use crate::run::{Failure, cargo, root};

/// Builds the programs, and runs all scripts of the folders.
///
/// # Errors
/// When a script fails, or a folder has none.
pub(crate) fn run(folders: &[String]) -> Result<(), Failure> {
    if folders.is_empty() {
        return Err(Failure::Usage("cases: which folders?".into()));
    }
    let scripts = scripts(folders)?;
    cargo(&["build", "--release", "--locked", "--bins"], &[])?;
    let (mut passed, mut failed) = (0, 0);
    for script in &scripts {
        #[expect(clippy::disallowed_methods, reason = "a person wants to know how long it took")]
        let begin = Instant::now();
        let verdict = ask(script)?;
        let name = script.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        println!("{name}: {} ({:.1} s)", verdict.text, begin.elapsed().as_secs_f64());
        if verdict.holds {
            passed += 1;
        } else {
            failed += 1;
        }
    }
    println!("{passed} passed, {failed} failed");
    if failed == 0 { Ok(()) } else { Err(Failure::Failed(format!("{failed} cases fail"))) }
}

struct Verdict {
    holds: bool,
    text: String,
}

fn ask(script: &Path) -> Result<Verdict, Failure> {
    let mut command = Command::new("python3");
    command.arg(script).env("ROLLCALL_BIN_DIR", root().join("target/release"));
    command.stdin(Stdio::null()).stderr(Stdio::inherit());
    let output = command.output().map_err(|error| Failure::Failed(format!("python3: {error}")))?;
    let text = String::from_utf8_lossy(&output.stdout).trim_end().to_owned();
    Ok(Verdict { holds: output.status.success(), text })
}

/// The scripts of the folders, by name. What others of its folder import is no script.
fn scripts(folders: &[String]) -> Result<Vec<PathBuf>, Failure> {
    let mut found = Vec::new();
    for folder in folders {
        let broken = |error: std::io::Error| Failure::Failed(format!("{folder}: {error}"));
        let mut texts = Vec::new();
        for entry in std::fs::read_dir(folder).map_err(broken)? {
            let path = entry.map_err(broken)?.path();
            if path.extension().is_some_and(|extension| extension == "py") {
                texts.push((std::fs::read_to_string(&path).map_err(broken)?, path));
            }
        }
        let is_library = |path: &Path| {
            let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
            let lines = [format!("import {name}"), format!("from {name} import")];
            texts.iter().any(|(text, _)| {
                text.lines().any(|line| lines.iter().any(|begin| line.starts_with(begin.as_str())))
            })
        };
        let mut here: Vec<PathBuf> =
            texts.iter().map(|(_, path)| path.clone()).filter(|path| !is_library(path)).collect();
        if here.is_empty() {
            return Err(Failure::Failed(format!("{folder} has no scripts")));
        }
        here.sort();
        found.append(&mut here);
    }
    Ok(found)
}
