//! The forwarder on its way to an odd destination, and a plain model of what it has to send, and to
//! tell the dispatcher, given what the destination made of it.
//!
//! Time is virtual and the network is in memory, so that nothing waits for a real moment.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, atomic::Ordering},
    time::Duration,
};

use bytes::Bytes;
use rollcall_common::{
    ids::{Position, Sequence},
    shutdown::Phase,
    task,
    time::Time,
};
use tokio::time::sleep;

use super::{
    desk::{Desk, STREAM, SUBSCRIPTION, body, delivery, id, is_last},
    odd_destination::{Act, Memory, Seen, serve, taken},
};
use crate::{
    dispatcher::{Delivery, Event, Refusal},
    record::Batching,
    web::test_network::TestNetwork,
};

/// How long the destination has for a request.
const PATIENCE: Duration = Duration::from_secs(2);
/// How long the dispatcher may know nothing of what was taken: what is promised, and a look.
pub(super) const KNOWN_AFTER: Duration = Duration::from_millis(105);
/// How often it is looked whether anything was told.
const LOOK: Duration = Duration::from_millis(5);

/// What is to be delivered, and how.
#[derive(Clone, Debug)]
pub(super) struct Plan {
    /// The bytes of each result; `None`: it was skipped.
    pub(super) results: Vec<Option<usize>>,
    /// Those that the subscription goes on without.
    pub(super) passed_over: BTreeSet<u64>,
    /// The last result that is replayed.
    pub(super) replay_until: u64,
    /// Most results and bytes of a request, where several travel together.
    pub(super) batching: Option<(u32, u32)>,
    /// What the destination does, request by request.
    pub(super) acts: Vec<Act>,
    /// What becomes of the first delivery after so many milliseconds.
    pub(super) stop: Option<(Stop, u64)>,
}

/// Why a delivery ends before its end.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Stop {
    /// The process drains.
    Drain,
    /// It does not: senders of an earlier revision are called back.
    Others,
    /// The sender is called back.
    Recall,
}

/// The next request, as the model sees it.
struct Due {
    /// Where what it is made of begins: all before that is done without it.
    begins: u64,
    /// What is in it.
    wanted: Vec<u64>,
    /// The last that is done with it.
    last: u64,
}

impl Plan {
    fn last(&self) -> u64 {
        self.results.len() as u64
    }

    fn size(&self, sequence: u64) -> Option<usize> {
        self.results[usize::try_from(sequence).unwrap() - 1]
    }

    fn is_wanted(&self, sequence: u64) -> bool {
        self.size(sequence).is_some() && !self.passed_over.contains(&sequence)
    }

    /// The request that is due when all before `next` is done; `None`: there is nothing to send.
    fn due(&self, mut next: u64) -> Option<Due> {
        while next <= self.last() {
            let last = self.piece(next);
            let wanted: Vec<_> = (next..=last).filter(|one| self.is_wanted(*one)).collect();
            if !wanted.is_empty() {
                return Some(Due { begins: next, wanted, last });
            }
            next = last + 1;
        }
        None
    }

    /// The last of those that are done at once, of which `first` is the first.
    fn piece(&self, first: u64) -> u64 {
        let Some((most, room)) = self.batching else { return first };
        let alone = |sequence| self.passed_over.contains(&sequence);
        let bytes = |sequence| self.size(sequence).map_or(0, |size| body(sequence, size).len());
        let (mut last, mut all) = (first, bytes(first));
        while last < self.last() && last - first + 1 < u64::from(most) && !alone(last) {
            let next = last + 1;
            all += bytes(next);
            let replays = [first, next].map(|one| one <= self.replay_until);
            if alone(next) || replays[0] != replays[1] || all > room as usize {
                break;
            }
            last = next;
        }
        last
    }

    /// The one that was pushed before this one.
    fn previous(&self, sequence: u64) -> u64 {
        (1..sequence).rev().find(|one| self.is_wanted(*one)).unwrap_or(0)
    }

    fn goes_together(&self) -> bool {
        self.batching.is_some_and(|(most, _)| most > 1)
    }
}

/// The forwarder, its destination, and what the dispatcher knows.
pub(super) struct Bench {
    desk: Desk,
    memory: Arc<Mutex<Memory>>,
    plan: Plan,
    /// All up to here is done, as the dispatcher was told.
    done: u64,
    /// 1 + the tries of the next one that failed.
    attempt: u32,
    revision: u32,
    /// What was sent under each key.
    keys: BTreeMap<String, Bytes>,
    /// What was told in this round, and when.
    told: Vec<(Time, Event)>,
}

impl Bench {
    pub(super) fn set(plan: Plan) -> Self {
        let (network, connected, is_down) = TestNetwork::lay();
        let desk = Desk::set(&network, "http://shop/", PATIENCE);
        let memory = Memory::new(plan.acts.clone(), desk.clock, is_down);
        let memory = Arc::new(Mutex::new(memory));
        task::spawn("odd-destination", serve(connected, Arc::clone(&memory)));
        let bytes = |(at, size): (u64, &Option<usize>)| size.map(|size| body(at, size));
        desk.release((1..).zip(&plan.results).map(bytes));
        Self {
            desk,
            memory,
            plan,
            done: 0,
            attempt: 1,
            revision: 1,
            keys: BTreeMap::new(),
            told: Vec::new(),
        }
    }

    /// Delivers all of it, as often as it takes.
    pub(super) async fn run(mut self) {
        let most = self.plan.acts.len() + self.plan.results.len() + 3;
        for round in 0.. {
            if self.done == self.plan.last() {
                break;
            }
            assert!(round < most, "there is no end to it: {} are done", self.done);
            self.memory.lock().unwrap().is_down.store(false, Ordering::Relaxed);
            self.round().await;
        }
        self.desk.end().await;
    }

    fn delivery(&self) -> Delivery {
        let batching = self.plan.batching.map(|(results, bytes)| Batching {
            through: Sequence(self.plan.last()),
            results,
            bytes,
        });
        Delivery {
            revision: self.revision,
            first: Sequence(self.done + 1),
            last: Sequence(self.plan.last()),
            attempt: self.attempt,
            replay_until: Position(self.plan.replay_until),
            batching,
            passed_over: self.plan.passed_over.iter().map(|one| Sequence(*one)).collect(),
            ..delivery()
        }
    }

    /// One delivery, until it is over.
    async fn round(&mut self) {
        let from = self.seen();
        let delivery = self.delivery();
        self.desk.forwarder.deliver(delivery.clone());
        // A process that drains does so to its end.
        let drains = self.desk.forwarder.shutdown.phase() > Phase::Running;
        let (begun, mut stopped) = (self.desk.clock.now(), drains.then_some(from));
        while !self.told.last().is_some_and(|(_, event)| is_last(event)) {
            let now = self.desk.clock.now();
            assert!(now.since(begun) < Duration::from_secs(60), "it never comes back");
            let due = |(_, after): &(Stop, u64)| now.since(begun).as_millis() >= u128::from(*after);
            if let Some((stop, _)) = self.plan.stop.take_if(|stop| due(stop)) {
                stopped = stopped.or_else(|| (stop != Stop::Others).then(|| self.seen()));
                self.stop(stop);
            }
            sleep(LOOK).await;
            self.look();
        }
        let (told, seen) = (self.told.len(), self.seen());
        sleep(Duration::from_millis(300)).await;
        self.look();
        assert_eq!((self.told.len(), self.seen()), (told, seen), "it goes on after its last word");
        assert!(!self.desk.forwarder.out.has(&delivery), "it is still out");
        let told = std::mem::take(&mut self.told);
        self.compare(from, stopped, &told);
    }

    fn stop(&mut self, stop: Stop) {
        match stop {
            Stop::Drain => self.desk.trigger.advance(Phase::Draining),
            Stop::Others => self.desk.forwarder.recall(SUBSCRIPTION, self.revision),
            Stop::Recall => {
                self.revision += 1;
                self.desk.forwarder.recall(SUBSCRIPTION, self.revision);
            }
        }
    }

    fn seen(&self) -> usize {
        self.memory.lock().unwrap().seen.len()
    }

    fn look(&mut self) {
        let now = self.desk.clock.now();
        let told = self.desk.mailbox.told();
        self.told.extend(told.into_iter().map(|event| (now, event)));
    }

    /// Holds what was sent and told in a round against the model.
    fn compare(&mut self, from: usize, stopped: Option<usize>, told: &[(Time, Event)]) {
        let memory = Arc::clone(&self.memory);
        let memory = memory.lock().unwrap();
        let seen = &memory.seen[from..];
        let (mut next, mut refused) = (self.done + 1, None);
        let mut requests = BTreeSet::new();
        for (at, one) in seen.iter().enumerate() {
            assert!(refused.is_none(), "a request after {refused:?}");
            let due = self.plan.due(next).expect("there was nothing more to send");
            self.check(one, &due);
            if stopped.is_some_and(|count| from + at >= count) {
                requests.insert(due.wanted.clone());
            }
            let again = seen.get(at + 1).filter(|one| is_for(one, &due, &self.plan));
            match outcome(one, again) {
                Came::Taken => {
                    check_known(one, due.last, told);
                    next = due.last + 1;
                }
                Came::Again => {}
                Came::Refused(refusal, count) => {
                    let taken = count.filter(|_| self.plan.goes_together()).unwrap_or(0);
                    next = due.wanted.get(taken).copied().unwrap_or(due.begins);
                    refused = Some(refusal);
                }
            }
        }
        // What was under way when it was stopped may need another connection; and one goes out.
        assert!(requests.len() <= 1, "it goes on after it was stopped: {requests:?}");
        let is_down = memory.is_down.load(Ordering::Relaxed);
        drop(memory);
        let rest = self.plan.due(next).map_or_else(|| self.plan.last(), |due| due.wanted[0] - 1);
        if refused.is_none() && is_down && rest < self.plan.last() && stopped.is_none() {
            refused = Some(Refusal::Away { retry_after: None });
        }
        let through = check_told(self.done, told);
        assert!((next - 1..=rest).contains(&through), "{through} of {} to {rest}", next - 1);
        let last = &told.last().unwrap().1;
        match (last, refused, stopped) {
            (Event::Undelivered { refusal, .. }, Some(expected), _) => {
                assert_eq!(*refusal, expected);
            }
            (Event::Delivered { .. }, None, None) => assert_eq!(through, self.plan.last()),
            (Event::Delivered { .. }, None, Some(_)) => {}
            (Event::Undelivered { refusal, .. }, None, Some(_)) if is_down => {
                assert_eq!(*refusal, Refusal::Away { retry_after: None });
            }
            _ => panic!("{refused:?} was expected, and is {last:?}"),
        }
        self.attempt = match refused {
            None => 1,
            Some(_) if through > self.done => 2,
            Some(_) => self.attempt + 1,
        };
        self.done = through;
    }

    /// A request is the one that is due.
    fn check(&mut self, seen: &Seen, due: &Due) {
        let first = due.wanted[0];
        assert!(is_for(seen, due, &self.plan), "{:?} is due, and {seen:?} came", due.wanted);
        assert_eq!(seen.number("rollcall-position"), first);
        assert_eq!(seen.number("rollcall-previous-sequence"), self.plan.previous(first));
        let attempt = if due.begins == self.done + 1 { self.attempt } else { 1 };
        assert_eq!(seen.number("rollcall-attempt"), u64::from(attempt));
        assert_eq!(seen.head["rollcall-stream"], "orders");
        assert_eq!(seen.number("rollcall-generation"), 2);
        let replay = (first <= self.plan.replay_until).to_string();
        assert_eq!(seen.head["rollcall-replay"], replay);
        if !self.plan.goes_together() {
            assert_eq!(seen.head["webhook-id"], id(first).to_string());
            assert_eq!(seen.body, body(first, self.plan.size(first).unwrap()));
        }
        let key = seen.head["idempotency-key"].clone();
        let before = self.keys.entry(key).or_insert_with(|| seen.body.clone());
        assert_eq!(*before, seen.body, "something else under the same key");
    }
}

/// What was told rises, and is of this delivery. Gives back how far it came.
pub(super) fn check_told(done: u64, told: &[(Time, Event)]) -> u64 {
    let mut known = done;
    for (_, event) in told {
        if let Event::Delivered { more, subscription, stream, through, floor } = event {
            assert_eq!((*subscription, *stream), (SUBSCRIPTION, STREAM));
            assert!(through.0 > known || !more && through.0 == known, "{event:?} after {known}");
            assert_eq!(floor.0, through.0 + 1, "positions are sequences here");
            known = through.0;
        } else if let Event::Undelivered { subscription, stream, .. } = event {
            assert_eq!((*subscription, *stream), (SUBSCRIPTION, STREAM));
        } else {
            panic!("{event:?}");
        }
    }
    known
}

/// The dispatcher was told in time that all up to `last` was taken.
fn check_known(seen: &Seen, last: u64, told: &[(Time, Event)]) {
    let at = seen.answered_at.unwrap_or_default() + KNOWN_AFTER;
    let knows = |(when, event): &(Time, Event)| {
        let through = if let Event::Delivered { through, .. } = event { through.0 } else { 0 };
        *when <= at && through >= last
    };
    assert!(told.iter().any(knows), "{last} was taken, and not known: {told:?}");
}

/// Whether a request is of these results.
fn is_for(seen: &Seen, due: &Due, plan: &Plan) -> bool {
    if !plan.goes_together() {
        return [seen.number("rollcall-sequence")] == due.wanted[..];
    }
    let lines = seen.body.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
    let lines = lines.map(|line| serde_json::from_slice::<serde_json::Value>(line).unwrap());
    let all: Vec<_> = lines.map(|line| (line["sequence"].clone(), line["data"].clone())).collect();
    let data = |one: &u64| String::from_utf8(body(*one, plan.size(*one).unwrap()).into()).unwrap();
    let wanted = due.wanted.iter().map(|one| ((*one).into(), data(one).into()));
    all == wanted.collect::<Vec<_>>()
}

/// What the sender has to make of a request.
enum Came {
    /// It may have been seen, and goes out again at once.
    Again,
    Refused(Refusal, Option<usize>),
    Taken,
}

/// What comes of a request; `again`: the same came again at once.
fn outcome(seen: &Seen, again: Option<&Seen>) -> Came {
    match &seen.act {
        Act::Take { .. } | Act::Surplus => Came::Taken,
        // A connection that was used before, and is closed before a whole head has come, is taken
        // for one that had been closed while nothing was said on it.
        Act::Cut(part) => {
            let answer = taken(200);
            let head = answer.len() - b"hello".len();
            let is_stale = !seen.is_first && answer.len() * part / 1000 < head;
            let must = is_stale && *part == 0;
            assert!(
                !must || again.is_some(),
                "nothing was said on a connection that was used before"
            );
            if is_stale && again.is_some() {
                Came::Again
            } else {
                Came::Refused(Refusal::Failed, None)
            }
        }
        Act::EndlessBody | Act::EndlessContinue | Act::Garbage | Act::Hang => {
            Came::Refused(Refusal::Failed, None)
        }
        Act::Refuse(status, wait, done) => Came::Refused(refusal(*status, *wait), *done),
    }
}

fn refusal(status: u16, wait: Option<&str>) -> Refusal {
    let retry_after = match wait {
        Some("7") => Some(Duration::from_secs(7)),
        Some("0.5") => Some(Duration::from_millis(500)),
        Some("1e300") => Some(Duration::from_secs(1_000_000)),
        Some(_) | None => None,
    };
    match status {
        410 => Refusal::Gone,
        429 | 503 => Refusal::Away { retry_after },
        408 | 425 => Refusal::Failed,
        400..=499 => Refusal::Rejected,
        _ => Refusal::Failed,
    }
}
