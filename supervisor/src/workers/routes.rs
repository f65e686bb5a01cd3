//! Workers: they register, beat, drain and leave; people look.

use std::sync::Arc;

use axum::{
    Router,
    body::Bytes,
    extract::{Path, State},
    response::Response,
    routing::{get, post, put},
};
use http::StatusCode;
use rollcall_common::{
    http::Target,
    ids::{StreamName, is_dots},
    limits::WORKER_ID_BYTES,
    link,
    problem::Problem,
    protocol::{Registered, Registration, WorkerOrder},
    time::{Clock, Time},
};
use serde_json::{Value, json};

use super::calls::Calls;
use crate::{
    dispatcher::{Event, worker::Standing},
    driver::Handle,
    web::{
        respond::{ApiResult, bad_request, json, look_at},
        without_mark,
    },
};

/// What workers register with.
#[derive(Debug)]
pub struct Membership {
    /// The way to the driver.
    pub handle: Handle,
    /// Who calls workers, and knows where they are.
    pub calls: Arc<Calls>,
    /// The time.
    pub clock: Clock,
    /// How often a registered worker is to be heard, in milliseconds.
    pub heartbeat_ms: u64,
}

/// The routes for workers, and for people who look at them.
pub fn routes(membership: Arc<Membership>) -> Router {
    Router::new()
        .route("/v1/workers", get(list))
        .route("/v1/workers/{id}", put(register).delete(leave))
        .route("/v1/workers/{id}/drain", post(drain))
        .route("/v1/workers/{id}/resume", post(resume))
        .with_state(membership)
}

async fn list(State(membership): State<Arc<Membership>>) -> ApiResult {
    ApiResult(membership.list_workers().await)
}

async fn register(
    State(membership): State<Arc<Membership>>,
    Path(id): Path<String>,
    body: Bytes,
) -> ApiResult {
    ApiResult(membership.register(&id, &body).await)
}

async fn leave(State(membership): State<Arc<Membership>>, Path(id): Path<String>) -> ApiResult {
    ApiResult(membership.leave(&id).await)
}

async fn drain(State(membership): State<Arc<Membership>>, Path(id): Path<String>) -> ApiResult {
    ApiResult(membership.drain(&id).await)
}

async fn resume(State(membership): State<Arc<Membership>>, Path(id): Path<String>) -> ApiResult {
    ApiResult(membership.resume(&id).await)
}

fn parse_id(id: &str) -> Result<Arc<str>, Box<Problem>> {
    let plain = |c: char| c.is_ascii_graphic() && c != '/';
    if (1..=WORKER_ID_BYTES).contains(&id.len()) && id.chars().all(plain) && !is_dots(id) {
        return Ok(id.into());
    }
    let detail = format!(
        "a worker's id is 1 to {WORKER_ID_BYTES} visible ASCII characters, no /, and neither \".\" \
         nor \"..\""
    );
    Err(bad_request(detail).into())
}

/// The rules of streams' names hold for pools as well.
fn check_pool(name: &str) -> Result<(), Box<Problem>> {
    let wrong = |detail: String| Box::new(bad_request(detail).with("field", "pool"));
    if name == "none" {
        return Err(wrong("pool: \"none\" stands for no pool".to_owned()));
    }
    name.parse::<StreamName>().map(drop).map_err(|error| wrong(format!("pool: {error}")))
}

fn unknown(id: &str) -> Box<Problem> {
    let detail = format!("there is no worker {id:?}");
    Box::new(Problem::new(404, "unknown-worker", "Unknown worker", detail))
}

impl Membership {
    async fn register(&self, id: &str, body: &[u8]) -> Result<Response, Box<Problem>> {
        let id = parse_id(id)?;
        let registration: Registration = serde_json::from_slice(without_mark(body))
            .map_err(|error| bad_request(error.to_string()))?;
        let target: Target =
            registration.url.parse().map_err(|error| bad_request(format!("{error}")))?;
        if registration.concurrency == Some(0) {
            return Err(bad_request("concurrency is at least 1").into());
        }
        check_pool(&registration.pool)?;
        self.calls
            .registry
            .check(&id, &target)
            .await
            .map_err(|error| bad_request(format!("url: {target}: {error}")).with("field", "url"))?;
        let version = registration.version.map(String::into_boxed_str);
        let place = (target, None);
        let member = self.calls.registry.set(&id, &registration.pool, place, version);
        if registration.link >= Some(link::VERSION) {
            self.calls.link(&member);
        }
        let (pool, concurrency) = (registration.pool.into(), registration.concurrency);
        let seen = Event::WorkerSeen { id: Arc::clone(&id), pool, concurrency, beats: true };
        self.handle.send(seen).await?;
        let standing = self.standing(&id).await?;
        let state = match standing {
            Some(Standing::Draining) => WorkerOrder::Draining,
            Some(Standing::Active | Standing::Left) | None => WorkerOrder::Active,
        };
        Ok(json(StatusCode::OK, &Registered { heartbeat_ms: self.heartbeat_ms, state }))
    }

    async fn leave(&self, id: &str) -> Result<Response, Box<Problem>> {
        let id = parse_id(id)?;
        if matches!(self.standing(&id).await?, None | Some(Standing::Left)) {
            return Err(unknown(&id));
        }
        self.handle.send(Event::WorkerLeft { id: Arc::clone(&id) }).await?;
        self.calls.registry.remove(&id);
        Ok(json(StatusCode::OK, &json!({ "id": &*id, "state": "left" })))
    }

    async fn drain(&self, id: &str) -> Result<Response, Box<Problem>> {
        // That of one in the configuration is its URL.
        let id = Arc::from(id);
        if matches!(self.standing(&id).await?, None | Some(Standing::Left)) {
            return Err(unknown(&id));
        }
        self.handle.send(Event::WorkerDrained { id: Arc::clone(&id) }).await?;
        Ok(json(StatusCode::OK, &json!({ "id": &*id, "state": "draining" })))
    }

    async fn resume(&self, id: &str) -> Result<Response, Box<Problem>> {
        let id = Arc::from(id);
        if matches!(self.standing(&id).await?, None | Some(Standing::Left)) {
            return Err(unknown(&id));
        }
        self.handle.send(Event::WorkerResumed { id: Arc::clone(&id) }).await?;
        let now = self.clock.now();
        let of = Arc::clone(&id);
        let look = look_at(&self.handle, move |d| d.worker(&of).map(|worker| worker.state(now)));
        Ok(json(StatusCode::OK, &json!({ "id": &*id, "state": look.await? })))
    }

    async fn standing(&self, id: &Arc<str>) -> Result<Option<Standing>, Box<Problem>> {
        let id = Arc::clone(id);
        let look = look_at(&self.handle, move |dispatcher| {
            dispatcher.worker(&id).map(|worker| worker.standing)
        });
        look.await
    }

    async fn list_workers(&self) -> Result<Response, Box<Problem>> {
        let now = self.clock.now();
        let registry = Arc::clone(&self.calls.registry);
        let look = look_at(&self.handle, move |dispatcher| {
            let here = dispatcher.workers().filter(|(_, w)| w.standing != Standing::Left);
            here.map(|(pool, worker)| {
                let member = registry.find(&worker.id);
                let ahead = |until: Time| Some(until).filter(|until| *until > now);
                json!({
                    "id": &*worker.id,
                    "url": member.as_ref().map(|member| &*member.url),
                    "pool": &**pool,
                    "state": worker.state(now),
                    "impediment": worker.impediment(),
                    "paused_until": ahead(worker.paused_until),
                    "ejected_until": ahead(worker.ejected_until),
                    "in_flight": worker.in_flight,
                    "concurrency": Some(worker.concurrency).filter(|bound| *bound != u32::MAX),
                    "version": member.as_ref().and_then(|member| member.version.as_deref()),
                    "strikes": worker.strikes,
                })
            })
            .collect::<Vec<Value>>()
        });
        Ok(json(StatusCode::OK, &json!({ "workers": look.await? })))
    }
}
