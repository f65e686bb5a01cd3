//! Delivery: a stream's results go out one after the other, for as long as the destination takes
//! them; its dispatcher is told how far it came, and where it stopped.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use arc_swap::ArcSwap;
use rollcall_common::{
    http::{AddressPolicy, Route, Trust},
    ids::{Epoch, StreamId},
    net::Network,
    shutdown::Shutdown,
    task,
    time::Clock,
};
use tokio::sync::Semaphore;

use super::{
    destination::{Destination, DestinationSettings},
    runtime::DeliveryRuntime,
    sender::Sender,
};
use crate::{
    dispatcher::Delivery,
    driver::Handle,
    record::{Origin, SubscriptionId, SubscriptionSpec},
    secrets::{Kept, Secrets},
    views::Views,
};

/// Destinations of the configuration, by subscription.
pub type Destinations = BTreeMap<Arc<str>, Arc<Destination>>;

/// Delivers.
#[derive(Debug)]
pub struct Forwarder {
    /// Destinations of the configuration, by subscription.
    pub destinations: ArcSwap<Destinations>,
    /// Those that were made over the API.
    pub made: ApiDestinations,
    /// The senders that are out.
    pub out: ActiveSenders,
    /// Where results are.
    pub views: Arc<Views>,
    /// Who may read them from the disk: more at once would be no faster, and each of them takes a
    /// thread with memory of its own.
    pub reads: Semaphore,
    /// Who carries results that go out one by one.
    pub runtime: DeliveryRuntime,
    /// Where it is told how far a stream is.
    pub handle: Handle,
    /// The epoch of this supervisor.
    pub epoch: Epoch,
    /// The time.
    pub clock: Clock,
    /// No new request while the process drains.
    pub shutdown: Shutdown,
}

/// Destinations that were made over the API, out of their plans and their secrets.
#[derive(Debug)]
pub struct ApiDestinations {
    secrets: Arc<Secrets>,
    guard: Arc<AddressPolicy>,
    trust: Option<Trust>,
    network: Network,
    present: Mutex<BTreeMap<SubscriptionId, Arc<Destination>>>,
}

/// The senders that are out, one for a subscription's stream, each with the revision of the
/// subscription in which it set out. One that is no longer in here has been called back.
#[derive(Debug, Default)]
pub struct ActiveSenders(Mutex<BTreeMap<(SubscriptionId, StreamId), u32>>);

impl Forwarder {
    /// Delivers what it can of a stream. It does not block; the dispatcher is told.
    pub fn deliver(self: &Arc<Self>, delivery: Delivery) {
        let forwarder = Arc::clone(self);
        let destination = match delivery.plan.origin {
            Origin::Api => Some(self.made.of(&delivery)),
            Origin::Configuration => self.destinations.load().get(&delivery.name).cloned(),
            Origin::Unconfigured => None,
        };
        self.out.leave(&delivery);
        let alone = destination.as_ref().is_some_and(|destination| destination.piece() == 1);
        let one_by_one = alone && delivery.batching.is_none();
        let trip = async move {
            let mut trip = Sender::new(&forwarder, delivery);
            let event = trip.run(destination).await;
            forwarder.out.come_back(trip.delivery());
            // Err: the driver has ended; the next start delivers again.
            let _ = forwarder.handle.send(event).await;
        };
        if one_by_one {
            self.runtime.spawn("delivery", trip);
        } else {
            task::spawn("delivery", trip);
        }
    }

    /// Calls back the senders of a subscription that set out before `revision`. They finish what is
    /// under way.
    pub fn recall(&self, subscription: SubscriptionId, revision: u32) {
        self.made.lock().remove(&subscription);
        self.out.recall(subscription, revision);
    }

    /// Closes connections that have been idle for too long.
    pub fn sweep(&self) {
        self.destinations.load().values().for_each(|destination| destination.sweep());
        self.made.lock().values().for_each(|destination| destination.sweep());
    }
}

impl ApiDestinations {
    /// None yet. They have these secrets, may be where the guard lets them be, and are believed by
    /// `trust` where they speak TLS (without it: by the public authorities).
    #[must_use]
    pub fn new(
        secrets: Arc<Secrets>,
        (network, guard): (Network, Arc<AddressPolicy>),
        trust: Option<Trust>,
    ) -> Self {
        Self { secrets, guard, trust, network, present: Mutex::default() }
    }

    fn of(&self, delivery: &Delivery) -> Arc<Destination> {
        let Kept { secrets, headers } = self.secrets.of(&delivery.name);
        let mut present = self.lock();
        let known = present.get(&delivery.subscription);
        let same = |known: &&Arc<Destination>| known.secrets == secrets && known.headers == headers;
        if let Some(known) = known.filter(same) {
            return Arc::clone(known);
        }
        let plan = &*delivery.plan;
        let settings = DestinationSettings { secrets, headers, ..DestinationSettings::from(plan) };
        let route = Route::Guarded(Arc::clone(&self.guard));
        let made =
            Arc::new(Destination::new(&settings, (&self.network, &route), self.trust.as_ref()));
        present.insert(delivery.subscription, Arc::clone(&made));
        made
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<SubscriptionId, Arc<Destination>>> {
        self.present.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl From<&SubscriptionSpec> for DestinationSettings {
    fn from(plan: &SubscriptionSpec) -> Self {
        Self {
            // They were read when they were taken in.
            addresses: plan.urls.iter().filter_map(|url| url.parse().ok()).collect(),
            secrets: Vec::new(),
            headers: Vec::new(),
            batch: usize::try_from(plan.batch).unwrap_or(usize::MAX),
            timeout: plan.timeout,
            replay_rate: plan.replay_rate,
        }
    }
}

impl ActiveSenders {
    fn leave(&self, delivery: &Delivery) {
        self.lock().insert((delivery.subscription, delivery.stream), delivery.revision);
    }

    fn come_back(&self, delivery: &Delivery) {
        if self.has(delivery) {
            self.lock().remove(&(delivery.subscription, delivery.stream));
        }
    }

    /// Whether a sender has not been called back.
    pub(super) fn has(&self, delivery: &Delivery) -> bool {
        let place = (delivery.subscription, delivery.stream);
        self.lock().get(&place) == Some(&delivery.revision)
    }

    fn recall(&self, subscription: SubscriptionId, revision: u32) {
        self.lock().retain(|(other, _), set_out| *other != subscription || *set_out == revision);
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<(SubscriptionId, StreamId), u32>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
