//! A dispatcher under a steady load in virtual time: what an outage, stragglers, and one stream in
//! trouble do to its goodput, its latencies and its number of dispatches. Exact, and the same every
//! time.

mod isolation;
mod outages;
mod trouble;

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use rollcall_common::{
    ids::{MessageId, StreamId},
    message::{Message, Payload},
    time::Time,
};
use rollcall_supervisor::dispatcher::{
    Arrival, AttemptId, Dispatch, Dispatcher, Effect, Event, RequestId, Settings, State,
    WorkerReply,
    event::Presence,
    settings::{Hedging, StreamSettings},
};
use uuid::Uuid;

use super::world::BEGINNING;
use trouble::Trouble;

/// One way through the network.
const HOP: Duration = Duration::from_micros(200);

/// How workers are away.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Outage {
    /// They answer 500 at once.
    Failing,
    /// They stop, and go on afterwards with all that they were given.
    Frozen,
    /// They swallow what they are given.
    Hanging,
    /// Nobody is there.
    Refused,
}

/// What is played.
#[derive(Clone, Debug)]
struct Plan {
    streams: usize,
    /// Messages a second, over all streams.
    rate: u64,
    span: Duration,
    workers: usize,
    /// Messages that one worker works on at once; the others wait inside it.
    places: usize,
    work: Duration,
    /// One in so many executions takes a hundred times as long; 0: none.
    straggler: u64,
    outage: Option<(Outage, Duration, Duration)>,
    hedge: Hedging,
    /// Calls at once that the dispatcher knows of a worker.
    concurrency: Option<u32>,
    /// What one more stream goes through.
    trouble: Option<Trouble>,
    /// The number of a message that fails whenever it is tried.
    poison: Option<u64>,
}

impl Default for Plan {
    /// Four fifths of what four workers can do, on eight streams, for two minutes.
    fn default() -> Self {
        Self {
            streams: 8,
            rate: 200,
            span: Duration::from_secs(120),
            workers: 4,
            places: 5,
            work: Duration::from_millis(80),
            straggler: 0,
            outage: None,
            hedge: Hedging::Auto,
            concurrency: None,
            trouble: None,
            poison: None,
        }
    }
}

#[derive(Debug)]
enum What {
    Arrive(u64),
    Disturb,
    Heal,
    Revive(usize),
    Tell(Event),
    Turn,
    Work(usize, Dispatch),
    WorkDone(usize, u32, AttemptId, Ending),
}

/// How an execution ends.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Ending {
    /// With this status.
    Status(u16),
    /// With the worker.
    Death,
}

#[derive(Debug, Default)]
struct Worker {
    queue: VecDeque<(AttemptId, Option<Trouble>)>,
    /// What it works on.
    busy_with: Vec<AttemptId>,
    /// Whether it has died and is not back.
    dead: bool,
    /// Grows when what it had is lost.
    generation: u32,
}

/// What came of a plan.
#[derive(Debug, Default)]
struct Outcome {
    messages: u64,
    dispatches: u64,
    /// How many of the troubled stream's messages were released, and are parked.
    troubled: (u64, u64),
    /// Messages that are parked, and those that wait behind one.
    parked: u64,
    waiting: u64,
    /// Alerts that there were, and whether they are over.
    alerts: Vec<(&'static str, bool)>,
    /// When each message was released, after the beginning, and how long it took, in order; the
    /// troubled stream's are left out.
    released: Vec<(Duration, Duration)>,
}

impl Outcome {
    /// Releases a second between two moments.
    fn goodput(&self, from: u64, to: u64) -> u64 {
        let within = Duration::from_secs(from)..Duration::from_secs(to);
        let count = self.released.iter().filter(|(at, _)| within.contains(at)).count();
        count as u64 / (to - from)
    }

    /// The latency that so many of a thousand messages do not exceed.
    fn latency(&self, permille: usize) -> Duration {
        let mut all: Vec<_> = self.released.iter().map(|(_, took)| *took).collect();
        all.sort_unstable();
        all[(all.len() * permille / 1_000).min(all.len() - 1)]
    }
}

struct Play {
    plan: Plan,
    dispatcher: Dispatcher,
    now: Time,
    queue: BTreeMap<(Time, u64), What>,
    queued: u64,
    turn: Option<Time>,
    rng: fastrand::Rng,
    workers: Vec<Worker>,
    away: bool,
    arrived: BTreeMap<(StreamId, u64), Time>,
    next: BTreeMap<u64, u64>,
    /// The troubled stream's messages.
    disturbed: Vec<Arc<Message>>,
    outcome: Outcome,
}

fn play(plan: Plan) -> Outcome {
    let stream = StreamSettings { hedge: plan.hedge, ..StreamSettings::default() };
    let settings = Settings { default_stream: Arc::new(stream), ..Settings::default() };
    let dispatcher = Dispatcher::new(Arc::new(settings), State::default(), 1, BEGINNING);
    let mut play = Play {
        dispatcher,
        now: BEGINNING,
        queue: BTreeMap::new(),
        queued: 0,
        turn: None,
        rng: fastrand::Rng::with_seed(7),
        workers: (0..plan.workers).map(|_| Worker::default()).collect(),
        away: false,
        arrived: BTreeMap::new(),
        next: BTreeMap::new(),
        disturbed: Vec::new(),
        outcome: Outcome::default(),
        plan,
    };
    play.run();
    play.outcome
}

impl Play {
    fn run(&mut self) {
        for worker in 0..self.plan.workers {
            let (id, pool) = (name(worker), "default".into());
            let concurrency = self.plan.concurrency;
            self.tell(Event::WorkerSeen { id, pool, concurrency, beats: false });
        }
        if self.plan.trouble.is_some() {
            self.after(trouble::FROM, What::Disturb);
        }
        self.after(Duration::ZERO, What::Arrive(0));
        let end = BEGINNING + self.plan.span;
        let settled = end + Duration::from_secs(600);
        while let Some(((at, _), what)) = self.queue.pop_first() {
            self.now = at;
            self.step(what, end);
            let all = self.outcome.released.len() as u64 == self.outcome.messages;
            if at > settled || (at > end && all) {
                break;
            }
        }
        self.dispatcher.verify(self.now).expect("no contradictions");
        self.outcome.troubled.1 = self.dispatcher.parked().count() as u64;
        self.outcome.parked = self.outcome.troubled.1;
        let ids = self.dispatcher.state().ends().map(|(id, ..)| id);
        let waiting = ids.map(|id| u64::from(self.dispatcher.stream_status(id).waiting));
        self.outcome.waiting = waiting.sum();
        let alerts = self.dispatcher.alerts();
        self.outcome.alerts = alerts.map(|one| (one.kind, one.until.is_some())).collect();
        self.outcome.dispatches = self.dispatcher.counters().attempts;
    }

    fn after(&mut self, span: Duration, what: What) {
        self.queued += 1;
        self.queue.insert((self.now + span, self.queued), what);
    }

    fn step(&mut self, what: What, end: Time) {
        match what {
            What::Arrive(number) => {
                self.arrive(number);
                // Spread evenly by chance, as from many independent senders.
                let mean = 1_000_000 / self.plan.rate;
                let span = Duration::from_micros(self.rng.u64(0..=2 * mean));
                if self.now + span < end {
                    self.after(span, What::Arrive(number + 1));
                }
            }
            What::Disturb => self.disturb(end),
            What::Heal => {
                self.away = false;
                (0..self.workers.len()).for_each(|worker| self.fill(worker));
            }
            What::Tell(event) => self.tell(event),
            What::Turn => {
                self.turn = None;
                self.dispatcher.handle_timeout(self.now);
                self.listen();
            }
            What::Work(worker, dispatch) => self.work(worker, &dispatch),
            What::Revive(worker) => self.workers[worker].dead = false,
            What::WorkDone(worker, generation, attempt, ending) => {
                self.work_done((worker, generation), attempt, ending);
            }
        }
    }

    fn arrive(&mut self, number: u64) {
        let since = self.now.since(BEGINNING);
        if let Some((kind, from, to)) = self.plan.outage
            && !self.away
            && (from..to).contains(&since)
        {
            self.begin_outage(kind, to - since);
        }
        let stream = self.rng.u64(..self.plan.streams as u64);
        let name = format!("s{stream}").parse().expect("a good name");
        let (request, messages) = (RequestId(number), vec![message(u128::from(number) + 1)]);
        self.outcome.messages += 1;
        let sequence = self.next.entry(stream).or_default();
        *sequence += 1;
        let sequence = *sequence;
        let at = self.now;
        self.tell(Event::Arrived(Arrival { request, stream: name, messages }));
        let state = self.dispatcher.state();
        let id = state.find_stream(&format!("s{stream}")).expect("it is open now");
        self.arrived.insert((id, sequence), at);
    }

    fn begin_outage(&mut self, kind: Outage, span: Duration) {
        self.away = true;
        self.after(span, What::Heal);
        for worker in &mut self.workers {
            worker.generation += 1;
            match kind {
                // What was in the middle begins again: nobody loses it.
                Outage::Frozen => {}
                Outage::Failing | Outage::Hanging | Outage::Refused => worker.queue.clear(),
            }
            worker.busy_with.clear();
        }
    }

    fn tell(&mut self, event: Event) {
        self.dispatcher.handle(event, self.now);
        self.listen();
    }

    fn listen(&mut self) {
        while let Some(effect) = self.dispatcher.poll_effect() {
            match effect {
                Effect::Dispatch(dispatch) => {
                    let worker = number(&dispatch.worker);
                    self.after(HOP, What::Work(worker, dispatch));
                }
                Effect::Fetch { stream, first, last, .. } => self.fetch(stream, first, last),
                Effect::Probe { worker } => {
                    let kind = self.plan.outage.map(|(kind, ..)| kind).filter(|_| self.away);
                    let refused = kind == Some(Outage::Refused);
                    let dead = refused || self.workers[number(&worker)].dead;
                    let presence = if dead { Presence::Absent } else { Presence::Present };
                    self.after(HOP, What::Tell(Event::Probed { worker, presence }));
                }
                Effect::Release(released) if self.is_disturbed(released.stream) => {
                    self.outcome.troubled.0 += 1;
                }
                Effect::Release(released) => {
                    let place = (released.stream, released.sequence.0);
                    let began = self.arrived.remove(&place).expect("it has arrived");
                    let (at, took) = (self.now.since(BEGINNING), self.now.since(began));
                    self.outcome.released.push((at, took));
                }
                Effect::Append(_)
                // The loser works on, as one does that is called over plain HTTP.
                | Effect::Cancel { .. }
                | Effect::Cut
                | Effect::Forget { .. }
                | Effect::GiveUp { .. }
                | Effect::Deliver(_)
                | Effect::Recall { .. }
                | Effect::Reply(..)
                | Effect::Scan { .. }
                | Effect::Tell(_) => {}
            }
        }
        if let Some(at) = self.dispatcher.poll_timeout()
            && self.turn.is_none_or(|turn| at < turn)
        {
            self.turn = Some(at);
            self.after(at.since(self.now), What::Turn);
        }
    }

    fn work(&mut self, worker: usize, dispatch: &Dispatch) {
        let attempt = dispatch.attempt;
        let troubled = self.is_disturbed(dispatch.stream);
        let trouble = self.plan.trouble.filter(|trouble| troubled && trouble.hits(dispatch));
        if self.workers[worker].dead {
            return self.unreachable(attempt);
        }
        match self.plan.outage.map(|(kind, ..)| kind).filter(|_| self.away) {
            Some(Outage::Failing) => self.fails(attempt),
            _ if self.plan.poison.is_some_and(|number| is_message(dispatch, number)) => {
                self.fails(attempt);
            }
            Some(Outage::Refused) => self.unreachable(attempt),
            Some(Outage::Hanging) => {}
            Some(Outage::Frozen) => self.workers[worker].queue.push_back((attempt, None)),
            None => {
                self.workers[worker].queue.push_back((attempt, trouble));
                self.fill(worker);
            }
        }
    }

    /// A worker answers 500 at once.
    fn fails(&mut self, attempt: AttemptId) {
        let reply = WorkerReply::Answer {
            status: 500,
            outcome: None,
            reason: "".into(),
            retry_after: None,
            payload: Payload::default(),
        };
        self.after(HOP, What::Tell(Event::AttemptEnded { attempt, reply }));
    }

    fn unreachable(&mut self, attempt: AttemptId) {
        let reply = WorkerReply::Unreachable("connection refused".into());
        self.after(HOP, What::Tell(Event::AttemptEnded { attempt, reply }));
    }

    /// Takes up what a worker has room for.
    fn fill(&mut self, index: usize) {
        while self.workers[index].busy_with.len() < self.plan.places {
            let Some((attempt, trouble)) = self.workers[index].queue.pop_front() else {
                return;
            };
            let worker = &mut self.workers[index];
            worker.busy_with.push(attempt);
            let generation = worker.generation;
            let slow = self.plan.straggler > 0 && self.rng.u64(..self.plan.straggler) == 0;
            let span = self.plan.work * if slow { 100 } else { 1 };
            let (span, ending) =
                trouble.map_or((span, Ending::Status(200)), |trouble| trouble.ends(span));
            self.after(span, What::WorkDone(index, generation, attempt, ending));
        }
    }

    fn work_done(&mut self, (index, generation): (usize, u32), attempt: AttemptId, end: Ending) {
        if self.workers[index].generation != generation {
            if matches!(self.plan.outage, Some((Outage::Frozen, ..))) {
                self.workers[index].queue.push_front((attempt, None));
                if !self.away {
                    self.fill(index);
                }
            }
            return;
        }
        let Ending::Status(status) = end else {
            return self.die(index);
        };
        self.workers[index].busy_with.retain(|other| *other != attempt);
        let content_type = "text/plain".into();
        let payload = Payload { content_type, headers: Box::default(), body: "done".into() };
        let (outcome, reason, retry_after) = (None, "".into(), None);
        let reply = WorkerReply::Answer { status, outcome, reason, retry_after, payload };
        self.after(HOP, What::Tell(Event::AttemptEnded { attempt, reply }));
        self.fill(index);
    }
}

fn name(worker: usize) -> Arc<str> {
    format!("w{worker}").into()
}

fn number(worker: &str) -> usize {
    worker[1..].parse().expect("a number")
}

fn is_message(dispatch: &Dispatch, number: u64) -> bool {
    dispatch.message.id.0.as_u128() == u128::from(number) + 1
}

fn message(id: u128) -> Arc<Message> {
    Arc::new(Message {
        id: MessageId(Uuid::from_u128(id)),
        key: None,
        content_type: "text/plain".into(),
        headers: Arc::default(),
        body: Bytes::from_static(b"x"),
    })
}
