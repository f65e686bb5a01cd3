//! From files to state: the journal is opened, and folded.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    thread,
    time::Duration,
};

use rollcall_common::{
    ids::Epoch,
    time::{Clock, Time},
};
use uuid::Uuid;

use super::{AppError, Store};
use crate::{
    config::{self, JournalKind},
    dispatcher::Settings,
    driver::{engine::Recovered, recovery},
    journal::{
        Entry, Journal,
        local::{LocalJournal, Options},
        memory::MemoryJournal,
    },
    views::Views,
};

/// The folder of the views, in the journal's. It may be deleted while the supervisor is down.
const VIEWS: &str = "views";
/// How often a long recovery says how far it is.
const TELL_EVERY: Duration = Duration::from_secs(2);
/// Bytes of the journal that recovery reads at a time.
const RECOVERY_BYTES: usize = 4 << 20;

/// A journal, and what it says.
pub(crate) struct Opened {
    pub(crate) journal: Arc<dyn Journal>,
    pub(crate) epoch: Epoch,
    /// No other journal has the same.
    pub(crate) identity: Uuid,
    pub(crate) views: Arc<Views>,
    pub(crate) recovered: Recovered,
}

/// Opens a journal, unless it is in `store` already, and folds what it says.
pub(crate) async fn open(
    journal: config::Journal,
    store: Option<Store>,
    settings: Arc<Settings>,
) -> Result<Opened, AppError> {
    let open = move || {
        if let Some(Store { journal, epoch, identity }) = store {
            return recover(journal, (epoch, identity), &settings, None);
        }
        let (opened, identity, views): (Arc<dyn Journal>, _, Option<PathBuf>) = match journal.kind {
            JournalKind::Local => {
                let options = Options {
                    segment_bytes: journal.segment_bytes,
                    reserve_bytes: journal.reserve_bytes,
                    ..Options::default()
                };
                let (opened, found) = LocalJournal::open(&journal.path, &options)?;
                if let Some(cut) = &found.cut {
                    tracing::warn!(file = %cut.file.display(), cut.offset, cut.bytes, "tail cut");
                }
                let views = journal.path.join(VIEWS);
                (Arc::new(opened), (found.next_epoch, found.identity), Some(views))
            }
            JournalKind::Memory => {
                (Arc::new(MemoryJournal::new()), (Epoch::FIRST, Uuid::now_v7()), None)
            }
        };
        recover(opened, identity, &settings, views.as_deref())
    };
    // A thread that ends: one of the pool would keep what it needed meanwhile for its next task.
    let opened = tokio::task::spawn_blocking(|| thread::spawn(open).join());
    let opened = opened.await.map_err(|error| AppError::Broken(error.to_string()))?;
    opened.map_err(|_| AppError::Broken("the journal's reader panicked".to_owned()))?
}

fn recover(
    journal: Arc<dyn Journal>,
    (epoch, identity): (Epoch, Uuid),
    settings: &Settings,
    folder: Option<&Path>,
) -> Result<Opened, AppError> {
    let clock = Clock::start(Time::default());
    let started = clock.now();
    let views = match folder {
        None => Views::new(Arc::clone(&journal)),
        Some(folder) => Views::on_disk(Arc::clone(&journal), folder)
            .map_err(|error| AppError::Views(folder.to_owned(), error))?,
    };
    let end = journal.tail().borrow().next;
    let mut told = started;
    let tell = |entry: &Entry, at: Time| {
        let now = clock.now();
        if now.since(told) >= TELL_EVERY {
            told = now;
            tracing::info!(entry = entry.number.0, of = end.0 - 1, %at, "reading the journal");
        }
    };
    let recovered = recovery::recover(&*journal, settings, (&views, RECOVERY_BYTES), tell)?;
    let took = clock.now().since(started);
    tracing::info!(entries = recovered.last.0, ?took, %epoch, "journal open");
    Ok(Opened { journal, epoch, identity, views: Arc::new(views), recovered })
}
