//! What only time tells: a pool without a fit worker, a head that stands still, a destination that
//! takes nothing, a subscription that falls behind. It is looked at now and then, for as long as
//! something is amiss.

use std::{collections::BTreeSet, time::Duration};

use rollcall_common::{ids::StreamId, time::Time};

use super::{
    Dispatcher, Space,
    status::{Cause, Mode},
    stream::Alarm,
    timers::Timer,
};
use crate::record::{PauseReason, Severity, Subject, SubscriptionId};

/// How often what is amiss is looked at.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// How long after the last diverging answer that alert is over.
const DIVERGENCE_OVER: Duration = Duration::from_secs(3600);
/// A head that has stood still for so many times as long as is allowed is worse.
const HELD_WORSE: u32 = 4;
/// How long a destination may take nothing before somebody is told, after that many failures.
const DESTINATION_AFTER: (Duration, u32) = (Duration::from_secs(10), 3);
/// After so long that is worse.
const DESTINATION_WORSE: Duration = Duration::from_secs(600);
/// How long a live subscription may take to reach what was the head.
const LAG_AFTER: Duration = Duration::from_secs(600);

impl Dispatcher {
    /// Something may be amiss that only time tells.
    pub(super) fn schedule_check(&mut self, now: Time) {
        if self.look_at.is_none() {
            let at = now + LOOK_EVERY;
            self.look_at = Some(at);
            self.timers.set(at, Timer::Check);
        }
    }

    /// Looks at what may be amiss, and goes on looking for as long as it is.
    pub(super) fn check(&mut self, now: Time) {
        self.look_at = None;
        let mut amiss = false;
        for pool in self.roster.pool_keys() {
            amiss |= self.look_at_pool(pool, now);
            self.cut();
        }
        amiss |= self.look_at_unreachable(now);
        if !self.state.outages.is_empty() {
            self.review_outages(now);
            amiss = true;
        }
        let ids: Vec<SubscriptionId> = self.state.subscriptions.keys().copied().collect();
        for id in ids {
            amiss |= self.look_at_destination(id, now);
            amiss |= self.look_at_lag(id, now);
            amiss |= self.look_at_gap(id, now);
            self.cut();
        }
        let live: BTreeSet<Subject> = self.state.alerts.subjects().cloned().collect();
        for subject in live {
            amiss |= match &subject {
                Subject::AnswersDiverge(stream) => self.look_at_divergence(*stream, now),
                Subject::Disk => self.look_at_disk(now),
                Subject::Storm => self.look_at_storm(now),
                Subject::Worker(id) => self.look_at_worker(id, now),
                Subject::Unreachable(id) => {
                    self.look_at_absence(id, now);
                    false
                }
                Subject::Destination(id) | Subject::Gap(id) | Subject::Lag(id) => {
                    self.look_at_removed(&subject, *id, now)
                }
                Subject::HeldFlood => self.look_at_held(now),
                Subject::Flood
                | Subject::Held(_)
                | Subject::Message(..)
                | Subject::Outage(_)
                | Subject::Parked(_)
                | Subject::Poison(..)
                | Subject::Pool(_) => false,
            };
            self.cut();
        }
        if amiss {
            self.schedule_check(now);
        }
    }

    fn look_at_worker(&mut self, id: &str, now: Time) -> bool {
        let known = self.roster.find(id).map(|key| self.roster.worker(key));
        let out = known.is_some_and(super::worker::Worker::is_on_probation);
        if !out {
            self.resolve_alert(&Subject::Worker(id.into()), now);
        }
        out
    }

    fn look_at_disk(&mut self, now: Time) -> bool {
        let low = self.space == Space::Low;
        if !low {
            self.resolve_alert(&Subject::Disk, now);
        }
        low
    }

    fn look_at_divergence(&mut self, stream: StreamId, now: Time) -> bool {
        let subject = Subject::AnswersDiverge(stream);
        let since = self.state.alerts.find(&subject).map_or(now, |(_, alert)| alert.since);
        let last = self.diverged_at.get(&stream).copied().unwrap_or(since);
        let over = now.since(last) >= DIVERGENCE_OVER;
        if over {
            self.diverged_at.remove(&stream);
            self.resolve_alert(&subject, now);
        }
        !over
    }

    /// Whether a destination takes nothing, or refuses something for good.
    fn look_at_destination(&mut self, id: SubscriptionId, now: Time) -> bool {
        let subject = Subject::Destination(id);
        let Some(status) = self.subscription_status(id) else {
            return false;
        };
        let error = status.last_error.as_deref().unwrap_or_default();
        let failing = status.failing_since.map(|since| now.since(since)).unwrap_or_default();
        let (after, failures) = DESTINATION_AFTER;
        let said = if status.paused == Some(PauseReason::Gone) {
            Some((Severity::Error, "it said that it is gone; the subscription stands".to_owned()))
        } else if let Some(stream) = status.held.first() {
            let more = status.held.len() - 1;
            let text = format!("it refuses a result of {stream} for good, and of {more} others");
            Some((Severity::Error, format!("{text}: {error}")))
        } else if failing >= after && status.outage {
            Some((Severity::Error, format!("it refuses whatever it is sent: {error}")))
        } else if failing >= after && status.failures >= failures {
            let worse = failing >= DESTINATION_WORSE;
            let severity = if worse { Severity::Error } else { Severity::Warning };
            Some((severity, format!("{} failures in a row, the last: {error}", status.failures)))
        } else {
            None
        };
        match said {
            Some((severity, detail)) => self.raise(subject, (severity, 1), detail, now),
            None if status.failing_since.is_none() => self.resolve_alert(&subject, now),
            None => {}
        }
        status.failing_since.is_some() || status.paused == Some(PauseReason::Gone)
    }

    /// Whether a live subscription has not reached for long what was the head then.
    fn look_at_lag(&mut self, id: SubscriptionId, now: Time) -> bool {
        let (subject, head) = (Subject::Lag(id), self.state.head);
        let Some(status) = self.subscription_status(id) else {
            return false;
        };
        let Some(entry) = self.state.subscriptions.get_mut(&id) else {
            return false;
        };
        let (mark, since) = *entry.mark.get_or_insert((head, now));
        if status.checkpoint >= mark {
            entry.mark = (status.checkpoint < head).then_some((head, now));
            self.resolve_alert(&subject, now);
        } else if now.since(since) >= LAG_AFTER && status.mode == Mode::Live {
            let behind = head.0 - status.checkpoint.0;
            let detail = format!("it is {behind} results behind, and was not at {mark} for long");
            self.raise(subject, (Severity::Warning, 1), detail, now);
        }
        status.checkpoint < head
    }

    /// Whether a hole was found, and nobody has looked at it.
    fn look_at_gap(&mut self, id: SubscriptionId, now: Time) -> bool {
        if self.look_at_quarantine(id, now) {
            return true;
        }
        let gap = self.state.subscriptions.get(&id).and_then(|entry| entry.gap.clone());
        match &gap {
            Some(gap) => {
                let detail = format!("{gap:?}");
                self.raise(Subject::Gap(id), (Severity::Critical, 1), detail, now);
            }
            None => self.resolve_alert(&Subject::Gap(id), now),
        }
        gap.is_some()
    }

    /// An alert may speak of a subscription that is gone.
    fn look_at_removed(&mut self, subject: &Subject, id: SubscriptionId, now: Time) -> bool {
        let gone = !self.state.subscriptions.contains_key(&id);
        if gone {
            self.resolve_alert(subject, now);
        }
        !gone
    }

    /// Sees to it that somebody looks at a stream's head, if there is one.
    pub(super) fn watch_head(&mut self, stream: StreamId) {
        let entry = self.state.stream_mut(stream);
        if entry.backlog() > 0 && entry.head_watch.get().is_none() {
            let at = entry.head_since + entry.settings.hold_alert_after;
            entry.head_watch = Alarm::at(at);
            self.timers.set(at, Timer::Held(stream));
        }
    }

    /// A stream's head may have stood still for too long.
    pub(super) fn head_due(&mut self, stream: StreamId, now: Time) {
        let entry = self.state.stream_mut(stream);
        // A timer may be left from earlier settings.
        if entry.head_watch.get().is_none_or(|at| at > now) {
            return;
        }
        entry.head_watch = Alarm::default();
        if entry.backlog() == 0 {
            return;
        }
        let allowed = entry.settings.hold_alert_after;
        let stood = now.since(entry.head_since);
        let worse = allowed.saturating_mul(HELD_WORSE);
        let out = self.state.stream(stream).pool.is_some_and(|pool| self.is_out(pool));
        let next = if out {
            // That its pool is in an outage has been told.
            stood + allowed
        } else if stood < allowed {
            allowed
        } else if stood < worse {
            self.raise_held(stream, Severity::Warning, now);
            worse
        } else {
            return self.raise_held(stream, Severity::Error, now);
        };
        let entry = self.state.stream_mut(stream);
        let at = entry.head_since + next;
        entry.head_watch = Alarm::at(at);
        self.timers.set(at, Timer::Held(stream));
    }

    fn raise_held(&mut self, stream: StreamId, severity: Severity, now: Time) {
        let subject = Subject::Held(stream);
        let known = self.state.alerts.find(&subject).is_some();
        if !known && self.state.alerts.held() >= self.settings.bounds.held_alerts {
            // One alert says how many they are; it is brought up to date once a second.
            self.held_beyond.insert(stream);
            if self.state.alerts.find(&Subject::HeldFlood).is_none() {
                self.state_held_beyond(now);
            }
            return self.schedule_check(now);
        }
        self.held_beyond.remove(&stream);
        let entry = self.state.stream(stream);
        let (head, since, waiting) = (entry.released.next(), entry.head_since, entry.waiting);
        let cause = self.stream_status(stream).cause.map_or("waiting", Cause::as_str);
        let detail = format!(
            "message {head} has been the oldest since {since} ({cause}); {waiting} answers wait \
             behind it"
        );
        self.raise(subject, (severity, 1), detail, now);
    }

    /// Whether streams stand still that have no alert of their own. Those for which there is room
    /// meanwhile get one.
    fn look_at_held(&mut self, now: Time) -> bool {
        let room = self.settings.bounds.held_alerts.saturating_sub(self.state.alerts.held());
        for _ in 0..room.min(self.settings.bounds.work) {
            let Some(stream) = self.held_beyond.pop_first() else {
                break;
            };
            let entry = self.state.stream(stream);
            let worse = entry.settings.hold_alert_after.saturating_mul(HELD_WORSE);
            let is_worse = now.since(entry.head_since) >= worse;
            let severity = if is_worse { Severity::Error } else { Severity::Warning };
            self.raise_held(stream, severity, now);
            self.cut();
        }
        if self.held_beyond.is_empty() {
            self.resolve_alert(&Subject::HeldFlood, now);
            return false;
        }
        self.state_held_beyond(now);
        true
    }

    /// Says how many streams stand still that have no alert of their own.
    fn state_held_beyond(&mut self, now: Time) {
        let count = u32::try_from(self.held_beyond.len()).unwrap_or(u32::MAX);
        let known = self.state.alerts.find(&Subject::HeldFlood);
        if known.is_some_and(|(_, alert)| alert.count == count) {
            return;
        }
        let all = self.state.alerts.held();
        let detail = format!(
            "{count} more streams stand still than the {all} that have an alert of their own; see \
             the list of streams"
        );
        self.restate(Subject::HeldFlood, (Severity::Error, count), detail, now);
    }

    /// A stream's head moved.
    pub(super) fn head_moved(&mut self, stream: StreamId, at: Time) {
        if !self.state.alerts.is_quiet() {
            self.resolve_alert(&Subject::Held(stream), at);
            self.held_beyond.remove(&stream);
        }
        self.watch_head(stream);
    }
}
