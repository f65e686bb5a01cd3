//! The bytes of records. A payload (one journal entry) is a version byte and then the records,
//! each a kind byte, its length as `u32`, and its fields in order: numbers little-endian, texts
//! and bodies with their length as `u32` before them.
//!
//! Reading never panics, whatever the bytes say. A body is a slice of the entry, not a copy.

use std::sync::Arc;

use bytes::{Buf as _, BufMut as _, Bytes, BytesMut};
use rollcall_common::{
    ids::{MessageId, Position, Sequence, StreamId},
    message::{Key, Message, Payload},
    time::Time,
};
use uuid::Uuid;

use super::{Answer, AttemptReport, Ending, Found, Head, Outcome, Reason, Record, SubscriptionId};

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
        let kind = put_fields(&mut self.bytes, record);
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
        Ok(_) | Err(_) => Err(DecodeError::Bad {
            index: 0,
            what: "version",
        }),
    }
}

fn split_record(rest: &mut Bytes, index: usize) -> Result<(u8, Bytes), DecodeError> {
    let bad = DecodeError::Bad {
        index,
        what: "length",
    };
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
    let mut fields = Fields(fields);
    let record = read_fields(kind, &mut fields).map_err(|what| DecodeError::Bad { index, what })?;
    if fields.0.is_empty() {
        Ok(record)
    } else {
        Err(DecodeError::Bad { index, what: "end" })
    }
}

fn put_fields(out: &mut BytesMut, record: &Record) -> u8 {
    match record {
        Record::Accepted {
            stream,
            sequence,
            at,
            message,
        } => {
            put_place(out, *stream, *sequence, *at);
            put_message(out, message);
            1
        }
        Record::Answered {
            stream,
            sequence,
            at,
            answer,
        } => {
            put_place(out, *stream, *sequence, *at);
            put_answer(out, answer);
            2
        }
        Record::Delivered {
            subscription,
            stream,
            through,
            floor,
        } => {
            out.put_u32_le(subscription.0);
            out.put_u32_le(stream.0);
            out.put_u64_le(through.0);
            out.put_u64_le(floor.0);
            3
        }
        Record::Failed {
            stream,
            sequence,
            due,
            report,
        } => {
            put_place(out, *stream, *sequence, *due);
            put_report(out, report);
            4
        }
        Record::Opened { stream, name } => {
            out.put_u32_le(stream.0);
            put_text(out, name.as_str());
            5
        }
        Record::Parked {
            stream,
            sequence,
            at,
            head,
            reason,
        } => {
            put_place(out, *stream, *sequence, *at);
            put_head(out, *head);
            put_text(out, reason);
            6
        }
        Record::Passed {
            stream,
            first,
            last,
            at,
        } => {
            put_place(out, *stream, *first, *at);
            out.put_u64_le(last.0);
            14
        }
        Record::Paused { stream, at } => {
            put_stream_at(out, *stream, *at);
            7
        }
        Record::Resumed { stream, at } => {
            put_stream_at(out, *stream, *at);
            8
        }
        Record::Retried {
            stream,
            sequence,
            at,
            reason,
        } => {
            put_place(out, *stream, *sequence, *at);
            put_text(out, reason);
            9
        }
        Record::Scanned {
            subscription,
            to,
            found,
        } => {
            out.put_u32_le(subscription.0);
            out.put_u64_le(to.0);
            put_length(out, found.len());
            for run in found {
                out.put_u32_le(run.stream.0);
                out.put_u64_le(run.first.0);
                out.put_u64_le(run.position.0);
                out.put_u64_le(run.last.0);
            }
            10
        }
        Record::Started { at } => {
            out.put_u64_le(at.as_micros());
            11
        }
        Record::Subscribed {
            subscription,
            name,
            streams,
            after,
        } => {
            out.put_u32_le(subscription.0);
            out.put_u64_le(after.0);
            put_text(out, name);
            put_length(out, streams.len());
            for pattern in streams {
                put_text(out, pattern);
            }
            12
        }
        Record::Unsubscribed { subscription } => {
            out.put_u32_le(subscription.0);
            13
        }
    }
}

fn read_fields(kind: u8, fields: &mut Fields) -> Result<Record, &'static str> {
    Ok(match kind {
        1 => {
            let (stream, sequence, at) = fields.place()?;
            Record::Accepted {
                stream,
                sequence,
                at,
                message: Arc::new(fields.message()?),
            }
        }
        2 => {
            let (stream, sequence, at) = fields.place()?;
            Record::Answered {
                stream,
                sequence,
                at,
                answer: Arc::new(fields.answer()?),
            }
        }
        3 => Record::Delivered {
            subscription: SubscriptionId(fields.u32("subscription")?),
            stream: StreamId(fields.u32("stream")?),
            through: Sequence(fields.u64("sequence")?),
            floor: Position(fields.u64("position")?),
        },
        4 => {
            let (stream, sequence, due) = fields.place()?;
            Record::Failed {
                stream,
                sequence,
                due,
                report: Arc::new(fields.report()?),
            }
        }
        5 => Record::Opened {
            stream: StreamId(fields.u32("stream")?),
            name: fields.text()?.parse().map_err(|_| "stream name")?,
        },
        6 => {
            let (stream, sequence, at) = fields.place()?;
            Record::Parked {
                stream,
                sequence,
                at,
                head: fields.head()?,
                reason: fields.text()?,
            }
        }
        7 => Record::Paused {
            stream: StreamId(fields.u32("stream")?),
            at: fields.time()?,
        },
        8 => Record::Resumed {
            stream: StreamId(fields.u32("stream")?),
            at: fields.time()?,
        },
        9 => {
            let (stream, sequence, at) = fields.place()?;
            Record::Retried {
                stream,
                sequence,
                at,
                reason: fields.text()?,
            }
        }
        10 => Record::Scanned {
            subscription: SubscriptionId(fields.u32("subscription")?),
            to: Position(fields.u64("position")?),
            found: fields.many(Fields::found)?,
        },
        11 => Record::Started { at: fields.time()? },
        12 => {
            let subscription = SubscriptionId(fields.u32("subscription")?);
            let after = Position(fields.u64("position")?);
            let name = fields.text()?;
            let streams = fields.many(Fields::text)?.into();
            Record::Subscribed {
                subscription,
                name,
                streams,
                after,
            }
        }
        13 => Record::Unsubscribed {
            subscription: SubscriptionId(fields.u32("subscription")?),
        },
        14 => {
            let (stream, first, at) = fields.place()?;
            Record::Passed {
                stream,
                first,
                last: Sequence(fields.u64("sequence")?),
                at,
            }
        }
        _ => return Err("kind"),
    })
}

fn put_stream_at(out: &mut BytesMut, stream: StreamId, at: Time) {
    out.put_u32_le(stream.0);
    out.put_u64_le(at.as_micros());
}

fn put_place(out: &mut BytesMut, stream: StreamId, sequence: Sequence, at: Time) {
    out.put_u32_le(stream.0);
    out.put_u64_le(sequence.0);
    out.put_u64_le(at.as_micros());
}

fn put_message(out: &mut BytesMut, message: &Message) {
    out.put_slice(message.id.0.as_bytes());
    put_text(out, message.key.as_ref().map_or("", |key| &key.text));
    if let Some(key) = &message.key {
        out.put_slice(&key.fingerprint);
    }
    put_text(out, &message.content_type);
    put_length(out, message.headers.len());
    for (name, value) in &message.headers {
        put_text(out, name);
        put_text(out, value);
    }
    put_body(out, &message.body);
}

fn put_answer(out: &mut BytesMut, answer: &Answer) {
    put_head(out, answer.head);
    out.put_u8(match answer.outcome {
        Outcome::Completed => 1,
        Outcome::Resolved => 2,
        Outcome::Skipped => 3,
    });
    put_text(out, &answer.worker);
    put_text(out, &answer.reason);
    put_length(out, answer.history.len());
    for report in &answer.history {
        put_report(out, report);
    }
    out.put_u32_le(answer.attempts);
    put_text(out, &answer.payload.content_type);
    put_body(out, &answer.payload.body);
}

fn put_head(out: &mut BytesMut, head: Head) {
    out.put_slice(head.id.0.as_bytes());
    out.put_u64_le(head.accepted_at.as_micros());
}

fn put_report(out: &mut BytesMut, report: &AttemptReport) {
    out.put_u32_le(report.attempt);
    put_text(out, &report.worker);
    out.put_u8(match report.reason {
        Reason::First => 1,
        Reason::Hedge => 2,
        Reason::Manual => 3,
        Reason::Retry => 4,
    });
    out.put_u64_le(report.started_at.as_micros());
    out.put_u64_le(report.ended_at.as_micros());
    out.put_u8(match report.ending {
        Ending::Accepted => 1,
        Ending::Broken => 2,
        Ending::Busy => 3,
        Ending::Error => 4,
        Ending::Misconfigured => 5,
        Ending::Refused => 6,
        Ending::Retry => 7,
        Ending::Timeout => 8,
        Ending::Unreachable => 9,
    });
    out.put_u16_le(report.status.unwrap_or_default());
    put_text(out, &report.detail);
}

fn put_text(out: &mut BytesMut, text: &str) {
    put_body(out, text.as_bytes());
}

fn put_body(out: &mut BytesMut, body: &[u8]) {
    put_length(out, body.len());
    out.put_slice(body);
}

fn put_length(out: &mut BytesMut, length: usize) {
    out.put_u32_le(u32::try_from(length).unwrap_or(u32::MAX));
}

struct Fields(Bytes);

impl Fields {
    fn u8(&mut self, what: &'static str) -> Result<u8, &'static str> {
        self.0.try_get_u8().map_err(|_| what)
    }

    fn u16(&mut self, what: &'static str) -> Result<u16, &'static str> {
        self.0.try_get_u16_le().map_err(|_| what)
    }

    fn u32(&mut self, what: &'static str) -> Result<u32, &'static str> {
        self.0.try_get_u32_le().map_err(|_| what)
    }

    fn u64(&mut self, what: &'static str) -> Result<u64, &'static str> {
        self.0.try_get_u64_le().map_err(|_| what)
    }

    fn time(&mut self) -> Result<Time, &'static str> {
        self.u64("time").map(Time::from_micros)
    }

    fn place(&mut self) -> Result<(StreamId, Sequence, Time), &'static str> {
        let stream = StreamId(self.u32("stream")?);
        Ok((stream, Sequence(self.u64("sequence")?), self.time()?))
    }

    fn body(&mut self) -> Result<Bytes, &'static str> {
        let length = usize::try_from(self.u32("length")?).unwrap_or(usize::MAX);
        if length > self.0.len() {
            Err("length")
        } else {
            Ok(self.0.split_to(length))
        }
    }

    fn text(&mut self) -> Result<Box<str>, &'static str> {
        let body = self.body()?;
        std::str::from_utf8(&body)
            .map(Into::into)
            .map_err(|_| "text")
    }

    fn many<T>(
        &mut self,
        mut read: impl FnMut(&mut Self) -> Result<T, &'static str>,
    ) -> Result<Vec<T>, &'static str> {
        let count = self.u32("count")?;
        let mut items = Vec::new();
        for _ in 0..count {
            items.push(read(self)?);
        }
        Ok(items)
    }

    fn id(&mut self) -> Result<MessageId, &'static str> {
        let mut id = [0; 16];
        self.0.try_copy_to_slice(&mut id).map_err(|_| "id")?;
        Ok(MessageId(Uuid::from_bytes(id)))
    }

    fn head(&mut self) -> Result<Head, &'static str> {
        Ok(Head {
            id: self.id()?,
            accepted_at: self.time()?,
        })
    }

    fn key(&mut self) -> Result<Option<Key>, &'static str> {
        let text = self.text()?;
        if text.is_empty() {
            return Ok(None);
        }
        let mut fingerprint = [0; 16];
        self.0
            .try_copy_to_slice(&mut fingerprint)
            .map_err(|_| "fingerprint")?;
        Ok(Some(Key { text, fingerprint }))
    }

    fn found(&mut self) -> Result<Found, &'static str> {
        Ok(Found {
            stream: StreamId(self.u32("stream")?),
            first: Sequence(self.u64("sequence")?),
            position: Position(self.u64("position")?),
            last: Sequence(self.u64("sequence")?),
        })
    }

    fn message(&mut self) -> Result<Message, &'static str> {
        Ok(Message {
            id: self.id()?,
            key: self.key()?,
            content_type: self.text()?,
            headers: self
                .many(|fields| Ok((fields.text()?, fields.text()?)))?
                .into(),
            body: self.body()?,
        })
    }

    fn answer(&mut self) -> Result<Answer, &'static str> {
        Ok(Answer {
            head: self.head()?,
            outcome: match self.u8("outcome")? {
                1 => Outcome::Completed,
                2 => Outcome::Resolved,
                3 => Outcome::Skipped,
                _ => return Err("outcome"),
            },
            worker: self.text()?,
            reason: self.text()?,
            history: self.many(|fields| fields.report().map(Arc::new))?,
            attempts: self.u32("attempts")?,
            payload: Payload {
                content_type: self.text()?,
                body: self.body()?,
            },
        })
    }

    fn report(&mut self) -> Result<AttemptReport, &'static str> {
        Ok(AttemptReport {
            attempt: self.u32("attempt")?,
            worker: self.text()?.into(),
            reason: match self.u8("reason")? {
                1 => Reason::First,
                2 => Reason::Hedge,
                3 => Reason::Manual,
                4 => Reason::Retry,
                _ => return Err("reason"),
            },
            started_at: self.time()?,
            ended_at: self.time()?,
            ending: match self.u8("ending")? {
                1 => Ending::Accepted,
                2 => Ending::Broken,
                3 => Ending::Busy,
                4 => Ending::Error,
                5 => Ending::Misconfigured,
                6 => Ending::Refused,
                7 => Ending::Retry,
                8 => Ending::Timeout,
                9 => Ending::Unreachable,
                _ => return Err("ending"),
            },
            status: Some(self.u16("status")?).filter(|status| *status != 0),
            detail: self.text()?,
        })
    }
}
