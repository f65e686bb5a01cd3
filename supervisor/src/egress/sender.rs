//! One sender's way along a stream.

use std::{
    borrow::Cow,
    pin::{Pin, pin},
    sync::{Arc, atomic::AtomicUsize, atomic::Ordering},
    time::Duration,
};

use rollcall_common::{
    ids::{Position, Sequence},
    shutdown::Phase,
    time::Time,
};
use tokio::time::{Sleep, sleep};

use super::{
    Pushed,
    destination::Destination,
    forwarder::Forwarder,
    request::{Envelope, batch_key},
};
use crate::{
    dispatcher::{Delivery, Event, Part, Refusal},
    record::Outcome,
    views::{ReadFailed, ReleasedResult},
    web::contiguous_prefix,
};

/// Results that are read at a time, at least.
const READ_AHEAD: usize = 256;
/// Requests whose results are read at a time, at least, where several travel together.
const PIECES: usize = 4;
/// Bytes of results that are read at a time.
const READ_BYTES: usize = 1 << 20;
/// Deliveries after which the dispatcher is told how far a sender is.
const REPORT_EVERY: u32 = 64;
/// Time after which the dispatcher is told how far a sender is.
const REPORT_AFTER: Duration = Duration::from_millis(20);
/// Deliveries after which a sender leaves its stream, so that other streams have their turn.
const TURN: u32 = 1024;

/// How often a sender that waits looks whether it has been called back.
const CALL_BACK: Duration = Duration::from_millis(100);

/// What a sender does after its report.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Then {
    /// It leaves the stream.
    Leaves,
    /// It goes on.
    Stays,
}

/// One sender's way along a stream.
pub(super) struct Sender<'a> {
    forwarder: &'a Forwarder,
    delivery: Delivery,
    /// The next to be sent.
    next: Sequence,
    /// The position of the one before it, as far as it is known.
    above: Position,
    /// The last that the dispatcher knows to be done.
    reported: Sequence,
    reported_at: Time,
    /// When it is to be told what is done, also while the next one hangs.
    overdue: Pin<Box<Sleep>>,
    /// Deliveries so far.
    count: u32,
}

impl<'a> Sender<'a> {
    pub(super) fn new(forwarder: &'a Forwarder, delivery: Delivery) -> Self {
        let next = delivery.first;
        let reported = next.before();
        let reported_at = forwarder.clock.now();
        let (above, overdue) = (Position(0), Box::pin(sleep(REPORT_AFTER)));
        Self { forwarder, delivery, next, above, reported, reported_at, overdue, count: 0 }
    }

    pub(super) fn delivery(&self) -> &Delivery {
        &self.delivery
    }

    /// Sends until there is nothing more, or it is refused; gives back the last word on it.
    pub(super) async fn run(&mut self, destination: Option<Arc<Destination>>) -> Event {
        let Some(destination) = destination else {
            let detail = "the subscription has no destination".into();
            return self.refused(Refusal::Away { retry_after: None }, detail);
        };
        loop {
            if self.is_called_back() {
                return self.progress(Then::Leaves);
            }
            let results = match self.read(&destination).await {
                Ok(results) => results,
                Err(ReadFailed::Gone { first }) if first > self.next.0 => {
                    // Retention was told not to wait for anybody.
                    let (name, stream) = (&self.delivery.name, self.delivery.stream.0);
                    let (from, to) = (self.next, first - 1);
                    tracing::error!(%name, stream, %from, to, "trimmed before it was taken");
                    self.advance(Sequence(first - 1));
                    continue;
                }
                Err(error) if error.may_pass() => {
                    tracing::warn!(%error, "results can't be read now; trying on");
                    sleep(CALL_BACK).await;
                    continue;
                }
                Err(error) => {
                    tracing::error!(%error, "results can't be read; the process ends");
                    rollcall_common::telemetry::flush();
                    std::process::abort();
                }
            };
            let leaves = self.count >= TURN || self.is_over() || self.is_stopping();
            if results.is_empty() || leaves {
                return self.progress(Then::Leaves);
            }
            if let Err((refusal, detail)) = self.send_all(&destination, &results).await {
                self.report().await;
                return self.refused(refusal, detail);
            }
        }
    }

    /// Sends what was read, as far as nothing is missing in it.
    async fn send_all(
        &mut self,
        destination: &Destination,
        results: &[ReleasedResult],
    ) -> Result<(), (Refusal, Box<str>)> {
        let (whole, gap) = contiguous_prefix(results, self.next, self.above);
        let (mut rest, _) = results.split_at(whole);
        while let Some(length) = self.request(destination, rest) {
            let (piece, behind) = rest.split_at(length);
            rest = behind;
            self.wait_for_replay(destination, piece).await;
            if self.is_called_back() || self.is_stopping() {
                return Ok(());
            }
            self.send(destination, piece).await?;
            self.above = piece.last().map_or(self.above, |result| result.position);
            self.report_now_and_then().await;
        }
        let Some(gap) = gap else {
            return Ok(());
        };
        let name = &self.delivery.name;
        tracing::error!(subscription = %name, ?gap, "a result is missing; its stream is held");
        let detail =
            format!("{} should have come and {} of {} came", gap.expected, gap.got, gap.stream);
        let event = Event::GapFound { subscription: self.delivery.subscription, gap };
        // Err: the driver has ended; the next start looks again.
        let _ = self.forwarder.handle.send(event).await;
        Err((Refusal::Unfit, detail.into()))
    }

    /// How many of these make the next request; `None`: none of them, or more have to be read.
    fn request(&self, destination: &Destination, results: &[ReleasedResult]) -> Option<usize> {
        let until = self.delivery.replay_until;
        let first = results.first()?;
        if self.delivery.batching.is_some() {
            return self.delivery.request(results.iter().map(|result| Part {
                sequence: result.sequence,
                position: result.position,
                bytes: result.answer.payload.body.len(),
            }));
        }
        let together = results.iter().take(destination.piece());
        let replayed = first.position <= until;
        Some(together.take_while(|result| (result.position <= until) == replayed).count())
    }

    /// Whether all is sent that its batches are about.
    fn is_over(&self) -> bool {
        self.delivery.batching.is_some_and(|batching| self.next > batching.through)
    }

    fn is_called_back(&self) -> bool {
        !self.forwarder.out.has(&self.delivery)
    }

    /// Whether the process drains, and it has done something: the dispatcher may have sent it out
    /// before it knew, and would send it again at once.
    fn is_stopping(&self) -> bool {
        self.forwarder.shutdown.phase() > Phase::Running && self.count > 0
    }

    /// Replayed results go out at their own pace.
    async fn wait_for_replay(&self, destination: &Destination, piece: &[ReleasedResult]) {
        let until = self.delivery.replay_until;
        let replayed = piece.iter().filter(|result| result.position <= until).count();
        if replayed == 0 {
            return;
        }
        let mut wait = destination.replay_wait(replayed, self.forwarder.clock.now());
        while !wait.is_zero() && !self.is_called_back() && !self.is_stopping() {
            let step = wait.min(CALL_BACK);
            sleep(step).await;
            wait -= step;
        }
    }

    fn refused(&self, refusal: Refusal, detail: Box<str>) -> Event {
        let (subscription, stream) = (self.delivery.subscription, self.delivery.stream);
        Event::Undelivered { subscription, stream, refusal, detail }
    }

    /// The next results of the stream, enough of them for a request.
    async fn read(&self, destination: &Destination) -> Result<Vec<ReleasedResult>, ReadFailed> {
        let batch = self.delivery.batching.map(|batching| batching.results);
        let piece = batch.and_then(|batch| usize::try_from(batch).ok());
        let limit = READ_AHEAD.max(PIECES * piece.unwrap_or_else(|| destination.piece()));
        let mut results = self.read_after(self.next.before(), limit).await?;
        while let Some(last) = results.last()
            && self.delivery.batching.is_some_and(|batching| last.sequence < batching.through)
            && self.request(destination, &results).is_none()
        {
            // They are large: what is read at a time is less than a request.
            let more = self.read_after(last.sequence, limit).await?;
            if more.is_empty() {
                break;
            }
            results.extend(more);
        }
        Ok(results)
    }

    /// Results of the stream: from memory if they are there.
    async fn read_after(
        &self,
        after: Sequence,
        limit: usize,
    ) -> Result<Vec<ReleasedResult>, ReadFailed> {
        let stream = self.delivery.stream;
        if let Some(results) = self.forwarder.views.recent_results(stream, after, limit) {
            return Ok(results);
        }
        // It is never closed.
        let _turn = self.forwarder.reads.acquire().await;
        let views = Arc::clone(&self.forwarder.views);
        let read = move || views.stream_results(stream, after, limit, READ_BYTES);
        match tokio::task::spawn_blocking(read).await {
            Ok(results) => results,
            Err(error) => Err(ReadFailed::Stopped(error.to_string())),
        }
    }

    /// Pushes one request's worth; a skipped result needs none.
    async fn send(
        &mut self,
        destination: &Destination,
        piece: &[ReleasedResult],
    ) -> Result<(), (Refusal, Box<str>)> {
        let skipped = |result: &ReleasedResult| {
            let outcome = result.answer.outcome;
            outcome == Outcome::Skipped || self.delivery.passes_over(result.sequence)
        };
        let wanted: Cow<'_, [ReleasedResult]> = if piece.iter().any(skipped) {
            piece.iter().filter(|result| !skipped(result)).cloned().collect()
        } else {
            piece.into()
        };
        let Some(last) = piece.last().map(|result| result.sequence) else {
            return Ok(());
        };
        if !wanted.is_empty()
            && let Pushed::Refused { taken, refusal, detail } =
                self.push(destination, &wanted).await
        {
            if let Some(refused) = wanted.get(taken) {
                self.advance(refused.sequence.before());
            }
            return Err((refusal, detail));
        }
        self.advance(last);
        Ok(())
    }

    /// Pushes, and tells the dispatcher meanwhile of what was taken before, if that has yet to be
    /// told and this takes its time.
    async fn push(&mut self, destination: &Destination, results: &[ReleasedResult]) -> Pushed {
        let first = results.first().map_or(self.next, |result| result.sequence);
        let position = results.first().map_or(Position(0), |result| result.position);
        let together = self.delivery.batching.filter(|batching| batching.results > 1);
        let batch = together.and_then(|_| batch_key(&self.delivery.name, results));
        let envelope = Envelope {
            secrets: &destination.secrets,
            headers: &destination.headers,
            batch: batch.as_deref(),
            generation: self.delivery.generation,
            attempt: if self.count == 0 { self.delivery.attempt } else { 1 },
            epoch: self.forwarder.epoch,
            replay: position <= self.delivery.replay_until,
            previous: self.previous(first),
            now: self.forwarder.clock.now(),
        };
        let taken = AtomicUsize::new(0);
        let mut pushing = pin!(destination.push(results, envelope, &taken));
        loop {
            let tells = self.reported.next() < self.next || destination.tells_of_each();
            tokio::select! {
                biased;
                pushed = &mut pushing => return pushed,
                () = &mut self.overdue, if tells => {
                    if let Some(next) = results.get(taken.load(Ordering::Relaxed)) {
                        self.advance(Sequence(next.sequence.0 - 1));
                    }
                    self.report().await;
                    self.overdue.set(sleep(REPORT_AFTER));
                }
            }
        }
    }

    /// The one that was pushed before this one.
    fn previous(&self, sequence: Sequence) -> Sequence {
        let previous = |sequence| self.forwarder.views.previous(self.delivery.stream, sequence);
        let mut before = previous(sequence);
        while self.delivery.passes_over(before) {
            before = previous(before);
        }
        before
    }

    fn advance(&mut self, through: Sequence) {
        if through >= self.next {
            self.next = through.next();
            self.count += 1;
        }
    }

    /// Tells the dispatcher how far the stream is, if that was not just done.
    async fn report_now_and_then(&mut self) {
        let long = self.forwarder.clock.now().since(self.reported_at) >= REPORT_AFTER;
        if long || self.count.is_multiple_of(REPORT_EVERY) {
            self.report().await;
        }
    }

    /// Tells the dispatcher how far the stream is.
    async fn report(&mut self) {
        let done = self.next.before();
        if done > self.reported {
            (self.reported, self.reported_at) = (done, self.forwarder.clock.now());
            self.overdue.set(sleep(REPORT_AFTER));
            // Err: the driver has ended; the next start delivers again.
            let _ = self.forwarder.handle.send(self.progress(Then::Stays)).await;
        }
    }

    fn progress(&self, then: Then) -> Event {
        let more = then == Then::Stays;
        let (subscription, stream) = (self.delivery.subscription, self.delivery.stream);
        let through = self.next.before();
        let views = &self.forwarder.views;
        // Where the next one is not released yet, it can only come after all that was before.
        let head = *views.head().borrow();
        let floor = views.position(stream, self.next).unwrap_or_else(|| head.next());
        Event::Delivered { more, subscription, stream, through, floor }
    }
}
