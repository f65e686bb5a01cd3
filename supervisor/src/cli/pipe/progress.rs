//! How far it is, for people who watch.

use std::{
    io::{self, IsTerminal as _, Write as _},
    time::Duration,
};

use indicatif::{ProgressBar, ProgressStyle};

/// How often it moves.
const TICK: Duration = Duration::from_millis(200);

/// How far it is. Shown where standard error is a terminal and standard output is not: there, the
/// results themselves show it.
#[derive(Debug)]
pub(super) struct Progress(Option<ProgressBar>);

impl Progress {
    pub(super) fn start() -> Self {
        if !io::stderr().is_terminal() || io::stdout().is_terminal() {
            return Self(None);
        }
        let bar = ProgressBar::new_spinner();
        let style = "{spinner} {human_pos} lines printed, {per_sec}, {elapsed}{msg}";
        // Err: the template is wrong; the plain one does.
        if let Ok(style) = ProgressStyle::with_template(style) {
            bar.set_style(style);
        }
        bar.enable_steady_tick(TICK);
        Self(Some(bar))
    }

    /// So many lines are printed, and so many of them failed.
    pub(super) fn at(&self, lines: u64, failed: u64) {
        if let Some(bar) = &self.0 {
            bar.set_position(lines);
            if failed > 0 {
                bar.set_message(format!(", {failed} failed"));
            }
        }
    }

    /// Says something on standard error.
    pub(super) fn say(&self, text: &str) {
        // Err: nowhere is left to say it.
        let write = || {
            let _ = writeln!(io::stderr(), "{text}");
        };
        match &self.0 {
            Some(bar) => bar.suspend(write),
            None => write(),
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if let Some(bar) = &self.0 {
            bar.finish_and_clear();
        }
    }
}
