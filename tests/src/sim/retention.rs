//! What keeps the journal short, one step at a time: snapshots, copies, trims.

use std::time::Duration;

use rollcall_common::ids::{Position, Sequence, StreamId};
use rollcall_supervisor::{
    dispatcher::{Event, State},
    driver::retention::{Next, RetentionInput, Step as Wanted, Trim, next_step},
    views::{ReadFailed, Views},
};

use super::{
    coverage::Something,
    server::damaged,
    world::{Halt, Step, What, World},
};
use crate::oracle::Seen;

/// What a process does to keep its journal short.
#[derive(Debug, Default)]
pub(super) struct Keeping {
    /// The trim that is under way.
    trim: Option<Trim>,
    /// Whether all is said that has to be before files are removed.
    said: bool,
    /// The request that is to be answered first.
    pub(super) waits_for: Option<u64>,
}

impl Keeping {
    /// Whether something was begun and is not finished.
    pub(super) fn is_busy(&self) -> bool {
        self.trim.is_some() || self.waits_for.is_some()
    }
}

impl World {
    /// The process looks whether something is old, or goes on with what it began.
    pub(super) fn keep(&mut self, process: u32) -> Step {
        let Some(rules) = self.scenario.rules.filter(|_| process == self.incarnation) else {
            return Ok(());
        };
        let next = Duration::from_micros(self.rng.u64(1_000..400_000));
        self.after(next, What::Keep(process));
        let now = self.now;
        let Some(server) = &mut self.server else {
            return Ok(());
        };
        if server.keeping.waits_for.is_some() {
            return Ok(());
        }
        let journal = server.store.journal();
        if server.keeping.trim.is_some() {
            return self.go_on_trimming();
        }
        let standing = RetentionInput::of(server.engine.dispatcher(), now);
        match next_step(&rules, standing, &*journal, &server.views) {
            Wanted::Rest => {}
            Wanted::Snapshot => {
                let request = server.open(None);
                server.keeping.waits_for = Some(request.0);
                self.hear(process, Event::Snapshot { request });
            }
            Wanted::Trim(base) => {
                let begun = Trim::begin((base, rules.slow), &*journal, &server.views);
                server.keeping.trim = begun.map_err(|error| damaged(&error))?;
                server.keeping.said = false;
                if server.keeping.trim.is_none() {
                    self.note(Something::TooMuchToCopy);
                }
            }
        }
        Ok(())
    }

    fn go_on_trimming(&mut self) -> Step {
        let process = self.incarnation;
        let Some(server) = &mut self.server else {
            return Ok(());
        };
        let Some(trim) = &mut server.keeping.trim else {
            return Ok(());
        };
        if server.keeping.said {
            let removed = trim.finish(&*server.store.journal(), &server.views);
            server.keeping.trim = None;
            if let Err(error) = removed {
                self.tell(format_args!("trim: {error}"));
                return Err(Halt::Crash { power: true });
            }
            self.note(Something::Removed);
            return Ok(());
        }
        let next = trim.next(&server.views).map_err(|error| damaged(&error))?;
        server.keeping.said = matches!(next, Next::Trimmed { .. });
        if let Next::Trimmed { through, .. } = next {
            // Who wants to see them has to look now.
            self.read_all_results()?;
            self.see(Seen::Forgotten { through: through.0 })?;
        }
        let Some(server) = &mut self.server else {
            return Ok(());
        };
        let request = server.open(None);
        server.keeping.waits_for = Some(request.0);
        self.hear(process, next.event(request));
        Ok(())
    }

    /// Checks a state that was folded from a snapshot: it is the one that all records make, and
    /// nothing that it needs is missing.
    pub(super) fn check_start(&mut self, state: &State, whole: &State, views: &Views) -> Step {
        let (said, is) = (whole.facts(), state.facts());
        if let Some((said, is)) = said.iter().zip(&is).find(|(said, is)| said != is) {
            return Err(damaged(&format!("all records make {said}, the snapshot {is}")));
        }
        if said.len() != is.len() {
            let (said, is) = (said.len(), is.len());
            return Err(damaged(&format!("all records make {said} facts, the snapshot {is}")));
        }
        let first = views.first();
        if first.0 != state.floor().0 + 1 || state.floor() != whole.floor() {
            return Err(damaged(&format!("kept from {first}, floor {:?}", state.floor())));
        }
        if first > Position(1) {
            self.note(Something::BelowFloor);
            match views.results(Position(first.0 - 2), 10, 1 << 20) {
                Err(ReadFailed::Gone { first: said }) if said == first.0 => {}
                other => return Err(damaged(&format!("below {first}: {other:?}"))),
            }
        }
        for stream in (0..state.stream_count()).map(|at| StreamId(at.try_into().unwrap_or(0))) {
            let first = views.first_sequence(stream);
            if first > Sequence(1) {
                match views.stream_results(stream, Sequence(first.0 - 2), 10, 1 << 20) {
                    Err(ReadFailed::Gone { first: said }) if said == first.0 => {}
                    other => return Err(damaged(&format!("{stream:?} below {first}: {other:?}"))),
                }
            }
            let mut after = Sequence(first.0 - 1);
            loop {
                let read = views.stream_results(stream, after, 7, 1 << 20);
                let results = read.map_err(|error| damaged(&error))?;
                let Some(last) = results.last() else { break };
                if last.sequence.0 != after.0 + results.len() as u64 {
                    return Err(damaged(&format!("{stream:?}: a hole after {after}")));
                }
                after = last.sequence;
            }
        }
        Ok(())
    }
}
