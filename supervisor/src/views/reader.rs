//! Messages and results, read back from the journal.

use std::{io, sync::Arc};

use bytes::Bytes;
use rollcall_common::{
    exhaustion::is_exhausted,
    ids::{Position, Sequence, StreamName},
    message::{Message, compact},
    time::Time,
};

use super::{Place, entries::Entries, entry_cache::EntryCache};
use crate::{
    journal::{Journal, ReadError},
    record::{Answer, AnswerRef, Record, codec::DecodeError},
};

/// Bytes of results that are copied from entries read lately by who must not block.
const AT_HAND_BYTES: usize = 256 << 10;

/// A released result.
#[derive(Clone, Debug)]
pub struct ReleasedResult {
    /// Its position.
    pub position: Position,
    /// Its stream.
    pub stream: StreamName,
    /// Its place in the stream.
    pub sequence: Sequence,
    /// When it was released.
    pub released_at: Time,
    /// The result.
    pub answer: Arc<Answer>,
}

/// A released result that is to be read.
#[derive(Clone, Debug)]
pub(super) struct Wanted {
    pub(super) position: Position,
    pub(super) stream: StreamName,
    pub(super) sequence: Sequence,
    pub(super) released_at: Time,
    pub(super) place: Option<Place>,
    pub(super) answer: Option<Arc<Answer>>,
}

/// Why something could not be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadFailed {
    /// It is no longer kept.
    #[error("what is before {first} is no longer kept")]
    Gone {
        /// The oldest position or sequence that is still there.
        first: u64,
    },
    /// The index could not be read.
    #[error("the index can't be read: {0}")]
    Index(#[from] io::Error),
    /// Nothing says where it lies.
    #[error("it is not known where the result at position {0} lies")]
    Nowhere(Position),
    /// The journal could not be read.
    #[error(transparent)]
    Journal(#[from] ReadError),
    /// An entry is not what was written.
    #[error("the journal holds something else than expected: {0}")]
    Decode(#[from] DecodeError),
    /// The reading was broken off.
    #[error("reading was broken off: {0}")]
    Stopped(String),
    /// A record is not the one that the index says.
    #[error("entry {} holds another record than expected at {}", .0.entry, .0.index)]
    Unexpected(Place),
}

impl ReadFailed {
    /// Whether another look may find what this one did not: the machine had no room to read (no
    /// descriptor, no memory), or the journal was trimmed between a place's being found and read.
    #[must_use]
    pub fn may_pass(&self) -> bool {
        match self {
            Self::Index(error) | Self::Journal(ReadError::Io(error)) => is_exhausted(error),
            Self::Journal(ReadError::Trimmed { .. }) => true,
            Self::Gone { .. }
            | Self::Nowhere(_)
            | Self::Journal(ReadError::Damaged(_))
            | Self::Decode(_)
            | Self::Stopped(_)
            | Self::Unexpected(_) => false,
        }
    }
}

/// Reads what the index points to.
#[derive(Debug)]
pub(super) struct Reader {
    journal: EntryCache,
}

impl Reader {
    pub(super) fn new(journal: Arc<dyn Journal>) -> Self {
        Self { journal: EntryCache::new(journal) }
    }

    pub(super) fn results(
        &self,
        wanted: Vec<Wanted>,
        bytes: usize,
    ) -> Result<Vec<ReleasedResult>, ReadFailed> {
        let mut entries = Entries::default();
        let mut results = Vec::with_capacity(wanted.len());
        let mut room = bytes;
        for Wanted { position, stream, sequence, released_at, place, answer } in wanted {
            let answer = match answer {
                Some(answer) => answer,
                None => {
                    let place = place.ok_or(ReadFailed::Nowhere(position))?;
                    self.answer(&mut entries, place)?
                }
            };
            let weight = answer.weight();
            let answer = apart(answer);
            results.push(ReleasedResult { position, stream, sequence, released_at, answer });
            if weight >= room {
                break;
            }
            room -= weight;
        }
        Ok(results)
    }

    /// Shows a result where it lies.
    pub(super) fn decode_answer_ref(
        &self,
        entries: &mut Entries,
        wanted: &Wanted,
        see: impl FnOnce(AnswerRef<'_>),
    ) -> Result<(), ReadFailed> {
        if let Some(answer) = &wanted.answer {
            see(AnswerRef::at(answer));
            return Ok(());
        }
        let place = wanted.place.ok_or(ReadFailed::Nowhere(wanted.position))?;
        let decode_answer_ref = entries.decode_answer_ref(&self.journal, place)?;
        see(decode_answer_ref.ok_or(ReadFailed::Unexpected(place))?);
        Ok(())
    }

    /// Results that are in memory, or in entries that were read lately; `None` when the first one
    /// has to be read. It does not block.
    pub(super) fn recent(&self, wanted: Vec<Wanted>) -> Option<Vec<ReleasedResult>> {
        let mut entries = Entries::default();
        let mut results = Vec::with_capacity(wanted.len());
        let mut room = AT_HAND_BYTES;
        for Wanted { position, stream, sequence, released_at, place, answer } in wanted {
            let at_hand = || self.answer_at_hand(&mut entries, place?, &mut room);
            let Some(answer) = answer.or_else(at_hand) else { break };
            results.push(ReleasedResult { position, stream, sequence, released_at, answer });
        }
        (!results.is_empty()).then_some(results)
    }

    /// Takes what it weighs off `room`; none is at hand where there is no more of that.
    fn answer_at_hand(
        &self,
        entries: &mut Entries,
        place: Place,
        room: &mut usize,
    ) -> Option<Arc<Answer>> {
        if *room == 0 {
            return None;
        }
        // What is wrong with an entry is said by who reads it.
        let record = entries.record_at_hand(&self.journal, place).ok()??;
        let answer = answer_in(record, place).ok()?;
        *room = room.saturating_sub(answer.weight());
        Some(apart(answer))
    }

    pub(super) fn messages(
        &self,
        wanted: Vec<(Sequence, Place)>,
        bytes: usize,
    ) -> Result<Vec<(Sequence, Time, Arc<Message>)>, ReadFailed> {
        let mut entries = Entries::default();
        let mut messages = Vec::new();
        let mut room = bytes;
        for (sequence, place) in wanted {
            let record = entries.record(&self.journal, place)?;
            let (Record::Accepted { at, message, .. } | Record::Copied { at, message, .. }) =
                record
            else {
                return Err(ReadFailed::Unexpected(place));
            };
            let weight = message.weight();
            // Nothing of the entry, however large, stays in memory with it.
            let body = Bytes::copy_from_slice(&message.body);
            messages.push((sequence, at, Arc::new(Message { body, ..(*message).clone() })));
            if weight >= room {
                break;
            }
            room -= weight;
        }
        Ok(messages)
    }

    /// Records that copy what lies at the first of `places`.
    pub(super) fn copies(&self, places: &[Place], bytes: usize) -> Result<Vec<Record>, ReadFailed> {
        let mut entries = Entries::default();
        let mut copies = Vec::new();
        let mut room = bytes;
        for place in places {
            let record = entries.record(&self.journal, *place)?;
            let (copy, weight) = if let Record::Accepted { stream, sequence, at, message }
            | Record::Copied { stream, sequence, at, message } = record
            {
                let weight = message.weight();
                (Record::Copied { stream, sequence, at, message }, weight)
            } else if let Record::Answered { stream, sequence, at, answer }
            | Record::CopiedResult { stream, sequence, at, answer } = record
            {
                let weight = answer.weight();
                (Record::CopiedResult { stream, sequence, at, answer }, weight)
            } else {
                return Err(ReadFailed::Unexpected(*place));
            };
            copies.push(copy);
            if weight >= room {
                break;
            }
            room -= weight;
        }
        Ok(copies)
    }

    /// The answer at `place`.
    pub(super) fn answer_at(&self, place: Place) -> Result<Arc<Answer>, ReadFailed> {
        self.answer(&mut Entries::default(), place).map(apart)
    }

    fn answer(&self, entries: &mut Entries, place: Place) -> Result<Arc<Answer>, ReadFailed> {
        answer_in(entries.record(&self.journal, place)?, place)
    }
}

/// The result that a record holds: an answer, or the message itself where there is no processing.
fn answer_in(record: Record, place: Place) -> Result<Arc<Answer>, ReadFailed> {
    if let Record::Answered { answer, .. } | Record::CopiedResult { answer, .. } = record {
        Ok(answer)
    } else if let Record::Accepted { at, message, .. } | Record::Copied { at, message, .. } = record
    {
        Ok(Arc::new(Answer::passed(&message, at)))
    } else {
        Err(ReadFailed::Unexpected(place))
    }
}

/// A result without the entry that it was read from: results of one page may come from any
/// number of entries, all of which would stay in memory with it.
fn apart(answer: Arc<Answer>) -> Arc<Answer> {
    let mut answer = answer;
    if let Some(answer) = Arc::get_mut(&mut answer) {
        answer.payload.body = compact(std::mem::take(&mut answer.payload.body));
    }
    answer
}
