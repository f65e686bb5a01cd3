//! `man`: pages for `man`, one for each command.

use std::{fs, path::Path, process::ExitCode};

use clap::CommandFactory as _;

use super::{CommandLine, Failure};

pub(super) fn run(folder: &Path) -> Result<ExitCode, Failure> {
    fs::create_dir_all(folder).map_err(|error| named(folder, &error))?;
    clap_mangen::generate_to(CommandLine::command(), folder)
        .map_err(|error| named(folder, &error))?;
    Ok(ExitCode::SUCCESS)
}

fn named(folder: &Path, error: &std::io::Error) -> Failure {
    Failure::failed(format!("{}: {error}", folder.display()))
}
