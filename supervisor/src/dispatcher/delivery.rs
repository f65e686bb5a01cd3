//! Results out to destinations: one request at a time per stream and subscription, in order, and
//! again in place for as long as it takes.

use std::{sync::Arc, time::Duration};

use rollcall_common::{
    backoff,
    ids::{Position, Sequence, StreamId, StreamName},
    limits::RETRY_AFTER_MAX,
    time::Time,
};

use super::{
    Dispatcher,
    effect::{Delivery, Effect},
    event::{Refusal, Start},
    subscription::{LaneState, Presence},
    timers::Timer,
};
use crate::record::{Found, Record, SubscriptionId};

/// First and longest wait before a destination is asked again.
const RETRY_WAIT: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(60));
/// Refusals of one result in a row after which its stream waits for a person.
const REJECTIONS: u32 = 5;

impl Dispatcher {
    pub(super) fn subscribe(&mut self, name: Box<str>, streams: Box<[Box<str>]>, start: Start) {
        if self.state.find_subscription(&name).is_some() {
            return;
        }
        let after = match start {
            Start::After(position) => position.clamp(self.state.floor, self.state.head),
            Start::Live => self.state.head,
        };
        let subscription = self.state.next_subscription();
        self.commit(Record::Subscribed { subscription, name, streams, after });
        self.look_ahead(subscription);
    }

    pub(super) fn unsubscribe(&mut self, name: &str) {
        if let Some(subscription) = self.state.find_subscription(name) {
            self.commit(Record::Unsubscribed { subscription });
        }
    }

    /// After a restart: every lane stands in line again.
    pub(super) fn resume_subscriptions(&mut self) {
        let ids: Vec<SubscriptionId> = self.state.subscriptions.keys().copied().collect();
        for id in ids {
            if let Some(subscription) = self.state.subscriptions.get_mut(&id) {
                let streams: Vec<StreamId> = subscription.lanes.keys().copied().collect();
                streams.into_iter().for_each(|stream| subscription.line_up(stream));
            }
            self.look_ahead(id);
        }
    }

    /// Puts the lanes of a stream that has something new in line.
    pub(super) fn line_up_lanes(&mut self, stream: StreamId) {
        for index in 0..self.state.stream(stream).subscriptions.len() {
            let subscription = self.state.stream(stream).subscriptions.get(index).copied();
            if let Some(entry) = subscription.and_then(|id| self.state.subscriptions.get_mut(&id)) {
                entry.line_up(stream);
            }
        }
    }

    /// Sends what may be sent.
    pub(super) fn pump_lanes(&mut self) {
        let at_once = self.settings.deliveries_at_once;
        for (id, subscription) in &mut self.state.subscriptions {
            while subscription.sending < at_once && subscription.presence == Presence::Here {
                let Some(stream) = subscription.ready.pop_front() else {
                    break;
                };
                let Some(lane) = subscription.lanes.get_mut(&stream) else {
                    continue;
                };
                if lane.state != LaneState::Ready {
                    continue;
                }
                lane.state = LaneState::Sending;
                subscription.sending += 1;
                self.effects.push_back(Effect::Deliver(Delivery {
                    subscription: *id,
                    name: Arc::clone(&subscription.name),
                    stream,
                    first: lane.next,
                    last: lane.last,
                    attempt: lane.tries + 1,
                    replay_until: subscription.replay_until,
                }));
            }
        }
    }

    pub(super) fn delivered(
        &mut self,
        (subscription, stream): (SubscriptionId, StreamId),
        through: Sequence,
        floor: Position,
    ) {
        let Some(entry) = self.state.subscriptions.get_mut(&subscription) else {
            return;
        };
        let Some(lane) = entry.lanes.get_mut(&stream) else {
            return;
        };
        if lane.state != LaneState::Sending || through < lane.next {
            return;
        }
        entry.last_error = None;
        self.counters.delivered += through.0 + 1 - lane.next.0;
        self.commit(Record::Delivered { subscription, stream, through, floor });
    }

    /// A sender has done what it could of a lane, and left it.
    pub(super) fn finished(&mut self, subscription: SubscriptionId, stream: StreamId) {
        if let Some(entry) = self.state.subscriptions.get_mut(&subscription)
            && entry.leave(stream)
        {
            entry.sending -= 1;
            entry.line_up(stream);
        }
    }

    pub(super) fn undelivered(
        &mut self,
        (subscription, stream): (SubscriptionId, StreamId),
        refusal: Refusal,
        detail: Box<str>,
        now: Time,
    ) {
        let Some(entry) = self.state.subscriptions.get_mut(&subscription) else {
            return;
        };
        let Some(lane) = entry.lanes.get_mut(&stream) else {
            return;
        };
        if lane.state != LaneState::Sending {
            return;
        }
        entry.sending -= 1;
        entry.last_error = Some(detail);
        self.counters.undelivered += 1;
        lane.tries = lane.tries.saturating_add(1);
        let (first, most) = RETRY_WAIT;
        let mut wait = backoff::doubling(first, most, lane.tries, &mut self.rng);
        match refusal {
            Refusal::Gone => entry.presence = Presence::Gone,
            Refusal::Rejected => lane.rejections += 1,
            Refusal::Unavailable { retry_after } => {
                lane.rejections = 0;
                wait = wait.max(retry_after.unwrap_or_default().min(RETRY_AFTER_MAX));
            }
        }
        if lane.rejections >= REJECTIONS {
            lane.state = LaneState::Held;
            return;
        }
        let due = now + wait;
        lane.state = LaneState::Waiting { due };
        self.timers.set(due, Timer::Lane(subscription, stream));
    }

    /// A lane's wait is over.
    pub(super) fn lane_due(&mut self, subscription: SubscriptionId, stream: StreamId) {
        let Some(entry) = self.state.subscriptions.get_mut(&subscription) else {
            return;
        };
        if let Some(lane) = entry.lanes.get_mut(&stream)
            && matches!(lane.state, LaneState::Waiting { .. })
        {
            lane.state = LaneState::Idle;
            entry.line_up(stream);
        }
    }

    /// A subscription that catches up has looked further; from the newest releases, which are
    /// kept at hand, it joins the present.
    pub(super) fn scanned(
        &mut self,
        subscription: SubscriptionId,
        to: Position,
        found: Vec<Found>,
    ) {
        let Some(entry) = self.state.subscriptions.get_mut(&subscription) else {
            return;
        };
        entry.scanning = false;
        if entry.scan.is_some_and(|after| to > after) {
            self.commit_scan(subscription, to, found);
        }
        self.look_ahead(subscription);
    }

    fn look_ahead(&mut self, subscription: SubscriptionId) {
        let Some(entry) = self.state.subscriptions.get(&subscription) else {
            return;
        };
        let Some(after) = entry.scan.filter(|_| !entry.scanning) else {
            return;
        };
        if let Some(found) = self.state.recent_after(after, entry) {
            self.commit_scan(subscription, self.state.head, found);
        } else if let Some(entry) = self.state.subscriptions.get_mut(&subscription) {
            entry.scanning = true;
            self.effects.push_back(Effect::Scan { subscription, after });
        }
    }

    fn commit_scan(&mut self, subscription: SubscriptionId, to: Position, found: Vec<Found>) {
        let streams: Vec<StreamId> = found.iter().map(|run| run.stream).collect();
        self.commit(Record::Scanned { subscription, to, found });
        if let Some(entry) = self.state.subscriptions.get_mut(&subscription) {
            streams.into_iter().for_each(|stream| entry.line_up(stream));
        }
    }

    /// Whether nothing is under way that would be worth waiting for before the process ends.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        let working = self
            .attempts
            .values()
            .any(|attempt| attempt.standing == super::attempts::AttemptStanding::Counting);
        let sending = self.state.subscriptions.values().any(|entry| entry.sending > 0);
        !working && !sending
    }

    /// Whether a subscription gets the results of a stream, as a question to take away.
    #[must_use]
    pub fn wanted_by(
        &self,
        subscription: SubscriptionId,
    ) -> Arc<dyn Fn(&StreamName) -> bool + Send + Sync> {
        let patterns = self.state.subscriptions.get(&subscription).map(|entry| entry.patterns());
        Arc::new(move |name| {
            patterns.iter().flatten().any(|pattern| pattern.matches(name.as_str()))
        })
    }
}
