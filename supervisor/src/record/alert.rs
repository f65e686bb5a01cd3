//! What the journal says of alerts: their life, and whom they were told to.

use std::sync::Arc;

use rollcall_common::{
    ids::{Sequence, StreamId},
    time::Time,
};

use super::SubscriptionId;

/// The number of an alert inside one journal. Dense, from 1, never used again.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct AlertId(pub u64);

/// How bad it is.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Severity {
    /// Good to know.
    Info,
    /// Somebody should look at it some time.
    Warning,
    /// Something waits for a person.
    Error,
    /// Nothing goes on until somebody comes.
    Critical,
}

impl Severity {
    /// The word that the outside sees.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Info => "info",
            Self::Warning => "warning",
            Self::Error => "error",
            Self::Critical => "critical",
        }
    }
}

/// What an alert is about: its cause. There is one alert per cause at a time.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Subject {
    /// A stream's late answers differ from the accepted ones.
    AnswersDiverge(StreamId),
    /// A subscription's destination does not take results.
    Destination(SubscriptionId),
    /// The journal's disk is nearly full.
    Disk,
    /// More messages are parked than have an alert of their own.
    Flood,
    /// A subscription was handed results with a hole.
    Gap(SubscriptionId),
    /// A stream's head stands still.
    Held(StreamId),
    /// More streams stand still than have an alert of their own.
    HeldFlood,
    /// A subscription is far behind.
    Lag(SubscriptionId),
    /// A message fails. (In journals of before, an alert of this cause that is worse than a warning
    /// says that it is parked.)
    Message(StreamId, Sequence),
    /// A pool fails whatever it is given.
    Outage(Arc<str>),
    /// Messages of a stream are parked.
    Parked(StreamId),
    /// Workers died during a message's attempts.
    Poison(StreamId, Sequence),
    /// A pool has work and no worker that could take it.
    Pool(Arc<str>),
    /// A worker can't be connected to.
    Unreachable(Arc<str>),
    /// So many alerts fire at once that they are told one after the other.
    Storm,
    /// A worker was taken out for failing.
    Worker(Arc<str>),
}

impl Subject {
    /// The stream that it is about.
    #[must_use]
    pub const fn stream(&self) -> Option<StreamId> {
        if let Self::AnswersDiverge(stream)
        | Self::Held(stream)
        | Self::Message(stream, _)
        | Self::Parked(stream)
        | Self::Poison(stream, _) = self
        {
            return Some(*stream);
        }
        None
    }

    /// The message of that stream.
    #[must_use]
    pub const fn sequence(&self) -> Option<Sequence> {
        if let Self::Message(_, sequence) | Self::Poison(_, sequence) = self {
            return Some(*sequence);
        }
        None
    }

    /// The subscription that it is about.
    #[must_use]
    pub const fn subscription(&self) -> Option<SubscriptionId> {
        if let Self::Destination(id) | Self::Gap(id) | Self::Lag(id) = self {
            return Some(*id);
        }
        None
    }

    /// The worker that it is about.
    #[must_use]
    pub const fn worker(&self) -> Option<&Arc<str>> {
        if let Self::Unreachable(id) | Self::Worker(id) = self { Some(id) } else { None }
    }
}

/// How far an alert's life is. (Before it fires it is pending, which is no record.)
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum AlertStage {
    /// It asks for somebody.
    Firing,
    /// Somebody has seen it.
    Acknowledged,
    /// Its cause is gone.
    Resolved,
}

impl AlertStage {
    /// The word that the outside sees.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Firing => "firing",
            Self::Acknowledged => "acknowledged",
            Self::Resolved => "resolved",
        }
    }
}

/// One fact of an alert's life.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum AlertRecord {
    /// Somebody has seen it.
    Acknowledged {
        /// The alert.
        alert: AlertId,
        /// When.
        at: Time,
        /// Who, as far as is known.
        by: Box<str>,
    },
    /// It fires; or, when there is one of this number, it got worse.
    Raised {
        /// The alert.
        alert: AlertId,
        /// When.
        at: Time,
        /// What it is about.
        subject: Subject,
        /// How bad it is.
        severity: Severity,
        /// How often it has happened: for a message, how often it has failed.
        count: u32,
        /// What a person wants to know.
        detail: Box<str>,
    },
    /// Its cause is gone.
    Resolved {
        /// The alert.
        alert: AlertId,
        /// When.
        at: Time,
    },
    /// A target has taken a notice of it, or is about to be told for the first time: whoever may
    /// have heard that it fires has to hear when it is over.
    Told {
        /// The alert.
        alert: AlertId,
        /// When.
        at: Time,
        /// The target's name.
        target: Arc<str>,
        /// How bad it was said to be.
        severity: Severity,
        /// How far it was said to be.
        stage: AlertStage,
        /// Whether it was taken.
        taken: bool,
    },
}
