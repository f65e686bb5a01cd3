//! Lines in: read, and sent in; never too far ahead of what has been printed.

use std::{collections::VecDeque, io, sync::Arc};

use bytes::Bytes;
use rollcall_common::{
    ids::MessageId,
    message::{Key, Message},
    seed,
};
use tokio::sync::watch;

use super::{
    AHEAD_BYTES, AHEAD_LINES, Failure, Stop,
    again::Again,
    embedded::Embedded,
    input::{Input, Item, fingerprint},
};
use crate::{
    config::JournalKind,
    dispatcher::Reply,
    journal::{EntryNumber, Tail},
};

/// The lines' content type.
const TYPE: &str = "text/plain";
/// The content type of what stands for a line that is too long. Its body says how long it is.
pub(super) const TOO_LONG: &str = "application/vnd.rollcall.too-long";

/// How far the input has been taken in.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(super) struct Confirmed {
    /// Lines.
    pub(super) lines: u64,
    /// Whether that is all.
    pub(super) ended: bool,
}

/// Sends lines in.
pub(super) struct Submitter<'a> {
    embedded: &'a Embedded,
    confirmed: &'a watch::Sender<Confirmed>,
    printed: watch::Receiver<u64>,
    tail: watch::Receiver<Tail>,
    rng: fastrand::Rng,
    /// Lines taken in.
    lines: u64,
    /// What is not printed yet, the oldest first.
    ahead: VecDeque<Batch>,
    ahead_bytes: usize,
}

/// Lines that were sent in together.
struct Batch {
    last: u64,
    bytes: usize,
    /// All records about them, and about later ones, are in this entry or behind it.
    entry: EntryNumber,
}

impl<'a> Submitter<'a> {
    pub(super) fn new(
        embedded: &'a Embedded,
        confirmed: &'a watch::Sender<Confirmed>,
        printed: watch::Receiver<u64>,
    ) -> Self {
        Self {
            embedded,
            confirmed,
            printed,
            tail: embedded.journal.tail(),
            rng: fastrand::Rng::with_seed(seed::seed()),
            lines: 0,
            ahead: VecDeque::new(),
            ahead_bytes: 0,
        }
    }

    /// Sends all lines in. Gives back why not, if it is that the rest can't be read.
    pub(super) async fn run(mut self, mut input: Input) -> Result<Option<Failure>, Stop> {
        let failure = loop {
            let room = self.room().await;
            match input.items(room).await {
                Ok(items) if items.is_empty() => break None,
                Ok(items) => self.submit(items).await?,
                Err(error) => break Some(self.unread(&error)),
            }
        };
        if self.lines < self.embedded.known.lines {
            return Err(failure.unwrap_or_else(|| self.too_short()).into());
        }
        self.confirmed.send_modify(|confirmed| confirmed.ended = true);
        Ok(failure)
    }

    fn confirm(&self) {
        let lines = self.lines;
        self.confirmed.send_replace(Confirmed { lines, ended: false });
    }

    /// How many lines may be read now; waits until it is worth it.
    async fn room(&mut self) -> usize {
        let half = u64::from(AHEAD_LINES / 2);
        loop {
            let printed = *self.printed.borrow_and_update();
            self.forget(printed);
            let known = self.embedded.known;
            if self.lines < known.lines && printed >= known.finished {
                // The first run had read as far; and nothing is done before all of it is seen.
                return usize::try_from(known.lines - self.lines).unwrap_or(usize::MAX);
            }
            let ahead = self.lines - printed;
            if ahead <= half && self.ahead_bytes <= AHEAD_BYTES / 2 {
                return usize::try_from(u64::from(AHEAD_LINES) - ahead).unwrap_or(1);
            }
            if self.printed.changed().await.is_err() {
                // Nobody prints any more: the work is being broken off.
                std::future::pending::<()>().await;
            }
        }
    }

    /// What has been printed needs no room any more, nor is it read again.
    fn forget(&mut self, printed: u64) {
        let before = self.ahead.len();
        while let Some(batch) = self.ahead.pop_front_if(|batch| batch.last <= printed) {
            self.ahead_bytes -= batch.bytes;
        }
        if self.ahead.len() < before
            && self.embedded.kind == JournalKind::Memory
            && let Some(batch) = self.ahead.front()
        {
            // Err: memory has nothing that can fail.
            let _ = self.embedded.journal.trim(batch.entry);
        }
    }

    async fn submit(&mut self, items: Vec<Item>) -> Result<(), Stop> {
        let first = self.lines + 1;
        let entry = self.tail.borrow().next;
        let numbered = (first..).zip(items);
        let messages: Vec<_> = numbered.map(|(line, item)| self.message(line, item)).collect();
        let bytes = messages.iter().map(|message| message.body.len()).sum();
        let again = (self.embedded.orders.retry_failed && first <= self.embedded.known.lines)
            .then(|| messages.clone());
        self.lines += u64::try_from(messages.len()).unwrap_or(u64::MAX);
        let stream = self.embedded.stream.clone();
        let reply = self.embedded.handle.submit(stream, messages).await?;
        if let Reply::Conflict { index, .. } = reply {
            let line = first + u64::try_from(index).unwrap_or(u64::MAX);
            let text = format!(
                "line {line} is not what it was when the journal in --data was \
                 written; give the same input, or another directory"
            );
            return Err(Failure::usage(text).into());
        }
        if reply == Reply::Full {
            let text = "the disk of the journal in --data is full".to_owned();
            return Err(Failure { text, code: 1 }.into());
        }
        let in_place = matches!(
            &reply,
            Reply::Accepted { taken } if taken.first().is_some_and(|t| t.sequence.0 == first)
        );
        if !in_place {
            let text = format!("line {first} was not taken in: {reply:?}");
            return Err(Failure { text, code: 1 }.into());
        }
        if let Some(again) = again {
            // Before it is printed: who prints waits for what is tried again.
            Again::of(self.embedded).submit(first, again).await?;
        }
        self.ahead.push_back(Batch { last: self.lines, bytes, entry });
        self.ahead_bytes += bytes;
        self.confirm();
        Ok(())
    }

    fn message(&mut self, line: u64, item: Item) -> Arc<Message> {
        let local = self.embedded.kind == JournalKind::Local;
        let key =
            |fingerprint| local.then(|| Key { text: format!("line {line}").into(), fingerprint });
        let (content_type, key, body) = match item {
            Item::Whole(body) => (TYPE, key(fingerprint(&body)), body),
            Item::TooLong { bytes, fingerprint } => {
                (TOO_LONG, key(fingerprint), Bytes::from(bytes.to_string()))
            }
        };
        let id = MessageId::new(self.embedded.clock.now(), &mut self.rng);
        let content_type = content_type.into();
        Arc::new(Message { id, key, content_type, headers: Arc::default(), body })
    }

    fn unread(&self, error: &io::Error) -> Failure {
        Failure { text: format!("line {} can't be read: {error}", self.lines + 1), code: 1 }
    }

    fn too_short(&self) -> Failure {
        let (lines, known) = (self.lines, self.embedded.known.lines);
        let text = format!(
            "the input ends after line {lines}, but the journal in --data has \
             {known} lines; give the same input, or another directory"
        );
        Failure::usage(text)
    }
}
