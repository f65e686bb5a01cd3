//! What speaks to the outside, made from the configuration.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
};

use axum::Router;
use rollcall_common::{dice, shutdown::Shutdown, time::Clock};

use super::recovery::Opened;
use crate::{
    alerts::{Crier, Senders, SetupFailed},
    api::{self, Api},
    config::{Config, Pool, Subscription},
    dispatcher::{Delivery, Dispatch, Notice},
    driver::{Edges, Handle},
    egress::forwarder::{Destination, DestinationSettings, Destinations, Forwarder},
    ingress::{self, Intake, Room},
    web::Sizes,
    workers::{
        self, link::Link, membership::ConfiguredPool, registry::Registry, routes::Membership,
    },
};

/// What speaks to the outside.
pub(super) struct Edge {
    pub(super) intake: Arc<Intake>,
    pub(super) link: Arc<Link>,
    pub(super) forwarder: Arc<Forwarder>,
    pub(super) registry: Arc<Registry>,
    pub(super) crier: Arc<Crier>,
}

impl Edge {
    pub(super) fn new(
        config: &Config,
        opened: &Opened,
        (clock, handle, shutdown): (Clock, &Handle, &Shutdown),
    ) -> Result<Self, SetupFailed> {
        let sizes = Arc::new(arc_swap::ArcSwap::from_pointee(sizes(config)));
        let registry = Arc::new(Registry::default());
        let link = Link {
            registry: Arc::clone(&registry),
            handle: handle.clone(),
            sizes: Arc::clone(&sizes),
        };
        let forwarder = Forwarder {
            destinations: arc_swap::ArcSwap::from_pointee(destinations(config)),
            views: Arc::clone(&opened.views),
            handle: handle.clone(),
            epoch: opened.epoch,
            clock,
            shutdown: shutdown.clone(),
        };
        let intake = Intake {
            handle: handle.clone(),
            views: Arc::clone(&opened.views),
            sizes,
            room: arc_swap::ArcSwap::from_pointee(Room::new(config.limits.intake_bytes)),
            clock,
            rng: Mutex::new(fastrand::Rng::with_seed(dice::seed())),
            shutdown: shutdown.clone(),
        };
        let crier = Arc::new(Crier {
            senders: arc_swap::ArcSwap::from_pointee(senders(config, clock)?),
            handle: handle.clone(),
            journal: opened.identity.to_string().into(),
        });
        let (link, forwarder) = (Arc::new(link), Arc::new(forwarder));
        Ok(Self { intake: Arc::new(intake), link, forwarder, registry, crier })
    }

    pub(super) fn router(&self, opened: &Opened, heartbeat_ms: u64) -> Router {
        let api = Api {
            handle: self.intake.handle.clone(),
            views: Arc::clone(&opened.views),
            bulk: tokio::sync::Mutex::default(),
            journal: Arc::clone(&opened.journal),
            sizes: Arc::clone(&self.intake.sizes),
            clock: self.intake.clock,
            shutdown: self.intake.shutdown.clone(),
        };
        let membership = Membership {
            handle: self.intake.handle.clone(),
            registry: Arc::clone(&self.registry),
            clock: self.intake.clock,
            heartbeat_ms,
        };
        ingress::routes(Arc::clone(&self.intake))
            .merge(workers::routes::routes(Arc::new(membership)))
            .merge(api::routes(Arc::new(api)))
            .fallback(api::not_found)
            .method_not_allowed_fallback(api::wrong_method)
    }
}

/// What the driver hands work to.
pub(super) struct Work {
    pub(super) link: Arc<Link>,
    pub(super) forwarder: Arc<Forwarder>,
    pub(super) crier: Arc<Crier>,
}

impl Edges for Work {
    fn dispatch(&self, dispatch: Dispatch) {
        self.link.dispatch(dispatch);
    }

    fn probe(&self, worker: Arc<str>) {
        self.link.probe(worker);
    }

    fn deliver(&self, delivery: Delivery) {
        self.forwarder.deliver(delivery);
    }

    fn tell(&self, notice: Notice) {
        self.crier.tell(notice);
    }
}

/// Who tells people of alerts.
pub(super) fn senders(config: &Config, clock: Clock) -> Result<Senders, SetupFailed> {
    Senders::new(config.alerts.iter().map(|alerting| alerting.target.clone()), clock)
}

pub(super) fn sizes(config: &Config) -> Sizes {
    let bytes = |limit: u64| usize::try_from(limit).unwrap_or(usize::MAX);
    Sizes { message: bytes(config.limits.message_bytes), batch: bytes(config.limits.batch_bytes) }
}

pub(super) fn pools(pools: &[Pool]) -> Vec<ConfiguredPool> {
    let configured = |pool: &Pool| ConfiguredPool {
        name: Arc::clone(&pool.name),
        workers: pool.workers.clone(),
        concurrency: pool.concurrency,
        dns_refresh: pool.dns_refresh,
    };
    pools.iter().map(configured).collect()
}

pub(super) fn destinations(config: &Config) -> Destinations {
    let destination = |subscription: &Subscription| {
        let settings = DestinationSettings {
            targets: subscription.urls.clone(),
            secrets: subscription.secrets.clone(),
            batch: subscription.batch,
            timeout: subscription.timeout,
        };
        (subscription.name.clone().into(), Arc::new(Destination::from(&settings)))
    };
    config.subscriptions.iter().map(destination).collect::<BTreeMap<_, _>>()
}
