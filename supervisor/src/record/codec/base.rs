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
    base::{
        Base, BaseKey, BaseLane, BaseMore, BaseSlot, BaseState, BaseStream, BaseSubscription, Begun,
    },
};

/// The kinds of parts: 40 to 46, 60 to 64, 74 and 75, 83 and 84.
pub(super) const KINDS: [std::ops::RangeInclusive<u8>; 4] = [40..=46, 60..=64, 74..=75, 83..=84];
/// How far the kinds of an alert's records lie behind those that they have by themselves.
const ALERT_SHIFT: u8 = 40;

impl Writer<'_> {
    /// Writes a part's fields; gives back its kind.
    pub(super) fn base(&mut self, base: &Base) -> u8 {
        match base {
            Base::Alert(record) => self.alert(record) + ALERT_SHIFT,
            Base::Audit(audit) => self.audit(audit).kind(64),
            Base::Batches { subscription, batches } => {
                self.subscription(*subscription).length(batches.len());
                for (stream, batching) in batches {
                    self.u32(stream.0).batching(*batching);
                }
                self.kind(84)
            }
            Base::Begun(begun) => {
                let Begun { last, down, head, next_subscription, last_alert } = *begun;
                self.time(last).u64(down).position(head);
                self.u32(next_subscription).u64(last_alert).kind(40)
            }
            Base::Ended { streams, parts } => self.u32(*streams).u64(*parts).kind(41),
            Base::Keys { stream, keys } => {
                self.u32(stream.0).length(keys.len());
                for BaseKey { sequence, id, digest, fingerprint } in keys {
                    self.u64(sequence.0).0.put_slice(id.0.as_bytes());
                    self.0.put_slice(digest);
                    self.0.put_slice(fingerprint);
                }
                self.kind(42)
            }
            Base::Lanes { subscription, lanes } => {
                self.subscription(*subscription).length(lanes.len());
                for BaseLane { stream, next, last, floor } in lanes {
                    self.u32(stream.0).u64(next.0).u64(last.0).position(*floor);
                }
                self.kind(43)
            }
            Base::More(BaseMore { subscription, generation, headers, passed_over }) => {
                self.subscription(*subscription).u32(*generation).texts(headers);
                self.length(passed_over.len());
                for (stream, sequence) in passed_over {
                    self.u32(stream.0).u64(sequence.0);
                }
                self.kind(83)
            }
            Base::Outage { pool, at } => self.time(*at).text(pool).kind(74),
            Base::Slot { stream, sequence, slot } => {
                self.u32(stream.0).u64(sequence.0).slot(slot);
                slot.tried_since.map_or(44, |since| self.time(since).kind(75))
            }
            Base::Stream(BaseStream {
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
            Base::Subscription(subscription) => self.base_subscription(subscription).kind(46),
        }
    }

    fn base_subscription(&mut self, base: &BaseSubscription) -> &mut Self {
        let BaseSubscription { subscription, name, plan, life, .. } = base;
        let BaseSubscription { pulled, paused, scan, replay_until, .. } = base;
        self.subscription(*subscription).text(name).plan(plan).u32(*life).position(*pulled);
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

    fn slot(&mut self, slot: &BaseSlot) -> &mut Self {
        let BaseSlot { state, known, failures, manual, refused_by, tried, history, deaths, .. } =
            slot;
        match state {
            BaseState::Done { skipped } => self.byte(1).flag(*skipped),
            BaseState::Idle => self.byte(2),
            BaseState::Parked { head, at, cause, reason } => {
                self.byte(3).head(*head).time(*at).cause(*cause).text(reason)
            }
            BaseState::Waiting { due } => self.byte(4).time(*due),
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
    pub(super) fn base(&mut self, kind: u8) -> Read<Base> {
        Ok(match kind {
            60..=63 => Base::Alert(self.alert_record(kind - ALERT_SHIFT)?),
            64 => Base::Audit(self.audit()?),
            40 => Base::Begun(Begun {
                last: self.time()?,
                down: self.u64("down")?,
                head: self.position()?,
                next_subscription: self.u32("subscription")?,
                last_alert: self.u64("alert")?,
            }),
            41 => Base::Ended { streams: self.u32("count")?, parts: self.u64("count")? },
            42 => Base::Keys { stream: self.stream()?, keys: self.many(Self::base_key)? },
            43 => {
                let subscription = SubscriptionId(self.u32("subscription")?);
                Base::Lanes { subscription, lanes: self.many(Self::base_lane)? }
            }
            44 | 75 => {
                let (stream, sequence) = (self.stream()?, self.sequence()?);
                let mut slot = Box::new(self.slot()?);
                slot.tried_since = if kind == 75 { Some(self.time()?) } else { None };
                Base::Slot { stream, sequence, slot }
            }
            74 => Base::Outage { at: self.time()?, pool: self.text()?.into() },
            45 => Base::Stream(BaseStream {
                stream: self.stream()?,
                name: self.stream_name()?,
                next: self.sequence()?,
                released: self.sequence()?,
                skips: self.u32("skips")?,
                paused: self.flag()?,
                head_since: self.time()?,
            }),
            46 => Base::Subscription(BaseSubscription {
                subscription: SubscriptionId(self.u32("subscription")?),
                name: self.text()?,
                plan: Arc::new(self.plan()?),
                life: self.u32("life")?,
                pulled: self.position()?,
                paused: if self.flag()? { Some(self.pause()?) } else { None },
                scan: if self.flag()? { Some(self.position()?) } else { None },
                replay_until: self.position()?,
            }),
            83 => Base::More(BaseMore {
                subscription: SubscriptionId(self.u32("subscription")?),
                generation: self.u32("generation")?,
                headers: self.many(Self::text)?.into(),
                passed_over: self.many(|fields| Ok((fields.stream()?, fields.sequence()?)))?,
            }),
            84 => {
                let subscription = SubscriptionId(self.u32("subscription")?);
                let batches = self.many(|fields| Ok((fields.stream()?, fields.batching()?)))?;
                Base::Batches { subscription, batches }
            }
            _ => return Err("kind"),
        })
    }

    fn base_key(&mut self) -> Read<BaseKey> {
        let (sequence, id) = (self.sequence()?, self.id()?);
        Ok(BaseKey { sequence, id, digest: self.digest()?, fingerprint: self.digest()? })
    }

    fn base_lane(&mut self) -> Read<BaseLane> {
        Ok(BaseLane {
            stream: self.stream()?,
            next: self.sequence()?,
            last: self.sequence()?,
            floor: self.position()?,
        })
    }

    fn slot(&mut self) -> Read<BaseSlot> {
        Ok(BaseSlot {
            state: match self.u8("state")? {
                1 => BaseState::Done { skipped: self.flag()? },
                2 => BaseState::Idle,
                3 => {
                    let (head, at) = (self.head()?, self.time()?);
                    BaseState::Parked { head, at, cause: self.cause()?, reason: self.text()? }
                }
                4 => BaseState::Waiting { due: self.time()? },
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
