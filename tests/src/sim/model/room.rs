//! How many bytes may be out at workers.

use std::sync::Arc;

use rollcall_supervisor::dispatcher::Dispatch;

use super::{Model, wrong};
use crate::oracle::{Invariant, Violation};

impl Model {
    /// A call goes out: its pool has none, or less than is left for others.
    pub(super) fn check_room(&self, dispatch: &Dispatch) -> Result<(), Violation> {
        let (most, (pool, all)) = (self.most_out(), self.out(&dispatch.worker));
        if pool == 0 || pool.saturating_add(all) < most {
            return Ok(());
        }
        let worker = &dispatch.worker;
        Err(wrong(Invariant::I7, format!("{worker}: {pool} of {all} are out, {most} may be")))
    }

    /// Whether a pool had too much out for another call, before some went out.
    pub(super) fn is_short_of_room(&self, worker: &str, sent: &[Dispatch]) -> bool {
        let (pool, all) = self.out(worker);
        let more: usize = sent.iter().map(|one| one.message.weight()).sum();
        pool + all + 2 * more >= self.most_out()
    }

    /// Bytes that are out at the workers of a worker's pool, and at all.
    fn out(&self, worker: &str) -> (usize, usize) {
        let pool = |worker: &str| self.pools.get(worker).map(Arc::clone);
        let wanted = pool(worker);
        let theirs = self.tries.values().filter(|one| pool(&one.worker) == wanted);
        let all = self.tries.values().map(|one| one.bytes).sum();
        (theirs.map(|one| one.bytes).sum(), all)
    }

    fn most_out(&self) -> usize {
        self.settings.bounds.in_flight_bytes
    }
}
