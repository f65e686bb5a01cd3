//! The worker's side of HTTP: connections, calls, and what a call is answered when the worker
//! itself has to say something.

use std::{
    io,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use bytes::{Bytes, BytesMut};
use futures_util::FutureExt as _;
use http::{HeaderMap, HeaderValue, Method, Response, StatusCode, header};
use http_body_util::{BodyExt as _, Full};
use hyper::{
    body::{Body as _, Incoming},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::{TokioIo, TokioTimer};
use rollcall_common::{
    limits::{BODY_STALL, HEAD_BYTES, HEAD_TIMEOUT, HEADERS},
    problem::{self, Problem},
    protocol::{self, Outcome},
    task,
};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{Notify, Semaphore, mpsc},
    time::{sleep, timeout},
};

use crate::{
    answered::{Answered, Run},
    handler::{AnyHandler, Reply, Request},
    stage::{Stage, Stages},
};

/// Most connections at once; further ones wait.
const CONNECTIONS: usize = 4096;
/// The wait after a failed accept, which is mostly a lack of descriptors.
const ACCEPT_WAIT: Duration = Duration::from_millis(50);

type Answer = Response<Full<Bytes>>;

/// Answers calls.
#[derive(Debug)]
pub(crate) struct Server {
    pub(crate) handler: AnyHandler,
    pub(crate) answered: Arc<Answered>,
    /// One permit per message that may run; absent: no bound.
    pub(crate) permits: Option<Arc<Semaphore>>,
    pub(crate) body_limit: usize,
    pub(crate) stages: Stages,
    pub(crate) calls: Calls,
}

/// Counts the calls that are being answered.
#[derive(Debug, Default)]
pub(crate) struct Calls {
    running: AtomicUsize,
    none: Notify,
}

impl Calls {
    fn enter(&self) -> Call<'_> {
        self.running.fetch_add(1, Ordering::SeqCst);
        Call(self)
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

struct Call<'a>(&'a Calls);

impl Drop for Call<'_> {
    fn drop(&mut self) {
        if self.0.running.fetch_sub(1, Ordering::SeqCst) == 1 {
            self.0.none.notify_waiters();
        }
    }
}

impl Server {
    /// Takes connections until they close, and ends when the last one has.
    pub(crate) async fn run(self: Arc<Self>, listener: TcpListener) {
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
                Ok((stream, _, slot)) => {
                    let (server, open) = (Arc::clone(&self), open.clone());
                    task::spawn("connection", async move {
                        let _held = (slot, open);
                        server.serve(stream).await;
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

    async fn serve(self: Arc<Self>, stream: TcpStream) {
        // Err: the peer has gone already, which the connection will find out.
        let _ = stream.set_nodelay(true);
        let service = service_fn(|call| {
            let server = Arc::clone(&self);
            async move { Ok::<_, std::convert::Infallible>(server.call(call).await) }
        });
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(HEAD_TIMEOUT)
            .max_headers(HEADERS)
            .max_buf_size(HEAD_BYTES)
            .serve_connection(TokioIo::new(stream), service);
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
    }

    async fn call(&self, call: http::Request<Incoming>) -> Answer {
        let _running = self.calls.enter();
        let (head, body) = call.into_parts();
        if let Err(refusal) = route(&head.method, head.uri.path(), &head.headers) {
            return *refusal;
        }
        let body = match read(body, self.body_limit).await {
            Ok(body) => body,
            Err(problem) => return refused(&problem),
        };
        let request = request(head.headers, body);
        let (stream, sequence) = (request.stream.clone(), request.sequence);
        let content_type = request.content_type.clone();
        let reply = match self.start(request) {
            Ok(run) => run.await,
            Err(reply) => reply,
        };
        if !reply.is_ok() {
            let (status, reason) = (reply.status.as_u16(), reply.reason.as_deref());
            tracing::debug!(%stream, sequence, status, reason, "no result");
        }
        answer(reply, &content_type)
    }

    fn start(&self, request: Request) -> Result<Run, Reply> {
        let key = request.key.clone();
        self.answered.ask(&key, || {
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
    listener: &TcpListener,
    slots: &Arc<Semaphore>,
) -> io::Result<(TcpStream, SocketAddr, tokio::sync::OwnedSemaphorePermit)> {
    let slot = Arc::clone(slots).acquire_owned().await;
    let (stream, peer) = listener.accept().await?;
    Ok((stream, peer, slot.map_err(io::Error::other)?))
}

/// Ok: it is a message.
fn route(method: &Method, path: &str, headers: &HeaderMap) -> Result<(), Box<Answer>> {
    if *method == Method::GET && path == "/livez" {
        return Err(Box::new(Response::new(Full::from("ok\n"))));
    }
    if *method != Method::POST {
        let problem = Problem::new(405, "method", "Method not allowed", "messages are POSTed");
        let mut answer = refused(&problem);
        let allow = HeaderValue::from_static("POST");
        answer.headers_mut().insert(header::ALLOW, allow);
        return Err(Box::new(answer));
    }
    // Two ways to say where the body ends are a way to smuggle a request.
    let framed_twice = headers.contains_key(header::CONTENT_LENGTH)
        && headers.contains_key(header::TRANSFER_ENCODING);
    if framed_twice || headers.get_all(header::HOST).iter().count() > 1 {
        let detail = "the request has two lengths or two hosts";
        let problem = Problem::new(400, "ambiguous", "Ambiguous request", detail);
        return Err(Box::new(refused(&problem)));
    }
    Ok(())
}

async fn read(mut body: Incoming, limit: usize) -> Result<Bytes, Problem> {
    let too_large = || {
        let detail = format!("a message has at most {limit} bytes");
        Problem::new(413, "message-too-large", "Message too large", detail)
            .with("limit_bytes", limit)
    };
    if body.size_hint().lower() > u64::try_from(limit).unwrap_or(u64::MAX) {
        return Err(too_large());
    }
    let (mut first, mut all) = (Bytes::new(), BytesMut::new());
    loop {
        let cut_off = |detail: &str| Problem::new(408, "cut-off", "Message cut off", detail);
        let frame = match timeout(BODY_STALL, body.frame()).await {
            Err(_) => return Err(cut_off("the body stood still for too long")),
            Ok(Some(Err(error))) => return Err(cut_off(&error.to_string())),
            Ok(Some(Ok(frame))) => frame,
            Ok(None) if all.is_empty() => return Ok(first),
            Ok(None) => return Ok(all.freeze()),
        };
        let Ok(data) = frame.into_data() else {
            continue;
        };
        if first.len().max(all.len()) + data.len() > limit {
            return Err(too_large());
        }
        // Most bodies come in one piece, which is not copied then.
        if first.is_empty() && all.is_empty() {
            first = data;
        } else {
            if all.is_empty() {
                all.extend_from_slice(&first);
            }
            all.extend_from_slice(&data);
        }
    }
}

fn request(headers: HeaderMap, body: Bytes) -> Request {
    let text = |name: &str| {
        let value = headers.get(name).map(HeaderValue::as_bytes);
        String::from_utf8_lossy(value.unwrap_or_default())
    };
    let boxed = |name: &str| Box::<str>::from(text(name));
    let id = boxed(protocol::MESSAGE_ID);
    let key = text(protocol::IDEMPOTENCY_KEY);
    let key = Box::<str>::from(key.trim().trim_matches('"'));
    Request {
        stream: boxed(protocol::STREAM),
        sequence: text(protocol::SEQUENCE).parse().unwrap_or_default(),
        key: if key.is_empty() { id.clone() } else { key },
        id,
        attempt: text(protocol::ATTEMPT).parse().unwrap_or(1),
        max_attempts: text(protocol::MAX_ATTEMPTS).parse().ok(),
        timeout: text(protocol::TIMEOUT_MS)
            .parse()
            .ok()
            .map(Duration::from_millis),
        reason: boxed(protocol::REASON),
        content_type: boxed(header::CONTENT_TYPE.as_str()),
        headers,
        body,
    }
}

fn answer(reply: Reply, message_type: &str) -> Answer {
    let silent = reply.body.is_empty() && !reply.is_ok() && !reply.status.is_success();
    let (content_type, body) = match &reply.reason {
        Some(reason) if silent => (problem::CONTENT_TYPE, explain(reply.status, reason)),
        _ => (
            reply.content_type.as_deref().unwrap_or(message_type),
            reply.body,
        ),
    };
    let mut fields = vec![];
    if reply.status != StatusCode::NO_CONTENT {
        fields.push((header::CONTENT_TYPE.as_str(), content_type));
    }
    if let Some(word) = reply.outcome.and_then(word) {
        fields.push((protocol::OUTCOME, word));
    }
    if let Some(reason) = reply.reason.as_deref() {
        fields.push((protocol::REASON, reason));
    }
    if let Some(value) = reply.retry_after.as_deref() {
        fields.push((header::RETRY_AFTER.as_str(), value));
    }
    let mut answer = Response::new(Full::new(body));
    *answer.status_mut() = reply.status;
    for (name, value) in fields {
        let value = HeaderValue::from_bytes(value.as_bytes());
        if let (Ok(value), false) = (value, name.is_empty()) {
            let name = header::HeaderName::from_bytes(name.as_bytes());
            if let Ok(name) = name {
                answer.headers_mut().insert(name, value);
            }
        }
    }
    answer
}

fn explain(status: StatusCode, reason: &str) -> Bytes {
    let title = status.canonical_reason().unwrap_or("No result");
    let problem = Problem::new(status.as_u16(), "no-result", title, reason);
    problem.to_json().into()
}

/// What has to be said beside the status.
fn word(outcome: Outcome) -> Option<&'static str> {
    match outcome {
        Outcome::Ok => None,
        Outcome::Park => Some("park"),
        Outcome::Retry => Some("retry"),
        Outcome::Skip => Some("skip"),
    }
}

fn refused(problem: &Problem) -> Answer {
    let status = StatusCode::from_u16(problem.status).unwrap_or(StatusCode::BAD_REQUEST);
    let mut answer = Response::new(Full::from(problem.to_json()));
    *answer.status_mut() = status;
    let content_type = HeaderValue::from_static(problem::CONTENT_TYPE);
    answer
        .headers_mut()
        .insert(header::CONTENT_TYPE, content_type);
    answer
}
