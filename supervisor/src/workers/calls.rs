//! Calls to workers: over a worker's link where there is one, otherwise over plain HTTP.

use std::sync::Arc;

use arc_swap::ArcSwap;
use rollcall_common::{limits::LATE_ANSWER, task};

use super::{
    link, plain,
    registry::{Member, Registry},
};
use crate::{
    dispatcher::{AttemptId, Dispatch, Event, WorkerReply, event::Presence},
    driver::Handle,
    web::Sizes,
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
    pub sizes: Arc<ArcSwap<Sizes>>,
}

impl Calls {
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
        task::spawn("attempt", async move {
            let attempt = dispatch.attempt;
            let reply = match member {
                Some(member) => {
                    let limit = calls.sizes.load().message;
                    // An attempt whose time is up is not withdrawn; but no call is for ever.
                    let longest = dispatch.timeout + LATE_ANSWER;
                    let call = plain::call(&member, &dispatch, limit);
                    let Ok(reply) = tokio::time::timeout(longest, call).await else {
                        return;
                    };
                    member.note(&dispatch.worker, reached(&reply));
                    reply
                }
                None => WorkerReply::Unreachable("the worker has left".into()),
            };
            // Err: the driver has ended, and nobody waits.
            let _ = calls.handle.tell(Event::Answered { attempt, reply }).await;
        });
    }

    /// An attempt's answer is no longer needed. Only a link can say so; it does not block.
    pub fn cancel(&self, worker: &str, attempt: AttemptId) {
        if let Some(member) = self.registry.find(worker) {
            member.link.cancel(attempt);
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
            let _ = calls.handle.tell(Event::Probed { worker, presence }).await;
        });
    }
}
