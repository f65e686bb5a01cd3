//! Listening for HTTP, plain or over TLS: connections come in, up to a bound, and each request is
//! checked before anybody else sees it.

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use axum::{Router, body::Body, response::Response};
use http::{HeaderValue, Method, Request, StatusCode, header};
use hyper::{
    body::{Body as _, Incoming},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::TokioIo;
use rollcall_common::{
    limits::{CONNECTION_BYTES, CONNECTIONS, HEAD_BYTES, HEADERS, LARGE_HEADS_BYTES},
    net::{Listener, Stream},
    problem::{self, Problem},
    shutdown::{Phase, Shutdown},
    task,
    tls::{self, Acceptor},
};
use tokio::{
    io::{AsyncRead, AsyncWrite, AsyncWriteExt as _},
    sync::{OwnedSemaphorePermit, Semaphore},
};
use tower::ServiceExt as _;

use super::{
    crowd::Crowd,
    gate::Gate,
    guard::{Guarded, Requests},
    intake::Intake,
    linger::{Linger, Unread},
    pace::{Pace, Turns},
    room::Room,
};
use crate::web::{check_query, respond};

/// How long to wait when the system has no descriptor left for a connection.
const EXHAUSTED_WAIT: Duration = Duration::from_millis(100);

/// What stands between a listener and whoever connects.
#[derive(Debug)]
pub struct Front {
    /// What takes messages in; `None`: nothing does.
    pub intake: Option<Arc<Intake>>,
    /// What answers everything else.
    pub router: Router,
    /// Who is let through to it.
    pub gate: Gate,
    /// How TLS is spoken; `None`: it is not.
    pub tls: Option<Acceptor>,
    /// How many connections an address may have.
    pub crowd: Crowd,
    /// How many bytes of large heads may be on their way in.
    pub heads: Room,
}

impl Front {
    /// In front of a router that anybody may speak to.
    #[must_use]
    pub fn open(router: Router) -> Self {
        let (gate, crowd, heads) = (Gate::open(), Crowd::default(), Self::heads());
        Self { intake: None, router, gate, tls: None, crowd, heads }
    }

    /// The usual room for large heads.
    #[must_use]
    pub fn heads() -> Room {
        Room::new(LARGE_HEADS_BYTES)
    }
}

/// Serves `front` on `listener` until the process stops. While it drains, each connection ends
/// with its request.
pub async fn serve(listener: Listener, front: Front, mut shutdown: Shutdown) {
    let room = Arc::new(Semaphore::new(CONNECTIONS));
    let front = Arc::new(front);
    loop {
        let accepted = tokio::select! {
            () = shutdown.reached(Phase::Now) => return,
            accepted = accept(&listener, &room) => accepted,
        };
        match accepted {
            Ok((stream, peer, permit)) => {
                let place = front.crowd.enter(peer.ip());
                let (front, shutdown) = (Arc::clone(&front), shutdown.clone());
                task::spawn("http", async move {
                    if place.is_some() {
                        welcome(stream, peer, front, shutdown).await;
                    } else if front.tls.is_none() {
                        turn_away(stream).await;
                    }
                    drop((place, permit));
                });
            }
            Err(error) => {
                tracing::warn!(%error, "no connection could be taken");
                tokio::time::sleep(EXHAUSTED_WAIT).await;
            }
        }
    }
}

pub(super) async fn accept(
    listener: &Listener,
    room: &Arc<Semaphore>,
) -> io::Result<(Stream, SocketAddr, OwnedSemaphorePermit)> {
    let permit = Arc::clone(room).acquire_owned().await.map_err(io::Error::other)?;
    let (stream, peer) = listener.accept().await?;
    Ok((stream, peer, permit))
}

async fn welcome(stream: Stream, peer: SocketAddr, front: Arc<Front>, shutdown: Shutdown) {
    // Err: the peer is gone already, and reading says so.
    let _ = stream.set_nodelay();
    let Some(tls) = &front.tls else {
        return connection(stream, front, shutdown).await;
    };
    match tls.accept(stream).await {
        Ok(stream) => connection(stream, front, shutdown).await,
        Err(error) => tls::note_refusal(peer, &error),
    }
}

/// Says that an address has as many connections as it may.
async fn turn_away(mut stream: Stream) {
    let detail = "this address has as many connections as it may";
    let body = Problem::new(503, "too-many-connections", "Too many connections", detail).to_json();
    let head = format!(
        "HTTP/1.1 503 Service Unavailable\r\nRetry-After: 1\r\nContent-Type: {}\r\n\
         Content-Length: {}\r\nConnection: close\r\n\r\n",
        problem::CONTENT_TYPE,
        body.len()
    );
    let answer = [head.into_bytes(), body].concat();
    // Err: it has gone, or takes nothing.
    let _ = tokio::time::timeout(EXHAUSTED_WAIT, stream.write_all(&answer)).await;
}

async fn connection(
    stream: impl AsyncRead + AsyncWrite + Send + Unpin,
    front: Arc<Front>,
    mut shutdown: Shutdown,
) {
    let requests = Requests::default();
    let turns = Turns::default();
    let pace = Pace::new(turns.clone());
    let unread = Unread::default();
    let linger = Linger::new(unread.clone());
    let room = front.heads.clone();
    let io = TokioIo::new(Guarded::new(stream, requests.clone(), room, (pace, linger)));
    let draining = shutdown.clone();
    let service = service_fn(move |request: Request<Incoming>| {
        let (front, requests, draining) = (Arc::clone(&front), requests.clone(), draining.clone());
        let (turns, unread) = (turns.clone(), unread.clone());
        async move {
            turns.turn();
            unread.clear();
            let has_body = !request.body().is_end_stream();
            let refusal = requests.begin();
            let more = has_body || refusal.is_some();
            let mut response = match refusal {
                Some(refusal) => respond::problem(&refusal),
                None => answer(request, &front).await?,
            };
            if more && response.status().as_u16() >= 400 {
                unread.set();
            }
            requests.end();
            turns.turn();
            if draining.phase() > Phase::Running {
                let close = HeaderValue::from_static("close");
                response.headers_mut().insert(header::CONNECTION, close);
            }
            Ok::<_, std::convert::Infallible>(response)
        }
    });
    let connection = http1::Builder::new()
        // `pace` watches that. Nor are answers held back for requests that follow: hyper would
        // lose them when what follows is no request.
        .header_read_timeout(None)
        .max_headers(HEADERS)
        .max_buf_size(CONNECTION_BYTES)
        .max_header_size(HEAD_BYTES)
        .half_close(true)
        .serve_connection(io, service);
    tokio::pin!(connection);
    tokio::select! {
        // Err: the peer broke off, or sent what is no HTTP and was told so.
        _ = connection.as_mut() => {}
        () = shutdown.reached(Phase::Now) => {}
    }
}

async fn answer(
    mut request: Request<Incoming>,
    front: &Front,
) -> Result<Response, std::convert::Infallible> {
    if request.method() == Method::OPTIONS {
        return Box::pin(options(request.uri().path(), front)).await;
    }
    if let Err(refusal) = front.gate.admit(&mut request) {
        return Ok(*refusal);
    }
    if let Err(refusal) = check_query(request.method(), request.uri()) {
        return Ok(respond::problem(&refusal));
    }
    let request = match &front.intake {
        None => request,
        Some(intake) => match intake.answer(request).await {
            Ok(response) => return Ok(response),
            Err(other) => other,
        },
    };
    // Boxed: the routes' future would make that of every message as large.
    Box::pin(front.router.clone().oneshot(request.map(Body::new))).await
}

/// Says what may be asked of a path: plain health checks want no more than an answer, and have no
/// token. Browsers are told nothing.
async fn options(path: &str, front: &Front) -> Result<Response, std::convert::Infallible> {
    let mut allowed = String::new();
    if path.starts_with('/') {
        let mut request = Request::new(Body::empty());
        *request.method_mut() = Method::OPTIONS;
        *request.uri_mut() = path.parse().unwrap_or_default();
        // No path knows this method, and what answers then says which ones it knows.
        let known = front.router.clone().oneshot(request).await?;
        let all = known.headers().get_all(header::ALLOW).iter();
        allowed = all.filter_map(|value| value.to_str().ok()).collect::<Vec<_>>().join(",");
    }
    if allowed.is_empty() {
        "GET,HEAD,POST,PUT,DELETE".clone_into(&mut allowed);
    }
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::NO_CONTENT;
    if let Ok(allowed) = HeaderValue::try_from(allowed + ",OPTIONS") {
        response.headers_mut().insert(header::ALLOW, allowed);
    }
    Ok(response)
}
