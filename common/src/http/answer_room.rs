//! Room in memory for large answers, which all calls share. A small one needs none: there is room
//! for that with each call.

use std::{sync::Arc, time::Duration};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::limits::SMALL_ANSWER_BYTES;

/// Room for large answers.
#[derive(Clone, Debug)]
pub struct AnswerRoom {
    free: Arc<Semaphore>,
    bytes: usize,
}

/// What one call has of it: nothing before its answer turns out to be large, then as much as that
/// may become, until this is dropped.
#[derive(Debug)]
pub struct AnswerShare {
    room: AnswerRoom,
    patience: Duration,
    taken: Option<OwnedSemaphorePermit>,
}

impl AnswerRoom {
    /// Room for so many bytes.
    #[must_use]
    pub fn new(bytes: usize) -> Self {
        Self { free: Arc::new(Semaphore::new(bytes.min(Semaphore::MAX_PERMITS))), bytes }
    }

    /// Bytes that nobody has.
    #[must_use]
    pub fn left(&self) -> usize {
        self.free.available_permits()
    }

    /// A call's share, which it may keep for so long before its answer is whole.
    #[must_use]
    pub fn share(&self, patience: Duration) -> AnswerShare {
        AnswerShare { room: self.clone(), patience, taken: None }
    }
}

impl AnswerShare {
    /// Waits until there is room for the rest of an answer of which there are `here` bytes already,
    /// and `most` at the end, unless it is small or has its room. Gives back how long the rest may
    /// take, if it has just got it.
    pub(super) async fn take(&mut self, here: usize, most: usize) -> Option<Duration> {
        if here <= SMALL_ANSWER_BYTES || self.taken.is_some() {
            return None;
        }
        let bytes = u32::try_from(most.max(here).min(self.room.bytes)).unwrap_or(u32::MAX);
        // It is never closed.
        self.taken = Arc::clone(&self.room.free).acquire_many_owned(bytes).await.ok();
        Some(self.patience)
    }
}
