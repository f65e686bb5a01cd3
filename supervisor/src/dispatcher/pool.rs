//! A pool: workers of one name, the streams that wait for them, and what retries and copies may
//! cost there.

use std::{collections::VecDeque, num::NonZeroU32, sync::Arc};

use rollcall_common::{
    ids::{Sequence, StreamId},
    time::Time,
};

use super::{budget::Budget, hedge::Hedge, settings::PoolSettings, worker::WorkerKey};

/// A pool's number in this process. Each stream has one or none, so it is short, and never 0.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(super) struct PoolKey(NonZeroU32);

impl PoolKey {
    /// That of the pool that came into being after so many others.
    pub(super) fn after(pools: usize) -> Self {
        let number = u32::try_from(pools).ok().and_then(|before| before.checked_add(1));
        Self(number.and_then(NonZeroU32::new).expect("there are fewer pools than that"))
    }

    pub(super) fn index(self) -> usize {
        usize::try_from(self.0.get() - 1).unwrap_or(usize::MAX)
    }
}

/// The workers of one name.
#[derive(Debug)]
pub(super) struct Pool {
    pub(super) name: Arc<str>,
    pub(super) settings: PoolSettings,
    pub(super) members: usize,
    pub(super) fit: Vec<WorkerKey>,
    /// Until when at most somebody is taken out.
    pub(super) ejected_until: Time,
    /// When it is looked again whether limits alone keep its workers from work.
    pub(super) stretch_at: Time,
    budget: Budget,
    pub(super) hedge: Hedge,
    /// Streams that have something for it, in the order of their turns.
    pub(super) queue: VecDeque<StreamId>,
    /// Streams whose next message is to be read back before it can go out, in the order of their
    /// turns.
    pub(super) unread: VecDeque<(StreamId, Sequence)>,
    /// Bytes of messages that are out at its workers.
    pub(super) out_bytes: usize,
}

impl Pool {
    /// One that nobody belongs to yet.
    pub(super) fn new(name: Arc<str>, settings: PoolSettings) -> Self {
        Self {
            name,
            settings,
            members: 0,
            fit: Vec::new(),
            ejected_until: Time::default(),
            stretch_at: Time::default(),
            budget: Budget::default(),
            hedge: Hedge::default(),
            queue: VecDeque::new(),
            unread: VecDeque::new(),
            out_bytes: 0,
        }
    }

    /// Notes a message that is dispatched for the first time.
    pub(super) fn deposit(&mut self, now: Time) {
        self.budget.deposit(now);
    }

    /// Pays for a retry; whether the budget had something left.
    pub(super) fn withdraw(&mut self, now: Time) -> bool {
        self.budget.withdraw(self.settings.budget, now)
    }

    /// Pays for what can be done without: whether more than half of the budget was left.
    pub(super) fn withdraw_spare(&mut self, now: Time) -> bool {
        self.budget.withdraw_spare(self.settings.budget, now)
    }

    /// Gives back what was paid at `paid`.
    pub(super) fn give_back(&mut self, paid: Time) {
        self.budget.give_back(paid);
    }
}
