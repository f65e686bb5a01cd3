//! Alerts: one per cause, folded from the journal; and what is due to whom. Nothing here is a
//! queue: what a target has to be told follows from how the alert stands and what the target was
//! last told, so a target that is away for a day hears what is true when it is back.

use std::{
    collections::{BTreeMap, VecDeque},
    ops::RangeInclusive,
    sync::Arc,
};

use rollcall_common::{
    ids::{Sequence, StreamName},
    limits::{ALERTS_RESOLVED, MESSAGE_ALERTS},
    time::Time,
};

use super::settings::{AlertTarget, OnceSeen};
use crate::record::{AlertId, AlertRecord, AlertStage, Severity, Subject};

/// What a target is told.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum NoticeKind {
    /// Somebody has seen it.
    Acknowledged,
    /// The alert fires.
    Firing,
    /// It still does.
    Repeated,
    /// Its cause is gone.
    Resolved,
    /// It got worse.
    Worse,
}

impl NoticeKind {
    /// The word that the outside sees.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Acknowledged => "acknowledged",
            Self::Firing => "firing",
            Self::Repeated => "repeated",
            Self::Resolved => "resolved",
            Self::Worse => "worse",
        }
    }
}

/// What a target was last told of an alert.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Told {
    pub(super) at: Time,
    pub(super) severity: Severity,
    pub(super) stage: AlertStage,
    /// Whether it was taken, as far as is known.
    pub(super) taken: bool,
}

/// Whether a target is to be told something.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Due {
    /// Not earlier than this.
    Later(Time),
    /// Not as things stand.
    Never,
    /// This.
    Now(NoticeKind),
}

/// One alert.
#[derive(Clone, Debug)]
pub(super) struct Alert {
    pub(super) subject: Subject,
    pub(super) severity: Severity,
    pub(super) stage: AlertStage,
    /// How often it has happened: for a message, how often it has failed.
    pub(super) count: u32,
    pub(super) detail: Box<str>,
    pub(super) since: Time,
    /// When its cause was gone.
    pub(super) until: Option<Time>,
    /// Who has seen it.
    pub(super) acknowledged_by: Option<Box<str>>,
    told: BTreeMap<Arc<str>, Told>,
}

impl Alert {
    /// Tells apart what `target` is told, and is the same on every try of one notice.
    pub(super) fn notice_number(&self, target: &str, kind: NoticeKind) -> u64 {
        let last = self.told.get(target).filter(|told| told.taken);
        let last = last.map_or(0, |told| told.at.as_micros());
        let kind = match kind {
            NoticeKind::Firing => 0,
            NoticeKind::Repeated => 1,
            NoticeKind::Resolved => 2,
            NoticeKind::Worse => 3,
            NoticeKind::Acknowledged => 4,
        };
        last.wrapping_mul(8) + kind
    }

    /// Whether `target` was never told of it.
    pub(super) fn is_new_to(&self, target: &str) -> bool {
        !self.told.contains_key(target)
    }

    /// What `target` is to be told; `stream` is the name of the stream that it is about.
    pub(super) fn due(&self, target: &AlertTarget, stream: Option<&StreamName>, now: Time) -> Due {
        let told = self.told.get(&target.name);
        let (at, kind) = match (self.stage, told) {
            (AlertStage::Resolved, Some(told)) if told.stage != AlertStage::Resolved => {
                return Due::Now(NoticeKind::Resolved);
            }
            (AlertStage::Resolved, _) => return Due::Never,
            (AlertStage::Acknowledged, Some(told))
                if target.once_seen == OnceSeen::Tell
                    && told.taken
                    && told.stage == AlertStage::Firing =>
            {
                return Due::Now(NoticeKind::Acknowledged);
            }
            (AlertStage::Acknowledged, _) if target.once_seen != OnceSeen::Repeat => {
                return Due::Never;
            }
            (_, Some(told)) if !told.taken => return Due::Now(NoticeKind::Firing),
            (_, Some(told)) if self.severity > told.severity => return Due::Now(NoticeKind::Worse),
            _ if !self.concerns(target, stream) => return Due::Never,
            (_, None) => (self.since + target.after, NoticeKind::Firing),
            (_, Some(told)) => match target.repeat {
                Some(repeat) => (told.at + repeat, NoticeKind::Repeated),
                None => return Due::Never,
            },
        };
        if at <= now { Due::Now(kind) } else { Due::Later(at) }
    }

    /// Records that make it again, but for its end.
    fn export(&self, id: AlertId) -> Vec<AlertRecord> {
        let Self {
            subject,
            severity,
            stage: _,
            count,
            detail,
            since,
            until: _,
            acknowledged_by,
            told,
        } = self;
        let mut records = vec![AlertRecord::Raised {
            alert: id,
            at: *since,
            subject: subject.clone(),
            severity: *severity,
            count: *count,
            detail: detail.clone(),
        }];
        records.extend(acknowledged_by.iter().map(|by| AlertRecord::Acknowledged {
            alert: id,
            at: *since,
            by: by.clone(),
        }));
        records.extend(told.iter().map(|(target, told)| {
            let Told { at, severity, stage, taken } = *told;
            let target = Arc::clone(target);
            AlertRecord::Told { alert: id, at, target, severity, stage, taken }
        }));
        records
    }

    fn concerns(&self, target: &AlertTarget, stream: Option<&StreamName>) -> bool {
        let of_stream = target.streams.is_empty()
            || stream.is_none_or(|name| target.streams.iter().any(|p| p.matches(name.as_str())));
        let failing = matches!(self.subject, Subject::Message(..)) && !self.is_parking();
        let often = target.after_failures.is_some_and(|least| self.count >= least);
        of_stream && self.severity >= target.min_severity && (!failing || often)
    }

    /// Whether it is about a message that is parked already.
    fn is_parking(&self) -> bool {
        self.severity >= Severity::Error
    }

    /// The kind that the outside sees (contract §6).
    pub(super) fn kind(&self) -> &'static str {
        match self.subject {
            Subject::AnswersDiverge(_) => "answers_diverge",
            Subject::Destination(_) => "destination_failing",
            Subject::Disk => "disk_low",
            Subject::Flood => "message_parked",
            Subject::Gap(_) => "position_gap",
            Subject::Held(_) | Subject::HeldFlood => "stream_held",
            Subject::Lag(_) => "subscription_lagging",
            Subject::Parked(_) => "message_parked",
            Subject::Message(..) if self.is_parking() => "message_parked",
            Subject::Message(..) => "message_failing",
            Subject::Outage(_) => "pool_outage",
            Subject::Poison(..) => "poison_suspected",
            Subject::Pool(_) => "no_worker",
            Subject::Unreachable(_) => "worker_unreachable",
            Subject::Storm => "alert_storm",
            Subject::Worker(_) => "worker_ejected",
        }
    }
}

/// An alert, as people and targets see it.
#[derive(Clone, Debug)]
pub struct AlertStatus {
    /// Its number.
    pub id: AlertId,
    /// How far its life is.
    pub stage: AlertStage,
    /// How bad it is.
    pub severity: Severity,
    /// What has happened (contract §6).
    pub kind: &'static str,
    /// The stream that it is about.
    pub stream: Option<StreamName>,
    /// The message of that stream.
    pub sequence: Option<Sequence>,
    /// The subscription that it is about.
    pub subscription: Option<Arc<str>>,
    /// The worker that it is about.
    pub worker: Option<Arc<str>>,
    /// One line for people.
    pub title: Box<str>,
    /// What else a person wants to know.
    pub detail: Box<str>,
    /// How often it has happened: parked messages of the stream, failures of the message.
    pub count: u32,
    /// The first and the last of the stream's parked messages.
    pub span: Option<(Sequence, Sequence)>,
    /// Since when.
    pub since: Time,
    /// When its cause was gone.
    pub until: Option<Time>,
    /// Who has seen it.
    pub acknowledged_by: Option<Box<str>>,
}

/// All alerts: the live ones, and the newest of those that are resolved.
#[derive(Debug, Default)]
pub(super) struct Alerts {
    all: BTreeMap<AlertId, Alert>,
    /// Those that are not resolved, by cause.
    live: BTreeMap<Subject, AlertId>,
    /// Those that are, the oldest first.
    resolved: VecDeque<AlertId>,
    last: u64,
    /// Live ones about messages.
    messages: usize,
    /// Those of them about a stream's parked ones.
    parked: usize,
    /// Live ones about a stream that stands still.
    held: usize,
}

impl Alerts {
    pub(super) fn get(&self, id: AlertId) -> Option<&Alert> {
        self.all.get(&id)
    }

    /// The live alert of this cause.
    pub(super) fn find(&self, subject: &Subject) -> Option<(AlertId, &Alert)> {
        let id = *self.live.get(subject)?;
        self.all.get(&id).map(|alert| (id, alert))
    }

    /// Whether none is live.
    pub(super) fn is_quiet(&self) -> bool {
        self.live.is_empty()
    }

    /// The causes of the live ones.
    pub(super) fn subjects(&self) -> impl Iterator<Item = &Subject> {
        self.live.keys()
    }

    /// Those of the live ones' causes that lie between two.
    pub(super) fn among(&self, causes: RangeInclusive<Subject>) -> Vec<Subject> {
        self.live.range(causes).map(|(subject, _)| subject.clone()).collect()
    }

    /// All of them, by number.
    pub(super) fn iter(&self) -> impl DoubleEndedIterator<Item = (AlertId, &Alert)> {
        self.all.iter().map(|(id, alert)| (*id, alert))
    }

    /// The number that the next one gets.
    pub(super) fn next_id(&self) -> AlertId {
        AlertId(self.last + 1)
    }

    /// How many more alerts there may be about messages.
    pub(super) fn room_for_messages(&self) -> usize {
        MESSAGE_ALERTS.saturating_sub(self.messages)
    }

    /// Live ones about a stream's parked messages.
    pub(super) fn of_parked(&self) -> usize {
        self.parked
    }

    /// How many ask for somebody, and how bad the worst of them is.
    pub(super) fn firing(&self) -> (usize, Option<Severity>) {
        let live = self.live.values().filter_map(|id| self.all.get(id));
        let firing = live.filter(|alert| alert.stage == AlertStage::Firing);
        let firing = firing.filter(|alert| alert.subject != Subject::Storm);
        firing.fold((0, None), |(count, worst), alert| (count + 1, worst.max(Some(alert.severity))))
    }

    /// Live ones about a stream that stands still.
    pub(super) fn held(&self) -> usize {
        self.held
    }

    /// The number of the last one that there was.
    pub(super) fn last(&self) -> u64 {
        self.last
    }

    /// Goes on numbering after `last`.
    pub(super) fn number_after(&mut self, last: u64) {
        self.last = self.last.max(last);
    }

    /// Records that make them all again.
    pub(super) fn export(&self) -> Vec<AlertRecord> {
        let Self { all, resolved, live: _, last: _, messages: _, parked: _, held: _ } = self;
        let mut records = Vec::new();
        // One that is over makes room for the next of its cause.
        for (id, alert) in resolved.iter().filter_map(|id| Some((*id, all.get(id)?))) {
            records.extend(alert.export(id));
            records.extend(alert.until.map(|at| AlertRecord::Resolved { alert: id, at }));
        }
        let live = all.iter().filter(|(_, alert)| alert.stage != AlertStage::Resolved);
        records.extend(live.flat_map(|(id, alert)| alert.export(*id)));
        records
    }

    /// Every fact of them, one a line: see [`State::facts`](super::State::facts).
    pub(super) fn facts(&self) -> Vec<String> {
        let Self { all, live, resolved, last, messages, parked, held } = self;
        let counts = format!("of messages {messages}, of parked ones {parked}, {held} held");
        let mut facts = vec![format!("alerts: last {last}, {counts}, {resolved:?}")];
        facts.extend(all.iter().map(|(id, alert)| format!("alert {id:?}: {alert:?}")));
        facts.extend(live.iter().map(|(subject, id)| format!("live {subject:?}: {id:?}")));
        facts
    }

    pub(super) fn apply(&mut self, record: &AlertRecord) {
        match record {
            AlertRecord::Acknowledged { alert, by, .. } => {
                if let Some(alert) = self.all.get_mut(alert) {
                    alert.stage = AlertStage::Acknowledged;
                    alert.acknowledged_by = Some(by.clone());
                }
            }
            AlertRecord::Raised { alert, at, subject, severity, count, detail } => {
                self.raise(*alert, subject, (*severity, *count, detail), *at);
            }
            AlertRecord::Resolved { alert, at } => self.resolve(*alert, *at),
            AlertRecord::Told { alert, at, target, severity, stage, taken } => {
                if let Some(alert) = self.all.get_mut(alert) {
                    let (at, severity, stage, taken) = (*at, *severity, *stage, *taken);
                    let told = Told { at, severity, stage, taken };
                    alert.told.insert(Arc::clone(target), told);
                }
            }
        }
    }

    fn raise(
        &mut self,
        id: AlertId,
        subject: &Subject,
        (severity, count, detail): (Severity, u32, &str),
        at: Time,
    ) {
        if let Some(alert) = self.all.get_mut(&id) {
            if severity > alert.severity {
                // Whoever has seen it has not seen this.
                alert.stage = AlertStage::Firing;
                alert.acknowledged_by = None;
            }
            (alert.severity, alert.count, alert.detail) = (severity, count, detail.into());
            return;
        }
        self.last = self.last.max(id.0);
        self.messages += usize::from(is_of_messages(subject));
        self.parked += usize::from(matches!(subject, Subject::Parked(_)));
        self.held += usize::from(matches!(subject, Subject::Held(_)));
        self.live.insert(subject.clone(), id);
        let alert = Alert {
            subject: subject.clone(),
            severity,
            stage: AlertStage::Firing,
            count,
            detail: detail.into(),
            since: at,
            until: None,
            acknowledged_by: None,
            told: BTreeMap::new(),
        };
        self.all.insert(id, alert);
    }

    fn resolve(&mut self, id: AlertId, at: Time) {
        let Some(alert) = self.all.get_mut(&id) else {
            return;
        };
        alert.stage = AlertStage::Resolved;
        alert.until = Some(at);
        if self.live.remove(&alert.subject).is_some() {
            self.messages -= usize::from(is_of_messages(&alert.subject));
            self.parked -= usize::from(matches!(alert.subject, Subject::Parked(_)));
            self.held -= usize::from(matches!(alert.subject, Subject::Held(_)));
            self.resolved.push_back(id);
        }
        while self.resolved.len() > ALERTS_RESOLVED {
            if let Some(oldest) = self.resolved.pop_front() {
                self.all.remove(&oldest);
            }
        }
    }
}

/// Whether there may be very many of it, because there are very many messages.
const fn is_of_messages(subject: &Subject) -> bool {
    matches!(subject, Subject::Message(..) | Subject::Parked(_) | Subject::Poison(..))
}
