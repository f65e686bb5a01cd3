//! Proof of the records' bytes: what is written is read, and whatever else is read is an error.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use proptest::{collection::vec, prelude::*};
use rollcall_common::{
    ids::{MessageId, Position, Sequence, StreamId, StreamName},
    message::{Key, Message, Payload},
    time::Time,
};
use uuid::Uuid;

use super::{
    AlertId, AlertRecord, AlertStage, Answer, AnswerRef, AttemptReport, Audit, Batching,
    DeliveryMode, Ending, MessageRef, Origin, Outcome, ParkCause, PauseReason, Reason, Record,
    SequenceRange, Severity, Start, Subject, SubscriptionId, SubscriptionSpec,
    checks::{self, result_in},
    codec::{Beside, Cursor, DecodeError, Encoder, accepted_bytes, decode, decode_answer_ref},
    snapshot::{
        SnapshotCursor, SnapshotHeader, SnapshotKey, SnapshotPart, SnapshotSlot, SnapshotSlotState,
        SnapshotStream, SnapshotSubscription, SnapshotSubscriptionMore,
    },
};

fn text() -> impl Strategy<Value = Box<str>> {
    ".{0,20}".prop_map(Into::into)
}

fn body() -> impl Strategy<Value = Bytes> {
    vec(any::<u8>(), 0..200).prop_map(Bytes::from)
}

fn headers() -> impl Strategy<Value = Vec<(Box<str>, Box<str>)>> {
    prop_oneof![Just(Vec::new()), vec((text(), text()), 0..4)]
}

fn time() -> impl Strategy<Value = Time> {
    any::<u64>().prop_map(Time::from_micros)
}

fn stream() -> impl Strategy<Value = StreamId> {
    any::<u32>().prop_map(StreamId)
}

fn sequence() -> impl Strategy<Value = Sequence> {
    any::<u64>().prop_map(Sequence)
}

fn position() -> impl Strategy<Value = Position> {
    any::<u64>().prop_map(Position)
}

fn subscription() -> impl Strategy<Value = SubscriptionId> {
    any::<u32>().prop_map(SubscriptionId)
}

fn id() -> impl Strategy<Value = MessageId> {
    any::<u128>().prop_map(|bits| MessageId(Uuid::from_u128(bits)))
}

fn head() -> impl Strategy<Value = MessageRef> {
    (id(), time()).prop_map(|(id, accepted_at)| MessageRef { id, accepted_at })
}

fn message() -> impl Strategy<Value = Arc<Message>> {
    // An absent key and an empty one are the same: the door lets no empty one in.
    let key = (".{1,20}", any::<[u8; 16]>())
        .prop_map(|(text, fingerprint)| Key { text: text.into(), fingerprint });
    (id(), proptest::option::of(key), text(), headers(), body()).prop_map(
        |(id, key, content_type, headers, body)| {
            Arc::new(Message {
                id,
                key,
                content_type: content_type.into(),
                headers: headers.into(),
                body,
            })
        },
    )
}

fn report() -> impl Strategy<Value = Arc<AttemptReport>> {
    let reasons = [Reason::First, Reason::Hedge, Reason::Manual, Reason::Retry];
    let endings = [
        Ending::Accepted,
        Ending::Busy,
        Ending::Broken,
        Ending::Cancelled,
        Ending::Error,
        Ending::Misconfigured,
        Ending::Refused,
        Ending::Retry,
        Ending::Timeout,
        Ending::Unreachable,
    ];
    let kinds = (prop::sample::select(reasons.to_vec()), prop::sample::select(endings.to_vec()));
    let status = proptest::option::of(1..=u16::MAX);
    (any::<u32>(), text(), kinds, (time(), time()), status, text()).prop_map(
        |(attempt, worker, (reason, ending), (started_at, ended_at), status, detail)| {
            let worker = Arc::from(&*worker);
            Arc::new(AttemptReport {
                attempt,
                worker,
                reason,
                started_at,
                ended_at,
                ending,
                status,
                detail,
            })
        },
    )
}

fn answer() -> impl Strategy<Value = Arc<Answer>> {
    let outcomes = [Outcome::Completed, Outcome::Resolved, Outcome::Skipped];
    let outcome = (0..3_usize).prop_map(move |index| outcomes[index]);
    let payload = (text(), headers(), body()).prop_map(|(content_type, headers, body)| Payload {
        content_type,
        headers: headers.into(),
        body,
    });
    (head(), outcome, (text(), text()), vec(report(), 0..4), any::<u32>(), payload).prop_map(
        |(head, outcome, (worker, reason), history, attempts, payload)| {
            Arc::new(Answer { head, outcome, worker, reason, history, attempts, payload })
        },
    )
}

fn cause() -> impl Strategy<Value = ParkCause> {
    use ParkCause::{Asked, Exhausted, Poison, Refused};
    prop::sample::select(vec![Asked, Exhausted, Poison, Refused])
}

fn of_messages() -> impl Strategy<Value = Record> {
    prop_oneof![
        (stream(), sequence(), time(), message()).prop_map(|(stream, sequence, at, message)| {
            Record::Accepted { stream, sequence, at, message }
        }),
        (stream(), sequence(), time(), answer()).prop_map(|(stream, sequence, at, answer)| {
            Record::Answered { stream, sequence, at, answer }
        }),
        (stream(), sequence(), time(), report()).prop_map(|(stream, sequence, due, report)| {
            Record::Failed { stream, sequence, due, report }
        }),
        (stream(), sequence(), time(), head(), (cause(), text())).prop_map(
            |(stream, sequence, at, head, (cause, reason))| {
                Record::Parked { stream, sequence, at, head, cause, reason }
            }
        ),
        (stream(), sequence(), time(), text()).prop_map(|(stream, sequence, at, worker)| {
            Record::WorkerDied { stream, sequence, at, worker: Arc::from(&*worker) }
        }),
        (stream(), sequence(), sequence(), time()).prop_map(|(stream, first, last, at)| {
            Record::PassedThrough { stream, first, last, at }
        }),
        (stream(), sequence(), time(), text()).prop_map(|(stream, sequence, at, reason)| {
            Record::Retried { stream, sequence, at, reason }
        }),
    ]
}

fn of_streams() -> impl Strategy<Value = Record> {
    let found = (stream(), sequence(), position(), sequence()).prop_map(
        |(stream, first, position, last)| SequenceRange { stream, first, position, last },
    );
    prop_oneof![
        (stream(), "[A-Za-z0-9_-][A-Za-z0-9._-]{0,127}").prop_map(|(stream, name)| {
            Record::StreamCreated { stream, name: name.parse().unwrap() }
        }),
        (stream(), time()).prop_map(|(stream, at)| Record::Paused { stream, at }),
        (stream(), time()).prop_map(|(stream, at)| Record::Resumed { stream, at }),
        time().prop_map(|at| Record::Started { at }),
        (subscription(), stream(), sequence(), position()).prop_map(
            |(subscription, stream, through, floor)| {
                Record::Delivered { subscription, stream, through, floor }
            }
        ),
        (subscription(), position(), vec(found, 0..5))
            .prop_map(|(subscription, to, found)| Record::Scanned { subscription, to, found }),
        (subscription(), text(), vec(text(), 0..4), position()).prop_map(
            |(subscription, name, streams, after)| {
                Record::Subscribed { subscription, name, streams: streams.into(), after }
            }
        ),
        subscription().prop_map(|subscription| Record::Unsubscribed { subscription }),
    ]
}

fn batching() -> impl Strategy<Value = Batching> {
    (sequence(), any::<u32>(), any::<u32>()).prop_map(|(through, results, bytes)| Batching {
        through,
        results,
        bytes,
    })
}

fn plan() -> impl Strategy<Value = Arc<SubscriptionSpec>> {
    let origin =
        prop::sample::select(vec![Origin::Api, Origin::Configuration, Origin::Unconfigured]);
    let way = prop::sample::select(vec![DeliveryMode::Pull, DeliveryMode::Push]);
    let start = proptest::option::of(position());
    let texts = || vec(text(), 0..4);
    let numbers = (any::<u32>(), any::<u32>(), any::<u64>());
    (origin, way, (texts(), texts(), texts()), numbers, start).prop_map(
        |(origin, way, (streams, urls, headers), (batch, replay_rate, timeout), start)| {
            Arc::new(SubscriptionSpec {
                origin,
                way,
                streams: streams.into(),
                urls: urls.into(),
                batch,
                timeout: Duration::from_micros(timeout),
                replay_rate,
                headers: headers.into(),
                start: start.map_or(Start::Live, Start::After),
            })
        },
    )
}

fn of_subscriptions() -> impl Strategy<Value = Record> {
    let reason = prop::sample::select(vec![
        PauseReason::Gone,
        PauseReason::Inconsistent,
        PauseReason::Person,
    ]);
    prop_oneof![
        (subscription(), plan())
            .prop_map(|(subscription, plan)| Record::SubscriptionConfigured { subscription, plan }),
        (subscription(), stream(), batching()).prop_map(|(subscription, stream, batching)| {
            Record::Batched { subscription, stream, batching }
        }),
        (subscription(), stream(), sequence(), time()).prop_map(
            |(subscription, stream, sequence, at)| {
                Record::PassedOver { subscription, stream, sequence, at }
            }
        ),
        (subscription(), position())
            .prop_map(|(subscription, to)| Record::Checkpointed { subscription, to }),
        (subscription(), position())
            .prop_map(|(subscription, to)| Record::Rewound { subscription, to }),
        (subscription(), reason, time()).prop_map(|(subscription, reason, at)| {
            Record::SubscriptionPaused { subscription, reason, at }
        }),
        (subscription(), time())
            .prop_map(|(subscription, at)| Record::SubscriptionResumed { subscription, at }),
    ]
}

fn of_people() -> impl Strategy<Value = Record> {
    use Severity::{Critical, Error, Info, Warning};
    let severity = || prop::sample::select(vec![Info, Warning, Error, Critical]);
    let alert = || any::<u64>().prop_map(AlertId);
    let stages = [AlertStage::Firing, AlertStage::Acknowledged, AlertStage::Resolved];
    let subject = prop_oneof![
        stream().prop_map(Subject::AnswersDiverge),
        subscription().prop_map(Subject::Destination),
        Just(Subject::Disk),
        Just(Subject::Flood),
        Just(Subject::Storm),
        stream().prop_map(Subject::Parked),
        subscription().prop_map(Subject::Gap),
        stream().prop_map(Subject::Held),
        subscription().prop_map(Subject::Lag),
        (stream(), sequence()).prop_map(|(stream, sequence)| Subject::Message(stream, sequence)),
        (stream(), sequence()).prop_map(|(stream, sequence)| Subject::Poison(stream, sequence)),
        text().prop_map(|name| Subject::Outage(name.into())),
        text().prop_map(|name| Subject::Pool(name.into())),
        text().prop_map(|name| Subject::Unreachable(name.into())),
        text().prop_map(|name| Subject::Worker(name.into())),
    ];
    let audit = (time(), text(), text(), text(), text())
        .prop_map(|(at, by, act, on, reason)| Record::Audited(Audit { at, by, act, on, reason }));
    let raised = (alert(), time(), subject, severity(), any::<u32>(), text()).prop_map(
        |(alert, at, subject, severity, count, detail)| {
            Record::Alert(AlertRecord::Raised { alert, at, subject, severity, count, detail })
        },
    );
    let stage = prop::sample::select(stages.to_vec());
    let told = (alert(), time(), text(), severity(), stage, any::<bool>());
    prop_oneof![
        audit,
        raised,
        (alert(), time(), text())
            .prop_map(|(alert, at, by)| Record::Alert(AlertRecord::Acknowledged { alert, at, by })),
        (alert(), time())
            .prop_map(|(alert, at)| Record::Alert(AlertRecord::Resolved { alert, at })),
        told.prop_map(|(alert, at, target, severity, stage, taken)| {
            let target = target.into();
            Record::Alert(AlertRecord::Told { alert, at, target, severity, stage, taken })
        }),
    ]
}

fn slot() -> impl Strategy<Value = Box<SnapshotSlot>> {
    let parked = (head(), time(), text()).prop_map(|(head, at, reason)| {
        let cause = ParkCause::Poison;
        SnapshotSlotState::Parked { head, at, cause, reason }
    });
    let state = prop_oneof![
        any::<bool>().prop_map(|skipped| SnapshotSlotState::Done { skipped }),
        Just(SnapshotSlotState::Idle),
        parked,
        time().prop_map(|due| SnapshotSlotState::Waiting { due }),
    ];
    let known = proptest::option::of(head());
    let refused_by = proptest::option::of(text().prop_map(|worker| Arc::from(&*worker)));
    let tried = vec(text().prop_map(|worker| Arc::from(&*worker)), 0..3);
    let counts = (any::<u32>(), any::<bool>(), proptest::option::of(time()));
    (state, known, counts, refused_by, tried, vec(report(), 0..3)).prop_map(
        |(state, known, (failures, manual, tried_since), refused_by, tried, history)| {
            let deaths = tried.clone();
            Box::new(SnapshotSlot {
                state,
                known,
                failures,
                manual,
                refused_by,
                tried,
                history,
                deaths,
                tried_since,
            })
        },
    )
}

fn pause_reason() -> impl Strategy<Value = PauseReason> {
    prop::sample::select(vec![PauseReason::Gone, PauseReason::Inconsistent, PauseReason::Person])
}

fn of_snapshots() -> impl Strategy<Value = Record> {
    prop_oneof![
        of_people().prop_filter_map("it is neither", |record| {
            if let Record::Alert(record) = record {
                return Some(SnapshotPart::Alert(record));
            }
            if let Record::Audited(audit) = record {
                Some(SnapshotPart::Audit(audit))
            } else {
                None
            }
        }),
        (time(), any::<u64>(), position(), any::<u32>(), any::<u64>()).prop_map(
            |(last, down, head, next_subscription, last_alert)| {
                let header = SnapshotHeader { last, down, head, next_subscription, last_alert };
                SnapshotPart::Header(header)
            }
        ),
        (any::<u32>(), any::<u64>())
            .prop_map(|(streams, parts)| SnapshotPart::Ended { streams, parts }),
        (text(), time()).prop_map(|(pool, at)| SnapshotPart::Outage { pool: pool.into(), at }),
        part_of_stream(),
        part_of_subscription(),
    ]
    .prop_map(Record::Snapshot)
}

fn part_of_stream() -> impl Strategy<Value = SnapshotPart> {
    let key = (sequence(), id(), any::<[u8; 16]>(), any::<[u8; 16]>()).prop_map(
        |(sequence, id, digest, fingerprint)| SnapshotKey { sequence, id, digest, fingerprint },
    );
    // As journals of before may have them, dots alone too.
    let name = "[A-Za-z0-9._-]{1,128}".prop_map(|name| StreamName::recorded(&name).unwrap());
    let numbers = (sequence(), sequence(), any::<u32>(), any::<bool>(), time());
    prop_oneof![
        (stream(), vec(key, 0..4)).prop_map(|(stream, keys)| SnapshotPart::Keys { stream, keys }),
        (stream(), sequence(), slot()).prop_map(|(stream, sequence, slot)| SnapshotPart::Slot {
            stream,
            sequence,
            slot
        }),
        (stream(), name, numbers).prop_map(|(stream, name, numbers)| {
            let (next, released, skips, paused, head_since) = numbers;
            let stream = SnapshotStream { stream, name, next, released, skips, paused, head_since };
            SnapshotPart::Stream(stream)
        }),
    ]
}

fn part_of_subscription() -> impl Strategy<Value = SnapshotPart> {
    let cursor = (stream(), sequence(), sequence(), position())
        .prop_map(|(stream, next, last, floor)| SnapshotCursor { stream, next, last, floor });
    let scan = proptest::option::of(position());
    let paused = proptest::option::of(pause_reason());
    let positions = (position(), position());
    prop_oneof![
        (subscription(), vec((stream(), batching()), 0..4))
            .prop_map(|(subscription, batches)| SnapshotPart::Batches { subscription, batches }),
        (subscription(), any::<u32>(), vec(text(), 0..3), vec((stream(), sequence()), 0..4))
            .prop_map(|(subscription, generation, headers, passed_over)| {
                let headers = headers.into();
                SnapshotPart::More(SnapshotSubscriptionMore {
                    subscription,
                    generation,
                    headers,
                    passed_over,
                })
            }),
        (subscription(), vec(cursor, 0..4))
            .prop_map(|(subscription, cursors)| SnapshotPart::Cursors { subscription, cursors }),
        ((subscription(), any::<u32>()), text(), plan(), paused, scan, positions).prop_map(
            |((subscription, revision), name, plan, paused, scan, (pulled, replay_until))| {
                // Its headers' names are in another part.
                let plan = SubscriptionSpec { headers: Box::default(), ..(*plan).clone() };
                SnapshotPart::Subscription(SnapshotSubscription {
                    subscription,
                    name,
                    plan: Arc::new(plan),
                    revision,
                    pulled,
                    paused,
                    scan,
                    replay_until,
                })
            }
        ),
    ]
}

fn of_trims() -> impl Strategy<Value = Record> {
    prop_oneof![
        (stream(), sequence(), time(), message()).prop_map(|(stream, sequence, at, message)| {
            Record::Copied { stream, sequence, at, message }
        }),
        (stream(), sequence(), time(), answer()).prop_map(|(stream, sequence, at, answer)| {
            Record::CopiedResult { stream, sequence, at, answer }
        }),
        (position(), any::<u64>()).prop_map(|(through, below)| Record::Trimmed { through, below }),
    ]
}

fn record() -> impl Strategy<Value = Record> {
    prop_oneof![
        of_messages(),
        of_streams(),
        of_subscriptions(),
        of_people(),
        of_snapshots(),
        of_trims()
    ]
}

fn records() -> impl Strategy<Value = Vec<Record>> {
    vec(record(), 1..8)
}

fn encoded(records: &[Record]) -> Bytes {
    let mut encoder = Encoder::default();
    for (record, index) in records.iter().zip(0..) {
        assert_eq!(encoder.push(record), index);
    }
    encoder.finish()
}

fn decode_one(payload: &Bytes, index: u32) -> Result<Record, DecodeError> {
    let mut cursor = Cursor::START;
    cursor.read(payload, index)
}

#[test]
fn results_without_headers_are_written_as_they_always_were() {
    let head = MessageRef { id: MessageId(Uuid::nil()), accepted_at: Time::default() };
    let (stream, sequence, at) = (StreamId(0), Sequence(1), Time::default());
    let kinds = |headers: &[(Box<str>, Box<str>)]| {
        let answer = Arc::new(Answer {
            head,
            outcome: Outcome::Completed,
            worker: "".into(),
            reason: "".into(),
            history: Vec::new(),
            attempts: 0,
            payload: Payload { headers: headers.into(), ..Payload::default() },
        });
        let copy = Arc::clone(&answer);
        [
            Record::Answered { stream, sequence, at, answer },
            Record::CopiedResult { stream, sequence, at, answer: copy },
        ]
        .map(|record| {
            let bytes = encoded(std::slice::from_ref(&record));
            assert_eq!(decode(&bytes), Ok(vec![record]));
            bytes[1]
        })
    };
    assert_eq!(kinds(&[]), [2, 48]);
    assert_eq!(kinds(&[("ce-id".into(), "1".into())]), [67, 68]);
}

proptest! {
    #[test]
    fn a_glance_sees_what_reading_finds(record in record()) {
        let payload = encoded(std::slice::from_ref(&record));
        let expected = result_in(&record);
        let expected = expected.as_deref().map(AnswerRef::at);
        prop_assert_eq!(decode_answer_ref(&payload, &Cursor::START).unwrap(), expected);
        for end in 0..payload.len() {
            // Shorter is an error, or no result; never a panic.
            let part = decode_answer_ref(&payload[..end], &Cursor::START);
            prop_assert!(part.is_err() || part == Ok(None));
        }
    }

    #[test]
    fn the_size_of_a_message_is_known_before_it_is_written(message in message()) {
        let bytes = accepted_bytes(&Beside::of(&message), &message.body);
        let (stream, sequence, at) = (StreamId(1), Sequence(2), Time::from_micros(3));
        let payload = encoded(&[Record::Accepted { stream, sequence, at, message }]);
        // The version stands before the first one.
        prop_assert_eq!(1 + bytes, payload.len());
    }

    #[test]
    fn what_is_written_is_read(records in records()) {
        let bytes = encoded(&records);
        for (record, index) in records.iter().zip(0..) {
            prop_assert_eq!(&decode_one(&bytes, index).unwrap(), record);
        }
        let beyond = u32::try_from(records.len()).unwrap();
        prop_assert!(decode_one(&bytes, beyond).is_err());
        prop_assert_eq!(decode(&bytes).unwrap(), records);
        checks::payload(&bytes);
    }

    #[test]
    fn a_part_of_a_record_is_an_error(record in record()) {
        let bytes = encoded(&[record]);
        // The version alone is an entry without records, which nobody writes, but no damage.
        for length in (0..bytes.len()).filter(|length| *length != 1) {
            prop_assert!(decode(&bytes.slice(..length)).is_err(), "{length} of {}", bytes.len());
        }
    }

    #[test]
    fn no_bytes_make_it_panic(mut bytes in vec(any::<u8>(), 0..300), known in any::<bool>()) {
        if known && let Some(version) = bytes.first_mut() {
            *version = 1;
        }
        let bytes = Bytes::from(bytes);
        let _ = decode_one(&bytes, 3);
        checks::payload(&bytes);
    }

    #[test]
    fn no_flipped_byte_makes_it_panic(
        records in records(),
        at in any::<prop::sample::Index>(),
        to in any::<u8>(),
    ) {
        let mut bytes = encoded(&records).to_vec();
        let at = at.index(bytes.len());
        bytes[at] = to;
        checks::payload(&bytes);
    }
}
