//! A process per message: the body on its standard input, the result on its standard output.

use std::{
    ffi::OsString,
    io,
    pin::pin,
    process::{ExitStatus, Stdio},
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use http::HeaderName;
use rollcall_common::{
    limits::{MESSAGE_BYTES, REASON_BYTES},
    units::HumanDuration,
};
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _},
    process::{ChildStdin, Command},
    time::timeout,
};

use super::{
    patience::{NO_ROOM, Patience},
    process::{Open, Process},
    program::{BadCommand, Program},
    room::{NotStarted, Room},
};
use crate::handler::{Handler, Reply, Request};

/// Exit code `EX_TEMPFAIL`: try again.
const RETRY: i32 = 75;
/// Exit code `EX_DATAERR`: a person has to decide.
const PARK: i32 = 65;
/// How long what a process left behind may keep its output open after it has ended.
const LEFT_BEHIND: Duration = Duration::from_secs(1);
/// Bytes that are read at a time.
const CHUNK: usize = 16 << 10;

/// Runs a command once per message. Exit code 0: what it wrote is the result; 65: park; anything
/// else: retry, with the last lines of its standard error as the reason.
#[derive(Clone, Debug)]
pub struct Exec {
    program: Program,
    content_type: Option<Box<str>>,
    output_limit: usize,
    errors: Errors,
    longest: Option<Duration>,
    /// What ends the lines of a body that stands among the arguments; absent: it is the input.
    blanks: Option<u8>,
    patience: Patience,
    room: Arc<Room>,
}

/// What becomes of standard error.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Errors {
    /// Its end is kept, for the reason.
    Kept,
    /// And it is passed on.
    Shown,
}

impl Exec {
    /// Runs `command`: a program and its arguments.
    ///
    /// # Errors
    /// When there is no such program.
    pub fn new<W: Into<OsString>>(
        command: impl IntoIterator<Item = W>,
    ) -> Result<Self, BadCommand> {
        Ok(Self {
            program: Program::find(command)?,
            content_type: None,
            output_limit: usize::try_from(MESSAGE_BYTES).unwrap_or(usize::MAX),
            errors: Errors::Kept,
            longest: None,
            blanks: None,
            patience: Patience::Short,
            room: Room::new(),
        })
    }

    /// The results' content type; otherwise that of the message.
    #[must_use]
    pub fn content_type(mut self, content_type: Option<impl Into<Box<str>>>) -> Self {
        self.content_type = content_type.map(Into::into);
        self
    }

    /// Most bytes of a result.
    #[must_use]
    pub fn output_limit(mut self, bytes: usize) -> Self {
        self.output_limit = bytes;
        self
    }

    /// Passes what the processes write to standard error on to this one's, too.
    #[must_use]
    pub fn show_errors(mut self) -> Self {
        self.errors = Errors::Shown;
        self
    }

    /// The program.
    #[must_use]
    pub fn program(&self) -> &Program {
        &self.program
    }

    /// The longest that a process may take, from its start on; it is ended then, and its message
    /// has failed. Without it a process may take as long as somebody waits for it.
    #[must_use]
    pub fn longest(mut self, longest: Option<Duration>) -> Self {
        self.longest = longest;
        self
    }

    /// Puts the message where `{}` stands among the arguments, instead of on standard input. A `{}`
    /// of its own becomes as many arguments as the message has lines, which end with this byte.
    #[must_use]
    pub fn fill_blanks(mut self, line_end: u8) -> Self {
        self.blanks = Some(line_end);
        self
    }

    /// Waits as long as it takes for room on the machine; otherwise a message that finds none soon
    /// is sent away.
    #[must_use]
    pub fn wait_for_room(mut self) -> Self {
        self.patience = Patience::Endless;
        self
    }

    fn command(&self, request: &Request) -> Command {
        let mut command = match self.blanks {
            Some(line_end) => self.program.filled(&request.body, line_end).command(),
            None => self.program.command(),
        };
        // Where there is nothing to feed, it is one pipe less.
        let unfed = request.body.is_empty() || self.blanks.is_some();
        let stdin = if unfed { Stdio::null() } else { Stdio::piped() };
        command.stdin(stdin).stdout(Stdio::piped()).stderr(Stdio::piped());
        describe(&mut command, request);
        command
    }

    /// Sees a process through to its end.
    async fn attend(&self, mut process: Process, body: Bytes) -> io::Result<(ExitStatus, Output)> {
        let gone = || io::Error::other("it has ended");
        let Open { child, stdin, stdout, stderr } = process.open().ok_or_else(gone)?;
        let mut output = Output::default();
        let (limit, errors) = (self.output_limit, self.errors);
        let (status, all_ended) = {
            let mut talk = pin!(async {
                tokio::try_join!(
                    feed(stdin, body),
                    collect(stdout, &mut output.result, limit),
                    tail(stderr, &mut output.errors, errors),
                )
            });
            tokio::select! {
                talked = &mut talk => {
                    talked?;
                    (child.wait().await?, true)
                }
                status = child.wait() => {
                    // Something it left behind may hold its output open for ever.
                    let talked = timeout(LEFT_BEHIND, &mut talk).await;
                    let all_ended = talked.is_ok();
                    if let Ok(talked) = talked {
                        talked?;
                    }
                    (status?, all_ended)
                }
            }
        };
        if all_ended {
            process.ended();
        }
        Ok((status, output))
    }

    fn reply(&self, ended: io::Result<(ExitStatus, Output)>) -> Reply {
        let (status, output) = match ended {
            Ok(ended) => ended,
            Err(error) if error.kind() == io::ErrorKind::FileTooLarge => {
                let limit = self.output_limit;
                return Reply::park(format!("the result is larger than {limit} bytes"));
            }
            Err(error) => {
                let reason = format!("can't run the command: {error}");
                let kind = error.kind();
                // What is in the message can't be handed to any command.
                let never = kind == io::ErrorKind::ArgumentListTooLong
                    || kind == io::ErrorKind::InvalidInput;
                return if never { Reply::park(reason) } else { Reply::retry(reason) };
            }
        };
        if status.success() {
            return Reply { content_type: self.content_type.clone(), ..Reply::ok(output.result) };
        }
        let reason = output.reason(status);
        match status.code() {
            Some(PARK) => Reply::park(reason),
            Some(RETRY) | Some(_) | None => Reply::retry(reason),
        }
    }
}

impl Handler for Exec {
    async fn handle(&self, request: Request) -> Reply {
        let mut command = self.command(&request);
        let patience = self.patience.with(request.timeout);
        let process = match self.room.start(&mut command, patience).await {
            Ok(process) => process,
            Err(NotStarted::NoRoom) => return Reply::busy(1, NO_ROOM),
            Err(NotStarted::Failed(error)) => return self.reply(Err(error)),
        };
        let ended = self.attend(process, request.body);
        match self.longest {
            None => self.reply(ended.await),
            Some(longest) => match timeout(longest, ended).await {
                Ok(ended) => self.reply(ended),
                Err(_) => Reply::retry(format!("no answer within {}", HumanDuration(longest))),
            },
        }
    }
}

/// What a process has written.
#[derive(Debug, Default)]
struct Output {
    result: Vec<u8>,
    errors: Vec<u8>,
}

impl Output {
    /// The last lines of standard error, as many as fit; or how the process ended.
    fn reason(&self, status: ExitStatus) -> String {
        let errors = String::from_utf8_lossy(&self.errors);
        let mut lines = errors.lines().rev().map(str::trim_end);
        let Some(mut reason) = lines.find(|line| !line.is_empty()).map(str::to_owned) else {
            return format!("the command ended with {status}");
        };
        for line in lines.filter(|line| !line.is_empty()) {
            if reason.len() + line.len() + 3 > REASON_BYTES {
                break;
            }
            reason = format!("{line} | {reason}");
        }
        reason
    }
}

/// What a process should know of its message.
fn describe(command: &mut Command, request: &Request) {
    let millis = request.timeout.map(|timeout| timeout.as_millis());
    command
        .env("ROLLCALL_STREAM", &*request.stream)
        .env("ROLLCALL_SEQUENCE", request.sequence.to_string())
        .env("ROLLCALL_MESSAGE_ID", &*request.id)
        .env("ROLLCALL_IDEMPOTENCY_KEY", &*request.key)
        .env("ROLLCALL_ATTEMPT", request.attempt.to_string())
        .env("ROLLCALL_MAX_ATTEMPTS", or_empty(request.max_attempts))
        .env("ROLLCALL_TIMEOUT_MS", or_empty(millis))
        .env("ROLLCALL_REASON", &*request.reason)
        .env("ROLLCALL_SENDER_KEY", &*request.sender_key)
        .env("ROLLCALL_CONTENT_TYPE", &*request.content_type);
    for (name, value) in &request.headers {
        if let (Some(variable), Ok(value)) = (variable(name), value.to_str()) {
            command.env(variable, value);
        }
    }
}

fn or_empty(value: Option<impl ToString>) -> String {
    value.map_or_else(String::new, |value| value.to_string())
}

fn variable(header: &HeaderName) -> Option<String> {
    let name = header.as_str();
    let plain = |name: &str| name.replace('-', "_").to_ascii_uppercase();
    match name {
        "traceparent" | "tracestate" => Some(plain(name)),
        _ if name.starts_with("ce-") => Some(format!("ROLLCALL_{}", plain(name))),
        _ => None,
    }
}

/// A process need not read its input, so an error here says nothing.
async fn feed(stdin: Option<ChildStdin>, body: Bytes) -> io::Result<()> {
    if let Some(mut stdin) = stdin {
        let _ = stdin.write_all(&body).await;
    }
    Ok(())
}

async fn collect(
    from: Option<impl AsyncRead + Unpin>,
    into: &mut Vec<u8>,
    limit: usize,
) -> io::Result<()> {
    let Some(mut from) = from else { return Ok(()) };
    loop {
        into.reserve(CHUNK);
        if from.read_buf(into).await? == 0 {
            return Ok(());
        }
        if into.len() > limit {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
    }
}

/// Keeps the end of what is written.
async fn tail(
    from: Option<impl AsyncRead + Unpin>,
    into: &mut Vec<u8>,
    errors: Errors,
) -> io::Result<()> {
    let Some(mut from) = from else { return Ok(()) };
    loop {
        let before = into.len();
        if from.read_buf(into).await? == 0 {
            return Ok(());
        }
        if errors == Errors::Shown {
            let news = into.get(before..).unwrap_or_default();
            // Err: nobody reads that any more, and the message is to be done all the same.
            let _ = tokio::io::stderr().write_all(news).await;
        }
        if into.len() > CHUNK {
            into.drain(..into.len() - 2 * REASON_BYTES);
        }
    }
}
