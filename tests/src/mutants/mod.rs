//! The mutation check: faults that are planted on purpose, to see whether somebody notices.
//!
//! They are planted in a copy of the sources, all at once, each behind a question to the
//! environment; so one build serves them all, and the program itself knows nothing of them.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

/// A fault, in few words.
macro_rules! mutant {
    ($name:literal, $by:expr, $file:literal, $old:literal => $new:literal) => {
        Mutant { name: $name, by: $by, file: $file, old: $old, new: $new }
    };
}

mod commands;
mod edges;
mod list;
mod people;
mod room;
mod snapshots;

/// All faults that are planted. Their numbers are their places, from 1 on.
#[must_use]
pub fn mutants() -> Vec<Mutant> {
    [
        list::MUTANTS,
        people::MUTANTS,
        snapshots::MUTANTS,
        commands::MUTANTS,
        room::MUTANTS,
        edges::MUTANTS,
    ]
    .concat()
}

/// The variable that says which fault is on, by its number.
pub const SWITCH: &str = "ROLLCALL_PLANTED";

/// Who has to notice a planted fault.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Noticed {
    /// The simulator's seeds.
    Seeds,
    /// Tests of the supervisor's library with this in their names.
    Test(&'static str),
}

/// A fault to be planted.
#[derive(Clone, Copy, Debug)]
pub struct Mutant {
    /// What is wrong with it.
    pub name: &'static str,
    /// Who has to notice.
    pub by: Noticed,
    /// The file, from the sources' root.
    pub file: &'static str,
    /// What stands there, exactly once: an expression, or whole statements.
    pub old: &'static str,
    /// What shall stand there.
    pub new: &'static str,
}

impl Mutant {
    /// Both texts, with the question in front of them.
    fn text(&self, number: usize) -> String {
        let Self { old, new, .. } = self;
        let asked = format!("rollcall_common_planted({number})");
        let text = format!("if {asked} {{ {new} }} else {{ {old} }}");
        if old.ends_with([';', '}']) { text } else { format!("({text})") }
    }
}

/// Plants `mutants` in a copy of the sources under `root`; the copy is at `to`.
///
/// # Errors
/// When files can't be copied, or a fault does not find its place exactly once.
pub fn plant(root: &Path, to: &Path, mutants: &[Mutant]) -> io::Result<()> {
    match fs::remove_dir_all(to) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        Ok(()) | Err(_) => fs::create_dir_all(to)?,
    }
    for name in ["Cargo.toml", "Cargo.lock", "rust-toolchain.toml"] {
        fs::copy(root.join(name), to.join(name))?;
    }
    for name in ["common", "docs", "supervisor", "tests", "worker"] {
        copy(&root.join(name), &to.join(name))?;
    }
    // What is built from the copy shall not take the place of what is built from the sources: to
    // cargo a copy with the same version would be the same thing.
    for name in ["Cargo.toml", "Cargo.lock"] {
        let file = to.join(name);
        let mut text = fs::read_to_string(&file)?.replace("\nversion = \"0.1.0\"\nlic", PLANTED);
        for package in
            ["rollcall-common", "rollcall-supervisor", "rollcall-worker", "tests", "xtask"]
        {
            let line = format!("name = \"{package}\"\nversion = \"0.1.0");
            text = text.replace(&format!("{line}\""), &format!("{line}-planted\""));
        }
        // The question needs parentheses in some places and not in others.
        let lints = "[workspace.lints.rust]\n";
        let text = text.replace(lints, &format!("{lints}unused_parens = \"allow\"\n"));
        fs::write(&file, text)?;
    }
    let (sim, planted) = (to.join("tests/src/bin/sim.rs"), to.join("tests/src/bin/planted.rs"));
    fs::rename(sim, planted)?;
    for (number, mutant) in (1..).zip(mutants) {
        let file = to.join(mutant.file);
        let text = fs::read_to_string(&file)?;
        let places = text.matches(mutant.old).count();
        if places != 1 {
            let what = format!("{:?} has {places} places in {}", mutant.name, mutant.file);
            return Err(io::Error::other(what));
        }
        fs::write(&file, text.replace(mutant.old, &mutant.text(number)))?;
    }
    let changed: std::collections::BTreeSet<_> = mutants.iter().map(|mutant| mutant.file).collect();
    for name in changed {
        let file = to.join(name);
        let question = if name.starts_with("common/") { "crate" } else { "rollcall_common" };
        let text = fs::read_to_string(&file)?;
        let text = text.replace("rollcall_common_planted(", &format!("{question}::planted("));
        fs::write(&file, text)?;
    }
    let library = to.join("common/src/lib.rs");
    let text = fs::read_to_string(&library)? + QUESTION;
    fs::write(&library, text)
}

/// The version in the copy's manifest, and what comes after it.
const PLANTED: &str = "\nversion = \"0.1.0-planted\"\nlic";

/// What the copy's sources ask.
const QUESTION: &str = r#"
/// Whether the fault of this number is planted.
#[must_use]
pub fn planted(number: u32) -> bool {
    static WHICH: std::sync::OnceLock<Option<u32>> = std::sync::OnceLock::new();
    let which = || std::env::var("ROLLCALL_PLANTED").ok()?.parse().ok();
    *WHICH.get_or_init(which) == Some(number)
}
"#;

fn copy(from: &Path, to: &Path) -> io::Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let target: PathBuf = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy(&entry.path(), &target)?;
        } else {
            fs::copy(entry.path(), target)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_fault_finds_its_place() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
        let folder = tempfile::tempdir().unwrap();
        plant(root, &folder.path().join("copy"), &mutants()).unwrap();
    }

    #[test]
    fn statements_and_expressions_are_told_apart() {
        let by = Noticed::Seeds;
        let of = |old, new| Mutant { name: "", by, file: "", old, new }.text(7);
        assert_eq!(of("a > b", "true"), "(if rollcall_common_planted(7) { true } else { a > b })");
        assert_eq!(of("go();", ""), "if rollcall_common_planted(7) {  } else { go(); }");
    }
}
