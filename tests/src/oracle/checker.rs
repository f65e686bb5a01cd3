//! The checks that can be made as things happen.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use bytes::Bytes;

use super::{DeliverySeen, Invariant, Outcome, Place, ResultSeen, Seen, Violation};

/// A message, as far as it is known.
#[derive(Clone, Debug)]
pub(super) struct Known {
    pub(super) id: u128,
    pub(super) body: Bytes,
}

/// A subscription, as far as it is known.
#[derive(Clone, Debug, Default)]
pub(super) struct Reader {
    /// `None`: not known.
    pub(super) streams: Option<BTreeSet<Arc<str>>>,
    pub(super) after: u64,
    pub(super) head: u64,
    /// Streams that it gets since a change: from after which position, and in which revision.
    since: BTreeMap<Arc<str>, (u64, u32)>,
    /// The revision that the latest change began; 0 when there was none.
    arranged: u32,
    /// Whether it is no longer there.
    pub(super) gone: bool,
    /// The latest epoch that delivered something.
    epoch: u64,
    /// The revision that the latest rewind began; 0 when there was none.
    revision: u32,
    /// What it was given, by stream.
    pub(super) given: BTreeMap<Arc<str>, BTreeSet<u64>>,
    /// Lives that began with a rewind.
    rewinds: BTreeSet<u32>,
    /// What it goes on without, since the latest rewind.
    pub(super) passed_over: BTreeSet<Place>,
    /// Streams of which it ever went on without something.
    cut: BTreeSet<Arc<str>>,
    /// What stable storage says that it has taken, by stream.
    taken: BTreeMap<Arc<str>, u64>,
}

impl Reader {
    /// Whether it gets a stream's results.
    pub(super) fn wants(&self, stream: &Arc<str>) -> bool {
        let streams = self.streams.as_ref();
        streams.is_none_or(|streams| streams.contains(stream))
    }

    /// The position after which it has to get a stream's results.
    pub(super) fn begins(&self, stream: &Arc<str>) -> u64 {
        let since = self.since.get(stream).map_or(0, |(after, _)| *after);
        self.after.max(since)
    }

    /// Whether what was sent in `revision` has nothing to do with what it gets now.
    fn is_past(&self, stream: &Arc<str>, revision: u32) -> bool {
        let since = self.since.get(stream).map_or(0, |(_, revision)| *revision);
        self.gone
            || revision < self.revision
            || revision < since
            || (revision < self.arranged && !self.wants(stream))
    }

    /// It goes on without one result.
    fn pass_over(&mut self, place: Place) {
        self.cut.insert(Arc::clone(&place.0));
        self.passed_over.insert(place);
    }

    /// It begins, unless it is further by now.
    fn subscribe(&mut self, streams: BTreeSet<Arc<str>>, (after, head): (u64, u64)) {
        if self.arranged == 0 {
            self.streams = Some(streams);
        }
        if self.revision == 0 {
            (self.after, self.head) = (after, head);
        }
    }

    /// It begins again.
    fn rewind(&mut self, (after, head): (u64, u64), revision: u32) {
        // A start tells again what was there before.
        self.taken.clear();
        self.rewinds.insert(revision);
        self.passed_over.clear();
        if revision > self.revision {
            (self.after, self.head, self.revision) = (after, head, revision);
            self.given.clear();
            self.since.clear();
        }
    }

    /// It gets these streams from now on.
    fn arrange(&mut self, streams: BTreeSet<Arc<str>>, head: u64, revision: u32) {
        if revision <= self.arranged {
            // A start tells again what was there before.
            return;
        }
        for stream in &streams {
            if !self.wants(stream) {
                self.since.insert(Arc::clone(stream), (head, revision));
                self.given.remove(stream);
                self.taken.remove(stream);
            }
        }
        (self.streams, self.arranged) = (Some(streams), revision);
    }
}

/// Takes in what was seen, and says what may not be.
#[derive(Debug, Default)]
pub struct Checker {
    /// Whether durability is reported.
    knows_durable: bool,
    /// Whether workers' answers are reported.
    knows_offers: bool,
    pub(super) acknowledged: BTreeMap<Place, Known>,
    by_client_key: BTreeMap<Arc<str>, Place>,
    places: BTreeMap<u128, Place>,
    executed: BTreeMap<u128, Bytes>,
    offered: BTreeMap<u128, BTreeSet<Bytes>>,
    pub(super) results: BTreeMap<Place, ResultSeen>,
    pub(super) positions: BTreeMap<u64, Place>,
    pub(super) decided: BTreeMap<Place, Vec<(Outcome, Bytes)>>,
    pub(super) previous: BTreeMap<Place, u64>,
    pub(super) readers: BTreeMap<Arc<str>, Reader>,
    durable_arrivals: BTreeSet<Place>,
    durable_results: BTreeSet<Place>,
    /// Keys of results up to this position may have been forgotten.
    forgotten: u64,
}

pub(super) type Checked = Result<(), Violation>;

/// A broken promise, if `holds` is not so.
pub(super) fn ensure(
    holds: bool,
    invariant: Invariant,
    detail: impl FnOnce() -> String,
) -> Checked {
    if holds { Ok(()) } else { Err(Violation { invariant, detail: detail() }) }
}

impl Checker {
    /// A checker that is told of everything.
    #[must_use]
    pub fn new() -> Self {
        Self { knows_durable: true, knows_offers: true, ..Self::default() }
    }

    /// A checker that sees only what a client, a worker and a destination see.
    #[must_use]
    pub fn from_outside() -> Self {
        Self::default()
    }

    /// Takes in what was seen.
    ///
    /// # Errors
    /// When it breaks a promise.
    pub fn see(&mut self, seen: Seen) -> Checked {
        match seen {
            Seen::Acknowledged { place, id, body, client_key } => {
                self.acknowledged(place, Known { id, body }, client_key)
            }
            Seen::Arranged { subscription, streams, head, revision } => {
                self.readers.entry(subscription).or_default().arrange(streams, head, revision);
                Ok(())
            }
            Seen::Crashed => Ok(()),
            Seen::Decided { place, outcome, body } => {
                if let Some(outcome) = outcome {
                    self.decided.entry(place).or_default().push((outcome, body));
                }
                Ok(())
            }
            Seen::Delivered(delivery) => self.delivered(&delivery),
            Seen::DurableArrival { place } => {
                self.durable_arrivals.insert(place);
                Ok(())
            }
            Seen::DurableResult { place } => {
                self.durable_results.insert(place);
                Ok(())
            }
            Seen::Executed { place, attempt, id, body } => {
                self.executed(&place, attempt, &Known { id, body })
            }
            Seen::Forgotten { through } => {
                self.forgotten = self.forgotten.max(through);
                Ok(())
            }
            Seen::Offered { id, body } => {
                self.offered.entry(id).or_default().insert(body);
                Ok(())
            }
            Seen::PassedOver { subscription, place } => {
                self.readers.entry(subscription).or_default().pass_over(place);
                Ok(())
            }
            Seen::Released { place, result } => self.released(place, result),
            Seen::Rewound { subscription, after, head, revision } => {
                self.readers.entry(subscription).or_default().rewind((after, head), revision);
                Ok(())
            }
            Seen::Subscribed { subscription, streams, after, head } => {
                let reader = self.readers.entry(subscription).or_default();
                reader.subscribe(streams, (after, head));
                Ok(())
            }
            Seen::Taken { subscription, through: (stream, sequence) } => {
                let reader = self.readers.entry(subscription).or_default();
                reader.taken.insert(stream, sequence);
                Ok(())
            }
            Seen::Unsubscribed { subscription } => {
                self.readers.entry(subscription).or_default().gone = true;
                Ok(())
            }
        }
    }

    /// Whether what stood under a client's key may have been forgotten.
    #[must_use]
    pub fn has_forgotten(&self, key: &str) -> bool {
        self.by_client_key.get(key).is_some_and(|place| self.is_gone(place))
    }

    fn is_gone(&self, place: &Place) -> bool {
        self.results.get(place).is_some_and(|result| result.position <= self.forgotten)
    }

    fn acknowledged(&mut self, place: Place, known: Known, key: Option<Arc<str>>) -> Checked {
        let durable = !self.knows_durable || self.durable_arrivals.contains(&place);
        ensure(durable, Invariant::I6, || {
            format!("{place:?} is acknowledged before it is durable")
        })?;
        if let Some(before) = self.acknowledged.get(&place) {
            ensure(before.id == known.id, Invariant::I4, || {
                format!("{place:?} is given to two messages")
            })?;
            ensure(before.body == known.body, Invariant::I3, || {
                format!("{place:?} is acknowledged for two contents")
            })?;
        }
        if let Some(key) = key {
            let before = self.by_client_key.insert(key.clone(), place.clone());
            let same = before.as_ref().is_none_or(|before| *before == place);
            // One of them may be from before a trim.
            let gone = self.is_gone(&place) || before.as_ref().is_some_and(|one| self.is_gone(one));
            ensure(same || gone, Invariant::I4, || {
                format!("the client's {key} stands at {before:?} and at {place:?}")
            })?;
        }
        let before = self.places.entry(known.id).or_insert_with(|| place.clone());
        ensure(*before == place, Invariant::I4, || {
            format!("one id stands at {before:?} and at {place:?}")
        })?;
        if let Some(executed) = self.executed.get(&known.id) {
            ensure(*executed == known.body, Invariant::I3, || {
                format!("{place:?} went to a worker with other bytes")
            })?;
        }
        if let Some(result) = self.results.get(&place) {
            ensure(result.id == known.id, Invariant::I3, || {
                format!("{place:?} was released under another id")
            })?;
        }
        self.acknowledged.insert(place, known);
        Ok(())
    }

    fn executed(&mut self, place: &Place, (number, most): (u32, u32), known: &Known) -> Checked {
        ensure((1..=most.max(1)).contains(&number), Invariant::I9, || {
            format!("{place:?}: attempt {number} of {most}")
        })?;
        let before = self.executed.entry(known.id);
        let before = before.or_insert_with(|| known.body.clone());
        ensure(*before == known.body, Invariant::I3, || {
            format!("{place:?} goes to workers with different bytes")
        })?;
        if let Some(acknowledged) = self.acknowledged.get(place) {
            ensure(acknowledged.id == known.id, Invariant::I4, || {
                format!("{place:?} goes to a worker under another id")
            })?;
            ensure(acknowledged.body == known.body, Invariant::I3, || {
                format!("{place:?} goes to a worker with other bytes")
            })?;
        }
        Ok(())
    }

    fn released(&mut self, place: Place, result: ResultSeen) -> Checked {
        if let Some(before) = self.results.get(&place) {
            return ensure(*before == result, Invariant::I3, || {
                format!("{place:?} had another result before: {before:?}, now {result:?}")
            });
        }
        let durable = !self.knows_durable || self.durable_results.contains(&place);
        ensure(durable, Invariant::I6, || {
            format!("{place:?} is shown before its result is durable")
        })?;
        let position = result.position;
        let before = self.positions.entry(position);
        let before = before.or_insert_with(|| place.clone());
        ensure(*before == place, Invariant::I4, || {
            format!("position {position} is given to {before:?} and to {place:?}")
        })?;
        self.check_order(&place, position)?;
        self.check_content(&place, &result)?;
        self.results.insert(place, result);
        Ok(())
    }

    /// Positions rise with the sequences of a stream.
    fn check_order(&self, place: &Place, position: u64) -> Checked {
        let (stream, sequence) = place;
        let first = (Arc::clone(stream), 0);
        let before = self.results.range(first..place.clone()).next_back();
        let behind = (Arc::clone(stream), sequence + 1);
        let last = (Arc::clone(stream), u64::MAX);
        let after = self.results.range(behind..=last).next();
        let rising = before.is_none_or(|(_, result)| result.position < position)
            && after.is_none_or(|(_, result)| position < result.position);
        ensure(rising, Invariant::I2, || {
            format!("{place:?} is released out of its order, at {position}")
        })
    }

    fn check_content(&self, place: &Place, result: &ResultSeen) -> Checked {
        if let Some(known) = self.acknowledged.get(place) {
            ensure(known.id == result.id, Invariant::I3, || {
                format!("{place:?} is released under another id")
            })?;
        }
        let decided = || self.decided.get(place).into_iter().flatten();
        match result.outcome {
            Outcome::Completed if self.knows_offers => {
                let offers = self.offered.get(&result.id);
                let offered = offers.is_some_and(|offers| offers.contains(&result.body));
                ensure(offered, Invariant::I3, || {
                    format!("{place:?} has a result that nobody gave: {:?}", result.body)
                })
            }
            Outcome::Resolved if self.knows_offers => {
                let supplied = decided().any(|(_, body)| *body == result.body);
                ensure(supplied, Invariant::I3, || format!("{place:?} was resolved by nobody"))
            }
            Outcome::Completed | Outcome::Resolved | Outcome::Skipped => Ok(()),
        }
    }

    fn delivered(&mut self, seen: &DeliverySeen) -> Checked {
        let (place, name) = (&seen.place, &seen.subscription);
        let Some(result) = self.results.get(place) else {
            return ensure(false, Invariant::I6, || {
                format!("{place:?} is delivered to {name} and was never released")
            });
        };
        let same = result.position == seen.position
            && result.id == seen.id
            && result.body == seen.body
            && result.outcome != Outcome::Skipped;
        ensure(same, Invariant::I3, || {
            format!("{name} is given {seen:?}, the result is {result:?}")
        })?;
        let reader = self.readers.get(name);
        if !reader.is_some_and(|reader| reader.cut.contains(&place.0)) {
            let before = *self.previous.entry(place.clone()).or_insert(seen.previous);
            ensure(before == seen.previous, Invariant::I2, || {
                format!("{place:?} came after {before} and after {}", seen.previous)
            })?;
        }
        self.step(seen)
    }

    /// A destination's next step: over nothing but skips, or back to something it has.
    fn step(&mut self, seen: &DeliverySeen) -> Checked {
        let ((stream, sequence), name) = (&seen.place, &seen.subscription);
        let reader = self.readers.entry(Arc::clone(name)).or_default();
        if reader.is_past(stream, seen.revision) {
            // It was under way when the subscription was rewound, changed or removed.
            return Ok(());
        }
        ensure(reader.wants(stream), Invariant::I2, || format!("{name} does not get {stream}"))?;
        let has = reader.given.get(stream);
        if seen.epoch < reader.epoch && has.is_some_and(|has| has.contains(sequence)) {
            // A process that has ended sent it; it was long under way.
            return Ok(());
        }
        if reader.passed_over.contains(&seen.place) {
            // It was under way when people had the subscription go on without it.
            return Ok(());
        }
        reader.epoch = reader.epoch.max(seen.epoch);
        let rewinds = reader.rewinds.range(..=seen.revision).count();
        ensure(usize::try_from(seen.generation) == Ok(rewinds), Invariant::I2, || {
            format!("{name} was rewound {rewinds} times, and {seen:?} says otherwise")
        })?;
        let (after, head) = (reader.after, reader.head);
        ensure(seen.position > after, Invariant::I2, || {
            format!("{name} begins after {after} and is given {}", seen.position)
        })?;
        ensure(seen.replay == (seen.position <= head), Invariant::I2, || {
            format!("{name}: {:?} has replay {}", seen.place, seen.replay)
        })?;
        let taken = reader.taken.get(stream).copied().unwrap_or(0);
        ensure(*sequence > taken, Invariant::I2, || {
            format!("{name} took {stream} up to {taken} and is given {sequence} again")
        })?;
        let given = reader.given.entry(Arc::clone(stream)).or_default();
        let last = given.last().copied();
        let stepped_over = last.map(|last| last + 1..*sequence).unwrap_or_default().find(|over| {
            let over = (Arc::clone(stream), *over);
            let result = self.results.get(&over);
            let skipped = result.is_some_and(|result| result.outcome == Outcome::Skipped);
            !skipped && !reader.passed_over.contains(&over)
        });
        ensure(stepped_over.is_none(), Invariant::I2, || {
            format!("{name}: {stream} goes from {last:?} to {sequence}")
        })?;
        given.insert(*sequence);
        Ok(())
    }
}
