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
    ids::StreamName,
    limits::{NOTICES_AT_ONCE, RETRY_AFTER_MAX},
    time::Time,
};

use super::{
    Dispatcher,
    alert::{Alert, AlertStatus, Due, NoticeKind, Told},
    effect::{Effect, Notice, Reply},
    event::{RequestId, TellFailure},
    timers::Timer,
};
use crate::record::{AlertId, AlertRecord, AlertStage, Record, Subject};

/// First and longest wait before a target that failed is asked again.
const RETRY_WAIT: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(300));

/// How it stands with one target. Soft: what it was told is in the alerts.
#[derive(Debug)]
pub(super) struct Teller {
    /// Alerts of which it may have to be told.
    candidates: BTreeSet<AlertId>,
    /// Notices that are out, and what they say.
    out: BTreeMap<AlertId, Told>,
    /// How many times in a row it failed.
    misses: u32,
    /// Until when it is left alone.
    paused_until: Time,
}

impl Teller {
    fn is_free(&self, now: Time) -> bool {
        // One that fails is tried with one notice first.
        let room = if self.misses == 0 { NOTICES_AT_ONCE } else { 1 };
        self.paused_until <= now && self.out.len() < room
    }
}

impl Teller {
    /// Whether something waits, nothing is out, and no timer will change that.
    pub(super) fn is_idle_with_work(&self, timed: impl Fn(Time) -> bool) -> bool {
        !self.candidates.is_empty() && self.out.is_empty() && !timed(self.paused_until)
    }
}

impl Dispatcher {
    /// The targets are others, or have been told nothing yet by this process.
    pub(super) fn adopt_targets(&mut self, now: Time) {
        let names: BTreeSet<Arc<str>> =
            self.settings.alert_targets.iter().map(|target| Arc::clone(&target.name)).collect();
        self.tellers.retain(|name, _| names.contains(name));
        let all: BTreeSet<AlertId> = self.state.alerts.iter().map(|(id, _)| id).collect();
        for name in names {
            let teller = self.tellers.entry(name).or_insert_with(|| Teller {
                candidates: BTreeSet::new(),
                out: BTreeMap::new(),
                misses: 0,
                paused_until: Time::default(),
            });
            teller.candidates.extend(&all);
        }
        self.pump_notices(now);
    }

    /// An alert is not what it was: who has to be told?
    pub(super) fn consider(&mut self, alert: AlertId) {
        for teller in self.tellers.values_mut() {
            teller.candidates.insert(alert);
        }
    }

    /// Sends what is due.
    pub(super) fn pump_notices(&mut self, now: Time) {
        let settings = Arc::clone(&self.settings);
        for target in &settings.alert_targets {
            while let Some(id) = self.next_candidate(&target.name, now) {
                let Some(alert) = self.state.alerts.get(id) else {
                    continue;
                };
                match alert.due(target, self.stream_of(&alert.subject), now) {
                    Due::Later(at) => self.timers.set(at, Timer::Alert(id)),
                    Due::Never => {}
                    Due::Now(kind) => {
                        let number = alert.notice_number(&target.name, kind);
                        let new = alert.is_new_to(&target.name);
                        let (severity, stage) = (alert.severity, alert.stage);
                        let told = Told { at: now, severity, stage, taken: false };
                        let (target, alert) = (Arc::clone(&target.name), self.show(id, alert));
                        if new {
                            self.note_told((id, &target), told);
                        }
                        self.send_notice((alert, target), told, (kind, number));
                    }
                }
            }
        }
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
        if let Some(teller) = self.tellers.get_mut(&target) {
            teller.out.insert(alert.id, told);
            let attempt = teller.misses + 1;
            self.effects.push_back(Effect::Tell(Notice { alert, target, kind, number, attempt }));
        }
    }

    fn next_candidate(&mut self, target: &str, now: Time) -> Option<AlertId> {
        let teller = self.tellers.get_mut(target).filter(|teller| teller.is_free(now))?;
        // One notice of an alert at a time: a second one could overtake the first.
        let next = teller.candidates.iter().find(|id| !teller.out.contains_key(id)).copied()?;
        teller.candidates.remove(&next);
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
        // A reload may have taken the target away.
        let Some(teller) = self.tellers.get_mut(target) else {
            return;
        };
        let Some(told) = teller.out.remove(&alert) else {
            return;
        };
        teller.candidates.insert(alert);
        match outcome {
            Ok(()) => {
                teller.misses = 0;
                self.counters.notices += 1;
                self.note_told((alert, target), Told { at: now, taken: true, ..told });
            }
            Err(TellFailure { retry_after }) => {
                teller.misses = teller.misses.saturating_add(1);
                self.counters.notices_failed += 1;
                let (first, most) = RETRY_WAIT;
                let wait = backoff::doubling(first, most, teller.misses, &mut self.rng);
                let asked = retry_after.unwrap_or_default().min(RETRY_AFTER_MAX);
                teller.paused_until = now + wait.max(asked);
                self.timers.set(teller.paused_until, Timer::Target);
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
                self.consider(id);
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

    fn show(&self, id: AlertId, alert: &Alert) -> AlertStatus {
        let subject = &alert.subject;
        let subscription = subject.subscription().and_then(|id| self.state.subscriptions.get(&id));
        let subscription = subscription.map(|entry| Arc::clone(&entry.name));
        let stream = self.stream_of(subject).cloned();
        let of = stream.as_ref().map_or("", StreamName::as_str);
        let name = subscription.as_deref().unwrap_or("that is gone");
        let title = match subject {
            Subject::AnswersDiverge(_) => format!("answers of stream {of} diverge"),
            Subject::Destination(_) => format!("the destination of {name} does not take results"),
            Subject::Disk => "the journal's disk is nearly full".to_owned(),
            Subject::Flood => "very many messages are parked".to_owned(),
            Subject::Gap(_) => format!("subscription {name} was handed results with a hole"),
            Subject::Held(_) => format!("stream {of} stands still"),
            Subject::Lag(_) => format!("subscription {name} is far behind"),
            Subject::Message(_, n) if alert.kind() == "message_parked" => {
                format!("{of}/{n} is parked")
            }
            Subject::Message(_, n) => format!("{of}/{n} keeps failing"),
            Subject::Outage(pool) => format!("pool {pool} fails whatever it is given"),
            Subject::Poison(_, n) => format!("{of}/{n} is suspected poison"),
            Subject::Pool(pool) => format!("pool {pool} has work and no fit worker"),
            Subject::Unreachable(worker) => format!("worker {worker} can't be connected to"),
            Subject::Worker(worker) => format!("worker {worker} was taken out for failing"),
        };
        AlertStatus {
            id,
            stage: alert.stage,
            severity: alert.severity,
            kind: alert.kind(),
            stream,
            sequence: subject.sequence(),
            subscription,
            worker: subject.worker().cloned(),
            title: title.into(),
            detail: alert.detail.clone(),
            since: alert.since,
            until: alert.until,
            acknowledged_by: alert.acknowledged_by.clone(),
        }
    }
}
