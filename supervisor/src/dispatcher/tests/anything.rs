//! Events of every kind in any order, with the largest and the oddest values that they may have,
//! and time that goes in leaps: nothing panics, no entry and no call grows beyond its bound, what
//! must hold holds, and what was written down is folded to the same facts. The simulator plays
//! orders that happen; these need not.

use std::{collections::BTreeSet, sync::Arc};

use proptest::prelude::*;
use rollcall_common::{
    ids::{Position, Sequence, StreamId},
    message::Message,
    time::Time,
};

use super::{
    super::{
        AttemptId, Dispatcher, Effect, Event, Settings, State,
        settings::{Bounds, StreamSettings},
    },
    oddities::{self, KINDS},
};
use crate::record::{
    AlertId, Record, SubscriptionId,
    codec::{Encoder, decode},
    snapshot::SnapshotPart,
};

/// When it begins.
const BEGINNING: Time = Time::from_micros(1_700_000_000_000_000);

/// Small, in the proportions of the real ones.
const BOUNDS: Bounds = Bounds {
    entry_bytes: 160 << 10,
    turn_bytes: 4 << 10,
    reserve_bytes: 8 << 10,
    work: 3,
    sweep: 2,
    passes: 3,
    held_alerts: 2,
    streams: 8,
    cache_bytes: 32 << 10,
    in_flight_bytes: 64 << 10,
    fetches: 2,
};

/// What one call may have to be done, at most: what stands in line of these streams and workers,
/// and something for each place of each window.
const EFFECTS: usize = 4_000;

/// A dispatcher, its time, and all that it has said.
pub(super) struct World {
    pub(super) dispatcher: Dispatcher,
    pub(super) now: Time,
    pub(super) records: Vec<Record>,
    pub(super) attempts: Vec<AttemptId>,
    pub(super) fetches: Vec<(StreamId, Sequence, Sequence)>,
    pub(super) scans: Vec<(SubscriptionId, u32, Position)>,
    pub(super) deliveries: Vec<(SubscriptionId, StreamId, Sequence, Sequence)>,
    pub(super) notices: Vec<(AlertId, Arc<str>)>,
    /// Where the latest snapshot begins.
    snapshot: Option<(usize, Position)>,
    /// What was asked for, at any time.
    asked: BTreeSet<&'static str>,
    encoder: Encoder,
    settings: Arc<Settings>,
}

impl World {
    fn new() -> Self {
        let default_stream = Arc::new(StreamSettings { window: 4, ..StreamSettings::default() });
        let settings = Arc::new(Settings { default_stream, bounds: BOUNDS, ..Settings::default() });
        let state = State::default();
        let mut world = Self {
            dispatcher: Dispatcher::new(Arc::clone(&settings), state, 1, BEGINNING),
            now: BEGINNING,
            records: Vec::new(),
            attempts: Vec::new(),
            fetches: Vec::new(),
            scans: Vec::new(),
            deliveries: Vec::new(),
            notices: Vec::new(),
            snapshot: None,
            asked: BTreeSet::new(),
            encoder: Encoder::default(),
            settings,
        };
        world.listen("the start");
        let event = oddities::first();
        world.dispatcher.handle(event, BEGINNING);
        world.listen("the first message");
        world
    }

    /// Something happens, and what follows from it at once.
    fn play(&mut self, (kind, leap, seed): (u8, u8, u64)) {
        let mut dice = fastrand::Rng::with_seed(seed);
        self.now = self.now + oddities::leap(leap);
        match KINDS.get(usize::from(kind)) {
            Some(kind) => {
                let event = oddities::event(*kind, self, &mut dice);
                let about = format!("{event:.300?}");
                if let Event::Settings(settings) = &event {
                    self.settings = Arc::clone(settings);
                }
                let goes_down = matches!(event, Event::Drain) && dice.u8(..8) > 0;
                let begun = self.records.len();
                self.dispatcher.handle(event, self.now);
                if self.dispatcher.is_exporting() {
                    self.snapshot = Some((begun, self.dispatcher.state().head()));
                }
                while self.dispatcher.is_exporting() {
                    self.dispatcher.export();
                    self.listen("a part of a snapshot");
                }
                self.listen(&about);
                if goes_down {
                    self.restart();
                }
            }
            // Each of the others is a timer, and now and then a restart.
            None if kind == u8::MAX => self.restart(),
            None => {
                // A caller comes when it is time, or later.
                if let Some(at) = self.dispatcher.poll_timeout() {
                    self.now = self.now.max(at);
                }
                self.dispatcher.handle_timeout(self.now);
                self.listen("a timer");
            }
        }
    }

    fn restart(&mut self) {
        self.write_down();
        let state = self.folded(0);
        self.attempts.clear();
        self.fetches.clear();
        self.scans.clear();
        self.deliveries.clear();
        self.notices.clear();
        self.dispatcher = Dispatcher::new(Arc::clone(&self.settings), state, 2, self.now);
        self.listen("a restart");
    }

    fn folded(&self, from: usize) -> State {
        let mut state = State::default();
        for record in &self.records[from..] {
            state.apply(record, &self.settings, &mut Vec::new());
        }
        state
    }

    /// Takes in what was said, and sees that nothing is too large.
    fn listen(&mut self, about: &str) {
        let (mut count, mut since) = (0, 0);
        while let Some(effect) = self.dispatcher.poll_effect() {
            count += 1;
            match effect {
                Effect::Append(record) => {
                    self.encoder.push(&record);
                    self.records.push(record);
                }
                Effect::Cut => since = self.cut(since, about),
                Effect::Deliver(delivery) => {
                    let (first, last) = (delivery.first, delivery.last);
                    assert!(first <= last, "{delivery:?} after {about}");
                    self.asked.insert("deliver");
                    self.deliveries.push((delivery.subscription, delivery.stream, first, last));
                }
                Effect::Dispatch(dispatch) => {
                    self.asked.insert("dispatch");
                    self.attempts.push(dispatch.attempt);
                }
                Effect::Fetch { stream, first, last, .. } => {
                    self.asked.insert("fetch");
                    self.fetches.push((stream, first, last));
                }
                Effect::Scan { subscription, revision, after } => {
                    self.asked.insert("scan");
                    self.scans.push((subscription, revision, after));
                }
                Effect::Tell(notice) => {
                    self.asked.insert("tell");
                    self.notices.push((notice.alert.id, notice.target));
                }
                Effect::Cancel { .. }
                | Effect::Forget { .. }
                | Effect::GiveUp { .. }
                | Effect::Probe { .. }
                | Effect::Recall { .. }
                | Effect::Release(_)
                | Effect::Reply(..) => {}
            }
        }
        self.cut(since, about);
        assert!(count <= EFFECTS, "{count} effects after {about}");
        let order = self.dispatcher.verify(self.now);
        assert!(order.is_ok(), "{order:?} after {about}");
    }

    /// What stands between two cuts goes into whatever entry was begun before.
    fn cut(&mut self, since: usize, about: &str) -> usize {
        let bytes = self.encoder.len() - since;
        let most = BOUNDS.entry_bytes - BOUNDS.turn_bytes;
        assert!(bytes <= most, "{bytes} bytes in one piece, {most} at most, after {about}");
        if self.encoder.len() >= BOUNDS.turn_bytes {
            self.write_down();
        }
        self.encoder.len()
    }

    /// What is folded is what can be read of the bytes.
    fn write_down(&mut self) {
        if self.encoder.is_empty() {
            return;
        }
        let payload = self.encoder.finish();
        let records = decode(&payload).unwrap();
        self.records.truncate(self.records.len() - records.len());
        self.records.extend(records);
    }

    /// What was written down is folded to what is known, and to the same from a snapshot on.
    fn check_facts(&mut self) {
        self.write_down();
        let folded = self.folded(0);
        same(&firm(&folded), &firm(self.dispatcher.state()));
        if let Some((begun, through)) = self.snapshot {
            // The call that began it may have said something else before.
            let begins =
                |record: &Record| matches!(record, Record::Snapshot(SnapshotPart::Header(_)));
            let before = self.records[begun..].iter().position(begins).unwrap();
            let (mut whole, mut short) = (folded, self.folded(begun + before));
            assert!(short.is_rooted());
            // Who begins at a snapshot has nothing of what lies before it.
            for state in [&mut whole, &mut short] {
                let trimmed = Record::Trimmed { through, below: 1 };
                state.apply(&trimmed, &self.settings, &mut Vec::new());
            }
            same(&whole.facts(), &short.facts());
        }
    }

    /// A message as it was taken in.
    pub(super) fn message(
        &self,
        stream: StreamId,
        sequence: Sequence,
    ) -> Option<(Sequence, Time, Arc<Message>)> {
        self.records.iter().find_map(|record| {
            let Record::Accepted { stream: of, sequence: at, at: when, message } = record else {
                return None;
            };
            let is_it = (*of, *at) == (stream, sequence);
            is_it.then(|| (sequence, *when, Arc::clone(message)))
        })
    }
}

/// The facts that are written down. What is at hand of messages is not, nor what is under way to
/// a destination, be it nothing.
fn firm(state: &State) -> Vec<String> {
    let firm = |fact: String| {
        if fact.starts_with("slot ") {
            return None;
        }
        if !fact.starts_with("cursor ") {
            return Some(fact);
        }
        let numbers = fact.split("Sequence(").skip(1).map(|rest| {
            let digits: String = rest.chars().take_while(char::is_ascii_digit).collect();
            digits.parse::<u64>().unwrap()
        });
        let numbers: Vec<u64> = numbers.take(2).collect();
        let (firm, _) = fact.split_once(", state: ").unwrap();
        (numbers[0] <= numbers[1]).then(|| firm.to_owned())
    };
    state.facts().into_iter().filter_map(firm).collect()
}

fn same(one: &[String], other: &[String]) {
    for (one, other) in one.iter().zip(other) {
        assert_eq!(one, other, "the folds differ");
    }
    assert_eq!(one.len(), other.len());
}

/// A step: which kind, how long after the one before, and dice for the rest.
fn step() -> impl Strategy<Value = (u8, u8, u64)> {
    let kinds = u8::try_from(KINDS.len()).unwrap();
    // Some are needed before others can do anything.
    let kind = prop_oneof![
        6 => 0..kinds,
        3 => prop::sample::select(oddities::often()),
        3 => Just(kinds),
        1 => prop_oneof![19 => Just(kinds), 1 => Just(u8::MAX)],
    ];
    (kind, prop_oneof![4 => Just(0_u8), 1 => any::<u8>()], any::<u64>())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn whatever_happens_is_survived(steps in prop::collection::vec(step(), 1..120)) {
        let mut world = World::new();
        for step in steps {
            world.play(step);
        }
        world.check_facts();
    }
}

#[test]
fn every_kind_of_event_comes_about() {
    let mut world = World::new();
    for seed in 0..300 {
        for kind in 0..u8::try_from(KINDS.len()).unwrap() {
            world.play((kind, 0, seed * 1_000 + u64::from(kind)));
        }
    }
    world.check_facts();
    assert_eq!(world.asked.len(), 5, "{:?}", world.asked);
}
