//! The task that keeps the journal and the index short: snapshots, trims, and places that go from
//! memory to the disk.

use std::{sync::Arc, time::Duration};

use rollcall_common::{
    shutdown::{Phase, Shutdown},
    task,
    time::Clock,
};
use tokio::sync::watch;

use crate::{
    dispatcher::{Event, LaggingSubscribers},
    driver::{
        Gone, Handle,
        retention::{Next, RetentionInput, RetentionPolicy, Step, Trim, next_step},
    },
    journal::Journal,
    views::{ReadFailed, SnapshotRef, Views},
};

/// How often it looks whether something is old.
const LOOK_EVERY: Duration = Duration::from_millis(250);
/// How often places go from memory to the disk, if there are enough of them.
const SPILL_EVERY: Duration = Duration::from_millis(100);

/// What keeps the journal short.
pub(super) struct Compactor {
    pub(super) handle: Handle,
    pub(super) views: Arc<Views>,
    pub(super) journal: Arc<dyn Journal>,
    pub(super) clock: Clock,
}

/// Why a step was not finished.
#[derive(Debug, thiserror::Error)]
enum Stopped {
    #[error(transparent)]
    Gone(#[from] Gone),
    #[error(transparent)]
    Io(#[from] std::io::Error),
    #[error(transparent)]
    Read(#[from] ReadFailed),
    #[error("broken off: {0}")]
    Task(#[from] tokio::task::JoinError),
}

impl Compactor {
    /// Keeps the rules until the process ends.
    pub(super) fn spawn(self, rules: watch::Receiver<RetentionPolicy>, shutdown: Shutdown) {
        let views = Arc::clone(&self.views);
        let mut ending = shutdown.clone();
        task::spawn("spill", async move {
            loop {
                tokio::select! {
                    () = tokio::time::sleep(SPILL_EVERY) => {}
                    () = ending.reached(Phase::Now) => return,
                }
                if views.unspilled() > 0
                    && let Err(error) = spill(&views).await
                {
                    tracing::warn!(%error, "the index can't be written; more of it is in memory");
                }
            }
        });
        task::spawn("retention", self.keep(rules, shutdown));
    }

    async fn keep(self, rules: watch::Receiver<RetentionPolicy>, mut shutdown: Shutdown) {
        loop {
            tokio::select! {
                () = tokio::time::sleep(LOOK_EVERY) => {}
                // What is under way is done; nothing new is begun.
                () = shutdown.reached(Phase::Draining) => return,
            }
            let rules = *rules.borrow();
            match self.step(rules).await {
                Ok(()) => {}
                // The process ends.
                Err(Stopped::Gone(Gone)) => return,
                Err(error) => tracing::error!(%error, "the journal could not be trimmed"),
            }
        }
    }

    async fn step(&self, rules: RetentionPolicy) -> Result<(), Stopped> {
        let clock = self.clock;
        let look = self.handle.query(move |dispatcher| RetentionInput::of(dispatcher, clock.now()));
        match next_step(&rules, look.await?, &*self.journal, &self.views) {
            Step::Rest => {}
            Step::Snapshot => {
                let begun = clock.now();
                self.handle.request(|request| Event::Snapshot { request }).await?;
                let took = clock.now().since(begun);
                tracing::info!(?took, "snapshot written");
            }
            Step::Trim(snapshot) => self.trim((snapshot, rules.slow)).await?,
        }
        Ok(())
    }

    async fn trim(&self, wanted: (SnapshotRef, LaggingSubscribers)) -> Result<(), Stopped> {
        let (journal, views) = (Arc::clone(&self.journal), Arc::clone(&self.views));
        let begun = tokio::task::spawn_blocking(move || Trim::begin(wanted, &*journal, &views));
        let Some(mut trim) = begun.await?? else {
            return Ok(());
        };
        loop {
            let views = Arc::clone(&self.views);
            let read = move || (trim.next(&views), trim);
            let (next, back) = tokio::task::spawn_blocking(read).await?;
            trim = back;
            let next = next?;
            let last = matches!(next, Next::Trimmed { .. });
            self.handle.request(move |request| next.event(request)).await?;
            if last {
                break;
            }
        }
        let (journal, views) = (Arc::clone(&self.journal), Arc::clone(&self.views));
        Ok(tokio::task::spawn_blocking(move || trim.finish(&*journal, &views)).await??)
    }
}

async fn spill(views: &Arc<Views>) -> Result<(), Stopped> {
    let views = Arc::clone(views);
    Ok(tokio::task::spawn_blocking(move || views.spill()).await??)
}
