//! One seed's story.

use std::{
    io::Write as _,
    panic,
    sync::{
        Arc, Once,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, UNIX_EPOCH},
};

use rollcall_common::telemetry::{self, LogFormat};
use turmoil::Builder;

use crate::{
    clients::{self, CLIENTS},
    destination::Sink,
    faults::{Faults, USUAL_LATENCY},
    history::{History, Sometimes},
    network::simulated,
    reader::{self, Orders},
    supervisor::Machine,
    workers::{Crew, WORKERS},
};

/// How long everything may take to come out once all faults are over.
const SETTLING: Duration = Duration::from_secs(300);
/// What the hosts' clocks show at the beginning.
const EPOCH: Duration = Duration::from_secs(1_800_000_000);

/// The seed that is being played.
static SEED: AtomicU64 = AtomicU64::new(0);

/// Plays a seed. Err: which promise it broke, or what else went wrong.
pub(crate) fn play(seed: u64) -> Result<Sometimes, String> {
    name_the_seed(seed);
    let _named = tracing::error_span!("play", seed).entered();
    let mut rng = fastrand::Rng::with_seed(seed);
    let mut sim = Builder::new()
        .rng_seed(rng.u64(..))
        .epoch(UNIX_EPOCH + EPOCH)
        .simulation_duration(Duration::from_secs(3600))
        .tick_duration(Duration::from_millis(rng.u64(1..=10)))
        .max_message_latency(USUAL_LATENCY)
        .tcp_capacity(1024)
        .build();
    let history = History::new();
    let network = simulated(&history);
    let machine = Machine::new(rng.u64(..), network.clone(), &history);
    let crew = Crew::new(rng.u64(..), network.clone(), &history);
    let sink = Sink::new(rng.u64(..), network.clone(), &history);
    let orders = Arc::new(Orders::default());
    let revision = Arc::clone(&machine);
    sim.host("supervisor", move || Arc::clone(&revision).run());
    for number in 0..WORKERS {
        let crew = Arc::clone(&crew);
        sim.host(Crew::name(number), move || Arc::clone(&crew).run(number));
    }
    let revision = Arc::clone(&sink);
    sim.host("destination", move || Arc::clone(&revision).run());
    for number in 0..CLIENTS {
        let revision = clients::run(number, rng.u64(..), network.clone(), Arc::clone(&history));
        sim.client(clients::name(number), revision);
    }
    sim.client("reader", reader::run(Arc::clone(&orders), network, Arc::clone(&history)));

    let mut faults = Faults::new(rng.u64(..), (machine, Arc::clone(&crew)), Arc::clone(&history));
    let trouble = Duration::from_secs(rng.u64(15..40));
    let mut healed = false;
    loop {
        if sim.elapsed() < trouble {
            faults.act(&mut sim);
        } else if !healed {
            healed = true;
            faults.heal(&mut sim);
            crew.healed.store(true, Ordering::Relaxed);
            sink.healed.store(true, Ordering::Relaxed);
            orders.healed.store(true, Ordering::Relaxed);
        }
        let over = sim.step().map_err(|error| error.to_string())?;
        if let Some(violation) = history.violation() {
            return Err(format!("{violation}, after {:?}", sim.elapsed()));
        }
        if over {
            break;
        }
        if sim.elapsed() > trouble + SETTLING {
            return Err(format!("I8: never done: {}", history.standing()));
        }
    }
    history.finish().map_err(|violation| format!("{violation}, at the end"))?;
    Ok(history.sometimes())
}

/// A panic in a host's task ends the process at once; so the seed is said before.
fn name_the_seed(seed: u64) {
    static ONCE: Once = Once::new();
    SEED.store(seed, Ordering::Relaxed);
    ONCE.call_once(|| {
        // What makes the program end the process; `ROLLCALL_LOG=debug` shows everything.
        telemetry::init(LogFormat::Text, "error");
        let usual = panic::take_hook();
        panic::set_hook(Box::new(move |panic| {
            let seed = SEED.load(Ordering::Relaxed);
            // Not by a macro: what those write is lost when the process aborts.
            let _ = writeln!(std::io::stderr(), "seed {seed}: {panic}");
            usual(panic);
        }));
    });
}
