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
use tokio::{sync::mpsc, task::JoinHandle, time::timeout};

use super::machine::{Machine, Orders, POOL};
use crate::{
    dispatcher::{AttemptId, Delivery, Dispatch, Event, Notice, WorkerReply},
    driver::{Edges, Gone, Handle},
    record::SubscriptionId,
};

/// How the processes run.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Style {
    /// One for each line.
    PerLine,
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
    handle: Handle,
    idle: Arc<Idle>,
    way_in: mpsc::Sender<Dispatch>,
}

impl Jobs {
    pub(super) fn start(
        handler: &AnyHandler,
        style: Style,
        orders: &Orders,
        handle: &Handle,
    ) -> Self {
        let idle = Arc::new(Idle::default());
        let start = |_| {
            let (way_in, work) = mpsc::channel(1);
            idle.put(way_in.clone());
            let job = Job {
                handler: handler.clone(),
                style,
                timeout: orders.timeout,
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

    pub(super) async fn join(&self, machine: &Machine) -> Result<(), Gone> {
        let worker = Event::WorkerSeen {
            id: POOL.into(),
            pool: POOL.into(),
            concurrency: Some(self.count),
            beats: false,
        };
        machine.handle.tell(worker).await
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
            if self.handle.tell(Event::Answered { attempt, reply }).await.is_err() {
                return;
            }
        }
    }

    async fn attempt(&self, dispatch: &Dispatch) -> WorkerReply {
        let content_type = dispatch.message.content_type.clone();
        let work = self.handler.handle(self.request(dispatch));
        let reply = match self.timeout {
            None => work.await,
            Some(longest) => timeout(longest, work).await.unwrap_or_else(|_| {
                Reply::retry(format!("no answer within {}", rollcall_common::units::Span(longest)))
            }),
        };
        let Reply { status, outcome, reason, content_type: stated, retry_after, body, .. } = reply;
        let seconds = retry_after.and_then(|seconds| seconds.parse().ok());
        WorkerReply::Answer {
            status: status.as_u16(),
            outcome,
            reason: reason.unwrap_or_default(),
            retry_after: seconds.map(Duration::from_secs),
            // Only bodies come out.
            payload: Payload {
                content_type: stated.unwrap_or(content_type),
                headers: Headers::default(),
                body,
            },
        }
    }

    fn request(&self, dispatch: &Dispatch) -> Request {
        let Message { id, content_type, body, .. } = &*dispatch.message;
        if self.style == Style::Kept {
            return Request { body: body.clone(), ..Request::default() };
        }
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
            content_type: content_type.clone(),
            body: terminated(body),
            ..Request::default()
        }
    }
}

/// A line as programs expect it, with its end.
fn terminated(line: &Bytes) -> Bytes {
    let mut whole = BytesMut::with_capacity(line.len() + 1);
    whole.put_slice(line);
    whole.put_u8(b'\n');
    whole.freeze()
}
