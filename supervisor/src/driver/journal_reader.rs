//! What the engine wants back from the journal: read on threads that may block, and handed in as
//! events.

use std::{ops::RangeInclusive, sync::Arc, time::Duration};

use rollcall_common::{
    exhaustion::is_exhausted,
    ids::{Position, Sequence, StreamId, StreamName},
    task,
};

use super::Handle;
use crate::{
    dispatcher::Event,
    record::SubscriptionId,
    views::{ReadFailed, Views},
};

/// Results that one look for a subscription covers.
const SCAN_RESULTS: usize = 50_000;
/// The wait before a read that could not be made is tried again.
const TRY_AGAIN: Duration = Duration::from_millis(100);

/// Whether a stream's results are wanted.
pub(super) type StreamFilter = Arc<dyn Fn(&StreamName) -> bool + Send + Sync>;

/// Reads for the engine.
#[derive(Debug)]
pub(super) struct BackfillReader {
    views: Arc<Views>,
    handle: Handle,
}

impl BackfillReader {
    pub(super) fn new(views: Arc<Views>, handle: Handle) -> Self {
        Self { views, handle }
    }

    pub(super) fn fetch(
        &self,
        stream: StreamId,
        sequences: RangeInclusive<Sequence>,
        bytes: usize,
    ) {
        let first = *sequences.start();
        let (views, handle) = (Arc::clone(&self.views), self.handle.clone());
        task::spawn("fetch", async move {
            let read = move || views.messages(stream, sequences.clone(), bytes);
            // There may be none: they may have their results meanwhile. The dispatcher knows.
            let messages = read_on(read, ReadFailed::may_pass).await;
            // Err: the driver has ended, and nobody waits.
            let _ = handle.send(Event::Fetched { at: (stream, first), messages }).await;
        });
    }

    pub(super) fn scan(
        &self,
        (subscription, revision): (SubscriptionId, u32),
        after: Position,
        wants: StreamFilter,
    ) {
        let (views, handle) = (Arc::clone(&self.views), self.handle.clone());
        task::spawn("scan", async move {
            let scan = move || views.scan(after, SCAN_RESULTS, |name| wants(name));
            let (to, found) = read_on(scan, is_exhausted).await;
            // Err: the driver has ended, and nobody waits.
            let _ = handle.send(Event::Scanned { subscription, revision, to, found }).await;
        });
    }
}

/// Reads on a thread that may block, again as long as what stands in the way may pass. What does
/// not pass ends the process: the journal can't be relied on.
async fn read_on<T, E>(
    read: impl Fn() -> Result<T, E> + Clone + Send + 'static,
    may_pass: impl Fn(&E) -> bool,
) -> T
where
    T: Send + 'static,
    E: std::fmt::Display + Send + 'static,
{
    loop {
        match tokio::task::spawn_blocking(read.clone()).await {
            Ok(Ok(found)) => return found,
            Ok(Err(error)) if may_pass(&error) => {
                tracing::warn!(%error, "the journal can't be read now; trying on");
                tokio::time::sleep(TRY_AGAIN).await;
            }
            Ok(Err(error)) => fatal(&error.to_string()),
            Err(error) => fatal(&error.to_string()),
        }
    }
}

fn fatal(detail: &str) -> ! {
    tracing::error!(detail, "the journal can't be read; the process ends");
    rollcall_common::telemetry::flush();
    std::process::abort();
}
