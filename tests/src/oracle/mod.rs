//! What the outside saw, and whether it may see that. The oracle knows nothing of the inside: it
//! is told plain facts, in the order in which they happened, and says which promise they break.
//! The simulator feeds it, and so can a test with real processes.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    sync::Arc,
};

use bytes::Bytes;

mod checker;
mod finish;
#[cfg(test)]
mod tests;

pub use checker::Checker;

/// A message's place: its stream and its sequence.
pub type Place = (Arc<str>, u64);

/// A promise (design §7).
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Invariant {
    /// Nothing acknowledged is lost.
    I1,
    /// Rising sequences, and no hole but a recorded skip.
    I2,
    /// The same bytes and the same id, always.
    I3,
    /// No sequence is given twice, and no position.
    I4,
    /// Nothing is appended under an old epoch.
    I5,
    /// Nothing is acknowledged or sent on before its sync.
    I6,
    /// Everything is bounded.
    I7,
    /// After healing there is progress.
    I8,
    /// Attempts are bounded, and come when they are due.
    I9,
    /// What is not delivered is visible.
    I10,
}

/// A broken promise.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Violation {
    /// Which.
    pub invariant: Invariant,
    /// How.
    pub detail: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}: {}", self.invariant, self.detail)
    }
}

/// How a message came by its result.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Outcome {
    /// A worker answered, or the stream has no workers.
    Completed,
    /// A person supplied the result.
    Resolved,
    /// There is none.
    Skipped,
}

/// A released result, as a reader of the feed sees it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ResultSeen {
    /// Its position.
    pub position: u64,
    /// The message's id.
    pub id: u128,
    /// How it came about.
    pub outcome: Outcome,
    /// Its bytes.
    pub body: Bytes,
}

/// A delivery that reached a destination.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct DeliverySeen {
    /// The subscription.
    pub subscription: Arc<str>,
    /// The message.
    pub place: Place,
    /// What it says is the sequence pushed before it.
    pub previous: u64,
    /// Its position.
    pub position: u64,
    /// The message's id.
    pub id: u128,
    /// Its bytes.
    pub body: Bytes,
    /// Whether it is marked as replayed.
    pub replay: bool,
    /// The epoch of the supervisor that sent it.
    pub epoch: u64,
    /// The revision of the subscription in which it was sent; 0 where that is not known.
    pub revision: u32,
    /// How often the subscription was rewound before it was sent.
    pub generation: u32,
}

/// Something that the outside saw.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Seen {
    /// A client has the acknowledgement of a message.
    Acknowledged {
        /// Where it stands.
        place: Place,
        /// Its id.
        id: u128,
        /// What the client sent.
        body: Bytes,
        /// Which of its messages the client means; the same one is never given two places.
        client_key: Option<Arc<str>>,
    },
    /// A subscription gets other streams from now on.
    Arranged {
        /// Its name.
        subscription: Arc<str>,
        /// The streams that it gets.
        streams: BTreeSet<Arc<str>>,
        /// The head when it was changed: from there on it gets those that it did not get before.
        head: u64,
        /// Its revision from then on.
        revision: u32,
    },
    /// The process ended and began again.
    Crashed,
    /// A person's decision was accepted.
    Decided {
        /// On which message.
        place: Place,
        /// What it leads to; `None`: back to the workers.
        outcome: Option<Outcome>,
        /// The result, if one was supplied.
        body: Bytes,
    },
    /// A result reached a destination.
    Delivered(DeliverySeen),
    /// A message is on stable storage (only where the test can know).
    DurableArrival {
        /// Which.
        place: Place,
    },
    /// A result is on stable storage (only where the test can know).
    DurableResult {
        /// Of which message.
        place: Place,
    },
    /// A worker was given a message.
    Executed {
        /// Which.
        place: Place,
        /// The attempt's number and the most that there may be.
        attempt: (u32, u32),
        /// The message's id.
        id: u128,
        /// Its bytes.
        body: Bytes,
    },
    /// Results up to a position are no longer kept, nor are their messages' keys.
    Forgotten {
        /// The position.
        through: u64,
    },
    /// A worker sent a good answer off. It may get lost.
    Offered {
        /// To the message with this id.
        id: u128,
        /// Its bytes.
        body: Bytes,
    },
    /// A person had a subscription go on without one result.
    PassedOver {
        /// Its name.
        subscription: Arc<str>,
        /// The result's message.
        place: Place,
    },
    /// A reader of the feed saw a result.
    Released {
        /// Of which message.
        place: Place,
        /// The result.
        result: ResultSeen,
    },
    /// A subscription begins again.
    Rewound {
        /// Its name.
        subscription: Arc<str>,
        /// The position after which it begins.
        after: u64,
        /// The head when it was rewound: up to there deliveries are replays.
        head: u64,
        /// Its revision from then on: what was sent in an earlier one may come still, and no longer
        /// counts.
        revision: u32,
    },
    /// A subscription is there.
    Subscribed {
        /// Its name.
        subscription: Arc<str>,
        /// The streams that it gets.
        streams: BTreeSet<Arc<str>>,
        /// The position after which it begins.
        after: u64,
        /// The head when it came into being: up to there deliveries are replays.
        head: u64,
    },
    /// What is on stable storage says that a destination has taken a stream's results so far.
    Taken {
        /// Which subscription's.
        subscription: Arc<str>,
        /// The last one.
        through: Place,
    },
    /// A subscription is no longer there.
    Unsubscribed {
        /// Its name.
        subscription: Arc<str>,
    },
}

/// What the outside sees when everything has had time to settle.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct End {
    /// Messages that are visible as parked.
    pub parked: BTreeSet<Place>,
    /// Streams that stand at a parked head, and the last sequence that they have.
    pub standing: BTreeMap<Arc<str>, u64>,
    /// Messages whose skip was allowed by a setting or by a worker's word.
    pub may_skip: BTreeSet<Place>,
}
