//! Long-lived children: each message is one line to a child, and one line back.

use std::{
    ffi::OsString,
    io,
    num::NonZeroUsize,
    process::Stdio,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use rollcall_common::{
    limits::MESSAGE_BYTES,
    reconnect::Reconnect,
    time::{Clock, Time},
};
use tokio::{
    io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader},
    process::{Child, ChildStdin, ChildStdout},
    sync::Semaphore,
    time::{sleep, timeout},
};

use super::program::{BadCommand, Group, Program};
use crate::handler::{Handler, Reply, Request};

/// The shortest wait before a child that died is started again.
const FIRST_WAIT: Duration = Duration::from_millis(50);
/// The longest.
const LONGEST_WAIT: Duration = Duration::from_secs(30);
/// A message waits this long for a child to be started again; if it takes longer, it is sent
/// away.
const PATIENCE: Duration = Duration::from_secs(1);
/// How long a child that has closed its output may take to say how it ended.
const LAST_WORDS: Duration = Duration::from_millis(500);

/// Keeps children running, and hands each message to one that is free. A child that dies is
/// started again when the next message comes.
#[derive(Clone, Debug)]
pub struct ExecStream(Arc<Children>);

#[derive(Debug)]
struct Children {
    settings: Settings,
    clock: Clock,
    free: Semaphore,
    seats: Mutex<Vec<Seat>>,
}

#[derive(Clone, Debug)]
struct Settings {
    program: Program,
    content_type: Option<Box<str>>,
    output_limit: usize,
}

/// The place of one child.
#[derive(Debug)]
struct Seat {
    live: Option<Live>,
    reconnect: Reconnect,
    not_before: Time,
}

#[derive(Debug)]
struct Live {
    // Dropped before the child; see `Group`.
    _group: Group,
    child: Child,
    stdin: ChildStdin,
    stdout: BufReader<ChildStdout>,
    line: Vec<u8>,
    /// A caller hung up while the child worked for it: the next line is nobody's.
    owes: bool,
}

impl ExecStream {
    /// Keeps `children` processes of `command` running.
    ///
    /// # Errors
    /// When there is no such program.
    pub fn new<W: Into<OsString>>(
        command: impl IntoIterator<Item = W>,
        children: NonZeroUsize,
    ) -> Result<Self, BadCommand> {
        let settings = Settings {
            program: Program::find(command)?,
            content_type: None,
            output_limit: usize::try_from(MESSAGE_BYTES).unwrap_or(usize::MAX),
        };
        Ok(Self::with(settings, children.get()))
    }

    fn with(settings: Settings, children: usize) -> Self {
        let seat = || Seat {
            live: None,
            reconnect: Reconnect::new(FIRST_WAIT, LONGEST_WAIT),
            not_before: Time::default(),
        };
        Self(Arc::new(Children {
            settings,
            clock: Clock::start(Time::default()),
            free: Semaphore::new(children),
            seats: Mutex::new((0..children).map(|_| seat()).collect()),
        }))
    }

    /// The results' content type; otherwise that of the message. Before the first message only.
    #[must_use]
    pub fn content_type(self, content_type: Option<impl Into<Box<str>>>) -> Self {
        let settings =
            Settings { content_type: content_type.map(Into::into), ..self.0.settings.clone() };
        Self::with(settings, self.0.seats().len())
    }

    /// Most bytes of a result. Before the first message only.
    #[must_use]
    pub fn output_limit(self, bytes: usize) -> Self {
        let settings = Settings { output_limit: bytes, ..self.0.settings.clone() };
        Self::with(settings, self.0.seats().len())
    }

    /// The program.
    #[must_use]
    pub fn program(&self) -> &Program {
        &self.0.settings.program
    }
}

impl Handler for ExecStream {
    async fn handle(&self, request: Request) -> Reply {
        if request.body.contains(&b'\n') {
            return Reply::park("the body holds a newline, and a message is one line");
        }
        // Err: the semaphore is closed, which it never is.
        let Ok(_permit) = self.0.free.acquire().await else {
            return Reply::busy(1, "no child is free");
        };
        let Some(mut taken) = Taken::from(&self.0) else {
            return Reply::busy(1, "no child is free");
        };
        let reply = taken.work(&request).await;
        taken.calm = true;
        reply
    }
}

impl Children {
    fn seats(&self) -> MutexGuard<'_, Vec<Seat>> {
        self.seats.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A seat in use; given back when dropped, also when the caller hangs up in the middle.
struct Taken<'a> {
    children: &'a Children,
    seat: Option<Seat>,
    at: Progress,
    calm: bool,
}

/// How far a message has come.
#[derive(Clone, Copy, Eq, PartialEq)]
enum Progress {
    /// The child has seen nothing of it.
    Before,
    /// Some of it may be with the child.
    Writing,
    /// All of it is with the child.
    Asked,
}

impl<'a> Taken<'a> {
    fn from(children: &'a Children) -> Option<Self> {
        let seat = children.seats().pop()?;
        Some(Self { children, seat: Some(seat), at: Progress::Before, calm: false })
    }

    async fn work(&mut self, request: &Request) -> Reply {
        let (settings, clock) = (&self.children.settings, &self.children.clock);
        let Some(seat) = self.seat.as_mut() else {
            return Reply::busy(1, "no child is free");
        };
        let wait = clock.until(seat.not_before);
        if wait > PATIENCE {
            return Reply::busy(
                wait.as_secs() + 1,
                "the command keeps ending; it is started again soon",
            );
        }
        // Sleeping takes a millisecond, however short it is.
        if !wait.is_zero() {
            sleep(wait).await;
        }
        let result = seat.ask(settings, request, &mut self.at).await;
        let error = match result {
            Ok(line) => {
                seat.reconnect.reset();
                return Reply { content_type: settings.content_type.clone(), ..Reply::ok(line) };
            }
            Err(error) => error,
        };
        let status = seat.end().await;
        seat.not_before = clock.now() + seat.reconnect.wait();
        if error.kind() == io::ErrorKind::FileTooLarge {
            return Reply::park(format!(
                "the result is larger than {} bytes",
                settings.output_limit
            ));
        }
        let how = status.unwrap_or_else(|| error.to_string());
        Reply::retry(format!("the command ended before it answered: {how}"))
    }
}

impl Drop for Taken<'_> {
    fn drop(&mut self) {
        let Some(mut seat) = self.seat.take() else {
            return;
        };
        if !self.calm {
            let owes = seat.live.as_ref().is_some_and(|live| live.owes);
            match self.at {
                Progress::Before => {}
                Progress::Asked if !owes => {
                    if let Some(live) = &mut seat.live {
                        live.owes = true;
                    }
                }
                // Half a line, or a child that owes two answers: it may be stuck.
                Progress::Writing | Progress::Asked => seat.live = None,
            }
        }
        let mut seats = self.children.seats();
        // The last is taken first: a child that owes nothing is preferred.
        if seat.live.as_ref().is_some_and(|live| live.owes) {
            seats.insert(0, seat);
        } else {
            seats.push(seat);
        }
    }
}

impl Seat {
    async fn ask(
        &mut self,
        settings: &Settings,
        request: &Request,
        at: &mut Progress,
    ) -> io::Result<Vec<u8>> {
        let live = match &mut self.live {
            Some(live) => live,
            None => self.live.insert(Live::start(&settings.program)?),
        };
        let mut line = Vec::with_capacity(request.body.len() + 1);
        line.extend_from_slice(&request.body);
        line.push(b'\n');
        *at = Progress::Writing;
        if live.owes {
            live.read_line(settings.output_limit).await?;
            live.owes = false;
        }
        live.talk(&line, settings.output_limit, at).await
    }

    /// Ends the child, and says how it ended if it did so by itself.
    async fn end(&mut self) -> Option<String> {
        let Live { _group, mut child, stdin, .. } = self.live.take()?;
        // Some only end when their input does.
        drop(stdin);
        let status = timeout(LAST_WORDS, child.wait()).await.ok()?.ok()?;
        Some(status.to_string())
    }
}

impl Live {
    fn start(program: &Program) -> io::Result<Self> {
        let mut child = program.command().stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let missing = || io::Error::other("the child has no pipe");
        let stdin = child.stdin.take().ok_or_else(missing)?;
        let stdout = child.stdout.take().ok_or_else(missing)?;
        Ok(Self {
            _group: Group::of(&child),
            child,
            stdin,
            stdout: BufReader::new(stdout),
            line: Vec::new(),
            owes: false,
        })
    }

    /// Writes and reads at once: a child may answer before it has read to the end of the line.
    async fn talk(&mut self, line: &[u8], limit: usize, at: &mut Progress) -> io::Result<Vec<u8>> {
        let (stdin, stdout, answer) = (&mut self.stdin, &mut self.stdout, &mut self.line);
        let write = async {
            stdin.write_all(line).await?;
            *at = Progress::Asked;
            Ok(())
        };
        let ((), answer) = tokio::try_join!(write, read_line(stdout, answer, limit))?;
        Ok(answer)
    }

    async fn read_line(&mut self, limit: usize) -> io::Result<Vec<u8>> {
        read_line(&mut self.stdout, &mut self.line, limit).await
    }
}

/// Reads on; what has come of a line is kept in `line` when the future is dropped.
async fn read_line(
    from: &mut BufReader<ChildStdout>,
    line: &mut Vec<u8>,
    limit: usize,
) -> io::Result<Vec<u8>> {
    loop {
        let news = from.fill_buf().await?;
        if news.is_empty() {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let end = news.iter().position(|byte| *byte == b'\n');
        let part = news.get(..end.unwrap_or(news.len())).unwrap_or_default();
        line.extend_from_slice(part);
        let used = part.len() + usize::from(end.is_some());
        from.consume(used);
        if line.len() > limit {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        if end.is_some() {
            return Ok(std::mem::take(line));
        }
    }
}
