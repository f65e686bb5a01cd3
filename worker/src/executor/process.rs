//! A process with its whole group: how it is started, and how it is ended when it does not end by
//! itself.

use std::{
    io,
    process::ExitStatus,
    sync::atomic::{AtomicUsize, Ordering},
    time::Duration,
};

use rollcall_common::{limits::TERM_GRACE, task};
use tokio::{
    io::AsyncRead,
    process::{Child, ChildStderr, ChildStdin, ChildStdout, Command},
    runtime::Handle,
    time::{sleep, timeout},
};

use super::{program::Group, room::Place};

/// How often somebody looks whether a group that was asked to end has done so.
const LOOK: Duration = Duration::from_millis(20);

/// A child that leads a process group. Dropped before it has ended, the whole group is asked to
/// end (`SIGTERM`), and made to (`SIGKILL`) when it has not done so after [`TERM_GRACE`]; or at
/// once, when nobody is left who could wait for so long.
#[derive(Debug)]
pub(super) struct Process(Option<Parts>);

#[derive(Debug)]
struct Parts {
    // Dropped before the child; see `Group`.
    group: Group,
    child: Child,
    stdout: Option<ChildStdout>,
    stderr: Option<ChildStderr>,
    _place: Place,
}

/// What there is to talk to.
pub(super) struct Open<'a> {
    pub(super) child: &'a mut Child,
    pub(super) stdin: Option<ChildStdin>,
    pub(super) stdout: Option<&'a mut ChildStdout>,
    pub(super) stderr: Option<&'a mut ChildStderr>,
}

impl Process {
    /// Starts `command`, which leads a group of its own, in `place`.
    ///
    /// # Errors
    /// When it can't be started; the place is given back with the error.
    pub(super) fn start(command: &mut Command, place: Place) -> Result<Self, (io::Error, Place)> {
        let mut child = match command.spawn() {
            Ok(child) => child,
            Err(error) => return Err((error, place)),
        };
        let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
        let group = Group::of(&child);
        Ok(Self(Some(Parts { group, child, stdout, stderr, _place: place })))
    }

    /// What there is to talk to. Its outputs stay its own: when it is given up they are read on, so
    /// that what it says in the end does not kill it. `None`: it has ended.
    pub(super) fn open(&mut self) -> Option<Open<'_>> {
        let Parts { child, stdout, stderr, .. } = self.0.as_mut()?;
        let stdin = child.stdin.take();
        Some(Open { child, stdin, stdout: stdout.as_mut(), stderr: stderr.as_mut() })
    }

    /// Its input and output, to be kept elsewhere.
    pub(super) fn pipes(&mut self) -> Option<(ChildStdin, ChildStdout)> {
        let Parts { child, stdout, .. } = self.0.as_mut()?;
        child.stdin.take().zip(stdout.take())
    }

    /// Waits until it has ended. What it has left behind in its group may run on.
    ///
    /// # Errors
    /// When the system can't tell.
    pub(super) async fn wait(&mut self) -> io::Result<ExitStatus> {
        match &mut self.0 {
            Some(parts) => parts.child.wait().await,
            None => Err(io::Error::other("it has been given up")),
        }
    }

    /// It has ended by itself, and its group is left alone.
    pub(super) fn ended(&mut self) {
        if let Some(Parts { group, .. }) = &mut self.0 {
            group.ended();
        }
        self.0 = None;
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let Some(parts) = self.0.take() else {
            return;
        };
        parts.group.ask();
        // Without a runtime nobody waits, and dropping them kills.
        if Handle::try_current().is_ok() {
            let ending = Ending::begin();
            task::spawn("end-of-process", async move {
                let _ending = ending;
                end(parts).await;
            });
        }
    }
}

/// Groups that were asked to end and have not done so.
static ENDING: AtomicUsize = AtomicUsize::new(0);

/// Counts one of them.
struct Ending;

impl Ending {
    fn begin() -> Self {
        ENDING.fetch_add(1, Ordering::Relaxed);
        Self
    }
}

impl Drop for Ending {
    fn drop(&mut self) {
        ENDING.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Waits until all process groups of this process that were asked to end have done so, or have
/// been killed.
pub async fn processes_ended() {
    while ENDING.load(Ordering::Relaxed) > 0 {
        sleep(LOOK).await;
    }
}

/// Waits until a group that was asked to end has done so, and kills what is left of it. Dropped
/// before that, it kills at once.
async fn end(mut parts: Parts) {
    let Parts { group, child, stdout, stderr, .. } = &mut parts;
    let all_ended = async {
        // Err: it is no longer ours to wait for.
        let _ = child.wait().await;
        while group.is_there() {
            sleep(LOOK).await;
        }
    };
    let reading_on = async {
        tokio::join!(pass(stdout.as_mut()), pass(stderr.as_mut()));
        std::future::pending::<()>().await;
    };
    let ended = async {
        tokio::select! {
            () = all_ended => {}
            () = reading_on => {}
        }
    };
    if timeout(TERM_GRACE, ended).await.is_ok() {
        group.ended();
    } else {
        group.kill();
        let _ = child.wait().await;
    }
}

/// Reads what nobody wants.
async fn pass(output: Option<&mut (impl AsyncRead + Unpin)>) {
    if let Some(output) = output {
        // Err: it is no longer there to be read.
        let _ = tokio::io::copy(output, &mut tokio::io::sink()).await;
    }
}
