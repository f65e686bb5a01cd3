//! `[pools.NAME]`: workers that stand in the configuration, and how they are treated.

use std::{sync::Arc, time::Duration};

use rollcall_common::http::Target;
use rustls::ClientConfig;

use super::{
    section::Section,
    streams::NO_POOL,
    tls::{self, Tls},
    values::{self, DAY, SHORTEST, duration, list, url, whole, word},
};
use crate::dispatcher::settings::{OutageDetection, PoolSettings};

/// What `outage` may say.
const OUTAGE: [(&str, OutageDetection); 2] =
    [("auto", OutageDetection::Auto), ("off", OutageDetection::Off)];

/// `[pools.NAME]`.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Pool {
    /// Its name.
    pub name: Arc<str>,
    /// Its workers; others may register.
    pub workers: Vec<Target>,
    /// Calls at once for each of these workers; absent: no bound.
    pub concurrency: Option<u32>,
    /// When a worker is taken out, and how many retries there may be.
    pub settings: PoolSettings,
    /// How often the workers' host names are resolved again.
    pub dns_refresh: Duration,
    /// How `https://` workers are spoken to; absent: as `https://` destinations are.
    pub tls: Option<Tls<ClientConfig>>,
}

impl Pool {
    /// A pool that nothing is said of.
    #[must_use]
    pub fn new(name: &str) -> Self {
        Self {
            name: name.into(),
            workers: Vec::new(),
            concurrency: None,
            settings: PoolSettings::default(),
            dns_refresh: Duration::from_secs(30),
            tls: None,
        }
    }

    pub(super) fn read_all(section: Section<'_>) -> Vec<Self> {
        let check = |name: &str| {
            if name == NO_POOL {
                let text = "\"none\" is no pool's name: it stands for streams without one";
                return Err(text.to_owned());
            }
            values::name(name)
        };
        section.each(check, Self::read)
    }

    fn read(name: &str, mut section: Section<'_>) -> Self {
        let mut pool = Self::new(name);
        let workers = section.read("workers", |node| list(node, url));
        pool.workers = workers.unwrap_or_default();
        pool.concurrency = section.read("concurrency", |node| whole(node, 1..=65_536));
        let after = section.read("eject_after", |node| whole(node, 1..=1000));
        pool.settings.eject_after = after.unwrap_or(pool.settings.eject_after);
        // A worker is never out for longer than five minutes.
        let most = Duration::from_secs(300);
        let time = section.read("eject_for", |node| duration(node, SHORTEST..=most));
        pool.settings.eject_for = time.unwrap_or(pool.settings.eject_for);
        let outage = section.read("outage", |node| word(node, &OUTAGE));
        pool.settings.outage = outage.unwrap_or(pool.settings.outage);
        let after = section.read("outage_after", |node| whole(node, 2..=1000));
        pool.settings.outage_after = after.unwrap_or(pool.settings.outage_after);
        let second = Duration::from_secs(1);
        let forget = section.read("forget_after", |node| duration(node, second..=30 * DAY));
        pool.settings.forget_after = forget.unwrap_or(pool.settings.forget_after);
        let budget = &mut pool.settings.budget;
        let percent = section.read("retry_percent", |node| whole(node, 0..=1000));
        budget.percent = percent.unwrap_or(budget.percent);
        let per_second = section.read("retries_per_second", |node| whole(node, 0..=1_000_000));
        budget.per_second = per_second.unwrap_or(budget.per_second);
        let refresh = section.read("dns_refresh", |node| duration(node, second..=DAY));
        pool.dns_refresh = refresh.unwrap_or(pool.dns_refresh);
        pool.tls = tls::client(&mut section);
        section.close();
        pool
    }
}
