//! What is told: an alert, and what has become of it.

use rollcall_common::time::Time;
use serde::{Serialize, Serializer};
use sha2::{Digest as _, Sha256};

use super::text::hex;
use crate::{dispatcher::NoticeKind, record::Severity};

/// One thing to tell one target.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Notice {
    /// The alert as it stands.
    pub alert: AlertView,
    /// What has become of it.
    pub what: NoticeKind,
    /// Tells apart what is told of one alert, and is the same on every try of one notice: receivers
    /// know repeated tries by it.
    pub number: u64,
    /// Which try this is, from 1.
    pub attempt: u32,
}

/// An alert as receivers see it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct AlertView {
    /// Unique and stable within a journal.
    pub id: String,
    /// Which journal: ids of two journals may be the same.
    pub journal: String,
    /// `firing`, `acknowledged` or `resolved`.
    pub state: &'static str,
    /// How bad it is.
    pub severity: Severity,
    /// Its kind, as the contract names it.
    pub kind: &'static str,
    /// The stream that it is about.
    pub stream: Option<String>,
    /// The message in that stream.
    pub sequence: Option<u64>,
    /// The subscription that it is about.
    pub subscription: Option<String>,
    /// The worker that it is about.
    pub worker: Option<String>,
    /// In one line.
    pub title: String,
    /// At length.
    pub detail: String,
    /// How often it has happened.
    pub count: u32,
    /// The first and the last message, where it is about several of a stream.
    pub span: Option<(u64, u64)>,
    /// When it came up.
    pub since: Time,
    /// When it was over.
    pub until: Option<Time>,
}

/// The JSON of an alert (contract §6, "Alerts"), and which event it is told on.
#[derive(Serialize)]
struct Body<'a> {
    event: String,
    id: &'a str,
    state: &'a str,
    #[serde(serialize_with = "severity")]
    severity: Severity,
    kind: &'a str,
    stream: Option<&'a str>,
    sequence: Option<u64>,
    subscription: Option<&'a str>,
    worker: Option<&'a str>,
    title: &'a str,
    detail: &'a str,
    count: u32,
    first: Option<u64>,
    last: Option<u64>,
    since: Time,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it so")]
fn severity<S: Serializer>(severity: &Severity, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(severity.as_str())
}

impl Notice {
    /// The alert as JSON, with `event` beside what the contract names.
    pub(super) fn json(&self) -> serde_json::Result<Vec<u8>> {
        let alert = &self.alert;
        serde_json::to_vec(&Body {
            event: format!("alert.{}", self.what.as_str()),
            id: &alert.id,
            state: alert.state,
            severity: alert.severity,
            kind: alert.kind,
            stream: alert.stream.as_deref(),
            sequence: alert.sequence,
            subscription: alert.subscription.as_deref(),
            worker: alert.worker.as_deref(),
            title: &alert.title,
            detail: &alert.detail,
            count: alert.count,
            first: alert.span.map(|(first, _)| first),
            last: alert.span.map(|(_, last)| last),
            since: alert.since,
        })
    }

    /// What this notice is known by: the same on every try, another for every notice.
    pub(super) fn key(&self) -> String {
        hash(&[&self.alert.journal, &self.alert.id, &self.number.to_string()])
    }
}

impl AlertView {
    /// What this alert is known by outside: the same for all that is told of it.
    pub(super) fn key(&self) -> String {
        hash(&[&self.journal, &self.id])
    }

    /// The alert's own fields that are there, by name, for receivers that show them as a list.
    pub(super) fn facts(&self) -> Vec<(&'static str, String)> {
        let mut facts = vec![
            ("kind", self.kind.to_owned()),
            ("severity", self.severity.as_str().to_owned()),
            ("state", self.state.to_owned()),
        ];
        let sequence = self.sequence.map(|sequence| sequence.to_string());
        let optional = [
            ("stream", self.stream.clone()),
            ("sequence", sequence),
            ("subscription", self.subscription.clone()),
            ("worker", self.worker.clone()),
        ];
        facts.extend(optional.into_iter().filter_map(|(name, value)| Some((name, value?))));
        facts.push(("since", self.since.to_string()));
        facts.extend(self.until.map(|until| ("until", until.to_string())));
        facts
    }
}

/// 32 hex digits. The parts may hold anything.
fn hash(parts: &[&str]) -> String {
    let mut sha = Sha256::new();
    for part in parts {
        sha.update(part.len().to_be_bytes());
        sha.update(part);
    }
    hex(&sha.finalize(), 16)
}
