//! How long a message waits for room on the machine, or for a child that is started again, before
//! it is sent to another worker.

use std::time::Duration;

/// What a message is told that found no room.
pub(super) const NO_ROOM: &str = "the machine has no room for another process";

/// The longest of a short wait.
const SHORT: Duration = Duration::from_secs(1);
/// A short wait takes no more than one part in so many of what the attempt may take.
const PART: u32 = 4;

/// How long a message waits.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Patience {
    /// For ever: there is no other worker.
    Endless,
    /// So briefly that another worker has time enough for it.
    Short,
}

impl Patience {
    /// How long that is for an attempt that may take so long; `None`: for ever.
    pub(super) fn with(self, timeout: Option<Duration>) -> Option<Duration> {
        match self {
            Self::Endless => None,
            Self::Short => Some(timeout.map_or(SHORT, |timeout| SHORT.min(timeout / PART))),
        }
    }
}
