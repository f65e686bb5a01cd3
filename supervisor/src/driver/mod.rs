//! The one task that owns the engine. It takes what happened, lets the engine decide, appends one
//! entry per turn, and does what the engine asks for: at once, or when the entry is durable.

use std::{collections::VecDeque, fmt, sync::Arc};

use rollcall_common::{
    ids::Epoch,
    limits::{DRIVER_TURN, TURN_BYTES, UNSYNCED_BYTES},
    time::{Clock, Time},
};
use tokio::sync::watch;

pub mod engine;
mod handle;
mod journal_reader;
mod overview_publisher;
pub mod recovery;
mod requests;
pub mod retention;

use crate::{
    dispatcher::{AttemptId, Delivery, Dispatch, Event, Notice},
    journal::{EntryNumber, Journal, Space, Tail},
    record::SubscriptionId,
    views::Views,
};
use engine::{DeferredEffect, Engine};
use handle::Command;
pub use handle::{Gone, Handle, Mailbox, Pressure};
use journal_reader::BackfillReader;
use overview_publisher::OverviewPublisher;
use requests::Requests;

/// What the driver hands work to. It must not block, and answers come back through the handle.
pub trait Edges: Send + Sync {
    /// Hand a message to a worker; [`Event::AttemptEnded`] follows.
    fn dispatch(&self, dispatch: Dispatch);
    /// An attempt's answer is no longer needed; its worker may be told.
    fn cancel(&self, worker: &str, attempt: AttemptId);
    /// A worker was gone for so long that it is forgotten.
    fn forget(&self, worker: &str);
    /// An attempt is over, and nobody waits for its answer any more.
    fn give_up(&self, worker: &str, attempt: AttemptId);
    /// Look whether a worker is there; [`Event::Probed`] follows.
    fn probe(&self, worker: Arc<str>);
    /// Hand results to a destination; [`Event::Delivered`] or [`Event::Undelivered`] follows.
    fn deliver(&self, delivery: Delivery);
    /// Tell somebody of an alert; [`Event::Notified`] follows.
    fn tell(&self, notice: Notice);
    /// Senders of `subscription` that set out before `revision` are to come back.
    fn recall(&self, subscription: SubscriptionId, revision: u32);
}

/// The task that owns the engine.
pub struct Driver {
    engine: Engine,
    journal: Arc<dyn Journal>,
    epoch: Epoch,
    tail: watch::Receiver<Tail>,
    views: Arc<Views>,
    edges: Arc<dyn Edges>,
    clock: Clock,
    requests: Requests,
    reader: BackfillReader,
    overview: OverviewPublisher,
    mailbox: Mailbox,
    space: Space,
    /// Entries that are appended and not yet durable: number, bytes, and when.
    unsynced: VecDeque<(EntryNumber, usize, Time)>,
    unsynced_bytes: usize,
    /// Whether it ends as soon as all is durable.
    stopping: bool,
}

/// What a driver is made of.
pub struct Parts {
    /// What decides.
    pub engine: Engine,
    /// Where it is written down.
    pub journal: Arc<dyn Journal>,
    /// Under which epoch.
    pub epoch: Epoch,
    /// What readers see.
    pub views: Arc<Views>,
    /// Who does the work.
    pub edges: Arc<dyn Edges>,
    /// The time.
    pub clock: Clock,
    /// The way in, for what the driver itself has others do.
    pub handle: Handle,
    /// The driver's end of it.
    pub mailbox: Mailbox,
}

impl fmt::Debug for Parts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Parts").field("epoch", &self.epoch).finish_non_exhaustive()
    }
}

impl fmt::Debug for Driver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Driver").field("epoch", &self.epoch).finish_non_exhaustive()
    }
}

/// Why the driver ended by itself.
#[derive(Clone, Debug, thiserror::Error)]
pub enum DriverError {
    /// Nothing can be written down any more.
    #[error("the journal has failed: {0}; look at its disk, and start again")]
    Journal(Arc<str>),
}

impl Driver {
    /// A driver that is yet to run.
    #[must_use]
    pub fn new(parts: Parts) -> Self {
        let tail = parts.journal.tail();
        Self {
            reader: BackfillReader::new(Arc::clone(&parts.views), parts.handle),
            engine: parts.engine,
            journal: parts.journal,
            epoch: parts.epoch,
            tail,
            views: parts.views,
            edges: parts.edges,
            clock: parts.clock,
            requests: Requests::default(),
            overview: OverviewPublisher::default(),
            mailbox: parts.mailbox,
            space: Space::Enough,
            unsynced: VecDeque::new(),
            unsynced_bytes: 0,
            stopping: false,
        }
    }

    /// Runs until it is told to stop, or the journal has failed.
    ///
    /// # Errors
    /// When the journal has failed: what it could not write is not acknowledged, and the process
    /// should end.
    pub async fn run(mut self) -> Result<(), DriverError> {
        let mut commands = Vec::with_capacity(DRIVER_TURN);
        loop {
            // Before anything else: under load the mailbox is never empty. It is a part of what is
            // due, so that the mailbox has its turn as well.
            let now = self.clock.now();
            if self.has_room() && self.engine.poll_timeout().is_some_and(|at| at <= now) {
                self.engine.handle_timeout(now);
            }
            self.end_turn()?;
            if self.stopping && self.unsynced.is_empty() {
                return Ok(());
            }
            let room = self.has_room();
            let due = self.engine.poll_timeout().filter(|_| room);
            let deadline = earlier(due, self.overview.due());
            let wait = deadline.map(|at| at.since(now)).unwrap_or_default();
            tokio::select! {
                biased;
                changed = self.tail.changed() => {
                    if changed.is_err() {
                        return Err(DriverError::Journal("it has stopped".into()));
                    }
                    self.journal_moved()?;
                }
                Some(asked) = self.mailbox.pulse.recv() => {
                    // Err: whoever asked has gone.
                    let _ = asked.send(());
                }
                count = self.mailbox.commands.recv_many(&mut commands, DRIVER_TURN), if room => {
                    if count == 0 {
                        return Ok(());
                    }
                    self.take(&mut commands)?;
                }
                () = tokio::time::sleep(wait), if deadline.is_some() => {}
            }
        }
    }

    /// Whether the journal is near enough that more may be handed to it.
    fn has_room(&self) -> bool {
        self.unsynced_bytes < UNSYNCED_BYTES
    }

    fn take(&mut self, commands: &mut Vec<Command>) -> Result<(), DriverError> {
        let now = self.clock.now();
        for command in commands.drain(..) {
            match command {
                Command::Request(sender, event) => {
                    let request = self.requests.open(sender);
                    self.engine.handle(event(request), now);
                }
                Command::Query(look) => {
                    let seen = look(self.engine.dispatcher());
                    let request = self.requests.keep(seen);
                    self.engine.settle(request);
                }
                Command::Settle(sender) => {
                    let request = self.requests.open(sender);
                    self.engine.settle(request);
                }
                Command::Stop => self.stopping = true,
                // Their room is given back when they are written down.
                Command::Send(event, _room) => self.engine.handle(event, now),
                Command::SendAll(events, _room) => {
                    for event in events {
                        self.engine.handle(event, now);
                        self.end_full_turn()?;
                    }
                }
            }
            self.end_full_turn()?;
        }
        Ok(())
    }

    fn end_full_turn(&mut self) -> Result<(), DriverError> {
        if self.engine.is_full() {
            self.end_turn()?;
        }
        while self.engine.is_exporting() {
            // A snapshot begins in an entry of its own, and stands in one piece.
            self.end_turn()?;
            self.engine.export(TURN_BYTES);
        }
        Ok(())
    }

    /// Appends what the turn decided, and does what may be done.
    fn end_turn(&mut self) -> Result<(), DriverError> {
        while let Some(dispatch) = self.engine.poll_dispatch() {
            self.edges.dispatch(dispatch);
        }
        while let Some(worker) = self.engine.poll_probe() {
            self.edges.probe(worker);
        }
        let mut entry = None;
        while let Some(payload) = self.engine.finish_turn() {
            let bytes = payload.len();
            let appended = self.journal.append(payload, self.epoch);
            let ticket =
                appended.map_err(|error| DriverError::Journal(error.to_string().into()))?;
            self.unsynced.push_back((ticket.0, bytes, self.clock.now()));
            self.unsynced_bytes += bytes;
            entry = Some(ticket.0);
            self.engine.appended(Some(ticket));
        }
        if entry.is_some() {
            self.show_unsynced();
        }
        self.overview.note(self.engine.dispatcher(), entry, self.clock.now());
        self.engine.appended(None);
        let next = self.tail.borrow().next;
        self.release_turns(next);
        Ok(())
    }

    fn journal_moved(&mut self) -> Result<(), DriverError> {
        let tail = self.tail.borrow_and_update().clone();
        if let Some(reason) = tail.failed {
            return Err(DriverError::Journal(reason));
        }
        if tail.space != self.space {
            self.space = tail.space;
            let low = self.space == Space::Low;
            tracing::warn!(low, "room on the journal's disk");
            self.engine.handle(Event::Space { low }, self.clock.now());
        }
        while self.unsynced.front().is_some_and(|(entry, ..)| *entry < tail.next) {
            let bytes = self.unsynced.pop_front().map_or(0, |(_, bytes, _)| bytes);
            self.unsynced_bytes -= bytes;
        }
        self.show_unsynced();
        self.release_turns(tail.next);
        Ok(())
    }

    fn show_unsynced(&self) {
        self.mailbox.show_unsynced(self.unsynced.front().map(|(_, _, at)| *at));
    }

    /// Says what rests on entries before `next`.
    fn release_turns(&mut self, next: EntryNumber) {
        while let Some(mut turn) = self.engine.poll_turn(next) {
            self.views.publish(turn.entry, turn.changes.drain(..));
            self.overview.show(&self.views, turn.entry.next());
            for item in turn.effects.drain(..) {
                self.act(item);
            }
            self.engine.recycle(turn);
        }
        self.overview.show(&self.views, next);
    }

    fn act(&mut self, item: DeferredEffect) {
        match item {
            DeferredEffect::Cancel { attempt, worker } => self.edges.cancel(&worker, attempt),
            DeferredEffect::Forget(worker) => self.edges.forget(&worker),
            DeferredEffect::GiveUp { attempt, worker } => self.edges.give_up(&worker, attempt),
            DeferredEffect::Deliver(delivery) => self.edges.deliver(delivery),
            DeferredEffect::Fetch { stream, first, last, bytes } => {
                self.reader.fetch(stream, first..=last, bytes);
            }
            DeferredEffect::Recall { subscription, revision } => {
                self.edges.recall(subscription, revision);
            }
            DeferredEffect::Reply(request, reply) => self.requests.answer(request, reply),
            DeferredEffect::Tell(notice) => self.edges.tell(notice),
            DeferredEffect::Scan { subscription, revision, after } => {
                let wants = self.engine.dispatcher().wanted_by(subscription);
                self.reader.scan((subscription, revision), after, wants);
            }
        }
    }
}

/// The earlier of two moments, where there are any.
fn earlier(one: Option<Time>, other: Option<Time>) -> Option<Time> {
    one.into_iter().chain(other).min()
}
