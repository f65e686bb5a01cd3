//! Workers: they answer, late, wrongly, twice or never; they come and go.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use rollcall_common::{ids::StreamId, message::Payload, protocol::Outcome};
use rollcall_supervisor::dispatcher::{AttemptId, Dispatch, Event, WorkerReply, event::Presence};

use super::{
    beside,
    coverage::Something,
    scenario::{OutageShape, WorkerFaults, WorkerPlan},
    world::{BEGINNING, Step, What, World},
};
use crate::oracle::Seen;

/// How often a registered worker is heard.
const BEAT: Duration = Duration::from_secs(2);

/// A worker.
#[derive(Clone, Debug)]
pub(super) struct WorkerState {
    pub(super) plan: WorkerPlan,
    up: bool,
    /// Grows when it dies: what it had in hand is gone.
    generation: u32,
    /// Whether it wants to be one of us.
    joined: bool,
    beating: bool,
}

/// What a worker makes of a message.
enum Work {
    Answer(u16, Option<Outcome>),
    Broken,
    Die,
    Hang,
    Late,
    Stale,
    Unreachable,
}

impl World {
    pub(super) fn plan_workers(&mut self) {
        for (index, plan) in self.scenario.workers.clone().into_iter().enumerate() {
            let beats = plan.beats;
            self.workers.push(WorkerState {
                plan,
                up: true,
                generation: 0,
                joined: true,
                beating: true,
            });
            if beats {
                let at = self.within(BEAT);
                self.after(at, What::Beat(index));
            }
        }
    }

    /// A new process is told of the workers that stand in its configuration.
    pub(super) fn introduce(&mut self) {
        for worker in self.workers.clone() {
            if !worker.plan.beats {
                let seen = seen(&worker.plan);
                self.hear(self.incarnation, seen);
            }
        }
    }

    pub(super) fn beat(&mut self, index: usize) {
        let worker = &self.workers[index];
        if worker.up && worker.joined && worker.beating && worker.plan.beats {
            let seen = seen(&worker.plan);
            self.hear(self.incarnation, seen);
        }
        self.after(BEAT, What::Beat(index));
    }

    /// A message reaches its worker, or does not.
    pub(super) fn work(&mut self, process: u32, dispatch: &Dispatch) -> Step {
        if process != self.incarnation {
            // The connection went with the process before the request was out.
            return Ok(());
        }
        let found = self.workers.iter();
        let Some(index) = found.clone().position(|w| w.plan.id == dispatch.worker) else {
            return Ok(());
        };
        let kind = self.draw_work(index, dispatch);
        let reply = match kind {
            Work::Unreachable => {
                self.note(Something::Unreachable);
                Some(WorkerReply::Unreachable("connection refused".into()))
            }
            Work::Stale => {
                self.note(Something::Stale);
                Some(WorkerReply::Stale)
            }
            Work::Answer(..) | Work::Broken | Work::Die | Work::Hang | Work::Late => None,
        };
        let (hop, attempt) = (self.hop(), dispatch.attempt);
        if let Some(reply) = reply {
            self.tell_after(hop, Event::AttemptEnded { attempt, reply });
            return Ok(());
        }
        let place = self.records_seen.place(dispatch.stream, dispatch.sequence);
        let id = dispatch.message.id.0.as_u128();
        *self.worked.entry(id).or_default() += 1;
        self.see(Seen::Executed {
            place: place.clone(),
            attempt: (dispatch.number, dispatch.max_attempts),
            id,
            body: beside::of_message(&dispatch.message),
        })?;
        let latency = self.within(self.workers[index].plan.latency) + hop;
        match kind {
            Work::Answer(status, word) => {
                if word == Some(Outcome::Skip) {
                    self.may_skip.insert(place);
                }
                self.answer_in(latency, (process, index), dispatch, (status, word))?;
            }
            Work::Late => {
                let most = dispatch.timeout.saturating_mul(self.rng.u32(1..30));
                let latency = dispatch.timeout + self.within(most);
                self.answer_in(latency, (process, index), dispatch, (200, None))?;
            }
            Work::Broken => {
                let reply = WorkerReply::Broken("reset".into());
                let done = Box::new((dispatch.clone(), reply));
                let generation = self.workers[index].generation;
                self.after(latency, What::WorkDone(process, index, generation, done));
            }
            Work::Die => {
                self.die(index);
                let reply = WorkerReply::Broken("reset".into());
                self.tell_after(hop, Event::AttemptEnded { attempt, reply });
            }
            Work::Hang | Work::Stale | Work::Unreachable => {}
        }
        Ok(())
    }

    /// Sends an answer off, which the oracle hears of first.
    fn answer_in(
        &mut self,
        latency: Duration,
        (process, index): (u32, usize),
        dispatch: &Dispatch,
        (status, word): (u16, Option<Outcome>),
    ) -> Step {
        let faults = self.scenario.faults.worker.clone();
        let times = if self.happens(faults.twice) { 2 } else { 1 };
        for _ in 0..times {
            let diverges = self.happens(faults.diverge);
            let suffix = if diverges { self.rng.u8(..).to_string() } else { String::new() };
            let message = String::from_utf8_lossy(&dispatch.message.body);
            let body: Bytes = format!("result {suffix} of {message}").into();
            let mut payload = beside::payload(body);
            if status == 204 {
                payload = Payload { headers: payload.headers, ..Payload::default() };
            }
            let offered = beside::of_payload(&payload);
            let id = dispatch.message.id.0.as_u128();
            self.see(Seen::Offered { id, body: offered })?;
            let retry_after = (self.rng.bool())
                .then(|| Duration::from_millis([0, 100, 2_000, 100_000][self.rng.usize(..4)]));
            let reply = WorkerReply::Answer {
                status,
                outcome: word,
                reason: "".into(),
                retry_after,
                payload,
            };
            let done = Box::new((dispatch.clone(), reply));
            let generation = self.workers[index].generation;
            let extra = self.hop();
            let done = What::WorkDone(process, index, generation, done);
            self.after(latency + extra, done);
        }
        Ok(())
    }

    fn draw_work(&mut self, index: usize, dispatch: &Dispatch) -> Work {
        if !self.workers[index].up {
            // The machine is there, and refuses; or nobody is there at all.
            return if self.rng.u8(..4) > 0 { Work::Unreachable } else { Work::Hang };
        }
        let body = &dispatch.message.body;
        if body.starts_with(b"cursed") {
            return Work::Answer(422, None);
        }
        let done = self.worked.get(&dispatch.message.id.0.as_u128());
        if body.starts_with(b"poisoned") && !self.healed && done.is_none_or(|n| *n < 6) {
            return Work::Answer(500, None);
        }
        if body.starts_with(b"deadly") && !self.healed && done.is_none_or(|n| *n < 6) {
            return Work::Die;
        }
        if let Some(work) = self.outage_work(index, dispatch) {
            return work;
        }
        let faults = self.scenario.faults.worker.clone();
        self.draw_fault(&faults)
    }

    /// What a worker makes of a message while there is an outage: in the middle third of the load.
    fn outage_work(&mut self, index: usize, dispatch: &Dispatch) -> Option<Work> {
        let shape = self.scenario.faults.outage?;
        let (since, load) = (self.now.since(BEGINNING), self.scenario.load);
        let flaps = shape == OutageShape::Flap && since.as_secs() % 4 < 2;
        if flaps || since < load / 3 || since > load * 2 / 3 {
            return None;
        }
        match shape {
            OutageShape::Fail | OutageShape::Flap => Some(Work::Answer(500, None)),
            OutageShape::Half => index.is_multiple_of(2).then_some(Work::Answer(500, None)),
            OutageShape::Hang => Some(Work::Hang),
            OutageShape::Misconfigured => Some(Work::Answer(401, None)),
            OutageShape::OneStream => {
                (dispatch.stream == StreamId(0)).then_some(Work::Answer(500, None))
            }
        }
    }

    fn draw_fault(&mut self, faults: &WorkerFaults) -> Work {
        if self.happens(faults.unreachable) {
            Work::Unreachable
        } else if self.happens(faults.stale) {
            Work::Stale
        } else if self.happens(faults.broken) {
            Work::Broken
        } else if self.happens(faults.hang) {
            Work::Hang
        } else if self.happens(faults.late) {
            Work::Late
        } else if self.happens(faults.busy) {
            self.note(Something::Busy);
            Work::Answer([429, 503][self.rng.usize(..2)], None)
        } else if self.happens(faults.misconfigured) {
            self.note(Something::Misconfigured);
            Work::Answer([301, 401, 404, 501][self.rng.usize(..4)], None)
        } else if self.happens(faults.error) {
            Work::Answer([500, 502, 408, 409][self.rng.usize(..4)], None)
        } else if self.happens(faults.refuse) {
            Work::Answer([400, 413, 422][self.rng.usize(..3)], None)
        } else if self.happens(faults.word) {
            let all = [Outcome::Ok, Outcome::Park, Outcome::Retry, Outcome::Skip];
            let word = all[self.rng.usize(..4)];
            match word {
                Outcome::Skip => self.note(Something::SkippedByWord),
                Outcome::Ok | Outcome::Park | Outcome::Retry => {}
            }
            Work::Answer([200, 500][self.rng.usize(..2)], Some(word))
        } else {
            Work::Answer([200, 200, 201, 204][self.rng.usize(..4)], None)
        }
    }

    pub(super) fn work_done(
        &mut self,
        process: u32,
        (index, generation): (usize, u32),
        dispatch: &Dispatch,
        reply: WorkerReply,
    ) {
        let attempt = dispatch.attempt;
        let worker = &self.workers[index];
        if worker.up && worker.generation == generation {
            self.hear(process, Event::AttemptEnded { attempt, reply });
        } else if self.rng.bool() {
            self.note(Something::WorkerDied);
            let reply = WorkerReply::Broken("reset".into());
            self.hear(process, Event::AttemptEnded { attempt, reply });
        }
    }

    /// Something changes with a worker.
    pub(super) fn churn(&mut self) {
        if self.healed {
            return;
        }
        let index = self.rng.usize(..self.workers.len());
        let id = Arc::clone(&self.workers[index].plan.id);
        let worker = &mut self.workers[index];
        match self.rng.u8(..6) {
            0 => {
                worker.up = !worker.up;
                worker.generation += 1;
            }
            1 => {
                worker.joined = false;
                self.note(Something::WorkerLeft);
                self.hear(self.incarnation, Event::WorkerLeft { id });
            }
            2 => {
                self.note(Something::Drained);
                let drained = Event::WorkerDrained { id: Arc::clone(&id) };
                self.hear(self.incarnation, drained);
                // Somebody thinks better of it.
                if self.rng.bool() {
                    self.hear(self.incarnation, Event::WorkerResumed { id });
                }
            }
            3 if worker.plan.beats => {
                worker.beating = !worker.beating;
                self.note(Something::WorkerSilent);
            }
            _ => {
                (worker.up, worker.joined, worker.beating) = (true, true, true);
                let seen = seen(&worker.plan);
                self.hear(self.incarnation, seen);
            }
        }
        let next = self.within(Duration::from_secs(8));
        self.after(next, What::Churn);
    }

    /// A worker is told that an answer is no longer needed. Some drop it, some work on, and some
    /// have sent it already.
    pub(super) fn cancel(&mut self, attempt: AttemptId) {
        if self.rng.bool() {
            self.note(Something::Cancelled);
            let hop = self.hop();
            self.tell_after(hop, Event::AttemptEnded { attempt, reply: WorkerReply::Cancelled });
        }
    }

    /// Somebody looks whether a worker is there.
    pub(super) fn probe(&mut self, id: &Arc<str>) {
        let found = self.workers.iter().find(|worker| worker.plan.id == *id);
        let up = found.is_some_and(|worker| worker.up);
        let presence = if up { Presence::Present } else { Presence::Absent };
        self.note(if up { Something::ProbedPresent } else { Something::ProbedAbsent });
        let hop = self.hop();
        let worker = Arc::clone(id);
        self.tell_after(hop, Event::Probed { worker, presence });
    }

    /// A worker dies of a message; somebody starts it again after a while.
    fn die(&mut self, index: usize) {
        let worker = &mut self.workers[index];
        worker.up = false;
        worker.generation += 1;
        self.note(Something::WorkerDied);
        let down = Duration::from_millis(500) + self.within(Duration::from_secs(3));
        self.after(down, What::Revive(index));
    }

    /// Somebody starts a worker.
    pub(super) fn revive(&mut self, index: usize) {
        self.workers[index].up = true;
    }

    pub(super) fn heal_workers(&mut self) {
        for index in 0..self.workers.len() {
            let worker = &mut self.workers[index];
            (worker.up, worker.joined, worker.beating) = (true, true, true);
            let plan = worker.plan.clone();
            let id = Arc::clone(&plan.id);
            self.hear(self.incarnation, Event::WorkerLeft { id });
            self.hear(self.incarnation, seen(&plan));
        }
    }
}

fn seen(plan: &WorkerPlan) -> Event {
    Event::WorkerSeen {
        id: plan.id.clone(),
        pool: plan.pool.clone(),
        concurrency: plan.concurrency,
        beats: plan.beats,
    }
}
