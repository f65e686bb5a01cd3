//! Calls to workers: over a worker's link where there is one, otherwise over plain HTTP.

use std::sync::Arc;

use arc_swap::ArcSwap;
use dashmap::DashMap;
use rollcall_common::{
    http::{AnswerRoom, AnswerShare},
    limits::{ANSWERS_BYTES, LATE_ANSWER},
    task,
};
use tokio::sync::oneshot;

use super::{
    link, plain,
    registry::{Member, Registry},
};
use crate::{
    dispatcher::{AttemptId, Dispatch, Event, WorkerReply, event::Presence},
    driver::Handle,
    web::BodyLimits,
};

/// Whether a call found its worker there.
fn reached(reply: &WorkerReply) -> Result<(), &str> {
    match reply {
        WorkerReply::Unreachable(error) => Err(error),
        WorkerReply::Answer { .. }
        | WorkerReply::Broken(_)
        | WorkerReply::Cancelled
        | WorkerReply::Stale => Ok(()),
    }
}

/// Hands messages to workers.
#[derive(Debug)]
pub struct Calls {
    /// Where they are.
    pub registry: Arc<Registry>,
    /// Where answers go.
    pub handle: Handle,
    /// How large a result may be.
    pub sizes: Arc<ArcSwap<BodyLimits>>,
    /// For large answers over plain HTTP.
    room: AnswerRoom,
    /// Calls over plain HTTP that are out, and how to end them.
    open: DashMap<AttemptId, oneshot::Sender<()>>,
}

impl Calls {
    /// Calls that are yet to be made.
    #[must_use]
    pub fn new(registry: Arc<Registry>, handle: Handle, sizes: Arc<ArcSwap<BodyLimits>>) -> Self {
        let room = AnswerRoom::new(ANSWERS_BYTES);
        Self { registry, handle, sizes, room, open: DashMap::new() }
    }

    /// Whether no call over plain HTTP is out, and all room for large answers is free.
    #[cfg(test)]
    pub(super) fn is_idle(&self) -> bool {
        self.open.is_empty() && self.room.left() == ANSWERS_BYTES
    }

    /// Makes an attempt. It does not block; the answer goes to the driver.
    pub fn dispatch(self: &Arc<Self>, dispatch: Dispatch) {
        let member = self.registry.find(&dispatch.worker);
        let dispatch = match &member {
            Some(member) => match member.link.call(dispatch) {
                Ok(()) => return,
                Err(dispatch) => dispatch,
            },
            None => dispatch,
        };
        self.call(member, dispatch);
    }

    /// Makes an attempt over plain HTTP.
    pub(super) fn call(self: &Arc<Self>, member: Option<Arc<Member>>, dispatch: Dispatch) {
        let calls = Arc::clone(self);
        let (end, over) = oneshot::channel();
        self.open.insert(dispatch.attempt, end);
        task::spawn("attempt", async move {
            let attempt = dispatch.attempt;
            // It is kept until the driver has the answer, or has taken room for it.
            let mut share = calls.room.share(dispatch.timeout);
            let reply = tokio::select! {
                reply = calls.answer(member, dispatch, &mut share) => reply,
                // It is dropped where it stands, and its connection with it.
                _ = over => None,
            };
            calls.open.remove(&attempt);
            if let Some(reply) = reply {
                // Err: the driver has ended, and nobody waits.
                let _ = calls.handle.send(Event::AttemptEnded { attempt, reply }).await;
            }
        });
    }

    /// What comes of a call over plain HTTP. `None`: nothing in all the time that it has.
    async fn answer(
        &self,
        member: Option<Arc<Member>>,
        dispatch: Dispatch,
        share: &mut AnswerShare,
    ) -> Option<WorkerReply> {
        let Some(member) = member else {
            return Some(WorkerReply::Unreachable("the worker has left".into()));
        };
        let limit = self.sizes.load().message;
        // An attempt whose time is up is not withdrawn; but no call is for ever.
        let longest = dispatch.timeout + LATE_ANSWER;
        let call = plain::call(&member, &dispatch, limit, share);
        let reply = tokio::time::timeout(longest, call).await.ok()?;
        member.note(&dispatch.worker, reached(&reply));
        Some(reply)
    }

    /// An attempt's answer is no longer needed. Only a link can say so; it does not block.
    pub fn cancel(&self, worker: &str, attempt: AttemptId) {
        if let Some(member) = self.registry.find(worker) {
            member.link.cancel(attempt);
        }
    }

    /// An attempt is over. Over plain HTTP its connection is closed; it does not block.
    pub fn give_up(&self, worker: &str, attempt: AttemptId) {
        match self.open.remove(&attempt) {
            // Err: it has just ended by itself.
            Some((_, end)) => drop(end.send(())),
            None => self.cancel(worker, attempt),
        }
    }

    /// Asks a worker for a link, unless there is one. It does not block.
    pub fn link(self: &Arc<Self>, member: &Arc<Member>) {
        if member.link.ask() {
            let (calls, member) = (Arc::clone(self), Arc::clone(member));
            task::spawn("link", link::keep(calls, member));
        }
    }

    /// Looks whether a worker takes connections. It does not block; the answer goes to the driver.
    pub fn probe(self: &Arc<Self>, worker: Arc<str>) {
        let calls = Arc::clone(self);
        task::spawn("probe", async move {
            let member = calls.registry.find(&worker);
            let presence = match member {
                Some(member) => member.look(&worker).await,
                None => Presence::Absent,
            };
            // Err: the driver has ended, and nobody waits.
            let _ = calls.handle.send(Event::Probed { worker, presence }).await;
        });
    }
}
