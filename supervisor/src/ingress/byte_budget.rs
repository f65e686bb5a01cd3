//! Room for what is on its way in. What has no room is refused at once, before its body is read:
//! a sender that is told to come back costs nothing, one that is kept waiting costs memory.

use std::sync::Arc;

use rollcall_common::problem::Problem;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::web::respond::overloaded;

/// How many bytes of bodies may be on their way in.
#[derive(Clone, Debug)]
pub struct ByteBudget {
    free: Arc<Semaphore>,
    bytes: u64,
}

/// Room that a request holds until it is answered.
#[derive(Debug)]
pub(super) struct Reservation {
    room: ByteBudget,
    permit: Option<OwnedSemaphorePermit>,
}

impl ByteBudget {
    /// Room for so many bytes.
    #[must_use]
    pub fn new(bytes: u64) -> Self {
        let permits = usize::try_from(bytes).unwrap_or(usize::MAX).min(Semaphore::MAX_PERMITS);
        Self { free: Arc::new(Semaphore::new(permits)), bytes }
    }

    /// How many bytes it is for.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// No room yet.
    pub(super) fn enter(&self) -> Reservation {
        Reservation { room: self.clone(), permit: None }
    }
}

impl Reservation {
    /// Takes room for `bytes` more.
    ///
    /// # Errors
    /// When there is none.
    pub(super) fn take(&mut self, bytes: usize) -> Result<(), Box<Problem>> {
        let permits = u32::try_from(bytes).unwrap_or(u32::MAX);
        let free = Arc::clone(&self.room.free);
        let Ok(more) = free.try_acquire_many_owned(permits) else {
            return Err(Box::new(overloaded("too many bytes are on their way in")));
        };
        match &mut self.permit {
            Some(permit) => permit.merge(more),
            None => self.permit = Some(more),
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn room_is_given_back_when_the_request_is_answered() {
        let room = ByteBudget::new(100);
        let (mut one, mut other) = (room.enter(), room.enter());
        one.take(60).unwrap();
        one.take(30).unwrap();
        let refused = other.take(20).unwrap_err();
        assert_eq!((refused.status, refused.retry_after), (503, Some(1)));
        other.take(10).unwrap();
        drop(one);
        other.take(90).unwrap();
    }
}
