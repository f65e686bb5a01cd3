//! `pipe`: lines in, lines out, worked on side by side, in the order of the input. A supervisor
//! without a network: the same driver, journal and views, with processes for workers.

use std::{
    ffi::OsString, num::NonZeroUsize, path::PathBuf, process::ExitCode, thread, time::Duration,
};

use clap::Args;
use rollcall_common::{
    http::Target,
    shutdown::{Phase, Shutdown},
    telemetry::{self, LogFormat},
};
use rollcall_worker::{AnyHandler, Exec, ExecStream};
use tokio::sync::watch;

use super::{Failure, span};
use crate::driver::{Gone, Handle};

mod crew;
mod feed;
mod input;
mod jobs;
mod machine;
mod printer;
mod progress;
mod remote;
mod writer;

use crew::Crew;
use feed::{Confirmed, Feed};
use input::Input;
use jobs::{Jobs, Style};
use machine::{Machine, Orders};
use printer::Printer;
use remote::Remote;
use writer::Writer;

/// Lines read and not yet printed at which reading stops. The first line's result may keep so
/// many others waiting.
const AHEAD_LINES: u32 = 10_000;
/// Bytes of lines read and not yet printed at which reading stops.
const AHEAD_BYTES: usize = 16 << 20;
/// The largest result of one line.
const RESULT_BYTES: usize = 16 << 20;
/// A process that overstays is killed by its job; that is to be known before the driver gives up.
const GRACE: Duration = Duration::from_secs(5);

const ABOUT: &str = "\
Each line of standard input becomes the standard input of one run of CMD (a newline at its end), \
or, with --url, the body of one HTTP request (without the newline). What the run writes to \
standard output is the line's result. Results are printed in the order of the input, each with a \
newline at its end; one newline that CMD wrote there itself is not doubled, newlines inside are \
passed on. Standard error of CMD is passed on as it comes.

CMD's exit code: 0 done; 65 the line can't be worked on, no more tries; anything else (75 says it \
best) failed, another try if --retries allows it. A line that has failed leaves an empty line in \
the output and a message on standard error. With --exec-stream CMD is started --jobs times and \
must answer each line that it reads with one line, at once (unbuffered).

With --data, a second run with the same input goes on where the first was stopped or killed: \
lines that had finished, well or not, are not run again and are printed from the journal. Lines \
that were under way are run again. Another input is refused.

At most 10,000 lines or 16 MiB are read ahead of what has been printed. A line may have up to \
1 MiB, a result up to 16 MiB.";

const CODES: &str = "\
Exit codes: 0 all lines done, 1 a line failed, or input, output or journal did, or it was \
interrupted, 2 wrong usage.";

/// What `pipe` is told.
#[derive(Args, Debug)]
#[command(after_long_help = format!("{ABOUT}\n\n{CODES}"), after_help = CODES)]
pub(super) struct Options {
    /// Lines worked on at once [default: the number of CPUs]
    #[arg(short, long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=10_000))]
    jobs: Option<u32>,
    /// How long one try may take; a process is killed then [default: no limit]
    #[arg(long, value_name = "D", value_parser = span)]
    timeout: Option<Duration>,
    /// How many more tries a line has when the first one failed
    #[arg(long, value_name = "N", default_value_t = 0)]
    retries: u32,
    /// Directory of a journal, so that a second run with the same input resumes
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// Keep CMD running: one line in, one line out
    #[arg(long, requires = "command")]
    exec_stream: bool,
    /// HTTP workers instead of a command; --jobs counts the calls to all of them
    #[arg(long, value_name = "URL", num_args = 1.., value_delimiter = ',')]
    url: Vec<Target>,
    /// The command and its arguments
    #[arg(
        last = true,
        value_name = "CMD",
        required_unless_present = "url",
        conflicts_with = "url"
    )]
    command: Vec<OsString>,
}

/// How the work ended.
enum Ending {
    /// All lines have been printed; so many of them failed.
    Done { failed: u64 },
    /// A signal came.
    Interrupted,
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
            grace: if self.command.is_empty() { Duration::ZERO } else { GRACE },
            tries: self.retries.saturating_add(1),
            data: self.data.clone(),
        }
    }

    fn crew(&self, orders: &Orders, handle: &Handle, shutdown: &Shutdown) -> Result<Crew, Failure> {
        let style = if self.exec_stream { Style::Kept } else { Style::PerLine };
        let Some(handler) = self.handler(orders)? else {
            let remote = Remote::new(&self.url, handle.clone(), shutdown.clone());
            return Ok(Crew::Remote(remote));
        };
        Ok(Crew::Local(Jobs::start(&handler, style, orders, handle)))
    }

    fn handler(&self, orders: &Orders) -> Result<Option<AnyHandler>, Failure> {
        if self.command.is_empty() {
            return Ok(None);
        }
        let handler = if self.exec_stream {
            let children = usize::try_from(orders.jobs).ok().and_then(NonZeroUsize::new);
            let children = children.unwrap_or(NonZeroUsize::MIN);
            let exec = ExecStream::new(&self.command, children)?;
            AnyHandler::new(exec.output_limit(RESULT_BYTES))
        } else {
            let exec = Exec::new(&self.command)?;
            AnyHandler::new(exec.output_limit(RESULT_BYTES).show_errors())
        };
        Ok(Some(handler))
    }
}

pub(super) async fn run(options: Options) -> Result<ExitCode, Failure> {
    telemetry::init(LogFormat::Auto, "warn");
    let (trigger, mut shutdown) = Shutdown::new();
    trigger.on_signals()?;
    let orders = options.orders();
    let (handle, mailbox) = Handle::new();
    let crew = options.crew(&orders, &handle, &shutdown)?;
    let (machine, mut driver) = Machine::start(&orders, (handle, mailbox), crew.edges()).await?;
    let ended = tokio::select! {
        ended = work(&machine, &crew) => ended,
        () = shutdown.reached(Phase::Draining) => Ok(Ending::Interrupted),
    };
    // Processes first: what they still say is not to be written down as failures.
    crew.stop().await;
    // Err: it has ended already, and says below why.
    let _ = machine.handle.stop().await;
    let driven = (&mut driver).await?;
    match ended {
        Ok(Ending::Done { failed: 0 }) => driven.map(|()| ExitCode::SUCCESS).map_err(Failure::from),
        Ok(Ending::Done { .. } | Ending::Interrupted) | Err(Stop::Deaf) => Ok(ExitCode::FAILURE),
        Err(Stop::Failed(failure)) => Err(failure),
        Err(Stop::Gone(gone)) => Err(driven.err().map_or_else(|| gone.into(), Failure::from)),
    }
}

async fn work(machine: &Machine, crew: &Crew) -> Result<Ending, Stop> {
    let (confirmed, lines) = watch::channel(Confirmed::default());
    let (printed, done) = watch::channel(0);
    let mut known = lines.clone();
    let joining = async {
        // Nothing is worked on before it is certain that the input is the same as before.
        let same = known.wait_for(|confirmed| confirmed.lines >= machine.known.lines);
        if same.await.is_ok() {
            crew.join(machine).await?;
        }
        Ok(())
    };
    let feeding = Feed::new(machine, &confirmed, done).run(Input::start().map_err(Failure::from)?);
    let printing = Printer::new(machine, lines, &printed).run(Writer::start());
    let working = async { tokio::try_join!(feeding, printing, joining) };
    let (failure, failed, ()) = tokio::select! {
        worked = working => worked?,
        never = crew.watch(machine) => match never {},
    };
    match failure {
        Some(failure) => Err(Stop::Failed(failure)),
        None => Ok(Ending::Done { failed }),
    }
}
