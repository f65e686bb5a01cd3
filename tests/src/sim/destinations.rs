//! Destinations, and the senders that bring results to them.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use rollcall_common::ids::{Position, Sequence, StreamId};
use rollcall_supervisor::{
    dispatcher::{Delivery, Event, Part, Refusal},
    record::{Outcome, SubscriptionId},
    views::ReleasedResult,
};

use super::{
    api_subscriptions::known_as,
    beside,
    configuration::Entry,
    coverage::Something,
    receiver::{Parcelled, Receiver},
    scenario::{DestinationFaults, SubscriptionPlan},
    world::{Halt, Step, What, World},
};
use crate::oracle::{self, DeliverySeen, Invariant, ResultSeen, Seen, Violation};

/// A destination.
#[derive(Debug)]
pub(super) struct Destination {
    pub(super) plan: SubscriptionPlan,
    /// How it stands in the configuration.
    pub(super) entry: Entry,
    /// Whether it is down, until it is tossed again.
    down: bool,
    given: BTreeSet<(Arc<str>, u64)>,
    /// What a careful receiver makes of it.
    receiver: Receiver,
}

/// A sender's way: what it has yet to bring, and what it carries.
#[derive(Debug)]
pub(super) struct Parcel {
    process: u32,
    delivery: Delivery,
    index: usize,
    carried: Vec<(ReleasedResult, u64)>,
    /// The last that was read.
    read: Sequence,
    /// The last that is done.
    through: Sequence,
    /// The last that the dispatcher knows to be done.
    reported: Sequence,
}

impl Destination {
    fn new(plan: SubscriptionPlan) -> Self {
        let (given, receiver) = (BTreeSet::new(), Receiver::default());
        Self { plan, entry: Entry::Never, down: false, given, receiver }
    }
}

impl World {
    pub(super) fn plan_destinations(&mut self) {
        for (index, plan) in self.scenario.subscriptions.clone().into_iter().enumerate() {
            self.after(plan.at, What::Subscribe(index));
            self.destinations.push(Destination::new(plan));
        }
        self.destinations.push(Destination::new(Self::guest_destination()));
    }

    /// A sender sets out.
    pub(super) fn deliver(&mut self, delivery: Delivery) {
        let mut all = self.destinations.iter();
        let Some(index) = all.position(|one| one.plan.name == delivery.name) else {
            return;
        };
        let done = Sequence(delivery.first.0 - 1);
        let parcel = Parcel {
            process: self.incarnation,
            delivery,
            index,
            carried: Vec::new(),
            read: done,
            through: done,
            reported: done,
        };
        let hop = self.hop();
        self.after(hop, What::Push(self.incarnation, Box::new(parcel)));
    }

    /// A sender reads what is next, and brings it.
    pub(super) fn push(&mut self, process: u32, mut parcel: Parcel) -> Step {
        if process != self.incarnation {
            return Ok(());
        }
        let Some(server) = &self.server else {
            return Ok(());
        };
        let recalled = server.recalled.get(&parcel.delivery.subscription);
        if recalled.is_some_and(|revision| *revision != parcel.delivery.revision) {
            self.note(Something::Recalled);
            self.report(&mut parcel, false);
            return Ok(());
        }
        let stream = parcel.delivery.stream;
        let results = self.read_for(&parcel)?;
        let Some(server) = &self.server else {
            return Ok(());
        };
        let over = parcel.delivery.batching.is_some_and(|all| parcel.through >= all.through);
        if results.is_empty() {
            if parcel.through < parcel.delivery.first && !over {
                return Err(unreadable(&format!("{:?} is not there", parcel.delivery)));
            }
            self.report(&mut parcel, false);
            return Ok(());
        }
        let mut carried = Vec::new();
        for result in results {
            parcel.read = result.sequence;
            let mut previous = server.views.previous(stream, result.sequence);
            while parcel.delivery.passes_over(previous) {
                previous = server.views.previous(stream, previous);
            }
            carried.push((result, previous.0));
        }
        for (result, _) in &carried {
            self.see_result(result)?;
        }
        carried.retain(|(result, _)| {
            let passed_over = parcel.delivery.passes_over(result.sequence);
            result.answer.outcome != Outcome::Skipped && !passed_over
        });
        parcel.carried = carried;
        if parcel.carried.is_empty() {
            parcel.through = parcel.read;
            self.go_on(process, parcel);
            return Ok(());
        }
        let slow = self.scenario.faults.destination.slow;
        let most = if slow { 3_000 } else { 20 };
        let span = self.within(Duration::from_millis(most)) + self.hop();
        self.after(span, What::AtDestination(process, Box::new(parcel)));
        Ok(())
    }

    /// Reads what makes the next request, a little at a time.
    fn read_for(&self, parcel: &Parcel) -> Result<Vec<ReleasedResult>, Halt> {
        let Some(server) = &self.server else {
            return Ok(Vec::new());
        };
        let Delivery { stream, batching, .. } = parcel.delivery;
        let read = |after, limit| {
            let read = server.views.stream_results(stream, after, limit, 1 << 20);
            read.map_err(|error| unreadable(&error))
        };
        if batching.is_none() {
            return read(parcel.through, 1);
        }
        let mut results = read(parcel.through, 2)?;
        loop {
            let parts = results.iter().map(|result| Part {
                sequence: result.sequence,
                position: result.position,
                bytes: result.answer.payload.body.len(),
            });
            if let Some(count) = parcel.delivery.request(parts) {
                results.truncate(count);
                return Ok(results);
            }
            let last = results.last().map_or(parcel.through, |result| result.sequence);
            if batching.is_some_and(|batching| last >= batching.through) {
                return Ok(Vec::new());
            }
            let more = read(last, 2)?;
            if more.is_empty() {
                return Err(unreadable(&format!("{:?} ends at {last}", parcel.delivery)));
            }
            results.extend(more);
        }
    }

    /// A sender goes on along its stream, or has done enough.
    fn go_on(&mut self, process: u32, mut parcel: Parcel) {
        if !self.destinations[parcel.index].plan.more || self.rng.u8(..8) == 0 {
            self.report(&mut parcel, false);
            return;
        }
        self.note(Something::StreamMore);
        if self.rng.bool() {
            self.report(&mut parcel, true);
        }
        self.after(Duration::from_micros(10), What::Push(process, Box::new(parcel)));
    }

    /// Tells the supervisor that all up to here is done.
    fn report(&mut self, parcel: &mut Parcel, more: bool) {
        let Some(server) = &self.server else { return };
        if more && parcel.through == parcel.reported {
            return;
        }
        parcel.reported = parcel.through;
        let (stream, through) = (parcel.delivery.stream, parcel.through);
        let head = *server.views.head().borrow();
        let next = server.views.position(stream, through.next());
        let event = Event::Delivered {
            more,
            subscription: parcel.delivery.subscription,
            stream,
            through,
            floor: next.unwrap_or_else(|| head.next()),
        };
        self.hear(self.incarnation, event);
    }

    /// A request reaches its destination. (It may do so after the process that sent it has
    /// ended; then nobody hears the answer.)
    pub(super) fn at_destination(&mut self, process: u32, mut parcel: Parcel) -> Step {
        let faults = self.scenario.faults.destination.clone();
        let refusal = self.draw_refusal(parcel.index, &faults);
        let partly = refusal.is_some() && self.happens(faults.partly);
        let taken = match (&refusal, partly) {
            (None, _) => parcel.carried.len(),
            (Some(_), true) => self.rng.usize(..parcel.carried.len()),
            (Some(_), false) => 0,
        };
        for (result, previous) in parcel.carried.iter().take(taken) {
            self.arrives_there(&parcel, result, *previous)?;
        }
        self.is_received(process, &parcel, taken)?;
        if process != self.incarnation {
            return Ok(());
        }
        let lost = self.happens(faults.lost);
        let (subscription, stream) = (parcel.delivery.subscription, parcel.delivery.stream);
        let refusal = match refusal {
            Some(refusal) if !lost => {
                if taken > 0 {
                    self.note(Something::PartlyTaken);
                    parcel.through = Sequence(parcel.carried[taken].0.sequence.0 - 1);
                }
                refusal
            }
            None if !lost => {
                parcel.through = parcel.read;
                self.go_on(process, parcel);
                return Ok(());
            }
            _ => Refusal::Failed,
        };
        self.report(&mut parcel, true);
        if self.is_in_outage(subscription) {
            self.note(Something::OutageOfDestination);
        }
        let detail = format!("{refusal:?}").into();
        self.tell_after(
            Duration::from_millis(1),
            Event::Undelivered { subscription, stream, refusal, detail },
        );
        Ok(())
    }

    /// A careful receiver gets it. What a process sends that has ended it knows by its epoch.
    fn is_received(&mut self, process: u32, parcel: &Parcel, taken: usize) -> Step {
        let Some((first, _)) = parcel.carried.first().filter(|_| process == self.incarnation)
        else {
            return Ok(());
        };
        let delivery = &parcel.delivery;
        let stream = Arc::from(first.stream.as_str());
        let content: Vec<u64> = parcel.carried.iter().map(|(one, _)| one.sequence.0).collect();
        let key = match delivery.batching {
            Some(_) => format!("{:?}-{:?}", content.first(), content.last()),
            None => first.answer.head.id.to_string(),
        };
        let request = Parcelled {
            whose: (delivery.subscription.0, delivery.generation, stream),
            key,
            content,
            taken,
            recut: !delivery.passed_over.is_empty(),
        };
        if self.destinations[parcel.index].receiver.take(request)? {
            self.note(Something::BatchAgain);
        }
        Ok(())
    }

    fn draw_refusal(&mut self, index: usize, faults: &DestinationFaults) -> Option<Refusal> {
        if faults.down && self.rng.u8(..20) == 0 {
            let down = &mut self.destinations[index].down;
            *down = !*down;
        }
        let retry_after = self
            .rng
            .bool()
            .then(|| Duration::from_secs([0, 1, 30, 1_000_000][self.rng.usize(..4)]));
        if faults.down && self.destinations[index].down {
            self.note(Something::Away);
            Some(Refusal::Away { retry_after: None })
        } else if self.happens(faults.error) {
            Some(Refusal::Failed)
        } else if self.happens(faults.busy) {
            Some(Refusal::Away { retry_after })
        } else if self.happens(faults.reject) {
            Some(Refusal::Rejected)
        } else if self.happens(faults.gone) {
            self.note(Something::Gone);
            Some(Refusal::Gone)
        } else {
            None
        }
    }

    fn arrives_there(&mut self, parcel: &Parcel, result: &ReleasedResult, previous: u64) -> Step {
        let place = (Arc::from(result.stream.as_str()), result.sequence.0);
        let destination = &mut self.destinations[parcel.index];
        let subscription = known_as(&destination.plan.name, parcel.delivery.subscription);
        let position = result.position;
        if !destination.given.insert(place.clone()) {
            self.note(Something::Redelivered);
        }
        self.tell(format_args!("{subscription} is given {place:?} at {position}"));
        self.see(Seen::Delivered(DeliverySeen {
            subscription,
            place,
            previous,
            position: position.0,
            id: result.answer.head.id.0.as_u128(),
            body: beside::of_payload(&result.answer.payload),
            replay: position <= parcel.delivery.replay_until,
            epoch: parcel.process.into(),
            revision: parcel.delivery.revision,
            generation: parcel.delivery.generation,
        }))?;
        Ok(())
    }

    /// A reader of the feed sees a result.
    pub(super) fn see_result(&mut self, result: &ReleasedResult) -> Result<(), Violation> {
        let outcome = match result.answer.outcome {
            Outcome::Completed => oracle::Outcome::Completed,
            Outcome::Resolved => oracle::Outcome::Resolved,
            Outcome::Skipped => oracle::Outcome::Skipped,
        };
        let place = (Arc::from(result.stream.as_str()), result.sequence.0);
        if !result.answer.payload.headers.is_empty() {
            self.note(Something::WithHeaders);
        }
        let modelled = self.model.position(&place);
        if modelled != Some(result.position.0) {
            let detail = format!("{place:?} is at {}, the model has {modelled:?}", result.position);
            return Err(Violation { invariant: Invariant::I4, detail });
        }
        self.see(Seen::Released {
            place,
            result: ResultSeen {
                position: result.position.0,
                id: result.answer.head.id.0.as_u128(),
                outcome,
                body: beside::of_payload(&result.answer.payload),
            },
        })
    }

    /// A reader of the feed reads all of it.
    pub(super) fn read_all_results(&mut self) -> Step {
        let first = self.server.as_ref().map_or(Position(1), |server| server.views.first());
        let mut after = Position(first.0 - 1);
        while let Some(server) = &self.server {
            let read = server.views.results(after, 50, 4_000);
            let results = read.map_err(|error| unreadable(&error))?;
            let Some(last) = results.last() else { break };
            after = last.position;
            for result in &results {
                self.see_result(result)?;
            }
        }
        Ok(())
    }

    fn is_in_outage(&self, subscription: SubscriptionId) -> bool {
        let dispatcher = self.server.as_ref().map(|server| server.engine.dispatcher());
        let status = dispatcher.and_then(|all| all.subscription_status(subscription));
        status.is_some_and(|status| status.outage)
    }

    /// A subscription that has not reached the head.
    pub(super) fn lagging(&self) -> Option<String> {
        let server = self.server.as_ref()?;
        let dispatcher = server.engine.dispatcher();
        let head = dispatcher.state().head();
        let mut all = dispatcher.state().subscription_names();
        all.find_map(|(id, name)| {
            let status = dispatcher.subscription_status(id)?;
            (status.checkpoint != head).then(|| format!("{name} lags behind {head}: {status:?}"))
        })
    }

    /// How a stream stands.
    pub(super) fn standing(&self, stream: StreamId) -> Option<String> {
        let server = self.server.as_ref()?;
        let status = server.engine.dispatcher().stream_status(stream);
        (status.released.next() < status.next).then(|| format!("{stream:?} stands: {status:?}"))
    }
}

pub(super) fn unreadable(detail: &impl ToString) -> Halt {
    Halt::Violation(Violation { invariant: Invariant::I1, detail: detail.to_string() })
}
