//! From files to state: the journal is opened, and folded.

use std::sync::Arc;

use rollcall_common::{
    ids::Epoch,
    time::{Clock, Time},
};

use uuid::Uuid;

use super::AppError;
use crate::{
    config::{self, JournalKind},
    dispatcher::Settings,
    driver::engine::Recovered,
    journal::{
        EntryNumber, Journal,
        local::{LocalJournal, Options},
        memory::MemoryJournal,
    },
    views::Views,
};

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

/// Opens a journal, and folds what it says.
pub(crate) async fn open(
    journal: config::Journal,
    settings: Arc<Settings>,
) -> Result<Opened, AppError> {
    let opened = tokio::task::spawn_blocking(move || {
        let (journal, epoch, identity): (Arc<dyn Journal>, Epoch, Uuid) = match journal.kind {
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
                // What was decided there is needed, and nothing trims a journal yet.
                if opened.first() > EntryNumber::FIRST {
                    return Err(AppError::Beheaded(journal.path, opened.first()));
                }
                (Arc::new(opened), found.next_epoch, found.identity)
            }
            JournalKind::Memory => (Arc::new(MemoryJournal::new()), Epoch::FIRST, Uuid::now_v7()),
        };
        recover(journal, (epoch, identity), &settings)
    });
    opened.await.map_err(|error| AppError::Broken(error.to_string()))?
}

fn recover(
    journal: Arc<dyn Journal>,
    (epoch, identity): (Epoch, Uuid),
    settings: &Settings,
) -> Result<Opened, AppError> {
    let clock = Clock::start(Time::default());
    let (started, views) = (clock.now(), Arc::new(Views::new(Arc::clone(&journal))));
    let mut recovered = Recovered::default();
    let mut next = journal.first();
    loop {
        let entries = journal.read(next, RECOVERY_BYTES)?;
        let Some(last) = entries.last().map(|entry| entry.number) else {
            break;
        };
        for entry in entries {
            let number = entry.number;
            let publish = |entry, change| views.publish(entry, [change]);
            let taken = recovered.take(&entry, settings, publish);
            taken.map_err(|error| AppError::Decode(number, error))?;
        }
        next = last.next();
    }
    let took = clock.now().since(started);
    tracing::info!(entries = recovered.last.0, ?took, %epoch, "journal open");
    Ok(Opened { journal, epoch, identity, views, recovered })
}
