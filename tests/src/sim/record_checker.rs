//! A second, plain reading of the records that the engine writes: what is durable, and whether
//! retries are numbered and timed as the ladder says.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use rollcall_common::{
    ids::{Sequence, StreamId, StreamName},
    time::Time,
};
use rollcall_supervisor::{
    dispatcher::{Dispatch, Settings},
    journal::EntryNumber,
    record::{
        Answer, AttemptReport, Outcome, ParkCause, Reason, Record, SubscriptionId, codec::decode,
        snapshot::SnapshotPart,
    },
};

use super::{
    api_subscriptions::known_as,
    beside,
    coverage::{Coverage, Something},
};
use crate::oracle::{Invariant, Place, Seen, Violation};

/// What the records say of a message.
#[derive(Clone, Debug, Default)]
struct Entry {
    failures: u32,
    due: Option<Time>,
    parked: bool,
    answered: bool,
}

/// What the records say.
#[derive(Clone, Debug, Default)]
pub(super) struct RecordChecker {
    streams: Vec<StreamName>,
    subscriptions: BTreeMap<u32, Arc<str>>,
    /// The subscriptions' lives, as far as they are durable.
    lives: BTreeMap<u32, u32>,
    messages: BTreeMap<(u32, u64), Entry>,
    arrivals: BTreeMap<(u32, u64), (u128, Bytes)>,
    unsynced: VecDeque<(EntryNumber, Vec<Record>)>,
    /// Every entry, and up to which they are durable.
    archive: Vec<Bytes>,
    synced: usize,
    /// Batches that are fixed, and their streams' last sequence that is done: by subscription and
    /// stream.
    batches: BTreeMap<(u32, u32), u64>,
    /// Messages that were ever parked.
    pub(super) parked: BTreeSet<Place>,
}

fn broken<T>(invariant: Invariant, detail: String) -> Result<T, Violation> {
    Err(Violation { invariant, detail })
}

impl RecordChecker {
    /// Takes in an entry that was appended.
    pub(super) fn appended(
        &mut self,
        (number, payload): (EntryNumber, Bytes),
        settings: &Settings,
        sometimes: &mut Coverage,
    ) -> Result<(), Violation> {
        if number.0 != self.archive.len() as u64 + 1 {
            return broken(Invariant::I4, format!("entry {number} is out of order"));
        }
        self.archive.push(payload.clone());
        let records = decode(&payload)
            .map_err(|error| Violation { invariant: Invariant::I3, detail: error.to_string() })?;
        for record in &records {
            self.fold(record, settings, sometimes)?;
            self.fold_batches(record, sometimes)?;
        }
        self.unsynced.push_back((number, records));
        Ok(())
    }

    /// Whether something is not yet durable.
    #[must_use]
    pub(super) fn is_behind(&self) -> bool {
        !self.unsynced.is_empty()
    }

    /// Whether anything is durable.
    #[must_use]
    pub(super) fn has_durable(&self) -> bool {
        self.synced > 0
    }

    /// Takes in that all before `next` is durable; gives back what that says.
    pub(super) fn synced(&mut self, next: EntryNumber, seen: &mut Vec<(Seen, Option<Arc<str>>)>) {
        while let Some((_, records)) = self.unsynced.pop_front_if(|(number, _)| *number < next) {
            self.synced += 1;
            for record in &records {
                self.tell(record, seen);
            }
        }
    }

    /// The first `count` entries: what a journal that was trimmed no longer has.
    #[must_use]
    pub(super) fn archived(&self, count: u64) -> Vec<(EntryNumber, Bytes)> {
        let numbered = (1..=count).map(EntryNumber).zip(&self.archive);
        numbered.map(|(number, payload)| (number, payload.clone())).collect()
    }

    /// Checks that what was durable before a crash is what `self` was recovered from.
    pub(super) fn follows(&self, before: &Self) -> Result<(), Violation> {
        let kept = before.archive.iter().take(before.synced);
        let same = self.archive.len() >= before.synced
            && kept.zip(&self.archive).all(|(before, after)| before == after);
        if same {
            Ok(())
        } else {
            let (had, has) = (before.synced, self.archive.len());
            broken(
                Invariant::I1,
                format!("{had} entries were durable, {has} came back, not the same ones"),
            )
        }
    }

    /// Whether a retry is due after `now`.
    #[must_use]
    pub(super) fn has_due_after(&self, now: Time) -> bool {
        let mut all = self.messages.values();
        all.any(|entry| !entry.answered && !entry.parked && entry.due > Some(now))
    }

    /// Checks an attempt that goes out.
    pub(super) fn check_dispatch(
        &self,
        dispatch: &Dispatch,
        now: Time,
        settings: &Settings,
    ) -> Result<(), Violation> {
        let key = (dispatch.stream.0, dispatch.sequence.0);
        let entry = self.messages.get(&key).cloned().unwrap_or_default();
        let place = self.place(dispatch.stream, dispatch.sequence);
        if dispatch.number != entry.failures + 1 {
            let (number, failures) = (dispatch.number, entry.failures);
            return broken(
                Invariant::I9,
                format!("{place:?}: attempt {number} after {failures} failures"),
            );
        }
        if entry.due.is_some_and(|due| now < due) {
            let due = entry.due;
            return broken(
                Invariant::I9,
                format!("{place:?}: attempt {} is due at {due:?}, now is {now:?}", dispatch.number),
            );
        }
        let Some(name) = self.streams.get(dispatch.stream.0 as usize) else {
            return broken(Invariant::I4, format!("{place:?}: no such stream"));
        };
        let timeout = settings.stream(name).ladder.timeout_after(entry.failures);
        // A copy shares the deadline of the attempt that it is one of.
        let copy = dispatch.reason == Reason::Hedge && dispatch.timeout < timeout;
        // A probe has no more than the longest wait between two of them.
        let first = settings.stream(name).ladder.timeout;
        let probe = timeout.min(first.max(Duration::from_secs(15))) == dispatch.timeout;
        if copy || probe || timeout == dispatch.timeout {
            Ok(())
        } else {
            broken(
                Invariant::I9,
                format!("{place:?}: has {:?}, should have {timeout:?}", dispatch.timeout),
            )
        }
    }

    /// A message's place, as the outside names it.
    #[must_use]
    pub(super) fn place(&self, stream: StreamId, sequence: Sequence) -> Place {
        let name = self.streams.get(stream.0 as usize);
        (name.map_or("?", StreamName::as_str).into(), sequence.0)
    }

    fn fold(
        &mut self,
        record: &Record,
        settings: &Settings,
        sometimes: &mut Coverage,
    ) -> Result<(), Violation> {
        match record {
            Record::Answered { stream, sequence, answer, .. } => {
                self.fold_answer((*stream, *sequence), answer, settings, sometimes);
            }
            Record::Failed { stream, sequence, due, report } => {
                let place = (*stream, *sequence);
                return self.fold_failure(place, (*due, report), settings, sometimes);
            }
            Record::StreamCreated { name, .. } => self.streams.push(name.clone()),
            Record::Parked { stream, sequence, cause, .. } => {
                sometimes.note(match cause {
                    ParkCause::Asked => Something::ParkedByWord,
                    ParkCause::Exhausted => Something::Parked,
                    ParkCause::Poison => Something::PoisonParked,
                    ParkCause::Refused => Something::Refused,
                });
                let place = self.place(*stream, *sequence);
                self.parked.insert(place);
                let entry = self.message(*stream, *sequence);
                entry.parked = true;
                entry.due = None;
            }
            Record::Retried { stream, sequence, .. } => {
                *self.message(*stream, *sequence) = Entry::default();
            }
            Record::Subscribed { subscription, name, .. } => {
                self.subscriptions.insert(subscription.0, known_as(name, *subscription));
            }
            Record::Accepted { stream, sequence, message, .. } => {
                let content = (message.id.0.as_u128(), beside::of_message(message));
                self.arrivals.insert((stream.0, sequence.0), content);
            }
            Record::Snapshot(SnapshotPart::Ended { .. }) => sometimes.note(Something::Snapshot),
            Record::Copied { .. } => sometimes.note(Something::CopiedMessage),
            Record::CopiedResult { .. } => sometimes.note(Something::CopiedResult),
            Record::Alert(_)
            | Record::SubscriptionConfigured { .. }
            | Record::Audited(_)
            | Record::Batched { .. }
            | Record::Checkpointed { .. }
            | Record::Snapshot(_)
            | Record::Delivered { .. }
            | Record::OutageBegan { .. }
            | Record::OutageEnded { .. }
            | Record::PassedThrough { .. }
            | Record::PassedOver { .. }
            | Record::Paused { .. }
            | Record::Resumed { .. }
            | Record::Rewound { .. }
            | Record::Scanned { .. }
            | Record::Started { .. }
            | Record::SubscriptionPaused { .. }
            | Record::SubscriptionResumed { .. }
            | Record::Trimmed { .. }
            | Record::Unsubscribed { .. } => {}
            Record::WorkerDied { .. } => sometimes.note(Something::Suspected),
        }
        Ok(())
    }

    /// Batches are fixed once.
    fn fold_batches(&mut self, record: &Record, sometimes: &mut Coverage) -> Result<(), Violation> {
        if let Record::PassedOver { .. } = record {
            sometimes.note(Something::PassedOver);
        } else if let Record::Batched { subscription, stream, batching } = record {
            let key = (subscription.0, stream.0);
            if let Some(before) = self.batches.insert(key, batching.through.0) {
                let text = format!("{key:?}: {batching:?}, and {before} is not reached");
                return broken(Invariant::I3, text);
            }
        } else if let Record::Delivered { subscription, stream, through, .. } = record {
            let key = (subscription.0, stream.0);
            self.batches.retain(|other, last| *other != key || *last > through.0);
        } else if let Record::SubscriptionConfigured { subscription, .. }
        | Record::Rewound { subscription, .. }
        | Record::Unsubscribed { subscription } = record
        {
            // Their cursors may be others now.
            self.batches.retain(|(other, _), _| *other != subscription.0);
        }
        Ok(())
    }

    fn fold_answer(
        &mut self,
        (stream, sequence): (StreamId, Sequence),
        answer: &Answer,
        settings: &Settings,
        sometimes: &mut Coverage,
    ) {
        let ladder = self.streams.get(stream.0 as usize).map(|name| settings.stream(name).ladder);
        let entry = self.message(stream, sequence);
        entry.answered = true;
        if answer.outcome != Outcome::Completed {
            return;
        }
        if let (Some(report), Some(ladder)) = (answer.history.last(), ladder) {
            let took = report.ended_at.since(report.started_at);
            if took > ladder.timeout_after(report.attempt - 1) {
                sometimes.note(Something::LateAccepted);
                if entry.parked {
                    sometimes.note(Something::LateResolves);
                }
            }
        }
    }

    fn fold_failure(
        &mut self,
        (stream, sequence): (StreamId, Sequence),
        (due, report): (Time, &AttemptReport),
        settings: &Settings,
        sometimes: &mut Coverage,
    ) -> Result<(), Violation> {
        let place = self.place(stream, sequence);
        let name = self.streams.get(stream.0 as usize);
        let ladder = name.map(|name| settings.stream(name).ladder);
        let entry = self.message(stream, sequence);
        if report.attempt != entry.failures + 1 || entry.answered || entry.parked {
            return broken(
                Invariant::I9,
                format!("{place:?}: {report:?} does not follow {entry:?}"),
            );
        }
        entry.failures = report.attempt;
        entry.due = Some(due);
        let Some(ladder) = ladder else { return Ok(()) };
        let mut bound = ladder.jitter.as_micros();
        for _ in 1..report.attempt {
            bound = bound * u128::from(ladder.multiplier_permille) / 1000;
        }
        let bound = bound.min(ladder.max_delay.max(ladder.jitter).as_micros());
        let wait = due.since(report.ended_at).as_micros();
        if due < report.ended_at || (wait > 0 && wait >= bound) {
            return broken(
                Invariant::I9,
                format!("{place:?}: waits {wait} µs of {bound} after {report:?}"),
            );
        }
        if wait * 4 > bound * 3 {
            sometimes.note(Something::LongWait);
        } else if wait * 4 < bound {
            sometimes.note(Something::ShortWait);
        }
        Ok(())
    }

    fn message(&mut self, stream: StreamId, sequence: Sequence) -> &mut Entry {
        self.messages.entry((stream.0, sequence.0)).or_default()
    }

    /// How often a subscription's senders were called back.
    pub(super) fn revision(&self, id: SubscriptionId) -> u32 {
        self.lives.get(&id.0).copied().unwrap_or_default()
    }

    fn tell_rewound(&mut self, number: u32, after: u64) -> Option<(Seen, Option<Arc<str>>)> {
        let revision = self.lives.entry(number).or_default();
        *revision += 1;
        let name = Arc::clone(self.subscriptions.get(&number)?);
        let subscription = Arc::clone(&name);
        Some((Seen::Rewound { subscription, after, head: 0, revision: *revision }, Some(name)))
    }

    /// With patterns for streams yet, and without the head.
    fn tell_subscribed(
        &self,
        id: SubscriptionId,
        patterns: &[Box<str>],
        after: u64,
    ) -> Option<(Seen, Option<Arc<str>>)> {
        let name = Arc::clone(self.subscriptions.get(&id.0)?);
        let (subscription, streams) = (Arc::clone(&name), texts(patterns));
        Some((Seen::Subscribed { subscription, streams, after, head: 0 }, Some(name)))
    }

    /// The same.
    fn tell_arranged(
        &mut self,
        id: SubscriptionId,
        patterns: &[Box<str>],
    ) -> Option<(Seen, Option<Arc<str>>)> {
        let revision = self.lives.entry(id.0).or_default();
        *revision += 1;
        let name = Arc::clone(self.subscriptions.get(&id.0)?);
        let (subscription, streams) = (Arc::clone(&name), texts(patterns));
        Some((Seen::Arranged { subscription, streams, head: 0, revision: *revision }, Some(name)))
    }

    fn tell_passed_over(
        &mut self,
        id: SubscriptionId,
        (stream, sequence): (StreamId, Sequence),
    ) -> Option<(Seen, Option<Arc<str>>)> {
        *self.lives.entry(id.0).or_default() += 1;
        let subscription = Arc::clone(self.subscriptions.get(&id.0)?);
        let place = self.place(stream, sequence);
        Some((Seen::PassedOver { subscription, place }, None))
    }

    fn tell_taken(
        &self,
        id: SubscriptionId,
        (stream, through): (StreamId, Sequence),
    ) -> Option<(Seen, Option<Arc<str>>)> {
        let subscription = Arc::clone(self.subscriptions.get(&id.0)?);
        let through = self.place(stream, through);
        Some((Seen::Taken { subscription, through }, None))
    }

    fn tell(&mut self, record: &Record, seen: &mut Vec<(Seen, Option<Arc<str>>)>) {
        match record {
            Record::SubscriptionConfigured { subscription, plan } => {
                seen.extend(self.tell_arranged(*subscription, &plan.streams));
            }
            Record::PassedOver { subscription, stream, sequence, .. } => {
                seen.extend(self.tell_passed_over(*subscription, (*stream, *sequence)));
            }
            Record::SubscriptionPaused { subscription, .. } => {
                *self.lives.entry(subscription.0).or_default() += 1;
            }
            Record::Rewound { subscription, to } => {
                seen.extend(self.tell_rewound(subscription.0, to.0));
            }
            Record::Accepted { stream, sequence, .. } => {
                seen.push((Seen::DurableArrival { place: self.place(*stream, *sequence) }, None));
            }
            Record::Answered { stream, sequence, .. } => {
                seen.push((Seen::DurableResult { place: self.place(*stream, *sequence) }, None));
            }
            Record::PassedThrough { stream, first, last, .. } => {
                for sequence in first.0..=last.0 {
                    // It is its own result.
                    if let Some((id, body)) = self.arrivals.get(&(stream.0, sequence)).cloned() {
                        seen.push((Seen::Offered { id, body }, None));
                    }
                    let place = self.place(*stream, Sequence(sequence));
                    seen.push((Seen::DurableResult { place }, None));
                }
            }
            Record::Delivered { subscription, stream, through, .. } => {
                seen.extend(self.tell_taken(*subscription, (*stream, *through)));
            }
            Record::Subscribed { subscription, streams, after, .. } => {
                seen.extend(self.tell_subscribed(*subscription, streams, after.0));
            }
            Record::Alert(_)
            | Record::Audited(_)
            | Record::Batched { .. }
            | Record::Checkpointed { .. }
            | Record::Snapshot(_)
            | Record::Copied { .. }
            | Record::CopiedResult { .. }
            | Record::Failed { .. }
            | Record::StreamCreated { .. }
            | Record::OutageBegan { .. }
            | Record::OutageEnded { .. }
            | Record::Parked { .. }
            | Record::Paused { .. }
            | Record::Resumed { .. }
            | Record::Retried { .. }
            | Record::Scanned { .. }
            | Record::Started { .. }
            | Record::WorkerDied { .. }
            | Record::SubscriptionResumed { .. }
            | Record::Trimmed { .. } => {}
            Record::Unsubscribed { subscription } => {
                if let Some(name) = self.subscriptions.get(&subscription.0).cloned() {
                    seen.push((Seen::Unsubscribed { subscription: Arc::clone(&name) }, Some(name)));
                }
            }
        }
    }
}

fn texts(patterns: &[Box<str>]) -> BTreeSet<Arc<str>> {
    patterns.iter().map(|text| Arc::from(&**text)).collect()
}
