//! The `supervisor` program: its folder and configuration, which outlive it, and one run of it.

use std::{
    fs,
    ops::Deref,
    path::{Path, PathBuf},
    sync::atomic::{AtomicU32, Ordering},
};

use tempfile::TempDir;
use tokio::process::Command;

use super::{Client, Ended, Process, Signal, binaries};

/// What a supervisor keeps when it goes: a folder with its journal and its configuration.
#[derive(Debug)]
pub struct Setup {
    folder: TempDir,
    data: PathBuf,
    runs: AtomicU32,
}

/// A supervisor that runs.
#[derive(Debug)]
pub struct Supervisor {
    process: Process,
    client: Client,
}

impl Setup {
    /// A new folder with this configuration.
    #[must_use]
    pub fn new(config: impl AsRef<str>) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let setup = Self { data: folder.path().join("data"), folder, runs: AtomicU32::new(0) };
        setup.configure(config);
        setup
    }

    /// The same with its journal at `data`.
    #[must_use]
    pub fn with_data(mut self, data: &Path) -> Self {
        data.clone_into(&mut self.data);
        self
    }

    /// Writes the configuration anew.
    pub fn configure(&self, config: impl AsRef<str>) {
        fs::write(self.config(), config.as_ref()).expect("the configuration is written");
    }

    /// The file of the configuration.
    #[must_use]
    pub fn config(&self) -> PathBuf {
        self.folder.path().join("rollcall.toml")
    }

    /// Where the journal is.
    #[must_use]
    pub fn data(&self) -> &Path {
        &self.data
    }

    /// A folder for whatever a test needs.
    #[must_use]
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Starts the supervisor and waits until it listens.
    pub async fn start(&self) -> Supervisor {
        Self::listening(self.launch()).await
    }

    async fn listening(mut process: Process) -> Supervisor {
        let url = process.said("listening on ").await;
        Supervisor { process, client: Client::new(&url) }
    }

    /// Starts the supervisor with at most so many open files.
    pub async fn start_with_files(&self, most: u32) -> Supervisor {
        let mut command = Command::new("sh");
        command.args(["-c", "ulimit -n \"$0\" && exec \"$@\"", &most.to_string()]);
        command.arg(binaries::program("supervisor"));
        self.serve(&mut command);
        Self::listening(Process::start(command, self.folder(), &self.next_name())).await
    }

    /// Starts the supervisor with another program around it, which becomes the supervisor or
    /// stays out of its way.
    pub async fn start_under(&self, wrapper: &[&str]) -> Supervisor {
        Self::listening(self.launch_under(wrapper)).await
    }

    /// The same for one that may not get far.
    #[must_use]
    pub fn launch_under(&self, wrapper: &[&str]) -> Process {
        let (program, arguments) = wrapper.split_first().expect("a program");
        let mut command = Command::new(program);
        command.args(arguments).arg(binaries::program("supervisor"));
        self.serve(&mut command);
        Process::start(command, self.folder(), &self.next_name())
    }

    /// Starts the supervisor with a log that nobody reads.
    pub async fn start_unread(&self) -> Supervisor {
        let mut command = Command::new(binaries::program("supervisor"));
        self.serve(&mut command);
        Self::listening(Process::start_unread(command, self.folder(), &self.next_name())).await
    }

    /// Starts the supervisor, which is not to get far, and waits for its end.
    pub async fn fail(&self) -> Ended {
        self.launch().ended().await
    }

    /// Runs another command of the program to its end.
    pub async fn run(&self, arguments: &[&str]) -> Ended {
        self.begin(arguments).ended().await
    }

    /// Starts another command of the program, which goes on.
    #[must_use]
    pub fn begin(&self, arguments: &[&str]) -> Process {
        let mut command = Command::new(binaries::program("supervisor"));
        command.args(arguments);
        Process::start(command, self.folder(), &self.next_name())
    }

    /// Starts an example program, which goes on.
    #[must_use]
    pub fn begin_example(&self, name: &str, arguments: &[&str]) -> Process {
        let mut command = Command::new(binaries::example(name));
        command.args(arguments);
        Process::start(command, self.folder(), &self.next_name())
    }

    /// Starts the supervisor with this in its environment.
    pub async fn start_with(&self, variables: &[(&str, &str)]) -> Supervisor {
        let mut command = Command::new(binaries::program("supervisor"));
        command.envs(variables.iter().copied());
        self.serve(&mut command);
        Self::listening(Process::start(command, self.folder(), &self.next_name())).await
    }

    fn launch(&self) -> Process {
        let mut command = Command::new(binaries::program("supervisor"));
        self.serve(&mut command);
        Process::start(command, self.folder(), &self.next_name())
    }

    fn serve(&self, command: &mut Command) {
        command.args(["serve", "--listen", "127.0.0.1:0", "--config"]).arg(self.config());
        command.arg("--data").arg(&self.data);
    }

    fn next_name(&self) -> String {
        format!("run-{}", self.runs.fetch_add(1, Ordering::Relaxed))
    }
}

impl Deref for Supervisor {
    type Target = Client;

    /// A supervisor is mostly something to be called.
    fn deref(&self) -> &Client {
        &self.client
    }
}

impl Supervisor {
    /// A client of it that outlives it.
    #[must_use]
    pub fn client(&self) -> Client {
        self.client.clone()
    }

    /// Waits for a line of its output with `words` in it, and gives back what follows them there.
    pub async fn said(&mut self, words: &str) -> String {
        self.process.said(words).await
    }

    /// Its process.
    #[must_use]
    pub fn process(&self) -> &Process {
        &self.process
    }

    /// Kills it as a power cut would, as far as processes go.
    pub async fn kill(self) {
        self.process.kill().await;
    }

    /// Asks it to go (`SIGTERM`), and waits for its end.
    pub async fn terminate(self) -> Ended {
        self.process.signal(Signal::TERM);
        self.process.ended().await
    }

    /// Waits for its end.
    pub async fn ended(self) -> Ended {
        self.process.ended().await
    }
}
