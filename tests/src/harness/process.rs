//! A child process with its output in files. It is killed when it is dropped.

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    process::Stdio,
};

use rustix::process::{Pid, kill_process};
use tokio::process::{Child, Command};

use super::{soon, until};

pub use rustix::process::Signal;

/// A child process.
#[derive(Debug)]
pub struct Process {
    child: Child,
    stdout: PathBuf,
    stderr: PathBuf,
}

/// How a process ended, and what it said.
#[derive(Clone, Debug)]
pub struct Ended {
    /// Its exit code; `None` when a signal ended it.
    pub code: Option<i32>,
    /// Its standard output.
    pub stdout: String,
    /// Its standard error.
    pub stderr: String,
}

impl Process {
    /// Starts `command`; its output goes into files in `folder` that begin with `name`.
    #[must_use]
    pub fn start(command: Command, folder: &Path, name: &str) -> Self {
        let stderr = File::create(folder.join(format!("{name}.err"))).expect("a file for its log");
        Self::start_with(command, folder, name, stderr.into())
    }

    /// The same with a log that goes into a pipe, which nobody reads.
    #[must_use]
    pub fn start_unread(command: Command, folder: &Path, name: &str) -> Self {
        Self::start_with(command, folder, name, Stdio::piped())
    }

    fn start_with(mut command: Command, folder: &Path, name: &str, log: Stdio) -> Self {
        let stdout = folder.join(format!("{name}.out"));
        let stderr = folder.join(format!("{name}.err"));
        command
            .stdin(Stdio::null())
            .stdout(File::create(&stdout).expect("a file for its output"))
            .stderr(log)
            .kill_on_drop(true);
        let child = command.spawn().expect("the process starts");
        Self { child, stdout, stderr }
    }

    /// Waits for a line of its output with `words` in it, and gives back what follows them there.
    pub async fn said(&mut self, words: &str) -> String {
        let mut found = None;
        until(&format!("output {words:?}"), || {
            let text = read(&self.stdout);
            let whole = text.rfind('\n').map_or("", |end| &text[..end]);
            let line = whole.lines().find_map(|line| line.split_once(words));
            found = line.map(|(_, rest)| rest.to_owned());
            let ended = self.child.try_wait().expect("its state is known");
            assert!(found.is_some() || ended.is_none(), "{ended:?}: {}", read(&self.stderr));
            std::future::ready(found.is_some())
        })
        .await;
        found.unwrap_or_default()
    }

    /// Its id.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.child.id().expect("it has not been waited for")
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: Signal) {
        let id = i32::try_from(self.id()).ok().and_then(Pid::from_raw).expect("a process id");
        kill_process(id, signal).expect("the signal goes out");
    }

    /// What it has logged so far.
    #[must_use]
    pub fn log(&self) -> String {
        read(&self.stderr)
    }

    /// Waits for its end.
    pub async fn ended(mut self) -> Ended {
        let status = soon(self.child.wait()).await.expect("it can be waited for");
        Ended { code: status.code(), stdout: read(&self.stdout), stderr: read(&self.stderr) }
    }

    /// Kills it (`SIGKILL`) and waits until it is gone.
    pub async fn kill(mut self) {
        soon(self.child.kill()).await.expect("it can be killed");
    }

    /// Hundredths of seconds that it has computed so far, on all processors.
    #[must_use]
    pub fn computed(&self) -> u64 {
        let stat = read(Path::new(&format!("/proc/{}/stat", self.id())));
        // After the name in parentheses: its user and its system time are the 12th and 13th.
        let fields = stat.rsplit_once(") ").map_or("", |(_, fields)| fields);
        let times = fields.split(' ').skip(11).take(2);
        times.map(|time| time.parse::<u64>().expect("a figure")).sum()
    }

    /// Bytes of memory that it uses now.
    #[must_use]
    pub fn resident_bytes(&self) -> u64 {
        let status = read(Path::new(&format!("/proc/{}/status", self.id())));
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap_or_default();
        let number = line.trim().trim_end_matches(" kB").parse::<u64>();
        number.expect("a figure in kB") * 1024
    }
}

fn read(path: &Path) -> String {
    String::from_utf8_lossy(&fs::read(path).unwrap_or_default()).into_owned()
}
