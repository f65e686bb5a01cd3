//! `serve` and `check-config`.

use std::{
    io::{self, Write as _},
    path::PathBuf,
    process::ExitCode,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
};

use clap::Args;
use rollcall_common::{
    limits::CONFIG_TIMEOUT,
    shutdown::{Phase, Shutdown},
    telemetry::{self, LogFormat},
};
use tokio::{
    signal::unix::{SignalKind, signal},
    sync::oneshot,
    time::timeout,
};

use super::{Failure, environment};
use crate::{
    app,
    config::{Config, Overrides},
};

/// What `serve` and `check-config` are told.
#[derive(Args, Clone, Debug)]
pub(super) struct Options {
    /// The configuration file
    #[arg(long, env = "ROLLCALL_CONFIG")]
    config: Option<PathBuf>,
    /// Where to listen
    #[arg(long, env = "ROLLCALL_LISTEN")]
    listen: Option<String>,
    /// Where the journal is kept
    #[arg(long, env = "ROLLCALL_DATA")]
    data: Option<PathBuf>,
}

impl Options {
    fn read(&self) -> Result<Config, Failure> {
        let overrides = Overrides { listen: self.listen.clone(), data: self.data.clone() };
        let config = Config::load(self.config.as_deref(), environment(), overrides);
        config.map_err(|error| Failure::usage(error.to_string()))
    }

    fn name(&self) -> String {
        self.config.as_ref().map_or_else(|| "the environment".into(), |f| f.display().to_string())
    }
}

/// Reads the configuration, and the files that it names. Any of them may be a pipe that nobody
/// writes to, or lie on a disk that does not answer: so each reading has a thread that nobody else
/// needs, and a time.
#[derive(Debug)]
struct Reader {
    options: Options,
    /// Whether an earlier reading has not come back.
    busy: Arc<AtomicBool>,
}

impl Reader {
    fn new(options: Options) -> Self {
        Self { options, busy: Arc::default() }
    }

    async fn read(&self) -> Result<Config, Failure> {
        let late = |what: &str| Failure::usage(format!("{}: {what}", self.options.name()));
        if self.busy.swap(true, Ordering::AcqRel) {
            return Err(late("an earlier reading of it, or of a file that it names, is not over"));
        }
        let (sender, read) = oneshot::channel();
        let (options, busy) = (self.options.clone(), Arc::clone(&self.busy));
        let reading = move || {
            let config = options.read();
            busy.store(false, Ordering::Release);
            // Err: it took too long, and nobody waits for it any more.
            let _ = sender.send(config);
        };
        thread::Builder::new().name("configuration".to_owned()).spawn(reading)?;
        let Ok(read) = timeout(CONFIG_TIMEOUT, read).await else {
            let text = "it, or a file that it names, could not be read in time; is it a pipe that \
                        nobody writes to?";
            return Err(late(text));
        };
        read.unwrap_or_else(|_| Err(late("reading it was broken off")))
    }
}

pub(super) async fn run(options: Options) -> Result<ExitCode, Failure> {
    telemetry::init(LogFormat::Auto, "info");
    let reader = Reader::new(options);
    let config = reader.read().await?;
    let (trigger, shutdown) = Shutdown::new();
    trigger.clone().on_signals()?;
    let mut hangups = signal(SignalKind::hangup())?;
    let mut starting = shutdown.clone();
    let mut running = tokio::select! {
        running = app::start(config, shutdown.clone(), trigger) => running?,
        // Recovery may be long, and nothing is lost by leaving it.
        () = starting.reached(Phase::Draining) => return Ok(ExitCode::SUCCESS),
    };
    announce(running.addresses())?;
    let mut ending = shutdown.clone();
    loop {
        let reloaded = async {
            hangups.recv().await;
            reload(&reader, &mut running).await;
        };
        tokio::select! {
            () = reloaded => {}
            // Whatever a reload waits for: the process ends, so it changes nothing any more.
            () = ending.reached(Phase::Draining) => break,
        }
    }
    running.finished().await?;
    Ok(ExitCode::SUCCESS)
}

fn announce(addresses: &app::Addresses) -> io::Result<()> {
    let mut out = io::stdout().lock();
    let scheme = addresses.scheme;
    writeln!(out, "supervisor listening on {scheme}://{}", addresses.main)?;
    if let Some(admin) = addresses.admin {
        writeln!(out, "admin listening on {scheme}://{admin}")?;
    }
    for tcp in &addresses.tcp {
        writeln!(out, "messages listening on tcp://{tcp}")?;
    }
    out.flush()
}

/// Whole or not at all: a configuration with a mistake changes nothing.
async fn reload(reader: &Reader, running: &mut app::Running) {
    match reader.read().await {
        Ok(config) => match running.reload(config).await {
            Ok(restart) => tracing::info!(needs_restart = ?restart, "configuration reloaded"),
            Err(error) => tracing::error!(%error, "the configuration stays as it was"),
        },
        Err(failure) => {
            tracing::error!(error = failure.text, "the configuration stays as it was");
        }
    }
}

/// Checks what `serve` would be told: by the flags, the environment and the file.
pub(super) async fn check(options: &Options) -> Result<ExitCode, Failure> {
    if options.config.is_none() {
        return Err(Failure::usage("--config FILE says which configuration"));
    }
    Reader::new(options.clone()).read().await?;
    writeln!(io::stdout(), "{}: ok", options.name())?;
    Ok(ExitCode::SUCCESS)
}
