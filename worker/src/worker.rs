//! A worker: a handler behind an address, known to its supervisors.

use std::{io, net::SocketAddr, num::NonZeroU32, sync::Arc, time::Duration};

use http::HeaderValue;
use rollcall_common::{
    http::{BadTarget, Peer, Target, Trust},
    limits::{MESSAGE_BYTES, WORKER_ID_BYTES},
    link,
    net::Network,
    protocol::{DEFAULT_POOL, Registration},
    secret::Redacted,
    shutdown::Shutdown,
    task,
    tls::Acceptor,
};
use tokio::sync::Semaphore;

use crate::{
    handler::{AnyHandler, Handler},
    heartbeat::Heartbeat,
    lifecycle::Stages,
    result_cache::ResultCache,
    running::{Running, follow, live, watched},
    server::{Calls, Server},
};

/// A worker that is yet to start.
#[derive(Clone, Debug)]
pub struct Worker {
    handler: AnyHandler,
    listen: String,
    supervisors: Vec<String>,
    pool: String,
    id: Option<String>,
    advertise: Option<String>,
    concurrency: Option<NonZeroU32>,
    token: Option<Redacted>,
    tls: Option<Acceptor>,
    trust: Option<Trust>,
    network: Network,
    version: Option<String>,
    body_limit: usize,
    overtime: Option<u32>,
    drain: Option<Duration>,
    shutdown: Option<Shutdown>,
}

/// Why a worker has not started.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The address can't be listened on.
    #[error("can't listen on {0}: {1}")]
    Listen(String, io::Error),
    /// A URL is none.
    #[error(transparent)]
    Url(#[from] BadTarget),
    /// The id can't stand in a URL.
    #[error("{0:?} is no id: 1 to 128 characters of A-Z, a-z, 0-9, '.', '_' and '-'")]
    Id(String),
    /// The token can't stand in a header.
    #[error("the token holds characters that a header can't")]
    Token,
}

impl Worker {
    /// A worker that gives its messages to `handler`. It listens on a free port of the loopback
    /// address unless told otherwise.
    #[must_use]
    pub fn new(handler: impl Handler) -> Self {
        Self {
            handler: AnyHandler::new(handler),
            listen: "127.0.0.1:0".to_owned(),
            supervisors: Vec::new(),
            pool: DEFAULT_POOL.to_owned(),
            id: None,
            advertise: None,
            concurrency: None,
            token: None,
            tls: None,
            trust: None,
            network: Network::default(),
            version: None,
            body_limit: usize::try_from(MESSAGE_BYTES).unwrap_or(usize::MAX),
            overtime: None,
            drain: None,
            shutdown: None,
        }
    }

    /// Listens on `address`: host and port, port 0 for any.
    #[must_use]
    pub fn listen(mut self, address: impl Into<String>) -> Self {
        self.listen = address.into();
        self
    }

    /// Registers with the supervisor at `url`, too.
    #[must_use]
    pub fn supervisor(mut self, url: impl Into<String>) -> Self {
        self.supervisors.push(url.into());
        self
    }

    /// Belongs to `pool`.
    #[must_use]
    pub fn pool(mut self, pool: impl Into<String>) -> Self {
        self.pool = pool.into();
        self
    }

    /// Goes by `id`; otherwise by host name, process id and port.
    #[must_use]
    pub fn id(mut self, id: impl Into<String>) -> Self {
        self.id = Some(id.into());
        self
    }

    /// Tells supervisors to call it at `url`; otherwise at the address that it listens on.
    #[must_use]
    pub fn advertise(mut self, url: impl Into<String>) -> Self {
        self.advertise = Some(url.into());
        self
    }

    /// Runs at most so many messages at once; what is over is answered `429`.
    #[must_use]
    pub fn concurrency(mut self, messages: NonZeroU32) -> Self {
        self.concurrency = Some(messages);
        self
    }

    /// Shows `token` to supervisors.
    #[must_use]
    pub fn token(mut self, token: impl AsRef<str>) -> Self {
        self.token = Some(Redacted::new(token.as_ref()));
        self
    }

    /// Speaks TLS with whoever calls it.
    #[must_use]
    pub fn tls(mut self, acceptor: Acceptor) -> Self {
        self.tls = Some(acceptor);
        self
    }

    /// Believes these where supervisors speak TLS; without it the public authorities.
    #[must_use]
    pub fn trust(mut self, trust: Trust) -> Self {
        self.trust = Some(trust);
        self
    }

    /// Listens and calls over `network`; without it over the system's.
    #[must_use]
    pub fn network(mut self, network: Network) -> Self {
        self.network = network;
        self
    }

    /// Says what it runs, for people.
    #[must_use]
    pub fn version(mut self, version: impl Into<String>) -> Self {
        self.version = Some(version.into());
        self
    }

    /// Takes messages of at most so many bytes.
    #[must_use]
    pub fn body_limit(mut self, bytes: usize) -> Self {
        self.body_limit = bytes;
        self
    }

    /// Ends work that has taken `times` as long as its attempt may take, and at least a second
    /// more: its future is dropped. Without it work goes on for as long as somebody waits.
    #[must_use]
    pub fn overtime(mut self, times: u32) -> Self {
        self.overtime = Some(times);
        self
    }

    /// Waits so long for what runs when it drains; what still runs then is ended, and its callers
    /// are told to go elsewhere. Without it a drain takes as long as the work.
    #[must_use]
    pub fn drain_within(mut self, patience: Duration) -> Self {
        self.drain = Some(patience);
        self
    }

    /// Drains and stops when `shutdown` says so.
    #[must_use]
    pub fn shutdown(mut self, shutdown: Shutdown) -> Self {
        self.shutdown = Some(shutdown);
        self
    }

    /// Listens, registers, and takes messages.
    ///
    /// # Errors
    /// When it can't listen, or a setting is wrong.
    pub async fn start(self) -> Result<Running, StartError> {
        let supervisors: Vec<Target> =
            self.supervisors.iter().map(|url| url.parse()).collect::<Result<_, _>>()?;
        let authorization = self.authorization()?;
        let failed = |error| StartError::Listen(self.listen.clone(), error);
        let listener = self.network.listen(&self.listen).await.map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        let url = self.url(address)?;
        let id = self.name(address)?;
        let secure = self.tls.is_some();
        let stages = Stages::new();
        let concurrency = self.concurrency.map(NonZeroU32::get);
        let registration = Registration {
            url: url.clone(),
            pool: self.pool,
            concurrency,
            link: Some(link::VERSION),
            version: self.version,
        };
        let beats = supervisors.into_iter().map(|supervisor| {
            let (authorization, stages) = (authorization.clone(), stages.clone());
            let peer = Peer::new(supervisor, None).over(self.network.clone());
            let peer = self.trust.clone().into_iter().fold(peer, Peer::trusting);
            Heartbeat::new(peer, &id, &registration, authorization, stages)
        });
        let beats: Vec<Heartbeat> = beats.collect();
        let server = Arc::new(Server {
            handler: self.handler,
            results: ResultCache::new(stages.clone(), self.overtime),
            permits: concurrency.map(|bound| {
                let bound = usize::try_from(bound).unwrap_or(usize::MAX);
                Arc::new(Semaphore::new(bound.min(Semaphore::MAX_PERMITS)))
            }),
            body_limit: self.body_limit,
            stages: stages.clone(),
            calls: Arc::new(Calls::default()),
            tls: self.tls,
        });
        if let Some(shutdown) = self.shutdown {
            task::spawn("worker-shutdown", follow(shutdown, stages.clone()));
        }
        let life = live(server, listener, beats, (stages.clone(), self.drain));
        let end = watched(life);
        Ok(Running { address, url, secure, id, stages, end })
    }

    fn authorization(&self) -> Result<Option<HeaderValue>, StartError> {
        let value = |token: &Redacted| {
            let mut value = HeaderValue::try_from(["Bearer ", token.reveal()].concat())?;
            value.set_sensitive(true);
            Ok::<_, http::header::InvalidHeaderValue>(value)
        };
        let token = self.token.as_ref().map(value).transpose();
        token.map_err(|_| StartError::Token)
    }

    fn url(&self, address: SocketAddr) -> Result<String, StartError> {
        let url = match &self.advertise {
            Some(url) => url.clone(),
            // Nobody can call "any address", but often the host's name is known.
            None if address.ip().is_unspecified() => {
                format!("{}://{}:{}", self.scheme(), host_name(), address.port())
            }
            None => format!("{}://{address}", self.scheme()),
        };
        url.parse::<Target>()?;
        Ok(url)
    }

    fn scheme(&self) -> &'static str {
        if self.tls.is_some() { "https" } else { "http" }
    }

    fn name(&self, address: SocketAddr) -> Result<String, StartError> {
        let id = self.id.clone().unwrap_or_else(|| {
            format!("{}-{}-{}", host_name(), std::process::id(), address.port())
        });
        if is_id(&id) { Ok(id) } else { Err(StartError::Id(id)) }
    }
}

/// Whether `text` can be a worker's id.
pub(crate) fn is_id(text: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b".-_".contains(&byte);
    (1..=WORKER_ID_BYTES).contains(&text.len()) && text.bytes().all(plain)
}

fn host_name() -> String {
    let name = rustix::system::uname();
    let name = name.nodename().to_string_lossy();
    let plain = |letter: &char| letter.is_ascii_alphanumeric() || ".-".contains(*letter);
    let name: String = name.chars().filter(plain).take(64).collect();
    if name.is_empty() { "localhost".to_owned() } else { name }
}
