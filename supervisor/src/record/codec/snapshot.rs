//! The bytes of snapshots.

use std::sync::Arc;

use bytes::{Buf as _, BufMut as _};
use rollcall_common::ids::Sequence;

use super::{
    read::{Fields, Read},
    write::Writer,
};
use crate::record::{
    SubscriptionId,
    snapshot::{
        SnapshotCursor, SnapshotHeader, SnapshotKey, SnapshotPart as Part, SnapshotSlot,
        SnapshotSlotState, SnapshotStream, SnapshotSubscription, SnapshotSubscriptionMore,
    },
};

/// The kinds of parts: 40 to 46, 60 to 64, 74 and 75, 83 and 84.
pub(super) const KINDS: [std::ops::RangeInclusive<u8>; 4] = [40..=46, 60..=64, 74..=75, 83..=84];
/// How far the kinds of an alert's records lie behind those that they have by themselves.
const ALERT_SHIFT: u8 = 40;

impl Writer<'_> {
    /// Writes a part's fields; gives back its kind.
    pub(super) fn snapshot_part(&mut self, part: &Part) -> u8 {
        match part {
            Part::Alert(record) => self.alert(record) + ALERT_SHIFT,
            Part::Audit(audit) => self.audit(audit).kind(64),
            Part::Batches { subscription, batches } => {
                self.subscription(*subscription).length(batches.len());
                for (stream, batching) in batches {
                    self.u32(stream.0).batching(*batching);
                }
                self.kind(84)
            }
            Part::Header(begun) => {
                let SnapshotHeader { last, down, head, next_subscription, last_alert } = *begun;
                self.time(last).u64(down).position(head);
                self.u32(next_subscription).u64(last_alert).kind(40)
            }
            Part::Ended { streams, parts } => self.u32(*streams).u64(*parts).kind(41),
            Part::Keys { stream, keys } => {
                self.u32(stream.0).length(keys.len());
                for SnapshotKey { sequence, id, digest, fingerprint } in keys {
                    self.u64(sequence.0).0.put_slice(id.0.as_bytes());
                    self.0.put_slice(digest);
                    self.0.put_slice(fingerprint);
                }
                self.kind(42)
            }
            Part::Cursors { subscription, cursors } => {
                self.subscription(*subscription).length(cursors.len());
                for SnapshotCursor { stream, next, last, floor } in cursors {
                    self.u32(stream.0).u64(next.0).u64(last.0).position(*floor);
                }
                self.kind(43)
            }
            Part::More(more) => self.snapshot_more(more).kind(83),
            Part::Outage { pool, at } => self.time(*at).text(pool).kind(74),
            Part::Slot { stream, sequence, slot } => {
                self.u32(stream.0).u64(sequence.0).slot(slot);
                slot.tried_since.map_or(44, |since| self.time(since).kind(75))
            }
            Part::Stream(SnapshotStream {
                stream,
                name,
                next,
                released,
                skips,
                paused,
                head_since,
            }) => {
                self.u32(stream.0).text(name.as_str()).u64(next.0).u64(released.0);
                self.u32(*skips).flag(*paused).time(*head_since).kind(45)
            }
            Part::Subscription(subscription) => self.snapshot_subscription(subscription).kind(46),
        }
    }

    fn snapshot_more(&mut self, part: &SnapshotSubscriptionMore) -> &mut Self {
        let SnapshotSubscriptionMore { subscription, generation, headers, passed_over } = part;
        self.subscription(*subscription).u32(*generation).texts(headers);
        self.length(passed_over.len());
        for (stream, sequence) in passed_over {
            self.u32(stream.0).u64(sequence.0);
        }
        self
    }

    fn snapshot_subscription(&mut self, part: &SnapshotSubscription) -> &mut Self {
        let SnapshotSubscription { subscription, name, plan, revision, .. } = part;
        let SnapshotSubscription { pulled, paused, scan, replay_until, .. } = part;
        self.subscription(*subscription).text(name).plan(plan).u32(*revision).position(*pulled);
        self.flag(paused.is_some());
        if let Some(reason) = paused {
            self.pause(*reason);
        }
        self.flag(scan.is_some());
        if let Some(scan) = scan {
            self.position(*scan);
        }
        self.position(*replay_until)
    }

    fn slot(&mut self, slot: &SnapshotSlot) -> &mut Self {
        let SnapshotSlot {
            state, known, failures, manual, refused_by, tried, history, deaths, ..
        } = slot;
        match state {
            SnapshotSlotState::Done { skipped } => self.byte(1).flag(*skipped),
            SnapshotSlotState::Idle => self.byte(2),
            SnapshotSlotState::Parked { head, at, cause, reason } => {
                self.byte(3).head(*head).time(*at).cause(*cause).text(reason)
            }
            SnapshotSlotState::Waiting { due } => self.byte(4).time(*due),
        };
        self.flag(known.is_some());
        if let Some(known) = known {
            self.head(*known);
        }
        self.u32(*failures).flag(*manual).flag(refused_by.is_some());
        if let Some(worker) = refused_by {
            self.text(worker);
        }
        self.length(tried.len());
        for worker in tried {
            self.text(worker);
        }
        self.length(history.len());
        for report in history {
            self.report(report);
        }
        self.length(deaths.len());
        for worker in deaths {
            self.text(worker);
        }
        self
    }

    fn byte(&mut self, byte: u8) -> &mut Self {
        self.0.put_u8(byte);
        self
    }

    /// A flag: 1 if it is set.
    fn flag(&mut self, set: impl Into<u8>) -> &mut Self {
        self.byte(set.into())
    }
}

impl Fields {
    /// Reads the fields of a part of this kind.
    pub(super) fn snapshot_part(&mut self, kind: u8) -> Read<Part> {
        Ok(match kind {
            60..=63 => Part::Alert(self.alert_record(kind - ALERT_SHIFT)?),
            64 => Part::Audit(self.audit()?),
            40 => Part::Header(SnapshotHeader {
                last: self.time()?,
                down: self.u64("down")?,
                head: self.position()?,
                next_subscription: self.u32("subscription")?,
                last_alert: self.u64("alert")?,
            }),
            41 => Part::Ended { streams: self.u32("count")?, parts: self.u64("count")? },
            42 => Part::Keys { stream: self.stream()?, keys: self.many(Self::snapshot_key)? },
            43 => {
                let subscription = SubscriptionId(self.u32("subscription")?);
                Part::Cursors { subscription, cursors: self.many(Self::snapshot_cursor)? }
            }
            44 | 75 => {
                let (stream, sequence) = (self.stream()?, self.sequence()?);
                let mut slot = Box::new(self.slot()?);
                slot.tried_since = if kind == 75 { Some(self.time()?) } else { None };
                Part::Slot { stream, sequence, slot }
            }
            74 => Part::Outage { at: self.time()?, pool: self.text()?.into() },
            45 => Part::Stream(SnapshotStream {
                stream: self.stream()?,
                name: self.stream_name()?,
                next: self.sequence()?,
                released: self.sequence()?,
                skips: self.u32("skips")?,
                paused: self.flag()?,
                head_since: self.time()?,
            }),
            46 => Part::Subscription(SnapshotSubscription {
                subscription: SubscriptionId(self.u32("subscription")?),
                name: self.text()?,
                plan: Arc::new(self.plan()?),
                revision: self.u32("revision")?,
                pulled: self.position()?,
                paused: if self.flag()? { Some(self.pause()?) } else { None },
                scan: if self.flag()? { Some(self.position()?) } else { None },
                replay_until: self.position()?,
            }),
            83 => Part::More(SnapshotSubscriptionMore {
                subscription: SubscriptionId(self.u32("subscription")?),
                generation: self.u32("generation")?,
                headers: self.many(Self::text)?.into(),
                passed_over: self.many(|fields| Ok((fields.stream()?, fields.sequence()?)))?,
            }),
            84 => {
                let subscription = SubscriptionId(self.u32("subscription")?);
                let batches = self.many(|fields| Ok((fields.stream()?, fields.batching()?)))?;
                Part::Batches { subscription, batches }
            }
            _ => return Err("kind"),
        })
    }

    fn snapshot_key(&mut self) -> Read<SnapshotKey> {
        let (sequence, id) = (self.sequence()?, self.id()?);
        Ok(SnapshotKey { sequence, id, digest: self.digest()?, fingerprint: self.digest()? })
    }

    fn snapshot_cursor(&mut self) -> Read<SnapshotCursor> {
        Ok(SnapshotCursor {
            stream: self.stream()?,
            next: self.sequence()?,
            last: self.sequence()?,
            floor: self.position()?,
        })
    }

    fn slot(&mut self) -> Read<SnapshotSlot> {
        Ok(SnapshotSlot {
            state: match self.u8("state")? {
                1 => SnapshotSlotState::Done { skipped: self.flag()? },
                2 => SnapshotSlotState::Idle,
                3 => {
                    let (head, at) = (self.head()?, self.time()?);
                    SnapshotSlotState::Parked {
                        head,
                        at,
                        cause: self.cause()?,
                        reason: self.text()?,
                    }
                }
                4 => SnapshotSlotState::Waiting { due: self.time()? },
                _ => return Err("state"),
            },
            known: if self.flag()? { Some(self.head()?) } else { None },
            failures: self.u32("failures")?,
            manual: self.flag()?,
            refused_by: if self.flag()? { Some(self.text()?.into()) } else { None },
            tried: self.many(|fields| Ok(fields.text()?.into()))?,
            history: self.many(|fields| Ok(fields.report()?.into()))?,
            deaths: self.many(|fields| Ok(fields.text()?.into()))?,
            tried_since: None,
        })
    }

    fn sequence(&mut self) -> Read<Sequence> {
        self.u64("sequence").map(Sequence)
    }

    fn digest(&mut self) -> Read<[u8; 16]> {
        let mut digest = [0; 16];
        self.0.try_copy_to_slice(&mut digest).map_err(|_| "digest")?;
        Ok(digest)
    }

    fn flag(&mut self) -> Read<bool> {
        match self.u8("flag")? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err("flag"),
        }
    }
}
