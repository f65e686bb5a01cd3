//! Wiring: what a supervisor is made of, in which order it starts, and in which it stops.

use std::{io, net::SocketAddr, path::PathBuf, sync::Arc, time::Duration};

use rollcall_common::{
    http::Trust,
    shutdown::{Phase, Shutdown, Trigger},
    spare, task,
};
use tokio::{sync::watch, task::JoinHandle, time::timeout};

use crate::{
    alerts::{Notifier, SetupFailed},
    config::{Config, JournalKind},
    dispatcher::{Event, Settings},
    driver::{Driver, DriverError, Handle, Parts, engine::Engine, recovery::RecoverError},
    egress::forwarder::Forwarder,
    journal::{EntryNumber, local::OpenError},
    secrets::Secrets,
    views::{Change, Overview, Views},
    workers::{membership, registry::Registry},
};

#[cfg(any(test, feature = "checks"))]
pub mod checks;
mod compactor;
mod edges;
mod environment;
mod listening;
mod recovery;
mod reloading;

use compactor::Compactor;
use edges::{Credentials, DriverEdges, EdgeSet, destinations, pools, senders, sizes, trusts};
pub use environment::{Environment, Store};
pub use listening::Addresses;
use listening::Bound;
pub(crate) use recovery::{Opened, open};
pub use reloading::NotApplied;
use reloading::{Reloading, warn_of_unconfigured};

/// How long a start waits for its first entry to be durable before it answers nevertheless.
const START_WAIT: Duration = Duration::from_secs(3);
/// How often idle connections are looked at, and memory is given back.
const SWEEP_EVERY: Duration = Duration::from_secs(1);
/// Streams whose status is shown together at the start.
const SHOWN_TOGETHER: usize = 4096;
/// How often a draining supervisor looks whether it is done.
const DRAIN_LOOK: Duration = Duration::from_millis(20);
/// Why a supervisor does not start, or ends by itself.
#[derive(Debug, thiserror::Error)]
pub enum AppError {
    /// The address can't be listened at.
    #[error("can't listen at {0}: {1}")]
    Bind(SocketAddr, io::Error),
    /// The journal can't be opened.
    #[error("the journal can't be opened: {0}")]
    Open(#[from] OpenError),
    /// What the journal says can't be made out.
    #[error("{0}; {MEND}")]
    Recover(#[from] RecoverError),
    /// The folder of the views can't be made.
    #[error("the index in {0} can't be written: {1}")]
    Views(PathBuf, io::Error),
    /// The certificates to be believed can't be read.
    #[error("server.ca_file can't be used: {0}")]
    Trust(io::Error),
    /// The secrets of subscriptions can't be read.
    #[error("the subscriptions' secrets in {0} can't be read: {1}")]
    Secrets(PathBuf, io::Error),
    /// Nothing can be written down any more.
    #[error(transparent)]
    Driver(#[from] DriverError),
    /// Nobody could be told of alerts.
    #[error(transparent)]
    Senders(#[from] SetupFailed),
    /// A part of it was broken off.
    #[error("starting was broken off: {0}")]
    Broken(String),
}

/// What is to be done about a journal that can't be made out.
const MEND: &str =
    "nothing was changed: put a copy of its folder back, or begin with another folder";

/// A supervisor that runs.
#[derive(Debug)]
pub struct Running {
    addresses: Addresses,
    handle: Handle,
    views: Arc<Views>,
    driver: JoinHandle<Result<(), DriverError>>,
    shutdown: Shutdown,
    trigger: Trigger,
    drain_timeout: Duration,
    reloading: Reloading,
}

/// Starts a supervisor. It stops when `shutdown` says so.
///
/// # Errors
/// When its address is taken, or its journal can't be opened or read.
pub async fn start(
    config: Config,
    shutdown: Shutdown,
    trigger: Trigger,
) -> Result<Running, AppError> {
    start_on(Environment::default(), config, shutdown, trigger).await
}

/// Starts a supervisor on other ground than the system's.
///
/// # Errors
/// As [`start`].
pub async fn start_on(
    ground: Environment,
    config: Config,
    shutdown: Shutdown,
    trigger: Trigger,
) -> Result<Running, AppError> {
    let bound = Bound::new(&config, &ground.network).await?;
    warn_of_readable_tokens(&config);
    let settings = Arc::new(config.settings());
    let opened = open(config.journal.clone(), ground.store.clone(), Arc::clone(&settings)).await?;
    let clock = ground.clock(opened.recovered.state.last_time());
    let mut seeds = ground.seeds();
    let (handle, mailbox) = Handle::new();
    let credentials = open_vault(&config, &opened).await?;
    let opened_on = (&opened, &credentials, ground.network);
    let edges = EdgeSet::new(&config, opened_on, (clock, seeds.u64(..)), (&handle, &shutdown))?;
    let views = Arc::clone(&opened.views);
    let mut ready = settle(&handle);
    let router = edges.router(&opened, heartbeat_ms(&settings), ready.clone());
    let last = opened.recovered.last;
    let journal = Arc::clone(&opened.journal);
    let engine = Engine::new(settings, opened.recovered, seeds.u64(..), clock.now());
    show_all(&engine, &views, last);
    let driver = Driver::new(Parts {
        engine,
        journal: opened.journal,
        epoch: opened.epoch,
        views: opened.views,
        edges: Arc::new(DriverEdges {
            calls: edges.calls,
            forwarder: Arc::clone(&edges.forwarder),
            notifier: Arc::clone(&edges.notifier),
        }),
        clock,
        handle: handle.clone(),
        mailbox,
    });
    let driver = drive(driver, trigger.clone(), Arc::clone(&edges.notifier));
    let (pools, wanted) = watch::channel(pools(&config.pools));
    membership::keep(wanted, Arc::clone(&edges.registry), handle.clone(), shutdown.clone());
    let (rules, kept) = watch::channel(config.rules());
    let keeper = Compactor { handle: handle.clone(), views: Arc::clone(&views), journal, clock };
    keeper.spawn(kept, shutdown.clone());
    sweep(Arc::clone(&edges.registry), Arc::clone(&edges.forwarder), shutdown.clone());
    let (addresses, tls) = (bound.addresses.clone(), bound.tls());
    // Err: the disk takes its time, or the driver has ended and says why.
    let _ = timeout(START_WAIT, ready.wait_for(|ready| *ready)).await;
    bound.serve(&router, &edges.access, &edges.intake, &shutdown);
    let drain_timeout = config.server.drain_timeout;
    let reloading = Reloading {
        intake: edges.intake,
        forwarder: edges.forwarder,
        notifier: edges.notifier,
        registry: edges.registry,
        access: edges.access,
        tls,
        pools,
        rules,
        config,
        trust: credentials.trust,
    };
    Ok(Running { addresses, handle, views, driver, shutdown, trigger, drain_timeout, reloading })
}

/// Says when all that is configured is there for good. Until then the process is not ready; but
/// what is there is answered: a disk that is full or slow is something to be asked about.
fn settle(handle: &Handle) -> watch::Receiver<bool> {
    let (settled, ready) = watch::channel(false);
    let handle = handle.clone();
    task::spawn("settling", async move {
        // Err: the driver has ended, and says why.
        if handle.settled().await.is_ok() {
            warn_of_unconfigured(&handle).await;
            settled.send_replace(true);
        }
    });
    ready
}

fn warn_of_readable_tokens(config: &Config) {
    if !config.tokens.is_empty() && config.server.is_readable() {
        tracing::warn!("tokens travel for everybody on the way to read: server.tls is not set");
    }
}

/// Reads whom to believe, and the secrets of the subscriptions that are still there.
async fn open_vault(config: &Config, opened: &Opened) -> Result<Credentials, AppError> {
    let ca_file = config.server.ca_file.clone();
    let local = config.journal.kind == JournalKind::Local;
    let folder = local.then(|| config.journal.path.clone());
    let names = opened.recovered.state.subscription_names();
    let names: Vec<Box<str>> = names.map(|(_, name)| name.into()).collect();
    let opened = tokio::task::spawn_blocking(move || {
        let trust = ca_file.map(|file| Trust::new(Some(&file)));
        let trust = trust.transpose().map_err(AppError::Trust)?;
        let wrong = |error| AppError::Secrets(folder.clone().unwrap_or_default(), error);
        let secrets = Secrets::open(folder.clone()).map_err(wrong)?;
        secrets.keep(&names).map_err(wrong)?;
        Ok(Credentials { trust, secrets: Arc::new(secrets) })
    });
    opened.await.map_err(|error| AppError::Broken(error.to_string()))?
}

/// How everything stands, before anybody can ask.
fn show_all(engine: &Engine, views: &Views, last: EntryNumber) {
    let mut after = None;
    loop {
        let page = views.streams(after.as_ref(), SHOWN_TOGETHER);
        let status = |(_, stream): &(_, _)| {
            let status = engine.dispatcher().stream_status(*stream);
            Change::Status { stream: *stream, status }
        };
        views.publish(last, page.iter().map(status));
        match page.into_iter().last() {
            Some((name, _)) => after = Some(name),
            None => break,
        }
    }
    views.show(Overview::of(engine.dispatcher(), None));
}

fn heartbeat_ms(settings: &Settings) -> u64 {
    u64::try_from(settings.heartbeat.as_millis()).unwrap_or(u64::MAX)
}

/// Runs the driver; if it can't go on, the process is told to end.
fn drive(
    driver: Driver,
    trigger: Trigger,
    notifier: Arc<Notifier>,
) -> JoinHandle<Result<(), DriverError>> {
    task::spawn("driver", async move {
        let ended = driver.run().await;
        if let Err(error) = &ended {
            tracing::error!(%error, "the supervisor can't go on");
            notifier.notify_fatal(&error.to_string()).await;
            trigger.advance(Phase::Draining);
        }
        ended
    })
}

impl Running {
    /// Where it listens for messages.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.addresses.main
    }

    /// Where it listens.
    #[must_use]
    pub fn addresses(&self) -> &Addresses {
        &self.addresses
    }

    /// The way to its driver.
    #[must_use]
    pub fn handle(&self) -> &Handle {
        &self.handle
    }

    /// What its readers see.
    #[must_use]
    pub fn views(&self) -> &Arc<Views> {
        &self.views
    }

    /// Runs until the process has drained, or must stop, or can't go on.
    ///
    /// # Errors
    /// When the journal has failed.
    pub async fn finished(mut self) -> Result<(), AppError> {
        let mut shutdown = self.shutdown.clone();
        tokio::select! {
            ended = &mut self.driver => return ended_by_itself(ended),
            () = shutdown.reached(Phase::Draining) => {}
        }
        tokio::select! {
            ended = &mut self.driver => return ended_by_itself(ended),
            () = drained(&self.handle) => tracing::info!("drained"),
            () = tokio::time::sleep(self.drain_timeout) => {
                tracing::warn!("not all that was under way has finished; the next start goes on");
            }
            () = shutdown.reached(Phase::Now) => {}
        }
        // Err: it has ended already.
        let _ = self.handle.stop().await;
        let ended = ended_by_itself(self.driver.await);
        self.trigger.advance(Phase::Now);
        ended
    }
}

fn ended_by_itself(
    ended: Result<Result<(), DriverError>, tokio::task::JoinError>,
) -> Result<(), AppError> {
    ended.map_err(|error| AppError::Broken(error.to_string()))?.map_err(AppError::from)
}

/// Waits until nothing is under way that would be worth waiting for.
async fn drained(handle: &Handle) {
    // Err: there is nobody left to wait for.
    if handle.send(Event::Drain).await.is_err() {
        return;
    }
    while !handle.query(crate::dispatcher::Dispatcher::is_idle).await.unwrap_or(true) {
        tokio::time::sleep(DRAIN_LOOK).await;
    }
}

fn sweep(registry: Arc<Registry>, forwarder: Arc<Forwarder>, mut shutdown: Shutdown) {
    task::spawn("sweep", async move {
        loop {
            tokio::select! {
                () = tokio::time::sleep(SWEEP_EVERY) => {}
                () = shutdown.reached(Phase::Now) => return,
            }
            registry.sweep();
            forwarder.sweep();
            spare::give_back();
        }
    });
}
