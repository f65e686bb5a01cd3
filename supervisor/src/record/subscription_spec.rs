//! What a subscription is meant to do, as it is written down. Never its secrets: a journal is
//! kept, copied and read by others.

use std::time::Duration;

use rollcall_common::ids::{Position, Sequence, StreamName};

/// What a subscription is meant to do.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct SubscriptionSpec {
    /// Who wants it.
    pub origin: Origin,
    /// How its results travel.
    pub way: DeliveryMode,
    /// Which streams, as patterns with `*`.
    pub streams: Box<[Box<str>]>,
    /// Destinations, tried in order.
    pub urls: Box<[Box<str>]>,
    /// Most results in one request.
    pub batch: u32,
    /// How long a request may take.
    pub timeout: Duration,
    /// Replayed results per second at most; 0: no bound.
    pub replay_rate: u32,
    /// Names of the headers of its own that a request has. Their values may be secret, and are kept
    /// elsewhere.
    pub headers: Box<[Box<str>]>,
    /// Where it began, or was to begin.
    pub start: Start,
}

impl SubscriptionSpec {
    /// A plan that nothing is said of but who wants it and how it travels.
    #[must_use]
    pub fn new(origin: Origin, way: DeliveryMode) -> Self {
        Self {
            origin,
            way,
            streams: ["*".into()].into(),
            urls: Box::default(),
            batch: 1,
            timeout: DEFAULT_TIMEOUT,
            replay_rate: 0,
            headers: Box::default(),
            start: Start::Live,
        }
    }

    /// Whether its results travel several in one request. (Over a plain connection each is a record
    /// of its own, and has no key.)
    #[must_use]
    pub fn is_batched(&self) -> bool {
        self.batch > 1 && self.urls.iter().any(|url| !url.starts_with("tcp://"))
    }
}

/// How the next results of a stream travel together: what the first one's place and these numbers
/// say is cut the same way every time.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Batching {
    /// The last result that this is about.
    pub through: Sequence,
    /// Most results in one request.
    pub results: u32,
    /// Bytes of bodies after which a request takes no further result.
    pub bytes: u32,
}

/// How long a delivery may take, unless it is said otherwise.
pub const DEFAULT_TIMEOUT: Duration = Duration::from_secs(30);

/// Who wants a subscription.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Origin {
    /// Somebody over the API.
    Api,
    /// The configuration.
    Configuration,
    /// Nobody at present: the configuration did, and does not name it any more.
    Unconfigured,
}

/// How a subscription's results travel.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum DeliveryMode {
    /// A reader fetches them.
    Pull,
    /// They are sent to a destination.
    Push,
}

/// Where a new subscription begins.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Start {
    /// After this position; 0 is the beginning.
    After(Position),
    /// After what is released now.
    Live,
}

/// Why a subscription stands still.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum PauseReason {
    /// Its destination said that it is gone (`410`).
    Gone,
    /// What is known of it contradicts the journal.
    Inconsistent,
    /// A person told it to.
    Person,
}

impl PauseReason {
    /// The word that the outside sees.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Gone => "gone",
            Self::Inconsistent => "inconsistent",
            Self::Person => "person",
        }
    }
}

/// A place where results are not as they must be: one is missing, or out of order. It is looked
/// for wherever results are handed out.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Gap {
    /// The stream of what came.
    pub stream: StreamName,
    /// The sequence, or the position, that should have come.
    pub expected: u64,
    /// What came.
    pub got: u64,
}
