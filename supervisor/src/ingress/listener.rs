//! Listening for HTTP, plain or over TLS: connections come in, up to a bound, and each request is
//! checked before anybody else sees it.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use axum::{Router, body::Body, response::Response};
use http::{HeaderValue, Method, Request, StatusCode, header};
use hyper::{
    body::{Body as _, Incoming},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::TokioIo;
use rollcall_common::{
    limits::{
        CONNECTION_BYTES, CONNECTIONS, HEAD_BYTES, HEADERS, IDLE_GIVES_WAY, LARGE_HEADS_BYTES,
        RESERVED_CONNECTIONS, RESERVED_PER_ADDRESS,
    },
    net::{Listener, Presence, Stream},
    problem::{self, Problem},
    shutdown::{Phase, Shutdown},
    task,
    tls::{self, Acceptor},
};
use tokio::io::{AsyncRead, AsyncWrite};
use tower::ServiceExt as _;

use super::{
    address_limit::{AddressLimiter, AddressPermit},
    authorize::Authorizer,
    byte_budget::ByteBudget,
    connection_limit::{ConnectionLimiter, Seat},
    intake::{self, Intake},
    lingering_close::{LingeringClose, Unread},
    read_timeout::{ReadTimeout, RequestCounter},
    request_smuggling::{Guarded, Requests},
    turn_away::TurnAway,
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
    pub gate: Authorizer,
    /// How TLS is spoken; `None`: it is not.
    pub tls: Option<Acceptor>,
    /// How many connections an address may have.
    pub per_address: AddressLimiter,
    /// How many bytes of large heads may be on their way in.
    pub heads: ByteBudget,
}

impl Front {
    /// In front of a router that anybody may speak to.
    #[must_use]
    pub fn open(router: Router) -> Self {
        let (gate, per_address, heads) =
            (Authorizer::open(), AddressLimiter::default(), Self::heads());
        Self { intake: None, router, gate, tls: None, per_address, heads }
    }

    /// The usual room for large heads.
    #[must_use]
    pub fn heads() -> ByteBudget {
        ByteBudget::new(LARGE_HEADS_BYTES)
    }
}

/// Serves `front` on `listener` until the process stops. While it drains, each connection ends
/// with its request. Whoever connects is taken at once, whatever others do: in a place of its own,
/// in that of one that is idle, or for one request in a place that is reserved for health checks
/// and messages.
pub async fn serve(listener: Listener, front: Front, mut shutdown: Shutdown) {
    let limiter = ConnectionLimiter::new(CONNECTIONS, IDLE_GIVES_WAY);
    let reserved = ConnectionLimiter::new(RESERVED_CONNECTIONS, Duration::MAX);
    let few = AddressLimiter::new(Some(RESERVED_PER_ADDRESS));
    let (front, away) = (Arc::new(front), TurnAway::default());
    loop {
        let accepted = tokio::select! {
            () = shutdown.reached(Phase::Now) => return,
            accepted = listener.accept() => accepted,
        };
        let (stream, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!(%error, "no connection could be taken");
                tokio::time::sleep(EXHAUSTED_WAIT).await;
                continue;
            }
        };
        let enter = |limiter: &Arc<ConnectionLimiter>, per_address: &AddressLimiter, purpose| {
            let place = per_address.enter(peer.ip())?;
            Some(Entered { seat: limiter.enter()?, _place: place, purpose })
        };
        let entered = enter(&limiter, &front.per_address, Purpose::All)
            .or_else(|| enter(&reserved, &few, Purpose::Needed));
        let (front, shutdown) = (Arc::clone(&front), shutdown.clone());
        match entered {
            Some(entered) => {
                task::spawn("http", welcome(stream, (peer, entered), front, shutdown));
            }
            None if front.tls.is_none() => away.turn_away(stream, no_place()),
            None => {}
        }
    }
}

/// A connection's place.
struct Entered {
    seat: Seat,
    _place: AddressPermit,
    purpose: Purpose,
}

/// What a connection may ask.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Purpose {
    /// Everything.
    All,
    /// One request, whose answer others need: a health check, or a message that comes in.
    Needed,
}

async fn welcome(
    stream: Stream,
    (peer, entered): (SocketAddr, Entered),
    front: Arc<Front>,
    shutdown: Shutdown,
) {
    // Err: the peer is gone already, and reading says so.
    let _ = stream.set_nodelay();
    if front.tls.is_some() {
        // Boxed: it would make the task of every plain connection three times as large.
        return Box::pin(welcome_tls(stream, (peer, entered), front, shutdown)).await;
    }
    let (stream, presence) = stream.watched();
    connection(stream, (presence, entered), front, shutdown).await;
}

async fn welcome_tls(
    stream: Stream,
    (peer, entered): (SocketAddr, Entered),
    front: Arc<Front>,
    shutdown: Shutdown,
) {
    let Some(tls) = &front.tls else { return };
    match tls.accept(stream).await {
        Ok((stream, presence)) => {
            connection(stream, (presence, entered), front, shutdown).await;
        }
        Err(error) => tls::note_refusal(peer, &error),
    }
}

/// Says that there is no place.
fn no_place() -> String {
    let detail = "there are as many connections as there may be";
    let body = Problem::new(503, "too-many-connections", "Too many connections", detail).to_json();
    format!(
        "HTTP/1.1 503 Service Unavailable\r\nRetry-After: 1\r\nContent-Type: {}\r\n\
         Content-Length: {}\r\nConnection: close\r\n\r\n{}",
        problem::CONTENT_TYPE,
        body.len(),
        String::from_utf8_lossy(&body),
    )
}

async fn connection(
    stream: impl AsyncRead + AsyncWrite + Send + Unpin,
    (presence, Entered { seat, purpose, _place }): (Presence, Entered),
    front: Arc<Front>,
    mut shutdown: Shutdown,
) {
    let requests = Requests::default();
    let turns = RequestCounter::default();
    let pace = ReadTimeout::new(turns.clone(), Some(seat.clone()));
    let unread = Unread::default();
    let linger = LingeringClose::new(unread.clone());
    let room = front.heads.clone();
    let io = TokioIo::new(Guarded::new(stream, requests.clone(), room, (pace, linger)));
    let draining = shutdown.clone();
    let service = service_fn(move |request: Request<Incoming>| {
        let (front, requests, draining) = (Arc::clone(&front), requests.clone(), draining.clone());
        let (turns, unread, presence) = (turns.clone(), unread.clone(), presence.clone());
        async move {
            turns.turn();
            unread.clear();
            let has_body = !request.body().is_end_stream();
            let refusal = requests.begin();
            let more = has_body || refusal.is_some();
            let mut response = match refusal {
                Some(refusal) => respond::problem(&refusal),
                None => answer(request, (purpose, presence), &front).await?,
            };
            if more && response.status().as_u16() >= 400 {
                unread.set();
            }
            requests.end();
            turns.turn();
            if draining.phase() > Phase::Running || purpose == Purpose::Needed {
                let close = HeaderValue::from_static("close");
                response.headers_mut().insert(header::CONNECTION, close);
            }
            Ok::<_, std::convert::Infallible>(response)
        }
    });
    let connection = http1::Builder::new()
        // `read_timeout` watches that. Nor are answers held back for requests that follow: hyper
        // would lose them when what follows is no request.
        .header_read_timeout(None)
        .max_headers(HEADERS)
        .max_buf_size(CONNECTION_BYTES)
        .max_header_size(HEAD_BYTES)
        .half_close(true)
        .serve_connection(io, service);
    tokio::pin!(connection);
    tokio::select! {
        // Err: the peer broke off, or sent what is no HTTP and was told so.
        _ = connection.as_mut() => return,
        () = shutdown.reached(Phase::Now) => return,
        () = seat.leaving() => {}
    }
    // It was idle; what has come in that very moment is answered.
    connection.as_mut().graceful_shutdown();
    tokio::select! {
        _ = connection.as_mut() => {}
        () = shutdown.reached(Phase::Now) => {}
    }
}

async fn answer(
    mut request: Request<Incoming>,
    (purpose, presence): (Purpose, Presence),
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
    if purpose == Purpose::Needed && !is_needed(&request) {
        let refusal = respond::overloaded("there are as many connections as there may be");
        return Ok(respond::problem(&refusal));
    }
    let mut request = match &front.intake {
        None => request,
        Some(intake) => match intake.answer(request, &presence).await {
            Ok(response) => return Ok(response),
            Err(other) => other,
        },
    };
    request.extensions_mut().insert(presence);
    // Boxed: the routes' future would make that of every message as large.
    Box::pin(front.router.clone().oneshot(request.map(Body::new))).await
}

/// Whether others depend on its answer: a health check, or messages.
fn is_needed<B>(request: &Request<B>) -> bool {
    let path = request.uri().path();
    matches!(path, "/livez" | "/readyz") || intake::is_for(request.method(), path)
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
