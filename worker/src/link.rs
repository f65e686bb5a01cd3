//! The worker's end of a link (see [`rollcall_common::link`]): calls come many in one read, and
//! their answers leave many in one write, as they finish.

use std::{collections::HashMap, io, sync::Arc, time::Duration};

use bytes::{Buf as _, Bytes, BytesMut};
use futures_util::FutureExt as _;
use http::{
    HeaderMap, HeaderName, HeaderValue, Request as HttpRequest, Response, StatusCode, header,
};
use http_body_util::Full;
use hyper::{
    body::Incoming,
    upgrade::{OnUpgrade, Upgraded},
};
use hyper_util::rt::TokioIo;
use rollcall_common::{
    frame,
    limits::{LARGEST_BODY, LINK_CALLS, LINK_LOST, LINK_QUIET, LINK_READ, LINK_UNSENT},
    link::{self, Call, FromSupervisor, FromWorker, Quiet},
    protocol::Outcome,
    task,
    time::{Clock, Time},
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    sync::mpsc,
    task::AbortHandle,
    time::{MissedTickBehavior, interval},
};

use crate::{
    call::{About, Answer, Shaped},
    handler::{Reply, Request},
    lifecycle::Stage,
    server::Server,
};

/// A handler that often takes longer than this without waiting for anything has tasks of its own
/// from then on, so that the link's other calls go on meanwhile.
const PROMPT: Duration = Duration::from_micros(50);
/// What a call that was not prompt adds to the score against the handler; each that was takes one
/// off. One call in five makes it rise, and a system that takes the processor away now and then
/// does not.
const NOT_PROMPT: u32 = 4;
/// The score at which it has tasks of its own.
const TOO_SLOW: u32 = 32;

/// A connection whose other end asked for a link.
#[derive(Debug)]
pub(crate) struct Asked {
    upgrade: OnUpgrade,
    /// The largest result that is wanted, in bytes.
    limit: usize,
}

/// Whether a request asks for a link.
pub(crate) fn asked(request: &mut HttpRequest<Incoming>) -> Option<Asked> {
    let wanted = request.headers().get(header::UPGRADE)?;
    if wanted != link::UPGRADE {
        return None;
    }
    let limit = request.headers().get(link::LIMIT).and_then(|value| value.to_str().ok());
    let limit = limit.and_then(|text| text.parse().ok()).unwrap_or(usize::MAX);
    Some(Asked { upgrade: hyper::upgrade::on(request), limit })
}

/// The answer that agrees.
pub(crate) fn agree() -> Answer {
    let mut answer = Response::new(Full::default());
    *answer.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let headers = answer.headers_mut();
    headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
    headers.insert(header::UPGRADE, HeaderValue::from_static(link::UPGRADE));
    headers.insert(link::CREDIT, LINK_CALLS.into());
    answer
}

/// Serves a link until its other end closes it, or the worker stops.
pub(crate) async fn serve(server: Arc<Server>, asked: Asked) {
    let upgraded = match asked.upgrade.await {
        Ok(upgraded) => upgraded,
        Err(error) => return tracing::debug!(%error, "no link came of it"),
    };
    let (done, mut finished) = mpsc::channel(LINK_CALLS);
    let mut wire = Wire {
        limit: asked.limit,
        done,
        running: HashMap::new(),
        out: BytesMut::new(),
        slowness: 0,
        clock: Clock::start(Time::default()),
        server,
    };
    if let Err(error) = wire.run(upgraded, &mut finished).await {
        tracing::debug!(%error, "a link broke");
    }
    // Nobody waits for what still runs.
    wire.running.into_values().for_each(|running| running.abort());
}

/// A link at work.
struct Wire {
    server: Arc<Server>,
    /// The largest result that is wanted.
    limit: usize,
    /// Where calls put their answers that are not ready at once.
    done: mpsc::Sender<(u64, Shaped)>,
    running: HashMap<u64, AbortHandle>,
    /// What waits to be written.
    out: BytesMut,
    /// What speaks against asking the handler on the link's own task; see [`NOT_PROMPT`].
    slowness: u32,
    clock: Clock,
}

impl Wire {
    async fn run(
        &mut self,
        upgraded: Upgraded,
        finished: &mut mpsc::Receiver<(u64, Shaped)>,
    ) -> io::Result<()> {
        let (mut reading, mut writing) = tokio::io::split(TokioIo::new(upgraded));
        let stages = self.server.stages.clone();
        let (closing, stopped) = (stages.reached(Stage::Closing), stages.reached(Stage::Stopped));
        tokio::pin!(closing, stopped);
        let (mut arrived, mut batch, mut open) = (BytesMut::new(), Vec::new(), true);
        let (mut quiet, mut steps) = (Quiet::default(), interval(LINK_QUIET));
        // A process that was stopped has missed no word for that long.
        steps.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            arrived.reserve(LINK_READ);
            tokio::select! {
                read = reading.read_buf(&mut arrived), if self.out.len() < LINK_UNSENT => {
                    if read? == 0 {
                        return Ok(());
                    }
                    quiet.hear();
                    self.take_all(&mut arrived)?;
                }
                _ = finished.recv_many(&mut batch, LINK_CALLS) => {
                    for (number, shaped) in batch.drain(..) {
                        // None: it was cancelled, which has been said.
                        if self.running.remove(&number).is_some() {
                            self.answer(number, shaped);
                        }
                    }
                }
                written = writing.write_buf(&mut self.out), if !self.out.is_empty() => {
                    if written? == 0 {
                        return Ok(());
                    }
                }
                _ = steps.tick() => {
                    let lost = LINK_QUIET * quiet.step() >= LINK_LOST;
                    if lost && self.running.is_empty() {
                        return Err(io::Error::new(io::ErrorKind::TimedOut, "no sign of life"));
                    }
                }
                () = &mut closing, if open => {
                    open = false;
                    FromWorker::put_closing(&mut self.out);
                }
                () = &mut stopped => return Ok(()),
            }
        }
    }

    /// Takes in all frames that have come.
    fn take_all(&mut self, arrived: &mut BytesMut) -> io::Result<()> {
        // What is too large for this worker has to be read to be refused: the other calls go on.
        let largest = usize::try_from(LARGEST_BODY).unwrap_or(usize::MAX);
        let limit = self.server.body_limit.max(largest).saturating_add(link::OVERHEAD);
        while let Some(frame) = frame::next(arrived, limit).map_err(io::Error::other)? {
            let length = frame.len();
            match FromSupervisor::read(frame).map_err(io::Error::other)? {
                FromSupervisor::Call(call) => self.call(&call),
                FromSupervisor::Ping => FromWorker::put_pong(&mut self.out),
                FromSupervisor::Cancel(number) => {
                    // None: the answer is on its way.
                    if let Some(running) = self.running.remove(&number) {
                        running.abort();
                        FromWorker::put_cancelled(&mut self.out, number);
                    }
                }
            }
            arrived.advance(frame::HEAD + length);
        }
        Ok(())
    }

    fn call(&mut self, call: &Call<'_>) {
        let entered = self.server.calls.enter();
        let (number, limit) = (call.number, self.server.body_limit);
        if call.body.len() > limit {
            let reason = format!("a message has at most {limit} bytes");
            return self.answer(number, too_large(StatusCode::PAYLOAD_TOO_LARGE, reason));
        }
        let request = request(call);
        let about = About::of(&request);
        let mut run = match self.server.start(request) {
            Ok(run) => run,
            Err(reply) => return self.answer(number, about.shape(reply)),
        };
        if self.slowness < TOO_SLOW {
            let begun = self.clock.now();
            let reply = (&mut run).now_or_never();
            self.slowness = if self.clock.now().since(begun) > PROMPT {
                self.slowness + NOT_PROMPT
            } else {
                self.slowness.saturating_sub(1)
            };
            if let Some(reply) = reply {
                return self.answer(number, about.shape(reply));
            }
        }
        let done = self.done.clone();
        let running = task::spawn("call", async move {
            let _entered = entered;
            let reply = run.await;
            // Err: the link has ended, and nobody waits.
            let _ = done.send((number, about.shape(reply))).await;
        });
        self.running.insert(number, running.abort_handle());
    }

    fn answer(&mut self, number: u64, shaped: Shaped) {
        let fits = shaped.body.len() <= self.limit;
        let shaped = if fits {
            shaped
        } else {
            let reason = format!("the result has more than {} bytes", self.limit);
            too_large(StatusCode::BAD_GATEWAY, reason)
        };
        let Shaped { reply, content_type, body } = shaped;
        let headers = reply.headers.iter().map(|(name, value)| (&**name, &**value));
        let answer = link::Answer {
            number,
            status: reply.status.as_u16(),
            outcome: reply.outcome.filter(|outcome| *outcome != Outcome::Ok),
            reason: reply.reason.as_deref().unwrap_or_default(),
            retry_after: reply.retry_after.as_deref().unwrap_or_default(),
            content_type: &content_type,
            headers: headers.collect(),
            body: &body,
        };
        answer.put(&mut self.out);
    }
}

fn too_large(status: StatusCode, reason: String) -> Shaped {
    let reply = Reply::of_status(status, reason);
    Shaped { reply, content_type: "".into(), body: Bytes::new() }
}

/// What the handler gets to see of a call.
fn request(call: &Call<'_>) -> Request {
    let mut headers = HeaderMap::new();
    for (name, value) in &call.headers {
        // They stood in a request once, so they can stand in one again.
        if let (Ok(name), Ok(value)) = (HeaderName::try_from(*name), HeaderValue::try_from(*value))
        {
            headers.append(name, value);
        }
    }
    let id: Box<str> = call.id.to_string().into();
    Request {
        stream: call.stream.into(),
        sequence: call.sequence,
        key: id.clone(),
        id,
        attempt: call.attempt,
        max_attempts: Some(call.max_attempts),
        timeout: Some(Duration::from_millis(call.timeout_ms)),
        reason: call.reason.into(),
        sender_key: call.sender_key.into(),
        content_type: call.content_type.into(),
        headers,
        body: Bytes::copy_from_slice(call.body),
    }
}
