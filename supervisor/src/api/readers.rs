//! Places of those who read results, and what they share.

use std::sync::Arc;

use rollcall_common::{
    limits::{READER_READS, READERS},
    problem::Problem,
};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::prepared::Prepared;

/// Places of those who read results, and what they share.
#[derive(Debug)]
pub struct Readers {
    places: Arc<Semaphore>,
    /// Turns of those who read their first results.
    pub(super) turns: Arc<Semaphore>,
    /// What was made ready for them.
    pub(super) prepared: Prepared,
}

impl Default for Readers {
    fn default() -> Self {
        let (places, turns) = (Semaphore::new(READERS), Semaphore::new(READER_READS));
        Self { places: places.into(), turns: turns.into(), prepared: Prepared::default() }
    }
}

impl Readers {
    /// A place for one more, until all of its answer is sent.
    ///
    /// # Errors
    /// When there is none: it is to come back.
    pub(super) fn enter(&self) -> Result<OwnedSemaphorePermit, Box<Problem>> {
        Arc::clone(&self.places).try_acquire_owned().map_err(|_| {
            let detail = format!("{READERS} readers of results are being served");
            let problem = Problem::new(503, "too-many-readers", "Too many readers", detail);
            problem.with("limit_readers", READERS).retry_after(5).into()
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_are_so_many_places_and_they_come_back() {
        let readers = Readers::default();
        let places: Vec<_> = (0..READERS).map(|_| readers.enter().unwrap()).collect();
        let refusal = readers.enter().unwrap_err();
        assert_eq!((refusal.status, refusal.retry_after), (503, Some(5)));
        drop(places);
        assert!(readers.enter().is_ok());
    }
}
