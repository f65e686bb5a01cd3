//! The `worker` program.

use tempfile::TempDir;
use tokio::process::Command;

use super::{Process, binaries};

/// A `worker` that runs.
#[derive(Debug)]
pub struct WorkerProcess {
    process: Process,
    url: String,
    _folder: TempDir,
}

impl WorkerProcess {
    /// Starts `worker serve` on a free port with these further arguments.
    pub async fn start(arguments: &[&str]) -> Self {
        Self::start_at("127.0.0.1:0", arguments).await
    }

    /// Starts `worker serve` there.
    pub async fn start_at(place: &str, arguments: &[&str]) -> Self {
        let command = Command::new(binaries::program("worker"));
        Self::start_with(command, place, arguments).await
    }

    /// The same with another program around it, which becomes the worker.
    pub async fn start_under(wrapper: &[&str], place: &str, arguments: &[&str]) -> Self {
        let (program, before) = wrapper.split_first().expect("a program");
        let mut command = Command::new(program);
        command.args(before).arg(binaries::program("worker"));
        Self::start_with(command, place, arguments).await
    }

    async fn start_with(mut command: Command, place: &str, arguments: &[&str]) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        command.args(["serve", "--listen", place]).args(arguments);
        let mut process = Process::start(command, folder.path(), "worker");
        let url = process.said("listening on ").await;
        Self { process, url, _folder: folder }
    }

    /// Where it listens.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Its process.
    #[must_use]
    pub fn process(&self) -> &Process {
        &self.process
    }

    /// Its process, to wait for.
    #[must_use]
    pub fn into_process(self) -> Process {
        self.process
    }
}
