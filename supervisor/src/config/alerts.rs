//! `[[alerts]]`: who is told of alerts, of which, and how.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use rollcall_common::{
    files,
    limits::{ALERT_REPEAT, ALERT_TIMEOUT, ALERTMANAGER_REPEAT, SECRET_FILE_BYTES},
    secret::Redacted,
    units::HumanDuration,
};

use super::{
    error::Place,
    node::{Node, Value},
    section::Section,
    values::{self, Checked, DAY, SHORTEST, duration, one_or_more, text, whole, word},
};
use crate::{
    alerts::{Email, Kind, Security, Smtp, Target},
    dispatcher::settings::{AlertTarget, OnceSeen, Pattern},
    record::Severity,
    secrets::Secret,
};

/// Where events go if nobody says otherwise.
const PAGERDUTY: &str = "https://events.pagerduty.com/v2/enqueue";
/// Characters of an integration's key at PagerDuty.
const ROUTING_KEY: usize = 32;
/// The longest time without a repeat that an Alertmanager is kept waiting.
const ALERTMANAGER_LONGEST: Duration = Duration::from_secs(3600);
/// The longest age to wait for, and the longest time without a repeat.
const LONGEST: Duration = Duration::from_secs(30 * 86_400);

/// The kinds, as words.
#[derive(Clone, Copy)]
enum Word {
    Alertmanager,
    Command,
    Email,
    Log,
    Pagerduty,
    Slack,
    Webhook,
}

const KINDS: [(&str, Word); 7] = [
    ("alertmanager", Word::Alertmanager),
    ("command", Word::Command),
    ("email", Word::Email),
    ("log", Word::Log),
    ("pagerduty", Word::Pagerduty),
    ("slack", Word::Slack),
    ("webhook", Word::Webhook),
];

const SEVERITIES: [(&str, Severity); 4] = [
    ("info", Severity::Info),
    ("warning", Severity::Warning),
    ("error", Severity::Error),
    ("critical", Severity::Critical),
];

/// One of `[[alerts]]`.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Alerting {
    /// How to reach it.
    pub target: Target,
    /// What it is told.
    pub told: AlertTarget,
}

impl Alerting {
    /// The log, which is told if nobody else is.
    #[must_use]
    pub fn log() -> Self {
        Self::new(Kind::Log)
    }

    /// A target of which nothing is said but how to reach it.
    #[must_use]
    pub fn new(kind: Kind) -> Self {
        let name: Arc<str> = kind.name().into();
        let repeat = Some(match kind {
            Kind::Alertmanager { .. } => ALERTMANAGER_REPEAT,
            Kind::Command { .. }
            | Kind::Email(_)
            | Kind::Log
            | Kind::Pagerduty { .. }
            | Kind::Slack { .. }
            | Kind::Webhook { .. } => ALERT_REPEAT,
        });
        let target = Target { name: Arc::clone(&name), kind, timeout: ALERT_TIMEOUT, repeat };
        let told = AlertTarget {
            name,
            min_severity: Severity::Warning,
            after: Duration::ZERO,
            after_failures: None,
            repeat,
            once_seen: match &target.kind {
                // It takes what is not repeated as resolved.
                Kind::Alertmanager { .. } => OnceSeen::Repeat,
                Kind::Pagerduty { .. } => OnceSeen::Tell,
                Kind::Command { .. }
                | Kind::Email(_)
                | Kind::Log
                | Kind::Slack { .. }
                | Kind::Webhook { .. } => OnceSeen::Silence,
            },
            streams: Vec::new(),
        };
        Self { target, told }
    }

    /// All of them; the log, if there is none.
    pub(super) fn read_all(root: &mut Section<'_>) -> Vec<Self> {
        let mut names = BTreeSet::new();
        let items = root.items("alerts", |mut section| {
            let place = section.place_of("name");
            let read = Self::read(&mut section);
            if let Some(Self { target, .. }) = &read
                && !names.insert(Arc::clone(&target.name))
            {
                taken(&mut section, place, &target.name);
            }
            section.close();
            read
        });
        match items {
            None => vec![Self::log()],
            Some(all) => all.into_iter().flatten().collect(),
        }
    }

    /// One; `None` when its kind can't be told, or lacks a key.
    fn read(section: &mut Section<'_>) -> Option<Self> {
        let said = section.place_of("kind").is_some();
        let word = section.read("kind", |node| word(node, &KINDS));
        if !said {
            let kinds: Vec<_> = KINDS.iter().map(|(word, _)| format!("{word:?}")).collect();
            section.problem(None, "kind", &format!("absent; expected {}", kinds.join(" or ")));
        }
        let Some(word) = word else {
            // What else it says is neither right nor wrong.
            section.forget();
            return None;
        };
        let kind = kind(section, word);
        let repeating = matches!(word, Word::Alertmanager);
        let common = Common::read(section, if repeating { Repeat::Needed } else { Repeat::Wanted });
        let mut new = Self::new(kind?);
        common.apply(&mut new);
        Some(new)
    }
}

fn taken(section: &mut Section<'_>, place: Option<Place>, name: &str) {
    let text = if place.is_some() {
        format!("{name:?} is another target's name; expected a name of its own")
    } else {
        format!("another target is the same ({name}); expected each once, or a name for each")
    };
    section.problem(place, "name", &text);
}

/// Whether a target can do without repeats.
#[derive(Clone, Copy, Eq, PartialEq)]
enum Repeat {
    /// It forgets what is not repeated.
    Needed,
    /// They are there for people.
    Wanted,
}

/// The keys that all kinds have.
struct Common {
    name: Option<String>,
    min_severity: Option<Severity>,
    after: Option<Duration>,
    after_failures: Option<u32>,
    repeat: Option<Option<Duration>>,
    streams: Option<Vec<Pattern>>,
    timeout: Option<Duration>,
}

impl Common {
    fn read(section: &mut Section<'_>, repeats: Repeat) -> Self {
        Self {
            name: section.read("name", |node| {
                let name = text(node)?;
                values::name(name).map_err(|text| node.wrong(text))?;
                Ok(name.to_owned())
            }),
            min_severity: section.read("min_severity", |node| word(node, &SEVERITIES)),
            after: section.read("after", |node| duration(node, Duration::ZERO..=LONGEST)),
            after_failures: section.read("after_failures", |node| whole(node, 1..=1000)),
            repeat: section.read("repeat", |node| repeat(node, repeats)),
            streams: section.read("streams", |node| one_or_more(node, pattern)),
            timeout: section.read("timeout", |node| duration(node, SHORTEST..=DAY)),
        }
    }

    fn apply(self, to: &mut Alerting) {
        let Alerting { target, told } = to;
        if let Some(name) = self.name {
            target.name = name.into();
            told.name = Arc::clone(&target.name);
        }
        target.repeat = self.repeat.unwrap_or(target.repeat);
        told.repeat = target.repeat;
        target.timeout = self.timeout.unwrap_or(target.timeout);
        told.min_severity = self.min_severity.unwrap_or(told.min_severity);
        told.after = self.after.unwrap_or(told.after);
        told.after_failures = self.after_failures;
        told.streams = self.streams.unwrap_or_default();
    }
}

fn repeat(node: &Node, repeats: Repeat) -> Checked<Option<Duration>> {
    let least = Duration::from_secs(1);
    if repeats == Repeat::Needed {
        return duration(node, least..=ALERTMANAGER_LONGEST).map(Some);
    }
    let never = matches!(node.value, Value::Whole(0)) || node.text() == Some("never");
    let none =
        node.text().and_then(|text| text.parse().ok()) == Some(HumanDuration(Duration::ZERO));
    if never || none {
        return Ok(None);
    }
    duration(node, least..=LONGEST).map(Some).map_err(|wrong| {
        let text = format!("{}, or \"never\"", wrong.text);
        node.wrong(text)
    })
}

fn pattern(node: &Node) -> Checked<Pattern> {
    let pattern = text(node)?;
    values::pattern(pattern).map_err(|text| node.wrong(format!("{}: {text}", node.shown())))?;
    Ok(Pattern::new(pattern))
}

fn kind(section: &mut Section<'_>, word: Word) -> Option<Kind> {
    match word {
        Word::Alertmanager => alertmanager(section),
        Word::Command => {
            let command = required(section, "command", command)?;
            Some(Kind::Command { command })
        }
        Word::Email => email(section),
        Word::Log => Some(Kind::Log),
        Word::Pagerduty => {
            let url = section.read("url", url).unwrap_or_else(|| Redacted::new(PAGERDUTY));
            let routing_key = required(section, "routing_key", routing_key)?;
            Some(Kind::Pagerduty { url, routing_key })
        }
        Word::Slack => {
            let url = required(section, "url", url)?;
            Some(Kind::Slack { url })
        }
        Word::Webhook => {
            let url = required(section, "url", url);
            let secrets = section.read("secret", |node| one_or_more(node, secret));
            Some(Kind::Webhook { url: url?, secrets: secrets.unwrap_or_default() })
        }
    }
}

/// A key without which the kind is none.
fn required<T>(
    section: &mut Section<'_>,
    key: &'static str,
    check: impl FnOnce(&Node) -> Checked<T>,
) -> Option<T> {
    if section.place_of(key).is_none() {
        section.problem(None, key, "absent; this kind needs it");
    }
    section.read(key, check)
}

fn alertmanager(section: &mut Section<'_>) -> Option<Kind> {
    let said = [section.place_of("url"), section.place_of("urls")].into_iter().flatten().count();
    if said == 0 {
        section.problem(None, "url", "absent; this kind needs it");
    } else if said > 1 {
        section.problem(None, "urls", "stands beside url; expected one of them");
    }
    let one = section.read("url", |node| one_or_more(node, base_url));
    let list = section.read("urls", |node| one_or_more(node, base_url));
    Some(Kind::Alertmanager { urls: one.or(list)? })
}

fn email(section: &mut Section<'_>) -> Option<Kind> {
    let to = required(section, "to", |node| one_or_more(node, mailbox));
    let from = required(section, "from", mailbox);
    let smtp = required(section, "smtp", smtp);
    let place = section.place_of("username");
    let login = login(section);
    let smtp = smtp?;
    if place.is_some() && smtp.security == Security::None && !is_local(&smtp.host) {
        let text = "a password would travel readable; expected smtps:// or starttls:// in smtp";
        section.problem(place, "username", text);
    }
    Some(Kind::Email(Box::new(Email { to: to?, from: from?, smtp, login })))
}

fn login(section: &mut Section<'_>) -> Option<(String, Redacted)> {
    let place = section.place_of("username");
    let file = section.place_of("password_file");
    let passwords =
        usize::from(section.place_of("password").is_some()) + usize::from(file.is_some());
    if passwords > 1 {
        section.problem(file, "password_file", "stands beside password; expected one of them");
    }
    if (passwords > 0) != place.is_some() {
        let text = "a name and a password go together; expected both, or neither";
        section.problem(place, "username", text);
    }
    let name = section.read("username", |node| text(node).map(str::to_owned));
    let said = section.read("password", |node| {
        let text = node.text().filter(|text| !text.is_empty());
        text.map(Redacted::new)
            .ok_or_else(|| node.wrong("is no password (not shown); expected a string, not empty"))
    });
    name.zip(section.read("password_file", password_file).or(said))
}

fn is_local(host: &str) -> bool {
    host == "localhost" || host.parse().is_ok_and(|ip: std::net::IpAddr| ip.is_loopback())
}

fn command(node: &Node) -> Checked<Vec<String>> {
    let expected = "a list: a program and its arguments, as [\"/usr/bin/tell\", \"ops\"]";
    let items = node.list().ok_or_else(|| node.unfit(expected))?;
    let words = items.iter().enumerate().map(|(at, item)| match item.text() {
        Some(word) if at > 0 || !word.is_empty() => Ok(word.to_owned()),
        Some(_) | None => Err(item.unfit(if at == 0 { "a program" } else { "a string" })),
    });
    let words: Vec<String> = words.collect::<Checked<_>>()?;
    if words.is_empty() {
        return Err(node.wrong(format!("the list is empty; expected {expected}")));
    }
    Ok(words)
}

/// A URL, which is not shown: with many receivers it is all that it takes to write there.
fn url(node: &Node) -> Checked<Redacted> {
    let parsed = node.text().and_then(|text| reqwest::Url::parse(text).ok());
    let plain = |url: &reqwest::Url| url.username().is_empty() && url.password().is_none();
    let good = parsed.is_some_and(|url| {
        matches!(url.scheme(), "http" | "https") && url.has_host() && plain(&url)
    });
    node.text().filter(|_| good).map(Redacted::new).ok_or_else(|| {
        node.wrong("is no URL (not shown); expected http:// or https://, without credentials")
    })
}

/// A URL to which a path can be added.
fn base_url(node: &Node) -> Checked<Redacted> {
    if node.text().is_some_and(|text| text.contains(['?', '#'])) {
        return Err(node.wrong("is no base URL (not shown); expected nothing after its path"));
    }
    url(node)
}

fn routing_key(node: &Node) -> Checked<Redacted> {
    let good =
        |text: &&str| text.len() == ROUTING_KEY && text.bytes().all(|b| b.is_ascii_alphanumeric());
    node.text().filter(good).map(Redacted::new).ok_or_else(|| {
        let text =
            format!("is no routing key (not shown); expected {ROUTING_KEY} letters and digits");
        node.wrong(text)
    })
}

fn secret(node: &Node) -> Checked<Secret> {
    let secret = node.text().and_then(|text| text.parse().ok());
    secret
        .ok_or_else(|| node.wrong("is no secret (not shown); expected \"whsec_\" and then base64"))
}

fn mailbox(node: &Node) -> Checked<lettre::message::Mailbox> {
    let mailbox = node.text().and_then(|text| text.parse().ok());
    mailbox.ok_or_else(|| {
        node.unfit("a mail address, as \"ops@example.org\" or \"Operations <ops@example.org>\"")
    })
}

fn smtp(node: &Node) -> Checked<Smtp> {
    let text = node.text().unwrap_or_default();
    // Not shown: it may hold a password.
    text.parse()
        .map_err(|error: &str| node.wrong(format!("is no mail server (not shown): {error}")))
}

fn password_file(node: &Node) -> Checked<Redacted> {
    let path = text(node)?;
    let text = files::read_text(path.as_ref(), SECRET_FILE_BYTES)
        .map_err(|error| node.wrong(format!("{} can't be read: {error}", node.shown())))?;
    match text.trim_end_matches(['\r', '\n']) {
        "" => Err(node.wrong(format!("{} is empty; expected a password", node.shown()))),
        password => Ok(Redacted::new(password)),
    }
}
