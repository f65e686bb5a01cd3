//! What a supervisor stands on: by default the system's network, clock and chance, and the journal
//! that the configuration names. A test can put it on other ground.

use std::sync::Arc;

use rollcall_common::{
    ids::Epoch,
    net::Network,
    seed,
    time::{Clock, Time},
};
use uuid::Uuid;

use crate::journal::Journal;

/// What a supervisor stands on.
#[derive(Debug, Default)]
pub struct Environment {
    /// The network.
    pub network: Network,
    /// The journal; `None`: the one that the configuration names.
    pub store: Option<Store>,
    /// What time it is; `None`: the wall clock knows.
    pub time: Option<Time>,
    /// The seed of all chance; `None`: one that differs from process to process.
    pub seed: Option<u64>,
}

impl Environment {
    /// The clock, which shows no earlier time than this one.
    pub(super) fn clock(&self, not_before: Time) -> Clock {
        let on = |now: Time| Clock::at(now.max(not_before));
        self.time.map_or_else(|| Clock::start(not_before), on)
    }

    /// Where seeds come from.
    pub(super) fn seeds(&self) -> fastrand::Rng {
        fastrand::Rng::with_seed(self.seed.unwrap_or_else(seed::seed))
    }
}

/// A journal that has been opened.
#[derive(Clone, Debug)]
pub struct Store {
    /// The journal.
    pub journal: Arc<dyn Journal>,
    /// The epoch under which it is gone on with.
    pub epoch: Epoch,
    /// Which journal it is.
    pub identity: Uuid,
}
