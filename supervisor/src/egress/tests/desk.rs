//! What a delivery stands on: results that are released, a forwarder, and what it tells.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use arc_swap::ArcSwap;
use bytes::Bytes;
use rollcall_common::{
    http::Route,
    ids::{Epoch, MessageId, Position, Sequence, StreamId},
    message::Payload,
    net::Network,
    shutdown::{Shutdown, Trigger},
    time::{Clock, Time},
};
use tokio::{sync::Semaphore, time::sleep};
use uuid::Uuid;

use super::super::{
    destination::{Destination, DestinationSettings},
    forwarder::{ActiveSenders, ApiDestinations, Forwarder},
    runtime::DeliveryRuntime,
};
use crate::{
    dispatcher::{Delivery, Event, Released},
    driver::{Handle, Mailbox},
    journal::{Journal as _, memory::MemoryJournal},
    record::{
        Answer, DeliveryMode, MessageRef, Origin, Outcome, Record, SubscriptionId,
        SubscriptionSpec, codec::Encoder,
    },
    secrets::Secrets,
    views::{Change, Views},
};

pub(super) const STREAM: StreamId = StreamId(0);
pub(super) const SUBSCRIPTION: SubscriptionId = SubscriptionId(3);
const NAME: &str = "shop";

/// A forwarder with one destination, and results of one stream.
pub(super) struct Desk {
    pub(super) forwarder: Arc<Forwarder>,
    pub(super) mailbox: Mailbox,
    pub(super) trigger: Trigger,
    pub(super) clock: Clock,
    journal: Arc<MemoryJournal>,
    /// Results that are released.
    released: AtomicU64,
}

impl Desk {
    /// One whose destination is at this address, and has so much time for each request.
    pub(super) fn set(network: &Network, address: &str, timeout: Duration) -> Self {
        let clock = Clock::start(Time::default());
        let settings = DestinationSettings {
            addresses: vec![address.parse().unwrap()],
            secrets: Vec::new(),
            headers: Vec::new(),
            batch: 1,
            timeout,
            replay_rate: 0,
        };
        let destination = Destination::new(&settings, (network, &Route::Open), None);
        let secrets = Arc::new(Secrets::open(None).unwrap());
        let (handle, mailbox) = Handle::new();
        let (trigger, shutdown) = Shutdown::new();
        let journal = Arc::new(MemoryJournal::new());
        let views = Arc::new(Views::new(journal.clone()));
        let forwarder = Arc::new(Forwarder {
            destinations: ArcSwap::from_pointee([(NAME.into(), Arc::new(destination))].into()),
            made: ApiDestinations::new(secrets, (network.clone(), Arc::default()), None),
            out: ActiveSenders::default(),
            views,
            reads: Semaphore::new(1),
            runtime: DeliveryRuntime::none(),
            handle,
            epoch: Epoch::FIRST,
            clock,
            shutdown,
        });
        let released = AtomicU64::new(0);
        Self { forwarder, mailbox, trigger, clock, journal, released }
    }

    /// Releases results with these bodies, one after the other; `None`: it was skipped.
    pub(super) fn release(&self, bodies: impl Iterator<Item = Option<Bytes>>) {
        let opened = Change::Opened { stream: STREAM, name: "orders".parse().unwrap() };
        let is_first = self.released.load(Ordering::Relaxed) == 0;
        let mut encoder = Encoder::default();
        let mut changes: Vec<_> = is_first.then_some(opened).into_iter().collect();
        for body in bodies {
            let sequence = self.released.fetch_add(1, Ordering::Relaxed) + 1;
            let (skipped, at) = (body.is_none(), Time::from_micros(sequence));
            let answer = Arc::new(Answer {
                head: MessageRef { id: id(sequence), accepted_at: at },
                outcome: if skipped { Outcome::Skipped } else { Outcome::Completed },
                worker: "w".into(),
                reason: "".into(),
                history: Vec::new(),
                attempts: 1,
                payload: Payload {
                    content_type: "text/plain".into(),
                    headers: Box::default(),
                    body: body.unwrap_or_default(),
                },
            });
            let (position, sequence, stream) = (Position(sequence), Sequence(sequence), STREAM);
            let record = Record::Answered { stream, sequence, at, answer };
            let index = encoder.push(&record);
            changes.extend(Change::of(record, index));
            changes.push(Change::Released(Released { position, stream, sequence, at, skipped }));
        }
        let ticket = self.journal.append(encoder.finish(), Epoch::FIRST).unwrap();
        self.forwarder.views.publish(ticket.0, changes);
    }

    /// Nothing is told any more, and no task is left.
    pub(super) async fn end(mut self) {
        drop(self.forwarder);
        sleep(Duration::from_secs(20)).await;
        assert!(self.mailbox.told().is_empty());
        let tasks = tokio::runtime::Handle::current().metrics().num_alive_tasks();
        assert_eq!(tasks, 0, "somebody is left");
    }
}

/// The first delivery of all that is there, one by one.
pub(super) fn delivery() -> Delivery {
    Delivery {
        subscription: SUBSCRIPTION,
        name: NAME.into(),
        plan: Arc::new(SubscriptionSpec::new(Origin::Configuration, DeliveryMode::Push)),
        revision: 1,
        stream: STREAM,
        first: Sequence(1),
        last: Sequence(1),
        attempt: 1,
        replay_until: Position(0),
        batching: None,
        passed_over: Box::default(),
        generation: 2,
    }
}

/// Whether a sender says nothing more.
pub(super) fn is_last(event: &Event) -> bool {
    matches!(event, Event::Delivered { more: false, .. } | Event::Undelivered { .. })
}

pub(super) fn id(sequence: u64) -> MessageId {
    MessageId(Uuid::from_u128(u128::from(sequence)))
}

/// The body of a result, of at least so many bytes.
pub(super) fn body(sequence: u64, size: usize) -> Bytes {
    let text = format!("result {sequence};");
    text.bytes().cycle().take(text.len().max(size)).collect()
}
