//! Listening for HTTP: connections come in, up to a bound, and each request is checked before
//! anybody else sees it.

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use axum::{Router, body::Body, response::Response};
use http::{HeaderValue, Request, header};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use rollcall_common::{
    limits::{CONNECTIONS, HEAD_BYTES, HEADERS},
    shutdown::{Phase, Shutdown},
    task,
};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::Semaphore,
};
use tower::ServiceExt as _;

use super::{
    guard::{self, Tape, Taped},
    pace::{Pace, Turns},
};
use crate::web::respond::problem;

/// How long to wait when the system has no descriptor left for a connection.
const EXHAUSTED_WAIT: Duration = Duration::from_millis(100);

/// Listens at `address`.
///
/// # Errors
/// When the system refuses.
pub async fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    TcpListener::bind(address).await
}

/// Serves `router` on `listener` until the process stops. While it drains, each connection ends
/// with its request.
pub async fn serve(listener: TcpListener, router: Router, mut shutdown: Shutdown) {
    let room = Arc::new(Semaphore::new(CONNECTIONS));
    loop {
        let accepted = tokio::select! {
            () = shutdown.reached(Phase::Now) => return,
            accepted = accept(&listener, &room) => accepted,
        };
        match accepted {
            Ok((stream, permit)) => {
                let (router, shutdown) = (router.clone(), shutdown.clone());
                task::spawn("http", async move {
                    connection(stream, router, shutdown).await;
                    drop(permit);
                });
            }
            Err(error) => {
                tracing::warn!(%error, "no connection could be taken");
                tokio::time::sleep(EXHAUSTED_WAIT).await;
            }
        }
    }
}

async fn accept(
    listener: &TcpListener,
    room: &Arc<Semaphore>,
) -> io::Result<(TcpStream, tokio::sync::OwnedSemaphorePermit)> {
    let permit = Arc::clone(room).acquire_owned().await.map_err(io::Error::other)?;
    let (stream, _) = listener.accept().await?;
    Ok((stream, permit))
}

async fn connection(stream: TcpStream, router: Router, mut shutdown: Shutdown) {
    // Err: the peer is gone already, and reading says so.
    let _ = stream.set_nodelay(true);
    let tape = Tape::default();
    let turns = Turns::default();
    let pace = Pace::new(turns.clone());
    let io = TokioIo::new(Taped { stream, tape: tape.clone(), pace });
    let draining = shutdown.clone();
    let service = service_fn(move |request| {
        let (router, tape, draining) = (router.clone(), tape.clone(), draining.clone());
        let turns = turns.clone();
        async move {
            turns.turn();
            let mut response = respond(request, router, tape).await?;
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
        .max_buf_size(2 * HEAD_BYTES)
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

async fn respond(
    request: Request<Incoming>,
    router: Router,
    tape: Tape,
) -> Result<Response, std::convert::Infallible> {
    let checked = guard::check(request.method(), request.uri(), request.headers(), &tape);
    if let Err(refusal) = checked {
        return Ok(problem(&refusal));
    }
    router.oneshot(request.map(Body::new)).await
}
