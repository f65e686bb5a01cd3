//! Results out, in the order of their lines.

use std::{io, sync::Arc};

use rollcall_common::{
    ids::{Position, Sequence},
    shown::Shown,
};
use tokio::sync::watch;

use super::{
    Failure, READ_BYTES, Stop,
    again::{Again, Retried, has_failed},
    embedded::Embedded,
    progress::Progress,
    submit::Confirmed,
    waiting::Waiting,
    writer::Writer,
};
use crate::{config::JournalKind, record::Answer, views::ReleasedResult};

/// Results that are looked at together.
const AT_ONCE: u64 = 1024;
/// Bytes that are written at once, about.
const BLOCK: usize = 64 << 10;

/// What was printed.
#[derive(Clone, Copy, Debug)]
pub(super) struct Printed {
    /// Lines.
    pub(super) lines: u64,
    /// Those of them that have failed.
    pub(super) failed: u64,
}

/// Prints results.
pub(super) struct Printer<'a> {
    embedded: &'a Embedded,
    /// Where results' bodies are; absent: in the journal.
    waiting: Option<Arc<Waiting>>,
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
        embedded: &'a Embedded,
        waiting: Option<Arc<Waiting>>,
        confirmed: watch::Receiver<Confirmed>,
        printed: &'a watch::Sender<u64>,
    ) -> Self {
        Self {
            embedded,
            waiting,
            confirmed,
            printed,
            head: embedded.views.head(),
            progress: Progress::start(),
            line: 0,
            failed: 0,
            block: Vec::new(),
        }
    }

    /// Prints the results of all lines, or, when it is `over`, of those that are there; gives back
    /// what it has printed.
    pub(super) async fn run(
        mut self,
        writer: Writer,
        over: watch::Receiver<bool>,
    ) -> Result<Printed, Stop> {
        let printed = self.print(&writer, over).await;
        let written = writer.finish().await;
        match (printed, written) {
            (_, Err(error)) if error.kind() == io::ErrorKind::BrokenPipe => Err(Stop::Deaf),
            (_, Err(error)) => {
                let text = format!("standard output can't be written: {error}");
                Err(Failure { text, code: 1 }.into())
            }
            (Err(stop), Ok(())) => Err(stop),
            (Ok(()), Ok(())) => Ok(Printed { lines: self.line, failed: self.failed }),
        }
    }

    async fn print(
        &mut self,
        writer: &Writer,
        mut over: watch::Receiver<bool>,
    ) -> Result<(), Stop> {
        loop {
            // What changes after this look wakes the wait below.
            let confirmed = *self.confirmed.borrow_and_update();
            let is_over = *over.borrow_and_update();
            self.head.mark_unchanged();
            let results = self.results(confirmed.lines).await?;
            let mut taken = 0;
            for result in &results {
                if !self.take(result).await? {
                    break;
                }
                taken += 1;
                if self.block.len() >= BLOCK {
                    self.flush(writer).await?;
                }
            }
            if taken > 0 {
                continue;
            }
            self.flush(writer).await?;
            if is_over || confirmed.ended && self.line == confirmed.lines {
                return Ok(());
            }
            // Err: whoever says it outlives this.
            tokio::select! {
                _ = self.head.changed() => {}
                _ = self.confirmed.changed() => {}
                _ = over.changed() => {}
            }
        }
    }

    /// The next results, of lines up to `confirmed`: what a journal has beyond is not known to
    /// be of this input.
    async fn results(&self, confirmed: u64) -> Result<Vec<ReleasedResult>, Stop> {
        let most = usize::try_from(confirmed.saturating_sub(self.line).min(AT_ONCE));
        let (views, after) = (&self.embedded.views, Sequence(self.line));
        let (Some(stream), Ok(most @ 1..)) = (views.find(&self.embedded.stream), most) else {
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

    /// Takes a result into the block; false: it is not there yet.
    async fn take(&mut self, result: &ReleasedResult) -> Result<bool, Stop> {
        let line = result.sequence.0;
        let mut failed = has_failed(result);
        let again = if failed && self.embedded.kind == JournalKind::Local {
            Again::of(self.embedded).result(line).await?
        } else {
            Retried::Never
        };
        let newest = match &again {
            Retried::Never => result,
            Retried::Open => return Ok(false),
            Retried::Done(newest) => {
                failed = has_failed(newest);
                &**newest
            }
        };
        self.line = line;
        let answer = &newest.answer;
        let kept = self.waiting.as_ref().map(|waiting| waiting.take(line));
        let body = kept.as_ref().filter(|_| !failed).unwrap_or(&answer.payload.body);
        self.block.extend_from_slice(body.strip_suffix(b"\n").unwrap_or(body));
        self.block.push(b'\n');
        if failed {
            self.failed += 1;
            let together = self.embedded.orders.together.get();
            self.progress.say(&failure(line, together, answer));
        }
        Ok(true)
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

/// In words; so many lines go together.
fn failure(number: u64, together: usize, answer: &Answer) -> String {
    let reason = answer.history.last().map_or(&*answer.reason, |attempt| &*attempt.detail);
    let attempts = answer.attempts;
    let plural = if attempts == 1 { "" } else { "s" };
    let together = u64::try_from(together).unwrap_or(u64::MAX);
    let last = number.saturating_mul(together);
    let lines = match last - (together - 1) {
        first if first == last => format!("line {last}"),
        first => format!("lines {first} to {last}"),
    };
    format!("supervisor: {lines} failed after {attempts} attempt{plural}: {}", Shown(reason))
}

#[cfg(test)]
mod tests {
    use rollcall_common::{ids::MessageId, message::Payload, time::Time};

    use super::*;
    use crate::record::{MessageRef, Outcome};

    #[test]
    fn what_a_command_says_does_not_drive_the_terminal() {
        let answer = Answer {
            head: MessageRef {
                id: MessageId(uuid::Uuid::nil()),
                accepted_at: Time::from_micros(1),
            },
            outcome: Outcome::Skipped,
            worker: "w".into(),
            reason: "\u{1b}[2J\nsupervisor: all is well".into(),
            history: Vec::new(),
            attempts: 2,
            payload: Payload::default(),
        };
        let said = failure(3, 2, &answer);
        assert_eq!(
            said,
            "supervisor: lines 5 to 6 failed after 2 attempts: \\u{1b}[2J\\nsupervisor: all is well"
        );
    }
}
