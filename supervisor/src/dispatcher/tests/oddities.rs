//! An event of any kind, made of dice: of what is under way, or of what never was, with values at
//! their ends.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use rollcall_common::{
    backoff::Ladder,
    ids::{MessageId, Position, Sequence, StreamId, StreamName},
    limits::{KEY_BYTES, LARGEST_NUMBER, REASON_BYTES},
    message::{Headers, Key, Message, Payload},
    protocol,
    time::Time,
};
use uuid::Uuid;

use super::{
    super::{
        Arrival, AttemptId, Event, LaggingSubscribers, Refusal, RequestId, Settings, TellFailure,
        WorkerReply,
        event::{Bulk, Decision, Order, Presence, Wish},
        settings::{
            AlertTarget, Hedging, OnExhausted, OnceSeen, Pattern, PoolSettings, Processing,
            StreamOverlay, StreamSettings, StreamTable,
        },
    },
    anything::World,
};
use crate::record::{
    AlertId, DeliveryMode, Gap, MessageRef, Origin, Record, SequenceRange, Severity, Start,
    SubscriptionId, SubscriptionSpec,
};

/// The kinds of events. A new one does not compile here before it stands in the list, and then not
/// before there is a way to make it.
macro_rules! kinds {
    ($($kind:ident),* $(,)?) => {
        #[derive(Clone, Copy, Debug, Eq, PartialEq)]
        pub(super) enum Kind { $($kind),* }

        pub(super) const KINDS: &[Kind] = &[$(Kind::$kind),*];

        /// Which kind an event is of.
        fn kind_of(event: &Event) -> Kind {
            match event { $(Event::$kind { .. } => Kind::$kind),* }
        }
    };
}

kinds![
    Acknowledged,
    AttemptEnded,
    Arrived,
    Copied,
    Decided,
    DecidedMany,
    Delivered,
    Undelivered,
    Drain,
    Fetched,
    GapFound,
    SubscriptionCommand,
    StreamCommand,
    Probed,
    Scanned,
    Settings,
    Snapshot,
    Space,
    Subscribe,
    Notified,
    Trim,
    Unsubscribe,
    WorkerDrained,
    WorkerLeft,
    WorkerResumed,
    WorkerSeen,
];

/// Those without which nothing else can happen.
pub(super) fn often() -> Vec<u8> {
    let wanted =
        [Kind::Arrived, Kind::AttemptEnded, Kind::WorkerSeen, Kind::Fetched, Kind::Scanned];
    let number = |kind: Kind| KINDS.iter().position(|one| *one == kind).unwrap();
    wanted.into_iter().map(|kind| u8::try_from(number(kind)).unwrap()).collect()
}

/// How much time passes.
pub(super) fn leap(number: u8) -> Duration {
    match number % 8 {
        0 | 1 => Duration::ZERO,
        2 => Duration::from_micros(1),
        3 => Duration::from_millis(u64::from(number)),
        4 => Duration::from_secs(u64::from(number)),
        5 => Duration::from_secs(3_600),
        6 => Duration::from_secs(86_400 * u64::from(number)),
        _ => Duration::from_secs(86_400 * 36_525),
    }
}

fn one<T: Clone>(dice: &mut fastrand::Rng, all: &[T]) -> Option<T> {
    (!all.is_empty()).then(|| all[dice.usize(..all.len())].clone())
}

fn any<const N: usize, T: Clone>(dice: &mut fastrand::Rng, all: [T; N]) -> T {
    let number = dice.usize(..N);
    all.into_iter().nth(number).unwrap()
}

fn number(dice: &mut fastrand::Rng) -> u64 {
    let small = dice.u64(0..12);
    any(dice, [small, small, small, small, 1, LARGEST_NUMBER, 1 << 53, u64::from(u32::MAX)])
}

fn count(dice: &mut fastrand::Rng) -> u32 {
    any(dice, [0, 1, 2, 4, 1000, u32::MAX])
}

fn duration(dice: &mut fastrand::Rng) -> Duration {
    let seconds = [0, 0, 1, 1, 30, 86_400, 86_400 * 36_525, 86_400 * 366 * 8_000];
    Duration::from_secs(any(dice, seconds)) + Duration::from_micros(dice.u64(0..2))
}

fn some_duration(dice: &mut fastrand::Rng) -> Option<Duration> {
    dice.bool().then(|| duration(dice))
}

fn stream_name(dice: &mut fastrand::Rng) -> StreamName {
    let long = "l".repeat(128);
    any(dice, ["a", "a", "b", "b", "pass", "pass", "many", "other", &long]).parse().unwrap()
}

fn subscription_name(dice: &mut fastrand::Rng) -> Box<str> {
    any(dice, ["p", "p", "q", "all", &"s".repeat(128)]).into()
}

fn worker_id(dice: &mut fastrand::Rng) -> Arc<str> {
    any(dice, ["w1", "w1", "w2", "w3", &"w".repeat(128)]).into()
}

fn pool_name(dice: &mut fastrand::Rng) -> Arc<str> {
    any(dice, ["default", "default", "default", "other", &"p".repeat(128)]).into()
}

fn text(dice: &mut fastrand::Rng) -> Box<str> {
    any(dice, ["", "because", "\u{20ac}\n", &"r".repeat(REASON_BYTES)]).into()
}

fn by(dice: &mut fastrand::Rng) -> Box<str> {
    any(dice, ["", "ann", &"a".repeat(128)]).into()
}

fn request(dice: &mut fastrand::Rng) -> RequestId {
    RequestId(number(dice))
}

fn body(dice: &mut fastrand::Rng) -> Bytes {
    let length = any(dice, [0, 1, 1, 10, 500, 20 << 10]);
    Bytes::from(vec![b'x'; length])
}

fn headers(dice: &mut fastrand::Rng) -> Headers {
    let (count, length) = any(dice, [(0, 0), (0, 0), (1, 3), (200, 60), (2, 8 << 10)]);
    (0..count).map(|number| (format!("ce-h{number}").into(), "v".repeat(length).into())).collect()
}

fn payload(dice: &mut fastrand::Rng) -> Payload {
    let content_type = any(dice, ["", "text/plain", &"t".repeat(1 << 10)]).into();
    Payload { content_type, headers: headers(dice), body: body(dice) }
}

fn message(dice: &mut fastrand::Rng) -> Arc<Message> {
    let text: Box<str> = any(dice, ["k", "k2", "k3", &"k".repeat(KEY_BYTES)]).into();
    let fingerprint = [u8::from(dice.bool()); 16];
    Arc::new(Message {
        id: MessageId(Uuid::from_u128(dice.u128(..))),
        key: dice.bool().then_some(Key { text, fingerprint }),
        content_type: any(dice, ["", "text/plain", &"t".repeat(1 << 10)]).into(),
        headers: headers(dice).to_vec().into(),
        body: body(dice),
    })
}

fn reply(dice: &mut fastrand::Rng) -> WorkerReply {
    let outcome = any(
        dice,
        [
            None,
            None,
            None,
            Some(protocol::Outcome::Ok),
            Some(protocol::Outcome::Park),
            Some(protocol::Outcome::Retry),
            Some(protocol::Outcome::Skip),
        ],
    );
    let status = any(dice, [200, 200, 204, 301, 400, 401, 422, 429, 500, 503, 999, 100]);
    let answer = WorkerReply::Answer {
        status,
        outcome,
        reason: text(dice),
        retry_after: some_duration(dice),
        payload: payload(dice),
    };
    let detail = text(dice);
    let other = any(
        dice,
        [
            WorkerReply::Broken(detail.clone()),
            WorkerReply::Cancelled,
            WorkerReply::Unreachable(detail),
            WorkerReply::Stale,
        ],
    );
    if dice.u8(..4) > 0 { answer } else { other }
}

fn decision(dice: &mut fastrand::Rng) -> Decision {
    let (payload, reason) = (payload(dice), text(dice));
    match dice.u8(..3) {
        0 => Decision::Resolve { payload, reason },
        1 => Decision::Retry { reason },
        _ => Decision::Skip { reason },
    }
}

fn plan(dice: &mut fastrand::Rng) -> SubscriptionSpec {
    let origin = any(dice, [Origin::Api, Origin::Configuration]);
    let way = any(dice, [DeliveryMode::Push, DeliveryMode::Push, DeliveryMode::Pull]);
    let url: Box<str> = any(dice, ["http://a/", "tcp://a:1/", &"http://b".repeat(100)]).into();
    let position = Position(number(dice));
    SubscriptionSpec {
        streams: any(dice, [vec!["*"], vec!["a", "b"], vec!["nobody"], vec!["a*"; 60]])
            .into_iter()
            .map(Box::from)
            .collect(),
        urls: if way == DeliveryMode::Push { [url].into() } else { Box::default() },
        batch: any(dice, [1, 1, 2, 10_000]),
        timeout: Duration::from_millis(any(dice, [1, 30_000, 86_400_000])),
        replay_rate: any(dice, [0, 1, 1_000_000]),
        headers: (0..any(dice, [0, 32])).map(|number| format!("x-{number}").into()).collect(),
        start: any(dice, [Start::Live, Start::After(Position(0)), Start::After(position)]),
        ..SubscriptionSpec::new(origin, way)
    }
}

fn order(dice: &mut fastrand::Rng) -> Order {
    let position = Position(number(dice));
    match dice.u8(..5) {
        0 => Order::Checkpoint(position),
        1 => Order::Pause,
        2 => Order::Resume,
        3 => Order::Rewind(position),
        _ => Order::Skip {
            stream: stream_name(dice),
            sequence: Sequence(number(dice)),
            reason: text(dice),
        },
    }
}

fn stream_settings(dice: &mut fastrand::Rng) -> StreamSettings {
    let second = Duration::from_secs(1);
    let times = [Duration::from_millis(1), second, second, 86_400 * second];
    StreamSettings {
        pool: Some(pool_name(dice)),
        ladder: Ladder {
            timeout: any(dice, times),
            jitter: any(dice, [Duration::ZERO, second, 86_400 * second]),
            multiplier_permille: any(dice, [1000, 2000, 1_000_000]),
            max_attempts: any(dice, [1, 2, 5]),
            max_delay: any(dice, times),
        },
        retry_for: some_duration(dice),
        on_exhausted: any(dice, [OnExhausted::Hold, OnExhausted::Skip]),
        max_in_flight: any(dice, [1, 3, 65_536]),
        window: any(dice, [1, 2, 5, 1_048_576]),
        max_backlog: any(dice, [1, 10, 1_000_000_000_000]),
        hold_alert_after: any(dice, times),
        hedge: any(dice, [Hedging::Auto, Hedging::Off]),
        retention: any(dice, [Duration::ZERO, 86_400 * 36_525 * second]),
    }
}

fn target(dice: &mut fastrand::Rng, name: &str) -> AlertTarget {
    AlertTarget {
        name: name.into(),
        min_severity: any(dice, [Severity::Info, Severity::Error, Severity::Critical]),
        after: any(dice, [Duration::ZERO, Duration::from_secs(30 * 86_400)]),
        after_failures: any(dice, [None, Some(1), Some(1000)]),
        repeat: any(dice, [None, Some(Duration::from_secs(1)), Some(Duration::from_secs(86_400))]),
        once_seen: any(dice, [OnceSeen::Repeat, OnceSeen::Silence, OnceSeen::Tell]),
        streams: any(dice, [vec![], vec![Pattern::new("a*")]]),
    }
}

fn settings(world: &World, dice: &mut fastrand::Rng) -> Settings {
    let pass = StreamOverlay { processing: Some(Processing::None), ..StreamOverlay::default() };
    let names = (0..any(dice, [0, 2, 12])).map(|number| format!("standing{number}").parse());
    let arranged = (0..any(dice, [0, 0, 1, 3])).map(|number| {
        let plan = SubscriptionSpec { origin: Origin::Configuration, ..plan(dice) };
        (format!("configured{number}").into(), Arc::new(plan))
    });
    let arranged = arranged.collect();
    let pool = PoolSettings {
        eject_after: any(dice, [1, 5, 1000]),
        eject_for: Duration::from_millis(any(dice, [1, 300_000])),
        outage_after: any(dice, [2, 5, 1000]),
        forget_after: Duration::from_secs(any(dice, [1, 30 * 86_400])),
        ..PoolSettings::default()
    };
    Settings {
        create_streams: dice.u8(..4) > 0,
        standing_streams: names.map(Result::unwrap).collect(),
        subscriptions: arranged,
        streams: StreamTable::new([(Pattern::new("pass*"), pass)]),
        default_stream: Arc::new(stream_settings(dice)),
        pools: vec![(pool_name(dice), pool)],
        alert_targets: ["t1", "t2"]
            .iter()
            .take(dice.usize(..3))
            .map(|name| target(dice, name))
            .collect(),
        notice_burst: any(dice, [1, 30]),
        heartbeat: Duration::from_millis(any(dice, [1, 2_000])),
        deliveries_at_once: any(dice, [1, 64]),
        recent: any(dice, [1, 2, 65_536]),
        ..(*world.dispatcher.settings()).clone()
    }
}

fn attempt(world: &World, dice: &mut fastrand::Rng) -> AttemptId {
    let made_up = AttemptId(any(dice, [0, 1, 7, u64::MAX]));
    let known = if dice.u8(..8) > 0 { one(dice, &world.attempts) } else { None };
    known.unwrap_or(made_up)
}

/// A stream that is there.
fn stream(world: &World, dice: &mut fastrand::Rng) -> StreamId {
    let all: Vec<StreamId> = world.dispatcher.state().stream_ids().collect();
    one(dice, &all).unwrap()
}

/// What makes a stream, so that there is one.
pub(super) fn first() -> Event {
    let mut dice = fastrand::Rng::with_seed(1);
    let (request, stream) = (RequestId(1), "a".parse().unwrap());
    Event::Arrived(Arrival { request, stream, messages: vec![message(&mut dice)] })
}

fn subscription(world: &World, dice: &mut fastrand::Rng) -> SubscriptionId {
    let all: Vec<_> = world.dispatcher.state().subscription_names().map(|(id, _)| id).collect();
    let made_up = SubscriptionId(count(dice));
    if dice.u8(..8) > 0 { one(dice, &all).unwrap_or(made_up) } else { made_up }
}

/// What a sender says: of what it was given, or of anything else that is there.
fn sent(world: &World, dice: &mut fastrand::Rng) -> (SubscriptionId, StreamId, Sequence) {
    if let Some((id, stream, first, last)) =
        one(dice, &world.deliveries).filter(|_| dice.u8(..4) > 0)
    {
        return (id, stream, any(dice, [first, last]));
    }
    let stream = stream(world, dice);
    (subscription(world, dice), stream, Sequence(number(dice)))
}

fn fetched(world: &mut World, dice: &mut fastrand::Rng) -> Event {
    let asked = if dice.u8(..4) > 0 { world.fetches.pop() } else { one(dice, &world.fetches) };
    let made_up = (stream(world, dice), Sequence(number(dice)), Sequence(5));
    let (stream, first, last) = asked.unwrap_or(made_up);
    let upto = last.0.min(first.0.saturating_add(40));
    let mut messages: Vec<_> =
        (first.0..=upto).filter_map(|number| world.message(stream, Sequence(number))).collect();
    match dice.u8(..10) {
        0 => messages.clear(),
        1 => messages.reverse(),
        2 => messages.retain(|_| dice.bool()),
        3 => messages.extend(messages.clone()),
        4 => messages.truncate(1),
        _ => {}
    }
    Event::Fetched { at: (stream, first), messages }
}

fn scanned(world: &mut World, dice: &mut fastrand::Rng) -> Event {
    let asked = if dice.u8(..4) > 0 { world.scans.pop() } else { one(dice, &world.scans) };
    let made_up = (subscription(world, dice), count(dice), Position(number(dice)));
    let (subscription, revision, after) = asked.unwrap_or(made_up);
    let head = world.dispatcher.state().head();
    let to = Position(any(dice, [head.0, head.0, after.0, after.0.saturating_add(1)]).min(head.0));
    let mut found: Vec<SequenceRange> = Vec::new();
    for _ in 0..dice.u8(..4) {
        let stream = stream(world, dice);
        let first = Sequence(dice.u64(1..9));
        let last = Sequence(first.0 + dice.u64(0..9));
        let position = Position(after.0.saturating_add(1).min(head.0));
        found.push(SequenceRange { stream, first, position, last });
    }
    Event::Scanned { subscription, revision, to, found }
}

fn copies(world: &World, dice: &mut fastrand::Rng) -> Vec<Record> {
    let mut copies = Vec::new();
    for _ in 0..dice.u8(..6) {
        match one(dice, &world.records) {
            Some(Record::Accepted { stream, sequence, at, message }) => {
                copies.push(Record::Copied { stream, sequence, at, message });
            }
            Some(Record::Answered { stream, sequence, at, answer }) => {
                copies.push(Record::CopiedResult { stream, sequence, at, answer });
            }
            _ => {}
        }
    }
    copies
}

/// An event of this kind.
pub(super) fn event(kind: Kind, world: &mut World, dice: &mut fastrand::Rng) -> Event {
    let event = make(kind, world, dice);
    assert_eq!(kind_of(&event), kind);
    event
}

fn make(kind: Kind, world: &mut World, dice: &mut fastrand::Rng) -> Event {
    let request = request(dice);
    match kind {
        Kind::Acknowledged => Event::Acknowledged {
            request,
            alert: AlertId(number(dice)),
            by: by(dice),
            reason: text(dice),
        },
        Kind::AttemptEnded => {
            Event::AttemptEnded { attempt: attempt(world, dice), reply: reply(dice) }
        }
        Kind::Arrived => {
            let count = any(dice, [1, 1, 2, 3, 40, 0]);
            let messages = (0..count).map(|_| message(dice)).collect();
            Event::Arrived(Arrival { request, stream: stream_name(dice), messages })
        }
        Kind::Copied => Event::Copied { request, copies: copies(world, dice) },
        Kind::Decided => decided(request, dice),
        Kind::Drain => Event::Drain,
        Kind::Settings => Event::Settings(Arc::new(settings(world, dice))),
        Kind::Snapshot => Event::Snapshot { request },
        Kind::Space => Event::Space { low: dice.u8(..4) == 0 },
        Kind::DecidedMany => decided_many(request, world, dice),
        Kind::SubscriptionCommand => {
            let (name, by) = (subscription_name(dice), by(dice));
            Event::SubscriptionCommand { request, name, by, order: order(dice) }
        }
        Kind::StreamCommand => paused(request, dice),
        Kind::Subscribe => Event::Subscribe {
            request: dice.bool().then(|| (request, by(dice))),
            name: subscription_name(dice),
            plan: Arc::new(plan(dice)),
        },
        Kind::Unsubscribe => Event::Unsubscribe {
            request: dice.bool().then(|| (request, by(dice))),
            name: subscription_name(dice),
        },
        Kind::Trim => trim(request, world, dice),
        Kind::Delivered => delivered(world, dice),
        Kind::Undelivered => undelivered(world, dice),
        Kind::Fetched => fetched(world, dice),
        Kind::GapFound => gap_found(world, dice),
        Kind::Probed => Event::Probed {
            worker: worker_id(dice),
            presence: any(dice, [Presence::Absent, Presence::Present]),
        },
        Kind::Scanned => scanned(world, dice),
        Kind::Notified => told(world, dice),
        Kind::WorkerDrained => Event::WorkerDrained { id: worker_id(dice) },
        Kind::WorkerLeft => Event::WorkerLeft { id: worker_id(dice) },
        Kind::WorkerResumed => Event::WorkerResumed { id: worker_id(dice) },
        Kind::WorkerSeen => worker_seen(dice),
    }
}

fn decided(request: RequestId, dice: &mut fastrand::Rng) -> Event {
    let head = MessageRef { id: MessageId(Uuid::nil()), accepted_at: Time::default() };
    Event::Decided {
        request,
        stream: stream_name(dice),
        sequence: Sequence(number(dice)),
        head: dice.bool().then_some(head),
        by: by(dice),
        decision: decision(dice),
    }
}

fn decided_many(request: RequestId, world: &World, dice: &mut fastrand::Rng) -> Event {
    let places = 0..dice.usize(..9);
    let places = places.map(|_| (stream(world, dice), Sequence(number(dice)))).collect();
    let bulk = Bulk { places, decision: decision(dice), by: by(dice) };
    Event::DecidedMany { request, bulk }
}

fn paused(request: RequestId, dice: &mut fastrand::Rng) -> Event {
    let wish = any(dice, [Wish::Pause, Wish::Resume]);
    Event::StreamCommand {
        request,
        stream: stream_name(dice),
        by: by(dice),
        reason: text(dice),
        wish,
    }
}

fn trim(request: RequestId, world: &World, dice: &mut fastrand::Rng) -> Event {
    let head = world.dispatcher.state().head();
    let through = Position(number(dice).min(head.0));
    let slow = any(dice, [LaggingSubscribers::Kept, LaggingSubscribers::Dropped]);
    Event::Trim { request, through, below: number(dice), slow }
}

fn delivered(world: &World, dice: &mut fastrand::Rng) -> Event {
    let (subscription, stream, through) = sent(world, dice);
    let floor = Position(number(dice));
    Event::Delivered { more: dice.bool(), subscription, stream, through, floor }
}

fn undelivered(world: &World, dice: &mut fastrand::Rng) -> Event {
    let (subscription, stream, _) = sent(world, dice);
    let away = Refusal::Away { retry_after: some_duration(dice) };
    let others = [Refusal::Failed, Refusal::Gone, Refusal::Rejected, Refusal::Unfit];
    let refusal = if dice.bool() { away } else { any(dice, others) };
    Event::Undelivered { subscription, stream, refusal, detail: text(dice) }
}

fn gap_found(world: &World, dice: &mut fastrand::Rng) -> Event {
    let (stream, expected, got) = (stream_name(dice), number(dice), number(dice));
    let subscription = subscription(world, dice);
    Event::GapFound { subscription, gap: Gap { stream, expected, got } }
}

fn told(world: &World, dice: &mut fastrand::Rng) -> Event {
    let made_up = (AlertId(number(dice)), Arc::from("t1"));
    let (alert, target) = one(dice, &world.notices).unwrap_or(made_up);
    let failure = TellFailure { retry_after: some_duration(dice) };
    Event::Notified { alert, target, outcome: any(dice, [Ok(()), Err(failure)]) }
}

fn worker_seen(dice: &mut fastrand::Rng) -> Event {
    Event::WorkerSeen {
        id: worker_id(dice),
        pool: pool_name(dice),
        concurrency: any(dice, [None, Some(1), Some(2), Some(u32::MAX)]),
        beats: dice.bool(),
    }
}
