//! Alerts out to those who are told. Each target has its own line and its own patience; none of
//! them shares anything with the delivery of results.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use rollcall_common::{
    backoff,
    ids::{Sequence, StreamName},
    limits::{NOTICES_AT_ONCE, RETRY_AFTER_MAX},
    time::Time,
    units::HumanDuration,
};

use super::{
    Dispatcher,
    alert::{Alert, AlertStatus, Due, NoticeKind, Told},
    effect::{Effect, Notice, Reply},
    escalation::cut,
    event::{RequestId, TellFailure},
    timers::Timer,
};
use crate::record::{AlertId, AlertRecord, AlertStage, Record, Severity, Subject};

/// First and longest wait before a target that failed is asked again.
const RETRY_WAIT: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(300));

/// How it stands with one target. Soft: what it was told is in the alerts.
#[derive(Debug)]
pub(super) struct TargetState {
    /// Alerts of which it may have to be told.
    candidates: BTreeSet<AlertId>,
    /// Notices that are out, and what they say.
    out: BTreeMap<AlertId, Told>,
    /// How many times in a row it failed.
    misses: u32,
    /// Until when it is left alone.
    paused_until: Time,
    /// Alerts of which it is to be told, and not yet: there are too many.
    held: BTreeSet<AlertId>,
    /// How many more it may be told of now.
    allowance: u32,
    /// When that was one more.
    allowed_at: Time,
}

impl TargetState {
    /// Whether there is nothing that it may have to be told.
    fn is_quiet(&self) -> bool {
        self.candidates.is_empty() && self.held.is_empty()
    }

    fn is_free(&self, now: Time) -> bool {
        // One that fails is tried with one notice first.
        let room = if self.misses == 0 { NOTICES_AT_ONCE } else { 1 };
        self.paused_until <= now && self.out.len() < room
    }

    /// Lets it be told of one more, if so many may be: a few at once, and then one now and then.
    /// When the next one may, if it may not.
    fn allow(&mut self, (burst, every): (u32, Duration), now: Time) -> Result<(), Time> {
        while self.allowance < burst && self.allowed_at + every <= now {
            self.allowance += 1;
            self.allowed_at = self.allowed_at + every;
        }
        if self.allowance >= burst {
            (self.allowance, self.allowed_at) = (burst, now);
        }
        let next = self.allowed_at + every;
        self.allowance = self.allowance.checked_sub(1).ok_or(next)?;
        Ok(())
    }
}

impl TargetState {
    /// Whether something waits, nothing is out, and no timer will change that.
    pub(super) fn is_idle_with_work(&self, timed: impl Fn(Time) -> bool) -> bool {
        let stuck = !self.candidates.is_empty() && self.out.is_empty();
        stuck && !timed(self.paused_until)
    }

    /// Whether something is held back, and no timer will change that.
    pub(super) fn holds_for_ever(&self, every: Duration, timed: impl Fn(Time) -> bool) -> bool {
        !self.held.is_empty() && !timed(self.allowed_at + every)
    }
}

impl Dispatcher {
    /// The targets are others, or have been told nothing yet by this process.
    pub(super) fn adopt_targets(&mut self, now: Time) {
        let names: BTreeSet<Arc<str>> =
            self.settings.alert_targets.iter().map(|target| Arc::clone(&target.name)).collect();
        self.targets.retain(|name, _| names.contains(name));
        let burst = self.settings.notice_burst;
        let all: BTreeSet<AlertId> = self.state.alerts.iter().map(|(id, _)| id).collect();
        for name in names {
            let state = self.targets.entry(name).or_insert_with(|| TargetState {
                candidates: BTreeSet::new(),
                out: BTreeMap::new(),
                misses: 0,
                paused_until: Time::default(),
                held: BTreeSet::new(),
                allowance: burst,
                allowed_at: now,
            });
            state.candidates.extend(&all);
        }
        self.pump_notices(now);
    }

    /// An alert is not what it was: who has to be told?
    pub(super) fn mark_for_notification(&mut self, alert: AlertId) {
        for state in self.targets.values_mut() {
            state.candidates.insert(alert);
        }
    }

    /// Sends what is due.
    pub(super) fn pump_notices(&mut self, now: Time) {
        if self.targets.values().all(TargetState::is_quiet) {
            return;
        }
        self.tell_all(now);
        if self.storm_has_begun() {
            let (count, worst) = self.state.alerts.firing();
            let every = HumanDuration(self.settings.notice_every);
            let detail = format!(
                "{count} alerts fire; the worst and the oldest are told first, one every {every}; \
                 the list of alerts has all of them"
            );
            let severity = worst.unwrap_or(Severity::Error);
            self.raise(Subject::Storm, (severity, 1), detail, now);
            self.schedule_check(now);
            self.tell_all(now);
        }
    }

    fn tell_all(&mut self, now: Time) {
        let settings = Arc::clone(&self.settings);
        for target in &settings.alert_targets {
            self.release_held(&target.name, now);
            while let Some(id) = self.next_candidate(&target.name, now) {
                let Some(alert) = self.state.alerts.get(id) else {
                    continue;
                };
                match alert.due(target, self.stream_of(&alert.subject), now) {
                    Due::Later(at) => self.timers.set(at, Timer::Alert(id)),
                    Due::Never => {}
                    Due::Now(kind) => self.tell(id, &target.name, kind, now),
                }
            }
        }
    }

    /// Tells a target of an alert, or notes that it is to be told when it may hear more.
    fn tell(&mut self, id: AlertId, target: &Arc<str>, kind: NoticeKind, now: Time) {
        let pace = (self.settings.notice_burst, self.settings.notice_every);
        let (Some(alert), Some(state)) = (self.state.alerts.get(id), self.targets.get_mut(target))
        else {
            return;
        };
        let calling = matches!(kind, NoticeKind::Firing | NoticeKind::Repeated | NoticeKind::Worse);
        if calling
            && alert.subject != Subject::Storm
            && let Err(at) = state.allow(pace, now)
        {
            state.held.insert(id);
            return self.timers.set(at, Timer::Target);
        }
        let number = alert.notice_number(target, kind);
        let new = alert.is_new_to(target);
        let (severity, stage) = (alert.severity, alert.stage);
        let told = Told { at: now, severity, stage, taken: false };
        let alert = self.show(id, alert);
        if new {
            self.note_told((id, target), told);
        }
        self.send_notice((alert, Arc::clone(target)), told, (kind, number));
    }

    /// What was held back is looked at again, as far as more may be told: the worst first.
    fn release_held(&mut self, target: &str, now: Time) {
        let pace = (self.settings.notice_burst, self.settings.notice_every);
        let Some(state) = self.targets.get_mut(target).filter(|one| !one.held.is_empty()) else {
            return;
        };
        if let Err(at) = state.allow(pace, now) {
            return self.timers.set(at, Timer::Target);
        }
        // It was only asked.
        state.allowance += 1;
        let alerts = &self.state.alerts;
        let bad = |id: &AlertId| alerts.get(*id).map(|alert| alert.severity);
        let mut held: Vec<AlertId> = state.held.iter().copied().collect();
        held.sort_by_key(|id| (Reverse(bad(id)), *id));
        let count = usize::try_from(state.allowance).unwrap_or(usize::MAX);
        let more = held.len() > count;
        for id in held.into_iter().take(count) {
            state.held.remove(&id);
            state.candidates.insert(id);
        }
        if more {
            self.timers.set(state.allowed_at + pace.1, Timer::Target);
        }
    }

    /// Whether so much is held back that this is to be told by itself.
    fn storm_has_begun(&self) -> bool {
        let least = usize::try_from(self.settings.notice_burst).unwrap_or(usize::MAX) / 4 + 1;
        self.targets.values().any(|state| state.held.len() >= least)
            && self.state.alerts.find(&Subject::Storm).is_none()
    }

    /// Whether something is still held back.
    pub(super) fn look_at_storm(&mut self, now: Time) -> bool {
        let over = self.targets.values().all(|state| state.held.is_empty());
        if over {
            self.resolve_alert(&Subject::Storm, now);
        }
        !over
    }

    fn note_told(&mut self, (alert, target): (AlertId, &Arc<str>), told: Told) {
        let Told { at, severity, stage, taken } = told;
        let target = Arc::clone(target);
        self.commit(Record::Alert(AlertRecord::Told { alert, at, target, severity, stage, taken }));
    }

    fn send_notice(
        &mut self,
        (alert, target): (AlertStatus, Arc<str>),
        told: Told,
        (kind, number): (NoticeKind, u64),
    ) {
        if let Some(state) = self.targets.get_mut(&target) {
            state.out.insert(alert.id, told);
            let attempt = state.misses + 1;
            self.effects.push_back(Effect::Tell(Notice { alert, target, kind, number, attempt }));
        }
    }

    fn next_candidate(&mut self, target: &str, now: Time) -> Option<AlertId> {
        let state = self.targets.get_mut(target).filter(|state| state.is_free(now))?;
        // One notice of an alert at a time: a second one could overtake the first.
        let next = state.candidates.iter().find(|id| !state.out.contains_key(id)).copied()?;
        state.candidates.remove(&next);
        state.held.remove(&next);
        Some(next)
    }

    /// A target has taken a notice, or has not.
    pub(super) fn told(
        &mut self,
        alert: AlertId,
        target: &Arc<str>,
        outcome: Result<(), TellFailure>,
        now: Time,
    ) {
        let burst = self.settings.notice_burst;
        // A reload may have taken the target away.
        let Some(state) = self.targets.get_mut(target) else {
            return;
        };
        let Some(told) = state.out.remove(&alert) else {
            return;
        };
        state.candidates.insert(alert);
        match outcome {
            Ok(()) => {
                state.misses = 0;
                self.counters.notifications_sent += 1;
                self.note_told((alert, target), Told { at: now, taken: true, ..told });
            }
            Err(TellFailure { retry_after }) => {
                state.misses = state.misses.saturating_add(1);
                // It has heard nothing.
                state.allowance = state.allowance.saturating_add(1).min(burst);
                self.counters.notifications_failed += 1;
                let (first, most) = RETRY_WAIT;
                let wait = backoff::doubling(first, most, state.misses, &mut self.rng);
                let asked = retry_after.unwrap_or_default().min(RETRY_AFTER_MAX);
                state.paused_until = now + wait.max(asked);
                self.timers.set(state.paused_until, Timer::Target);
            }
        }
    }

    /// Somebody has seen an alert.
    pub(super) fn acknowledge(
        &mut self,
        request: RequestId,
        id: AlertId,
        (by, reason): (&str, &str),
        now: Time,
    ) {
        let reply = match self.state.alerts.get(id).map(|alert| alert.stage) {
            None => Reply::UnknownAlert,
            Some(AlertStage::Resolved) => Reply::AlertResolved,
            Some(AlertStage::Acknowledged) => Reply::Done,
            Some(AlertStage::Firing) => {
                let record = AlertRecord::Acknowledged { alert: id, at: now, by: by.into() };
                self.commit(Record::Alert(record));
                self.audit((by, "acknowledge"), format!("alert {}", id.0), reason, now);
                self.mark_for_notification(id);
                Reply::Done
            }
        };
        self.effects.push_back(Effect::Reply(request, reply));
    }

    /// The alerts, by number: the live ones, and the newest of the others.
    pub fn alerts(&self) -> impl DoubleEndedIterator<Item = AlertStatus> {
        self.state.alerts.iter().map(|(id, alert)| self.show(id, alert))
    }

    /// How many alerts ask for somebody, and the worst of them.
    #[must_use]
    pub fn firing(&self) -> (usize, Option<AlertStatus>) {
        let all = self.state.alerts.iter();
        let firing: Vec<_> = all.filter(|(_, a)| a.stage == AlertStage::Firing).collect();
        let worst = firing.iter().max_by_key(|(id, alert)| (alert.severity, Reverse(*id)));
        (firing.len(), worst.map(|(id, alert)| self.show(*id, alert)))
    }

    /// One alert.
    #[must_use]
    pub fn alert(&self, id: AlertId) -> Option<AlertStatus> {
        self.state.alerts.get(id).map(|alert| self.show(id, alert))
    }

    fn stream_of(&self, subject: &Subject) -> Option<&StreamName> {
        subject.stream().and_then(|stream| self.state.stream_name(stream))
    }

    /// What an alert speaks of as it stands: how many, from which to which, and in words.
    fn parked_of(&self, alert: &Alert) -> (u32, Option<(Sequence, Sequence)>, Box<str>) {
        if let Subject::Parked(stream) = alert.subject
            && alert.stage != AlertStage::Resolved
        {
            let parked = &self.state.stream(stream).parked;
            let count = u32::try_from(parked.len()).unwrap_or(u32::MAX);
            let span = parked.iter().next().zip(parked.last());
            return (count, span, cut(self.parked_detail(stream)).into());
        }
        (alert.count, None, alert.detail.clone())
    }

    fn show(&self, id: AlertId, alert: &Alert) -> AlertStatus {
        let subject = &alert.subject;
        let subscription = subject.subscription().and_then(|id| self.state.subscriptions.get(&id));
        let subscription = subscription.map(|entry| Arc::clone(&entry.name));
        let stream = self.stream_of(subject).cloned();
        let of = stream.as_ref().map_or("", StreamName::as_str);
        let name = subscription.as_deref().unwrap_or("that is gone");
        let (count, span, detail) = self.parked_of(alert);
        let title = match subject {
            Subject::AnswersDiverge(_) => format!("answers of stream {of} diverge"),
            Subject::Destination(_) => format!("the destination of {name} does not take results"),
            Subject::Disk => "the journal's disk is nearly full".to_owned(),
            Subject::Flood => {
                let all = self.state.parked.len();
                let others = all.saturating_sub(self.state.alerts.of_parked());
                format!("messages of {others} more streams are parked")
            }
            Subject::Gap(_) => format!("subscription {name} was handed results with a hole"),
            Subject::Held(_) => format!("stream {of} stands still"),
            Subject::HeldFlood => "very many streams stand still".to_owned(),
            Subject::Lag(_) => format!("subscription {name} is far behind"),
            Subject::Message(_, n) if alert.kind() == "message_parked" => {
                format!("{of}/{n} is parked")
            }
            Subject::Message(_, n) => format!("{of}/{n} keeps failing"),
            Subject::Outage(pool) => format!("pool {pool} fails whatever it is given"),
            Subject::Parked(_) => match span {
                Some((first, last)) if first != last => {
                    format!("{count} messages of {of} are parked, the first is {of}/{first}")
                }
                Some((first, _)) => format!("{of}/{first} is parked"),
                None => format!("messages of {of} were parked"),
            },
            Subject::Poison(_, n) => format!("{of}/{n} is suspected poison"),
            Subject::Pool(pool) => format!("pool {pool} has work and no fit worker"),
            Subject::Storm => "very many alerts fire at once".to_owned(),
            Subject::Unreachable(worker) => format!("worker {worker} can't be connected to"),
            Subject::Worker(worker) => format!("worker {worker} was taken out for failing"),
        };
        AlertStatus {
            id,
            stage: alert.stage,
            severity: alert.severity,
            kind: alert.kind(),
            stream,
            sequence: subject.sequence().or_else(|| span.map(|(first, _)| first)),
            subscription,
            worker: subject.worker().cloned(),
            title: title.into(),
            detail,
            count,
            span,
            since: alert.since,
            until: alert.until,
            acknowledged_by: alert.acknowledged_by.clone(),
        }
    }
}
