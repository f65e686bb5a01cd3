//! What these tests drive the dispatcher with: a clock in the hand, and everything that it said.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use rollcall_common::{
    ids::{MessageId, Position, Sequence, StreamId, StreamName},
    message::{Key, Message, Payload},
    time::Time,
};
use uuid::Uuid;

use super::super::{
    Arrival, AttemptId, Delivery, Dispatch, Dispatcher, Effect, Event, Notice, Refusal, Released,
    Reply, RequestId, Settings, State, SubscriptionReply, WorkerReply,
    event::{Decision, Order, Wish},
    settings::{OutageDetection, PoolSettings, StreamSettings},
};
use crate::record::{
    DeliveryMode, MessageRef, Origin, Record, SequenceRange, SubscriptionId, SubscriptionSpec,
};

/// When every test begins.
const BEGINNING: Time = Time::from_micros(1_000_000_000_000);

/// A dispatcher, its clock and all that it has said.
pub(super) struct Fixture {
    pub(super) dispatcher: Dispatcher,
    pub(super) now: Time,
    pub(super) dispatches: Vec<Dispatch>,
    pub(super) deliveries: Vec<Delivery>,
    pub(super) records: Vec<Record>,
    pub(super) released: Vec<Released>,
    pub(super) replies: Vec<Reply>,
    pub(super) notices: Vec<Notice>,
    pub(super) fetches: Vec<(StreamId, Sequence, Sequence)>,
    pub(super) probes: Vec<Arc<str>>,
    pub(super) cancelled: Vec<AttemptId>,
    pub(super) given_up: Vec<AttemptId>,
    pub(super) forgotten: Vec<Arc<str>>,
    /// Scans that are out: whose, in which revision, after what.
    pub(super) scans: Vec<(SubscriptionId, u32, Position)>,
    /// The latest recall.
    pub(super) recalled: Option<u32>,
    pub(super) settings: Arc<Settings>,
    ids: u128,
}

impl Fixture {
    /// A fixture whose streams are treated as `settings` says, with `workers` workers.
    pub(super) fn new(settings: StreamSettings, workers: usize) -> Self {
        let default_stream = Arc::new(settings);
        Self::with(Settings { default_stream, ..Settings::default() }, workers)
    }

    /// The same, whose default pool is never in an outage.
    pub(super) fn without_outages(settings: StreamSettings, workers: usize) -> Self {
        let pool = PoolSettings { outage: OutageDetection::Off, ..PoolSettings::default() };
        let (default_stream, pools) = (Arc::new(settings), vec![("default".into(), pool)]);
        Self::with(Settings { default_stream, pools, ..Settings::default() }, workers)
    }

    pub(super) fn with(settings: Settings, workers: usize) -> Self {
        let settings = Arc::new(settings);
        let state = State::default();
        let mut fixture = Self {
            dispatcher: Dispatcher::new(Arc::clone(&settings), state, 1, BEGINNING),
            now: BEGINNING,
            dispatches: Vec::new(),
            deliveries: Vec::new(),
            records: Vec::new(),
            released: Vec::new(),
            replies: Vec::new(),
            notices: Vec::new(),
            fetches: Vec::new(),
            probes: Vec::new(),
            cancelled: Vec::new(),
            given_up: Vec::new(),
            forgotten: Vec::new(),
            scans: Vec::new(),
            recalled: None,
            settings,
            ids: 0,
        };
        fixture.listen();
        (0..workers).for_each(|number| fixture.join(&format!("w{number}")));
        fixture
    }

    /// The same records, folded by a new dispatcher.
    pub(super) fn restart(&mut self) {
        let mut state = State::default();
        for record in &self.records {
            state.apply(record, &self.settings, &mut Vec::new());
        }
        let settings = Arc::clone(&self.settings);
        self.dispatcher = Dispatcher::new(settings, state, 2, self.now);
        self.listen();
    }

    pub(super) fn join(&mut self, id: &str) {
        self.tell(Event::WorkerSeen {
            id: id.into(),
            pool: "default".into(),
            concurrency: None,
            beats: false,
        });
    }

    pub(super) fn tell(&mut self, event: Event) {
        self.dispatcher.handle(event, self.now);
        self.listen();
    }

    pub(super) fn listen(&mut self) {
        while let Some(effect) = self.dispatcher.poll_effect() {
            match effect {
                Effect::Append(record) => self.records.push(record),
                Effect::Cancel { attempt, .. } => self.cancelled.push(attempt),
                Effect::Cut => {}
                Effect::Forget { worker } => self.forgotten.push(worker),
                Effect::GiveUp { attempt, .. } => self.given_up.push(attempt),
                Effect::Deliver(delivery) => self.deliveries.push(delivery),
                Effect::Dispatch(dispatch) => self.dispatches.push(dispatch),
                Effect::Fetch { stream, first, last, .. } => {
                    self.fetches.push((stream, first, last));
                }
                Effect::Probe { worker } => self.probes.push(worker),
                Effect::Release(released) => self.released.push(released),
                Effect::Reply(_, reply) => self.replies.push(reply),
                Effect::Recall { revision, .. } => self.recalled = Some(revision),
                Effect::Scan { subscription, revision, after } => {
                    self.scans.push((subscription, revision, after));
                }
                Effect::Tell(notice) => self.notices.push(notice),
            }
        }
        self.dispatcher.verify(self.now).unwrap();
    }

    /// Lets time go by, with everything that falls due.
    pub(super) fn wait(&mut self, span: Duration) {
        let until = self.now + span;
        while let Some(at) = self.dispatcher.poll_timeout().filter(|at| *at <= until) {
            self.now = self.now.max(at);
            self.dispatcher.handle_timeout(self.now);
            self.listen();
        }
        self.now = until;
    }

    /// Lets time go by until something is dispatched.
    pub(super) fn wait_for_dispatch(&mut self) -> Dispatch {
        while self.dispatches.is_empty() {
            let at = self.dispatcher.poll_timeout().expect("something is still to come");
            self.wait(at.since(self.now));
        }
        self.dispatches.remove(0)
    }

    /// Sends messages in; the answer.
    pub(super) fn send(&mut self, stream: &str, keys: &[(&str, u8)]) -> Reply {
        let messages = keys.iter().map(|(key, content)| self.message(key, *content)).collect();
        let stream = name(stream);
        self.tell(Event::Arrived(Arrival { request: RequestId(1), stream, messages }));
        self.replies.pop().unwrap()
    }

    /// Sends `count` messages without keys in.
    pub(super) fn fill(&mut self, stream: &str, count: usize) {
        let reply = self.send(stream, &vec![("", 0); count]);
        assert!(matches!(reply, Reply::Accepted { .. }), "{reply:?}");
    }

    fn message(&mut self, key: &str, content: u8) -> Arc<Message> {
        self.ids += 1;
        let fingerprint = [content; 16];
        let key = (!key.is_empty()).then(|| Key { text: key.into(), fingerprint });
        Arc::new(Message {
            id: MessageId(Uuid::from_u128(self.ids)),
            key,
            content_type: "text/plain".into(),
            headers: Arc::default(),
            body: Bytes::from(format!("m{}", self.ids)),
        })
    }

    /// Reads back what was asked for.
    pub(super) fn fetch_all(&mut self) {
        while let Some((stream, first, last)) = self.fetches.pop() {
            let wanted = first..=last;
            let messages = self.records.iter().filter_map(|record| {
                let Record::Accepted { stream: of, sequence, at, message } = record else {
                    return None;
                };
                let wanted = *of == stream && wanted.contains(sequence);
                wanted.then(|| (*sequence, *at, Arc::clone(message)))
            });
            let messages = messages.collect();
            self.tell(Event::Fetched { at: (stream, first), messages });
        }
    }

    /// A worker answers.
    pub(super) fn answer(&mut self, attempt: AttemptId, status: u16) {
        self.answer_with(attempt, status, "result");
    }

    pub(super) fn answer_with(&mut self, attempt: AttemptId, status: u16, body: &'static str) {
        let (content_type, headers) = ("text/plain".into(), Box::default());
        let payload = Payload { content_type, headers, body: body.into() };
        let reply = WorkerReply::Answer {
            status,
            outcome: None,
            reason: "".into(),
            retry_after: None,
            payload,
        };
        self.tell(Event::AttemptEnded { attempt, reply });
    }

    pub(super) fn decide(&mut self, stream: &str, sequence: u64, decision: Decision) -> Reply {
        let (request, stream, sequence) = (RequestId(2), name(stream), Sequence(sequence));
        let by = "ann".into();
        let head = Some(MessageRef { id: MessageId(Uuid::nil()), accepted_at: Time::default() });
        self.tell(Event::Decided { request, stream, sequence, head, by, decision });
        self.replies.pop().unwrap()
    }

    pub(super) fn pause(&mut self, stream: &str) {
        self.wish(stream, Wish::Pause);
    }

    pub(super) fn resume(&mut self, stream: &str) {
        self.wish(stream, Wish::Resume);
    }

    fn wish(&mut self, stream: &str, wish: Wish) {
        let (request, stream) = (RequestId(3), name(stream));
        let (by, reason) = ("ann".into(), "because".into());
        self.tell(Event::StreamCommand { request, stream, by, reason, wish });
    }

    pub(super) fn subscribe(&mut self, subscription: &str) {
        let plan = Arc::new(SubscriptionSpec::new(Origin::Configuration, DeliveryMode::Push));
        let (name, settings) = (Box::<str>::from(subscription), Arc::make_mut(&mut self.settings));
        settings.subscriptions.push((name.clone(), Arc::clone(&plan)));
        self.tell(Event::Subscribe { request: None, name, plan });
    }

    /// Makes or changes a subscription over the API.
    pub(super) fn put(&mut self, subscription: &str, plan: SubscriptionSpec) -> SubscriptionReply {
        let (request, name) = (Some((RequestId(4), "ann".into())), subscription.into());
        self.tell(Event::Subscribe { request, name, plan: Arc::new(plan) });
        self.subscription_reply()
    }

    pub(super) fn delete(&mut self, subscription: &str) -> SubscriptionReply {
        let (request, name) = (Some((RequestId(4), "ann".into())), subscription.into());
        self.tell(Event::Unsubscribe { request, name });
        self.subscription_reply()
    }

    pub(super) fn say(&mut self, subscription: &str, order: Order) -> SubscriptionReply {
        let (request, name) = (RequestId(4), subscription.into());
        let by = "ann".into();
        self.tell(Event::SubscriptionCommand { request, name, by, order });
        self.subscription_reply()
    }

    fn subscription_reply(&mut self) -> SubscriptionReply {
        match self.replies.pop() {
            Some(Reply::Subscription(reply)) => reply,
            other => panic!("{other:?} is no answer about a subscription"),
        }
    }

    /// Does one scan, over `count` positions.
    pub(super) fn scan(&mut self, count: usize) {
        let (subscription, revision, after) = self.scans.remove(0);
        let wants = self.dispatcher.wanted_by(subscription);
        let behind = self.released.iter().filter(|released| released.position > after).copied();
        let mut found: Vec<SequenceRange> = Vec::new();
        let mut to = after;
        for Released { position, stream, sequence, .. } in behind.take(count).collect::<Vec<_>>() {
            to = position;
            if !wants(self.dispatcher.state().stream_name(stream).unwrap()) {
                continue;
            }
            match found.iter_mut().find(|run| run.stream == stream) {
                Some(run) => run.last = sequence,
                None => {
                    found.push(SequenceRange { stream, first: sequence, position, last: sequence });
                }
            }
        }
        self.tell(Event::Scanned { subscription, revision, to, found });
    }

    pub(super) fn refuse(&mut self, delivery: &Delivery, refusal: Refusal) {
        let (subscription, stream) = (delivery.subscription, delivery.stream);
        self.tell(Event::Undelivered { subscription, stream, refusal, detail: "no".into() });
    }

    pub(super) fn take(&mut self, delivery: &Delivery, through: u64) {
        let (subscription, stream) = (delivery.subscription, delivery.stream);
        let (through, floor) = (Sequence(through), Position(through + 1));
        self.tell(Event::Delivered { more: false, subscription, stream, through, floor });
    }

    /// The sequences that are released, in order.
    pub(super) fn order(&self) -> Vec<u64> {
        self.released.iter().map(|released| released.sequence.0).collect()
    }

    pub(super) fn first_subscription(&self) -> SubscriptionId {
        self.dispatcher.state().subscription_names().next().unwrap().0
    }
}

pub(super) fn name(text: &str) -> StreamName {
    text.parse().unwrap()
}

pub(super) fn secs(count: u64) -> Duration {
    Duration::from_secs(count)
}

pub(super) fn ms(count: u64) -> Duration {
    Duration::from_millis(count)
}

pub(super) fn parked(fixture: &Fixture) -> usize {
    fixture.dispatcher.parked().count()
}
