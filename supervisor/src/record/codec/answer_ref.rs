//! A result read where it lies: nothing is taken out of its entry, and what readers don't see of
//! it is passed over.

use rollcall_common::{ids::MessageId, time::Time};
use uuid::Uuid;

use super::{
    Cursor, DecodeError, check_version,
    read::{HAVE_HEADERS, Read, outcome},
};
use crate::record::{AnswerRef, Beside, Outcome};

/// What a result is: its answer, or the message itself in a stream without a processing step.
/// `None`: the record at the cursor is neither.
///
/// # Errors
/// When the bytes are no record.
pub fn decode_answer_ref<'a>(
    payload: &'a [u8],
    cursor: &Cursor,
) -> Result<Option<AnswerRef<'a>>, DecodeError> {
    check_version(payload)?;
    let place = cursor.record(payload)?;
    let kind = payload.get(cursor.offset).copied().unwrap_or_default();
    let mut fields = Fields(payload.get(place).unwrap_or_default());
    let read = match kind {
        1 | 47 => fields.message().map(Some),
        2 | 48 | 67 | 68 => fields.answer(kind).map(Some),
        _ => Ok(None),
    };
    let index = usize::try_from(cursor.index).unwrap_or(usize::MAX);
    read.map_err(|what| DecodeError::Bad { index, what })
}

/// Fields one behind the other, borrowed. An error is the name of the field that is wrong.
struct Fields<'a>(&'a [u8]);

/// Bytes of a stream's number, a sequence and a time.
const PLACE: usize = 4 + 8 + 8;
/// Bytes of a key's fingerprint.
const FINGERPRINT: usize = 16;

impl<'a> Fields<'a> {
    fn message(&mut self) -> Read<AnswerRef<'a>> {
        // The last of its place is when it was taken in.
        self.skip(PLACE - 8, "place")?;
        let accepted_at = self.time()?;
        let id = self.id()?;
        if !self.bytes()?.is_empty() {
            self.skip(FINGERPRINT, "fingerprint")?;
        }
        let (content_type, headers) = (self.text()?, self.headers()?);
        Ok(AnswerRef {
            id,
            accepted_at,
            outcome: Outcome::Completed,
            worker: "",
            reason: "",
            attempts: 0,
            content_type,
            headers,
            body: self.bytes()?,
        })
    }

    fn answer(&mut self, kind: u8) -> Read<AnswerRef<'a>> {
        self.skip(PLACE, "place")?;
        let (id, accepted_at) = (self.id()?, self.time()?);
        let [code] = self.array("outcome")?;
        let outcome = outcome(code)?;
        let (worker, reason) = (self.text()?, self.text()?);
        for _ in 0..self.u32("count")? {
            self.report()?;
        }
        let attempts = self.u32("attempts")?;
        let (content_type, body) = (self.text()?, self.bytes()?);
        let has_headers = HAVE_HEADERS.contains(&kind);
        let headers = if has_headers { self.headers()? } else { Beside::NOTHING };
        Ok(AnswerRef {
            id,
            accepted_at,
            outcome,
            worker,
            reason,
            attempts,
            content_type,
            headers,
            body,
        })
    }

    /// Headers, looked through and left where they lie.
    fn headers(&mut self) -> Read<Beside<'a>> {
        let count = self.u32("count")?;
        let start = self.0;
        for _ in 0..count {
            self.text()?;
            self.text()?;
        }
        let written = start.get(..start.len() - self.0.len()).unwrap_or_default();
        Ok(Beside::Written(written))
    }

    /// Passes over the report of an attempt.
    fn report(&mut self) -> Read<()> {
        self.skip(4, "attempt")?;
        self.bytes()?;
        // Reason, two times, ending, status.
        self.skip(1 + 8 + 8 + 1 + 2, "report")?;
        self.bytes().map(|_| ())
    }

    fn skip(&mut self, bytes: usize, what: &'static str) -> Read<()> {
        self.0 = self.0.get(bytes..).ok_or(what)?;
        Ok(())
    }

    fn array<const N: usize>(&mut self, what: &'static str) -> Read<[u8; N]> {
        let (first, rest) = self.0.split_first_chunk().ok_or(what)?;
        self.0 = rest;
        Ok(*first)
    }

    fn u32(&mut self, what: &'static str) -> Read<u32> {
        self.array(what).map(u32::from_le_bytes)
    }

    fn time(&mut self) -> Read<Time> {
        self.array("time").map(|bytes| Time::from_micros(u64::from_le_bytes(bytes)))
    }

    fn id(&mut self) -> Read<MessageId> {
        self.array("id").map(|bytes| MessageId(Uuid::from_bytes(bytes)))
    }

    fn bytes(&mut self) -> Read<&'a [u8]> {
        let length = usize::try_from(self.u32("length")?).unwrap_or(usize::MAX);
        let (bytes, rest) = self.0.split_at_checked(length).ok_or("length")?;
        self.0 = rest;
        Ok(bytes)
    }

    fn text(&mut self) -> Read<&'a str> {
        std::str::from_utf8(self.bytes()?).map_err(|_| "text")
    }
}

/// The first of headers that were looked through, and those behind it.
pub(in crate::record) fn first_header(written: &[u8]) -> Option<((&str, &str), &[u8])> {
    let mut fields = Fields(written);
    let (name, value) = (fields.text().ok()?, fields.text().ok()?);
    Some(((name, value), fields.0))
}
