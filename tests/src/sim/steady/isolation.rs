//! What one stream in trouble does to a thousand others.

use std::time::Duration;

use super::{
    Outcome, Plan, play,
    trouble::{FROM, Trouble},
};

/// A thousand streams, 1,600 messages a second, on eight workers that can do 4,000: what is left
/// when some of them have died is still enough.
fn others(concurrency: Option<u32>, trouble: Option<Trouble>) -> Outcome {
    let (streams, rate, work) = (1_000, 1_600, Duration::from_millis(10));
    let (workers, span) = (8, Duration::from_secs(20));
    let mut outcome =
        play(Plan { streams, rate, span, workers, work, concurrency, trouble, ..Plan::default() });
    assert_eq!(outcome.released.len() as u64, outcome.messages, "{trouble:?}");
    outcome.released.retain(|(at, _)| *at >= FROM);
    println!(
        "{trouble:?}, concurrency {concurrency:?}: p50 {:?}, p99 {:?}, p99.9 {:?}; of the troubled \
         one {} released, {} parked",
        outcome.latency(500),
        outcome.latency(990),
        outcome.latency(999),
        outcome.troubled.0,
        outcome.troubled.1,
    );
    outcome
}

/// F-55, F-61, F-65, F-69: whatever happens to one stream, the p99 of a thousand others stays
/// within twice what it was.
#[test]
fn one_stream_in_trouble_leaves_a_thousand_others_alone() {
    let alone = others(Some(5), None).latency(990);
    let troubles = [
        (Trouble::Backlog(20_000), (20_000, 0)),
        (Trouble::Failing, (0, 1)),
        (Trouble::Hanging, (0, 0)),
        (Trouble::Killing, (0, 1)),
        (Trouble::Stuck(10_000), (0, 1)),
    ];
    for (trouble, (released, parked)) in troubles {
        let outcome = others(Some(5), Some(trouble));
        let p99 = outcome.latency(990);
        assert!(p99 <= alone * 2, "{trouble:?}: {p99:?}, without it {alone:?}");
        assert_eq!(outcome.troubled.0, released, "{trouble:?}");
        assert!(outcome.troubled.1 >= parked, "{trouble:?}: {} parked", outcome.troubled.1);
        assert!(outcome.dispatches > outcome.messages + 2, "{trouble:?}: it is tried again");
    }
}

/// Where nobody says how much a worker takes, what one stream has too much of waits inside the
/// workers, before the others' messages; `max_in_flight` is the bound of that.
#[test]
fn without_a_bound_per_worker_a_hot_stream_is_bounded_by_its_calls_in_flight() {
    let p99 = others(None, Some(Trouble::Backlog(20_000))).latency(990);
    // All 256 at one worker with five places, 10 ms each.
    assert!(p99 < Duration::from_millis(512), "{p99:?}");
}
