//! The dispatcher and what surrounds it, still without threads or sockets: records become one
//! journal entry per turn, and what speaks to the outside waits until that entry is durable. The
//! driver and the simulator both run this.

use std::{collections::VecDeque, sync::Arc};

use bytes::Bytes;
use rollcall_common::{
    ids::{Position, Sequence, StreamId},
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

/// For so many changes, and so much to be done, a turn keeps its room for a later one. A start says
/// something of every stream.
const KEPT_ROOM: usize = 8192;

/// What may be done once the journal is durable up to it.
#[derive(Debug)]
pub enum DeferredEffect {
    /// Tell a worker that an attempt's answer is no longer needed.
    Cancel {
        /// The attempt.
        attempt: AttemptId,
        /// Its worker.
        worker: Arc<str>,
    },
    /// Nothing is known of a worker any more.
    Forget(Arc<str>),
    /// An attempt is over; its connection may be closed.
    GiveUp {
        /// The attempt.
        attempt: AttemptId,
        /// Its worker.
        worker: Arc<str>,
    },
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
        /// Bytes of them that there is room for; the first comes in any case.
        bytes: usize,
    },
    /// Senders of a subscription that set out in an earlier revision are to come back.
    Recall {
        /// The subscription.
        subscription: SubscriptionId,
        /// Its revision now.
        revision: u32,
    },
    /// Answer a request.
    Reply(RequestId, Reply),
    /// Tell somebody of an alert.
    Tell(Notice),
    /// Look at older results for a subscription.
    Scan {
        /// The subscription.
        subscription: SubscriptionId,
        /// Its revision.
        revision: u32,
        /// The last position that it has looked at.
        after: Position,
    },
}

/// What a turn says to the outside, once the entry that it rests on is durable.
#[derive(Debug, Default)]
pub struct Turn {
    /// The entry that the turn's records are in, or the last one before it.
    pub entry: EntryNumber,
    /// What readers see from then on; before anything else.
    pub changes: Vec<Change>,
    /// What else is to be done, in order.
    pub effects: Vec<DeferredEffect>,
}

/// The dispatcher, the entry that it is writing, and what waits for entries to be durable.
#[derive(Debug)]
pub struct Engine {
    dispatcher: Dispatcher,
    encoder: Encoder,
    /// What this entry says to the outside.
    open_turn: Turn,
    /// Entries of this turn that are full, each with what it says.
    closed: VecDeque<(Bytes, Turn)>,
    /// What the entry says that was given out last.
    closing: Option<Turn>,
    /// What an earlier turn said, emptied: a busy turn says so much that its room is worth keeping.
    spare: Turn,
    /// Work for workers: it overlaps with the writing down.
    dispatches: VecDeque<Dispatch>,
    /// Workers to look for.
    probes: VecDeque<Arc<str>>,
    /// The last entry that was appended.
    appended: EntryNumber,
    /// What earlier turns said, each behind the entry that it rests on.
    held: VecDeque<Turn>,
}

impl Engine {
    /// An engine that goes on from `recovered`.
    #[must_use]
    pub fn new(settings: Arc<Settings>, recovered: Recovered, seed: u64, now: Time) -> Self {
        let mut engine = Self {
            dispatcher: Dispatcher::new(settings, recovered.state, seed, now),
            encoder: Encoder::default(),
            open_turn: Turn::default(),
            closed: VecDeque::new(),
            closing: None,
            spare: Turn::default(),
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

    /// Answers a request as soon as all that was handled before it is durable.
    pub fn settle(&mut self, request: RequestId) {
        self.open_turn.effects.push(DeferredEffect::Reply(request, Reply::Done));
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

    /// Whether an entry of this turn is full: the turn is to end.
    #[must_use]
    pub fn is_full(&self) -> bool {
        !self.closed.is_empty()
    }

    /// The entries of this turn, the last one as far as it is written.
    pub fn written(&self) -> impl Iterator<Item = &[u8]> {
        let closed = self.closed.iter().map(|(payload, _)| &**payload);
        closed.chain((!self.encoder.is_empty()).then(|| self.encoder.bytes()))
    }

    /// Whether a snapshot is being written: until it is, turns are ended and [`Engine::export`]
    /// is called, and nothing else.
    #[must_use]
    pub fn is_exporting(&self) -> bool {
        self.dispatcher.is_exporting()
    }

    /// Fills the turn's entry with the next parts of the snapshot, up to about `bytes`, and at most
    /// until it is full.
    pub fn export(&mut self, bytes: usize) {
        while self.is_exporting() {
            self.dispatcher.export();
            self.collect();
            if self.is_full() || self.encoder.len() >= bytes {
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

    /// Ends the turn: the next entry to append. [`Engine::appended`] follows each, and the `None`
    /// that comes when there is no more.
    pub fn finish_turn(&mut self) -> Option<Bytes> {
        if let Some((payload, turn)) = self.closed.pop_front() {
            self.closing = Some(turn);
            return Some(payload);
        }
        self.say_statuses();
        (!self.encoder.is_empty()).then(|| self.finish_entry())
    }

    /// Says which entry the records became; `None` if there were none. What was said with them
    /// waits for it, and what was said without records for all before it: a refusal or a repeated
    /// answer rests on what was written earlier.
    ///
    /// # Panics
    /// When the entry is not the one that follows the last: somebody else has written, and what
    /// this engine holds is not what the journal says.
    pub fn appended(&mut self, ticket: Option<Ticket>) {
        if let Some(ticket) = ticket {
            let next = self.appended.next();
            assert!(ticket.0 == next, "entry {:?} was appended, {next:?} was due", ticket.0);
            self.appended = ticket.0;
        }
        if let Some(turn) = self.closing.take() {
            self.hold(turn);
        } else if !self.open_turn.changes.is_empty() || !self.open_turn.effects.is_empty() {
            let fresh = std::mem::take(&mut self.spare);
            let turn = std::mem::replace(&mut self.open_turn, fresh);
            self.hold(turn);
        }
    }

    /// Keeps what was said until the last entry is durable.
    fn hold(&mut self, turn: Turn) {
        let entry = self.appended;
        let last = self.held.back().map(|turn| turn.entry);
        assert!(last.is_none_or(|last| last <= entry), "{last:?} is held before {entry:?}");
        self.held.push_back(Turn { entry, ..turn });
    }

    /// What the next turn says, if that may be said now that all entries before `next` are
    /// durable.
    pub fn poll_turn(&mut self, next: EntryNumber) -> Option<Turn> {
        if self.held.front()?.entry >= next { None } else { self.held.pop_front() }
    }

    /// Takes back what has been said, for its room.
    pub fn recycle(&mut self, mut turn: Turn) {
        turn.changes.clear();
        turn.effects.clear();
        turn.changes.shrink_to(KEPT_ROOM);
        turn.effects.shrink_to(KEPT_ROOM);
        self.spare = turn;
    }

    /// How streams stand now, as far as they may stand otherwise than before.
    fn say_statuses(&mut self) {
        for stream in self.dispatcher.take_dirty() {
            let status = self.dispatcher.stream_status(stream);
            self.open_turn.changes.push(Change::Status { stream, status });
        }
    }

    /// The payload of the entry in hand.
    ///
    /// # Panics
    /// When it is larger than the journal takes: what the dispatcher writes down between two
    /// [`Effect::Cut`] is bounded, so that this can't be.
    fn finish_entry(&mut self) -> Bytes {
        let payload = self.encoder.finish();
        let most = self.dispatcher.settings().bounds.entry_bytes;
        assert!(payload.len() <= most, "an entry of {} bytes, at most {most}", payload.len());
        payload
    }

    /// Ends the entry in hand, if it is large enough.
    fn cut(&mut self) {
        if self.encoder.len() >= self.dispatcher.settings().bounds.turn_bytes {
            let payload = self.finish_entry();
            let fresh = std::mem::take(&mut self.spare);
            self.closed.push_back((payload, std::mem::replace(&mut self.open_turn, fresh)));
        }
    }

    /// Takes in what the dispatcher made of one call.
    fn collect(&mut self) {
        while let Some(effect) = self.dispatcher.poll_effect() {
            match effect {
                Effect::Append(record) => {
                    let index = self.encoder.push(&record);
                    if let Some(change) = Change::of(record, index) {
                        self.open_turn.changes.push(change);
                    }
                }
                Effect::Cancel { attempt, worker } => {
                    self.open_turn.effects.push(DeferredEffect::Cancel { attempt, worker });
                }
                Effect::Cut => self.cut(),
                Effect::Forget { worker } => {
                    self.open_turn.effects.push(DeferredEffect::Forget(worker));
                }
                Effect::GiveUp { attempt, worker } => {
                    self.open_turn.effects.push(DeferredEffect::GiveUp { attempt, worker });
                }
                Effect::Deliver(delivery) => {
                    self.open_turn.effects.push(DeferredEffect::Deliver(delivery));
                }
                Effect::Dispatch(dispatch) => self.dispatches.push_back(dispatch),
                Effect::Fetch { stream, first, last, bytes } => {
                    self.open_turn.effects.push(DeferredEffect::Fetch {
                        stream,
                        first,
                        last,
                        bytes,
                    });
                }
                Effect::Probe { worker } => self.probes.push_back(worker),
                Effect::Recall { subscription, revision } => {
                    self.open_turn.effects.push(DeferredEffect::Recall { subscription, revision });
                }
                Effect::Release(released) => {
                    self.open_turn.changes.push(Change::Released(released));
                }
                Effect::Reply(request, reply) => {
                    self.open_turn.effects.push(DeferredEffect::Reply(request, reply));
                }
                Effect::Tell(notice) => self.open_turn.effects.push(DeferredEffect::Tell(notice)),
                Effect::Scan { subscription, revision, after } => {
                    self.open_turn.effects.push(DeferredEffect::Scan {
                        subscription,
                        revision,
                        after,
                    });
                }
            }
        }
        if self.encoder.len() >= self.dispatcher.settings().bounds.turn_bytes {
            // Nothing follows, so that the streams stand as this entry has it.
            self.say_statuses();
            self.cut();
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
    /// When the entry holds no records that this program can read, or that can't follow those
    /// before them.
    pub fn take(
        &mut self,
        entry: &Entry,
        settings: &Settings,
        mut publish: impl FnMut(EntryNumber, Change),
    ) -> Result<(), DecodeError> {
        let mut released = Vec::new();
        for (index, record) in (0_u32..).zip(decode(&entry.payload)?) {
            if let Some(why) = self.state.contradiction(&record) {
                return Err(DecodeError::Contradiction { index, why });
            }
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
