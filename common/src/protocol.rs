//! The words on the wire between supervisor, workers and destinations: header names, the reply
//! header that overrides a status, and the bodies of registration.

use std::str::FromStr;

use http::HeaderName;
use serde::{Deserialize, Serialize};

/// Header: the stream of a message.
pub const STREAM: HeaderName = HeaderName::from_static("rollcall-stream");
/// Header: the sequence of a message.
pub const SEQUENCE: HeaderName = HeaderName::from_static("rollcall-sequence");
/// Header: the id of a message.
pub const MESSAGE_ID: HeaderName = HeaderName::from_static("rollcall-message-id");
/// Header: 1 + the failures counted so far.
pub const ATTEMPT: HeaderName = HeaderName::from_static("rollcall-attempt");
/// Header: of how many.
pub const MAX_ATTEMPTS: HeaderName = HeaderName::from_static("rollcall-max-attempts");
/// Header: how long the attempt may take, in milliseconds.
pub const TIMEOUT_MS: HeaderName = HeaderName::from_static("rollcall-timeout-ms");
/// Header: to a worker, why this attempt is made (`first`, `retry`, `hedge`, `manual`); from a
/// worker, text that is shown to people.
pub const REASON: HeaderName = HeaderName::from_static("rollcall-reason");
/// Header: a worker's own word on the outcome; see [`Outcome`].
pub const OUTCOME: HeaderName = HeaderName::from_static("rollcall-outcome");
/// Header: the same on every attempt and every delivery of a message.
pub const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");
/// Header: to a worker, the sender's own idempotency key: bare, or as a quoted string where it
/// can't stand bare.
pub const SENDER_KEY: HeaderName = HeaderName::from_static("rollcall-sender-key");
/// Header: the position of a released result.
pub const POSITION: HeaderName = HeaderName::from_static("rollcall-position");
/// Header: the sequence of the result that was pushed before this one in its stream.
pub const PREVIOUS_SEQUENCE: HeaderName = HeaderName::from_static("rollcall-previous-sequence");
/// How often the subscription was rewound.
pub const GENERATION: HeaderName = HeaderName::from_static("rollcall-generation");
/// Header: the epoch of the supervisor that delivers.
pub const EPOCH: HeaderName = HeaderName::from_static("rollcall-epoch");
/// Header: `true` on what is delivered while a subscription replays.
pub const REPLAY: HeaderName = HeaderName::from_static("rollcall-replay");
/// Header: who does something, for the audit.
pub const ACTOR: HeaderName = HeaderName::from_static("rollcall-actor");
/// Header: how many of a batch were taken before the refusal.
pub const DONE: HeaderName = HeaderName::from_static("rollcall-done");
/// Header: the content type of the messages in a batch of frames.
pub const CONTENT_TYPE_OF_FRAMES: HeaderName = HeaderName::from_static("rollcall-content-type");
/// The content type of a batch of frames.
pub const FRAMES: &str = "application/vnd.rollcall.frames";

/// A worker's own word on the outcome, in the header `Rollcall-Outcome`. It overrides the status.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Outcome {
    /// The body is the result.
    Ok,
    /// A person has to decide.
    Park,
    /// Try again, elsewhere.
    Retry,
    /// There is no result: record a skip.
    Skip,
}

impl FromStr for Outcome {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.trim() {
            "ok" => Ok(Self::Ok),
            "park" => Ok(Self::Park),
            "retry" => Ok(Self::Retry),
            "skip" => Ok(Self::Skip),
            _ => Err(()),
        }
    }
}

/// What a worker says of itself when it registers, and with every heartbeat:
/// `PUT /v1/workers/{id}`.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Registration {
    /// Where it takes messages: an `http://` URL.
    pub url: String,
    /// Its pool.
    #[serde(default = "default_pool")]
    pub pool: String,
    /// How many calls it takes at once; absent: no bound of ours.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub concurrency: Option<u32>,
    /// The newest version of the [`link`](crate::link) that it speaks; absent: plain HTTP only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub link: Option<u32>,
    /// What it runs, for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
}

fn default_pool() -> String {
    DEFAULT_POOL.to_owned()
}

/// The pool of streams and workers that name none.
pub const DEFAULT_POOL: &str = "default";

/// The answer to a [`Registration`].
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Registered {
    /// How often to register again, in milliseconds. Silent for three times that: no new work.
    pub heartbeat_ms: u64,
    /// Whether it is to take work or to finish and go.
    pub state: WorkerOrder,
}

/// What a supervisor wants of a worker.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum WorkerOrder {
    /// Work.
    Active,
    /// Finish what there is, then leave.
    Draining,
}
