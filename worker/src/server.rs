//! The worker's side of HTTP: connections, calls, and what a call is answered when the worker
//! itself has to say something.

use std::{
    convert::Infallible,
    io,
    net::SocketAddr,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use futures_util::FutureExt as _;
use http::StatusCode;
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use rollcall_common::{
    limits::{HEAD_BYTES, HEAD_TIMEOUT, HEADERS},
    net::{Listener, Stream},
    task,
    tls::{self, Acceptor},
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    sync::{Notify, OwnedSemaphorePermit, Semaphore, mpsc},
    time::sleep,
};

use crate::{
    call::{self, About},
    handler::{AnyHandler, Reply, Request},
    lifecycle::{Stage, Stages},
    link::{self, Asked},
    result_cache::{ResultCache, Run},
};

/// Most connections at once; further ones wait.
const CONNECTIONS: usize = 4096;
/// The wait after a failed accept, which is mostly a lack of descriptors.
const ACCEPT_WAIT: Duration = Duration::from_millis(50);

/// Answers calls.
#[derive(Debug)]
pub(crate) struct Server {
    pub(crate) handler: AnyHandler,
    pub(crate) results: Arc<ResultCache>,
    /// One permit per message that may run; absent: no bound.
    pub(crate) permits: Option<Arc<Semaphore>>,
    pub(crate) body_limit: usize,
    pub(crate) stages: Stages,
    pub(crate) calls: Arc<Calls>,
    /// How TLS is spoken; absent: it is not.
    pub(crate) tls: Option<Acceptor>,
}

/// Counts the calls that are being answered.
#[derive(Debug, Default)]
pub(crate) struct Calls {
    running: AtomicUsize,
    none: Notify,
}

impl Calls {
    /// One more, until the answer to this is dropped.
    pub(crate) fn enter(self: &Arc<Self>) -> Running {
        self.running.fetch_add(1, Ordering::SeqCst);
        Running(Arc::clone(self))
    }

    /// Waits until there is none.
    pub(crate) async fn none(&self) {
        loop {
            let none = self.none.notified();
            if self.running.load(Ordering::SeqCst) == 0 {
                return;
            }
            none.await;
        }
    }
}

/// A call that is being answered.
pub(crate) struct Running(Arc<Calls>);

impl Drop for Running {
    fn drop(&mut self) {
        if self.0.running.fetch_sub(1, Ordering::SeqCst) == 1 {
            self.0.none.notify_waiters();
        }
    }
}

impl Server {
    /// Takes connections until they close, and ends when the last one has.
    pub(crate) async fn run(self: Arc<Self>, listener: Listener) {
        let slots = Arc::new(Semaphore::new(CONNECTIONS));
        // Each connection holds a sender; that all are gone is the message.
        let (open, mut all_closed) = mpsc::channel::<()>(1);
        let closing = self.stages.reached(Stage::Closing);
        tokio::pin!(closing);
        loop {
            let accepted = tokio::select! {
                () = &mut closing => break,
                accepted = accept(&listener, &slots) => accepted,
            };
            match accepted {
                Ok((stream, peer, slot)) => {
                    let (server, open) = (Arc::clone(&self), open.clone());
                    task::spawn("connection", async move {
                        let _held = (slot, open);
                        server.serve(stream, peer).await;
                    });
                }
                Err(error) => {
                    tracing::warn!(%error, "can't take a connection");
                    sleep(ACCEPT_WAIT).await;
                }
            }
        }
        drop((listener, open));
        all_closed.recv().await;
    }

    async fn serve(self: Arc<Self>, stream: Stream, peer: SocketAddr) {
        // Err: the peer has gone already, which the connection will find out.
        let _ = stream.set_nodelay();
        match self.tls.clone() {
            None => self.converse(stream).await,
            Some(tls) => match tls.accept(stream).await {
                Ok((stream, _)) => self.converse(stream).await,
                Err(error) => tls::note_refusal(peer, &error),
            },
        }
    }

    async fn converse(
        self: Arc<Self>,
        stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static,
    ) {
        let asked: Arc<OnceLock<Asked>> = Arc::default();
        let service = service_fn(|mut incoming| {
            let (server, asked) = (Arc::clone(&self), Arc::clone(&asked));
            async move {
                let answer = match link::asked(&mut incoming) {
                    Some(link) => {
                        // Err: the second request of its kind; hyper hands over only once.
                        let _ = asked.set(link);
                        link::agree()
                    }
                    None => server.call(incoming).await,
                };
                Ok::<_, Infallible>(answer)
            }
        });
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(HEAD_TIMEOUT)
            .max_headers(HEADERS)
            .max_buf_size(HEAD_BYTES)
            .serve_connection(TokioIo::new(stream), service)
            .with_upgrades();
        tokio::pin!(connection);
        let ended = tokio::select! {
            ended = &mut connection => ended,
            () = self.stages.reached(Stage::Closing) => {
                connection.as_mut().graceful_shutdown();
                tokio::select! {
                    ended = &mut connection => ended,
                    () = self.stages.reached(Stage::Stopped) => return,
                }
            }
        };
        if let Err(error) = ended {
            tracing::debug!(%error, "a connection broke");
        }
        if let Some(asked) = Arc::into_inner(asked).and_then(OnceLock::into_inner) {
            link::serve(self, asked).await;
        }
    }

    async fn call(&self, incoming: http::Request<Incoming>) -> call::Answer {
        let _running = self.calls.enter();
        let (head, body) = incoming.into_parts();
        if let Err(refusal) = call::route(&head.method, head.uri.path(), &head.headers) {
            return *refusal;
        }
        let body = match call::read(body, self.body_limit).await {
            Ok(body) => body,
            Err(problem) => return call::refused(&problem),
        };
        let request = call::request(head.headers, body);
        let about = About::of(&request);
        let reply = match self.start(request) {
            Ok(run) => run.await,
            Err(reply) => reply,
        };
        call::answer(about.shape(reply))
    }

    /// Begins to work on a message, or finds that it has been worked on. Err: there is an answer
    /// already, or none will be.
    pub(crate) fn start(&self, request: Request) -> Result<Run, Reply> {
        let key = request.key.clone();
        self.results.ask((&key, request.timeout), || {
            if self.stages.now() >= Stage::Draining {
                return Err(Reply::busy(1, "the worker is draining"));
            }
            let Some(permits) = &self.permits else {
                return Ok(self.handler.start(request));
            };
            match Arc::clone(permits).try_acquire_owned() {
                Ok(permit) => {
                    let work = self.handler.start(request);
                    Ok(async move {
                        let _permit = permit;
                        work.await
                    }
                    .boxed())
                }
                Err(_) => Err(Reply {
                    status: StatusCode::TOO_MANY_REQUESTS,
                    ..Reply::busy(1, "the worker runs as many messages as it may")
                }),
            }
        })
    }
}

async fn accept(
    listener: &Listener,
    slots: &Arc<Semaphore>,
) -> io::Result<(Stream, SocketAddr, OwnedSemaphorePermit)> {
    let slot = Arc::clone(slots).acquire_owned().await;
    let (stream, peer) = listener.accept().await?;
    Ok((stream, peer, slot.map_err(io::Error::other)?))
}
