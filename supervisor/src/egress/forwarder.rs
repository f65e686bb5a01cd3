//! Delivery: a lane's results go out one after the other, for as long as the destination takes
//! them; its dispatcher is told how far it came, and where it stopped.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use rollcall_common::{
    http::{Peer, Target},
    ids::{Epoch, Position, Sequence},
    shutdown::{Phase, Shutdown},
    task,
    time::{Clock, Time},
};

use super::request::{Batched, Envelope, Pushed, push};
use crate::{
    dispatcher::{Delivery, Event, Refusal},
    driver::Handle,
    record::Outcome,
    views::{ReadFailed, ReleasedResult, Views},
    web::Secret,
};

/// Results that are read at a time, where they are not batched.
const READ_AHEAD: usize = 64;
/// Bytes of results that are read at a time.
const READ_BYTES: usize = 1 << 20;
/// Deliveries after which the dispatcher is told how far a sender is.
const REPORT_EVERY: u32 = 64;
/// Time after which the dispatcher is told how far a sender is.
const REPORT_AFTER: Duration = Duration::from_millis(20);
/// Deliveries after which a sender leaves its lane, so that other streams have their turn.
const TURN: u32 = 1024;

/// Where and how a subscription's results are pushed.
#[derive(Debug)]
pub struct Destination {
    /// Its places, tried in this order.
    pub peers: Vec<Peer>,
    /// The secrets that sign.
    pub secrets: Vec<Secret>,
    /// How many results travel in one request.
    pub batch: usize,
    /// How long a request may take.
    pub timeout: Duration,
}

/// What makes a destination, to compare with what there is.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct DestinationSettings {
    /// Its places, tried in this order.
    pub targets: Vec<Target>,
    /// The secrets that sign.
    pub secrets: Vec<Secret>,
    /// How many results travel in one request.
    pub batch: usize,
    /// How long a request may take.
    pub timeout: Duration,
}

impl From<&DestinationSettings> for Destination {
    fn from(settings: &DestinationSettings) -> Self {
        Self {
            peers: settings.targets.iter().map(|target| Peer::new(target.clone(), None)).collect(),
            secrets: settings.secrets.clone(),
            batch: settings.batch.max(1),
            timeout: settings.timeout,
        }
    }
}

/// Destinations by subscription.
pub type Destinations = BTreeMap<Arc<str>, Arc<Destination>>;

/// Delivers.
#[derive(Debug)]
pub struct Forwarder {
    /// Destinations by subscription.
    pub destinations: arc_swap::ArcSwap<Destinations>,
    /// Where results are.
    pub views: Arc<Views>,
    /// Where it is told how far a lane is.
    pub handle: Handle,
    /// The epoch of this supervisor.
    pub epoch: Epoch,
    /// The time.
    pub clock: Clock,
    /// No new request while the process drains.
    pub shutdown: Shutdown,
}

impl Forwarder {
    /// Delivers what it can of a lane. It does not block; the dispatcher is told.
    pub fn deliver(self: &Arc<Self>, delivery: Delivery) {
        let forwarder = Arc::clone(self);
        task::spawn("delivery", async move {
            let mut trip = Trip::new(&forwarder, delivery);
            let event = trip.run().await;
            // Err: the driver has ended; the next start delivers again.
            let _ = forwarder.handle.tell(event).await;
        });
    }

    /// Closes connections that have been idle for too long.
    pub fn sweep(&self) {
        for destination in self.destinations.load().values() {
            destination.peers.iter().for_each(Peer::sweep);
        }
    }
}

/// What a sender does after its report.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Then {
    /// It leaves the lane.
    Leaves,
    /// It goes on.
    Stays,
}

/// One sender's way along a lane.
struct Trip<'a> {
    forwarder: &'a Forwarder,
    delivery: Delivery,
    /// The next to be sent.
    next: Sequence,
    /// The last that the dispatcher knows to be done.
    reported: Sequence,
    reported_at: Time,
    /// Deliveries so far.
    count: u32,
}

impl<'a> Trip<'a> {
    fn new(forwarder: &'a Forwarder, delivery: Delivery) -> Self {
        let next = delivery.first;
        let reported = Sequence(next.0 - 1);
        Self { forwarder, delivery, next, reported, reported_at: forwarder.clock.now(), count: 0 }
    }

    /// Sends until there is nothing more, or it is refused; gives back the last word on it.
    async fn run(&mut self) -> Event {
        let (subscription, stream) = (self.delivery.subscription, self.delivery.stream);
        let Some(destination) =
            self.forwarder.destinations.load().get(&self.delivery.name).cloned()
        else {
            let refusal = Refusal::Unavailable { retry_after: None };
            let detail = "the subscription has no destination".into();
            return Event::Undelivered { subscription, stream, refusal, detail };
        };
        loop {
            let results = match self.read(&destination).await {
                Ok(results) => results,
                Err(ReadFailed::Gone { first }) if first > self.next.0 => {
                    let (name, stream) = (&self.delivery.name, self.delivery.stream.0);
                    let (from, to) = (self.next, first - 1);
                    tracing::error!(%name, stream, %from, to, "trimmed before it was taken");
                    self.advance(Sequence(first - 1));
                    continue;
                }
                Err(error) => {
                    tracing::error!(%error, "results can't be read; the process ends");
                    std::process::abort();
                }
            };
            let stopping = self.forwarder.shutdown.phase() > Phase::Running && self.count > 0;
            if results.is_empty() || self.count >= TURN || stopping {
                return self.progress(Then::Leaves);
            }
            for piece in results.chunks(destination.batch) {
                if let Err((refusal, detail)) = self.send(&destination, piece).await {
                    self.report().await;
                    return Event::Undelivered { subscription, stream, refusal, detail };
                }
                self.report_now_and_then().await;
            }
        }
    }

    /// The next results of the lane: from memory if they are there.
    async fn read(&self, destination: &Destination) -> Result<Vec<ReleasedResult>, ReadFailed> {
        let limit = READ_AHEAD.max(destination.batch);
        let (stream, after) = (self.delivery.stream, Sequence(self.next.0 - 1));
        if let Some(results) = self.forwarder.views.recent_results(stream, after, limit) {
            return Ok(results);
        }
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
        let skipped = |result: &ReleasedResult| result.answer.outcome == Outcome::Skipped;
        let wanted: Vec<ReleasedResult> =
            piece.iter().filter(|result| !skipped(result)).cloned().collect();
        let Some(last) = piece.last().map(|result| result.sequence) else {
            return Ok(());
        };
        if !wanted.is_empty()
            && let Err((taken, refusal, detail)) = self.push(destination, &wanted).await
        {
            if let Some(refused) = wanted.get(taken) {
                self.advance(Sequence(refused.sequence.0 - 1));
            }
            return Err((refusal, detail));
        }
        self.advance(last);
        Ok(())
    }

    /// Pushes to the first place that does not fail.
    async fn push(
        &self,
        destination: &Destination,
        results: &[ReleasedResult],
    ) -> Result<(), (usize, Refusal, Box<str>)> {
        let first = results.first().map_or(self.next, |result| result.sequence);
        let position = results.first().map_or(Position(0), |result| result.position);
        let retried = if self.count == 0 { self.delivery.attempt } else { 1 };
        let envelope = Envelope {
            secrets: &destination.secrets,
            attempt: retried,
            epoch: self.forwarder.epoch,
            replay: position <= self.delivery.replay_until,
            previous: self.forwarder.views.previous(self.delivery.stream, first),
            now: self.forwarder.clock.now(),
        };
        let batched = if destination.batch > 1 { Batched::Yes } else { Batched::No };
        let mut worst = (0, Refusal::Unavailable { retry_after: None }, Box::from("no place"));
        for peer in &destination.peers {
            let pushed = push(peer, results, envelope, batched);
            match tokio::time::timeout(destination.timeout, pushed).await {
                Ok(Pushed::Done) => return Ok(()),
                Ok(Pushed::Refused { taken, refusal, detail }) => {
                    worst = (taken, refusal, detail);
                    if !matches!(refusal, Refusal::Unavailable { .. }) || taken > 0 {
                        break;
                    }
                }
                Err(_) => {
                    let refusal = Refusal::Unavailable { retry_after: None };
                    worst = (0, refusal, "no answer in time".into());
                }
            }
        }
        Err(worst)
    }

    fn advance(&mut self, through: Sequence) {
        if through >= self.next {
            self.next = through.next();
            self.count += 1;
        }
    }

    /// Tells the dispatcher how far the lane is, if that was not just done.
    async fn report_now_and_then(&mut self) {
        let long = self.forwarder.clock.now().since(self.reported_at) >= REPORT_AFTER;
        if long || self.count.is_multiple_of(REPORT_EVERY) {
            self.report().await;
        }
    }

    /// Tells the dispatcher how far the lane is.
    async fn report(&mut self) {
        let done = Sequence(self.next.0 - 1);
        if done > self.reported {
            (self.reported, self.reported_at) = (done, self.forwarder.clock.now());
            // Err: the driver has ended; the next start delivers again.
            let _ = self.forwarder.handle.tell(self.progress(Then::Stays)).await;
        }
    }

    fn progress(&self, then: Then) -> Event {
        let more = then == Then::Stays;
        let (subscription, stream) = (self.delivery.subscription, self.delivery.stream);
        let through = Sequence(self.next.0 - 1);
        let views = &self.forwarder.views;
        // Where the next one is not released yet, it can only come after all that was before.
        let head = *views.head().borrow();
        let floor = views.position(stream, self.next).unwrap_or_else(|| head.next());
        Event::Delivered { more, subscription, stream, through, floor }
    }
}
