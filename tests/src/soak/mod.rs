//! The soak: load and faults for as long as one likes, a look at the process every ten seconds,
//! and at the end the question whether everything is there, in order, and nothing has grown.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use tokio::time::sleep;

use crate::{
    harness::{Client, Setup, Supervisor, WorkerProcess, checker::check_deliveries, now, spawn},
    peers::Destination,
};

mod faults;
mod load;
mod readers;
mod samples;

use load::Producer;
use samples::Sample;

/// How often the process is looked at.
const LOOK: Duration = Duration::from_secs(10);
/// Streams that are written to.
const STREAMS: usize = 8;
/// How long all may take to arrive once nothing goes wrong any more.
const PATIENCE: Duration = Duration::from_secs(300);

/// What is wanted.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// For how long.
    pub span: Duration,
    /// Messages a second.
    pub rate: u64,
    /// What the dice begin with.
    pub seed: u64,
}

/// Everything that runs.
struct Soak {
    setup: Setup,
    /// Where the supervisor is at the moment.
    client: Mutex<Client>,
    /// It takes each result once.
    destination: Destination,
    /// Its subscription is rewound now and then.
    rewound: Destination,
    producers: Vec<Mutex<Producer>>,
}

/// Lets it run; prints a table. Whether everything held.
///
/// # Panics
/// When something that was acknowledged is lost, or is not in order.
pub async fn run(plan: Plan) -> bool {
    let mut workers = Vec::new();
    for _ in 0..4 {
        let worker = WorkerProcess::start(&["--builtin", "sleep=5ms"]).await;
        workers.push((worker.url().to_owned(), Some(worker)));
    }
    let urls: Vec<&str> = workers.iter().map(|(url, _)| url.as_str()).collect();
    let (destination, rewound) = (Destination::start().await, Destination::start().await);
    let setup = Setup::new(config(&urls, &destination, &rewound));
    let mut supervisor = setup.start().await;
    let soak = Arc::new(Soak {
        client: Mutex::new(supervisor.client()),
        setup,
        destination,
        rewound,
        producers: (0..STREAMS).map(|_| Mutex::default()).collect(),
    });
    let begun = now();
    let senders: Vec<_> = (0..STREAMS)
        .map(|stream| {
            let soak = Arc::clone(&soak);
            spawn(async move { load::produce(&soak, stream, (plan.rate, begun, plan.span)).await })
        })
        .collect();
    let readers = readers::start(&soak, begun + plan.span);
    let mut samples = Vec::new();
    let mut dice = fastrand::Rng::with_seed(plan.seed);
    let mut faults = 0_u32;
    while begun.elapsed() < plan.span {
        let next = now() + LOOK;
        supervisor = faults::next(&soak, (&mut workers, supervisor), &mut dice).await;
        faults += 1;
        sleep(next.saturating_duration_since(now())).await;
        samples.push(Sample::take(&soak, &supervisor, begun.elapsed()).await);
    }
    faults::heal(&soak, &mut workers).await;
    for sender in senders {
        sender.await.expect("a producer goes to its end");
    }
    for reader in readers {
        reader.await.expect("a reader finds no hole");
    }
    finish(&soak, &supervisor).await;
    println!("{faults} faults");
    samples::print(&samples)
}

/// Everything that was acknowledged arrives, in order.
async fn finish(soak: &Soak, supervisor: &Supervisor) {
    let begun = now();
    for (index, producer) in soak.producers.iter().enumerate() {
        let (name, sent) = (load::stream(index), lock(producer).next);
        while supervisor.json(&format!("/v1/streams/{name}")).await["released"] != sent
            || soak.destination.taken(&name).last() != Some(&sent)
        {
            assert!(begun.elapsed() < PATIENCE, "{name}: {sent} were acknowledged");
            sleep(Duration::from_millis(100)).await;
        }
    }
    let deliveries = soak.destination.deliveries();
    check_deliveries(&deliveries);
    let sent: u64 = soak.producers.iter().map(|producer| lock(producer).next).sum();
    println!(
        "{sent} messages acknowledged, {} deliveries, all in order; {} more were replayed",
        deliveries.len(),
        soak.rewound.count()
    );
}

fn config(workers: &[&str], destination: &Destination, rewound: &Destination) -> String {
    format!(
        "[streams.\"*\"]\ntimeout = \"1s\"\njitter = \"100ms\"\nmax_attempts = 1000\n\
         retention = \"60s\"\n\
         [journal]\nsegment_bytes = \"1 MiB\"\n\
         [pools.default]\nworkers = {workers:?}\nconcurrency = 32\neject_for = \"2s\"\n\
         [subscriptions.once]\nurl = {:?}\nstart = \"beginning\"\n\
         [subscriptions.again]\nurl = {:?}\nstart = \"beginning\"\n",
        destination.url(),
        rewound.url()
    )
}

/// The time that is left until a moment.
fn until(moment: Instant) -> Duration {
    moment.saturating_duration_since(now())
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
