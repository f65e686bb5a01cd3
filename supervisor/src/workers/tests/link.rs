//! Calls to a worker that is odd in any way: scripts, each held against a plain model.

use std::{
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
    time::Duration,
};

use proptest::{collection::vec, prelude::*, test_runner::RngSeed};
use rollcall_common::limits::LINK_UNSENT;
use tokio::time::sleep;

use super::{
    odd_worker::Plain,
    stage::{Agrees, LIMIT, Stage, Step, Word},
};
use crate::{
    dispatcher::{Event, WorkerReply},
    web::test_network::UNREAD_BYTES,
};

/// Which of those that there are then.
fn pick() -> impl Strategy<Value = usize> {
    0_usize..1000
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let credit =
        prop::sample::select(vec!["0", "1", "2", "3", "5", "100", "-1", "x", "4294967296"]);
    let agrees = prop_oneof![
        8 => credit.prop_map(Agrees::Credit),
        1 => Just(Agrees::Gone),
        1 => Just(Agrees::No),
        1 => Just(Agrees::Silent),
    ];
    let size = prop_oneof![9 => 0_usize..1500, 1 => LIMIT - 1..LIMIT + 2];
    let word = prop_oneof![
        12 => (pick(), prop::sample::select(vec![200, 429, 500]), size)
            .prop_map(|(call, status, size)| Word::Answer(call, status, size)),
        4 => pick().prop_map(Word::Cancelled),
        1 => pick().prop_map(Word::AnswerAgain),
        1 => Just(Word::Closing),
        1 => (prop_oneof![0_u8..3, 6_u8..=6, 8_u8..], vec(any::<u8>(), 0..20))
            .prop_map(|(kind, rest)| Word::Junk(kind, rest)),
        1 => (1_u32..9).prop_map(Word::Long),
        2 => Just(Word::Pong),
    ];
    let piece = prop_oneof![1_usize..40, 1000_usize..60_000];
    let plain = prop_oneof![
        2 => (0_usize..100).prop_map(Plain::Answer),
        1 => Just(Plain::Answer(LIMIT)),
        1 => Just(Plain::Cut),
        1 => Just(Plain::Half(90 << 10)),
        1 => Just(Plain::Hang),
    ];
    let cut = prop_oneof![9 => Just(None), 1 => pick().prop_map(Some)];
    let step = prop_oneof![
        12 => vec(0_usize..1500, 1..9).prop_map(Step::Hand),
        12 => (pick(), vec(word, 1..6), piece, cut)
            .prop_map(|(link, words, piece, cut)| Step::Say(link, words, piece, cut)),
        8 => agrees.prop_map(Step::Link),
        4 => pick().prop_map(Step::Cancel),
        3 => pick().prop_map(Step::GiveUp),
        3 => plain.prop_map(Step::Act),
        1 => pick().prop_map(Step::Close),
        1 => Just(Step::Leave),
        2 => Just(Step::Return),
        1 => Just(Step::Signs(30)),
        1 => prop::sample::select(vec![13, 640]).prop_map(Step::Silence),
        1 => any::<bool>().prop_map(Step::Read),
    ];
    vec(step, 1..40)
}

fn run(test: impl Future<Output = ()>) {
    let mut builder = tokio::runtime::Builder::new_current_thread();
    let runtime = builder.enable_all().start_paused(true).build().unwrap();
    let played = catch_unwind(AssertUnwindSafe(|| runtime.block_on(test)));
    // Tasks that are dropped while a thread panics end the process.
    drop(runtime);
    played.unwrap_or_else(|panic| resume_unwind(panic));
}

fn play(steps: Vec<Step>) {
    run(async {
        let mut stage = Stage::set();
        for step in steps {
            stage.step(step).await;
        }
        stage.end().await;
    });
}

/// The same scripts each time; `ROLLCALL_TEST_SCALE=K` plays K times as many.
fn config() -> ProptestConfig {
    let scale = std::env::var("ROLLCALL_TEST_SCALE").ok().and_then(|text| text.parse().ok());
    ProptestConfig {
        cases: 300 * scale.unwrap_or(1),
        rng_seed: RngSeed::Fixed(12),
        failure_persistence: None,
        ..ProptestConfig::default()
    }
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn each_call_ends_once_whatever_the_worker_does(steps in steps()) {
        play(steps);
    }
}

fn says(words: Vec<Word>) -> Step {
    Step::Say(0, words, 60_000, None)
}

#[test]
fn a_cancel_reaches_a_worker_whose_credit_is_used_up() {
    play(vec![
        Step::Link(Agrees::Credit("1")),
        Step::Hand(vec![1, 1, 1]),
        Step::Cancel(0),
        says(vec![Word::Cancelled(0)]),
    ]);
}

#[test]
fn a_worker_that_has_left_while_it_was_asked_gets_no_link() {
    play(vec![Step::Link(Agrees::Gone), Step::Return, Step::Hand(vec![1])]);
}

#[test]
fn a_call_that_a_worker_drops_unasked_has_failed() {
    play(vec![
        Step::Link(Agrees::Credit("5")),
        Step::Hand(vec![1, 1]),
        says(vec![Word::Cancelled(0)]),
    ]);
}

#[test]
fn a_result_over_a_link_is_no_larger_than_over_plain_http() {
    play(vec![
        Step::Link(Agrees::Credit("5")),
        Step::Hand(vec![1, 1, 1]),
        says(vec![Word::Answer(0, 200, LIMIT + 1)]),
        says(vec![Word::Answer(0, 200, LIMIT)]),
    ]);
}

#[test]
fn what_a_worker_does_not_read_goes_over_plain_http_in_the_end() {
    run(async {
        let mut stage = Stage::set();
        stage.step(Step::Link(Agrees::Credit("100"))).await;
        // The link is not read, and the model is not asked: how much of this is written before the
        // link is full, and so is lost with it, is nobody's promise. That it has a bound is.
        let line = stage.lines.remove(0);
        let (count, size) = (40, 100 << 10);
        (0..count / 2).for_each(|_| stage.hand(size));
        sleep(Duration::from_secs(1)).await;
        // Nobody looks at those before there is room to write.
        (0..count / 2).for_each(|_| stage.hand(size));
        stage.to_plain.clear();
        sleep(Duration::from_secs(1)).await;
        stage.step(Step::Cancel(count - 1)).await;
        drop(line);
        sleep(Duration::from_secs(1)).await;
        let told = stage.mailbox.told();
        let replies = told.iter().filter_map(|event| {
            if let Event::AttemptEnded { reply, .. } = event { Some(reply) } else { None }
        });
        let replies: Vec<&WorkerReply> = replies.collect();
        let count_of =
            |how: fn(&WorkerReply) -> bool| replies.iter().filter(|one| how(one)).count();
        let broken = count_of(|reply| matches!(reply, WorkerReply::Broken(_)));
        let whole = count_of(|reply| matches!(reply, WorkerReply::Answer { .. }));
        let bound = (LINK_UNSENT + UNREAD_BYTES) / size + 2;
        assert!(broken <= bound, "{broken} were written");
        let cancelled = count_of(|reply| matches!(reply, WorkerReply::Cancelled));
        assert_eq!((broken + whole, cancelled, told.len()), (count - 1, 1, count));
        assert!(stage.messages.iter().all(|message| message.upgrade().is_none()));
    });
}
