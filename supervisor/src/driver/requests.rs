//! Requests that wait for their answer.

use std::{collections::BTreeMap, fmt};

use tokio::sync::oneshot;

use super::handle::Seen;
use crate::dispatcher::{Reply, RequestId};

/// Who asked what.
#[derive(Default)]
pub(super) struct Requests {
    waiting: BTreeMap<RequestId, Waiting>,
    next: u64,
}

/// Who waits.
enum Waiting {
    /// For what came of an event.
    Reply(oneshot::Sender<Reply>),
    /// For what was seen, which rests on entries that are not durable yet.
    Seen(Seen),
}

impl Requests {
    pub(super) fn open(&mut self, sender: oneshot::Sender<Reply>) -> RequestId {
        self.add(Waiting::Reply(sender))
    }

    pub(super) fn keep(&mut self, seen: Seen) -> RequestId {
        self.add(Waiting::Seen(seen))
    }

    fn add(&mut self, waiting: Waiting) -> RequestId {
        let request = RequestId(self.next);
        self.next += 1;
        self.waiting.insert(request, waiting);
        request
    }

    pub(super) fn answer(&mut self, request: RequestId, reply: Reply) {
        match self.waiting.remove(&request) {
            Some(Waiting::Reply(sender)) => {
                // Whoever hung up learns it by asking again with the same key.
                let _ = sender.send(reply);
            }
            Some(Waiting::Seen(seen)) => seen(),
            None => {}
        }
    }
}

impl fmt::Debug for Requests {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Requests").field("waiting", &self.waiting.len()).finish_non_exhaustive()
    }
}
