//! Readers of pull subscriptions: they read after the checkpoint, and move it when they have
//! worked on what they read.

use std::{sync::Arc, time::Duration};

use rollcall_common::ids::Position;
use rollcall_supervisor::{
    api::subscription_feed::FilteredFeed,
    dispatcher::{RequestId, SubscriptionStatus, event::Order},
    record::{DeliveryMode, SubscriptionId},
    views::ReadFailed,
};

use super::{
    api_subscriptions::{is_read, known_as},
    coverage::Something,
    destinations::unreadable,
    world::{Halt, Step, What, World},
};
use crate::oracle::{Invariant, Violation};

/// A reader, as far as it knows.
#[derive(Debug, Default)]
pub(super) struct Reader {
    /// The life of the subscription that the rest is about.
    revision: u32,
    /// The checkpoint that is known to be kept.
    kept: u64,
    /// The furthest one that was asked for.
    asked: u64,
    /// What was asked for and not answered.
    open: Option<(RequestId, u32, u64)>,
    /// The process that it read from.
    process: u32,
    /// The furthest that it ever worked on, for sure, in whichever life: what is not beyond comes
    /// as a replay, or not at all.
    worked: u64,
}

impl World {
    /// All readers read.
    pub(super) fn pull(&mut self) -> Step {
        let next = self.within(Duration::from_secs(4));
        self.after(next + Duration::from_millis(50), What::Pull);
        let Some(server) = &self.server else {
            return Ok(());
        };
        let dispatcher = server.engine.dispatcher();
        let head = server.views.head().borrow().0;
        let all = dispatcher.state().subscription_names();
        let all = all.filter_map(|(id, _)| Some((id, dispatcher.subscription_status(id)?)));
        let pulled: Vec<_> =
            all.filter(|(_, status)| status.plan.way == DeliveryMode::Pull).collect();
        for (id, status) in pulled {
            let (name, checkpoint) = (known_as(&status.name, id), status.checkpoint.0);
            self.look_at_checkpoint(&name, checkpoint, status.revision)?;
            let to = self.read_page((&name, id), &status)?.min(head);
            if to <= checkpoint {
                continue;
            }
            let told = &status.name;
            let request = self.say((**told).into(), Order::Checkpoint(Position(to)));
            self.note(Something::Pulled);
            let reader = self.readers.entry(name).or_default();
            reader.asked = reader.asked.max(to);
            reader.open = request.map(|request| (request, status.revision, to));
        }
        Ok(())
    }

    /// Reads a page after the checkpoint, as the API does: what is wanted of all that was released,
    /// with no hole, and marked if it is from before the subscription's beginning. Gives back the
    /// position to which it was worked on.
    fn read_page(
        &mut self,
        (name, id): (&Arc<str>, SubscriptionId),
        status: &SubscriptionStatus,
    ) -> Result<u64, Halt> {
        let limit = if self.healed { usize::MAX } else { self.rng.usize(1..20) };
        let Some(server) = &self.server else { return Ok(0) };
        let broken = |detail| Halt::from(Violation { invariant: Invariant::I2, detail });
        let reading = FilteredFeed::of(id, status);
        let after = status.checkpoint;
        let looked = match reading.look(&server.views, after, limit) {
            // What the checkpoint rests on is not published yet, or was trimmed.
            Err(ReadFailed::Gone { first }) => {
                return Err(broken(format!("{name} at {after}: kept from {first} on")));
            }
            looked => looked.map_err(|error| unreadable(&error))?,
        };
        if let Some(gap) = looked.gap {
            return Err(broken(format!("{name} after {after}: {gap:?}")));
        }
        let span = usize::try_from(looked.to.0.saturating_sub(after.0)).unwrap_or_default();
        let all = server.views.results(after, span, usize::MAX);
        let all = all.map_err(|error| unreadable(&error))?;
        let streams =
            self.streams_among(&status.plan.streams.iter().map(|s| (**s).into()).collect());
        let wanted = all.iter().filter(|one| streams.contains(one.stream.as_str()));
        let wanted: Vec<_> = wanted.map(|one| one.position).collect();
        let read: Vec<_> = looked.results.iter().map(|one| one.position).collect();
        if wanted != read || all.len() != span {
            let detail = format!("{name} after {after}: {wanted:?} are wanted, {read:?} come");
            return Err(broken(detail));
        }
        for (position, result) in (after.0 + 1..).zip(&all) {
            if result.position.0 != position {
                return Err(broken(format!("{name}: {position} is missing")));
            }
            self.see_result(result)?;
        }
        self.check_marks((name, id), status, &read)?;
        // It may do less than it read.
        let part = !self.healed && self.rng.bool();
        Ok(if part {
            after.0 + self.rng.u64(..=looked.to.0.saturating_sub(after.0))
        } else {
            looked.to.0
        })
    }

    /// What is from before its beginning is marked, and so is what was worked on before.
    fn check_marks(
        &mut self,
        (name, id): (&Arc<str>, SubscriptionId),
        status: &SubscriptionStatus,
        read: &[Position],
    ) -> Step {
        let until = self.marks.replay_until(id, status.revision);
        let worked = self.readers.get(name).map_or(0, |reader| reader.worked);
        for position in read {
            let replay = *position <= status.replay_until;
            if Some(replay) != until.map(|until| position.0 <= until) {
                let detail = format!("{name}: {position} has replay {replay}, marks to {until:?}");
                return Err(Violation { invariant: Invariant::I2, detail }.into());
            }
            if !replay && position.0 <= worked {
                let detail = format!("{name}: {position} comes again, and is not marked");
                return Err(Violation { invariant: Invariant::I2, detail }.into());
            }
            if replay {
                self.note(Something::PulledReplay);
            }
        }
        Ok(())
    }

    /// Whether a subscription has a reader.
    pub(super) fn is_pulled(&self, name: &str) -> bool {
        is_read(name)
            || self.scenario.subscriptions.iter().any(|plan| plan.pulled && &*plan.name == name)
    }

    /// What was kept stays, and nobody but the reader moves it; until it is rewound.
    fn look_at_checkpoint(&mut self, name: &Arc<str>, checkpoint: u64, revision: u32) -> Step {
        let process = self.incarnation;
        let reader = self.readers.entry(Arc::clone(name)).or_default();
        // What nobody was told of may not have survived: a subscription begins anew.
        let anew = reader.process != process && reader.kept == 0;
        if reader.revision != revision || anew {
            let (changed, worked) = (reader.kept > 0 && !anew, reader.worked);
            *reader = Reader { revision, kept: 0, asked: checkpoint, open: None, process, worked };
            if changed {
                self.note(Something::PulledAfterChange);
            }
            return Ok(());
        }
        if checkpoint < reader.kept || checkpoint > reader.asked {
            let detail = format!("{name} is read up to {checkpoint}, and says {reader:?}");
            return Err(Violation { invariant: Invariant::I1, detail }.into());
        }
        let moved = std::mem::replace(&mut reader.process, process) != process;
        if moved {
            // Another process numbers its requests anew, and answers none of the one before.
            reader.open = None;
        }
        if moved && reader.kept > 0 {
            self.note(Something::PulledAgain);
        }
        Ok(())
    }

    /// A checkpoint was acknowledged.
    pub(super) fn checkpoint_kept(&mut self, request: RequestId) {
        for reader in self.readers.values_mut() {
            if let Some((asked, revision, to)) = reader.open
                && asked == request
                && reader.process == self.incarnation
                && revision == reader.revision
            {
                reader.kept = reader.kept.max(to);
                reader.worked = reader.worked.max(to);
                reader.open = None;
            }
        }
    }
}
