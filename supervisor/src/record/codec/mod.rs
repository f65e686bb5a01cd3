//! The bytes of records. A payload (one journal entry) is a version byte and then the records,
//! each a kind byte, its length as `u32`, and its fields in order: numbers little-endian, texts
//! and bodies with their length as `u32` before them.
//!
//! Reading never panics, whatever the bytes say. A body is a slice of the entry, not a copy.

use bytes::{Buf as _, BufMut as _, Bytes, BytesMut};

use super::Record;

mod read;
mod write;

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
    /// A newer version wrote them.
    #[error("records of version {0}; this program reads up to {VERSION}")]
    Newer(u8),
}

/// Collects records into the payload of one entry.
#[derive(Debug, Default)]
pub struct Encoder {
    bytes: BytesMut,
    count: u32,
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

    /// Whether there are no records.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Adds a record; gives back its index in the entry.
    pub fn push(&mut self, record: &Record) -> u32 {
        if self.is_empty() {
            self.bytes.put_u8(VERSION);
        }
        let head = self.bytes.len();
        self.bytes.put_bytes(0, 5);
        let kind = Writer(&mut self.bytes).record(record);
        let length = self.bytes.len() - head - 5;
        if let Some(mut place) = self.bytes.get_mut(head..head + 5) {
            place.put_u8(kind);
            place.put_u32_le(u32::try_from(length).unwrap_or(u32::MAX));
        }
        self.count += 1;
        self.count - 1
    }

    /// The payload; the encoder is empty again.
    pub fn finish(&mut self) -> Bytes {
        self.count = 0;
        self.bytes.split().freeze()
    }
}

/// Reads all records of an entry's payload.
///
/// # Errors
/// When the bytes are no records.
pub fn decode(payload: Bytes) -> Result<Vec<Record>, DecodeError> {
    let mut records = Vec::new();
    let mut rest = split_version(payload)?;
    while !rest.is_empty() {
        let index = records.len();
        let (kind, fields) = split_record(&mut rest, index)?;
        records.push(read_record(kind, fields, index)?);
    }
    Ok(records)
}

/// Reads one record of an entry's payload.
///
/// # Errors
/// When the bytes are no records, or there are not so many.
pub fn decode_one(payload: Bytes, index: u32) -> Result<Record, DecodeError> {
    let mut rest = split_version(payload)?;
    let index = usize::try_from(index).unwrap_or(usize::MAX);
    for before in 0..index {
        split_record(&mut rest, before)?;
    }
    let (kind, fields) = split_record(&mut rest, index)?;
    read_record(kind, fields, index)
}

fn split_version(mut payload: Bytes) -> Result<Bytes, DecodeError> {
    match payload.try_get_u8() {
        Ok(VERSION) => Ok(payload),
        Ok(version) if version > VERSION => Err(DecodeError::Newer(version)),
        Ok(_) | Err(_) => Err(DecodeError::Bad { index: 0, what: "version" }),
    }
}

fn split_record(rest: &mut Bytes, index: usize) -> Result<(u8, Bytes), DecodeError> {
    let bad = DecodeError::Bad { index, what: "length" };
    let (Ok(kind), Ok(length)) = (rest.try_get_u8(), rest.try_get_u32_le()) else {
        return Err(bad);
    };
    let length = usize::try_from(length).unwrap_or(usize::MAX);
    if length > rest.len() {
        return Err(bad);
    }
    Ok((kind, rest.split_to(length)))
}

fn read_record(kind: u8, fields: Bytes, index: usize) -> Result<Record, DecodeError> {
    let mut fields = Fields::new(fields);
    let record = fields.record(kind).map_err(|what| DecodeError::Bad { index, what })?;
    if fields.is_empty() { Ok(record) } else { Err(DecodeError::Bad { index, what: "end" }) }
}
