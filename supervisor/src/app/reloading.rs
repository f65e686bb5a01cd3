//! A new configuration while the process runs: whole, or not at all.

use std::sync::Arc;

use rollcall_common::{http::Trust, tls::Acceptor};
use tokio::sync::watch;

use super::{Running, destinations, pools, senders, sizes, trusts};
use crate::{
    access::Access,
    alerts::{Notifier, SetupFailed},
    config::Config,
    dispatcher::Event,
    driver::{Handle, retention::RetentionPolicy},
    egress::forwarder::Forwarder,
    ingress::{ByteBudget, Intake},
    record::Origin,
    workers::{membership::ConfiguredPool, registry::Registry},
};

/// What a new configuration changes.
#[derive(Debug)]
pub(super) struct Reloading {
    pub(super) intake: Arc<Intake>,
    pub(super) forwarder: Arc<Forwarder>,
    pub(super) notifier: Arc<Notifier>,
    pub(super) registry: Arc<Registry>,
    pub(super) access: Arc<Access>,
    pub(super) tls: Option<Acceptor>,
    pub(super) pools: watch::Sender<Vec<ConfiguredPool>>,
    pub(super) rules: watch::Sender<RetentionPolicy>,
    pub(super) config: Config,
    pub(super) trust: Option<Trust>,
}

/// Why a configuration without a mistake can't be applied while the process runs.
#[derive(Debug, thiserror::Error)]
pub enum NotApplied {
    /// Anybody could use what is open now.
    #[error(
        "without tokens anybody could use what the supervisor listens at now; it needs a restart"
    )]
    Opens,
    /// Nobody could be told of alerts.
    #[error(transparent)]
    Senders(#[from] SetupFailed),
}

impl Running {
    /// Applies what of a new configuration can be applied without a restart; gives back the
    /// sections for which one is needed.
    ///
    /// # Errors
    /// When it can't be applied. Then nothing has changed.
    pub async fn reload(&mut self, config: Config) -> Result<Vec<&'static str>, NotApplied> {
        let reloading = &mut self.reloading;
        if reloading.config.would_open(&config) {
            return Err(NotApplied::Opens);
        }
        let senders = senders(&config, reloading.intake.clock)?;
        let needed = reloading.config.needs_restart(&config);
        reloading.access.replace(&config.tokens);
        if let (Some(acceptor), Some(tls)) = (&reloading.tls, &config.server.tls) {
            acceptor.replace(Arc::clone(&tls.made));
        }
        reloading.registry.trust(trusts(&config, reloading.trust.as_ref()));
        if reloading.intake.room.load().bytes() != config.limits.intake_bytes {
            reloading.intake.room.store(Arc::new(ByteBudget::new(config.limits.intake_bytes)));
        }
        reloading.intake.sizes.store(Arc::new(sizes(&config)));
        reloading.notifier.senders.store(Arc::new(senders));
        // Err: nobody keeps the roster any more, so the process drains.
        let _ = reloading.pools.send(pools(&config.pools));
        let _ = reloading.rules.send(config.rules());
        let network = reloading.registry.network();
        let destinations = destinations(&config, network, reloading.trust.as_ref());
        // Until the subscriptions that are left out stand still, they have their destinations.
        let mut meanwhile = (**reloading.forwarder.destinations.load()).clone();
        meanwhile.extend(destinations.clone());
        reloading.forwarder.destinations.store(Arc::new(meanwhile));
        let settings = Arc::new(config.settings());
        let _ = self.handle.send(Event::Settings(settings)).await;
        let _ = self.handle.settled().await;
        reloading.forwarder.destinations.store(Arc::new(destinations));
        reloading.config = config;
        warn_of_unconfigured(&self.handle).await;
        Ok(needed)
    }
}

/// Says which subscriptions stand still because the configuration does not name them any more.
pub(super) async fn warn_of_unconfigured(handle: &Handle) {
    let look = handle.query(|dispatcher| {
        let all = dispatcher.state().subscription_names();
        let all = all.filter_map(|(id, _)| dispatcher.subscription_status(id));
        all.filter(|status| status.plan.origin == Origin::Unconfigured).collect::<Vec<_>>()
    });
    // Err: the driver is gone, and the process ends.
    for status in look.await.unwrap_or_default() {
        tracing::warn!(
            subscription = %status.name,
            checkpoint = status.checkpoint.0,
            "the configuration does not name this subscription any more: it stands still and keeps \
             its place, and DELETE /v1/subscriptions/{} removes it",
            status.name
        );
    }
}
