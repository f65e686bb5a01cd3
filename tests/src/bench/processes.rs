//! Child processes: started, asked for their CPU time, and killed by their number.

use std::{
    io::{BufRead as _, BufReader, Read as _},
    net::TcpListener,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};

use serde_json::Value;

/// A process that ends with this value.
#[derive(Debug)]
pub(super) struct Process {
    child: Child,
    /// What its first line says it listens at.
    pub(super) urls: Vec<String>,
    /// CPU seconds that it had used when measuring began.
    before: f64,
}

impl Process {
    /// Starts a program that prints its address on its first line.
    pub(super) fn start(program: &Path, arguments: &[&str]) -> Result<Self, String> {
        let mut child = spawn(program, arguments, Stdio::piped())?;
        let stdout = child.stdout.take().ok_or("no output")?;
        let mut line = String::new();
        BufReader::new(stdout).read_line(&mut line).map_err(|error| error.to_string())?;
        let words = line.split_whitespace().filter(|word| word.starts_with("http://"));
        let urls: Vec<String> = words.map(str::to_owned).collect();
        if urls.is_empty() {
            return Err(format!("{}: {line:?}", program.display()));
        }
        Ok(Self { child, urls, before: 0.0 })
    }

    /// Starts a program that prints nothing; `url` is where it will listen.
    pub(super) fn start_silent(
        program: &Path,
        arguments: &[&str],
        url: String,
    ) -> Result<Self, String> {
        let child = spawn(program, arguments, Stdio::null())?;
        Ok(Self { child, urls: vec![url], before: 0.0 })
    }

    /// The same, where the program knows nothing of the environment but this, and where programs
    /// are.
    pub(super) fn start_apart(
        program: &Path,
        environment: &[(&str, String)],
        url: String,
    ) -> Result<Self, String> {
        let mut command = Command::new(program);
        let path = std::env::var("PATH").unwrap_or_default();
        command.env_clear().env("PATH", path).envs(environment.iter().cloned());
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let child = command.spawn().map_err(|error| format!("{}: {error}", program.display()))?;
        Ok(Self { child, urls: vec![url], before: 0.0 })
    }

    /// Its first address.
    pub(super) fn url(&self) -> &str {
        &self.urls[0]
    }

    /// From here on its CPU time counts.
    pub(super) fn begin(&mut self) {
        self.before += self.cpu_seconds();
    }

    /// Its CPU seconds since [`Process::begin`], and those of its children that run.
    pub(super) fn cpu_seconds(&self) -> f64 {
        let children = self.children().into_iter().map(cpu_seconds).sum::<f64>();
        cpu_seconds(self.child.id()) + children - self.before
    }

    fn children(&self) -> Vec<u32> {
        let children = format!("/proc/{0}/task/{0}/children", self.child.id());
        let children = std::fs::read_to_string(children).unwrap_or_default();
        children.split_whitespace().filter_map(|pid| pid.parse().ok()).collect()
    }

    /// Its resident memory at its highest, in MiB.
    pub(super) fn peak_mib(&self) -> f64 {
        self.status_mib("VmHWM:")
    }

    /// Its resident memory now, in MiB.
    pub(super) fn resident_mib(&self) -> f64 {
        self.status_mib("VmRSS:")
    }

    /// From here on [`Process::peak_mib`] is what comes.
    pub(super) fn forget_peak(&self) -> Result<(), String> {
        let path = format!("/proc/{}/clear_refs", self.child.id());
        std::fs::write(&path, "5").map_err(|error| format!("{path}: {error}"))
    }

    fn status_mib(&self, field: &str) -> f64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id()));
        let status = status.unwrap_or_default();
        let line = status.lines().find_map(|line| line.strip_prefix(field));
        let kib = line.and_then(|line| line.trim().trim_end_matches(" kB").parse::<f64>().ok());
        kib.unwrap_or_default() / 1024.0
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let children = self.children();
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
        // nginx's workers outlive a master that is killed.
        for pid in children {
            let mut kill = Command::new("kill");
            // RabbitMQ's end by themselves.
            let _ = kill.arg("-9").arg(pid.to_string()).stderr(Stdio::null()).status();
        }
    }
}

fn spawn(program: &Path, arguments: &[&str], stdout: Stdio) -> Result<Child, String> {
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::null()).stdout(stdout).stderr(Stdio::null());
    command.spawn().map_err(|error| format!("{}: {error}", program.display()))
}

/// This program in a part that goes on until its input is closed, and then says what it did.
#[derive(Debug)]
pub(super) struct Companion(Child);

impl Companion {
    /// Starts it.
    pub(super) fn start(arguments: &[String]) -> Result<Self, String> {
        let me = std::env::current_exe().map_err(|error| error.to_string())?;
        let mut command = Command::new(me);
        command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped());
        command.spawn().map(Self).map_err(|error| error.to_string())
    }

    /// Waits for its first line.
    pub(super) fn until_there(&mut self) -> Result<(), String> {
        let out = self.0.stdout.as_mut().ok_or("no output")?;
        let mut byte = [0];
        while byte != *b"\n" {
            out.read_exact(&mut byte).map_err(|error| format!("a companion failed: {error}"))?;
        }
        Ok(())
    }

    /// What it says at its end.
    pub(super) fn finish(mut self) -> Result<Value, String> {
        drop(self.0.stdin.take());
        let mut text = String::new();
        let mut out = self.0.stdout.take().ok_or("no output")?;
        out.read_to_string(&mut text).map_err(|error| error.to_string())?;
        let status = self.0.wait().map_err(|error| error.to_string())?;
        if !status.success() {
            return Err(format!("a companion failed: {text}"));
        }
        serde_json::from_str(&text).map_err(|error| error.to_string())
    }
}

impl Drop for Companion {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// CPU seconds of this process.
pub(super) fn own_cpu_seconds() -> f64 {
    cpu_seconds(std::process::id())
}

/// CPU seconds of children that have been waited for: fields 16 and 17 of our own `stat`.
pub(super) fn children_cpu() -> f64 {
    ticks("self", 13)
}

/// CPU seconds of these since they began.
pub(super) fn all_cpu_seconds(processes: &[Process]) -> f64 {
    processes.iter().map(Process::cpu_seconds).sum()
}

/// This program in another part.
pub(super) fn part(arguments: &[String]) -> Result<Process, String> {
    let me = std::env::current_exe().map_err(|error| error.to_string())?;
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    Process::start(&me, &arguments)
}

/// Words as arguments.
pub(super) fn words(line: &str) -> Vec<String> {
    line.split_whitespace().map(str::to_owned).collect()
}

/// A port that nobody listens at.
pub(super) fn free_port() -> Result<u16, String> {
    let listener = TcpListener::bind(("127.0.0.1", 0)).map_err(|error| error.to_string())?;
    Ok(listener.local_addr().map_err(|error| error.to_string())?.port())
}

/// Waits until somebody listens.
pub(super) async fn wait_listening(port: u16) -> Result<(), String> {
    for _ in 0..500 {
        if tokio::net::TcpStream::connect(("127.0.0.1", port)).await.is_ok() {
            return Ok(());
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    Err(format!("nobody listens at port {port}"))
}

/// User and system time of a process: fields 14 and 15 of its `stat`.
fn cpu_seconds(pid: u32) -> f64 {
    ticks(&pid.to_string(), 11)
}

/// Two fields of a process's `stat`, so many behind its name, in hundredths of seconds.
fn ticks(process: &str, skip: usize) -> f64 {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).unwrap_or_default();
    let after_name = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
    let ticks = after_name.split_whitespace().skip(skip).take(2);
    ticks.filter_map(|field| field.parse::<f64>().ok()).sum::<f64>() / 100.0
}

/// A program that was built beside this one.
pub(super) fn beside(name: &str) -> Result<PathBuf, String> {
    let me = std::env::current_exe().map_err(|error| error.to_string())?;
    let path = me.with_file_name(name);
    if path.exists() {
        return Ok(path);
    }
    Err(format!("{} is missing: run `cargo build --release --workspace` first", path.display()))
}

/// A program on the search path.
pub(super) fn on_path(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    let mut places = std::env::split_paths(&path).chain([PathBuf::from("/usr/sbin")]);
    places.find_map(|place| Some(place.join(name)).filter(|program| program.exists()))
}
