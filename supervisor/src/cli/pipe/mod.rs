//! `pipe`: lines in, lines out, worked on side by side, in the order of the input. A supervisor
//! without a network: the same driver, journal and views, with processes for workers.

use std::{
    ffi::OsString,
    num::NonZeroUsize,
    path::PathBuf,
    process::ExitCode,
    sync::{Arc, OnceLock},
    thread,
    time::Duration,
};

use clap::Args;
use rollcall_common::{
    http::Target,
    limits::MESSAGE_BYTES,
    shutdown::{Phase, Shutdown},
    telemetry::{self, LogFormat},
    units::Size,
};
use rollcall_worker::{AnyHandler, Exec, ExecStream};
use tokio::sync::watch;

use super::{Failure, span};
use crate::driver::{Gone, Handle};

mod again;
mod backend;
mod embedded;
mod input;
mod jobs;
mod memo;
mod printer;
mod progress;
mod remote;
mod submit;
mod waiting;
mod writer;

use again::Again;
use backend::Backend;
use embedded::{Embedded, Keeper, Orders};
use input::{Input, Rules};
use jobs::{Jobs, Style};
use memo::Memo;
use printer::{Printed, Printer};
use remote::Remote;
use submit::{Confirmed, Submitter};
use waiting::Waiting;
use writer::Writer;

/// Lines read and not yet printed at which reading stops. The first line's result may keep so
/// many others waiting.
const AHEAD_LINES: u32 = 10_000;
/// Bytes of lines read and not yet printed at which reading stops.
const AHEAD_BYTES: usize = 16 << 20;
/// The largest result of one line, and the most that one process is given.
const RESULT_BYTES: usize = 16 << 20;
/// Bytes that are read back from the journal at once, about.
const READ_BYTES: usize = 4 << 20;

const ABOUT: &str = "\
Each line of standard input becomes the standard input of one run of CMD (a newline at its end), \
or, where CMD has {} in its arguments, what stands there instead (and nothing is on standard \
input); with --url, the body of one HTTP request (without the newline). What the run writes to \
standard output is the line's result. Results are printed in the order of the input, each with a \
newline at its end; one newline that CMD wrote there itself is not doubled, newlines inside are \
passed on. Standard error of CMD is passed on as it comes.

CMD's exit code: 0 done; 65 the line can't be worked on, no more tries; anything else (75 says it \
best) failed, another try if --retries allows it. A line that has failed, or is longer than \
--max-line, leaves an empty line in the output and a message on standard error. With \
--exec-stream CMD is started --jobs times and must answer each line that it reads with one line, \
at once (unbuffered), and say nothing else on standard output.

With -N, N lines at a time are one: they are given to one run of CMD and have one result. A {} \
that is an argument of its own becomes N arguments then.

With --data, a second run with the same input and CMD goes on where the first was stopped or \
killed: lines that had finished, well or not, are not run again and are printed from the journal; \
with --retry-failed, those that had failed are run again. Lines that were under way are run again. \
Another input, or another CMD, is refused.

SIGINT (Ctrl-C) and SIGTERM begin nothing new: lines under way are finished and printed. A second \
one stops at once. When processes, descriptors or memory run out, fewer lines are worked on at once.

At most 10,000 lines or 16 MiB are read ahead of what has been printed. A result has up to 16 MiB; \
when results of more than 64 MiB wait for a line before them, only that one is worked on (with \
--data they wait on the disk).";

const CODES: &str = "\
Exit codes: 0 all lines done, 1 a line failed, or input, output or journal did, or it was \
interrupted, 2 wrong usage.";

/// What `pipe` is told.
#[derive(Args, Debug)]
#[command(after_long_help = format!("{ABOUT}\n\n{CODES}"), after_help = CODES)]
#[expect(clippy::struct_excessive_bools, reason = "flags of a command line")]
pub(super) struct Options {
    /// Lines worked on at once [default: the number of CPUs]
    #[arg(short, long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=10_000))]
    jobs: Option<u32>,
    /// How long one try may take; a process is ended then [default: no limit]
    #[arg(long, value_name = "D", value_parser = span)]
    timeout: Option<Duration>,
    /// How many more tries a line has when the first one failed
    #[arg(long, value_name = "N", default_value_t = 0)]
    retries: u32,
    /// Directory of a journal, so that a second run with the same input resumes
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// Run lines again that failed in an earlier run with the same --data
    #[arg(long, requires = "data")]
    retry_failed: bool,
    /// Longest line, at most 16 MiB; a longer one fails
    #[arg(long, value_name = "SIZE", default_value_t = Size(MESSAGE_BYTES), value_parser = longest)]
    max_line: Size,
    /// Lines end with a zero byte instead of a newline, on CMD's standard input too
    #[arg(short = '0', long)]
    null: bool,
    /// Give each run of CMD so many lines
    #[arg(short = 'N', long, value_name = "LINES", default_value = "1")]
    #[arg(conflicts_with = "exec_stream")]
    lines: NonZeroUsize,
    /// Keep CMD running: one line in, one line out
    #[arg(long, requires = "command")]
    exec_stream: bool,
    /// HTTP workers instead of a command; --jobs counts the calls to all of them
    #[arg(long, value_name = "URL", num_args = 1.., value_delimiter = ',')]
    url: Vec<Target>,
    /// The command and its arguments; {} among them is the line
    #[arg(
        last = true,
        value_name = "CMD",
        required_unless_present = "url",
        conflicts_with = "url"
    )]
    command: Vec<OsString>,
}

fn longest(text: &str) -> Result<Size, String> {
    let size: Size = text.parse()?;
    let most = u64::try_from(RESULT_BYTES).unwrap_or(u64::MAX);
    if size.0 <= most { Ok(size) } else { Err(format!("at most {}", Size(most))) }
}

/// How the work ended.
enum Ending {
    /// All lines have been printed; so many of them failed.
    Done { failed: u64 },
    /// A signal came, and another one.
    Stopped,
    /// A signal came; so many lines have been printed.
    Interrupted { lines: u64 },
}

/// Why the work can't go on.
enum Stop {
    /// Nobody reads the output any more.
    Deaf,
    /// This.
    Failed(Failure),
    /// The driver has ended, and says why.
    Gone(Gone),
}

impl From<Failure> for Stop {
    fn from(failure: Failure) -> Self {
        Self::Failed(failure)
    }
}

impl From<Gone> for Stop {
    fn from(gone: Gone) -> Self {
        Self::Gone(gone)
    }
}

impl Options {
    fn orders(&self) -> Orders {
        let cpus = || {
            let cpus = thread::available_parallelism().unwrap_or(NonZeroUsize::MIN);
            u32::try_from(cpus.get()).unwrap_or(1)
        };
        Orders {
            jobs: self.jobs.unwrap_or_else(cpus),
            timeout: self.timeout,
            keeper: if self.command.is_empty() { Keeper::Driver } else { Keeper::Job },
            tries: self.retries.saturating_add(1),
            data: self.data.clone(),
            retry_failed: self.retry_failed,
            memo: Memo::of(&self.command, self.flags()),
            together: self.lines,
        }
    }

    /// What else decides what comes out, beside the command.
    fn flags(&self) -> Vec<String> {
        let together = (self.lines > NonZeroUsize::MIN).then(|| format!("-N {}", self.lines));
        let stream = self.exec_stream.then(|| "--exec-stream".to_owned());
        let null = self.null.then(|| "-0".to_owned());
        stream.into_iter().chain(null).chain(together).collect()
    }

    fn rules(&self) -> Rules {
        let longest = self.max_line.as_usize();
        Rules { line_end: self.line_end(), longest, together: self.lines }
    }

    fn line_end(&self) -> u8 {
        if self.null { 0 } else { b'\n' }
    }

    fn backend(
        &self,
        orders: &Orders,
        (handle, waiting): (&Handle, Option<&Arc<Waiting>>),
        shutdown: &Shutdown,
    ) -> Result<Backend, Failure> {
        let Some((handler, style)) = self.handler(orders)? else {
            let remote = Remote::new((&self.url, orders.jobs), handle, waiting, shutdown.clone());
            return Ok(Backend::Remote(remote));
        };
        Ok(Backend::Local(Jobs::start((&handler, style), orders, handle, waiting)))
    }

    fn handler(&self, orders: &Orders) -> Result<Option<(AnyHandler, Style)>, Failure> {
        if self.command.is_empty() {
            return Ok(None);
        }
        let line_end = self.line_end();
        if self.exec_stream {
            let children = usize::try_from(orders.jobs).ok().and_then(NonZeroUsize::new);
            let children = children.unwrap_or(NonZeroUsize::MIN);
            let exec = ExecStream::new(&self.command, children)?
                .output_limit(RESULT_BYTES)
                .line_end(line_end)
                .longest(orders.timeout)
                .wait_for_room();
            return Ok(Some((AnyHandler::new(exec), Style::Kept)));
        }
        let exec = Exec::new(&self.command)?
            .output_limit(RESULT_BYTES)
            .longest(orders.timeout)
            .wait_for_room()
            .show_errors();
        if exec.program().has_blanks() {
            let exec = exec.fill_blanks(line_end);
            return Ok(Some((AnyHandler::new(exec), Style::Argument)));
        }
        Ok(Some((AnyHandler::new(exec), Style::PerLine { line_end })))
    }
}

pub(super) async fn run(options: Options) -> Result<ExitCode, Failure> {
    telemetry::init(LogFormat::Auto, "warn");
    let (trigger, mut shutdown) = Shutdown::new();
    trigger.on_signals()?;
    let orders = options.orders();
    let waiting = orders.data.is_none().then(Waiting::new);
    let (handle, mailbox) = Handle::new();
    let backend = options.backend(&orders, (&handle, waiting.as_ref()), &shutdown)?;
    let (embedded, mut driver) =
        Embedded::start(orders, (handle, mailbox), backend.edges()).await?;
    let input = Input::start(options.rules())?;
    let ended = tokio::select! {
        // Boxed: it holds all that is going on.
        ended = Box::pin(work((&embedded, &backend), waiting, input, shutdown.clone())) => ended,
        () = shutdown.reached(Phase::Now) => Ok(Ending::Stopped),
    };
    // Processes first: what they still say is not to be written down as failures.
    backend.stop().await;
    // Err: it has ended already, and says below why.
    let _ = embedded.handle.stop().await;
    let driven = (&mut driver).await?;
    match ended {
        Ok(Ending::Done { failed: 0 }) => driven.map(|()| ExitCode::SUCCESS).map_err(Failure::from),
        Ok(Ending::Done { .. } | Ending::Stopped) | Err(Stop::Deaf) => Ok(ExitCode::FAILURE),
        Ok(Ending::Interrupted { lines }) => Err(interrupted(lines, &options)),
        Err(Stop::Failed(failure)) => Err(failure),
        Err(Stop::Gone(gone)) => Err(driven.err().map_or_else(|| gone.into(), Failure::from)),
    }
}

/// What is said to whoever has interrupted it.
fn interrupted(lines: u64, options: &Options) -> Failure {
    let printed = match lines {
        0 => "before the first result".to_owned(),
        lines => format!("after result {lines}"),
    };
    let next = if options.data.is_some() { "; the same command goes on from there" } else { "" };
    Failure { text: format!("interrupted {printed}{next}"), code: 1 }
}

async fn work(
    (embedded, backend): (&Embedded, &Backend),
    waiting: Option<Arc<Waiting>>,
    input: Input,
    mut shutdown: Shutdown,
) -> Result<Ending, Stop> {
    let (confirmed, lines) = watch::channel(Confirmed::default());
    let (printed, done) = watch::channel(0);
    let (over, is_over) = watch::channel(false);
    let (mut known, unread) = (lines.clone(), OnceLock::new());
    let working = async {
        if embedded.orders.retry_failed {
            Again::of(embedded).reopen().await?;
        }
        let joining = async {
            // Nothing is worked on before it is certain that the input is the same as before.
            let same = known.wait_for(|confirmed| confirmed.lines >= embedded.known.lines);
            if same.await.is_ok() {
                backend.join(embedded).await?;
            }
            Ok::<_, Stop>(())
        };
        let feeding = Submitter::new(embedded, &confirmed, done).run(input);
        tokio::try_join!(feeding, joining).map(|(failure, ())| failure)
    };
    let feeding = async {
        let interrupted = tokio::select! {
            biased;
            () = shutdown.reached(Phase::Draining) => true,
            fed = working => {
                if let Some(failure) = fed? {
                    // What was read is still done. Err: nothing else is said here.
                    let _ = unread.set(failure);
                }
                shutdown.reached(Phase::Draining).await;
                true
            }
        };
        embedded.drain().await?;
        // Err: it has printed everything meanwhile.
        let _ = over.send(interrupted);
        std::future::pending::<Result<(), Stop>>().await
    };
    let governing = async {
        match &waiting {
            Some(waiting) => waiting.govern(embedded).await,
            None => std::future::pending().await,
        }
    };
    let printer = Printer::new(embedded, waiting.clone(), lines.clone(), &printed);
    let Printed { lines: got, failed } = tokio::select! {
        printed = printer.run(Writer::start(), is_over) => printed?,
        stopped = feeding => return Err(stopped.err().unwrap_or(Stop::Deaf)),
        stopped = governing => return Err(stopped.err().unwrap_or(Stop::Deaf)),
        never = backend.watch(embedded) => match never {},
    };
    if let Some(failure) = unread.into_inner() {
        return Err(Stop::Failed(failure));
    }
    let confirmed = *lines.borrow();
    if confirmed.ended && got == confirmed.lines {
        Ok(Ending::Done { failed })
    } else {
        Ok(Ending::Interrupted { lines: got })
    }
}
