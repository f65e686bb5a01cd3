//! The world around the supervisor, and its clock: one queue of what is to happen.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    sync::Arc,
    time::Duration,
};

use rollcall_common::{
    ids::{Sequence, StreamId},
    time::Time,
};
use rollcall_supervisor::{
    dispatcher::{Dispatch, Event, Notice, Reply, WorkerReply, settings::OnExhausted},
    journal::{local::sim_disk::SimDisk, memory::MemoryJournal},
};

use super::{
    alerting::Heard,
    api_subscriptions::Marks,
    clients::Request,
    coverage::{Coverage, Something},
    destinations::{Destination, Parcel},
    model::Model,
    readers::Reader,
    record_checker::RecordChecker,
    scenario::{Faults, Scenario},
    server::Server,
    trace::{Telling, Trace},
    workers::WorkerState,
};
use crate::oracle::{Checker, Invariant, Place, Seen, Violation};

/// When every story begins.
pub(super) const BEGINNING: Time = Time::from_micros(1_700_000_000_000_000);
/// How long everything may take to settle once nothing goes wrong any more: attempts that hang
/// hold their worker's room for ten minutes.
const SETTLING: Duration = Duration::from_secs(3_600);

/// What is to happen.
#[derive(Debug)]
pub(super) enum What {
    /// A client's answer.
    Answer(usize, u32, Reply),
    /// A client's request reaches the supervisor.
    Arrive(usize, u32),
    /// A parcel reaches its destination.
    AtDestination(u32, Box<Parcel>),
    /// A notice of an alert reaches its target.
    AtTarget(u32, Box<Notice>),
    /// A worker's heartbeat.
    Beat(usize),
    /// Workers come and go.
    Churn,
    /// The process ends; with or without the machine.
    Crash { power: bool },
    /// A client has waited long enough.
    GiveUp(usize, u32),
    /// Nothing goes wrong any more.
    Heal,
    /// The process looks whether something is old.
    Keep(u32),
    /// People look.
    People,
    /// Readers of pull subscriptions read.
    Pull,
    /// A sender goes on along its stream.
    Push(u32, Box<Parcel>),
    /// Messages are read back from the journal.
    Read(u32, (StreamId, Sequence, Sequence), usize),
    /// A worker is started again.
    Revive(usize),
    /// A client sends.
    Send(usize),
    /// Settings change.
    Settings,
    /// Whether everything has settled.
    Settle,
    /// The disk fills up, or has room again.
    Space { full: bool },
    /// The process starts.
    Start,
    /// A subscription is made.
    Subscribe(usize),
    /// The journal's sync is done.
    Sync(u32),
    /// The supervisor hears something.
    Tell(u32, Box<Event>),
    /// The supervisor's turn.
    Turn(u32, Time),
    /// A worker has done its work.
    WorkDone(u32, usize, u32, Box<(Dispatch, WorkerReply)>),
    /// A message reaches a worker.
    Work(u32, Box<Dispatch>),
    /// The journal's write is done.
    Write(u32),
}

/// Why a step did not come to its end.
#[derive(Debug)]
pub(super) enum Halt {
    /// The process ended.
    Crash { power: bool },
    /// A promise is broken.
    Violation(Violation),
}

impl From<Violation> for Halt {
    fn from(violation: Violation) -> Self {
        Self::Violation(violation)
    }
}

pub(super) type Step = Result<(), Halt>;

/// Everything.
pub(super) struct World {
    pub(super) now: Time,
    pub(super) rng: fastrand::Rng,
    pub(super) scenario: Scenario,
    queue: BTreeMap<(Time, u64), What>,
    queued: u64,
    pub(super) events: u64,
    pub(super) checker: Checker,
    pub(super) records_seen: RecordChecker,
    pub(super) model: Model,
    pub(super) sometimes: Coverage,
    trace: Trace,
    pub(super) disk: SimDisk,
    pub(super) memory: Arc<MemoryJournal>,
    pub(super) server: Option<Server>,
    /// The process's number: what belongs to an earlier one is void.
    pub(super) incarnation: u32,
    pub(super) requests: Vec<Request>,
    pub(super) workers: Vec<WorkerState>,
    pub(super) destinations: Vec<Destination>,
    /// How often each message was worked on.
    pub(super) worked: BTreeMap<u128, u32>,
    /// Heads at which subscriptions came into being, or were rewound into another life.
    pub(super) heads: BTreeMap<(Arc<str>, u32), u64>,
    /// The same for whoever reads.
    pub(super) marks: Marks,
    pub(super) readers: BTreeMap<Arc<str>, Reader>,
    /// What those who are told of alerts have heard.
    pub(super) heard: Heard,
    pub(super) may_skip: BTreeSet<Place>,
    /// Streams whose settings ever said that an exhausted head is skipped.
    pub(super) skipping: BTreeSet<Arc<str>>,
    pub(super) crash_in: Option<u32>,
    /// Whether the disk is about to fail.
    pub(super) disk_fails: bool,
    pub(super) healed: bool,
    settle_until: Time,
    pub(super) settled: bool,
    pub(super) ended: bool,
}

impl World {
    pub(super) fn new(seed: u64, telling: Telling) -> Self {
        let (scenario, luck) = Self::draw(seed);
        Self::of(scenario, luck, telling)
    }

    /// The scenario of a seed, and the seed of how it is played.
    pub(super) fn draw(seed: u64) -> (Scenario, u64) {
        let mut rng = fastrand::Rng::with_seed(seed);
        let scenario = Scenario::draw(&mut rng);
        (scenario, rng.get_seed())
    }

    /// The world of a scenario.
    pub(super) fn of(scenario: Scenario, luck: u64, telling: Telling) -> Self {
        let mut world = Self {
            now: BEGINNING,
            queue: BTreeMap::new(),
            queued: 0,
            events: 0,
            checker: Checker::new(),
            records_seen: RecordChecker::default(),
            model: Model::default(),
            sometimes: Coverage::default(),
            trace: Trace::new(telling),
            disk: SimDisk::new(),
            memory: Arc::default(),
            server: None,
            incarnation: 0,
            requests: Vec::new(),
            workers: Vec::new(),
            destinations: Vec::new(),
            worked: BTreeMap::new(),
            heads: BTreeMap::new(),
            marks: Marks::default(),
            heard: Heard::new(),
            readers: BTreeMap::new(),
            may_skip: BTreeSet::new(),
            skipping: BTreeSet::new(),
            crash_in: None,
            disk_fails: false,
            healed: false,
            settle_until: Time::default(),
            settled: false,
            ended: false,
            rng: fastrand::Rng::with_seed(luck),
            scenario,
        };
        world.plan();
        world
    }

    fn plan(&mut self) {
        for stream in &self.scenario.streams {
            let settings = self.scenario.settings.stream(&stream.name);
            if settings.on_exhausted == OnExhausted::Skip {
                self.skipping.insert(stream.name.as_str().into());
            }
        }
        let scenario = format!("{:?}", self.scenario);
        self.tell(format_args!("{scenario}"));
        self.after(Duration::ZERO, What::Start);
        self.plan_clients();
        self.plan_workers();
        self.plan_destinations();
        self.after(Duration::from_secs(1), What::Pull);
        let Faults { churn, people, settings, space, crashes, .. } = self.scenario.faults;
        let load = self.scenario.load;
        for _ in 0..crashes {
            let power = self.rng.bool() && !self.scenario.memory;
            let at = self.within(load);
            self.after(at, What::Crash { power });
        }
        for (planned, what) in [
            (people, What::People),
            (settings, What::Settings),
            (space, What::Space { full: true }),
            (churn, What::Churn),
        ] {
            if planned {
                let at = self.within(load / 2);
                self.after(at, what);
            }
        }
        self.after(load + Duration::from_secs(5), What::Heal);
    }

    /// Plays until everything has settled.
    pub(super) fn run(&mut self) -> Result<(), Violation> {
        while !self.ended {
            let Some(((at, _), what)) = self.queue.pop_first() else {
                return Err(self.stuck("nothing more happens"));
            };
            self.now = self.now.max(at);
            self.events += 1;
            match self.step(what) {
                Ok(()) => {}
                Err(Halt::Crash { power }) => self.crash(power)?,
                Err(Halt::Violation(violation)) => return Err(violation),
            }
        }
        Ok(())
    }

    fn step(&mut self, what: What) -> Step {
        match what {
            What::Answer(request, attempt, reply) => self.client_hears(request, attempt, &reply),
            What::Arrive(request, attempt) => {
                self.request_arrives(request, attempt);
                Ok(())
            }
            What::AtDestination(process, parcel) => self.at_destination(process, *parcel),
            What::AtTarget(process, notice) => self.at_target(process, *notice),
            What::Beat(worker) => {
                self.beat(worker);
                Ok(())
            }
            What::Churn => {
                self.churn();
                Ok(())
            }
            What::Crash { power } => self.crash_soon(power),
            What::GiveUp(request, attempt) => {
                self.client_waited(request, attempt);
                Ok(())
            }
            What::Heal => self.heal(),
            What::Keep(process) => self.keep(process),
            What::People => self.people(),
            What::Pull => self.pull(),
            What::Push(process, parcel) => self.push(process, *parcel),
            What::Read(process, wanted, bytes) => self.read_messages(process, wanted, bytes),
            What::Revive(worker) => {
                self.revive(worker);
                Ok(())
            }
            What::Send(request) => {
                self.client_sends(request);
                Ok(())
            }
            What::Settings => self.change_settings(),
            What::Settle => self.settle(),
            What::Space { full } => {
                self.change_space(full);
                Ok(())
            }
            What::Start => self.start(),
            What::Subscribe(subscription) => {
                self.subscribe(subscription);
                Ok(())
            }
            What::Sync(process) => self.sync(process),
            What::Tell(process, event) => {
                self.hear(process, *event);
                Ok(())
            }
            What::Turn(process, due) => self.turn_comes(process, due),
            What::WorkDone(process, worker, generation, done) => {
                let (dispatch, reply) = *done;
                self.work_done(process, (worker, generation), &dispatch, reply);
                Ok(())
            }
            What::Work(process, dispatch) => self.work(process, &dispatch),
            What::Write(process) => self.write(process),
        }
    }

    /// Lets something happen after a while.
    pub(super) fn after(&mut self, span: Duration, what: What) {
        self.queued += 1;
        self.queue.insert((self.now + span, self.queued), what);
    }

    /// Tells the present process something, after a while.
    pub(super) fn tell_after(&mut self, span: Duration, event: Event) {
        self.after(span, What::Tell(self.incarnation, Box::new(event)));
    }

    pub(super) fn tell(&mut self, what: fmt::Arguments<'_>) {
        self.trace.tell(self.now, BEGINNING, what);
    }

    pub(super) fn see(&mut self, seen: Seen) -> Result<(), Violation> {
        self.checker.see(seen)
    }

    pub(super) fn note(&mut self, something: Something) {
        self.sometimes.note(something);
    }

    /// Whether something with these odds, in thousandths, happens.
    pub(super) fn happens(&mut self, permille: u32) -> bool {
        permille > 0 && self.rng.u32(..1_000) < permille
    }

    /// A random time below `most`.
    pub(super) fn within(&mut self, most: Duration) -> Duration {
        let micros = u64::try_from(most.as_micros()).unwrap_or(u64::MAX);
        Duration::from_micros(self.rng.u64(..micros.max(1)))
    }

    /// How long something is under way in the network.
    pub(super) fn hop(&mut self) -> Duration {
        let most = if self.rng.u8(..20) == 0 { 200 } else { 3 };
        Duration::from_micros(50) + self.within(Duration::from_millis(most))
    }

    fn heal(&mut self) -> Step {
        self.tell(format_args!("HEAL"));
        self.healed = true;
        self.crash_in = None;
        self.settle_until = self.now + SETTLING;
        let crashes = self.scenario.faults.crashes;
        self.scenario.faults = Faults::default();
        self.disk.set_capacity(None);
        self.heal_workers();
        self.mend_configuration();
        self.after(Duration::from_secs(1), What::People);
        self.after(Duration::from_secs(1), What::Settle);
        if self.server.is_some() && crashes > 0 {
            return Err(Halt::Crash { power: false });
        }
        Ok(())
    }

    /// Whether everything has come to its end; and then, that nothing is missing.
    fn settle(&mut self) -> Step {
        let open = self.open_business();
        if let Some(open) = open {
            if self.now > self.settle_until {
                return Err(self.stuck(&open).into());
            }
            self.after(Duration::from_secs(1), What::Settle);
            return Ok(());
        }
        self.check_end()?;
        if self.settled {
            self.ended = true;
            return Ok(());
        }
        // Once more, with what a start makes of the journal.
        self.settled = true;
        self.after(Duration::from_secs(5), What::Settle);
        Err(Halt::Crash { power: !self.scenario.memory })
    }

    fn stuck(&self, why: &str) -> Violation {
        Violation { invariant: Invariant::I8, detail: why.to_owned() }
    }

    pub(super) fn hash(&self) -> u64 {
        self.trace.hash()
    }

    pub(super) fn end_of_trace(&self) -> Vec<String> {
        self.trace.end()
    }
}
