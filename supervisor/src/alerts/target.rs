//! Who is told, and how to reach them. Plain values, already checked; reading the configuration
//! is [`crate::config`]'s.

use std::{sync::Arc, time::Duration};

use lettre::message::Mailbox;
use rollcall_common::secret::Redacted;
use sha2::{Digest as _, Sha256};

use super::{email::Smtp, text::hex};
use crate::secrets::Secret;

/// Hex digits of the hash in a name that nobody gave.
const NAME_BYTES: usize = 4;

/// Characters of the shortest text that is looked for in answers.
const SHORTEST: usize = 6;

/// Someone to tell.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Target {
    /// Its name, unique among targets.
    pub name: Arc<str>,
    /// How to reach it.
    pub kind: Kind,
    /// How long one try may take.
    pub timeout: Duration,
    /// After how long it is told again of an alert that goes on.
    pub repeat: Option<Duration>,
}

/// How to reach someone.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Kind {
    /// Prometheus Alertmanagers, API version 2: all of these are told.
    Alertmanager {
        /// Their base URLs.
        urls: Vec<Redacted>,
    },
    /// A program of this machine.
    Command {
        /// It, and its arguments.
        command: Vec<String>,
    },
    /// Mail.
    Email(Box<Email>),
    /// This program's log.
    Log,
    /// `PagerDuty`, Events API version 2.
    Pagerduty {
        /// Where events go.
        url: Redacted,
        /// The key of the service's integration.
        routing_key: Redacted,
    },
    /// An incoming webhook of Slack.
    Slack {
        /// Its URL, which is all that it takes to write there.
        url: Redacted,
    },
    /// Anything that takes JSON over HTTP.
    Webhook {
        /// Where.
        url: Redacted,
        /// What requests are signed with.
        secrets: Vec<Secret>,
    },
}

/// Where mail goes, and how.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Email {
    /// Who gets it.
    pub to: Vec<Mailbox>,
    /// Who it is from.
    pub from: Mailbox,
    /// The server that takes it.
    pub smtp: Smtp,
    /// Name and password at that server.
    pub login: Option<(String, Redacted)>,
}

impl Kind {
    /// As `kind` says it in the configuration.
    #[must_use]
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Alertmanager { .. } => "alertmanager",
            Self::Command { .. } => "command",
            Self::Email(_) => "email",
            Self::Log => "log",
            Self::Pagerduty { .. } => "pagerduty",
            Self::Slack { .. } => "slack",
            Self::Webhook { .. } => "webhook",
        }
    }

    /// A name for a target that was given none: its kind, and eight hex digits of the SHA-256 of
    /// what tells it from others. The log has nothing to be told by, and is `log`.
    #[must_use]
    pub fn name(&self) -> String {
        let parts = self.identity();
        if parts.is_empty() {
            return self.as_str().to_owned();
        }
        let mut sha = Sha256::new();
        for part in parts {
            sha.update(part);
            sha.update([0]);
        }
        format!("{}-{}", self.as_str(), hex(&sha.finalize(), NAME_BYTES))
    }

    fn identity(&self) -> Vec<String> {
        match self {
            Self::Alertmanager { urls } => urls.iter().map(|url| url.reveal().to_owned()).collect(),
            Self::Command { command } => command.clone(),
            Self::Email(email) => {
                let to = email.to.iter().map(ToString::to_string);
                to.chain([email.from.to_string(), email.smtp.to_string()]).collect()
            }
            Self::Log => Vec::new(),
            Self::Pagerduty { url, routing_key } => {
                vec![url.reveal().to_owned(), routing_key.reveal().to_owned()]
            }
            Self::Slack { url } | Self::Webhook { url, .. } => vec![url.reveal().to_owned()],
        }
    }

    /// `text` without this target's secrets: a receiver may repeat them in its answer.
    pub(super) fn scrub(&self, text: String) -> String {
        let secrets: Vec<&Redacted> = match self {
            Self::Alertmanager { urls } => urls.iter().collect(),
            Self::Command { .. } | Self::Log => Vec::new(),
            Self::Email(email) => email.login.iter().map(|(_, password)| password).collect(),
            Self::Pagerduty { url, routing_key } => vec![url, routing_key],
            Self::Slack { url } | Self::Webhook { url, .. } => vec![url],
        };
        secrets.into_iter().flat_map(parts).fold(text, |text, secret| text.replace(&secret, "…"))
    }
}

/// A secret, and for a URL what comes after its host, which may be repeated by itself. What is very
/// short is no secret, and to look for it would only spoil the words around it.
fn parts(secret: &Redacted) -> Vec<String> {
    let secret = secret.reveal();
    let path = secret.split_once("://").and_then(|(_, rest)| rest.split_once('/'));
    let path = path.map(|(_, path)| path.to_owned());
    [Some(secret.to_owned()), path]
        .into_iter()
        .flatten()
        .filter(|part| part.len() >= SHORTEST)
        .collect()
}
