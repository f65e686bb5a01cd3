//! From a seed that fails to a short story that fails in the same way: faults are switched off one
//! at a time, and whatever can be counted is halved, for as long as it goes on failing.
//!
//! A world that has less in it draws other numbers from its seed, so each smaller scenario is
//! played with a few of them.

use std::time::Duration;

use super::{
    Report, Telling, play_world,
    scenario::{DestinationFaults, Faults, Scenario, WorkerFaults},
    world::World,
};

/// Plays of each smaller scenario.
const PLAYS: u64 = 12;

/// A fault, and how it is switched off.
type Switch = (&'static str, fn(&mut Faults));

/// All faults.
const SWITCHES: &[Switch] = &[
    ("workers", |faults| faults.worker = WorkerFaults::default()),
    ("destinations", |faults| faults.destination = DestinationFaults::default()),
    ("crashes", |faults| faults.crashes = 0),
    ("half of the crashes", |faults| faults.crashes /= 2),
    ("churn", |faults| faults.churn = false),
    ("people", |faults| faults.people = false),
    ("settings", |faults| faults.settings = false),
    ("space", |faults| faults.space = false),
    ("loss", |faults| faults.net_loss = 0),
    ("targets", |faults| faults.target = 0),
    ("cursed", |faults| faults.cursed = 0),
    ("poisoned", |faults| faults.poisoned = 0),
    ("deadly", |faults| faults.deadly = 0),
    ("worker: error", |faults| faults.worker.error = 0),
    ("worker: refuse", |faults| faults.worker.refuse = 0),
    ("worker: busy", |faults| faults.worker.busy = 0),
    ("worker: misconfigured", |faults| faults.worker.misconfigured = 0),
    ("worker: unreachable", |faults| faults.worker.unreachable = 0),
    ("worker: stale", |faults| faults.worker.stale = 0),
    ("worker: broken", |faults| faults.worker.broken = 0),
    ("worker: hang", |faults| faults.worker.hang = 0),
    ("worker: late", |faults| faults.worker.late = 0),
    ("worker: twice", |faults| faults.worker.twice = 0),
    ("worker: diverge", |faults| faults.worker.diverge = 0),
    ("worker: word", |faults| faults.worker.word = 0),
    ("destination: error", |faults| faults.destination.error = 0),
    ("destination: busy", |faults| faults.destination.busy = 0),
    ("destination: reject", |faults| faults.destination.reject = 0),
    ("destination: gone", |faults| faults.destination.gone = 0),
    ("destination: lost", |faults| faults.destination.lost = 0),
    ("destination: partly", |faults| faults.destination.partly = 0),
    ("destination: down", |faults| faults.destination.down = false),
    ("destination: slow", |faults| faults.destination.slow = false),
];

/// A short story that fails.
#[derive(Debug)]
pub struct Shrunk {
    /// What it is about.
    pub scenario: String,
    /// What was taken away, in order.
    pub without: Vec<String>,
    /// How it goes.
    pub report: Report,
}

/// Looks for a short story that fails as `seed` does; nothing if `seed` does not fail.
#[must_use]
pub fn shrink(seed: u64, telling: Telling) -> Option<Shrunk> {
    let (mut scenario, mut luck) = World::draw(seed);
    let kind = kind(&play_world(seed, World::of(scenario.clone(), luck, Telling::Nothing)))?;
    let mut without = Vec::new();
    let fails = |smaller: &Scenario, luck: u64| {
        (0..PLAYS).map(|play| luck.wrapping_add(play)).find(|luck| {
            let world = World::of(smaller.clone(), *luck, Telling::Nothing);
            self::kind(&play_world(seed, world)).as_ref() == Some(&kind)
        })
    };
    'again: loop {
        for (what, smaller) in smaller(&scenario) {
            if let Some(found) = fails(&smaller, luck) {
                (scenario, luck) = (smaller, found);
                without.push(what);
                continue 'again;
            }
        }
        break;
    }
    let said = format!("{scenario:#?}");
    let report = play_world(seed, World::of(scenario, luck, telling));
    Some(Shrunk { scenario: said, without, report })
}

/// In what way it fails: the invariant that is broken, or a panic's first words.
fn kind(report: &Report) -> Option<String> {
    let failure = report.failure.as_ref()?;
    let words = failure.split([':', ',']).take(if failure.starts_with("panic") { 2 } else { 1 });
    Some(words.collect())
}

/// Scenarios with less in them, those without most first.
fn smaller(scenario: &Scenario) -> Vec<(String, Scenario)> {
    let mut all = Vec::new();
    let mut add = |what: String, change: &dyn Fn(&mut Scenario)| {
        let mut smaller = scenario.clone();
        change(&mut smaller);
        smaller.lay_out();
        if format!("{smaller:?}") != format!("{scenario:?}") {
            all.push((what, smaller));
        }
    };
    add("all faults".to_owned(), &|one| one.faults = Faults::default());
    for at in 0..scenario.streams.len() {
        add(format!("stream {at}"), &|one| {
            if one.streams.len() > 1 {
                one.streams.remove(at);
                one.treatment.remove(at);
            }
        });
        add(format!("half of stream {at}"), &|one| {
            one.streams[at].messages = one.streams[at].messages.div_ceil(2);
        });
    }
    for at in 0..scenario.subscriptions.len() {
        add(format!("subscription {at}"), &|one| {
            one.subscriptions.remove(at);
        });
    }
    for (what, off) in SWITCHES {
        add((*what).to_owned(), &|one| off(&mut one.faults));
    }
    for at in 0..scenario.workers.len() {
        add(format!("worker {at}"), &|one| {
            let pool = one.workers[at].pool.clone();
            if one.workers.iter().filter(|worker| worker.pool == pool).count() > 1 {
                one.workers.remove(at);
            }
        });
    }
    add("trimming".to_owned(), &|one| one.rules = None);
    add("half of the time".to_owned(), &|one| {
        one.load = (one.load / 2).max(Duration::from_secs(1));
    });
    all
}
