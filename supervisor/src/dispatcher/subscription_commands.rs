//! Subscriptions, as people and the configuration want them: made, changed, removed, paused,
//! rewound.

use std::{collections::BTreeSet, sync::Arc};

use rollcall_common::{
    ids::{Position, Sequence, StreamId, StreamName},
    limits::{DELIVERY_BYTES, SUBSCRIPTIONS},
    time::Time,
};

use super::{
    Dispatcher,
    cursor::CursorState,
    effect::{Effect, Reply, SubscriptionReply},
    event::{Order, RequestId},
    timers::Timer,
};
use crate::record::{
    Batching, DeliveryMode, Gap, Origin, PauseReason, Record, Start, SubscriptionId,
    SubscriptionSpec,
};

/// Results of a stream that a destination may have taken, one by one, and of which it has not been
/// told yet; and some more.
const UNREPORTED: u64 = 1023;

impl Dispatcher {
    /// Makes or changes a subscription. What the API made, the configuration may take over; not
    /// the other way round.
    pub(super) fn subscribe(
        &mut self,
        asked: Option<&(RequestId, Box<str>)>,
        name: &str,
        plan: Arc<SubscriptionSpec>,
        now: Time,
    ) {
        let request = asked.map(|(request, _)| *request);
        let known = self.state.find_subscription(name);
        let entry = known.and_then(|id| self.state.subscriptions.get(&id));
        let news = entry.is_none_or(|entry| entry.plan != plan);
        let reply = match known {
            Some(id) => self.rearrange(id, plan, request),
            None => self.create(name.into(), plan, request),
        };
        if let Some((_, by)) = asked.filter(|_| news) {
            self.audit_about((by, "subscribe"), (name, ""), reply, now);
        }
        self.answer_about(request, reply);
    }

    /// Brings the subscriptions in step with those that the configuration names. Those of the API
    /// stay as they are. One that the configuration no longer names stands still where it is: a
    /// mistake in a file must not throw away how far its destination has come.
    pub(super) fn adopt_subscriptions(
        &mut self,
        wanted: &[(Box<str>, Arc<SubscriptionSpec>)],
        now: Time,
    ) {
        let names: BTreeSet<&str> = wanted.iter().map(|(name, _)| &**name).collect();
        let dropped = self.state.subscriptions.iter().filter(|(_, entry)| {
            entry.plan.origin == Origin::Configuration && !names.contains(&*entry.name)
        });
        let dropped: Vec<_> =
            dropped.map(|(id, entry)| (*id, SubscriptionSpec::clone(&entry.plan))).collect();
        for (id, plan) in dropped {
            let plan = Arc::new(SubscriptionSpec { origin: Origin::Unconfigured, ..plan });
            self.rearrange(id, plan, None);
        }
        for (name, plan) in wanted {
            self.subscribe(None, name, Arc::clone(plan), now);
        }
    }

    fn create(
        &mut self,
        name: Box<str>,
        plan: Arc<SubscriptionSpec>,
        request: Option<RequestId>,
    ) -> SubscriptionReply {
        let head = self.state.head;
        let after = match plan.start {
            Start::After(position) if position > head && request.is_some() => {
                return SubscriptionReply::Beyond(head);
            }
            Start::After(position) => position.clamp(self.state.floor, head),
            Start::Live => head,
        };
        if request.is_some() && self.state.subscriptions.len() >= SUBSCRIPTIONS {
            return SubscriptionReply::TooMany;
        }
        let subscription = self.state.next_subscription();
        let streams = plan.streams.clone();
        self.commit(Record::Subscribed { subscription, name, streams, after });
        self.commit(Record::SubscriptionConfigured { subscription, plan });
        self.continue_scan(subscription);
        SubscriptionReply::Created
    }

    fn rearrange(
        &mut self,
        id: SubscriptionId,
        plan: Arc<SubscriptionSpec>,
        request: Option<RequestId>,
    ) -> SubscriptionReply {
        let Some(entry) = self.state.subscriptions.get(&id) else {
            return SubscriptionReply::Unknown;
        };
        if request.is_some() && entry.plan.origin == Origin::Configuration {
            return SubscriptionReply::Configured;
        }
        if entry.plan != plan {
            if plan.is_batched() && !entry.plan.is_batched() {
                self.fix_singles(id);
            }
            self.wake_cursors(id);
            self.commit(Record::SubscriptionConfigured { subscription: id, plan });
            self.set_out_again(id);
        }
        SubscriptionReply::Done
    }

    /// Results are to travel together from now on. What may have gone out by itself already goes
    /// out by itself again: a result keeps its key.
    fn fix_singles(&mut self, id: SubscriptionId) {
        let entry = self.state.subscriptions.get(&id);
        let cursors = entry.into_iter().flat_map(|entry| &entry.cursors);
        let open = cursors.filter(|(_, cursor)| cursor.batching.is_none() && !cursor.is_empty());
        let open: Vec<_> = open
            .map(|(stream, cursor)| {
                let furthest = Sequence(cursor.next.0.saturating_add(UNREPORTED));
                (*stream, cursor.last.min(furthest))
            })
            .collect();
        for (stream, through) in open {
            let batching = Batching { through, results: 1, bytes: DELIVERY_BYTES };
            self.commit(Record::Batched { subscription: id, stream, batching });
            self.cut();
        }
    }

    pub(super) fn unsubscribe(
        &mut self,
        asked: Option<&(RequestId, Box<str>)>,
        name: &str,
        now: Time,
    ) {
        let request = asked.map(|(request, _)| *request);
        let found = self.state.find_subscription(name);
        let entry = found.and_then(|id| Some((id, self.state.subscriptions.get(&id)?)));
        let reply = match entry {
            None => SubscriptionReply::Unknown,
            Some((_, entry)) if request.is_some() && entry.plan.origin == Origin::Configuration => {
                SubscriptionReply::Configured
            }
            Some((subscription, entry)) => {
                let revision = entry.revision.wrapping_add(1);
                self.wake_cursors(subscription);
                self.commit(Record::Unsubscribed { subscription });
                self.effects.push_back(Effect::Recall { subscription, revision });
                SubscriptionReply::Done
            }
        };
        if let Some((_, by)) = asked {
            self.audit_about((by, "unsubscribe"), (name, ""), reply, now);
        }
        self.answer_about(request, reply);
    }

    /// Does what a person wants of a subscription.
    pub(super) fn ordered(
        &mut self,
        request: RequestId,
        (name, by): (&str, &str),
        order: Order,
        now: Time,
    ) {
        let (act, about, reason) = match &order {
            Order::Checkpoint(_) => (None, name.to_owned(), Box::default()),
            Order::Pause => (Some("pause"), name.to_owned(), Box::default()),
            Order::Resume => (Some("resume"), name.to_owned(), Box::default()),
            Order::Rewind(to) => (Some("rewind"), format!("{name} to {to}"), Box::default()),
            Order::Skip { stream, sequence, reason } => {
                (Some("skip"), format!("{name} {stream}/{sequence}"), reason.clone())
            }
        };
        let reply = match self.state.find_subscription(name) {
            None => SubscriptionReply::Unknown,
            Some(id) => match order {
                Order::Checkpoint(to) => self.checkpoint(id, to),
                Order::Pause => {
                    self.pause_subscription(id, PauseReason::Person, now);
                    SubscriptionReply::Done
                }
                Order::Resume if self.is_unconfigured(id) => SubscriptionReply::Unconfigured,
                Order::Resume => {
                    self.resume_subscription(id, now);
                    SubscriptionReply::Done
                }
                Order::Rewind(to) => self.rewind(id, to),
                Order::Skip { stream, sequence, .. } => {
                    self.pass_over(id, (&stream, sequence), now)
                }
            },
        };
        if let Some(act) = act {
            self.audit_about((by, act), (&about, &reason), reply, now);
        }
        self.answer_about(Some(request), reply);
    }

    /// A reader's late word on an earlier position changes nothing: going back is rewinding.
    fn checkpoint(&mut self, subscription: SubscriptionId, to: Position) -> SubscriptionReply {
        let head = self.state.head;
        let Some(entry) = self.state.subscriptions.get(&subscription) else {
            return SubscriptionReply::Unknown;
        };
        if entry.plan.way != DeliveryMode::Pull {
            return SubscriptionReply::NotPull;
        }
        if to > head {
            return SubscriptionReply::Beyond(head);
        }
        if to > entry.checkpoint(head) {
            self.commit(Record::Checkpointed { subscription, to });
        }
        SubscriptionReply::Done
    }

    fn rewind(&mut self, subscription: SubscriptionId, to: Position) -> SubscriptionReply {
        if to > self.state.head {
            return SubscriptionReply::Beyond(self.state.head);
        }
        // What is no longer kept can't come again.
        let to = to.max(self.state.floor);
        self.wake_cursors(subscription);
        self.commit(Record::Rewound { subscription, to });
        self.set_out_again(subscription);
        SubscriptionReply::Done
    }

    /// Goes on without one result that the destination has yet to take.
    fn pass_over(
        &mut self,
        subscription: SubscriptionId,
        (stream, sequence): (&StreamName, Sequence),
        now: Time,
    ) -> SubscriptionReply {
        let Some(entry) = self.state.subscriptions.get(&subscription) else {
            return SubscriptionReply::Unknown;
        };
        if entry.plan.way == DeliveryMode::Pull {
            return SubscriptionReply::NotPush;
        }
        let found = self.state.find_stream(stream.as_str());
        let due = |stream: &StreamId| {
            entry
                .cursors
                .get(stream)
                .is_some_and(|cursor| (cursor.next..=cursor.last).contains(&sequence))
        };
        let Some(stream) = found.filter(due) else {
            return SubscriptionReply::NotDue;
        };
        if entry.passed_over.contains(&(stream, sequence)) {
            return SubscriptionReply::Done;
        }
        if !entry.may_pass_over() {
            return SubscriptionReply::TooManyPassedOver;
        }
        self.commit(Record::PassedOver { subscription, stream, sequence, at: now });
        self.wake_cursor(subscription, stream);
        self.set_out_again(subscription);
        SubscriptionReply::Done
    }

    /// Lets a subscription stand still. What the person said stays what is shown.
    pub(super) fn pause_subscription(
        &mut self,
        subscription: SubscriptionId,
        reason: PauseReason,
        now: Time,
    ) {
        let entry = self.state.subscriptions.get(&subscription);
        if entry.is_some_and(|entry| entry.paused.is_none()) {
            self.commit(Record::SubscriptionPaused { subscription, reason, at: now });
            self.set_out_again(subscription);
        }
    }

    /// Lets a subscription go on, and tries again at once what waits or is held.
    fn resume_subscription(&mut self, subscription: SubscriptionId, now: Time) {
        let entry = self.state.subscriptions.get(&subscription);
        if entry.is_some_and(|entry| entry.paused.is_some()) {
            self.commit(Record::SubscriptionResumed { subscription, at: now });
        }
        self.wake_cursors(subscription);
        if let Some(entry) = self.state.subscriptions.get_mut(&subscription) {
            entry.gap = None;
            if let Some(until) = entry.health.closed_until {
                entry.health.open(until);
            }
        }
    }

    fn is_unconfigured(&self, subscription: SubscriptionId) -> bool {
        let entry = self.state.subscriptions.get(&subscription);
        entry.is_some_and(|entry| entry.plan.origin == Origin::Unconfigured)
    }

    /// Where results were to be handed out, one is missing.
    pub(super) fn gap_found(&mut self, subscription: SubscriptionId, gap: Gap) {
        if let Some(entry) = self.state.subscriptions.get_mut(&subscription) {
            self.counters.gaps += 1;
            entry.gap.get_or_insert(gap);
        }
    }

    /// Calls back what set out before, and looks again at what there is to do.
    fn set_out_again(&mut self, subscription: SubscriptionId) {
        let Some(entry) = self.state.subscriptions.get_mut(&subscription) else {
            return;
        };
        let revision = entry.revision;
        self.effects.push_back(Effect::Recall { subscription, revision });
        let streams: Vec<StreamId> = entry.cursors.keys().copied().collect();
        streams.into_iter().for_each(|stream| entry.enqueue(stream));
        self.continue_scan(subscription);
    }

    /// Puts all cursors that wait in line again; what was refused is counted anew.
    pub(super) fn wake_cursors(&mut self, subscription: SubscriptionId) {
        let entry = self.state.subscriptions.get(&subscription);
        let streams = entry.into_iter().flat_map(|entry| entry.cursors.keys().copied());
        for stream in streams.collect::<Vec<StreamId>>() {
            self.wake_cursor(subscription, stream);
        }
    }

    fn wake_cursor(&mut self, subscription: SubscriptionId, stream: StreamId) {
        let Some(entry) = self.state.subscriptions.get_mut(&subscription) else {
            return;
        };
        let Some(cursor) = entry.cursors.get_mut(&stream) else {
            return;
        };
        cursor.rejections = 0;
        if let Some(due) = cursor.due() {
            self.timers.stop(due, Timer::StreamCursor(subscription, stream));
            cursor.state = CursorState::Idle;
            entry.enqueue(stream);
        }
    }

    /// Writes down what a person did with a subscription, unless it was refused.
    fn audit_about(
        &mut self,
        (by, act): (&str, &str),
        (on, reason): (&str, &str),
        reply: SubscriptionReply,
        now: Time,
    ) {
        if matches!(reply, SubscriptionReply::Created | SubscriptionReply::Done) {
            self.audit((by, act), format!("subscription {on}"), reason, now);
        }
    }

    fn answer_about(&mut self, request: Option<RequestId>, reply: SubscriptionReply) {
        if let Some(request) = request {
            self.effects.push_back(Effect::Reply(request, Reply::Subscription(reply)));
        }
    }
}
