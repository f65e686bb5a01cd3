//! What goes wrong between the hosts and with them, by a seed; each fault ends by itself.

use std::{sync::Arc, time::Duration};

use turmoil::Sim;

use crate::{
    clients::{self, CLIENTS},
    history::{History, Something},
    supervisor::{Death, Machine},
    workers::{Crew, WORKERS},
};

const SUPERVISOR: &str = "supervisor";
const DESTINATION: &str = "destination";

/// The longest that a message is usually under way.
pub(crate) const USUAL_LATENCY: Duration = Duration::from_millis(20);

/// What can go wrong.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Kind {
    /// A link is cut. What is sent gets lost, who connects is refused.
    Part,
    /// A link is cut. What is sent gets lost, who connects waits.
    PartSilently,
    /// A link is cut from the supervisor, or to it.
    OneWay,
    /// What is sent waits, and comes all at once.
    Hold,
    /// What is sent takes long.
    Slow,
    /// A worker's process is killed: its connections are closed.
    KillWorker,
    /// A worker's machine is gone: nobody is told.
    VanishWorker,
    KillSupervisor,
    DrainSupervisor,
    KillDestination,
}

const KINDS: [Kind; 10] = [
    Kind::Part,
    Kind::PartSilently,
    Kind::OneWay,
    Kind::Hold,
    Kind::Slow,
    Kind::KillWorker,
    Kind::VanishWorker,
    Kind::KillSupervisor,
    Kind::DrainSupervisor,
    Kind::KillDestination,
];

/// A fault that lasts.
#[derive(Clone, Debug)]
struct Fault {
    kind: Kind,
    /// The host that has it; for links, the one at the far end from the supervisor.
    host: String,
    /// Which way is cut.
    inward: bool,
    ends: Duration,
}

/// Brings faults about, and ends them.
#[derive(Debug)]
pub(crate) struct Faults {
    rng: fastrand::Rng,
    /// Those of this seed: all of them together would hide each other.
    kinds: Vec<Kind>,
    present: Vec<Fault>,
    next: Duration,
    /// What comes next.
    kind: Kind,
    machine: Arc<Machine>,
    crew: Arc<Crew>,
    history: Arc<History>,
}

impl Faults {
    pub(crate) fn new(
        seed: u64,
        (machine, crew): (Arc<Machine>, Arc<Crew>),
        history: Arc<History>,
    ) -> Self {
        let mut rng = fastrand::Rng::with_seed(seed);
        let mut kinds = KINDS.to_vec();
        rng.shuffle(&mut kinds);
        kinds.truncate(rng.usize(2..=6));
        let next = Duration::from_millis(rng.u64(..3000));
        let kind = kinds[0];
        Self { rng, kinds, present: Vec::new(), next, kind, machine, crew, history }
    }

    /// Ends what is over, and begins what is due.
    pub(crate) fn act(&mut self, sim: &mut Sim<'_>) {
        let now = sim.elapsed();
        self.end(sim, now);
        if now < self.next {
            return;
        }
        let kind = self.kind;
        // It is worth waiting for a moment when there is something to lose.
        let patient = now < self.next + Duration::from_secs(2);
        if kind == Kind::KillSupervisor && patient && !self.machine.is_behind() {
            return;
        }
        self.next = now + Duration::from_millis(self.rng.u64(100..4000));
        self.kind = self.kinds[self.rng.usize(..self.kinds.len())];
        let host = self.host(kind);
        // One at a time.
        if self.present.iter().any(|fault| fault.host == host) {
            return;
        }
        let ends = now + self.lasts();
        let fault = Fault { kind, host, inward: self.rng.bool(), ends };
        self.begin(sim, &fault);
        self.present.push(fault);
    }

    /// Ends everything.
    pub(crate) fn heal(&mut self, sim: &mut Sim<'_>) {
        self.end(sim, Duration::MAX);
    }

    fn end(&mut self, sim: &mut Sim<'_>, now: Duration) {
        let present = std::mem::take(&mut self.present);
        let (over, present): (Vec<_>, Vec<_>) =
            present.into_iter().partition(|fault| fault.ends <= now);
        self.present = present;
        over.iter().for_each(|fault| mend(sim, fault));
    }

    /// Mostly short, sometimes longer than all patience.
    fn lasts(&mut self) -> Duration {
        let most = [300, 2000, 6000, 20_000][self.rng.usize(..4)];
        Duration::from_millis(self.rng.u64(50..most))
    }

    fn host(&mut self, kind: Kind) -> String {
        let worker = Crew::name(self.rng.usize(..WORKERS));
        match kind {
            Kind::KillSupervisor | Kind::DrainSupervisor => SUPERVISOR.to_owned(),
            Kind::KillWorker | Kind::VanishWorker => worker,
            Kind::KillDestination => DESTINATION.to_owned(),
            Kind::Part | Kind::PartSilently | Kind::OneWay | Kind::Hold | Kind::Slow => {
                match self.rng.u8(..10) {
                    0..4 => worker,
                    4..6 => DESTINATION.to_owned(),
                    6..9 => clients::name(self.rng.usize(..CLIENTS)),
                    _ => "reader".to_owned(),
                }
            }
        }
    }

    fn begin(&mut self, sim: &mut Sim<'_>, fault: &Fault) {
        let host = &*fault.host;
        match fault.kind {
            Kind::Part => sim.partition(SUPERVISOR, host),
            Kind::PartSilently | Kind::Hold => sim.hold(SUPERVISOR, host),
            Kind::OneWay if fault.inward => sim.partition_oneway(host, SUPERVISOR),
            Kind::OneWay => sim.partition_oneway(SUPERVISOR, host),
            Kind::Slow => {
                let latency = Duration::from_millis(self.rng.u64(100..2000));
                sim.set_link_max_message_latency(SUPERVISOR, host, latency);
            }
            Kind::KillWorker | Kind::VanishWorker => {
                if fault.kind == Kind::VanishWorker {
                    sim.hold(SUPERVISOR, host);
                }
                self.crew.dies(host);
                sim.crash(host);
            }
            Kind::KillSupervisor => {
                let death = if self.rng.u8(..3) == 0 { Death::Killed } else { Death::Power };
                self.machine.dies(death);
                sim.crash(SUPERVISOR);
            }
            Kind::DrainSupervisor => self.machine.drain(),
            Kind::KillDestination => sim.crash(host),
        }
        let something = match fault.kind {
            Kind::Part => Something::Parted,
            Kind::PartSilently => Something::PartedSilently,
            Kind::OneWay => Something::OneWay,
            Kind::Hold => Something::HeldUp,
            Kind::Slow => Something::SlowedDown,
            Kind::KillWorker => Something::WorkerKilled,
            Kind::KillDestination => Something::DestinationKilled,
            Kind::VanishWorker => Something::Vanished,
            // The machine has noted it.
            Kind::KillSupervisor | Kind::DrainSupervisor => return,
        };
        self.history.note(something);
    }
}

fn mend(sim: &mut Sim<'_>, fault: &Fault) {
    let host = &*fault.host;
    match fault.kind {
        Kind::Part => sim.repair(SUPERVISOR, host),
        Kind::PartSilently | Kind::VanishWorker => {
            // What was held is lost.
            sim.partition(SUPERVISOR, host);
            sim.repair(SUPERVISOR, host);
            if fault.kind == Kind::VanishWorker {
                sim.bounce(host);
            }
        }
        Kind::OneWay if fault.inward => sim.repair_oneway(host, SUPERVISOR),
        Kind::OneWay => sim.repair_oneway(SUPERVISOR, host),
        Kind::Hold => sim.release(SUPERVISOR, host),
        Kind::Slow => sim.set_link_max_message_latency(SUPERVISOR, host, USUAL_LATENCY),
        Kind::KillWorker | Kind::KillSupervisor | Kind::DrainSupervisor | Kind::KillDestination => {
            sim.bounce(host);
        }
    }
}
