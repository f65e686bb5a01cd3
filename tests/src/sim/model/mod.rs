//! A plain model of the contract, beside the real dispatcher. It is told the same events, and of
//! what the dispatcher makes of them: the records that it writes and the attempts that it sends.
//! Each record must follow from the event and nothing that follows may be missing (`judge.rs`);
//! and what the records come to, by this reading of them, must be what the dispatcher says.
//!
//! No windows of slots, no timers, no queues: maps, and one rule after the other.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::Arc,
    time::Duration,
};

use rollcall_common::{
    ids::{StreamId, StreamName},
    message::{Message as Sent, Payload},
    time::Time,
};
use rollcall_supervisor::{
    dispatcher::{AttemptId, Settings, event::Wish, settings::OnExhausted},
    driver::engine::Engine,
    record::{AttemptReport, Ending, Origin, Outcome, ParkCause, Record},
};

use crate::oracle::{Invariant, Place, Violation};

mod judge;
mod outages;
mod room;
#[cfg(test)]
mod tests;

pub(super) use judge::Told;
use outages::Outages;

/// A message's place, by numbers.
type At = (u32, u64);

/// Where a message stands.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
enum Stand {
    /// It has its result.
    Done,
    /// It is with the workers, or on its way to them.
    #[default]
    Open,
    /// It waits for a person.
    Parked,
}

/// An unreleased message.
#[derive(Clone, Debug, Default)]
struct Message {
    stand: Stand,
    failures: u32,
    /// When the first attempt began that failed.
    tried_since: Option<Time>,
    refused_by: BTreeSet<Arc<str>>,
    deaths: BTreeSet<Arc<str>>,
}

impl Message {
    fn fail(&mut self, report: &AttemptReport) {
        self.failures += 1;
        self.tried_since.get_or_insert(report.started_at);
        if report.ending == Ending::Refused {
            self.refused_by.insert(Arc::clone(&report.worker));
        }
    }
}

/// A stream.
#[derive(Clone, Debug)]
struct Stream {
    name: StreamName,
    next: u64,
    released: u64,
    paused: bool,
    messages: BTreeMap<u64, Message>,
}

/// An attempt that may still answer.
#[derive(Clone, Debug)]
struct Try {
    at: At,
    worker: Arc<str>,
    begun: Time,
    until: Time,
    /// Until when a late answer is welcome; absent while it is in time.
    late_until: Option<Time>,
    /// The other of the two has failed already.
    owing: bool,
    /// The answer that was accepted instead of its own.
    beaten_by: Option<Payload>,
    /// Bytes of its message.
    bytes: usize,
}

/// What has to be written down of a message.
#[derive(Clone, Debug, Eq, PartialEq)]
enum Wanted {
    Answered(Outcome, Payload),
    Failed(Arc<str>),
    Parked(ParkCause),
    Retried,
}

/// What a key stands for.
#[derive(Clone, Copy, Debug)]
struct Known {
    at: At,
    fingerprint: [u8; 16],
}

/// The model.
#[derive(Debug, Default)]
pub(super) struct Model {
    settings: Arc<Settings>,
    /// Those before them: what went out or was read back by them may be more than is allowed now.
    earlier: Vec<Arc<Settings>>,
    streams: Vec<Stream>,
    keys: BTreeMap<(u32, Box<str>), Known>,
    positions: BTreeMap<At, u64>,
    head: u64,
    /// Results up to here are no longer kept.
    floor: u64,
    /// The workers that are there, and their pools. They are not known after a start.
    members: BTreeMap<Arc<str>, Arc<str>>,
    /// The pools of all that were ever there: who has left may still answer.
    pools: BTreeMap<Arc<str>, Arc<str>>,
    /// Until when those count as there that have to be heard again and again.
    silent_at: BTreeMap<Arc<str>, Time>,
    /// How many calls each worker takes at once.
    places: BTreeMap<Arc<str>, Option<u32>>,
    /// Workers that were found away.
    away: BTreeSet<Arc<str>>,
    tries: BTreeMap<AttemptId, Try>,
    /// Workers that can't be connected to.
    unreachable: BTreeSet<Arc<str>>,
    /// How pools fail.
    outages: Outages,
    low: bool,
    /// Answers that came when there was one already, and those that were others.
    late: (u64, u64),
    wanted: BTreeMap<At, VecDeque<Wanted>>,
    /// What has just arrived.
    arrived: Option<(StreamName, Vec<Arc<Sent>>)>,
    /// What a person has just wished of a stream.
    wish: Option<(StreamName, Wish)>,
}

/// How long it may take until it is noticed that a worker has fallen silent.
const NOTICED: Duration = Duration::from_secs(1);
/// How long a probe is waited for before another one may go to its worker.
const PROBED: Duration = Duration::from_secs(15);

fn wrong(invariant: Invariant, mut detail: String) -> Violation {
    detail.insert_str(0, "the model says: ");
    Violation { invariant, detail }
}

impl Model {
    /// The model of a process that begins, from all records that there are.
    pub(super) fn recover(settings: Arc<Settings>, records: &[Record]) -> Self {
        let mut model = Self { settings, ..Self::default() };
        records.iter().for_each(|record| model.fold(record));
        model
    }

    /// The position that a message was released at.
    pub(super) fn position(&self, place: &Place) -> Option<u64> {
        let (name, sequence) = place;
        let stream = self.streams.iter().position(|stream| stream.name.as_str() == &**name)?;
        self.positions.get(&(u32::try_from(stream).ok()?, *sequence)).copied()
    }

    fn stream(&self, stream: u32) -> &Stream {
        &self.streams[stream as usize]
    }

    fn message(&mut self, (stream, sequence): At) -> &mut Message {
        self.streams[stream as usize].messages.entry(sequence).or_default()
    }

    fn stand(&self, (stream, sequence): At) -> Stand {
        let stream = self.stream(stream);
        if sequence <= stream.released {
            return Stand::Done;
        }
        stream.messages.get(&sequence).map(|message| message.stand).unwrap_or_default()
    }

    fn fold(&mut self, record: &Record) {
        match record {
            Record::Accepted { stream, sequence, message, .. } => {
                self.streams[stream.0 as usize].next = sequence.0 + 1;
                if let Some(key) = &message.key {
                    let (at, fingerprint) = ((stream.0, sequence.0), key.fingerprint);
                    self.keys.insert((stream.0, key.text.clone()), Known { at, fingerprint });
                }
            }
            Record::Answered { stream, sequence, .. } => {
                self.message((stream.0, sequence.0)).stand = Stand::Done;
                self.release(stream.0);
            }
            Record::Failed { stream, sequence, report, .. } => {
                self.message((stream.0, sequence.0)).fail(report);
            }
            Record::StreamCreated { name, .. } => self.open(name),
            Record::Parked { stream, sequence, .. } => {
                self.message((stream.0, sequence.0)).stand = Stand::Parked;
            }
            Record::OutageBegan { pool, at } => self.outages.began(pool, *at),
            Record::OutageEnded { pool, .. } => self.outages.ended(pool),
            Record::PassedThrough { stream, first, last, .. } => {
                for sequence in first.0..=last.0 {
                    self.message((stream.0, sequence)).stand = Stand::Done;
                }
                self.release(stream.0);
            }
            Record::Paused { stream, .. } => self.streams[stream.0 as usize].paused = true,
            Record::Resumed { stream, .. } => {
                self.streams[stream.0 as usize].paused = false;
                self.release(stream.0);
            }
            Record::Retried { stream, sequence, .. } => {
                *self.message((stream.0, sequence.0)) = Message::default();
            }
            Record::WorkerDied { stream, sequence, worker, .. } => {
                self.message((stream.0, sequence.0)).deaths.insert(Arc::clone(worker));
            }
            Record::Trimmed { through, .. } => self.floor = self.floor.max(through.0),
            Record::Alert(_)
            | Record::SubscriptionConfigured { .. }
            | Record::Audited(_)
            | Record::Snapshot(_)
            | Record::Batched { .. }
            | Record::Checkpointed { .. }
            | Record::Copied { .. }
            | Record::CopiedResult { .. }
            | Record::Delivered { .. }
            | Record::PassedOver { .. }
            | Record::Rewound { .. }
            | Record::Scanned { .. }
            | Record::Started { .. }
            | Record::Subscribed { .. }
            | Record::SubscriptionPaused { .. }
            | Record::SubscriptionResumed { .. }
            | Record::Unsubscribed { .. } => {}
        }
    }

    fn open(&mut self, name: &StreamName) {
        let (name, messages) = (name.clone(), BTreeMap::new());
        self.streams.push(Stream { name, next: 1, released: 0, paused: false, messages });
    }

    /// What has its turn is released, and gets the next positions.
    fn release(&mut self, number: u32) {
        let stream = &mut self.streams[number as usize];
        while !stream.paused {
            let next = stream.released + 1;
            let done = stream.messages.get(&next).is_some_and(|one| one.stand == Stand::Done);
            if !done {
                return;
            }
            stream.messages.remove(&next);
            stream.released = next;
            self.head += 1;
            self.positions.insert((number, next), self.head);
        }
    }

    /// Whether the dispatcher says the same.
    fn compare(&self, engine: &Engine) -> Result<(), Violation> {
        let dispatcher = engine.dispatcher();
        if dispatcher.state().head().0 != self.head {
            let is = dispatcher.state().head();
            let detail = format!("the head is {}, not {is}", self.head);
            return Err(wrong(Invariant::I4, detail));
        }
        let counters = dispatcher.counters();
        let late = (counters.late_answers, counters.diverging_answers);
        if late != self.late {
            let detail = format!("late answers, and others, are {:?}, not {late:?}", self.late);
            return Err(wrong(Invariant::I3, detail));
        }
        self.compare_names(engine)?;
        for (number, stream) in (0_u32..).zip(&self.streams) {
            let status = dispatcher.stream_status(StreamId(number));
            let count = |stand| stream.messages.values().filter(|one| one.stand == stand).count();
            let mine = (stream.next, stream.released, stream.paused);
            let flying = self.in_time(number).count();
            let told = (status.next.0, status.released.0, status.paused);
            let counts = (count(Stand::Done), count(Stand::Parked), flying);
            let said = (status.waiting as usize, status.parked as usize, status.in_flight as usize);
            if mine != told || counts != said {
                let detail = format!("{} is {mine:?} {counts:?}, not {status:?}", stream.name);
                return Err(wrong(Invariant::I2, detail));
            }
            let settings = self.settings.stream(&stream.name);
            let skips = settings.on_exhausted == OnExhausted::Skip && !stream.paused;
            let later = dispatcher.is_deferred(StreamId(number));
            if skips && !later && self.stand((number, stream.released + 1)) == Stand::Parked {
                let detail = format!("the head of {} is to be skipped", stream.name);
                return Err(wrong(Invariant::I8, detail));
            }
        }
        Ok(())
    }

    /// Whether all that the settings name is there, and stands as the configuration's.
    fn compare_names(&self, engine: &Engine) -> Result<(), Violation> {
        let is_there = |name: &StreamName| self.streams.iter().any(|stream| stream.name == *name);
        if let Some(name) = self.settings.standing_streams.iter().find(|name| !is_there(name)) {
            return Err(wrong(Invariant::I10, format!("the stream {name} is to be there")));
        }
        let dispatcher = engine.dispatcher();
        let all = dispatcher.state().subscription_names();
        let configured = all.filter(|(id, _)| {
            let status = dispatcher.subscription_status(*id);
            status.is_some_and(|status| status.plan.origin == Origin::Configuration)
        });
        let configured: BTreeSet<&str> = configured.map(|(_, name)| name).collect();
        let named: BTreeSet<&str> =
            self.settings.subscriptions.iter().map(|(name, _)| &**name).collect();
        if configured == named {
            return Ok(());
        }
        let detail = format!("of the configuration are {named:?}, not {configured:?}");
        Err(wrong(Invariant::I10, detail))
    }

    fn in_time(&self, stream: u32) -> impl Iterator<Item = (&AttemptId, &Try)> {
        let mine = self.tries.iter().filter(move |(_, one)| one.at.0 == stream);
        mine.filter(|(_, one)| one.late_until.is_none())
    }

    /// The other attempt in time of a message.
    fn other(&mut self, at: At) -> Option<&mut Try> {
        self.tries.values_mut().find(|one| one.at == at && one.late_until.is_none())
    }
}
