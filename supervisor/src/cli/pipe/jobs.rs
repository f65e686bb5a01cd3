//! The jobs: each works on one line at a time, with a process.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use bytes::{BufMut as _, Bytes, BytesMut};
use rollcall_common::{
    message::{Headers, Message, Payload},
    task,
};
use rollcall_worker::{AnyHandler, Handler as _, Reply, Request};
use tokio::{sync::mpsc, task::JoinHandle};

use super::{
    embedded::{Embedded, Orders, POOL},
    submit::TOO_LONG,
    waiting::Waiting,
};
use crate::{
    dispatcher::{AttemptId, Delivery, Dispatch, Event, Notice, WorkerReply},
    driver::{Edges, Gone, Handle},
    record::SubscriptionId,
};

/// How the processes run.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Style {
    /// One for each line, which comes with its end.
    PerLine {
        /// What that is.
        line_end: u8,
    },
    /// One for each line, which stands among its arguments.
    Argument,
    /// Each takes line after line.
    Kept,
}

/// The jobs.
#[derive(Debug)]
pub(super) struct Jobs {
    idle: Arc<Idle>,
    running: Vec<JoinHandle<()>>,
    count: u32,
}

/// The jobs that have nothing to do.
#[derive(Debug, Default)]
struct Idle(Mutex<Vec<mpsc::Sender<Dispatch>>>);

/// One of them.
struct Job {
    handler: AnyHandler,
    style: Style,
    timeout: Option<Duration>,
    waiting: Option<Arc<Waiting>>,
    handle: Handle,
    idle: Arc<Idle>,
    way_in: mpsc::Sender<Dispatch>,
}

impl Jobs {
    pub(super) fn start(
        (handler, style): (&AnyHandler, Style),
        orders: &Orders,
        handle: &Handle,
        waiting: Option<&Arc<Waiting>>,
    ) -> Self {
        let idle = Arc::new(Idle::default());
        let start = |_| {
            let (way_in, work) = mpsc::channel(1);
            idle.put(way_in.clone());
            let job = Job {
                handler: handler.clone(),
                style,
                timeout: orders.timeout,
                waiting: waiting.cloned(),
                handle: handle.clone(),
                idle: Arc::clone(&idle),
                way_in,
            };
            task::spawn("job", job.run(work))
        };
        let running = (0..orders.jobs).map(start).collect();
        Self { idle, running, count: orders.jobs }
    }

    pub(super) fn edges(&self) -> Arc<dyn Edges> {
        let idle: Arc<Idle> = Arc::clone(&self.idle);
        idle
    }

    pub(super) async fn join(&self, embedded: &Embedded) -> Result<(), Gone> {
        let worker = Event::WorkerSeen {
            id: POOL.into(),
            pool: POOL.into(),
            concurrency: Some(self.count),
            beats: false,
        };
        embedded.handle.send(worker).await
    }

    /// Ends the jobs, and kills their processes.
    pub(super) async fn stop(self) {
        self.running.iter().for_each(JoinHandle::abort);
        for job in self.running {
            // Err: it was broken off, as it should.
            let _ = job.await;
        }
    }
}

impl Idle {
    fn put(&self, job: mpsc::Sender<Dispatch>) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(job);
    }

    fn take(&self) -> Option<mpsc::Sender<Dispatch>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).pop()
    }
}

impl Edges for Idle {
    fn cancel(&self, _: &str, _: AttemptId) {}

    fn forget(&self, _: &str) {}

    fn give_up(&self, _: &str, _: AttemptId) {}

    fn dispatch(&self, dispatch: Dispatch) {
        let sent = self.take().map(|job| job.try_send(dispatch));
        if !matches!(sent, Some(Ok(()))) {
            // They have ended: nobody reads what comes out any more.
            tracing::debug!("a line was handed out, and no job was idle");
        }
    }

    /// Jobs answer always: there is no connection that could break.
    fn probe(&self, _: Arc<str>) {}

    fn deliver(&self, _: Delivery) {}

    fn recall(&self, _: SubscriptionId, _: u32) {}

    fn tell(&self, _: Notice) {}
}

impl Job {
    async fn run(self, mut work: mpsc::Receiver<Dispatch>) {
        while let Some(dispatch) = work.recv().await {
            let attempt = dispatch.attempt;
            let reply = self.attempt(&dispatch).await;
            // Before the driver hears of it: it may have the next line at once.
            self.idle.put(self.way_in.clone());
            if self.handle.send(Event::AttemptEnded { attempt, reply }).await.is_err() {
                return;
            }
        }
    }

    async fn attempt(&self, dispatch: &Dispatch) -> WorkerReply {
        let content_type = dispatch.message.content_type.clone();
        let reply = if &*content_type == TOO_LONG {
            too_long(&dispatch.message)
        } else {
            self.handler.handle(self.request(dispatch)).await
        };
        let is_ok = reply.is_ok();
        let Reply { status, outcome, reason, content_type: stated, retry_after, body, .. } = reply;
        let seconds = retry_after.and_then(|seconds| seconds.parse().ok());
        // Only bodies come out.
        let content_type = stated.unwrap_or_else(|| (*content_type).into());
        let mut payload = Payload { content_type, headers: Headers::default(), body };
        if let Some(waiting) = self.waiting.as_ref().filter(|_| is_ok) {
            waiting.keep(dispatch.sequence.0, &mut payload);
        }
        WorkerReply::Answer {
            status: status.as_u16(),
            outcome,
            reason: reason.unwrap_or_default(),
            retry_after: seconds.map(Duration::from_secs),
            payload,
        }
    }

    fn request(&self, dispatch: &Dispatch) -> Request {
        let Message { id, content_type, body, .. } = &*dispatch.message;
        let body = match self.style {
            Style::Kept => return Request { body: body.clone(), ..Request::default() },
            Style::Argument => body.clone(),
            Style::PerLine { line_end } => terminated(body, line_end),
        };
        let id: Box<str> = id.to_string().into();
        Request {
            stream: dispatch.stream_name.as_str().into(),
            sequence: dispatch.sequence.0,
            key: id.clone(),
            id,
            attempt: dispatch.number,
            max_attempts: Some(dispatch.max_attempts),
            timeout: self.timeout,
            reason: dispatch.reason.as_str().into(),
            content_type: (**content_type).into(),
            body,
            ..Request::default()
        }
    }
}

/// What a line comes to that is too long.
pub(super) fn too_long(message: &Message) -> Reply {
    let bytes = String::from_utf8_lossy(&message.body);
    Reply::park(format!("it has {bytes} bytes, which is more than --max-line"))
}

/// A line as programs expect it, with its end.
fn terminated(line: &Bytes, line_end: u8) -> Bytes {
    let mut whole = BytesMut::with_capacity(line.len() + 1);
    whole.put_slice(line);
    whole.put_u8(line_end);
    whole.freeze()
}
