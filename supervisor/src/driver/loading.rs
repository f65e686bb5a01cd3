//! What the engine wants back from the journal: read on threads that may block, and handed in as
//! events.

use std::sync::Arc;

use rollcall_common::{
    ids::{Position, Sequence, StreamId, StreamName},
    task,
};

use super::Handle;
use crate::{dispatcher::Event, record::SubscriptionId, views::Views};

/// Bytes of messages that one fetch brings.
const FETCH_BYTES: usize = 4 << 20;
/// Results that one look for a subscription covers.
const SCAN_RESULTS: usize = 50_000;

/// Whether a stream's results are wanted.
pub(super) type Wants = Arc<dyn Fn(&StreamName) -> bool + Send + Sync>;

/// Reads for the engine.
#[derive(Debug)]
pub(super) struct Loader {
    views: Arc<Views>,
    handle: Handle,
}

impl Loader {
    pub(super) fn new(views: Arc<Views>, handle: Handle) -> Self {
        Self { views, handle }
    }

    pub(super) fn fetch(&self, stream: StreamId, first: Sequence, last: Sequence) {
        let (views, handle) = (Arc::clone(&self.views), self.handle.clone());
        task::spawn("fetch", async move {
            let read = tokio::task::spawn_blocking(move || {
                views.messages(stream, first..=last, FETCH_BYTES)
            });
            match read.await {
                // There may be none: they may have their results meanwhile. The dispatcher knows.
                Ok(Ok(messages)) => {
                    // Err: the driver has ended, and nobody waits.
                    let _ = handle.tell(Event::Fetched { at: (stream, first), messages }).await;
                }
                Ok(Err(error)) => fatal(&error.to_string()),
                Err(error) => fatal(&error.to_string()),
            }
        });
    }

    pub(super) fn scan(
        &self,
        (subscription, life): (SubscriptionId, u32),
        after: Position,
        wants: Wants,
    ) {
        let (views, handle) = (Arc::clone(&self.views), self.handle.clone());
        task::spawn("scan", async move {
            let scan = move || views.scan(after, SCAN_RESULTS, |name| wants(name));
            match tokio::task::spawn_blocking(scan).await {
                Ok(Ok((to, found))) => {
                    // Err: the driver has ended, and nobody waits.
                    let _ = handle.tell(Event::Scanned { subscription, life, to, found }).await;
                }
                Ok(Err(error)) => fatal(&error.to_string()),
                Err(error) => fatal(&error.to_string()),
            }
        });
    }
}

fn fatal(detail: &str) {
    tracing::error!(detail, "the journal can't be read; the process ends");
    rollcall_common::telemetry::flush();
    std::process::abort();
}
