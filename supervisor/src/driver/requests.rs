//! Requests that wait for their answer.

use std::collections::BTreeMap;

use tokio::sync::oneshot;

use crate::dispatcher::{Reply, RequestId};

/// Who asked what.
#[derive(Debug, Default)]
pub(super) struct Requests {
    waiting: BTreeMap<RequestId, oneshot::Sender<Reply>>,
    next: u64,
}

impl Requests {
    pub(super) fn open(&mut self, sender: oneshot::Sender<Reply>) -> RequestId {
        let request = RequestId(self.next);
        self.next += 1;
        self.waiting.insert(request, sender);
        request
    }

    pub(super) fn answer(&mut self, request: RequestId, reply: Reply) {
        if let Some(sender) = self.waiting.remove(&request) {
            // Whoever hung up learns it by asking again with the same key.
            let _ = sender.send(reply);
        }
    }
}
