//! What speaks to the outside, made from the configuration.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
};

use axum::Router;
use rollcall_common::{
    http::{AddressPolicy, Route, Trust},
    limits::{DELIVERY_READS, WAITING_SENDERS},
    net::Network,
    shutdown::Shutdown,
    time::Clock,
};
use tokio::sync::{Semaphore, watch};

use super::recovery::Opened;
use crate::{
    access::Access,
    alerts::{Notifier, Senders, SetupFailed},
    api::{self, Api},
    config::{Config, Pool, Subscription},
    dispatcher::{AttemptId, Delivery, Dispatch, Notice},
    driver::{Edges, Handle},
    egress::{
        destination::{Destination, DestinationSettings},
        forwarder::{ActiveSenders, ApiDestinations, Destinations, Forwarder},
        runtime::DeliveryRuntime,
    },
    ingress::{self, ByteBudget, Intake},
    record::SubscriptionId,
    secrets::Secrets,
    web::{BodyLimits, LargeBodies},
    workers::{
        self,
        calls::Calls,
        membership::ConfiguredPool,
        registry::{Registry, Trusts},
        routes::Membership,
    },
};

/// What speaks to the outside.
pub(super) struct EdgeSet {
    pub(super) intake: Arc<Intake>,
    pub(super) calls: Arc<Calls>,
    pub(super) forwarder: Arc<Forwarder>,
    pub(super) registry: Arc<Registry>,
    pub(super) notifier: Arc<Notifier>,
    pub(super) access: Arc<Access>,
    secrets: Arc<Secrets>,
    guard: Arc<AddressPolicy>,
    network: Network,
}

/// Who is believed, and what is secret.
pub(super) struct Credentials {
    /// `None`: the public authorities alone are believed.
    pub(super) trust: Option<Trust>,
    pub(super) secrets: Arc<Secrets>,
}

impl EdgeSet {
    pub(super) fn new(
        config: &Config,
        (opened, credentials, network): (&Opened, &Credentials, Network),
        (clock, seed): (Clock, u64),
        (handle, shutdown): (&Handle, &Shutdown),
    ) -> Result<Self, SetupFailed> {
        let sizes = Arc::new(arc_swap::ArcSwap::from_pointee(sizes(config)));
        let registry =
            Arc::new(Registry::over(network.clone(), Arc::new(config.server.worker_guard())));
        registry.trust(trusts(config, credentials.trust.as_ref()));
        let calls = Calls::new(Arc::clone(&registry), handle.clone(), Arc::clone(&sizes));
        let guard = Arc::new(config.server.guard());
        let (secrets, trust) = (Arc::clone(&credentials.secrets), credentials.trust.clone());
        let configured = destinations(config, &network, trust.as_ref());
        let forwarder = Forwarder {
            destinations: arc_swap::ArcSwap::from_pointee(configured),
            made: ApiDestinations::new(
                Arc::clone(&secrets),
                (network.clone(), Arc::clone(&guard)),
                trust,
            ),
            out: ActiveSenders::default(),
            views: Arc::clone(&opened.views),
            reads: Semaphore::new(DELIVERY_READS),
            // Another network than the system's need not work from every thread.
            runtime: if network.is_the_systems() {
                DeliveryRuntime::start()
            } else {
                DeliveryRuntime::none()
            },
            handle: handle.clone(),
            epoch: opened.epoch,
            clock,
            shutdown: shutdown.clone(),
        };
        let intake = Intake {
            handle: handle.clone(),
            views: Arc::clone(&opened.views),
            sizes,
            room: arc_swap::ArcSwap::from_pointee(ByteBudget::new(config.limits.intake_bytes)),
            clock,
            rng: Mutex::new(fastrand::Rng::with_seed(seed)),
            shutdown: shutdown.clone(),
            waiting: Semaphore::new(WAITING_SENDERS),
            large: LargeBodies::default(),
        };
        let notifier = Arc::new(Notifier {
            senders: arc_swap::ArcSwap::from_pointee(senders(config, clock)?),
            handle: handle.clone(),
            journal: opened.identity.to_string().into(),
        });
        Ok(Self {
            intake: Arc::new(intake),
            calls: Arc::new(calls),
            forwarder: Arc::new(forwarder),
            registry,
            notifier,
            access: Arc::new(Access::new(&config.tokens)),
            secrets,
            guard,
            network,
        })
    }

    pub(super) fn router(
        &self,
        opened: &Opened,
        heartbeat_ms: u64,
        ready: watch::Receiver<bool>,
    ) -> Router {
        let api = Api {
            handle: self.intake.handle.clone(),
            views: Arc::clone(&opened.views),
            bulk: tokio::sync::Mutex::default(),
            journal: Arc::clone(&opened.journal),
            sizes: Arc::clone(&self.intake.sizes),
            clock: self.intake.clock,
            shutdown: self.intake.shutdown.clone(),
            secrets: Arc::clone(&self.secrets),
            guard: Arc::clone(&self.guard),
            network: self.network.clone(),
            background: api::BackgroundPool::start(),
            readers: api::Readers::default(),
            large: self.intake.large.clone(),
            arranging: tokio::sync::Mutex::default(),
            ready,
        };
        let membership = Membership {
            handle: self.intake.handle.clone(),
            calls: Arc::clone(&self.calls),
            clock: self.intake.clock,
            heartbeat_ms,
        };
        ingress::routes()
            .merge(workers::routes::routes(Arc::new(membership)))
            .merge(api::routes(Arc::new(api)))
            .fallback(api::not_found)
            .method_not_allowed_fallback(api::wrong_method)
    }
}

/// What the driver hands work to.
pub(super) struct DriverEdges {
    pub(super) calls: Arc<Calls>,
    pub(super) forwarder: Arc<Forwarder>,
    pub(super) notifier: Arc<Notifier>,
}

impl Edges for DriverEdges {
    fn cancel(&self, worker: &str, attempt: AttemptId) {
        self.calls.cancel(worker, attempt);
    }

    fn forget(&self, worker: &str) {
        self.calls.registry.remove(worker);
    }

    fn give_up(&self, worker: &str, attempt: AttemptId) {
        self.calls.give_up(worker, attempt);
    }

    fn dispatch(&self, dispatch: Dispatch) {
        self.calls.dispatch(dispatch);
    }

    fn probe(&self, worker: Arc<str>) {
        self.calls.probe(worker);
    }

    fn deliver(&self, delivery: Delivery) {
        self.forwarder.deliver(delivery);
    }

    fn recall(&self, subscription: SubscriptionId, revision: u32) {
        self.forwarder.recall(subscription, revision);
    }

    fn tell(&self, notice: Notice) {
        self.notifier.tell(notice);
    }
}

/// Whom it believes when it calls workers.
pub(super) fn trusts(config: &Config, others: Option<&Trust>) -> Trusts {
    let pool = |pool: &Pool| {
        let tls = pool.tls.as_ref()?;
        Some((Arc::clone(&pool.name), Trust::of(Arc::clone(&tls.made))))
    };
    Trusts { pools: config.pools.iter().filter_map(pool).collect(), others: others.cloned() }
}

/// Who tells people of alerts.
pub(super) fn senders(config: &Config, clock: Clock) -> Result<Senders, SetupFailed> {
    Senders::new(config.alerts.iter().map(|alerting| alerting.target.clone()), clock)
}

pub(super) fn sizes(config: &Config) -> BodyLimits {
    let bytes = |limit: u64| usize::try_from(limit).unwrap_or(usize::MAX);
    BodyLimits {
        message: bytes(config.limits.message_bytes),
        batch: bytes(config.limits.batch_bytes),
    }
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

/// The destinations of the configuration. They may be anywhere: an operator wrote them.
pub(super) fn destinations(
    config: &Config,
    network: &Network,
    trust: Option<&Trust>,
) -> Destinations {
    let destination = |subscription: &Subscription| {
        let plan = subscription.plan();
        let settings = DestinationSettings {
            secrets: subscription.secrets.clone(),
            headers: subscription.headers.clone(),
            ..DestinationSettings::from(&plan)
        };
        let destination = Destination::new(&settings, (network, &Route::Open), trust);
        (subscription.name.clone().into(), Arc::new(destination))
    };
    config.subscriptions.iter().map(destination).collect::<BTreeMap<_, _>>()
}
