//! The bytes of records. A payload (one journal entry) is a version byte and then the records,
//! each a kind byte, its length as `u32`, and its fields in order: numbers little-endian, texts
//! and bodies with their length as `u32` before them.
//!
//! Reading never panics, whatever the bytes say. A body is a slice of the entry, not a copy.

use std::ops::Range;

use bytes::{BufMut as _, Bytes, BytesMut};
use rollcall_common::message::Message;

use super::Record;

mod alert;
mod answer_ref;
mod read;
mod snapshot;
mod write;

pub use answer_ref::decode_answer_ref;
pub(super) use answer_ref::first_header;
use read::Fields;
use write::Writer;

/// The version of the bytes that are written. Older ones stay readable; newer ones are refused.
const VERSION: u8 = 1;

/// Bytes that can't be read as records.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum DecodeError {
    /// A field has a value that it can't have.
    #[error("record {index} has a bad {what}")]
    Bad {
        /// Which record of the entry, from 0.
        index: usize,
        /// Which field.
        what: &'static str,
    },
    /// A record can't follow those before it.
    #[error("record {index} contradicts those before it: {why}")]
    Contradiction {
        /// Which record of the entry, from 0.
        index: u32,
        /// Why.
        why: &'static str,
    },
    /// A newer version wrote them.
    #[error("records of version {0}; this program reads up to {VERSION}")]
    Newer(u8),
}

/// Collects records into the payload of one entry.
#[derive(Debug, Default)]
pub struct Encoder {
    bytes: BytesMut,
    count: u32,
    /// How large payloads are of late: the room for the next one is taken in one piece.
    usual: usize,
}

impl Encoder {
    /// Records so far.
    #[must_use]
    pub fn count(&self) -> u32 {
        self.count
    }

    /// Bytes so far.
    #[must_use]
    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    /// The payload as it is so far.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Whether there are no records.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Adds a record; gives back its index in the entry.
    pub fn push(&mut self, record: &Record) -> u32 {
        if self.is_empty() {
            self.bytes.reserve(self.usual);
            self.bytes.put_u8(VERSION);
        }
        let head = self.bytes.len();
        self.bytes.put_bytes(0, RECORD_HEAD);
        let kind = Writer(&mut self.bytes).record(record);
        let length = self.bytes.len() - head - RECORD_HEAD;
        if let Some(mut place) = self.bytes.get_mut(head..head + RECORD_HEAD) {
            place.put_u8(kind);
            place.put_u32_le(u32::try_from(length).unwrap_or(u32::MAX));
        }
        self.count += 1;
        self.count - 1
    }

    /// The payload; the encoder is empty again.
    pub fn finish(&mut self) -> Bytes {
        self.count = 0;
        // Up at once, and down by and by.
        self.usual = self.bytes.len().max(self.usual - self.usual / 8);
        self.bytes.split().freeze()
    }
}

/// Reads all records of an entry's payload.
///
/// # Errors
/// When the bytes are no records.
pub fn decode(payload: &Bytes) -> Result<Vec<Record>, DecodeError> {
    check_version(payload)?;
    let mut records = Vec::new();
    let mut cursor = Cursor::START;
    while cursor.offset < payload.len() {
        records.push(cursor.read(payload, cursor.index)?);
    }
    Ok(records)
}

/// Whether the payload begins with a part of a snapshot.
#[must_use]
pub fn is_base(payload: &[u8]) -> bool {
    payload.get(1).is_some_and(|kind| snapshot::KINDS.iter().any(|kinds| kinds.contains(kind)))
}

/// A place between two records of one payload.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Cursor {
    index: u32,
    offset: usize,
}

impl Cursor {
    /// Before the first record.
    pub const START: Self = Self { index: 0, offset: 1 };

    /// Reads record `index`, which must not lie behind; the cursor stands after it then. Records
    /// on the way cost a look at their head, so reading in order is cheap.
    ///
    /// # Errors
    /// When the bytes are no records, or there are not so many.
    pub fn read(&mut self, payload: &Bytes, index: u32) -> Result<Record, DecodeError> {
        check_version(payload)?;
        while self.index < index {
            self.skip(payload)?;
        }
        let place = self.record(payload)?;
        let number = usize::try_from(self.index).unwrap_or(usize::MAX);
        let kind = payload.get(self.offset).copied().unwrap_or_default();
        let record = read_record(kind, payload.slice(place.clone()), number)?;
        (self.index, self.offset) = (self.index + 1, place.end);
        Ok(record)
    }

    /// Passes over the next record.
    ///
    /// # Errors
    /// When there is none.
    pub fn skip(&mut self, payload: &[u8]) -> Result<(), DecodeError> {
        self.offset = self.record(payload)?.end;
        self.index += 1;
        Ok(())
    }

    /// Where the fields of the next record lie.
    fn record(self, payload: &[u8]) -> Result<Range<usize>, DecodeError> {
        let index = usize::try_from(self.index).unwrap_or(usize::MAX);
        let bad = DecodeError::Bad { index, what: "length" };
        let head =
            payload.get(self.offset + 1..self.offset + RECORD_HEAD).ok_or_else(|| bad.clone())?;
        let length = head.try_into().map(u32::from_le_bytes).unwrap_or(u32::MAX);
        let start = self.offset + RECORD_HEAD;
        let end = start.saturating_add(usize::try_from(length).unwrap_or(usize::MAX));
        if end > payload.len() { Err(bad) } else { Ok(start..end) }
    }
}

/// Bytes of a record's kind and length.
const RECORD_HEAD: usize = 5;

/// What stands beside a message's body, as far as it takes up room.
#[derive(Clone, Copy, Debug)]
pub struct Beside<'a> {
    /// The sender's key, if there is one.
    pub key: Option<&'a str>,
    /// The body's type.
    pub content_type: &'a str,
    /// What else is kept.
    pub headers: &'a [(Box<str>, Box<str>)],
}

impl<'a> Beside<'a> {
    /// What stands beside this message's body.
    #[must_use]
    pub fn of(message: &'a Message) -> Self {
        let key = message.key.as_ref().map(|key| &*key.text);
        Self { key, content_type: &message.content_type, headers: &message.headers }
    }
}

/// Bytes that [`Record::Accepted`] takes up in an entry.
#[must_use]
pub fn accepted_bytes(beside: &Beside<'_>, body: &[u8]) -> usize {
    const LENGTH: usize = 4;
    const PLACE: usize = 4 + 8 + 8;
    const ID: usize = 16;
    const FINGERPRINT: usize = 16;
    let Beside { key, content_type, headers } = beside;
    let headers = headers.iter().map(|(name, value)| 2 * LENGTH + name.len() + value.len());
    let key = key.map_or(0, |key| key.len() + FINGERPRINT);
    let texts = LENGTH + key + LENGTH + content_type.len() + LENGTH + headers.sum::<usize>();
    RECORD_HEAD + PLACE + ID + texts + LENGTH + body.len()
}

fn check_version(payload: &[u8]) -> Result<(), DecodeError> {
    match payload.first() {
        Some(&VERSION) => Ok(()),
        Some(&version) if version > VERSION => Err(DecodeError::Newer(version)),
        Some(_) | None => Err(DecodeError::Bad { index: 0, what: "version" }),
    }
}

fn read_record(kind: u8, fields: Bytes, index: usize) -> Result<Record, DecodeError> {
    let mut fields = Fields::new(fields);
    let record = fields.record(kind).map_err(|what| DecodeError::Bad { index, what })?;
    if fields.is_empty() { Ok(record) } else { Err(DecodeError::Bad { index, what: "end" }) }
}
