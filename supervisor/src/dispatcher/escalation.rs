//! What a person has to know: alerts are raised, get worse, and are resolved when their cause is
//! gone. Causes that a record speaks of follow at once ([`Signal`]); those that only time tells
//! are `watching`'s.

use std::sync::Arc;

use rollcall_common::{
    ids::{Sequence, StreamId},
    limits::REASON_BYTES,
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
            Record::Passed { stream, first, last, at } => {
                Self::Passed(*stream, (*first, *last), *at)
            }
            Record::Parked { stream, sequence, at, .. } => Self::Parked(*stream, *sequence, *at),
            Record::Accepted { .. }
            | Record::Alert(_)
            | Record::Arranged { .. }
            | Record::Audited(_)
            | Record::Batched { .. }
            | Record::Checkpointed { .. }
            | Record::Base(_)
            | Record::Copied { .. }
            | Record::CopiedResult { .. }
            | Record::Delivered { .. }
            | Record::Opened { .. }
            | Record::PassedOver { .. }
            | Record::Paused { .. }
            | Record::Resumed { .. }
            | Record::Rewound { .. }
            | Record::Scanned { .. }
            | Record::Started { .. }
            | Record::Subscribed { .. }
            | Record::Suspected { .. }
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
            }
            Signal::Parked(stream, sequence, at) => self.escalate_parking(stream, sequence, at),
            Signal::Settled(stream, sequence, at) => {
                if !self.state.alerts.is_quiet() {
                    self.resolve_alert(&Subject::Message(stream, sequence), at);
                    self.resolve_alert(&Subject::Poison(stream, sequence), at);
                    if self.state.alerts.flood_is_over() {
                        self.resolve_alert(&Subject::Flood, at);
                    }
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
        let entry = self.state.stream(stream);
        if entry.settings.on_exhausted == OnExhausted::Skip {
            // Nobody is waited for.
            return self.resolve_alert(&Subject::Message(stream, sequence), at);
        }
        let subject = Subject::Message(stream, sequence);
        let known = self.state.alerts.find(&subject).is_some();
        if !known && !self.state.alerts.has_room_for_messages() {
            let detail = "see the list of parked messages";
            return self.raise(Subject::Flood, (Severity::Critical, 1), detail.to_owned(), at);
        }
        let entry = self.state.stream(stream);
        let Some((slot, parking)) = entry.slot(sequence).and_then(|s| Some((s, s.parking()?)))
        else {
            return;
        };
        let (reason, failures) = (parking.reason.clone(), slot.failures);
        let behind = entry.next.0 - 1 - sequence.0;
        let detail = format!("{reason}{}; {behind} wait behind it", self.story(stream, sequence));
        self.raise(subject, (Severity::Error, failures), detail, at);
    }

    /// Parked messages that have no alert, because their stream would not have waited for a person
    /// until now.
    pub(super) fn escalate_parked(&mut self, stream: StreamId, now: Time) {
        let parked: Vec<Sequence> = self.state.stream(stream).parked.iter().collect();
        for sequence in parked {
            if self.state.alerts.find(&Subject::Message(stream, sequence)).is_none() {
                self.escalate_parking(stream, sequence, now);
            }
        }
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
        mut detail: String,
        now: Time,
    ) {
        let (alert, severity) = match self.state.alerts.find(&subject) {
            Some((_, known)) if known.severity >= severity && known.count >= count => return,
            Some((id, known)) => (id, known.severity.max(severity)),
            None => (self.state.alerts.next_id(), severity),
        };
        while detail.len() > REASON_BYTES {
            detail.pop();
        }
        let (at, detail) = (now, detail.into());
        let record = AlertRecord::Raised { alert, at, subject, severity, count, detail };
        self.commit(Record::Alert(record));
        self.consider(alert);
    }

    /// An alert's cause is gone.
    pub(super) fn resolve_alert(&mut self, subject: &Subject, now: Time) {
        if let Some((alert, _)) = self.state.alerts.find(subject) {
            self.commit(Record::Alert(AlertRecord::Resolved { alert, at: now }));
            self.consider(alert);
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
        self.adopt_targets(now);
        if !self.state.alerts.is_quiet() {
            self.worry(now);
        }
    }

    /// A worker was taken out.
    pub(super) fn worker_ejected(&mut self, worker: WorkerKey, now: Time) {
        let worker = self.roster.worker(worker);
        let id = Arc::clone(&worker.id);
        let detail =
            format!("it failed again and again; it is tried again at {}", worker.ejected_until);
        self.raise(Subject::Worker(id), (Severity::Warning, 1), detail, now);
        self.worry(now);
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
        self.worry(now);
    }
}
