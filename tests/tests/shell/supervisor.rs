//! The supervisor's host: the whole program, on a disk that survives.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use rollcall_common::{
    ids::Position,
    net::Network,
    shutdown::{Phase, Shutdown, Trigger},
    task,
    time::Time,
};
use rollcall_supervisor::{
    app::{self, Environment, Store},
    config::{Config, JournalKind, Pool, Subscription},
    dispatcher::settings::{Pattern, StreamOverlay},
    journal::local::{Log, Options, sim_disk::SimDisk},
    record::Start,
};
use tests::sim::journal::SimJournal;
use tokio::time::sleep;
use uuid::Uuid;

use crate::history::{History, SUBSCRIPTION, Something};

/// Where it listens.
pub(crate) const AT: &str = "http://supervisor:7400";

/// How a machine goes down.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) enum Death {
    /// The process is killed; what it wrote is in the system's hands.
    #[default]
    Killed,
    /// The power fails: what was not synced may be lost, or torn.
    Power,
}

/// What of the supervisor's machine outlives its process.
#[derive(Debug)]
pub(crate) struct Machine {
    disk: SimDisk,
    state: Mutex<State>,
    network: Network,
    history: Arc<History>,
}

#[derive(Debug)]
struct State {
    rng: fastrand::Rng,
    starts: u32,
    death: Death,
    trigger: Option<Trigger>,
    journal: Option<Arc<SimJournal>>,
}

impl State {
    fn is_behind(&self) -> bool {
        self.journal.as_ref().is_some_and(|journal| journal.is_behind())
    }
}

impl Machine {
    pub(crate) fn new(seed: u64, network: Network, history: &Arc<History>) -> Arc<Self> {
        Arc::new(Self {
            disk: SimDisk::new(),
            state: Mutex::new(State {
                rng: fastrand::Rng::with_seed(seed),
                starts: 0,
                death: Death::Killed,
                trigger: None,
                journal: None,
            }),
            network,
            history: Arc::clone(history),
        })
    }

    /// Says how the process ends that is about to.
    pub(crate) fn dies(&self, death: Death) {
        let mut state = self.state();
        state.death = death;
        let something = match death {
            Death::Killed => Something::SupervisorKilled,
            Death::Power => Something::PowerFailed,
        };
        self.history.note(something);
        if state.is_behind() {
            self.history.note(Something::Unsynced);
        }
        state.trigger = None;
    }

    /// Whether something that was appended is not durable.
    pub(crate) fn is_behind(&self) -> bool {
        self.state().is_behind()
    }

    /// Asks the process to finish and go.
    pub(crate) fn drain(&self) {
        if let Some(trigger) = &self.state().trigger {
            trigger.advance(Phase::Draining);
            self.history.note(Something::Drained);
        }
    }

    /// A life of the process.
    pub(crate) async fn run(self: Arc<Self>) -> turmoil::Result {
        let (trigger, shutdown) = Shutdown::new();
        let ground = self.begin(&trigger)?;
        app::start_on(ground, config(), shutdown, trigger).await?.finished().await?;
        Ok(())
    }

    /// The journal is opened on what the last life left.
    fn begin(&self, trigger: &Trigger) -> Result<Environment, Box<dyn std::error::Error>> {
        let mut state = self.state();
        if state.starts > 0 {
            self.history.crashed();
        }
        state.starts += 1;
        match std::mem::take(&mut state.death) {
            Death::Killed => self.disk.restart(),
            Death::Power => self.disk.crash(&mut state.rng),
        }
        let options = Options { segment_bytes: 64 << 10, reserve_bytes: 0, extend_bytes: 8 << 10 };
        let (log, found) = Log::open(self.disk.clone(), &options, Uuid::from_u128(1))?;
        if found.cut.is_some() {
            self.history.note(Something::JournalCut);
        }
        let journal = Arc::new(SimJournal::new(log, found.next_epoch));
        let rng = fastrand::Rng::with_seed(state.rng.u64(..));
        task::spawn("committer", commit(Arc::clone(&journal), rng));
        state.trigger = Some(trigger.clone());
        state.journal = Some(Arc::clone(&journal));
        let since = turmoil::since_epoch().expect("in the simulation");
        Ok(Environment {
            network: self.network.clone(),
            store: Some(Store { journal, epoch: found.next_epoch, identity: found.identity }),
            time: Some(Time::default() + since),
            seed: Some(state.rng.u64(..)),
        })
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Writes and syncs what is appended; a sync takes its time, and the process may end in it.
async fn commit(journal: Arc<SimJournal>, mut rng: fastrand::Rng) {
    let ended = loop {
        journal.has_work().await;
        if let Err(error) = journal.write() {
            break error;
        }
        let slow = rng.u8(..50) == 0;
        sleep(Duration::from_millis(if slow { rng.u64(..500) } else { rng.u64(..5) })).await;
        if let Err(error) = journal.sync() {
            break error;
        }
    };
    panic!("the simulated disk does not fail: {ended}");
}

fn config() -> Config {
    // Whom they would be sent to is not on this network.
    let mut config = Config { alerts: Vec::new(), ..Config::default() };
    config.server.listen = ([0, 0, 0, 0], 7400).into();
    config.server.drain_timeout = Duration::from_secs(3);
    // Nothing of the real disk is used; the journal is given.
    config.journal.kind = JournalKind::Memory;
    let overlay = StreamOverlay {
        timeout: Some(Duration::from_secs(1)),
        jitter: Some(Duration::from_millis(200)),
        window: Some(16),
        max_in_flight: Some(8),
        max_backlog: Some(40),
        max_attempts: Some(3),
        ..StreamOverlay::default()
    };
    config.streams.overlays = vec![(Pattern::new("*"), overlay)];
    let mut pool = Pool::new("default");
    pool.settings.eject_for = Duration::from_secs(5);
    config.pools = vec![pool];
    let url = "http://destination:9100/in".parse().expect("a URL");
    let mut subscription = Subscription::new(SUBSCRIPTION, vec![url]);
    subscription.start = Start::After(Position(0));
    subscription.timeout = Duration::from_secs(2);
    config.subscriptions = vec![subscription];
    config
}
