//! Records to bytes.

use bytes::{BufMut as _, BytesMut};
use rollcall_common::{
    ids::{Position, Sequence, StreamId},
    message::{Message, Payload},
    time::Time,
};

use crate::record::{
    Answer, AttemptReport, Audit, Batching, DeliveryMode, Ending, MessageRef, Origin, Outcome,
    ParkCause, PauseReason, Reason, Record, SequenceRange, Start, SubscriptionId, SubscriptionSpec,
};

/// Writes fields one behind the other.
pub(super) struct Writer<'a>(pub(super) &'a mut BytesMut);

impl Writer<'_> {
    /// Writes a record's fields; gives back its kind.
    pub(super) fn record(&mut self, record: &Record) -> u8 {
        match record {
            Record::Accepted { stream, sequence, at, message } => {
                self.place(*stream, *sequence, *at).message(message).kind(1)
            }
            Record::Alert(record) => self.alert(record),
            Record::Answered { stream, sequence, at, answer } => {
                self.place(*stream, *sequence, *at).answer(answer, [2, 67])
            }
            Record::Audited(audit) => self.audit(audit).kind(24),
            Record::Snapshot(part) => self.snapshot_part(part),
            Record::Copied { stream, sequence, at, message } => {
                self.place(*stream, *sequence, *at).message(message).kind(47)
            }
            Record::CopiedResult { stream, sequence, at, answer } => {
                self.place(*stream, *sequence, *at).answer(answer, [48, 68])
            }
            Record::Failed { stream, sequence, due, report } => {
                self.place(*stream, *sequence, *due).report(report).kind(4)
            }
            Record::StreamCreated { stream, name } => {
                self.u32(stream.0).text(name.as_str()).kind(5)
            }
            Record::OutageBegan { pool, at } => self.time(*at).text(pool).kind(72),
            Record::OutageEnded { pool, at } => self.time(*at).text(pool).kind(73),
            Record::Parked { stream, sequence, at, head, cause, reason } => {
                self.place(*stream, *sequence, *at).head(*head).cause(*cause).text(reason).kind(6)
            }
            Record::PassedThrough { stream, first, last, at } => {
                self.place(*stream, *first, *at).u64(last.0).kind(14)
            }
            Record::Paused { stream, at } => self.u32(stream.0).time(*at).kind(7),
            Record::Resumed { stream, at } => self.u32(stream.0).time(*at).kind(8),
            Record::Retried { stream, sequence, at, reason } => {
                self.place(*stream, *sequence, *at).text(reason).kind(9)
            }
            Record::Started { at } => self.time(*at).kind(11),
            Record::WorkerDied { stream, sequence, at, worker } => {
                self.place(*stream, *sequence, *at).text(worker).kind(30)
            }
            Record::Trimmed { through, below } => self.position(*through).u64(*below).kind(49),
            Record::SubscriptionConfigured { .. }
            | Record::Batched { .. }
            | Record::Checkpointed { .. }
            | Record::Delivered { .. }
            | Record::PassedOver { .. }
            | Record::Rewound { .. }
            | Record::Scanned { .. }
            | Record::Subscribed { .. }
            | Record::SubscriptionPaused { .. }
            | Record::SubscriptionResumed { .. }
            | Record::Unsubscribed { .. } => self.subscription_record(record),
        }
    }

    fn subscription_record(&mut self, record: &Record) -> u8 {
        match record {
            Record::SubscriptionConfigured { subscription, plan } if plan.headers.is_empty() => {
                self.subscription(*subscription).plan(plan).kind(50)
            }
            Record::SubscriptionConfigured { subscription, plan } => {
                self.subscription(*subscription).plan(plan).texts(&plan.headers).kind(82)
            }
            Record::Batched { subscription, stream, batching } => {
                self.subscription(*subscription).u32(stream.0).batching(*batching).kind(80)
            }
            Record::Checkpointed { subscription, to } => {
                self.subscription(*subscription).position(*to).kind(51)
            }
            Record::Delivered { subscription, stream, through, floor } => self
                .subscription(*subscription)
                .u32(stream.0)
                .u64(through.0)
                .position(*floor)
                .kind(3),
            Record::PassedOver { subscription, stream, sequence, at } => {
                self.subscription(*subscription).place(*stream, *sequence, *at).kind(81)
            }
            Record::Rewound { subscription, to } => {
                self.subscription(*subscription).position(*to).kind(52)
            }
            Record::Scanned { subscription, to, found } => {
                self.subscription(*subscription).position(*to).found(found).kind(10)
            }
            Record::Subscribed { subscription, name, streams, after } => {
                self.subscription(*subscription).position(*after).text(name).texts(streams).kind(12)
            }
            Record::SubscriptionPaused { subscription, reason, at } => {
                self.subscription(*subscription).time(*at).pause(*reason).kind(53)
            }
            Record::SubscriptionResumed { subscription, at } => {
                self.subscription(*subscription).time(*at).kind(54)
            }
            Record::Unsubscribed { subscription } => self.subscription(*subscription).kind(13),
            Record::Accepted { .. }
            | Record::Alert(_)
            | Record::Answered { .. }
            | Record::Audited(_)
            | Record::Snapshot(_)
            | Record::Copied { .. }
            | Record::CopiedResult { .. }
            | Record::Failed { .. }
            | Record::StreamCreated { .. }
            | Record::OutageBegan { .. }
            | Record::OutageEnded { .. }
            | Record::Parked { .. }
            | Record::PassedThrough { .. }
            | Record::Paused { .. }
            | Record::Resumed { .. }
            | Record::Retried { .. }
            | Record::Started { .. }
            | Record::WorkerDied { .. }
            | Record::Trimmed { .. } => unreachable!("it is of no subscription"),
        }
    }

    pub(super) fn pause(&mut self, reason: PauseReason) -> &mut Self {
        self.0.put_u8(match reason {
            PauseReason::Gone => 1,
            PauseReason::Person => 2,
            PauseReason::Inconsistent => 60,
        });
        self
    }

    pub(super) fn audit(&mut self, audit: &Audit) -> &mut Self {
        let Audit { at, by, act, on, reason } = audit;
        self.time(*at).text(by).text(act).text(on).text(reason)
    }

    pub(super) fn kind(&mut self, kind: u8) -> u8 {
        kind
    }

    pub(super) fn u32(&mut self, number: u32) -> &mut Self {
        self.0.put_u32_le(number);
        self
    }

    pub(super) fn u64(&mut self, number: u64) -> &mut Self {
        self.0.put_u64_le(number);
        self
    }

    pub(super) fn length(&mut self, length: usize) -> &mut Self {
        self.u32(u32::try_from(length).unwrap_or(u32::MAX))
    }

    pub(super) fn time(&mut self, at: Time) -> &mut Self {
        self.u64(at.as_micros())
    }

    pub(super) fn position(&mut self, position: Position) -> &mut Self {
        self.u64(position.0)
    }

    pub(super) fn subscription(&mut self, subscription: SubscriptionId) -> &mut Self {
        self.u32(subscription.0)
    }

    fn place(&mut self, stream: StreamId, sequence: Sequence, at: Time) -> &mut Self {
        self.u32(stream.0).u64(sequence.0).time(at)
    }

    fn body(&mut self, body: &[u8]) -> &mut Self {
        self.length(body.len()).0.put_slice(body);
        self
    }

    pub(super) fn text(&mut self, text: &str) -> &mut Self {
        self.body(text.as_bytes())
    }

    pub(super) fn texts(&mut self, texts: &[Box<str>]) -> &mut Self {
        self.length(texts.len());
        for text in texts {
            self.text(text);
        }
        self
    }

    pub(super) fn head(&mut self, head: MessageRef) -> &mut Self {
        self.0.put_slice(head.id.0.as_bytes());
        self.time(head.accepted_at)
    }

    pub(super) fn cause(&mut self, cause: ParkCause) -> &mut Self {
        self.0.put_u8(match cause {
            ParkCause::Asked => 1,
            ParkCause::Exhausted => 2,
            ParkCause::Poison => 3,
            ParkCause::Refused => 4,
        });
        self
    }

    fn found(&mut self, found: &[SequenceRange]) -> &mut Self {
        self.length(found.len());
        for run in found {
            self.u32(run.stream.0).u64(run.first.0).position(run.position).u64(run.last.0);
        }
        self
    }

    pub(super) fn batching(&mut self, batching: Batching) -> &mut Self {
        let Batching { through, results, bytes } = batching;
        self.u64(through.0).u32(results).u32(bytes)
    }

    pub(super) fn plan(&mut self, plan: &SubscriptionSpec) -> &mut Self {
        self.0.put_u8(match plan.origin {
            Origin::Api => 1,
            Origin::Configuration => 2,
            Origin::Unconfigured => 3,
        });
        self.0.put_u8(match plan.way {
            DeliveryMode::Pull => 1,
            DeliveryMode::Push => 2,
        });
        self.texts(&plan.streams).texts(&plan.urls).u32(plan.batch).u32(plan.replay_rate);
        self.u64(u64::try_from(plan.timeout.as_micros()).unwrap_or(u64::MAX));
        match plan.start {
            Start::After(position) => {
                self.0.put_u8(1);
                self.position(position)
            }
            Start::Live => {
                self.0.put_u8(2);
                self
            }
        }
    }

    fn message(&mut self, message: &Message) -> &mut Self {
        self.0.put_slice(message.id.0.as_bytes());
        self.text(message.key.as_ref().map_or("", |key| &key.text));
        if let Some(key) = &message.key {
            self.0.put_slice(&key.fingerprint);
        }
        self.text(&message.content_type).headers(&message.headers).body(&message.body)
    }

    fn headers(&mut self, headers: &[(Box<str>, Box<str>)]) -> &mut Self {
        self.length(headers.len());
        for (name, value) in headers {
            self.text(name).text(value);
        }
        self
    }

    /// Writes an answer, and gives back its kind: one for those that have nothing but a type
    /// beside the body, as all once had, and one for those with headers, which stand last.
    fn answer(&mut self, answer: &Answer, [bare, with_headers]: [u8; 2]) -> u8 {
        let Payload { content_type, headers, body } = &answer.payload;
        self.head(answer.head).0.put_u8(match answer.outcome {
            Outcome::Completed => 1,
            Outcome::Resolved => 2,
            Outcome::Skipped => 3,
        });
        self.text(&answer.worker).text(&answer.reason).length(answer.history.len());
        for report in &answer.history {
            self.report(report);
        }
        self.u32(answer.attempts).text(content_type).body(body);
        if headers.is_empty() { bare } else { self.headers(headers).kind(with_headers) }
    }

    pub(super) fn report(&mut self, report: &AttemptReport) -> &mut Self {
        self.u32(report.attempt).text(&report.worker).0.put_u8(match report.reason {
            Reason::First => 1,
            Reason::Hedge => 2,
            Reason::Manual => 3,
            Reason::Retry => 4,
        });
        self.time(report.started_at).time(report.ended_at).0.put_u8(match report.ending {
            Ending::Accepted => 1,
            Ending::Broken => 2,
            Ending::Busy => 3,
            Ending::Cancelled => 90,
            Ending::Error => 4,
            Ending::Misconfigured => 5,
            Ending::Refused => 6,
            Ending::Retry => 7,
            Ending::Timeout => 8,
            Ending::Unreachable => 9,
        });
        self.0.put_u16_le(report.status.unwrap_or_default());
        self.text(&report.detail)
    }
}
