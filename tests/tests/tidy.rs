//! The rules of the house that no compiler keeps: who may import whom, how long a file may be,
//! and what must not be left lying about.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use serde_json::Value;

/// Code lines that a file may have, without its inline tests.
const CODE_LINES: usize = 400;
/// Lines that a file of tests may have.
const TEST_LINES: usize = 600;
/// Columns that a line may have.
const COLUMNS: usize = 100;

/// The supervisor's modules by level: a module imports from lower levels, and from itself.
const LEVELS: &[&[&str]] = &[
    &["record"],
    &["dispatcher", "journal"],
    &["views"],
    &["driver"],
    &["access", "secrets", "web"],
    &["alerts", "api", "egress", "ingress", "workers"],
    &["config"],
    &["app"],
    &["cli"],
];

#[test]
fn modules_import_from_lower_levels_only() {
    let mut wrong = Vec::new();
    for file in sources("supervisor/src") {
        let Some(module) = module_of(&file) else { continue };
        let level = level_of(&module).unwrap_or_else(|| panic!("{module} has no level"));
        for other in imports(&code_of(&file)) {
            let allowed = other == module || level_of(&other).is_some_and(|there| there < level);
            if !allowed {
                wrong.push(format!("{}: {module} must not import {other}", file.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn crates_depend_downwards_only() {
    for (name, may) in [
        ("common", &[][..]),
        ("worker", &["rollcall-common"]),
        ("supervisor", &["rollcall-common", "rollcall-worker"]),
    ] {
        let manifest = read(&root().join(name).join("Cargo.toml"));
        let uses: Vec<&str> = manifest
            .lines()
            .filter_map(|line| line.split_once(".workspace = true").map(|(name, _)| name))
            .filter(|name| name.starts_with("rollcall-"))
            .collect();
        assert!(uses.iter().all(|used| may.contains(used)), "{name} uses {uses:?}");
    }
}

/// What the core may use of `common`: words and arithmetic. A clock, a socket, a thread or a task
/// is to be had through everything else.
const CORE_USES: &[&str] =
    &["backoff", "chunked", "ids", "limits", "message", "protocol", "time", "units"];
/// What it may use of the standard library, and the crates that it may use.
const CORE_STD: &[&str] = &[
    "borrow",
    "cell",
    "cmp",
    "collections",
    "convert",
    "fmt",
    "hash",
    "iter",
    "mem",
    "num",
    "ops",
    "slice",
    "str",
    "string",
    "sync",
    "time",
    "vec",
];
const CORE_CRATES: &[&str] = &[
    "arc_swap",
    "bytes",
    "crate",
    "proptest",
    "rollcall_common",
    "self",
    "sha2",
    "std",
    "super",
    "uuid",
];

#[test]
fn the_core_imports_only_what_is_on_the_list() {
    let mut wrong = Vec::new();
    for folder in ["supervisor/src/dispatcher", "supervisor/src/record"] {
        for file in sources(folder) {
            let code = code_of(&file);
            for (root, list) in [("rollcall_common", CORE_USES), ("std", CORE_STD)] {
                for name in names_after(&code, &format!("{root}::")) {
                    if !list.contains(&&*name) {
                        wrong.push(format!("{}: {root}::{name}", file.display()));
                    }
                }
            }
            let modules: Vec<String> = code
                .lines()
                .filter_map(|line| {
                    line.trim_start().strip_prefix("mod ").or_else(|| line.strip_prefix("pub mod "))
                })
                .filter_map(name_at)
                .collect();
            let imports = code.lines().filter_map(|line| line.trim_start().strip_prefix("use "));
            for name in imports.filter_map(name_at) {
                let foreign = name.chars().all(|c| !c.is_uppercase());
                let known = CORE_CRATES.contains(&&*name) || modules.contains(&name);
                if foreign && !known {
                    wrong.push(format!("{}: use {name}", file.display()));
                }
            }
            for word in ["Clock", "Instant", "SystemTime"] {
                let used = code.split(|c: char| !c.is_alphanumeric()).any(|token| token == word);
                if used {
                    wrong.push(format!("{}: {word}", file.display()));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn the_dispatcher_is_pure() {
    let banned = ["tokio", "std::fs", "std::net", "std::thread", "Instant::now", "SystemTime"];
    for file in sources("supervisor/src/dispatcher") {
        let code = code_of(&file);
        for word in banned {
            assert!(!code.contains(word), "{}: {word}", file.display());
        }
        for word in ["HashMap", "HashSet", "Mutex", "RwLock", "f32", "f64"] {
            let used = code.split(|c: char| !c.is_alphanumeric()).any(|token| token == word);
            assert!(!used, "{}: {word}", file.display());
        }
    }
}

#[test]
fn files_are_short_and_say_what_they_are() {
    let mut wrong = Vec::new();
    for file in all_sources() {
        let text = read(&file);
        if !text.starts_with("//!") {
            wrong.push(format!("{}: it does not say what it is", file.display()));
        }
        let lines = code_of(&file).lines().filter(|line| is_code(line)).count();
        let most = if is_test(&file) { TEST_LINES } else { CODE_LINES };
        if lines > most {
            wrong.push(format!("{}: {lines} lines, at most {most}", file.display()));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn nothing_is_left_lying_about() {
    // Written apart, so that this file does not hold them.
    let words = [["TO", "DO"], ["FIX", "ME"], ["XX", "X"], ["db", "g!("]].map(|word| word.concat());
    let mut wrong = Vec::new();
    for file in all_sources() {
        for (number, line) in (1..).zip(read(&file).lines()) {
            let place = format!("{}:{number}", file.display());
            if words.iter().any(|word| line.contains(word)) {
                wrong.push(format!("{place}: {line}"));
            }
            if line.ends_with(' ') || line.contains('\t') {
                wrong.push(format!("{place}: blanks at the end, or a tab"));
            }
            if line.chars().count() > COLUMNS {
                wrong.push(format!("{place}: longer than {COLUMNS} columns"));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn every_limit_is_used() {
    let limits = read(&root().join("common/src/limits.rs"));
    let names: BTreeSet<&str> = limits
        .lines()
        .filter_map(|line| line.strip_prefix("pub const ")?.split_once(':').map(|(name, _)| name))
        .collect();
    let code: String = all_sources()
        .iter()
        .filter(|file| !file.ends_with("common/src/limits.rs"))
        .map(|file| read(file))
        .collect();
    for name in names {
        assert!(code.contains(name), "{name} is used nowhere");
    }
}

#[test]
fn every_dependency_has_its_reason() {
    let reasons = read(&root().join("ARCHITECTURE.md"));
    for name in ["common", "supervisor", "worker"] {
        let manifest = read(&root().join(name).join("Cargo.toml"));
        for line in manifest.lines() {
            let Some((dependency, _)) = line.split_once(".workspace = true") else { continue };
            let own = dependency.starts_with("rollcall-")
                || ["edition", "rust-version", "version", "license", "publish"]
                    .contains(&dependency);
            assert!(own || reasons.contains(dependency), "{dependency} has no reason");
        }
    }
}

/// The everyday twin of `cargo deny check licenses bans sources`: what is built in, under which
/// licence, and from where, by the lists of `deny.toml`.
#[test]
fn what_is_built_in_may_be() {
    let rules = read(&root().join("deny.toml"));
    let licences = quoted(&rules, "allow = [");
    let banned = quoted(&rules, "deny = [");
    assert!(licences.contains("MIT") && banned.contains("openssl"), "{licences:?} {banned:?}");
    let mut command = Command::new(env!("CARGO"));
    // Not offline: what other systems need has not been fetched for a build.
    command.current_dir(root()).args(["metadata", "--locked", "--format-version", "1"]);
    let metadata = command.output().unwrap();
    assert!(metadata.status.success(), "{}", String::from_utf8_lossy(&metadata.stderr));
    let metadata: Value = serde_json::from_slice(&metadata.stdout).unwrap();
    let mut wrong = Vec::new();
    let mut registries = BTreeSet::new();
    for package in metadata["packages"].as_array().unwrap() {
        let text = |key: &str| package[key].as_str().unwrap_or_default();
        let (name, licence, source) = (text("name"), text("license"), text("source"));
        if !source.is_empty() {
            registries.insert(source.to_owned());
            if !source.starts_with("registry+") {
                wrong.push(format!("{name} comes from {source}"));
            }
        }
        if banned.contains(name) {
            wrong.push(format!("{name} is banned"));
        }
        if !is_allowed(licence, &licences) {
            wrong.push(format!("{name} has the licence {licence:?}"));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    assert_eq!(registries.len(), 1, "{registries:?}");
}

#[test]
fn licences_are_read_as_they_are_meant() {
    let allowed: BTreeSet<String> = ["MIT", "ISC"].map(str::to_owned).into();
    for (licence, expected) in [
        ("MIT", true),
        ("MIT OR GPL-3.0", true),
        ("GPL-3.0/MIT", true),
        ("GPL-3.0", false),
        ("MIT AND ISC", true),
        ("MIT AND GPL-3.0", false),
        ("(GPL-3.0 OR MIT) AND ISC", true),
        ("(GPL-3.0 OR MIT) AND GPL-3.0", false),
        ("MIT WITH something", false),
        ("", false),
    ] {
        assert_eq!(is_allowed(licence, &allowed), expected, "{licence}");
    }
}

/// Whether an expression of licences (SPDX, or the older one with slashes) can be kept to.
fn is_allowed(licence: &str, allowed: &BTreeSet<String>) -> bool {
    let all = licence.split(" AND ").all(|part| {
        let part = part.trim_matches(['(', ')']).replace('/', " OR ");
        part.split(" OR ").any(|one| allowed.contains(one.trim()))
    });
    // Parentheses stand around alternatives only; anything else has to be looked at by a person.
    all && (!licence.contains('(') || !licence.contains(" OR (") && !licence.contains(") OR "))
}

/// The quoted words of a list that begins with these words.
fn quoted(text: &str, begin: &str) -> BTreeSet<String> {
    let list = text.split_once(begin).and_then(|(_, rest)| rest.split_once("\n]")).unwrap().0;
    list.split('"').skip(1).step_by(2).map(str::to_owned).collect()
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

fn read(file: &Path) -> String {
    fs::read_to_string(file).unwrap_or_else(|error| panic!("{}: {error}", file.display()))
}

fn all_sources() -> Vec<PathBuf> {
    ["common", "supervisor", "worker", "tests"].iter().flat_map(|name| sources(name)).collect()
}

fn sources(folder: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut open = vec![root().join(folder)];
    while let Some(folder) = open.pop() {
        for entry in fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            // What was built, there by cargo-fuzz, is nobody's source.
            if path.is_dir() && !path.ends_with("target") {
                open.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                found.push(path);
            }
        }
    }
    found.sort();
    assert!(!found.is_empty(), "{folder} has no sources");
    found
}

/// A file without its inline tests.
fn code_of(file: &Path) -> String {
    let text = read(file);
    let tests = text.find("#[cfg(test)]\nmod tests {");
    text[..tests.unwrap_or(text.len())].to_owned()
}

fn is_code(line: &str) -> bool {
    let line = line.trim();
    !line.is_empty() && !line.starts_with("//")
}

fn is_test(file: &Path) -> bool {
    let path = file.strip_prefix(root()).unwrap().to_string_lossy().into_owned();
    path.starts_with("tests/") || path.contains("/tests/") || path.ends_with("/tests.rs")
}

/// The module of the supervisor that a file belongs to.
fn module_of(file: &Path) -> Option<String> {
    let path = file.strip_prefix(root().join("supervisor/src")).unwrap();
    let first = path.components().next().unwrap().as_os_str().to_string_lossy().into_owned();
    let name = first.trim_end_matches(".rs").to_owned();
    (name != "lib" && name != "main").then_some(name)
}

fn level_of(module: &str) -> Option<usize> {
    LEVELS.iter().position(|level| level.contains(&module))
}

/// The modules of the crate that a file names after `crate::`.
fn imports(code: &str) -> BTreeSet<String> {
    names_after(code, "crate::")
}

/// The names that follow this word anywhere in the code.
fn names_after(code: &str, word: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let code: String = code.lines().filter(|line| is_code(line)).collect::<Vec<_>>().join("\n");
    for (at, word) in code.match_indices(word) {
        let after = &code[at + word.len()..];
        match after.strip_prefix('{') {
            Some(list) => found.extend(first_names(list)),
            None => found.extend(name_at(after)),
        }
    }
    found
}

/// The first names of a list in braces, which may hold lists.
fn first_names(list: &str) -> Vec<String> {
    let mut names = Vec::new();
    let (mut depth, mut fresh) = (0, true);
    for (at, c) in list.char_indices() {
        match c {
            '{' => depth += 1,
            '}' if depth == 0 => return names,
            '}' => depth -= 1,
            ',' if depth == 0 => fresh = true,
            c if fresh && depth == 0 && c.is_alphabetic() => {
                names.extend(name_at(&list[at..]));
                fresh = false;
            }
            _ => {}
        }
    }
    names
}

fn name_at(text: &str) -> Option<String> {
    let name: String = text.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
    (!name.is_empty()).then_some(name)
}
