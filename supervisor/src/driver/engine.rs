//! The dispatcher and what surrounds it, still without threads or sockets: records become one
//! journal entry per turn, and what speaks to the outside waits until that entry is durable. The
//! driver and the simulator both run this.

use std::{collections::VecDeque, sync::Arc};

use bytes::Bytes;
use rollcall_common::{
    ids::{Position, Sequence, StreamId},
    limits::TURN_BYTES,
    time::Time,
};

use crate::{
    dispatcher::{
        AttemptId, Delivery, Dispatch, Dispatcher, Effect, Event, Notice, Reply, RequestId,
        Settings, State,
    },
    journal::{Entry, EntryNumber, Ticket},
    record::{
        Record, SubscriptionId,
        codec::{DecodeError, Encoder, decode},
    },
    views::Change,
};

/// What may be done once the journal is durable up to it.
#[derive(Debug)]
pub enum Outward {
    /// Tell a worker that an attempt's answer is no longer needed.
    Cancel {
        /// The attempt.
        attempt: AttemptId,
        /// Its worker.
        worker: Arc<str>,
    },
    /// Show readers something new.
    Publish(Change),
    /// Hand results to a destination.
    Deliver(Delivery),
    /// Read messages back from the journal.
    Fetch {
        /// Their stream.
        stream: StreamId,
        /// The first.
        first: Sequence,
        /// The last that makes sense.
        last: Sequence,
    },
    /// Senders of a subscription that set out in an earlier life are to come back.
    Recall {
        /// The subscription.
        subscription: SubscriptionId,
        /// Its life now.
        life: u32,
    },
    /// Answer a request.
    Reply(RequestId, Reply),
    /// Tell somebody of an alert.
    Tell(Notice),
    /// Look at older results for a subscription.
    Scan {
        /// The subscription.
        subscription: SubscriptionId,
        /// Its life.
        life: u32,
        /// The last position that it has looked at.
        after: Position,
    },
}

/// The dispatcher, the entry that it is writing, and what waits for entries to be durable.
#[derive(Debug)]
pub struct Engine {
    dispatcher: Dispatcher,
    encoder: Encoder,
    /// What this turn says to the outside.
    saying: Vec<Outward>,
    /// Work for workers: it overlaps with the writing down.
    dispatches: VecDeque<Dispatch>,
    /// Workers to look for.
    probes: VecDeque<Arc<str>>,
    /// The last entry that was appended.
    appended: EntryNumber,
    /// What earlier turns said, each behind the entry that it rests on.
    held: VecDeque<(EntryNumber, Vec<Outward>)>,
}

impl Engine {
    /// An engine that goes on from `recovered`.
    #[must_use]
    pub fn new(settings: Arc<Settings>, recovered: Recovered, seed: u64, now: Time) -> Self {
        let mut engine = Self {
            dispatcher: Dispatcher::new(settings, recovered.state, seed, now),
            encoder: Encoder::default(),
            saying: Vec::new(),
            dispatches: VecDeque::new(),
            probes: VecDeque::new(),
            appended: recovered.last,
            held: VecDeque::new(),
        };
        engine.collect();
        engine
    }

    /// The dispatcher, to look at.
    #[must_use]
    pub fn dispatcher(&self) -> &Dispatcher {
        &self.dispatcher
    }

    /// Takes in something that happened.
    pub fn handle(&mut self, event: Event, now: Time) {
        self.dispatcher.handle(event, now);
        self.collect();
    }

    /// Does what is due.
    pub fn handle_timeout(&mut self, now: Time) {
        self.dispatcher.handle_timeout(now);
        self.collect();
    }

    /// When [`Engine::handle_timeout`] is to be called.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Time> {
        self.dispatcher.poll_timeout()
    }

    /// Whether the entry in hand is large enough to end the turn.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.encoder.len() >= TURN_BYTES
    }

    /// The entry in hand, as far as it is written.
    #[must_use]
    pub fn written(&self) -> &[u8] {
        self.encoder.bytes()
    }

    /// Whether a snapshot is being written: until it is, turns are ended and [`Engine::export`]
    /// is called, and nothing else.
    #[must_use]
    pub fn is_exporting(&self) -> bool {
        self.dispatcher.is_exporting()
    }

    /// Fills the turn's entry with the next parts of the snapshot, up to about `bytes`.
    pub fn export(&mut self, bytes: usize) {
        while self.is_exporting() {
            self.dispatcher.export();
            self.collect();
            if self.encoder.len() >= bytes {
                return;
            }
        }
    }

    /// The next message to hand to a worker, at once.
    pub fn poll_dispatch(&mut self) -> Option<Dispatch> {
        self.dispatches.pop_front()
    }

    /// The next worker to look for, at once.
    pub fn poll_probe(&mut self) -> Option<Arc<str>> {
        self.probes.pop_front()
    }

    /// Ends the turn: the entry to append, if there were records. [`Engine::appended`] follows.
    pub fn finish_turn(&mut self) -> Option<Bytes> {
        for stream in self.dispatcher.take_dirty() {
            let status = self.dispatcher.stream_status(stream);
            self.saying.push(Outward::Publish(Change::Status { stream, status }));
        }
        (!self.encoder.is_empty()).then(|| self.encoder.finish())
    }

    /// Says which entry the turn's records became; `None` if it had none. What the turn says
    /// waits for it, and a turn without records for all before it: a refusal or a repeated
    /// answer rests on what was written earlier.
    pub fn appended(&mut self, ticket: Option<Ticket>) {
        if let Some(ticket) = ticket {
            self.appended = ticket.0;
        }
        if !self.saying.is_empty() {
            self.held.push_back((self.appended, std::mem::take(&mut self.saying)));
        }
    }

    /// The next thing that may be done now that all entries before `next` are durable, with the
    /// entry that its records are in.
    pub fn poll_outward(&mut self, next: EntryNumber) -> Option<(EntryNumber, Vec<Outward>)> {
        let (entry, _) = self.held.front()?;
        if *entry >= next { None } else { self.held.pop_front() }
    }

    fn collect(&mut self) {
        while let Some(effect) = self.dispatcher.poll_effect() {
            match effect {
                Effect::Append(record) => {
                    let index = self.encoder.push(&record);
                    if let Some(change) = Change::of(record, index) {
                        self.saying.push(Outward::Publish(change));
                    }
                }
                Effect::Cancel { attempt, worker } => {
                    self.saying.push(Outward::Cancel { attempt, worker });
                }
                Effect::Deliver(delivery) => self.saying.push(Outward::Deliver(delivery)),
                Effect::Dispatch(dispatch) => self.dispatches.push_back(dispatch),
                Effect::Fetch { stream, first, last } => {
                    self.saying.push(Outward::Fetch { stream, first, last });
                }
                Effect::Probe { worker } => self.probes.push_back(worker),
                Effect::Recall { subscription, life } => {
                    self.saying.push(Outward::Recall { subscription, life });
                }
                Effect::Release(released) => {
                    self.saying.push(Outward::Publish(Change::Released(released)));
                }
                Effect::Reply(request, reply) => self.saying.push(Outward::Reply(request, reply)),
                Effect::Tell(notice) => self.saying.push(Outward::Tell(notice)),
                Effect::Scan { subscription, life, after } => {
                    self.saying.push(Outward::Scan { subscription, life, after });
                }
            }
        }
    }
}

/// What a journal says, folded.
#[derive(Debug, Default)]
pub struct Recovered {
    /// The state.
    pub state: State,
    /// The last entry; 0 when there is none.
    pub last: EntryNumber,
    /// All before this entry may have been removed.
    pub trimmed: EntryNumber,
}

impl Recovered {
    /// Takes in the next entry; what readers see of it goes to `publish`.
    ///
    /// # Errors
    /// When the entry holds no records that this program can read.
    pub fn take(
        &mut self,
        entry: &Entry,
        settings: &Settings,
        mut publish: impl FnMut(EntryNumber, Change),
    ) -> Result<(), DecodeError> {
        let mut released = Vec::new();
        for (index, record) in (0_u32..).zip(decode(&entry.payload)?) {
            self.state.apply(&record, settings, &mut released);
            if !self.state.is_rooted() {
                let change = Change::of_base(&record);
                change.into_iter().for_each(|change| publish(entry.number, change));
            }
            if let Record::Trimmed { below, .. } = record {
                self.trimmed = self.trimmed.max(EntryNumber(below));
            }
            if let Some(change) = Change::of(record, index) {
                publish(entry.number, change.lean());
            }
            for release in released.drain(..) {
                publish(entry.number, Change::Released(release));
            }
        }
        self.last = entry.number;
        Ok(())
    }
}
