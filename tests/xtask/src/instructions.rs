//! `cargo xtask instructions`: how many instructions a message costs in the engine, counted by
//! valgrind's callgrind, and compared with what is written down. Seconds say little on shared
//! machines; instructions are the same wherever they are counted.

use std::{
    collections::BTreeMap,
    fs,
    path::Path,
    process::{Command, Stdio},
};

use crate::{
    run::{Failure, cargo, check, root},
    tools,
};

/// Where the count that is expected stands, from the repository's root.
const EXPECTED: &str = "tests/instructions.txt";
/// By how much it may be off, in permille.
const OFF_PERMILLE: u64 = 30;
/// Two runs with so many messages: their difference has no start and no end in it.
const MESSAGES: [u64; 2] = [10_000, 30_000];

/// Counts, and compares; `--write` notes the count as the one to be expected.
///
/// # Errors
/// When it is off, or can't be counted.
pub(crate) fn run(rest: &[String]) -> Result<(), Failure> {
    let write = match rest {
        [] => false,
        [only] if only == "--write" => true,
        _ => return Err(Failure::Usage("instructions: only --write is understood".into())),
    };
    tools::install(tools::INSTRUCTIONS)?;
    cargo(&["build", "--release", "--locked", "-p", "tests", "--bin", "bench"], &[])?;
    let [few, many] = MESSAGES;
    let counted = (count(many)? - count(few)?) / (many - few);
    let file = root().join(EXPECTED);
    if write {
        println!("{counted} instructions a message");
        let broken = |error| Failure::Failed(format!("{EXPECTED}: {error}"));
        return fs::write(file, format!("{counted}\n")).map_err(broken);
    }
    let text = fs::read_to_string(file).unwrap_or_default();
    let expected: u64 = text.trim().parse().map_err(|error| {
        Failure::Failed(format!("{EXPECTED} holds no number ({error}); write it with --write"))
    })?;
    let off = counted.abs_diff(expected) * 1000 / expected.max(1);
    println!("{counted} instructions a message, {expected} expected: {off} permille off");
    if off > OFF_PERMILLE {
        let text = format!("more than {OFF_PERMILLE} permille off; if that is meant, --write it");
        return Err(Failure::Failed(text));
    }
    Ok(())
}

/// Instructions of the program's own code (not of the C library, whose routines depend on the
/// processor) for so many messages.
fn count(messages: u64) -> Result<u64, Failure> {
    let target = root().join("target");
    let program = target.join("release/bench");
    let out = target.join(format!("callgrind.{messages}"));
    let mut command = Command::new("valgrind");
    command.args(["--tool=callgrind", "--quiet"]);
    command.arg(format!("--callgrind-out-file={}", out.display()));
    command.arg(&program).args(["engine", "--messages", &messages.to_string()]);
    command.stdout(Stdio::null()).current_dir(root());
    let status = command.status();
    let status = status.map_err(|error| Failure::Failed(format!("valgrind: {error}")))?;
    check("valgrind", status)?;
    let profile = fs::read_to_string(&out);
    let profile =
        profile.map_err(|error| Failure::Failed(format!("{}: {error}", out.display())))?;
    let counted = own(&profile, &program);
    if counted == 0 {
        let text = format!("{}: nothing of {} in it", out.display(), program.display());
        return Err(Failure::Failed(text));
    }
    Ok(counted)
}

/// The sum of what a profile in callgrind's format says of one program's own code: its manual,
/// "Callgrind Format Specification".
fn own(profile: &str, program: &Path) -> u64 {
    let program = program.to_string_lossy();
    let mut names: BTreeMap<&str, bool> = BTreeMap::new();
    let (mut is_own, mut is_call, mut sum) = (false, false, 0);
    for line in profile.lines() {
        if let Some(object) = line.strip_prefix("ob=") {
            // A name is said once, behind its number.
            let (number, name) = object.split_once(' ').unwrap_or((object, ""));
            if !name.is_empty() {
                names.insert(number, name == program);
            }
            is_own = names.get(number).copied().unwrap_or_default();
        } else if let Some(object) = line.strip_prefix("cob=") {
            if let Some((number, name)) = object.split_once(' ') {
                names.insert(number, name == program);
            }
        } else if line.starts_with("calls=") {
            is_call = true;
        } else if line.starts_with(|first: char| first.is_ascii_digit() || "+-*".contains(first)) {
            // The line behind a call has what was spent in whoever was called.
            let cost = line.split_once(' ').and_then(|(_, cost)| cost.parse::<u64>().ok());
            if is_own && !is_call {
                sum += cost.unwrap_or_default();
            }
            is_call = false;
        }
    }
    sum
}

#[cfg(test)]
mod tests {
    use super::{Path, own};

    #[test]
    fn only_what_is_spent_in_the_programs_own_code_counts() {
        let profile = "version: 1\nevents: Ir\n\nob=(1) /lib/ld.so\nfn=(1) start\n0 5\n\
                       ob=(2) /bin/it\nfn=(2) main\n12 100\n+3 20\ncob=(1)\ncfn=(3) copy\n\
                       calls=1 0\n\
                       * 7000\n* 3\nob=(1)\nfn=(3)\n0 7000\nob=(2)\nfn=(4) more\n-2 1000\n";
        assert_eq!(own(profile, Path::new("/bin/it")), 1123);
        assert_eq!(own(profile, Path::new("/bin/other")), 0);
    }
}
