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
        let folder = tempfile::tempdir().expect("a folder");
        let mut command = Command::new(binaries::program("worker"));
        command.args(["serve", "--listen", "127.0.0.1:0"]).args(arguments);
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
