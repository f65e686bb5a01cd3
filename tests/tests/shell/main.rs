//! The real shell on a simulated network (turmoil): a supervisor, workers, a destination, clients
//! and a reader, each on a host of its own, while the network is cut, held up and slow, and hosts
//! crash and come back. Everything that was acknowledged has to come out, by the same oracle as
//! everywhere (`docs/simulation.md`).

mod clients;
mod destination;
mod faults;
mod history;
mod network;
mod play;
mod reader;
mod supervisor;
mod workers;

use history::Sometimes;
use play::play;
use tests::harness::scale;

/// Seeds that are played every day.
const SEEDS: u64 = 20;

/// `ROLLCALL_SHELL_SEED=N` plays one seed, `ROLLCALL_TEST_SCALE=K` K times as many.
#[test]
fn everything_acknowledged_comes_out() {
    let one = std::env::var("ROLLCALL_SHELL_SEED").ok().and_then(|text| text.parse::<u64>().ok());
    let seeds = one.map_or_else(|| 1..=SEEDS * scale(), |seed| seed..=seed);
    let count = seeds.clone().count();
    let mut happened = Sometimes::default();
    for seed in seeds {
        match play(seed) {
            Ok(some) => happened.merge(&some),
            Err(wrong) => panic!("seed {seed}: {wrong}"),
        }
    }
    println!("{happened:?}");
    if one.is_none() {
        let missing = happened.missing(count);
        assert!(missing.is_empty(), "never happened: {missing:?}; {happened:?}");
    }
}
