//! Deliveries to a destination that is odd in any way, each held against a plain model.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

use proptest::{
    collection::{btree_set, vec},
    prelude::*,
    sample::select,
    test_runner::RngSeed,
};

use super::{
    bench::{Bench, Plan, Stop},
    odd_destination::{Act, Then},
};

fn acts() -> impl Strategy<Value = Act> {
    let then =
        select(vec![Then::Stays, Then::Stays, Then::Closes, Then::ClosesUnread, Then::IsDown]);
    let status = select(vec![200_u16, 201, 204, 299]);
    let take = (status, prop_oneof![Just(0), 1_u64..1500], 0_usize..3, 1_usize..100, then);
    let refused = select(vec![
        300_u16, 302, 307, 400, 401, 404, 408, 409, 410, 413, 425, 429, 500, 502, 503, 599,
    ]);
    let wait = prop::option::of(select(vec!["7", "0.5", "1e300", "-1", "soon", ""]));
    let done = prop::option::of(0_usize..6);
    prop_oneof![
        12 => take.prop_map(|(status, delay, interim, piece, then)| {
            Act::Take { status, delay, interim, piece, then }
        }),
        6 => (refused, wait, done).prop_map(|(status, wait, done)| Act::Refuse(status, wait, done)),
        3 => prop_oneof![Just(0), 1_usize..1000].prop_map(Act::Cut),
        2 => Just(Act::Surplus),
        1 => Just(Act::Hang),
        1 => Just(Act::Garbage),
        1 => Just(Act::EndlessContinue),
        1 => Just(Act::EndlessBody),
    ]
}

fn plans() -> impl Strategy<Value = Plan> {
    let result = prop_oneof![5 => (0_usize..60).prop_map(Some), 1 => Just(None)];
    let batching = prop::option::of((1_u32..5, 30_u32..150));
    let stop =
        prop::option::of((select(vec![Stop::Drain, Stop::Others, Stop::Recall]), 0_u64..2000));
    let passed_over = btree_set(1_u64..12, 0..3);
    (vec(result, 1..12), passed_over, 0_u64..8, batching, vec(acts(), 0..14), stop).prop_map(
        |(results, passed_over, replay_until, batching, acts, stop)| Plan {
            results,
            passed_over,
            replay_until,
            batching,
            acts,
            stop,
        },
    )
}

/// Runs a test in virtual time.
pub(super) fn run(test: impl Future<Output = ()>) {
    let mut builder = tokio::runtime::Builder::new_current_thread();
    let runtime = builder.enable_all().start_paused(true).build().unwrap();
    let played = catch_unwind(AssertUnwindSafe(|| runtime.block_on(test)));
    // Tasks that are dropped while a thread panics end the process.
    drop(runtime);
    played.unwrap_or_else(|panic| resume_unwind(panic));
}

/// The same plans each time; `ROLLCALL_TEST_SCALE=K` plays K times as many.
pub(super) fn config() -> ProptestConfig {
    let scale = std::env::var("ROLLCALL_TEST_SCALE").ok().and_then(|text| text.parse().ok());
    ProptestConfig {
        cases: 400 * scale.unwrap_or(1),
        rng_seed: RngSeed::Fixed(12),
        failure_persistence: None,
        ..ProptestConfig::default()
    }
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn what_was_taken_is_told_whatever_the_destination_does(plan in plans()) {
        run(async { Bench::set(plan).run().await });
    }
}
