//! HTTP workers for a pipe.

use std::{
    collections::BTreeMap,
    convert::Infallible,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use arc_swap::ArcSwap;
use rollcall_common::{
    http::Target, message::Payload, protocol::Outcome, shutdown::Shutdown, task,
};
use rollcall_worker::Reply;
use tokio::{sync::watch, time::sleep};

use super::{
    RESULT_BYTES,
    embedded::{Embedded, POOL},
    jobs::too_long,
    submit::TOO_LONG,
    waiting::Waiting,
};
use crate::{
    dispatcher::{AttemptId, Cause, Delivery, Dispatch, Event, Notice, WorkerReply},
    driver::{Edges, Handle},
    record::SubscriptionId,
    web::BodyLimits,
    workers::{
        calls::Calls,
        membership::{self, ConfiguredPool},
        registry::Registry,
    },
};

/// How often names are resolved again.
const DNS_REFRESH: Duration = Duration::from_secs(30);
/// How often somebody looks whether there are workers at all.
const LOOK: Duration = Duration::from_secs(5);

/// A way to the driver on which the bodies of results are kept back.
fn via(lines: &Arc<Lines>, handle: &Handle) -> Handle {
    let (front, mailbox) = Handle::new();
    let (lines, handle) = (Arc::clone(lines), handle.clone());
    task::spawn("results", async move {
        mailbox.pass_on(&handle, |event| lines.keep(event)).await;
    });
    front
}

/// HTTP workers. How many calls there are at once is a matter of the stream, over all of them.
#[derive(Debug)]
pub(super) struct Remote {
    calls: Arc<Calls>,
    lines: Option<Arc<Lines>>,
    shutdown: Shutdown,
    pools: watch::Sender<Vec<ConfiguredPool>>,
}

struct Outside {
    calls: Arc<Calls>,
    lines: Option<Arc<Lines>>,
}

/// Which attempt is for which line, so that results' bodies can be kept apart.
#[derive(Debug)]
struct Lines {
    attempts: Mutex<BTreeMap<AttemptId, u64>>,
    waiting: Arc<Waiting>,
}

impl Lines {
    fn note(&self, dispatch: &Dispatch) {
        self.attempts().insert(dispatch.attempt, dispatch.sequence.0);
    }

    /// Takes the body out of an answer.
    fn keep(&self, event: &mut Event) {
        let Event::AttemptEnded { attempt, reply } = event else { return };
        let Some(line) = self.attempts().remove(attempt) else { return };
        if let WorkerReply::Answer { status, outcome, payload, .. } = reply {
            let is_ok = match outcome {
                Some(outcome) => *outcome == Outcome::Ok,
                None => (200..300).contains(status),
            };
            if is_ok {
                self.waiting.keep(line, payload);
            }
        }
    }

    fn attempts(&self) -> MutexGuard<'_, BTreeMap<AttemptId, u64>> {
        self.attempts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Edges for Outside {
    fn cancel(&self, worker: &str, attempt: AttemptId) {
        self.calls.cancel(worker, attempt);
    }

    fn forget(&self, worker: &str) {
        self.calls.registry.remove(worker);
    }

    fn give_up(&self, worker: &str, attempt: AttemptId) {
        self.calls.give_up(worker, attempt);
    }

    fn dispatch(&self, dispatch: Dispatch) {
        if let Some(lines) = &self.lines {
            lines.note(&dispatch);
        }
        if &*dispatch.message.content_type != TOO_LONG {
            return self.calls.dispatch(dispatch);
        }
        // No worker needs to see it.
        let handle = self.calls.handle.clone();
        task::spawn("too-long", async move {
            let Reply { status, outcome, reason, .. } = too_long(&dispatch.message);
            let reply = WorkerReply::Answer {
                status: status.as_u16(),
                outcome,
                reason: reason.unwrap_or_default(),
                retry_after: None,
                payload: Payload::default(),
            };
            // Err: the driver has ended, and nobody waits.
            let _ = handle.send(Event::AttemptEnded { attempt: dispatch.attempt, reply }).await;
        });
    }

    fn probe(&self, worker: Arc<str>) {
        self.calls.probe(worker);
    }

    fn deliver(&self, _: Delivery) {}

    fn recall(&self, _: SubscriptionId, _: u32) {}

    fn tell(&self, _: Notice) {}
}

impl Remote {
    pub(super) fn new(
        (workers, jobs): (&[Target], u32),
        handle: &Handle,
        waiting: Option<&Arc<Waiting>>,
        shutdown: Shutdown,
    ) -> Self {
        let lines = waiting.map(|waiting| {
            let waiting = Arc::clone(waiting);
            Arc::new(Lines { attempts: Mutex::default(), waiting })
        });
        let handle = lines.as_ref().map_or_else(|| handle.clone(), |lines| via(lines, handle));
        let registry = Arc::new(Registry::default());
        let sizes = BodyLimits { message: RESULT_BYTES, batch: RESULT_BYTES };
        let sizes = Arc::new(ArcSwap::from_pointee(sizes));
        let calls = Arc::new(Calls::new(registry, handle, sizes));
        let (pools, _) = watch::channel(vec![ConfiguredPool {
            name: POOL.into(),
            workers: workers.to_vec(),
            concurrency: Some(jobs),
            dns_refresh: DNS_REFRESH,
        }]);
        Self { calls, lines, shutdown, pools }
    }

    pub(super) fn edges(&self) -> Arc<dyn Edges> {
        Arc::new(Outside { calls: Arc::clone(&self.calls), lines: self.lines.clone() })
    }

    pub(super) fn join(&self) {
        let (registry, handle) = (Arc::clone(&self.calls.registry), self.calls.handle.clone());
        membership::keep(self.pools.subscribe(), registry, handle, self.shutdown.clone());
    }

    /// A worker that is not there costs no try, so the lines wait: people should know.
    pub(super) async fn watch(&self, embedded: &Embedded) -> Infallible {
        loop {
            sleep(LOOK).await;
            let stream = embedded.views.find(&embedded.stream);
            let status = stream.and_then(|stream| embedded.views.status(stream));
            if status.is_some_and(|(status, _)| status.cause == Some(Cause::NoWorker)) {
                tracing::warn!("no worker can be reached; trying on");
            }
        }
    }
}
