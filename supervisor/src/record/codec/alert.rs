//! The bytes of what the journal says of alerts.

use bytes::BufMut as _;
use rollcall_common::ids::Sequence;

use super::{
    read::{Fields, Read},
    write::Writer,
};
use crate::record::{AlertId, AlertRecord, AlertStage, Severity, Subject, SubscriptionId};

impl Writer<'_> {
    /// Writes an alert's record; gives back its kind.
    pub(super) fn alert(&mut self, record: &AlertRecord) -> u8 {
        match record {
            AlertRecord::Acknowledged { alert, at, by } => {
                self.u64(alert.0).time(*at).text(by).kind(20)
            }
            AlertRecord::Raised { alert, at, subject, severity, count, detail } => self
                .u64(alert.0)
                .time(*at)
                .severity(*severity)
                .u32(*count)
                .text(detail)
                .subject(subject)
                .kind(21),
            AlertRecord::Resolved { alert, at } => self.u64(alert.0).time(*at).kind(22),
            AlertRecord::Told { alert, at, target, severity, stage, taken } => self
                .u64(alert.0)
                .time(*at)
                .severity(*severity)
                .stage(*stage)
                .u32(u32::from(*taken))
                .text(target)
                .kind(23),
        }
    }

    fn severity(&mut self, severity: Severity) -> &mut Self {
        self.0.put_u8(match severity {
            Severity::Info => 1,
            Severity::Warning => 2,
            Severity::Error => 3,
            Severity::Critical => 4,
        });
        self
    }

    fn stage(&mut self, stage: AlertStage) -> &mut Self {
        self.0.put_u8(match stage {
            AlertStage::Firing => 1,
            AlertStage::Acknowledged => 2,
            AlertStage::Resolved => 3,
        });
        self
    }

    fn subject(&mut self, subject: &Subject) -> &mut Self {
        let tag = match subject {
            Subject::AnswersDiverge(_) => 1,
            Subject::Destination(_) => 2,
            Subject::Disk => 3,
            Subject::Flood => 4,
            Subject::Gap(_) => 5,
            Subject::Held(_) => 6,
            Subject::Lag(_) => 7,
            Subject::Message(..) => 8,
            Subject::Poison(..) => 9,
            Subject::Pool(_) => 10,
            Subject::Worker(_) => 11,
            Subject::Outage(_) => 72,
            Subject::Unreachable(_) => 73,
            Subject::Parked(_) => 90,
            Subject::Storm => 91,
            Subject::HeldFlood => 60,
        };
        self.0.put_u8(tag);
        match subject {
            Subject::AnswersDiverge(stream) | Subject::Held(stream) | Subject::Parked(stream) => {
                self.u32(stream.0)
            }
            Subject::Destination(subscription)
            | Subject::Gap(subscription)
            | Subject::Lag(subscription) => self.u32(subscription.0),
            Subject::Disk | Subject::Flood | Subject::HeldFlood | Subject::Storm => self,
            Subject::Message(stream, sequence) | Subject::Poison(stream, sequence) => {
                self.u32(stream.0).u64(sequence.0)
            }
            Subject::Outage(name)
            | Subject::Pool(name)
            | Subject::Unreachable(name)
            | Subject::Worker(name) => self.text(name),
        }
    }
}

impl Fields {
    /// Reads an alert's record of this kind.
    pub(super) fn alert_record(&mut self, kind: u8) -> Read<AlertRecord> {
        let (alert, at) = (AlertId(self.u64("alert")?), self.time()?);
        Ok(match kind {
            20 => AlertRecord::Acknowledged { alert, at, by: self.text()? },
            21 => {
                let (severity, count) = (self.severity()?, self.u32("count")?);
                let detail = self.text()?;
                AlertRecord::Raised { alert, at, subject: self.subject()?, severity, count, detail }
            }
            22 => AlertRecord::Resolved { alert, at },
            23 => {
                let (severity, stage) = (self.severity()?, self.stage()?);
                let taken = match self.u32("taken")? {
                    0 => false,
                    1 => true,
                    _ => return Err("taken"),
                };
                let target = self.text()?.into();
                AlertRecord::Told { alert, at, target, severity, stage, taken }
            }
            _ => return Err("kind"),
        })
    }

    fn severity(&mut self) -> Read<Severity> {
        Ok(match self.u8("severity")? {
            1 => Severity::Info,
            2 => Severity::Warning,
            3 => Severity::Error,
            4 => Severity::Critical,
            _ => return Err("severity"),
        })
    }

    fn stage(&mut self) -> Read<AlertStage> {
        Ok(match self.u8("stage")? {
            1 => AlertStage::Firing,
            2 => AlertStage::Acknowledged,
            3 => AlertStage::Resolved,
            _ => return Err("stage"),
        })
    }

    fn subject(&mut self) -> Read<Subject> {
        Ok(match self.u8("subject")? {
            1 => Subject::AnswersDiverge(self.stream()?),
            2 => Subject::Destination(self.subscription()?),
            3 => Subject::Disk,
            4 => Subject::Flood,
            5 => Subject::Gap(self.subscription()?),
            6 => Subject::Held(self.stream()?),
            7 => Subject::Lag(self.subscription()?),
            8 => Subject::Message(self.stream()?, Sequence(self.u64("sequence")?)),
            9 => Subject::Poison(self.stream()?, Sequence(self.u64("sequence")?)),
            10 => Subject::Pool(self.text()?.into()),
            11 => Subject::Worker(self.text()?.into()),
            72 => Subject::Outage(self.text()?.into()),
            73 => Subject::Unreachable(self.text()?.into()),
            90 => Subject::Parked(self.stream()?),
            91 => Subject::Storm,
            60 => Subject::HeldFlood,
            _ => return Err("subject"),
        })
    }

    fn subscription(&mut self) -> Read<SubscriptionId> {
        self.u32("subscription").map(SubscriptionId)
    }
}
