//! `serve` and `check-config`.

use std::{
    io::{self, Write as _},
    path::{Path, PathBuf},
    process::ExitCode,
};

use clap::Args;
use rollcall_common::{
    shutdown::{Phase, Shutdown},
    telemetry::{self, LogFormat},
};
use tokio::signal::unix::{SignalKind, signal};

use super::{Failure, environment};
use crate::{
    app,
    config::{Config, Overrides},
};

/// What `serve` is told.
#[derive(Args, Debug)]
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
    fn load(&self) -> Result<Config, Failure> {
        let overrides = Overrides { listen: self.listen.clone(), data: self.data.clone() };
        let config = Config::load(self.config.as_deref(), environment(), overrides);
        config.map_err(|error| Failure::usage(error.to_string()))
    }
}

pub(super) async fn run(options: Options) -> Result<ExitCode, Failure> {
    telemetry::init(LogFormat::Auto, "info");
    let config = options.load()?;
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
        tokio::select! {
            _ = hangups.recv() => reload(&options, &mut running).await,
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
async fn reload(options: &Options, running: &mut app::Running) {
    match options.load() {
        Ok(config) => match running.reload(config).await {
            Ok(restart) => tracing::info!(needs_restart = ?restart, "configuration reloaded"),
            Err(error) => tracing::error!(%error, "the configuration stays as it was"),
        },
        Err(failure) => {
            tracing::error!(error = failure.text, "the configuration stays as it was");
        }
    }
}

pub(super) fn check(file: &Path) -> Result<ExitCode, Failure> {
    match Config::load(Some(file), [], Overrides::default()) {
        Ok(_) => {
            writeln!(io::stdout(), "{}: ok", file.display())?;
            Ok(ExitCode::SUCCESS)
        }
        Err(error) => Err(Failure::usage(error.to_string())),
    }
}
