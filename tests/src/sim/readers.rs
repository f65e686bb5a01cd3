//! Readers of pull subscriptions: they read after the checkpoint, and move it when they have
//! worked on what they read.

use std::{sync::Arc, time::Duration};

use rollcall_common::ids::Position;
use rollcall_supervisor::{
    dispatcher::{RequestId, event::Order},
    record::Way,
};

use super::{
    sometimes::Something,
    world::{Step, What, World},
};
use crate::oracle::{Invariant, Violation};

/// A reader, as far as it knows.
#[derive(Debug, Default)]
pub(super) struct Reader {
    /// The life of the subscription that the rest is about.
    life: u32,
    /// The checkpoint that is known to be kept.
    kept: u64,
    /// The furthest one that was asked for.
    asked: u64,
    /// What was asked for and not answered.
    open: Option<(RequestId, u32, u64)>,
    /// The process that it read from.
    process: u32,
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
        let all = all.filter_map(|(id, _)| dispatcher.subscription_status(id));
        let pulled: Vec<_> = all.filter(|status| status.plan.way == Way::Pull).collect();
        for status in pulled {
            let (name, checkpoint) = (Arc::clone(&status.name), status.checkpoint.0);
            self.look_at_checkpoint(&name, checkpoint, status.life)?;
            let count = if self.healed { u64::MAX } else { self.rng.u64(1..20) };
            let to = checkpoint.saturating_add(count).min(head);
            if to <= checkpoint {
                continue;
            }
            let request = self.say((*name).into(), Order::Checkpoint(Position(to)));
            self.note(Something::Pulled);
            let reader = self.readers.entry(name).or_default();
            reader.asked = reader.asked.max(to);
            reader.open = request.map(|request| (request, status.life, to));
        }
        Ok(())
    }

    /// Whether a subscription has a reader.
    pub(super) fn is_pulled(&self, name: &str) -> bool {
        self.scenario.subscriptions.iter().any(|plan| plan.pulled && &*plan.name == name)
    }

    /// What was kept stays, and nobody but the reader moves it; until it is rewound.
    fn look_at_checkpoint(&mut self, name: &Arc<str>, checkpoint: u64, life: u32) -> Step {
        let process = self.incarnation;
        let reader = self.readers.entry(Arc::clone(name)).or_default();
        // What nobody was told of may not have survived: a subscription begins anew.
        let anew = reader.process != process && reader.kept == 0;
        if reader.life != life || anew {
            *reader = Reader { life, kept: 0, asked: checkpoint, open: None, process };
            return Ok(());
        }
        if checkpoint < reader.kept || checkpoint > reader.asked {
            let detail = format!("{name} is read up to {checkpoint}, and says {reader:?}");
            return Err(Violation { invariant: Invariant::I1, detail }.into());
        }
        let moved = std::mem::replace(&mut reader.process, process) != process;
        if moved && reader.kept > 0 {
            self.note(Something::PulledAgain);
        }
        Ok(())
    }

    /// A checkpoint was acknowledged.
    pub(super) fn checkpoint_kept(&mut self, request: RequestId) {
        for reader in self.readers.values_mut() {
            if let Some((asked, life, to)) = reader.open
                && asked == request
                && reader.process == self.incarnation
                && life == reader.life
            {
                reader.kept = reader.kept.max(to);
                reader.open = None;
            }
        }
    }
}
