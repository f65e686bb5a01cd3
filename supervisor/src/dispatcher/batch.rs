//! What travels in one request. It is a question of the results alone and of what is written down
//! ([`Batching`]): so a request that is made again, by whichever process, is the same.

use rollcall_common::ids::{Position, Sequence};

use super::effect::Delivery;
#[cfg(doc)]
use crate::record::Batching;

/// A result, as far as it matters for what travels with it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Part {
    /// Its place in the stream.
    pub sequence: Sequence,
    /// Its position.
    pub position: Position,
    /// Bytes of its body.
    pub bytes: usize,
}

impl Delivery {
    /// How many of these results, the first of which is the next that is due, make one request.
    /// `None`: more of them have to be known to say so, or there is nothing more to be sent.
    #[must_use]
    pub fn request(&self, parts: impl IntoIterator<Item = Part>) -> Option<usize> {
        let batching = self.batching?;
        let most = usize::try_from(batching.results.max(1)).unwrap_or(usize::MAX);
        let room = usize::try_from(batching.bytes).unwrap_or(usize::MAX);
        let (mut count, mut bytes, mut replayed) = (0_usize, 0_usize, None);
        for Part { sequence, position, bytes: more } in parts {
            if sequence > batching.through {
                return Some(count).filter(|count| *count > 0);
            }
            // Replayed results are marked as such, and so are in requests of their own.
            let is_replayed = position <= self.replay_until;
            let passes_over = self.passes_over(sequence);
            let apart = replayed.is_some_and(|replayed| replayed != is_replayed) || passes_over;
            if count > 0 && (apart || bytes.saturating_add(more) > room) {
                return Some(count);
            }
            (count, bytes, replayed) = (count + 1, bytes.saturating_add(more), Some(is_replayed));
            if count >= most || sequence == batching.through || passes_over {
                return Some(count);
            }
        }
        None
    }

    /// Whether a person has the subscription go on without this one.
    #[must_use]
    pub fn passes_over(&self, sequence: Sequence) -> bool {
        self.passed_over.binary_search(&sequence).is_ok()
    }
}
