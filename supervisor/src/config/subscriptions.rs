//! `[subscriptions.NAME]`: who gets the results.

use std::time::Duration;

use rollcall_common::{
    files,
    http::{Address, OwnHeader},
    ids::Position,
    limits::{OWN_HEADERS, REPLAY_RATE, RESULTS_AT_ONCE, SECRET_FILE_BYTES},
};

use super::{
    node::{Node, Value},
    section::Section,
    values::{self, Checked, DAY, SHORTEST, address, duration, one_or_more, text, whole},
};
use crate::{
    record::{DEFAULT_TIMEOUT, DeliveryMode, Origin, Start, SubscriptionSpec},
    secrets::Secret,
};

/// `[subscriptions.NAME]`.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Subscription {
    /// Its name.
    pub name: Box<str>,
    /// Which streams, as patterns with `*`.
    pub streams: Box<[Box<str>]>,
    /// Its destinations, tried in order; none: it is a pull subscription.
    pub urls: Vec<Address>,
    /// Where it begins, if it is new.
    pub start: Start,
    /// What its deliveries are signed with.
    pub secrets: Vec<Secret>,
    /// Headers of its own that its deliveries have.
    pub headers: Vec<OwnHeader>,
    /// Most results in one request.
    pub batch: u32,
    /// How long a delivery may take.
    pub timeout: Duration,
    /// Replayed results per second at most; 0: no bound.
    pub replay_rate: u32,
}

impl Subscription {
    /// A subscription that nothing is said of but its destinations.
    #[must_use]
    pub fn new(name: &str, urls: Vec<Address>) -> Self {
        Self {
            name: name.into(),
            streams: ["*".into()].into(),
            urls,
            start: Start::Live,
            secrets: Vec::new(),
            headers: Vec::new(),
            batch: 1,
            timeout: DEFAULT_TIMEOUT,
            replay_rate: 0,
        }
    }

    /// What of it is written down; not its secrets, which are read here again.
    #[must_use]
    pub fn plan(&self) -> SubscriptionSpec {
        let way = if self.urls.is_empty() { DeliveryMode::Pull } else { DeliveryMode::Push };
        SubscriptionSpec {
            streams: self.streams.clone(),
            urls: self.urls.iter().map(|url| url.to_string().into()).collect(),
            batch: self.batch,
            timeout: self.timeout,
            replay_rate: self.replay_rate,
            headers: self.headers.iter().map(|header| header.name.as_str().into()).collect(),
            start: self.start,
            ..SubscriptionSpec::new(Origin::Configuration, way)
        }
    }

    pub(super) fn read_all(section: Section<'_>) -> Vec<Self> {
        section.each(values::name, Self::read)
    }

    fn read(name: &str, mut section: Section<'_>) -> Self {
        let urls = section.read("url", |node| one_or_more(node, address));
        let mut new = Self::new(name, urls.unwrap_or_default());
        let streams = section.read("streams", |node| one_or_more(node, pattern));
        new.streams = streams.map_or(new.streams, Into::into);
        new.start = section.read("start", start).unwrap_or(new.start);
        let secrets = section.read("secret", |node| one_or_more(node, secret));
        new.secrets = secrets.unwrap_or_default();
        new.headers = section.part("headers").all(own_header);
        if new.headers.len() > OWN_HEADERS {
            let text = format!("are too many; expected at most {OWN_HEADERS}");
            section.problem(None, "headers", &text);
        }
        let batch: Option<u32> = section.read("batch", |node| whole(node, 1..=RESULTS_AT_ONCE));
        new.batch = batch.unwrap_or(new.batch);
        let timeout = section.read("timeout", |node| duration(node, SHORTEST..=DAY));
        new.timeout = timeout.unwrap_or(new.timeout);
        let rate = section.read("replay_rate", |node| whole(node, 0..=REPLAY_RATE));
        new.replay_rate = rate.unwrap_or(new.replay_rate);
        section.close();
        new
    }
}

fn pattern(node: &Node) -> Checked<Box<str>> {
    let pattern = text(node)?;
    values::pattern(pattern).map_err(|text| node.wrong(format!("{}: {text}", node.shown())))?;
    Ok(pattern.into())
}

fn start(node: &Node) -> Checked<Start> {
    if let Value::Whole(value) = node.value
        && let Ok(position) = i64::try_from(value).and_then(u64::try_from)
    {
        return Ok(Start::After(Position(position)));
    }
    match node.text() {
        Some("live") => Ok(Start::Live),
        Some("beginning") => Ok(Start::After(Position(0))),
        Some(_) | None => {
            Err(node.unfit("\"live\", \"beginning\" or a position, a whole number from 0"))
        }
    }
}

/// A header: its value as it is, or `{ file = "…" }`. The value is never shown.
fn own_header(name: &str, node: &Node) -> Checked<OwnHeader> {
    let value = match &node.value {
        Value::Table(table) => {
            let path = table.get("file").filter(|_| table.len() == 1).and_then(Node::text);
            let path = path.ok_or_else(|| node.wrong("expected a value, or { file = \"…\" }"))?;
            let said = files::read_text(path.as_ref(), SECRET_FILE_BYTES);
            let said = said.map_err(|error| node.wrong(format!("{path:?}: {error}")))?;
            said.trim_end_matches(['\r', '\n']).to_owned()
        }
        Value::Boolean(_)
        | Value::Date
        | Value::Float(_)
        | Value::List(_)
        | Value::Text(_)
        | Value::Whole(_) => {
            let value = node.text();
            value.ok_or_else(|| node.wrong("expected a string, or { file = \"…\" }"))?.to_owned()
        }
    };
    OwnHeader::new(name, &value).map_err(|error| node.wrong(error.to_string()))
}

fn secret(node: &Node) -> Checked<Secret> {
    let secret = node.text().and_then(|text| text.parse().ok());
    secret
        .ok_or_else(|| node.wrong("is no secret (not shown); expected \"whsec_\" and then base64"))
}
