//! The programs under test. Cargo tells a package's tests where its own programs are, and not
//! those of others; so they are built here, once in a test process, into the place where this
//! test itself was built. Cargo does nothing when they are up to date, and its own lock keeps
//! test processes apart.

use std::{
    env,
    path::{Path, PathBuf},
    process::Command,
    sync::OnceLock,
};

/// Set where the programs were built just before the tests: each test may be a process of its own.
const BUILT: &str = "ROLLCALL_TESTS_BUILT";

/// Where `program` is.
pub fn program(program: &str) -> PathBuf {
    folder().join(program)
}

/// Where the example `name` is.
pub(super) fn example(name: &str) -> PathBuf {
    folder().join("examples").join(name)
}

fn folder() -> &'static PathBuf {
    static FOLDER: OnceLock<PathBuf> = OnceLock::new();
    FOLDER.get_or_init(build)
}

fn build() -> PathBuf {
    let test = env::current_exe().expect("this program has a path");
    // …/target/[TRIPLE/]PROFILE/deps/TEST, or …/PROFILE/PROGRAM
    let parent = test.parent().expect("it stands in a folder");
    let deep = name(parent) == "deps";
    let folder = if deep { parent.parent().unwrap_or(parent) } else { parent }.to_owned();
    let profile = match name(&folder) {
        "debug" => "dev",
        other => other,
    };
    let above = folder.parent().expect("a profile's folder stands in another");
    // A copied folder may lack the mark that cargo leaves: then it is nobody's, and not another's.
    let is_target = |folder: &Path| folder.join("CACHEDIR.TAG").exists();
    let crossed = !is_target(above) && above.parent().is_some_and(is_target);
    let target = if crossed { above.parent().unwrap_or(above) } else { above };
    if env::var_os(BUILT).is_some() {
        return folder;
    }
    let mut command = Command::new(env!("CARGO"));
    command.current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/.."));
    command.args(["build", "--quiet", "--workspace", "--bins", "--examples"]);
    command.args(["--profile", profile]);
    command.arg("--target-dir").arg(target);
    if crossed {
        command.args(["--target", name(above)]);
    }
    let built = command.status().expect("cargo runs");
    assert!(built.success(), "the programs under test can't be built");
    folder
}

fn name(folder: &Path) -> &str {
    folder.file_name().and_then(|name| name.to_str()).expect("a plain name")
}
