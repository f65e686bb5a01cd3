//! Registration with one supervisor, repeated as heartbeat, and the leave-taking.

use std::{fmt, time::Duration};

use bytes::Bytes;
use http::{HeaderValue, Method, Request, StatusCode, header};
use http_body_util::Full;
use rollcall_common::{
    http::{Peer, Reply, SendError},
    protocol::{Registered, Registration, WorkerOrder},
    reconnect::Reconnect,
};
use tokio::time::{sleep, timeout};

use crate::lifecycle::{Stage, Stages};

/// How long a supervisor may take to answer.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long the leave-taking may take: it is a courtesy.
const FAREWELL: Duration = Duration::from_secs(2);
/// The shortest wait before an unreachable supervisor is tried again.
const FIRST_WAIT: Duration = Duration::from_millis(100);
/// The longest.
const LONGEST_WAIT: Duration = Duration::from_secs(5);
/// The shortest and the longest heartbeat that is kept to.
const BEAT_MS: (u64, u64) = (20, 60_000);
/// Largest answer that is read.
const ANSWER_BYTES: usize = 64 << 10;

/// The worker at one supervisor.
#[derive(Debug)]
pub(crate) struct Heartbeat {
    peer: Peer,
    /// `/v1/workers/{id}`.
    path: String,
    registration: Bytes,
    authorization: Option<HeaderValue>,
    stages: Stages,
    reconnect: Reconnect,
    connected: Option<bool>,
}

/// Why a supervisor has not taken the registration.
enum Failed {
    Unreachable(SendError),
    Late,
    Refused(StatusCode, String),
    Garbled(serde_json::Error),
}

impl Heartbeat {
    pub(crate) fn new(
        peer: Peer,
        id: &str,
        registration: &Registration,
        authorization: Option<HeaderValue>,
        stages: Stages,
    ) -> Self {
        let base = peer.target().path().trim_end_matches('/').to_owned();
        Self {
            peer,
            path: format!("{base}/v1/workers/{id}"),
            registration: serde_json::to_vec(registration).unwrap_or_default().into(),
            authorization,
            stages,
            reconnect: Reconnect::new(FIRST_WAIT, LONGEST_WAIT),
            connected: None,
        }
    }

    /// Registers again and again until the worker leaves, then signs off.
    pub(crate) async fn run(mut self) {
        let stages = self.stages.clone();
        tokio::select! {
            () = self.beat(Stage::Draining) => {}
            () = stages.reached(Stage::Stopped) => return,
        }
        self.say_draining().await;
        // A long drain is no reason to be taken for dead.
        tokio::select! {
            () = self.beat(Stage::Leaving) => {}
            () = stages.reached(Stage::Stopped) => return,
        }
        self.say(Method::DELETE, "").await;
    }

    async fn beat(&mut self, until: Stage) {
        let stages = self.stages.clone();
        loop {
            // Never given up halfway: what comes after it could overtake it, and a worker that has
            // signed off would be there again.
            let wait = self.register().await;
            tokio::select! {
                () = sleep(wait) => {}
                () = stages.reached(until) => return,
            }
        }
    }

    /// One heartbeat; gives back how long to wait for the next.
    async fn register(&mut self) -> Duration {
        let registered = match self.put().await {
            Ok(registered) => registered,
            Err(failed) => {
                if self.connected != Some(false) {
                    let supervisor = self.peer.target();
                    tracing::warn!(%supervisor, error = %failed, "not registered; trying on");
                }
                self.connected = Some(false);
                return self.reconnect.wait();
            }
        };
        if self.connected != Some(true) {
            tracing::info!(supervisor = %self.peer.target(), "registered");
        }
        self.connected = Some(true);
        self.reconnect.reset();
        match (registered.state, self.stages.now()) {
            (WorkerOrder::Draining, Stage::Working) => {
                tracing::info!(supervisor = %self.peer.target(), "asked to finish and go");
                self.stages.advance(Stage::Draining);
            }
            // It has forgotten, or never knew.
            (WorkerOrder::Active, Stage::Draining) => self.say_draining().await,
            _ => {}
        }
        let (shortest, longest) = BEAT_MS;
        Duration::from_millis(registered.heartbeat_ms.clamp(shortest, longest))
    }

    async fn put(&self) -> Result<Registered, Failed> {
        let answer = self.call(Method::PUT, "", self.registration.clone());
        let reply = timeout(PATIENCE, answer).await.map_err(|_| Failed::Late)?;
        let reply = reply.map_err(Failed::Unreachable)?;
        if !reply.status.is_success() {
            let text = String::from_utf8_lossy(&reply.body).into_owned();
            return Err(Failed::Refused(reply.status, text));
        }
        serde_json::from_slice(&reply.body).map_err(Failed::Garbled)
    }

    async fn say_draining(&self) {
        self.say(Method::POST, "/drain").await;
    }

    async fn say(&self, method: Method, what: &str) {
        let supervisor = self.peer.target();
        match timeout(FAREWELL, self.call(method, what, Bytes::new())).await {
            Ok(Ok(reply)) => tracing::debug!(%supervisor, status = reply.status.as_u16(), what),
            Ok(Err(error)) => tracing::debug!(%supervisor, %error, what),
            Err(_) => tracing::debug!(%supervisor, what, "no answer in time"),
        }
    }

    async fn call(&self, method: Method, what: &str, body: Bytes) -> Result<Reply, SendError> {
        loop {
            let mut request = Request::new(Full::new(body.clone()));
            *request.method_mut() = method.clone();
            // Id and URL have been checked, so this parses.
            *request.uri_mut() = format!("{}{what}", self.path).parse().unwrap_or_default();
            let headers = request.headers_mut();
            let json = HeaderValue::from_static("application/json");
            headers.insert(header::CONTENT_TYPE, json);
            if let Some(authorization) = &self.authorization {
                headers.insert(header::AUTHORIZATION, authorization.clone());
            }
            match self.peer.send(request, ANSWER_BYTES).await {
                // All three calls may be made twice.
                Err(SendError::Stale) => {}
                other => return other,
            }
        }
    }
}

impl fmt::Display for Failed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreachable(error) => error.fmt(f),
            Self::Late => f.write_str("no answer in time"),
            Self::Refused(status, text) => write!(f, "{status}: {text}"),
            Self::Garbled(error) => write!(f, "the answer is not understood: {error}"),
        }
    }
}
