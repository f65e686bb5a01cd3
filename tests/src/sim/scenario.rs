//! What one seed is about: streams, workers, destinations, and which things go wrong.

use std::{sync::Arc, time::Duration};

use rollcall_common::{backoff::Ladder, ids::StreamName};
use rollcall_supervisor::{
    dispatcher::{
        LaggingSubscribers,
        settings::{
            Bounds, BudgetSettings, Hedging, OnExhausted, OutageDetection, Pattern, PoolSettings,
            Processing, Settings, StreamOverlay, StreamSettings, StreamTable,
        },
    },
    driver::retention::RetentionPolicy,
};

use super::alerting;

/// How often what goes wrong, in thousandths; 0: never in this seed.
#[derive(Clone, Debug, Default)]
pub(super) struct Faults {
    /// Requests and answers of clients that get lost.
    pub(super) net_loss: u32,
    /// What a worker does with a message.
    pub(super) worker: WorkerFaults,
    /// How pools are in outages, now and then.
    pub(super) outage: Option<OutageShape>,
    /// What a destination does with a result.
    pub(super) destination: DestinationFaults,
    /// Whether workers come and go.
    pub(super) churn: bool,
    /// Whether people decide, pause and resume.
    pub(super) people: bool,
    /// Whether settings change.
    pub(super) settings: bool,
    /// Whether the disk fills up.
    pub(super) space: bool,
    /// Notices of alerts that find nobody.
    pub(super) target: u32,
    /// How many crashes there are.
    pub(super) crashes: u32,
    /// Messages that every worker refuses.
    pub(super) cursed: u32,
    /// Messages that fail again and again.
    pub(super) poisoned: u32,
    /// Messages of which workers die.
    pub(super) deadly: u32,
}

/// What workers do in an outage.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum OutageShape {
    /// All of them fail.
    Fail,
    /// All of them fail, and do well, and fail.
    Flap,
    /// One in two fails.
    Half,
    /// All of them hang.
    Hang,
    /// All of them say that they don't know who asks.
    Misconfigured,
    /// They fail with what one stream has.
    OneStream,
}

/// See [`Faults`].
#[derive(Clone, Debug, Default)]
pub(super) struct WorkerFaults {
    pub(super) error: u32,
    pub(super) refuse: u32,
    pub(super) busy: u32,
    pub(super) misconfigured: u32,
    pub(super) unreachable: u32,
    pub(super) stale: u32,
    pub(super) broken: u32,
    pub(super) hang: u32,
    pub(super) late: u32,
    pub(super) twice: u32,
    pub(super) diverge: u32,
    pub(super) word: u32,
}

/// See [`Faults`].
#[derive(Clone, Debug, Default)]
pub(super) struct DestinationFaults {
    pub(super) error: u32,
    pub(super) busy: u32,
    pub(super) reject: u32,
    pub(super) gone: u32,
    pub(super) lost: u32,
    pub(super) down: bool,
    pub(super) slow: bool,
    pub(super) partly: u32,
}

/// A worker.
#[derive(Clone, Debug)]
pub(super) struct WorkerPlan {
    pub(super) id: Arc<str>,
    pub(super) pool: Arc<str>,
    pub(super) concurrency: Option<u32>,
    pub(super) beats: bool,
    /// How long a message takes, at most.
    pub(super) latency: Duration,
}

/// A subscription and its destination.
#[derive(Clone, Debug)]
pub(super) struct SubscriptionPlan {
    pub(super) name: Arc<str>,
    pub(super) patterns: Vec<Box<str>>,
    /// When it is made, after the beginning.
    pub(super) at: Duration,
    /// After which position; `None`: live.
    pub(super) after: Option<u64>,
    pub(super) batch: usize,
    pub(super) more: bool,
    /// Whether a reader fetches the results.
    pub(super) pulled: bool,
}

/// A stream and what comes in on it.
#[derive(Clone, Debug)]
pub(super) struct StreamPlan {
    pub(super) name: StreamName,
    pub(super) messages: u32,
    /// Whether parked messages are left to stand at the end.
    pub(super) leave_parked: bool,
}

/// What one seed is about.
#[derive(Clone, Debug)]
pub(super) struct Scenario {
    pub(super) streams: Vec<StreamPlan>,
    pub(super) workers: Vec<WorkerPlan>,
    pub(super) subscriptions: Vec<SubscriptionPlan>,
    pub(super) settings: Settings,
    /// How each stream is treated.
    pub(super) treatment: Vec<StreamSettings>,
    pub(super) faults: Faults,
    /// Whether the journal is the one in memory.
    pub(super) memory: bool,
    /// For how long messages come in.
    pub(super) load: Duration,
    /// What is kept of the journal; `None`: all of it.
    pub(super) rules: Option<RetentionPolicy>,
    /// How large a segment of the journal grows.
    pub(super) segment_bytes: u64,
}

impl Scenario {
    /// The scenario of a seed.
    #[must_use]
    pub(super) fn draw(rng: &mut fastrand::Rng) -> Self {
        let pools: Vec<Arc<str>> =
            ["default", "slow"].into_iter().take(rng.usize(1..=2)).map(Arc::from).collect();
        let memory = rng.u8(..8) == 0;
        // A part of the seeds has no room for anything.
        let small = rng.u8(..4) == 0;
        let faults = faults(rng, memory);
        let mut budget = rng.u32(40..=400);
        let mut streams = Vec::new();
        let mut treatment = Vec::new();
        for index in 0..rng.usize(1..=6) {
            let group = if rng.bool() { "a" } else { "b" };
            let text = format!("{group}.{index}");
            let name: StreamName = text.parse().expect("a good name");
            let one = stream(rng, &pools);
            let window = if small { one.window.min(2) } else { one.window };
            treatment.push(StreamSettings { window, ..one });
            let messages = rng.u32(1..=budget.max(1));
            budget = budget.saturating_sub(messages);
            streams.push(StreamPlan { name, messages, leave_parked: rng.u8(..10) == 0 });
        }
        let settings = Settings {
            alert_targets: alerting::targets(rng),
            notice_burst: [1, 2, 40][rng.usize(..3)],
            notice_every: Duration::from_secs([1, 5, 30][rng.usize(..3)]),
            pools: pools.iter().map(|name| (name.clone(), pool(rng))).collect(),
            deliveries_at_once: rng.usize(1..=4),
            recent: [4, 64, 65_536][rng.usize(..3)],
            bounds: if small { bounds(rng) } else { Bounds::default() },
            ..Settings::default()
        };
        let mut scenario = Self {
            workers: workers(rng, &pools),
            subscriptions: subscriptions(rng),
            settings,
            faults,
            memory,
            load: Duration::from_secs(rng.u64(5..=90)),
            streams,
            treatment,
            rules: rules(rng),
            segment_bytes: [24 << 10, 12 << 10, 40 << 10][rng.usize(..3)],
        };
        scenario.lay_out();
        scenario.name_streams(rng);
        scenario
    }

    /// The configuration names some of the streams: all, where none comes into being by itself.
    fn name_streams(&mut self, rng: &mut fastrand::Rng) {
        let create = rng.u8(..4) > 0;
        let named = self.streams.iter().filter(|_| !create || rng.bool());
        self.settings.standing_streams = named.map(|stream| stream.name.clone()).collect();
        self.settings.create_streams = create;
    }

    /// Whether there is hardly room for anything.
    pub(super) fn is_small(&self) -> bool {
        self.settings.bounds != Bounds::default()
    }

    /// Brings the settings up to date with how the streams are to be treated.
    pub(super) fn lay_out(&mut self) {
        let streams = self.streams.iter().zip(&self.treatment);
        let overlays =
            streams.map(|(plan, treatment)| (Pattern::new(plan.name.as_str()), overlay(treatment)));
        self.settings.streams = StreamTable::new(overlays);
    }
}

/// Entries that hold one result with a long history, and calls that do one thing at a time.
fn bounds(rng: &mut fastrand::Rng) -> Bounds {
    Bounds {
        // A result with the longest history of attempts takes more than 8 KiB here.
        entry_bytes: 12 << 10,
        turn_bytes: [1, 200, 700][rng.usize(..3)],
        reserve_bytes: [6_400, 8_500][rng.usize(..2)],
        work: rng.usize(1..=4),
        sweep: rng.usize(1..=4),
        passes: rng.usize(1..=4),
        held_alerts: rng.usize(0..=2),
        cache_bytes: [0, 500][rng.usize(..2)],
        in_flight_bytes: [0, 500, 2_000, 8_000][rng.usize(..4)],
        fetches: rng.usize(1..=2),
        ..Bounds::default()
    }
}

fn overlay(settings: &StreamSettings) -> StreamOverlay {
    let processing = settings.pool.clone().map_or(Processing::None, Processing::Pool);
    let ladder = settings.ladder;
    StreamOverlay {
        processing: Some(processing),
        timeout: Some(ladder.timeout),
        jitter: Some(ladder.jitter),
        multiplier_permille: Some(ladder.multiplier_permille),
        max_attempts: Some(ladder.max_attempts),
        max_delay: Some(ladder.max_delay),
        retry_for: settings.retry_for,
        on_exhausted: Some(settings.on_exhausted),
        max_in_flight: Some(settings.max_in_flight),
        window: Some(settings.window),
        max_backlog: Some(settings.max_backlog),
        hold_alert_after: Some(settings.hold_alert_after),
        hedge: Some(settings.hedge),
        retention: None,
    }
}

fn stream(rng: &mut fastrand::Rng, pools: &[Arc<str>]) -> StreamSettings {
    let ladder = Ladder {
        timeout: Duration::from_millis(rng.u64(100..=2_000)),
        jitter: Duration::from_millis(rng.u64(0..=1_000)),
        multiplier_permille: rng.u32(1_000..=3_000),
        max_attempts: rng.u32(1..=5),
        max_delay: Duration::from_secs([2, 300][rng.usize(..2)]),
    };
    let passes = rng.u8(..6) == 0;
    StreamSettings {
        pool: (!passes).then(|| pools[rng.usize(..pools.len())].clone()),
        ladder,
        retry_for: (rng.u8(..4) == 0).then(|| Duration::from_secs(rng.u64(1..20))),
        on_exhausted: if rng.u8(..3) == 0 { OnExhausted::Skip } else { OnExhausted::Hold },
        max_in_flight: [1, 2, 8, 256][rng.usize(..4)],
        window: [1, 2, 7, 32, 4096][rng.usize(..5)],
        max_backlog: [16, 50, 10_000][rng.usize(..3)],
        hold_alert_after: Duration::from_secs(rng.u64(1..=60)),
        hedge: if rng.u8(..4) == 0 { Hedging::Off } else { Hedging::Auto },
        retention: Duration::ZERO,
    }
}

fn rules(rng: &mut fastrand::Rng) -> Option<RetentionPolicy> {
    let age = Duration::from_secs([0, 1, 10, 1_000_000][rng.usize(..4)]);
    let rules = RetentionPolicy {
        age,
        bytes: rng.bool().then(|| rng.u64(1..100_000)),
        slow: LaggingSubscribers::Kept,
        snapshot_bytes: rng.u64(500..20_000),
    };
    (rng.u8(..4) > 0).then_some(rules)
}

fn pool(rng: &mut fastrand::Rng) -> PoolSettings {
    let eject_for = Duration::from_secs(rng.u64(1..=30));
    let budget = BudgetSettings {
        percent: [0, 20, 20, 100][rng.usize(..4)],
        per_second: [1, 10, 10, 100][rng.usize(..4)],
    };
    PoolSettings {
        eject_after: rng.u32(1..=5),
        eject_for,
        budget,
        outage: if rng.u8(..4) == 0 { OutageDetection::Off } else { OutageDetection::Auto },
        outage_after: rng.u32(2..=6),
        forget_after: Duration::from_secs([5, 1_000_000][rng.usize(..2)]),
    }
}

fn workers(rng: &mut fastrand::Rng, pools: &[Arc<str>]) -> Vec<WorkerPlan> {
    let mut workers = Vec::new();
    for pool in pools {
        for _ in 0..rng.usize(1..=4) {
            workers.push(WorkerPlan {
                id: format!("w{}", workers.len()).into(),
                pool: pool.clone(),
                concurrency: [None, Some(1), Some(2), Some(16)][rng.usize(..4)],
                beats: rng.bool(),
                latency: Duration::from_millis([2, 20, 200][rng.usize(..3)]),
            });
        }
    }
    workers
}

fn subscriptions(rng: &mut fastrand::Rng) -> Vec<SubscriptionPlan> {
    let mut subscriptions = Vec::new();
    for index in 0..rng.usize(1..=3) {
        let patterns: &[&str] = [&["*"][..], &["a.*"], &["b.*", "a.0"]][rng.usize(..3)];
        let first = index == 0;
        let late = !first || rng.u8(..4) == 0;
        subscriptions.push(SubscriptionPlan {
            name: format!("s{index}").into(),
            patterns: patterns.iter().map(|text| Box::from(*text)).collect(),
            at: Duration::from_secs(if late { rng.u64(0..60) } else { 0 }),
            after: [None, Some(0), Some(rng.u64(..50))][rng.usize(..3)],
            batch: [1, 1, 3, 10][rng.usize(..4)],
            more: rng.bool(),
            pulled: !first && rng.u8(..3) == 0,
        });
    }
    subscriptions
}

/// Each seed has some faults and not the others: together they would hide each other.
fn faults(rng: &mut fastrand::Rng, memory: bool) -> Faults {
    if rng.u8(..20) == 0 {
        return Faults::default();
    }
    let mut draw = |most: u32| if rng.bool() { rng.u32(1..=most) } else { 0 };
    let worker = WorkerFaults {
        error: draw(300),
        refuse: draw(100),
        busy: draw(200),
        misconfigured: draw(100),
        unreachable: draw(100),
        stale: draw(100),
        broken: draw(100),
        hang: draw(100),
        late: draw(200),
        twice: draw(100),
        diverge: draw(500),
        word: draw(60),
    };
    let destination = DestinationFaults {
        error: draw(300),
        busy: draw(100),
        reject: draw(3) / 3 * 700,
        gone: draw(30) / 10,
        lost: draw(150),
        partly: draw(200),
        down: draw(1) == 1,
        slow: draw(1) == 1,
    };
    Faults {
        net_loss: draw(200),
        worker: if draw(3) == 0 { WorkerFaults::default() } else { worker },
        destination: if draw(3) == 0 { DestinationFaults::default() } else { destination },
        churn: draw(1) == 1,
        people: draw(1) == 1,
        settings: draw(1) == 1,
        target: draw(700),
        space: draw(1) == 1 && !memory,
        outage: [
            None,
            Some(OutageShape::Fail),
            Some(OutageShape::Flap),
            Some(OutageShape::Half),
            Some(OutageShape::Hang),
            Some(OutageShape::Misconfigured),
            Some(OutageShape::OneStream),
        ]
        .get(usize::try_from(draw(12)).unwrap_or_default())
        .copied()
        .flatten(),
        crashes: draw(8),
        cursed: draw(60),
        poisoned: draw(60),
        deadly: draw(8) * 4,
    }
}
