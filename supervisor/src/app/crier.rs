//! Notices of alerts, from the driver to those who send them.

use std::sync::Arc;

use rollcall_common::task;

use crate::{
    dispatcher::{Event, Notice},
    driver::Handle,
};

/// Sends notices. Each is a task of its own; the dispatcher bounds how many there are.
#[derive(Debug)]
pub(super) struct Crier {
    pub(super) handle: Handle,
}

impl Crier {
    pub(super) fn tell(&self, notice: Notice) {
        let handle = self.handle.clone();
        task::spawn("notice", async move {
            let Notice { alert, target, kind, .. } = notice;
            tracing::warn!(
                kind = alert.kind,
                severity = alert.severity.as_str(),
                what = kind.as_str(),
                detail = &*alert.detail,
                "{}",
                alert.title
            );
            // Err: the driver has ended; the next start tells it again.
            let target = Arc::clone(&target);
            let _ = handle.tell(Event::Told { alert: alert.id, target, outcome: Ok(()) }).await;
        });
    }
}
