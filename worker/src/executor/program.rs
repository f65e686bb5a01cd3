//! A command that is run as a process group of its own.

use std::{
    env,
    ffi::{OsStr, OsString},
    os::unix::{
        ffi::{OsStrExt as _, OsStringExt as _},
        fs::PermissionsExt as _,
    },
    path::{Path, PathBuf},
};

use rustix::process::{Pid, Signal, kill_process_group, test_kill_process_group};
use tokio::process::{Child, Command};

/// What stands for a message among a command's arguments.
const BLANK: &[u8] = b"{}";

/// A command, found on the machine.
#[derive(Clone, Debug)]
pub struct Program {
    path: PathBuf,
    name: OsString,
    arguments: Vec<OsString>,
}

/// A command that can't be run.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum BadCommand {
    /// There is none.
    #[error("the command is empty")]
    Empty,
    /// Nothing executable goes by its name.
    #[error("the command {0:?} is not found or not executable")]
    NotFound(OsString),
}

impl Program {
    /// Looks up the first word of `command`, as a shell would.
    ///
    /// # Errors
    /// When it is empty, or no executable file.
    pub fn find<W: Into<OsString>>(
        command: impl IntoIterator<Item = W>,
    ) -> Result<Self, BadCommand> {
        let mut words = command.into_iter().map(Into::into);
        let name = words.next().ok_or(BadCommand::Empty)?;
        let path = look_up(&name).ok_or_else(|| BadCommand::NotFound(name.clone()))?;
        Ok(Self { path, name, arguments: words.collect() })
    }

    /// The command's first word, without its directory.
    #[must_use]
    pub fn name(&self) -> String {
        let name = Path::new(&self.name).file_name().unwrap_or(&self.name);
        name.to_string_lossy().into_owned()
    }

    /// Whether `{}` stands in one of its arguments.
    #[must_use]
    pub fn has_blanks(&self) -> bool {
        self.arguments.iter().any(|argument| find(argument.as_bytes(), BLANK).is_some())
    }

    /// The same with `text` where `{}` stands. An argument that is nothing else becomes one for
    /// each of the text's lines; elsewhere there are spaces between them.
    pub(super) fn filled(&self, text: &[u8], line_end: u8) -> Self {
        let mut arguments = Vec::new();
        let spaced: Vec<u8> =
            text.iter().map(|byte| if *byte == line_end { b' ' } else { *byte }).collect();
        for argument in &self.arguments {
            if argument == OsStr::from_bytes(BLANK) {
                let lines = text.split(|byte| *byte == line_end);
                arguments.extend(lines.map(|line| OsStr::from_bytes(line).to_owned()));
            } else {
                arguments.push(replaced(argument.as_bytes(), &spaced));
            }
        }
        Self { arguments, ..self.clone() }
    }

    /// The command, ready for more settings. It has no access to the worker's own token, and it
    /// leads a process group, so that what it starts can be ended with it.
    #[must_use]
    pub fn command(&self) -> Command {
        let mut command = Command::new(&self.path);
        command
            .arg0(&self.name)
            .args(&self.arguments)
            .env_remove("ROLLCALL_TOKEN")
            .process_group(0)
            .kill_on_drop(true);
        command
    }
}

fn find(text: &[u8], part: &[u8]) -> Option<usize> {
    text.windows(part.len()).position(|window| window == part)
}

fn replaced(argument: &[u8], text: &[u8]) -> OsString {
    let (mut whole, mut rest) = (Vec::new(), argument);
    while let Some(at) = find(rest, BLANK) {
        let (before, after) = rest.split_at(at);
        whole.extend_from_slice(before);
        whole.extend_from_slice(text);
        rest = after.get(BLANK.len()..).unwrap_or_default();
    }
    whole.extend_from_slice(rest);
    OsString::from_vec(whole)
}

/// Once at the start instead of at each spawn: it saves a walk through `PATH` for every message.
fn look_up(name: &OsStr) -> Option<PathBuf> {
    let executable = |path: &PathBuf| {
        path.metadata().is_ok_and(|file| file.is_file() && file.permissions().mode() & 0o111 != 0)
    };
    if name.is_empty() {
        return None;
    }
    if Path::new(name).components().count() > 1 {
        return Some(PathBuf::from(name)).filter(executable);
    }
    let path = env::var_os("PATH")?;
    env::split_paths(&path).map(|directory| directory.join(name)).find(executable)
}

/// Ends a child's whole process group when dropped. Drop it before the [`Child`]: once the child
/// is reaped its number may stand for another group.
#[derive(Debug)]
pub struct Group(Option<Pid>);

impl Group {
    /// The group that `child` leads.
    #[must_use]
    pub fn of(child: &Child) -> Self {
        let id = child.id().and_then(|id| i32::try_from(id).ok());
        Self(id.and_then(Pid::from_raw))
    }

    /// The group has ended by itself.
    pub fn ended(&mut self) {
        self.0 = None;
    }

    /// Asks everybody in it to end.
    pub(super) fn ask(&self) {
        self.signal(Signal::TERM);
    }

    /// Ends it.
    pub(super) fn kill(&mut self) {
        self.signal(Signal::KILL);
        self.0 = None;
    }

    /// Whether anybody is left in it.
    pub(super) fn is_there(&self) -> bool {
        self.0.is_some_and(|group| test_kill_process_group(group).is_ok())
    }

    fn signal(&self, signal: Signal) {
        if let Some(group) = self.0 {
            // Err: it has ended already.
            let _ = kill_process_group(group, signal);
        }
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        self.kill();
    }
}
