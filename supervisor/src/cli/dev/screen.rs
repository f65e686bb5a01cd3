//! Lines as results are released, and on a terminal one that is kept up to date.

use std::{
    io::{self, IsTerminal as _, Write as _},
    sync::Mutex,
};

use indicatif::{ProgressBar, ProgressStyle};
use rollcall_common::{client::Client, shown::visible};
use serde_json::Value;

use super::{
    Failure, STREAM,
    watch::{Watch, lock},
};

/// Lines, and on a terminal one that is kept up to date.
pub(super) struct Screen(Option<ProgressBar>);

impl Screen {
    pub(super) fn new() -> Self {
        let bar = io::stdout().is_terminal().then(|| {
            let style = ProgressStyle::with_template("{spinner} {wide_msg}");
            let bar = ProgressBar::new_spinner();
            bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_spinner()));
            bar
        });
        Self(bar)
    }

    pub(super) fn line(&self, line: &str) -> io::Result<()> {
        let line = &*visible(line);
        match &self.0 {
            Some(bar) => bar.println(line),
            None => writeln!(io::stdout(), "{line}")?,
        }
        Ok(())
    }

    /// How the stream stands.
    pub(super) async fn status(
        &self,
        client: &Client,
        watch: &Mutex<Watch>,
    ) -> Result<(), Failure> {
        let Some(bar) = &self.0 else { return Ok(()) };
        // Err: it is on its way down, or has no message yet.
        let Ok(stream) = client.get(&format!("/v1/streams/{STREAM}")).await else {
            return Ok(());
        };
        let number = |name: &str| stream.get(name).and_then(Value::as_u64).unwrap_or_default();
        let cause = stream.pointer("/head/cause").and_then(Value::as_str).unwrap_or("-");
        bar.set_message(format!(
            "arrived {}  in flight {}  held back {}  released {}  delivered {}  head: {cause}",
            number("next_sequence").saturating_sub(1),
            number("in_flight"),
            number("waiting"),
            number("released"),
            lock(watch).delivered,
        ));
        bar.tick();
        Ok(())
    }

    pub(super) fn clear(&self) {
        if let Some(bar) = &self.0 {
            bar.finish_and_clear();
        }
    }
}
