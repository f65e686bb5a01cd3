//! Bytes to records.

use std::{sync::Arc, time::Duration};

use bytes::{Buf as _, Bytes};
use rollcall_common::{
    ids::{MessageId, Position, Sequence, StreamId, StreamName},
    message::{Headers, Key, Message, Payload, shared},
    time::Time,
};
use uuid::Uuid;

use crate::record::{
    Answer, AttemptReport, Audit, Batching, DeliveryMode, Ending, MessageRef, Origin, Outcome,
    ParkCause, PauseReason, Reason, Record, SequenceRange, Start, SubscriptionId, SubscriptionSpec,
};

/// The kinds of results that have headers.
pub(super) const HAVE_HEADERS: [u8; 2] = [67, 68];

/// Reads fields one behind the other. An error is the name of the field that is wrong.
pub(super) struct Fields(pub(super) Bytes);

pub(super) type Read<T> = Result<T, &'static str>;

impl Fields {
    pub(super) fn new(bytes: Bytes) -> Self {
        Self(bytes)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Reads the fields of a record of this kind.
    pub(super) fn record(&mut self, kind: u8) -> Read<Record> {
        match kind {
            3 | 10 | 12 | 13 | 50..=54 | 80..=82 => self.subscription_record(kind),
            5 | 7 | 8 | 11 | 14 => self.stream_record(kind),
            20..=23 => self.alert_record(kind).map(Record::Alert),
            24 => self.audit().map(Record::Audited),
            72 => Ok(Record::OutageBegan { at: self.time()?, pool: self.text()?.into() }),
            73 => Ok(Record::OutageEnded { at: self.time()?, pool: self.text()?.into() }),
            40..=46 | 60..=64 | 74..=75 | 83..=84 => {
                Ok(Record::Snapshot(self.snapshot_part(kind)?))
            }
            49 => {
                let through = self.position()?;
                Ok(Record::Trimmed { through, below: self.u64("entry")? })
            }
            _ => self.message_record(kind),
        }
    }

    fn message_record(&mut self, kind: u8) -> Read<Record> {
        let (stream, sequence, at) = self.place()?;
        Ok(match kind {
            1 => Record::Accepted { stream, sequence, at, message: Arc::new(self.message()?) },
            2 | 67 => {
                let answer = Arc::new(self.answer(kind)?);
                Record::Answered { stream, sequence, at, answer }
            }
            4 => {
                let report = Arc::new(self.report()?);
                Record::Failed { stream, sequence, due: at, report }
            }
            6 => {
                let (head, cause) = (self.head()?, self.cause()?);
                Record::Parked { stream, sequence, at, head, cause, reason: self.text()? }
            }
            9 => Record::Retried { stream, sequence, at, reason: self.text()? },
            30 => Record::WorkerDied { stream, sequence, at, worker: self.text()?.into() },
            47 => Record::Copied { stream, sequence, at, message: Arc::new(self.message()?) },
            48 | 68 => {
                let answer = Arc::new(self.answer(kind)?);
                Record::CopiedResult { stream, sequence, at, answer }
            }
            _ => return Err("kind"),
        })
    }

    fn stream_record(&mut self, kind: u8) -> Read<Record> {
        Ok(match kind {
            5 => {
                let stream = self.stream()?;
                Record::StreamCreated { stream, name: self.stream_name()? }
            }
            7 => Record::Paused { stream: self.stream()?, at: self.time()? },
            8 => Record::Resumed { stream: self.stream()?, at: self.time()? },
            11 => Record::Started { at: self.time()? },
            14 => {
                let (stream, first, at) = self.place()?;
                Record::PassedThrough { stream, first, last: Sequence(self.u64("sequence")?), at }
            }
            _ => return Err("kind"),
        })
    }

    fn subscription_record(&mut self, kind: u8) -> Read<Record> {
        let subscription = SubscriptionId(self.u32("subscription")?);
        Ok(match kind {
            3 => Record::Delivered {
                subscription,
                stream: self.stream()?,
                through: Sequence(self.u64("sequence")?),
                floor: self.position()?,
            },
            10 => {
                let to = self.position()?;
                Record::Scanned { subscription, to, found: self.many(Self::found)? }
            }
            12 => {
                let after = self.position()?;
                let name = self.text()?;
                let streams = self.many(Self::text)?.into();
                Record::Subscribed { subscription, name, streams, after }
            }
            13 => Record::Unsubscribed { subscription },
            50 => Record::SubscriptionConfigured { subscription, plan: Arc::new(self.plan()?) },
            51 => Record::Checkpointed { subscription, to: self.position()? },
            52 => Record::Rewound { subscription, to: self.position()? },
            53 => {
                let at = self.time()?;
                Record::SubscriptionPaused { subscription, reason: self.pause()?, at }
            }
            54 => Record::SubscriptionResumed { subscription, at: self.time()? },
            80 => {
                let stream = self.stream()?;
                Record::Batched { subscription, stream, batching: self.batching()? }
            }
            81 => {
                let (stream, sequence, at) = self.place()?;
                Record::PassedOver { subscription, stream, sequence, at }
            }
            82 => {
                let plan = self.plan()?;
                let headers = self.many(Self::text)?.into();
                Record::SubscriptionConfigured {
                    subscription,
                    plan: Arc::new(SubscriptionSpec { headers, ..plan }),
                }
            }
            _ => return Err("kind"),
        })
    }

    pub(super) fn audit(&mut self) -> Read<Audit> {
        Ok(Audit {
            at: self.time()?,
            by: self.text()?,
            act: self.text()?,
            on: self.text()?,
            reason: self.text()?,
        })
    }

    pub(super) fn stream(&mut self) -> Read<StreamId> {
        self.u32("stream").map(StreamId)
    }

    pub(super) fn stream_name(&mut self) -> Read<StreamName> {
        StreamName::recorded(&self.text()?).map_err(|_| "stream name")
    }

    pub(super) fn position(&mut self) -> Read<Position> {
        self.u64("position").map(Position)
    }

    pub(super) fn u8(&mut self, what: &'static str) -> Read<u8> {
        self.0.try_get_u8().map_err(|_| what)
    }

    fn u16(&mut self, what: &'static str) -> Read<u16> {
        self.0.try_get_u16_le().map_err(|_| what)
    }

    pub(super) fn u32(&mut self, what: &'static str) -> Read<u32> {
        self.0.try_get_u32_le().map_err(|_| what)
    }

    pub(super) fn u64(&mut self, what: &'static str) -> Read<u64> {
        self.0.try_get_u64_le().map_err(|_| what)
    }

    pub(super) fn time(&mut self) -> Read<Time> {
        self.u64("time").map(Time::from_micros)
    }

    fn place(&mut self) -> Read<(StreamId, Sequence, Time)> {
        let stream = StreamId(self.u32("stream")?);
        Ok((stream, Sequence(self.u64("sequence")?), self.time()?))
    }

    fn body(&mut self) -> Read<Bytes> {
        let length = usize::try_from(self.u32("length")?).unwrap_or(usize::MAX);
        if length > self.0.len() { Err("length") } else { Ok(self.0.split_to(length)) }
    }

    pub(super) fn text(&mut self) -> Read<Box<str>> {
        let body = self.body()?;
        std::str::from_utf8(&body).map(Into::into).map_err(|_| "text")
    }

    fn shared_text(&mut self) -> Read<Arc<str>> {
        let body = self.body()?;
        std::str::from_utf8(&body).map(Into::into).map_err(|_| "text")
    }

    pub(super) fn many<T>(&mut self, mut read: impl FnMut(&mut Self) -> Read<T>) -> Read<Vec<T>> {
        let count = self.u32("count")?;
        let mut items = Vec::new();
        for _ in 0..count {
            items.push(read(self)?);
        }
        Ok(items)
    }

    pub(super) fn id(&mut self) -> Read<MessageId> {
        let mut id = [0; 16];
        self.0.try_copy_to_slice(&mut id).map_err(|_| "id")?;
        Ok(MessageId(Uuid::from_bytes(id)))
    }

    pub(super) fn head(&mut self) -> Read<MessageRef> {
        Ok(MessageRef { id: self.id()?, accepted_at: self.time()? })
    }

    pub(super) fn cause(&mut self) -> Read<ParkCause> {
        Ok(match self.u8("cause")? {
            1 => ParkCause::Asked,
            2 => ParkCause::Exhausted,
            3 => ParkCause::Poison,
            4 => ParkCause::Refused,
            _ => return Err("cause"),
        })
    }

    fn key(&mut self) -> Read<Option<Key>> {
        let text = self.text()?;
        if text.is_empty() {
            return Ok(None);
        }
        let mut fingerprint = [0; 16];
        self.0.try_copy_to_slice(&mut fingerprint).map_err(|_| "fingerprint")?;
        Ok(Some(Key { text, fingerprint }))
    }

    fn found(&mut self) -> Read<SequenceRange> {
        Ok(SequenceRange {
            stream: StreamId(self.u32("stream")?),
            first: Sequence(self.u64("sequence")?),
            position: Position(self.u64("position")?),
            last: Sequence(self.u64("sequence")?),
        })
    }

    pub(super) fn pause(&mut self) -> Read<PauseReason> {
        Ok(match self.u8("pause")? {
            1 => PauseReason::Gone,
            2 => PauseReason::Person,
            60 => PauseReason::Inconsistent,
            _ => return Err("pause"),
        })
    }

    pub(super) fn batching(&mut self) -> Read<Batching> {
        let through = Sequence(self.u64("sequence")?);
        Ok(Batching { through, results: self.u32("results")?, bytes: self.u32("bytes")? })
    }

    pub(super) fn plan(&mut self) -> Read<SubscriptionSpec> {
        Ok(SubscriptionSpec {
            origin: match self.u8("origin")? {
                1 => Origin::Api,
                2 => Origin::Configuration,
                3 => Origin::Unconfigured,
                _ => return Err("origin"),
            },
            way: match self.u8("way")? {
                1 => DeliveryMode::Pull,
                2 => DeliveryMode::Push,
                _ => return Err("way"),
            },
            streams: self.many(Self::text)?.into(),
            urls: self.many(Self::text)?.into(),
            batch: self.u32("batch")?,
            replay_rate: self.u32("rate")?,
            timeout: Duration::from_micros(self.u64("timeout")?),
            headers: Box::default(),
            start: match self.u8("start")? {
                1 => Start::After(self.position()?),
                2 => Start::Live,
                _ => return Err("start"),
            },
        })
    }

    fn message(&mut self) -> Read<Message> {
        Ok(Message {
            id: self.id()?,
            key: self.key()?,
            content_type: self.shared_text()?,
            headers: shared(self.headers()?),
            body: self.body()?,
        })
    }

    fn headers(&mut self) -> Read<Headers> {
        self.many(|fields| Ok((fields.text()?, fields.text()?))).map(Into::into)
    }

    fn answer(&mut self, kind: u8) -> Read<Answer> {
        Ok(Answer {
            head: self.head()?,
            outcome: outcome(self.u8("outcome")?)?,
            worker: self.text()?,
            reason: self.text()?,
            history: self.many(|fields| fields.report().map(Arc::new))?,
            attempts: self.u32("attempts")?,
            payload: self.payload(kind)?,
        })
    }

    fn payload(&mut self, kind: u8) -> Read<Payload> {
        let has_headers = HAVE_HEADERS.contains(&kind);
        let (content_type, body) = (self.text()?, self.body()?);
        let headers = if has_headers { self.headers()? } else { Headers::default() };
        // What has none is written as the other kind.
        if headers.is_empty() == has_headers {
            return Err("headers");
        }
        Ok(Payload { content_type, headers, body })
    }

    pub(super) fn report(&mut self) -> Read<AttemptReport> {
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
                90 => Ending::Cancelled,
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

/// How a message came by its result.
pub(super) fn outcome(code: u8) -> Read<Outcome> {
    Ok(match code {
        1 => Outcome::Completed,
        2 => Outcome::Resolved,
        3 => Outcome::Skipped,
        _ => return Err("outcome"),
    })
}
