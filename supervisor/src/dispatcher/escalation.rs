//! What a person has to know: alerts are raised, get worse, and are resolved when their cause is
//! gone. Causes that a record speaks of follow at once ([`Signal`]); those that only time tells
//! are `watchdog`'s.

use std::sync::Arc;

use rollcall_common::{
    ids::{Sequence, StreamId},
    limits::{MESSAGE_ALERTS, REASON_BYTES},
    time::Time,
};

use super::{Dispatcher, Space, settings::OnExhausted, slot::Slot, worker::WorkerKey};
use crate::record::{AlertRecord, Audit, Record, Severity, Subject};

/// What a record means for alerts.
#[derive(Clone, Copy, Debug)]
pub(super) enum Signal {
    /// A message failed.
    Failed(StreamId, Sequence, Time),
    /// Nothing.
    None,
    /// Messages became their own results: the stream has no processing step any more.
    Passed(StreamId, (Sequence, Sequence), Time),
    /// A message waits for a person.
    Parked(StreamId, Sequence, Time),
    /// A message has its result, or is back with the workers.
    Settled(StreamId, Sequence, Time),
}

impl Signal {
    pub(super) fn of(record: &Record) -> Self {
        match record {
            Record::Answered { stream, sequence, at, .. }
            | Record::Retried { stream, sequence, at, .. } => {
                Self::Settled(*stream, *sequence, *at)
            }
            Record::Failed { stream, sequence, report, .. } => {
                Self::Failed(*stream, *sequence, report.ended_at)
            }
            Record::PassedThrough { stream, first, last, at } => {
                Self::Passed(*stream, (*first, *last), *at)
            }
            Record::Parked { stream, sequence, at, .. } => Self::Parked(*stream, *sequence, *at),
            Record::Accepted { .. }
            | Record::Alert(_)
            | Record::SubscriptionConfigured { .. }
            | Record::Audited(_)
            | Record::Batched { .. }
            | Record::Checkpointed { .. }
            | Record::Snapshot(_)
            | Record::Copied { .. }
            | Record::CopiedResult { .. }
            | Record::Delivered { .. }
            | Record::StreamCreated { .. }
            | Record::OutageBegan { .. }
            | Record::OutageEnded { .. }
            | Record::PassedOver { .. }
            | Record::Paused { .. }
            | Record::Resumed { .. }
            | Record::Rewound { .. }
            | Record::Scanned { .. }
            | Record::Started { .. }
            | Record::Subscribed { .. }
            | Record::WorkerDied { .. }
            | Record::SubscriptionPaused { .. }
            | Record::SubscriptionResumed { .. }
            | Record::Trimmed { .. }
            | Record::Unsubscribed { .. } => Self::None,
        }
    }
}

impl Dispatcher {
    /// Draws the conclusions from a record that was just taken in.
    pub(super) fn escalate(&mut self, signal: Signal) {
        match signal {
            Signal::Failed(stream, sequence, at) => self.escalate_failure(stream, sequence, at),
            Signal::None => {}
            Signal::Passed(stream, (first, last), at) => {
                let all = Subject::Message(stream, first)..=Subject::Message(stream, last);
                for subject in self.state.alerts.among(all) {
                    self.resolve_alert(&subject, at);
                }
                self.parking_over(stream, at);
            }
            Signal::Parked(stream, sequence, at) => self.escalate_parking(stream, sequence, at),
            Signal::Settled(stream, sequence, at) => {
                if !self.state.alerts.is_quiet() {
                    self.resolve_alert(&Subject::Message(stream, sequence), at);
                    self.resolve_alert(&Subject::Poison(stream, sequence), at);
                    self.parking_over(stream, at);
                }
            }
        }
    }

    /// The ladder by number of failures: somebody may want to know before a message is parked.
    fn escalate_failure(&mut self, stream: StreamId, sequence: Sequence, at: Time) {
        let failures = self.state.stream(stream).slot(sequence).map_or(0, |slot| slot.failures);
        let rungs = self.settings.alert_targets.iter().filter_map(|target| target.after_failures);
        if rungs.into_iter().any(|rung| rung == failures) {
            let detail = format!("it has failed {failures} times{}", self.story(stream, sequence));
            self.raise(
                Subject::Message(stream, sequence),
                (Severity::Warning, failures),
                detail,
                at,
            );
        }
    }

    fn escalate_parking(&mut self, stream: StreamId, sequence: Sequence, at: Time) {
        // That it fails is told no more: it waits for a person, or for nobody.
        self.resolve_alert(&Subject::Message(stream, sequence), at);
        self.escalate_parked(stream, at);
    }

    /// A stream may have parked messages of which nobody is told: all of one stream are one alert.
    pub(super) fn escalate_parked(&mut self, stream: StreamId, now: Time) {
        let entry = self.state.stream(stream);
        let subject = Subject::Parked(stream);
        let skips = entry.settings.on_exhausted == OnExhausted::Skip;
        if skips || entry.parked.is_empty() || self.state.alerts.find(&subject).is_some() {
            return;
        }
        if self.state.alerts.room_for_messages() == 0 {
            let detail = "the list of parked messages has all of them";
            return self.raise(Subject::Flood, (Severity::Critical, 1), detail.to_owned(), now);
        }
        let count = u32::try_from(entry.parked.len()).unwrap_or(u32::MAX);
        let detail = self.parked_detail(stream);
        self.raise(subject, (Severity::Error, count), detail, now);
    }

    /// What a person wants to know of the first parked message of a stream.
    pub(super) fn parked_detail(&self, stream: StreamId) -> String {
        let entry = self.state.stream(stream);
        let first = entry.parked.iter().next();
        let parking = first.and_then(|first| Some((first, entry.slot(first)?.parking()?)));
        let Some((first, parking)) = parking else {
            return String::new();
        };
        let behind = entry.next.0 - 1 - first.0;
        format!("{}{}; {behind} wait behind it", parking.reason, self.story(stream, first))
    }

    /// A stream's parked messages may all be decided. Where more streams had some than have alerts
    /// of their own, others get theirs now.
    fn parking_over(&mut self, stream: StreamId, now: Time) {
        if self.state.stream(stream).parked.is_empty() {
            self.resolve_alert(&Subject::Parked(stream), now);
        }
        if self.state.alerts.find(&Subject::Flood).is_none() {
            return;
        }
        let room = self.state.alerts.room_for_messages();
        if self.state.parked.len() > self.state.alerts.of_parked() {
            // Not for each one that goes: looking for the next ones is a look at all.
            if room < MESSAGE_ALERTS / 4 {
                return;
            }
            let alerts = &self.state.alerts;
            let untold = |stream: &StreamId| {
                let holds = self.state.stream(*stream).settings.on_exhausted == OnExhausted::Hold;
                holds && alerts.find(&Subject::Parked(*stream)).is_none()
            };
            let all = self.state.parked.iter().copied();
            let next: Vec<StreamId> = all.filter(untold).take(room).collect();
            let left = next.len() == room;
            next.into_iter().for_each(|stream| self.escalate_parked(stream, now));
            if left {
                return;
            }
        }
        self.resolve_alert(&Subject::Flood, now);
    }

    /// Who tried, and what came of it.
    fn story(&self, stream: StreamId, sequence: Sequence) -> String {
        let slot = self.state.stream(stream).slot(sequence);
        let history = slot.map(Slot::history).unwrap_or_default();
        let tried = history.iter().map(|report| {
            let (number, worker, ending) = (report.attempt, &report.worker, report.ending.as_str());
            let status = report.status.map(|status| format!(" {status}")).unwrap_or_default();
            format!("; attempt {number} on {worker}: {ending}{status}")
        });
        tried.collect()
    }

    /// Raises an alert, or makes it worse.
    pub(super) fn raise(
        &mut self,
        subject: Subject,
        (severity, count): (Severity, u32),
        detail: String,
        now: Time,
    ) {
        let known = self.state.alerts.find(&subject);
        if !known.is_some_and(|(_, one)| one.severity >= severity && one.count >= count) {
            self.restate(subject, (severity, count), detail, now);
        }
    }

    /// Raises an alert, or says how it stands now.
    pub(super) fn restate(
        &mut self,
        subject: Subject,
        (severity, count): (Severity, u32),
        detail: String,
        now: Time,
    ) {
        let (alert, severity) = match self.state.alerts.find(&subject) {
            Some((id, known)) => (id, known.severity.max(severity)),
            None => (self.state.alerts.next_id(), severity),
        };
        let (at, detail) = (now, cut(detail).into());
        let record = AlertRecord::Raised { alert, at, subject, severity, count, detail };
        self.commit(Record::Alert(record));
        self.mark_for_notification(alert);
    }

    /// An alert's cause is gone.
    pub(super) fn resolve_alert(&mut self, subject: &Subject, now: Time) {
        if let Some((alert, _)) = self.state.alerts.find(subject) {
            self.commit(Record::Alert(AlertRecord::Resolved { alert, at: now }));
            self.mark_for_notification(alert);
        }
    }

    /// Writes down what a person did.
    pub(super) fn audit(&mut self, (by, act): (&str, &str), on: String, reason: &str, now: Time) {
        let (by, act, on, reason) = (by.into(), act.into(), on.into(), reason.into());
        self.commit(Record::Audited(Audit { at: now, by, act, on, reason }));
    }

    /// The newest things that people did, the newest last.
    pub fn audited(&self) -> impl DoubleEndedIterator<Item = &Audit> {
        self.state.audit.iter()
    }

    /// Sets the soft side of alerts that were folded from a journal.
    pub(super) fn resume_alerts(&mut self, now: Time) {
        // Of what is parked each message had an alert once, and now the stream has.
        let told = |subject: &&Subject| matches!(subject, Subject::Message(..));
        let told: Vec<Subject> = self.state.alerts.subjects().filter(told).cloned().collect();
        for subject in told {
            let parked = subject.stream().zip(subject.sequence());
            let parked = parked.is_some_and(|(stream, at)| self.parking(stream, at).is_some());
            if parked {
                self.resolve_alert(&subject, now);
            }
        }
        for stream in self.state.parked.clone() {
            self.escalate_parked(stream, now);
        }
        self.adopt_targets(now);
        if !self.state.alerts.is_quiet() {
            self.schedule_check(now);
        }
    }

    /// A worker was taken out.
    pub(super) fn worker_ejected(&mut self, worker: WorkerKey, now: Time) {
        let worker = self.roster.worker(worker);
        let id = Arc::clone(&worker.id);
        let detail =
            format!("it failed again and again; it is tried again at {}", worker.ejected_until);
        self.raise(Subject::Worker(id), (Severity::Warning, 1), detail, now);
        self.schedule_check(now);
    }

    /// The journal's disk has room again, or has not.
    pub(super) fn space_changed(&mut self, now: Time) {
        if self.space == Space::Low {
            let detail = "new messages are refused; what is under way goes on in the reserve";
            self.raise(Subject::Disk, (Severity::Critical, 1), detail.to_owned(), now);
        } else {
            self.resolve_alert(&Subject::Disk, now);
        }
    }

    /// A late answer differs from the accepted one.
    pub(super) fn diverged(
        &mut self,
        (stream, sequence): (StreamId, Sequence),
        worker: WorkerKey,
        now: Time,
    ) {
        let worker = &self.roster.worker(worker).id;
        let detail = format!("the late answer of {worker} to message {sequence} is another one");
        self.diverged_at.insert(stream, now);
        self.raise(Subject::AnswersDiverge(stream), (Severity::Warning, 1), detail, now);
        self.schedule_check(now);
    }
}

/// A detail, as long as one may be.
pub(super) fn cut(mut detail: String) -> String {
    while detail.len() > REASON_BYTES {
        detail.pop();
    }
    detail
}
