//! A child that answers each line with one line. What it says is held against what it has been
//! asked, because nothing else tells whose answer a line is:
//!
//! * Before it is asked, it must have said nothing since its last answer.
//! * A question is handed over in two parts: its end follows only when the child has read all
//!   before it. A child that is still busy with the line before does not read on, so what it says
//!   until then, at its start too, shows before the question is asked. That is why a line that
//!   ended before its question's end was handed over is nobody's answer.
//! * After an answer nothing more may be there; after the first one of a child, and after one to an
//!   empty line (which has nothing to be read before its end), for a little while.

use std::{
    io,
    process::{ExitStatus, Stdio},
    sync::Arc,
    time::Duration,
};

use rollcall_common::units::HumanDuration;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    process::{ChildStdin, ChildStdout},
    task::yield_now,
    time::{sleep, timeout},
};

use super::{
    process::Process,
    program::Program,
    room::{NotStarted, Room},
};

/// How long a child that has closed its output, or ended, may take for the rest.
const LAST_WORDS: Duration = Duration::from_millis(500);
/// How long a child has to be quiet after its first answer.
const QUIET: Duration = Duration::from_millis(20);
/// Looks at whether a child has read its question that are made at once, one after the other.
const PROMPT_LOOKS: u32 = 200;
/// The wait between later ones.
const LATER_LOOK: Duration = Duration::from_millis(1);
/// Bytes that are read at a time.
const CHUNK: usize = 16 << 10;
/// Bytes that are shown of what nobody asked for.
const SHOWN: usize = 100;

/// A child that answers each line with one line.
#[derive(Debug)]
pub(super) struct LineChild {
    process: Process,
    stdin: ChildStdin,
    stdout: ChildStdout,
    /// What it has said since its last answer.
    heard: Vec<u8>,
    /// Whether it has answered a line.
    answered: bool,
    rules: Rules,
}

/// What its lines are.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rules {
    /// Ends a line, both ways.
    pub(super) line_end: u8,
    /// Most bytes of an answer.
    pub(super) limit: usize,
}

/// How far a question has come.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Progress {
    /// The child has seen nothing of it.
    Before,
    /// Some of it may be with the child.
    Writing,
    /// All of it is with the child.
    Asked,
}

/// What is wrong with a child.
#[derive(Debug)]
pub(super) enum Fault {
    /// It has ended, or closed its output, and has seen nothing of the line.
    Gone,
    /// It has ended, or closed its output, before it had answered.
    Ended,
    /// It has said something before it was asked.
    Unasked(Vec<u8>),
    /// It has said more than an answer.
    TooMuch(Vec<u8>),
    /// The answer has more than so many bytes.
    TooLarge(usize),
    /// It has not answered within this time.
    Late(HumanDuration),
    /// The system can't read or write.
    Io(io::Error),
}

/// Whether a line is known to be the answer to what the child was asked.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Sure {
    No,
    Yes,
}

/// What a look at a child's output shows.
enum Look {
    Closed,
    Quiet,
    Said(Vec<u8>),
}

impl LineChild {
    pub(super) async fn start(
        program: &Program,
        rules: Rules,
        (room, patience): (&Arc<Room>, Option<Duration>),
    ) -> Result<Self, NotStarted> {
        let mut command = program.command();
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut process = room.start(&mut command, patience).await?;
        let missing = || NotStarted::Failed(io::Error::other("a pipe is missing"));
        let (stdin, stdout) = process.pipes().ok_or_else(missing)?;
        Ok(Self { process, stdin, stdout, heard: Vec::new(), answered: false, rules })
    }

    /// Whether it has answered a line: then it is one that knows how.
    pub(super) fn has_answered(&self) -> bool {
        self.answered
    }

    /// Asks it one line; `at` shows how far that has come, also when it is broken off.
    pub(super) async fn ask(&mut self, line: &[u8], at: &mut Progress) -> Result<Vec<u8>, Fault> {
        if !self.heard.is_empty() {
            return Err(Fault::Unasked(std::mem::take(&mut self.heard)));
        }
        match self.look() {
            Look::Closed => return Err(Fault::Gone),
            Look::Said(said) => return Err(Fault::Unasked(said)),
            Look::Quiet => {}
        }
        *at = Progress::Writing;
        let mut written = 0;
        match self.exchange(line, at, &mut written).await {
            // All of it is still where it was put.
            Err(Fault::Ended) if waiting(&self.stdin) >= written => Err(Fault::Gone),
            other => other,
        }
    }

    async fn exchange(
        &mut self,
        line: &[u8],
        at: &mut Progress,
        written: &mut usize,
    ) -> Result<Vec<u8>, Fault> {
        self.hand_over(line, written).await?;
        *at = Progress::Asked;
        // Err: it shows where the answer is read.
        let ended = self.stdin.write_all(&[self.rules.line_end]).await;
        *written += usize::from(ended.is_ok());
        let answer = self.answer().await?;
        let sure = if self.answered && !line.is_empty() { Sure::Yes } else { Sure::No };
        self.be_quiet(sure).await?;
        self.answered = true;
        Ok(answer)
    }

    /// Reads the answer to a line that nobody waits for any more.
    pub(super) async fn settle(&mut self) -> Result<(), Fault> {
        self.answer().await?;
        self.be_quiet(Sure::No).await
    }

    /// Gives all but the end of a line, and waits until the child has read it.
    async fn hand_over(&mut self, line: &[u8], written: &mut usize) -> Result<(), Fault> {
        let line_end = self.rules.line_end;
        let Self { stdin, stdout, heard, rules, process, .. } = self;
        let said = tokio::select! {
            biased;
            () = give(stdin, line, written) => None,
            said = listen((stdout, heard), *rules) => Some(said),
            _ = process.wait() => Some(Err(Fault::Ended)),
        };
        match said {
            Some(Ok(_)) => return Err(Fault::Unasked(std::mem::take(&mut self.heard))),
            Some(Err(fault)) => return Err(fault),
            None => {}
        }
        // It said this before it read the line, and the runtime may not know of it yet.
        while !self.heard.contains(&line_end) && self.heard.len() <= self.rules.limit {
            match self.look() {
                Look::Said(said) => self.heard.extend_from_slice(&said),
                Look::Closed | Look::Quiet => break,
            }
        }
        // A child that passes on what it reads has said the beginning of its answer.
        if self.heard.contains(&line_end) {
            return Err(Fault::Unasked(std::mem::take(&mut self.heard)));
        }
        Ok(())
    }

    /// Waits for a whole line.
    async fn answer(&mut self) -> Result<Vec<u8>, Fault> {
        let Self { stdout, heard, rules, process, .. } = self;
        let end = {
            let mut listening = std::pin::pin!(listen((stdout, heard), *rules));
            tokio::select! {
                biased;
                said = &mut listening => said?,
                // What it has left behind may hold its output open for ever.
                _ = process.wait() => {
                    timeout(LAST_WORDS, listening).await.map_err(|_| Fault::Ended)??
                }
            }
        };
        let mut answer = std::mem::take(heard);
        let rest = answer.split_off(end + 1);
        answer.pop();
        if rest.is_empty() { Ok(answer) } else { Err(Fault::TooMuch(rest)) }
    }

    /// After an answer it has nothing more to say.
    async fn be_quiet(&mut self, sure: Sure) -> Result<(), Fault> {
        if sure == Sure::No {
            let listening = listen((&mut self.stdout, &mut self.heard), self.rules);
            // It may end, but not say anything, be it half a line.
            let _ = timeout(QUIET, listening).await;
        }
        if !self.heard.is_empty() {
            return Err(Fault::TooMuch(std::mem::take(&mut self.heard)));
        }
        match self.look() {
            Look::Closed | Look::Quiet => Ok(()),
            Look::Said(said) => Err(Fault::TooMuch(said)),
        }
    }

    /// What it has said and nobody has read. Asks the system, which knows before the runtime does.
    fn look(&self) -> Look {
        let mut said = [0; SHOWN];
        match rustix::io::read(&self.stdout, &mut said) {
            Ok(0) => Look::Closed,
            Ok(count) => Look::Said(said.get(..count).unwrap_or_default().to_vec()),
            Err(rustix::io::Errno::AGAIN) => Look::Quiet,
            Err(_) => Look::Closed,
        }
    }

    /// Ends it, and says how it ended if it did so by itself.
    pub(super) async fn end(self) -> Option<ExitStatus> {
        let Self { mut process, stdin, .. } = self;
        // Some only end when their input does.
        drop(stdin);
        timeout(LAST_WORDS, process.wait()).await.ok()?.ok()
    }
}

/// Writes a line, and waits until it has been read; counts what was taken in `written`.
async fn give(stdin: &mut ChildStdin, line: &[u8], written: &mut usize) {
    while let Some(rest) = line.get(*written..).filter(|rest| !rest.is_empty()) {
        match stdin.write(rest).await {
            Ok(count @ 1..) => *written += count,
            // Nobody reads any more, which shows where the answer is read.
            Ok(0) | Err(_) => return,
        }
    }
    let mut looks = 0;
    while waiting(stdin) > 0 {
        looks += 1;
        if looks < PROMPT_LOOKS {
            yield_now().await;
        } else {
            sleep(LATER_LOOK).await;
        }
    }
}

/// Bytes that were written to a child and that it has not read. Where the system does not say so,
/// none.
fn waiting(stdin: &ChildStdin) -> usize {
    let count = rustix::io::ioctl_fionread(stdin).unwrap_or_default();
    usize::try_from(count).unwrap_or(usize::MAX)
}

/// Listens until there is the end of a line; gives back where it is. What has come is kept in
/// `heard` when this is dropped.
async fn listen(
    (stdout, heard): (&mut ChildStdout, &mut Vec<u8>),
    Rules { line_end, limit }: Rules,
) -> Result<usize, Fault> {
    let mut looked_at = 0;
    loop {
        let fresh = heard.get(looked_at..).unwrap_or_default();
        if let Some(end) = fresh.iter().position(|byte| *byte == line_end) {
            let end = looked_at + end;
            return if end > limit { Err(Fault::TooLarge(limit)) } else { Ok(end) };
        }
        looked_at = heard.len();
        if looked_at > limit {
            return Err(Fault::TooLarge(limit));
        }
        heard.reserve(CHUNK);
        if stdout.read_buf(heard).await.map_err(Fault::Io)? == 0 {
            return Err(Fault::Ended);
        }
    }
}

impl Fault {
    /// Whether it says nothing against the line that was to be asked: the child had done with the
    /// ones before, and was not asked this one.
    pub(super) fn is_between_lines(&self) -> bool {
        match self {
            Self::Gone | Self::Unasked(_) => true,
            Self::Ended | Self::TooMuch(_) | Self::TooLarge(_) | Self::Late(_) | Self::Io(_) => {
                false
            }
        }
    }

    /// In words; `status` says how the child ended, if it did so by itself.
    pub(super) fn words(&self, status: Option<ExitStatus>) -> String {
        let quote = |said: &[u8]| {
            let said = said.get(..SHOWN.min(said.len())).unwrap_or_default();
            format!("{:?}", String::from_utf8_lossy(said.trim_ascii_end()))
        };
        match self {
            Self::Gone | Self::Ended => {
                let how = status.map_or_else(|| "its output".to_owned(), |s| s.to_string());
                format!("the command ended before it answered: {how}")
            }
            Self::Unasked(said) => {
                format!("the command said what nobody had asked for: {}", quote(said))
            }
            Self::TooMuch(said) => {
                format!("the command said more than one line: {} came behind it", quote(said))
            }
            Self::TooLarge(limit) => format!("the result is larger than {limit} bytes"),
            Self::Late(longest) => format!("no answer within {longest}"),
            Self::Io(error) => format!("the command can't be talked to: {error}"),
        }
    }
}
