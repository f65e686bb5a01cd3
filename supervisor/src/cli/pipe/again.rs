//! Lines that have failed, tried again (`--retry-failed`). What a journal says of a line stays as
//! it is; so each of them has a stream of its own, of which the newest result counts.

use std::sync::Arc;

use rollcall_common::{
    ids::{Sequence, StreamId, StreamName},
    message::Message,
};
use tokio::task::spawn_blocking;

use super::{Failure, READ_BYTES, Stop, embedded::Embedded};
use crate::{
    dispatcher::{
        Dispatcher, Event, Reply,
        event::{Bulk, Decision},
    },
    record::Outcome,
    views::ReleasedResult,
};

/// Results that are looked at together.
const AT_ONCE: usize = 1024;

/// What is tried again.
#[derive(Clone, Copy, Debug)]
pub(super) struct Again<'a>(&'a Embedded);

/// How a line stands that was tried again.
#[derive(Debug)]
pub(super) enum Retried {
    /// It never was.
    Never,
    /// It is being worked on.
    Open,
    /// This came of it.
    Done(Box<ReleasedResult>),
}

impl<'a> Again<'a> {
    pub(super) fn of(embedded: &'a Embedded) -> Self {
        Self(embedded)
    }

    /// Takes back that lines have failed which wait behind others.
    pub(super) async fn reopen(self) -> Result<(), Stop> {
        let Some(stream) = self.0.views.find(&self.0.stream) else {
            return Ok(());
        };
        let parked = move |dispatcher: &Dispatcher| -> Vec<_> {
            let all = dispatcher.parked_after((stream, Sequence(0)));
            let ours = all.take_while(|(of, ..)| *of == stream);
            ours.map(|(_, sequence, ..)| (stream, sequence)).collect()
        };
        for places in self.0.handle.query(parked).await?.chunks(AT_ONCE) {
            let decision = Decision::Retry { reason: "--retry-failed".into() };
            let bulk = Bulk { places: places.to_vec(), decision, by: "pipe".into() };
            self.0.handle.request(move |request| Event::DecidedMany { request, bulk }).await?;
        }
        Ok(())
    }

    /// Sends those of these lines in again that have failed.
    pub(super) async fn submit(self, first: u64, lines: Vec<Arc<Message>>) -> Result<(), Stop> {
        for failed in self.failed(first, lines.len()).await? {
            let at = usize::try_from(failed - first).ok();
            let Some(message) = at.and_then(|at| lines.get(at)) else { continue };
            let name = name(failed)?;
            let is_open = matches!(self.result(failed).await?, Retried::Open);
            if !is_open {
                let message = Message { key: None, ..Message::clone(message) };
                let reply = self.0.handle.submit(name, vec![Arc::new(message)]).await?;
                if !matches!(reply, Reply::Accepted { .. }) {
                    let text = format!("line {failed} was not taken in again: {reply:?}");
                    return Err(Failure { text, code: 1 }.into());
                }
            }
        }
        Ok(())
    }

    /// Which of these lines have failed, also the last time that they were tried.
    async fn failed(self, first: u64, count: usize) -> Result<Vec<u64>, Stop> {
        let mut failed = Vec::new();
        let last = first + u64::try_from(count).unwrap_or(u64::MAX);
        let Some(stream) = self.0.views.find(&self.0.stream) else {
            return Ok(failed);
        };
        let mut after = first - 1;
        while after + 1 < last {
            let left = usize::try_from(last - after - 1).unwrap_or(AT_ONCE).min(AT_ONCE);
            let results = self.read(stream, after, left).await?;
            let Some(newest) = results.last() else { break };
            after = newest.sequence.0;
            for result in results.iter().filter(|result| has_failed(result)) {
                let line = result.sequence.0;
                let again = self.result(line).await?;
                if !matches!(&again, Retried::Done(result) if !has_failed(result)) {
                    failed.push(line);
                }
            }
        }
        Ok(failed)
    }

    /// How a line stands that may have been tried again.
    pub(super) async fn result(self, line: u64) -> Result<Retried, Stop> {
        let Some(stream) = self.0.views.find(&name(line)?) else {
            return Ok(Retried::Never);
        };
        let Some((status, _)) = self.0.views.status(stream) else {
            return Ok(Retried::Never);
        };
        if status.released.next() < status.next || status.released == Sequence(0) {
            return Ok(Retried::Open);
        }
        let mut results = self.read(stream, status.released.0 - 1, 1).await?;
        Ok(results.pop().map_or(Retried::Open, |result| Retried::Done(Box::new(result))))
    }

    async fn read(
        self,
        stream: StreamId,
        after: u64,
        most: usize,
    ) -> Result<Vec<ReleasedResult>, Stop> {
        let views = Arc::clone(&self.0.views);
        let read = move || views.stream_results(stream, Sequence(after), most, READ_BYTES);
        let read = spawn_blocking(read).await.map_err(Failure::from)?;
        Ok(read.map_err(Failure::from)?)
    }
}

/// Whether it says that a line has failed. A worker may say that there is no result, which is no
/// failure.
pub(super) fn has_failed(result: &ReleasedResult) -> bool {
    result.answer.outcome == Outcome::Skipped && result.answer.worker.is_empty()
}

/// The stream of a line that is tried again.
fn name(line: u64) -> Result<StreamName, Failure> {
    Ok(format!("again.{line}").parse()?)
}
