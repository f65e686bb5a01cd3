//! What the outside has seen, in order, held against the oracle as it comes; and what has
//! happened at all.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use bytes::Bytes;
use tests::oracle::{Checker, DeliverySeen, End, Place, ResultSeen, Seen, Violation};

/// The subscription.
pub(crate) const SUBSCRIPTION: &str = "out";
/// The streams.
pub(crate) const STREAMS: [&str; 3] = ["red", "green", "blue"];

/// What a worker makes of a message.
pub(crate) fn result_of(body: &[u8]) -> Bytes {
    [b"done: ", body].concat().into()
}

macro_rules! somethings {
    ($($name:ident = $text:literal,)*) => {
        /// Something that must happen sometimes: a fault that no seed ever hit proves nothing.
        #[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
        pub(crate) enum Something { $(#[doc = $text] $name,)* }

        impl Something {
            const ALL: &[Self] = &[$(Self::$name,)*];
        }
    };
}

somethings! {
    AckLost = "a message was taken in, and its client did not hear of it",
    AnswerLost = "a worker's good answer did not count, for the message was worked on again",
    ClientRefused = "a client was refused a connection",
    ClientWaited = "a client heard nothing in time",
    DeliveredAgain = "a result reached the destination again",
    DestinationKilled = "the destination's process was killed, and came back",
    Drained = "the supervisor drained and came back",
    HeldUp = "a link's traffic was held up, and let go",
    JournalCut = "the journal's torn end was cut off",
    Linked = "the supervisor and a worker agreed on a link",
    LinkedAgain = "they did so again",
    OneWay = "a link was cut in one direction",
    Parted = "a link was cut",
    PartedSilently = "a link was cut, and nobody was told",
    PersonRetried = "a person sent a parked message back",
    PowerFailed = "the supervisor's machine lost its power",
    ReaderFailed = "a reader got no answer",
    Retried = "a message was tried again after a failure",
    SlowedDown = "a link was slow",
    SupervisorKilled = "the supervisor's process was killed, and came back",
    Unsynced = "the supervisor died with appended entries that were not durable",
    Vanished = "a worker's machine vanished without a word, and came back",
    WorkerKilled = "a worker's process was killed, and came back",
    WorkerDied = "a worker died with messages in hand",
}

/// Seeds in which what is rare has to happen, too.
const RARE: usize = 100;

/// How often each thing happened.
#[derive(Clone, Debug, Default)]
pub(crate) struct Sometimes(BTreeMap<Something, u64>);

impl Sometimes {
    pub(crate) fn merge(&mut self, other: &Self) {
        for (something, count) in &other.0 {
            *self.0.entry(*something).or_default() += count;
        }
    }

    /// What should have happened in so many seeds, and did not.
    pub(crate) fn missing(&self, seeds: usize) -> Vec<Something> {
        let all = Something::ALL.iter().copied();
        let missing = all.filter(|something| !self.0.contains_key(something));
        missing.filter(|something| *something != Something::JournalCut || seeds >= RARE).collect()
    }
}

/// What the outside has seen.
#[derive(Debug)]
pub(crate) struct History(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    checker: Checker,
    violation: Option<Violation>,
    acknowledged: BTreeSet<Place>,
    released: BTreeMap<Place, ResultSeen>,
    /// The oracle is told of a delivery only when a reader has seen the result.
    unreleased: VecDeque<DeliverySeen>,
    delivered: BTreeSet<Place>,
    executed: BTreeMap<Place, u32>,
    offered: BTreeMap<Place, u32>,
    linked: BTreeSet<SocketAddr>,
    sometimes: Sometimes,
}

impl History {
    pub(crate) fn new() -> Arc<Self> {
        let mut checker = Checker::from_outside();
        let streams = STREAMS.iter().map(|name| Arc::from(*name)).collect();
        let subscribed =
            Seen::Subscribed { subscription: SUBSCRIPTION.into(), streams, after: 0, head: 0 };
        let violation = checker.see(subscribed).err();
        Arc::new(Self(Mutex::new(State { checker, violation, ..State::default() })))
    }

    pub(crate) fn note(&self, something: Something) {
        self.state().note(something);
    }

    /// A worker has agreed to a link.
    pub(crate) fn linked(&self, worker: SocketAddr) {
        let mut state = self.state();
        let again = !state.linked.insert(worker);
        state.note(if again { Something::LinkedAgain } else { Something::Linked });
    }

    pub(crate) fn acknowledged(&self, place: Place, (id, body): (u128, Bytes), key: Arc<str>) {
        let mut state = self.state();
        state.acknowledged.insert(place.clone());
        state.see(Seen::Acknowledged { place, id, body, client_key: Some(key) });
    }

    pub(crate) fn executed(&self, place: Place, attempt: (u32, u32), (id, body): (u128, Bytes)) {
        let mut state = self.state();
        *state.executed.entry(place.clone()).or_default() += 1;
        if attempt.0 > 1 {
            state.note(Something::Retried);
        }
        if state.offered.contains_key(&place) {
            state.note(Something::AnswerLost);
        }
        state.see(Seen::Executed { place, attempt, id, body });
    }

    /// A worker has sent off a good answer.
    pub(crate) fn offered(&self, place: Place) {
        *self.state().offered.entry(place).or_default() += 1;
    }

    pub(crate) fn released(&self, place: Place, result: ResultSeen) {
        let mut state = self.state();
        state.released.entry(place.clone()).or_insert_with(|| result.clone());
        state.see(Seen::Released { place, result });
        while let Some(delivery) = state.unreleased.front() {
            if !state.released.contains_key(&delivery.place) {
                break;
            }
            let delivery = state.unreleased.pop_front().expect("there is one");
            state.see(Seen::Delivered(delivery));
        }
    }

    pub(crate) fn delivered(&self, delivery: DeliverySeen) {
        let mut state = self.state();
        if !state.delivered.insert(delivery.place.clone()) {
            state.note(Something::DeliveredAgain);
        }
        if state.unreleased.is_empty() && state.released.contains_key(&delivery.place) {
            state.see(Seen::Delivered(delivery));
        } else {
            state.unreleased.push_back(delivery);
        }
    }

    pub(crate) fn crashed(&self) {
        self.state().see(Seen::Crashed);
    }

    /// Whether so many messages are acknowledged, released and delivered, and none else.
    pub(crate) fn is_done(&self, messages: usize) -> bool {
        let state = self.state();
        let all = [state.acknowledged.len(), state.released.len(), state.delivered.len()];
        state.unreleased.is_empty() && all.iter().all(|count| *count >= messages)
    }

    /// The broken promise, if there is one.
    pub(crate) fn violation(&self) -> Option<Violation> {
        self.state().violation.clone()
    }

    /// The checks at the end.
    pub(crate) fn finish(&self) -> Result<(), Violation> {
        let state = self.state();
        state.violation.clone().map_or(Ok(()), Err)?;
        state.checker.finish(&End::default())
    }

    pub(crate) fn sometimes(&self) -> Sometimes {
        self.state().sometimes.clone()
    }

    /// How far it came, for people.
    pub(crate) fn standing(&self) -> String {
        let state = self.state();
        let missing = state.acknowledged.iter().filter(|place| !state.delivered.contains(*place));
        format!(
            "{} acknowledged, {} released, {} delivered, {} deliveries ahead of the reader; \
             not delivered: {:?}",
            state.acknowledged.len(),
            state.released.len(),
            state.delivered.len(),
            state.unreleased.len(),
            missing.take(5).collect::<Vec<_>>(),
        )
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn note(&mut self, something: Something) {
        *self.sometimes.0.entry(something).or_default() += 1;
    }

    fn see(&mut self, seen: Seen) {
        if self.violation.is_none() {
            self.violation = self.checker.see(seen).err();
        }
    }
}
