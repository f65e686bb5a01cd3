//! Results out, in the order of their lines.

use std::{io, sync::Arc};

use rollcall_common::ids::{Position, Sequence};
use tokio::sync::watch;

use super::{Failure, Stop, feed::Confirmed, machine::Machine, progress::Progress, writer::Writer};
use crate::{
    record::{Answer, Outcome},
    views::ReleasedResult,
};

/// Results that are looked at together.
const AT_ONCE: u64 = 1024;
/// Bytes that are written at once, about.
const BLOCK: usize = 64 << 10;
/// Bytes that are read back from the journal at once, about.
const READ_BYTES: usize = 4 << 20;

/// Prints results.
pub(super) struct Printer<'a> {
    machine: &'a Machine,
    confirmed: watch::Receiver<Confirmed>,
    /// Every printed line is said here.
    printed: &'a watch::Sender<u64>,
    head: watch::Receiver<Position>,
    progress: Progress,
    /// The last line that is in a block.
    line: u64,
    failed: u64,
    block: Vec<u8>,
}

impl<'a> Printer<'a> {
    pub(super) fn new(
        machine: &'a Machine,
        confirmed: watch::Receiver<Confirmed>,
        printed: &'a watch::Sender<u64>,
    ) -> Self {
        Self {
            machine,
            confirmed,
            printed,
            head: machine.views.head(),
            progress: Progress::start(),
            line: 0,
            failed: 0,
            block: Vec::new(),
        }
    }

    /// Prints the results of all lines; gives back how many failed.
    pub(super) async fn run(mut self, writer: Writer) -> Result<u64, Stop> {
        let printed = self.print(&writer).await;
        let written = writer.finish().await;
        match (printed, written) {
            (_, Err(error)) if error.kind() == io::ErrorKind::BrokenPipe => Err(Stop::Deaf),
            (_, Err(error)) => {
                let text = format!("standard output can't be written: {error}");
                Err(Failure { text, code: 1 }.into())
            }
            (Err(stop), Ok(())) => Err(stop),
            (Ok(()), Ok(())) => Ok(self.failed),
        }
    }

    async fn print(&mut self, writer: &Writer) -> Result<(), Stop> {
        loop {
            // What changes after this look wakes the wait below.
            let confirmed = *self.confirmed.borrow_and_update();
            self.head.mark_unchanged();
            let results = self.results(confirmed.lines).await?;
            for result in &results {
                self.take(result);
                if self.block.len() >= BLOCK {
                    self.flush(writer).await?;
                }
            }
            if !results.is_empty() {
                continue;
            }
            self.flush(writer).await?;
            if confirmed.ended && self.line == confirmed.lines {
                return Ok(());
            }
            // Err: whoever says it outlives this.
            tokio::select! {
                _ = self.head.changed() => {}
                _ = self.confirmed.changed() => {}
            }
        }
    }

    /// The next results, of lines up to `confirmed`: what a journal has beyond is not known to
    /// be of this input.
    async fn results(&self, confirmed: u64) -> Result<Vec<ReleasedResult>, Stop> {
        let most = usize::try_from(confirmed.saturating_sub(self.line).min(AT_ONCE));
        let (views, after) = (&self.machine.views, Sequence(self.line));
        let (Some(stream), Ok(most @ 1..)) = (views.find(&self.machine.stream), most) else {
            return Ok(Vec::new());
        };
        if let Some(recent) = views.recent_results(stream, after, most) {
            return Ok(recent);
        }
        let views = Arc::clone(views);
        let read = move || views.stream_results(stream, after, most, READ_BYTES);
        let read = tokio::task::spawn_blocking(read).await.map_err(Failure::from)?;
        Ok(read.map_err(Failure::from)?)
    }

    fn take(&mut self, result: &ReleasedResult) {
        self.line = result.sequence.0;
        let answer = &result.answer;
        let body = &answer.payload.body;
        self.block.extend_from_slice(body.strip_suffix(b"\n").unwrap_or(body));
        self.block.push(b'\n');
        // A worker may say that a line has no result; that is no failure.
        if answer.outcome == Outcome::Skipped && answer.worker.is_empty() {
            self.failed += 1;
            self.progress.say(&failure(self.line, answer));
        }
    }

    async fn flush(&mut self, writer: &Writer) -> Result<(), Stop> {
        if !self.block.is_empty() {
            let block = std::mem::replace(&mut self.block, Vec::with_capacity(2 * BLOCK));
            writer.write(block).await.map_err(|_| Stop::Deaf)?;
            self.printed.send_replace(self.line);
            self.progress.at(self.line, self.failed);
        }
        Ok(())
    }
}

fn failure(line: u64, answer: &Answer) -> String {
    let reason = answer.history.last().map_or(&*answer.reason, |attempt| &*attempt.detail);
    let attempts = answer.attempts;
    let plural = if attempts == 1 { "" } else { "s" };
    format!("supervisor: line {line} failed after {attempts} attempt{plural}: {reason}")
}
