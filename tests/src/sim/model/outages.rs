//! Outages of pools, by the contract's words: the last so many failures that counted were of two
//! messages and two workers at least, and nothing succeeded between them.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::Arc,
};

use rollcall_common::time::Time;
use rollcall_supervisor::{dispatcher::settings::OutageDetection, record::Record};

use super::{At, Model, NOTICED, Try, wrong};
use crate::oracle::{Invariant, Violation};

/// How pools fail.
#[derive(Debug, Default)]
pub(super) struct Outages {
    /// Those that are in an outage, and since when.
    out: BTreeMap<Arc<str>, Time>,
    failed: BTreeMap<Arc<str>, VecDeque<(At, Arc<str>)>>,
    succeeded_at: BTreeMap<Arc<str>, Time>,
    /// What has to be written down of each pool: whether its outage begins.
    wanted: VecDeque<(Arc<str>, bool)>,
}

impl Outages {
    pub(super) fn began(&mut self, pool: &Arc<str>, at: Time) {
        self.out.insert(Arc::clone(pool), at);
    }

    pub(super) fn ended(&mut self, pool: &Arc<str>) {
        self.out.remove(pool);
    }

    /// Who is forgotten is not among those who failed any more.
    pub(super) fn forget(&mut self, worker: &Arc<str>) {
        self.failed.values_mut().for_each(|all| all.retain(|(_, by)| by != worker));
    }

    pub(super) fn forget_wanted(&mut self) {
        self.wanted.clear();
    }

    /// What should have been written down and was not.
    pub(super) fn missing(&self) -> Option<String> {
        (!self.wanted.is_empty())
            .then(|| format!("outages {:?} are to be written down", self.wanted))
    }
}

impl Model {
    pub(super) fn is_out(&self, pool: &Arc<str>) -> bool {
        self.outages.out.contains_key(pool)
    }

    /// Since when a pool is in an outage.
    pub(super) fn out_since(&self, pool: &Arc<str>) -> Option<Time> {
        self.outages.out.get(pool).copied()
    }

    /// A good answer, however late.
    pub(super) fn pool_succeeds(&mut self, worker: &Arc<str>, now: Time) {
        let Some(pool) = self.pools.get(worker).cloned() else { return };
        self.outages.failed.remove(&pool);
        self.outages.succeeded_at.insert(Arc::clone(&pool), now);
        if self.outages.out.remove(&pool).is_some() {
            self.outages.wanted.push_back((pool, false));
        }
    }

    /// A failure that counts, and no refusal. Whether an outage begins with it.
    pub(super) fn pool_fails(&mut self, one: &Try, timed_out: bool, now: Time) -> bool {
        let Some(pool) = self.pools.get(&one.worker).cloned() else { return false };
        let settings = self.settings.pool(&pool);
        let stale = self.outages.succeeded_at.get(&pool).is_some_and(|at| one.begun <= *at);
        if settings.outage == OutageDetection::Off || timed_out && stale {
            return false;
        }
        let there = self.members.iter().filter(|(id, of)| {
            let silent = self.silent_at.get(*id).is_some_and(|at| *at <= now + NOTICED);
            **of == pool && !silent && !self.unreachable.contains(*id)
        });
        let least = there.count().clamp(1, 2);
        let failed = self.outages.failed.entry(Arc::clone(&pool)).or_default();
        failed.push_back((one.at, Arc::clone(&one.worker)));
        while failed.len() > settings.outage_after as usize {
            failed.pop_front();
        }
        let messages: BTreeSet<_> = failed.iter().map(|(at, _)| *at).collect();
        let workers: BTreeSet<_> = failed.iter().map(|(_, worker)| worker).collect();
        let begins = failed.len() >= settings.outage_after as usize
            && messages.len() >= 2
            && workers.len() >= least;
        if begins {
            self.outages.failed.remove(&pool);
            self.outages.out.insert(Arc::clone(&pool), now);
            self.outages.wanted.push_back((pool, true));
        }
        begins
    }

    /// Whether what a record says of a pool follows from what was told.
    pub(super) fn outage_allowed(&mut self, record: &Record) -> Result<(), Violation> {
        let (pool, begins) = if let Record::OutageBegan { pool, .. } = record {
            (pool, true)
        } else if let Record::OutageEnded { pool, .. } = record {
            (pool, false)
        } else {
            return Ok(());
        };
        let told = (Arc::clone(pool), begins);
        if self.outages.wanted.pop_front_if(|wanted| *wanted == told).is_some() {
            return Ok(());
        }
        let off = self.settings.pool(pool).outage == OutageDetection::Off;
        let unused = self
            .streams
            .iter()
            .all(|stream| self.settings.stream(&stream.name).pool.as_ref() != Some(pool));
        if !begins && (off || unused) {
            return Ok(());
        }
        let wanted = &self.outages.wanted;
        let detail =
            format!("{pool}: an outage begins or ends ({begins}); what follows: {wanted:?}");
        Err(wrong(Invariant::I8, detail))
    }
}
