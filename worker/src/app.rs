//! The `worker` binary, from its command line to its exit code.

use std::{
    error::Error,
    io::{self, Write as _},
    process::ExitCode,
};

use clap::Parser as _;
use rollcall_common::{
    limits::OVERTIME,
    shown::Shown,
    shutdown::{Phase, Shutdown},
    telemetry,
};

use crate::{
    config::{Command, CommandLine, Serve},
    executor::processes_ended,
    exposure::Exposed,
    running::Ended,
    worker::Worker,
};

/// Exit code: wrong usage.
const USAGE: u8 = 2;

/// Runs the binary.
#[must_use]
pub fn main() -> ExitCode {
    let Command::Serve(settings) = match CommandLine::try_parse() {
        Ok(line) => line.command,
        Err(error) => {
            // Err: there is nowhere left to say so.
            let _ = error.print();
            let code = u8::try_from(error.exit_code()).unwrap_or(USAGE);
            return ExitCode::from(code);
        }
    };
    telemetry::init(settings.log_format, "info");
    let ended = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime.block_on(serve(*settings)),
        Err(error) => Err(error.into()),
    };
    telemetry::flush();
    match ended {
        Ok(Ended::Drained) => ExitCode::SUCCESS,
        Ok(Ended::Stopped) => ExitCode::FAILURE,
        Err(error) => {
            let _ = writeln!(io::stderr(), "worker: {}", Shown(&error.to_string()));
            let usage = error.is::<Exposed>();
            if usage { ExitCode::from(USAGE) } else { ExitCode::FAILURE }
        }
    }
}

async fn serve(settings: Serve) -> Result<Ended, Box<dyn Error>> {
    // Err: it leads nowhere, which listening there says.
    if let Ok(addresses) = settings.addresses().await {
        settings.refuse_strangers(&addresses)?;
    }
    let (handler, concurrency, what) = settings.handler()?;
    let (trigger, mut shutdown) = Shutdown::new();
    trigger.on_signals()?;
    let mut worker = Worker::new(handler)
        .listen(settings.listen)
        .pool(settings.pool)
        .version(format!("{}, {what}", env!("CARGO_PKG_VERSION")))
        .body_limit(settings.message_bytes.as_usize())
        .overtime(OVERTIME)
        .drain_within(settings.drain.0)
        .shutdown(shutdown.clone());
    for supervisor in settings.supervisors {
        worker = worker.supervisor(supervisor);
    }
    if let Some(id) = settings.id {
        worker = worker.id(id);
    }
    if let Some(concurrency) = concurrency {
        worker = worker.concurrency(concurrency);
    }
    if let Some(url) = settings.advertise {
        worker = worker.advertise(url);
    }
    let running = settings.security.apply(worker)?.start().await?;
    let mut out = io::stdout().lock();
    let (id, address) = (running.id(), running.address());
    let scheme = if running.is_secure() { "https" } else { "http" };
    writeln!(out, "worker {id} listening on {scheme}://{address}")?;
    out.flush()?;
    drop(out);
    let ended = running.ended().await;
    // What was asked to end has its time for it, unless nobody has any more.
    tokio::select! {
        () = processes_ended() => {}
        () = shutdown.reached(Phase::Now) => {}
    }
    Ok(ended)
}
