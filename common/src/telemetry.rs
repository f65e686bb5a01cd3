//! Logging: lines of text, or JSON, on standard error.

use std::io::{self, IsTerminal as _};

use tracing_subscriber::EnvFilter;

/// How log lines look.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum LogFormat {
    /// Text on a terminal, JSON elsewhere.
    #[default]
    Auto,
    /// One JSON object a line.
    Json,
    /// Text.
    Text,
}

/// Starts logging for the process. `ROLLCALL_LOG` sets what is shown (as `RUST_LOG` would: `info`,
/// `rollcall_supervisor=debug`, …); `default` counts where it is absent. A second call does
/// nothing.
pub fn init(format: LogFormat, default: &str) {
    let filter =
        EnvFilter::try_from_env("ROLLCALL_LOG").unwrap_or_else(|_| EnvFilter::new(default));
    let terminal = io::stderr().is_terminal();
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(io::stderr)
        .with_ansi(terminal);
    let json = match format {
        LogFormat::Auto => !terminal,
        LogFormat::Json => true,
        LogFormat::Text => false,
    };
    // Err: something has set a logger before, and that one stays.
    let _ = if json { builder.json().try_init() } else { builder.try_init() };
}
