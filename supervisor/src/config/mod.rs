//! The configuration: what the file, the environment and the flags say, checked and whole.
//!
//! `file` and `env` make one tree in which every key knows where it was said; each section then
//! reads its own keys out of it. All problems are collected, so that one run shows them all.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

pub use alerts::Alerting;
pub use error::ConfigError;
use error::{Place, Problems};
pub use journal::{Journal, JournalKind};
pub use limits::Limits;
use node::{Node, Value};
pub use pools::Pool;
use section::Section;
use server::Callers;
pub use server::Server;
pub use streams::Streams;
pub use subscriptions::Subscription;
pub use tcp::Tcp;
pub use tls::Tls;

use crate::{
    access::Token,
    dispatcher::settings::{Settings, StreamTable},
    driver::retention::RetentionPolicy,
};

mod alerts;
#[cfg(any(test, feature = "checks"))]
pub mod checks;
mod env;
mod error;
mod file;
mod journal;
mod keys;
mod limits;
mod node;
mod pools;
mod section;
mod server;
mod streams;
mod subscriptions;
mod tcp;
#[cfg(test)]
mod tests;
mod tls;
mod tokens;
mod values;

/// Sections of the contract that this version does not have.
const REFUSED: [&str; 2] = ["cluster", "schedules"];
/// All sections of the contract.
const SECTIONS: [&str; 11] = [
    "server",
    "journal",
    "limits",
    "streams",
    "pools",
    "subscriptions",
    "alerts",
    "cluster",
    "schedules",
    "tcp",
    "tokens",
];

/// The whole configuration.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Config {
    /// `[server]`.
    pub server: Server,
    /// `[journal]`.
    pub journal: Journal,
    /// `[limits]`.
    pub limits: Limits,
    /// `[streams]`.
    pub streams: Streams,
    /// `[pools]`, by name.
    pub pools: Vec<Pool>,
    /// `[subscriptions]`, by name.
    pub subscriptions: Vec<Subscription>,
    /// `[[alerts]]`; the log, if there is none.
    pub alerts: Vec<Alerting>,
    /// `[[tokens]]`; without any, everybody may do everything.
    pub tokens: Vec<Arc<Token>>,
    /// `[[tcp]]`.
    pub tcp: Vec<Tcp>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            server: Server::default(),
            journal: Journal::default(),
            limits: Limits::default(),
            streams: Streams::default(),
            pools: Vec::new(),
            subscriptions: Vec::new(),
            alerts: vec![Alerting::log()],
            tokens: Vec::new(),
            tcp: Vec::new(),
        }
    }
}

/// What the flags say. It wins over everything else.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Overrides {
    /// `--listen`.
    pub listen: Option<String>,
    /// `--data`.
    pub data: Option<PathBuf>,
}

impl Config {
    /// The configuration of `file`, `env` and the flags.
    ///
    /// # Errors
    ///
    /// Everything that is wrong with it.
    pub fn load(
        file: Option<&Path>,
        env: impl IntoIterator<Item = (String, String)>,
        overrides: Overrides,
    ) -> Result<Self, ConfigError> {
        let name = file.map_or_else(String::new, |path| path.display().to_string());
        let mut problems = Problems::new(name);
        let text = file.map_or_else(String::new, |path| file::read(path, &mut problems));
        Self::read(&text, env, overrides, problems)
    }

    fn read(
        text: &str,
        env: impl IntoIterator<Item = (String, String)>,
        overrides: Overrides,
        mut problems: Problems,
    ) -> Result<Self, ConfigError> {
        let mut tree = file::parse(text, &mut problems);
        if !problems.is_empty() {
            // Half a tree would only give problems that are none.
            return problems.into_result(Self::default());
        }
        env::apply(env, &mut tree, &mut problems);
        let root = Node { place: Place::File, value: Value::Table(tree), raw: None };
        let mut root = Section::open(String::new(), Some(root), &mut problems);
        let said = root.place_of("tokens").is_some();
        let tokens = tokens::read_all(&mut root);
        // Wrong ones were meant for something; one problem is enough.
        let callers = if said { Callers::Known } else { Callers::Anybody };
        let server = root.part("server").with("listen", "--listen", overrides.listen);
        let server = Server::read(server, callers);
        let reach = if server.insecure { tcp::Reach::Anybody } else { tcp::Reach::Loopback };
        let config = Self {
            tokens,
            tcp: tcp::read_all(&mut root, reach),
            server,
            journal: Journal::read(root.part("journal"), overrides.data),
            limits: Limits::read(root.part("limits")),
            streams: Streams::read(root.part("streams")),
            pools: Pool::read_all(root.part("pools")),
            subscriptions: Subscription::read_all(root.part("subscriptions")),
            alerts: Alerting::read_all(&mut root),
        };
        root.refuse(&REFUSED);
        root.close();
        problems.into_result(config)
    }

    /// What the dispatcher is told of it.
    #[must_use]
    pub fn settings(&self) -> Settings {
        let pool = |pool: &Pool| (Arc::clone(&pool.name), pool.settings.clone());
        let named = self.streams.overlays.iter().map(|(pattern, _)| pattern.as_str());
        let named = named.filter_map(|name| name.parse().ok());
        let fed = self.tcp.iter().map(|tcp| tcp.stream.clone());
        let arranged = |one: &Subscription| (one.name.clone(), Arc::new(one.plan()));
        Settings {
            create_streams: self.streams.create,
            standing_streams: named.chain(fed).collect(),
            subscriptions: self.subscriptions.iter().map(arranged).collect(),
            streams: StreamTable::new(self.streams.overlays.iter().cloned()),
            pools: self.pools.iter().map(pool).collect(),
            alert_targets: self.alerts.iter().map(|alerting| alerting.told.clone()).collect(),
            ..Settings::default()
        }
    }

    /// What is kept of the journal, and for how long.
    #[must_use]
    pub fn rules(&self) -> RetentionPolicy {
        let Journal { segment_bytes, retention_bytes, slow, .. } = self.journal;
        RetentionPolicy {
            age: self.settings().longest_retention(),
            bytes: retention_bytes,
            slow,
            snapshot_bytes: segment_bytes,
        }
    }

    /// Whether `new` takes away the tokens, or the certificates, that keep strangers from what this
    /// one listens at: where the process listens is not changed by a reload, so what `new` says of
    /// that does not count.
    #[must_use]
    pub fn would_open(&self, new: &Self) -> bool {
        let knows = |config: &Self| !config.tokens.is_empty() || config.server.knows_clients();
        !self.server.insecure && !self.server.is_for_the_machine_itself() && !knows(new)
    }

    /// The sections and keys in which `new` differs from this and that only a restart applies.
    #[must_use]
    pub fn needs_restart(&self, new: &Self) -> Vec<&'static str> {
        let Journal { retention_bytes, slow, .. } = new.journal;
        let journal = Journal { retention_bytes, slow, ..self.journal.clone() };
        // Other files of TLS are taken; only whether there is TLS at all stays as it is.
        let mut server = new.server.clone();
        if server.tls.is_some() && self.server.tls.is_some() {
            server.tls.clone_from(&self.server.tls);
        }
        let limits = new.limits.connections_per_address != self.limits.connections_per_address;
        let differs = [
            ("server", server != self.server),
            ("journal", journal != new.journal),
            ("tcp", new.tcp != self.tcp),
            ("limits.connections_per_address", limits),
        ];
        differs.into_iter().filter_map(|(section, differs)| differs.then_some(section)).collect()
    }
}
