//! Results out to destinations: one request at a time per stream and subscription, in order, and
//! again in place for as long as it takes.

use std::{ops::Bound, sync::Arc};

use rollcall_common::{
    ids::{Position, Sequence, StreamId, StreamName},
    limits::{BATCHES_AHEAD, DELIVERY_BYTES},
    time::Time,
};

use super::{
    Dispatcher,
    cursor::CursorState,
    effect::{Delivery, Effect},
    event::Refusal,
    health::{RETRY_WAIT, count, retry_wait},
    subscription::Subscription,
    timers::Timer,
};
use crate::record::{Batching, PauseReason, Record, SequenceRange, SubscriptionId};

impl Dispatcher {
    /// After a restart: every cursor stands in line again.
    pub(super) fn resume_subscriptions(&mut self) {
        let ids: Vec<SubscriptionId> = self.state.subscriptions.keys().copied().collect();
        for id in ids {
            if let Some(subscription) = self.state.subscriptions.get_mut(&id) {
                let streams: Vec<StreamId> = subscription.cursors.keys().copied().collect();
                streams.into_iter().for_each(|stream| subscription.enqueue(stream));
            }
            self.continue_scan(id);
        }
    }

    /// Puts the cursors of a stream that has something new in line.
    pub(super) fn enqueue_cursors(&mut self, stream: StreamId) {
        for index in 0..self.state.stream(stream).subscriptions.len() {
            let subscription = self.state.stream(stream).subscriptions.get(index).copied();
            if let Some(entry) = subscription.and_then(|id| self.state.subscriptions.get_mut(&id)) {
                entry.enqueue(stream);
            }
        }
    }

    /// Sends what may be sent.
    pub(super) fn pump_cursors(&mut self) {
        if self.draining {
            return;
        }
        let at_once = self.settings.deliveries_at_once;
        let sends = |entry: &Subscription| !entry.ready.is_empty() && entry.may_send(at_once);
        let all = &self.state.subscriptions;
        let mut next = all.iter().find(|(_, entry)| sends(entry)).map(|(id, _)| *id);
        while let Some(id) = next {
            while let Some(entry) = self.state.subscriptions.get_mut(&id)
                && entry.may_send(at_once)
                && let Some(stream) = entry.ready.pop_front()
            {
                self.set_out(id, stream);
            }
            let mut later = self.state.subscriptions.range((Bound::Excluded(id), Bound::Unbounded));
            next = later.find(|(_, entry)| sends(entry)).map(|(id, _)| *id);
        }
    }

    /// A cursor has its turn.
    fn set_out(&mut self, id: SubscriptionId, stream: StreamId) {
        self.fix_batches(id, stream);
        let Some(entry) = self.state.subscriptions.get_mut(&id) else {
            return;
        };
        let passed_over = entry.passed_over_of(stream).into();
        let Some(cursor) =
            entry.cursors.get_mut(&stream).filter(|cursor| cursor.state == CursorState::Ready)
        else {
            return;
        };
        cursor.state = CursorState::Sending;
        entry.sending += 1;
        self.effects.push_back(Effect::Deliver(Delivery {
            subscription: id,
            name: Arc::clone(&entry.name),
            plan: Arc::clone(&entry.plan),
            revision: entry.revision,
            stream,
            first: cursor.next,
            last: cursor.last,
            attempt: cursor.tries + 1,
            replay_until: entry.replay_until,
            batching: cursor.batching,
            passed_over,
            generation: entry.generation,
        }));
    }

    /// Fixes which of a cursor's results travel together, before the first of them goes out. Full
    /// batches are fixed several at a time; what is less than one, only when there is no full one.
    fn fix_batches(&mut self, id: SubscriptionId, stream: StreamId) {
        let Some(entry) = self.state.subscriptions.get(&id) else {
            return;
        };
        let Some(cursor) = entry.cursors.get(&stream).filter(|cursor| cursor.batching.is_none())
        else {
            return;
        };
        if !entry.plan.is_batched() || cursor.state != CursorState::Ready || cursor.is_empty() {
            return;
        }
        let (results, bytes) = (entry.plan.batch, DELIVERY_BYTES);
        let full = (count(cursor.next, cursor.last) / u64::from(results)).min(BATCHES_AHEAD.into());
        let through = match full.saturating_mul(results.into()) {
            0 => cursor.last,
            many => Sequence(cursor.next.0.saturating_add(many - 1)),
        };
        let batching = Batching { through, results, bytes };
        self.commit(Record::Batched { subscription: id, stream, batching });
    }

    pub(super) fn delivered(
        &mut self,
        (subscription, stream): (SubscriptionId, StreamId),
        through: Sequence,
        floor: Position,
        now: Time,
    ) {
        let at_once = self.settings.deliveries_at_once;
        // Nothing is done that is not there yet.
        let through = through.min(self.state.stream(stream).released);
        let floor = floor.min(self.state.head.next());
        let Some(entry) = self.state.subscriptions.get_mut(&subscription) else {
            return;
        };
        // A sender of an earlier revision: what it brought is no longer what counts.
        let Some(cursor) = entry.cursors.get(&stream).filter(|_| !entry.leaving.contains(&stream))
        else {
            return;
        };
        let floor = floor.max(cursor.floor);
        if cursor.state != CursorState::Sending || through < cursor.next {
            return;
        }
        let count = count(cursor.next, through);
        let well_again = entry.health.took(stream, at_once);
        entry.rate.add(now, count);
        self.counters.delivered += count;
        self.commit(Record::Delivered { subscription, stream, through, floor });
        if well_again {
            // It refused whatever it was given, and no longer does.
            self.wake_cursors(subscription);
        }
    }

    /// A sender has done what it could of a cursor, and left it.
    pub(super) fn finished(&mut self, subscription: SubscriptionId, stream: StreamId) {
        if let Some(entry) = self.state.subscriptions.get_mut(&subscription)
            && entry.leave(stream)
        {
            entry.sending -= 1;
            entry.enqueue(stream);
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
        if entry.leaving.contains(&stream) {
            return self.finished(subscription, stream);
        }
        let Some(cursor) = entry.cursors.get_mut(&stream) else {
            return;
        };
        if cursor.state != CursorState::Sending {
            return;
        }
        if cursor.is_empty() && entry.scan.is_none() {
            // All that it had was taken before: nothing is left that could have been refused.
            return self.finished(subscription, stream);
        }
        entry.sending -= 1;
        cursor.error = Some(detail.clone());
        entry.health.failed(stream, detail, now);
        self.schedule_check(now);
        let Some(entry) = self.state.subscriptions.get_mut(&subscription) else {
            return;
        };
        self.counters.undelivered += 1;
        entry.refused(stream, refusal);
        let Some(cursor) = entry.cursors.get_mut(&stream) else {
            return;
        };
        if let Refusal::Away { retry_after } = refusal {
            // It goes first when the destination is asked again.
            cursor.state = CursorState::Ready;
            entry.ready.push_front(stream);
            if let Some(until) = entry.health.close(now, retry_after, &mut self.rng) {
                self.timers.set(until, Timer::Destination(subscription));
            }
            return;
        }
        let wait = match refusal {
            Refusal::Unfit => RETRY_WAIT.1,
            Refusal::Away { .. } | Refusal::Failed | Refusal::Gone | Refusal::Rejected => {
                retry_wait(cursor.tries, &mut self.rng)
            }
        };
        let due = now + wait;
        cursor.state = CursorState::Waiting { due };
        self.timers.set(due, Timer::StreamCursor(subscription, stream));
        if refusal == Refusal::Gone {
            self.pause_subscription(subscription, PauseReason::Gone, now);
        }
    }

    /// A cursor's wait is over.
    pub(super) fn cursor_due(&mut self, subscription: SubscriptionId, stream: StreamId, now: Time) {
        let Some(entry) = self.state.subscriptions.get_mut(&subscription) else {
            return;
        };
        if let Some(cursor) = entry.cursors.get_mut(&stream)
            && matches!(cursor.state, CursorState::Waiting { due } if due <= now)
        {
            cursor.state = CursorState::Idle;
            entry.enqueue(stream);
        }
    }

    /// A destination that was left alone may be asked again.
    pub(super) fn destination_due(&mut self, subscription: SubscriptionId, now: Time) {
        if let Some(entry) = self.state.subscriptions.get_mut(&subscription) {
            entry.health.open(now);
        }
    }

    /// A subscription that catches up has looked further; from the newest releases, which are
    /// kept at hand, it joins the present. What was looked for in an earlier revision is of no use:
    /// the subscription stands elsewhere, or wants other streams.
    pub(super) fn scanned(
        &mut self,
        (subscription, revision): (SubscriptionId, u32),
        to: Position,
        found: Vec<SequenceRange>,
    ) {
        let Some(entry) = self.state.subscriptions.get_mut(&subscription) else {
            return;
        };
        if entry.revision != revision {
            return;
        }
        entry.scanning = false;
        if entry.scan.is_some_and(|after| to > after) {
            self.commit_scan(subscription, to, found);
        }
        self.continue_scan(subscription);
    }

    /// Looks at what comes next for a subscription that catches up.
    pub(super) fn continue_scan(&mut self, subscription: SubscriptionId) {
        let items = self.settings.bounds.items();
        while let Some(entry) = self.state.subscriptions.get(&subscription)
            && let Some(after) = entry.scan.filter(|_| !entry.scanning)
        {
            let revision = entry.revision;
            if let Some((to, found)) = self.state.recent_after(after, entry, items) {
                self.commit_scan(subscription, to, found);
                self.cut();
            } else if let Some(entry) = self.state.subscriptions.get_mut(&subscription) {
                entry.scanning = true;
                self.effects.push_back(Effect::Scan { subscription, revision, after });
            }
        }
    }

    fn commit_scan(
        &mut self,
        subscription: SubscriptionId,
        to: Position,
        found: Vec<SequenceRange>,
    ) {
        let streams: Vec<StreamId> = found.iter().map(|run| run.stream).collect();
        self.commit(Record::Scanned { subscription, to, found });
        if let Some(entry) = self.state.subscriptions.get_mut(&subscription) {
            streams.into_iter().for_each(|stream| entry.enqueue(stream));
            if entry.paused == Some(PauseReason::Inconsistent) {
                self.schedule_check(self.state.last_time());
            }
        }
    }

    /// Whether nothing is under way that would be worth waiting for before the process ends.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        let working = self
            .attempts
            .values()
            .any(|attempt| attempt.standing == super::attempts::AttemptState::Active);
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
