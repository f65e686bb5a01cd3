//! Telling people: one notice of one alert to one target. What is told, to whom, when, and how
//! often is the dispatcher's; a sender makes one try.

use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use rollcall_common::{
    limits::REASON_BYTES,
    time::{Clock, Time},
};

pub use email::{Security, Smtp};
pub use notice::{AlertView, Notice};
pub use notifier::Notifier;
pub use target::{Email, Kind, Target};

mod alertmanager;
mod command;
mod email;
mod http;
mod log;
mod notice;
mod notifier;
mod pagerduty;
mod slack;
mod target;
mod text;
mod webhook;

/// Why a notice was not taken.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum Failure {
    /// The receiver refuses it for good.
    #[error("refused: {0}")]
    Refused(String),
    /// Another try may do.
    #[error("not reached: {detail}")]
    Unavailable {
        /// Why.
        detail: String,
        /// When the receiver wants to be asked again.
        retry_after: Option<Duration>,
    },
}

impl Failure {
    /// Another try may do, at any time.
    fn unavailable(detail: impl Into<String>) -> Self {
        Self::Unavailable { detail: detail.into(), retry_after: None }
    }

    /// The same with its words changed.
    fn map(self, change: impl FnOnce(String) -> String) -> Self {
        match self {
            Self::Refused(detail) => Self::Refused(change(detail)),
            Self::Unavailable { detail, retry_after } => {
                Self::Unavailable { detail: change(detail), retry_after }
            }
        }
    }
}

/// Senders can't be set up.
#[derive(Debug, thiserror::Error)]
#[error("alerts can't be sent: {0}")]
pub struct SetupFailed(String);

/// What tells each target.
#[derive(Debug)]
pub struct Senders {
    targets: BTreeMap<Arc<str>, Target>,
    http: http::Http,
    clock: Clock,
}

impl Senders {
    /// Senders to these targets, each with a name of its own.
    ///
    /// # Errors
    /// When there is no way to make TLS connections.
    pub fn new(
        targets: impl IntoIterator<Item = Target>,
        clock: Clock,
    ) -> Result<Self, SetupFailed> {
        let targets = targets.into_iter().map(|target| (Arc::clone(&target.name), target));
        Ok(Self { targets: targets.collect(), http: http::Http::new()?, clock })
    }

    /// The present moment.
    fn now(&self) -> Time {
        self.clock.now()
    }

    /// The names of the targets.
    pub fn names(&self) -> impl Iterator<Item = &Arc<str>> {
        self.targets.keys()
    }

    /// Tells the target of this name, once; gives up after the target's timeout.
    ///
    /// # Errors
    /// When it did not take the notice, or is not known (any more).
    pub async fn send(&self, target: &str, notice: &Notice) -> Result<(), Failure> {
        let Some(target) = self.targets.get(target) else {
            return Err(Failure::Refused("there is no such target".to_owned()));
        };
        let sent = tokio::time::timeout(target.timeout, self.try_once(target, notice)).await;
        let sent = sent.unwrap_or_else(|_| Err(Failure::unavailable("no answer in time")));
        // Cut only after its secrets are out: half of one is still too much of it.
        let shown = |detail| text::cut(&target.kind.scrub(detail), REASON_BYTES / 4);
        sent.map_err(|failure| failure.map(shown))
    }

    async fn try_once(&self, target: &Target, notice: &Notice) -> Result<(), Failure> {
        let (http, now) = (&self.http, self.clock.now());
        match &target.kind {
            Kind::Alertmanager { urls } => {
                let repeat = target.repeat.unwrap_or_default();
                alertmanager::send(http, urls, &alertmanager::body(notice, now, repeat)).await
            }
            Kind::Command { command } => command::send(command, notice).await,
            Kind::Email(email) => Box::pin(email::send(email, notice, wall(now))).await,
            Kind::Log => {
                log::send(notice);
                Ok(())
            }
            Kind::Pagerduty { url, routing_key } => {
                pagerduty::send(http, url, &pagerduty::body(notice, routing_key)).await
            }
            Kind::Slack { url } => slack::send(http, url, &slack::body(notice)).await,
            Kind::Webhook { url, secrets } => {
                webhook::send(http, (url, secrets), notice, now).await
            }
        }
    }
}

fn wall(now: Time) -> SystemTime {
    UNIX_EPOCH + Duration::from_micros(now.as_micros())
}
