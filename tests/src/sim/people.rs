//! People: they decide, pause and resume, change settings; and the disk's owner.

use std::{sync::Arc, time::Duration};

use rollcall_common::ids::{Position, Sequence, StreamId, StreamName};
use rollcall_supervisor::{
    dispatcher::{
        Event, Reply, RequestId, SubscriptionReply,
        event::{Decision, Order, Wish},
        settings::{OnExhausted, StreamSettings},
    },
    record::MessageRef,
};

use super::{
    beside,
    coverage::Something,
    world::{Step, What, World},
};
use crate::oracle::{End, Invariant, Outcome, Seen, Violation};

impl World {
    /// People look at what is parked and at what is paused.
    pub(super) fn people(&mut self) -> Step {
        let next = if self.healed { 2_000 } else { self.rng.u64(100..4_000) };
        self.after(Duration::from_millis(next), What::People);
        let Some(server) = &self.server else {
            return Ok(());
        };
        let dispatcher = server.engine.dispatcher();
        let parked: Vec<(StreamName, Sequence)> = dispatcher
            .parked()
            .filter_map(|(stream, sequence, ..)| {
                let name = dispatcher.state().stream_name(stream)?;
                Some((name.clone(), sequence))
            })
            .collect();
        for (stream, sequence) in parked {
            let left = self.healed && self.leaves_parked(&stream);
            if !left && (self.healed || self.rng.bool()) {
                self.decide(stream, sequence)?;
            }
        }
        self.see_alert();
        let index = self.rng.usize(..self.scenario.streams.len());
        let stream = self.scenario.streams[index].name.clone();
        self.mind_subscriptions();
        self.mind_guests();
        if self.healed {
            for stream in self.scenario.streams.clone() {
                self.pause(stream.name, Wish::Resume);
            }
        } else if self.rng.bool() {
            let wish = if self.rng.bool() { Wish::Pause } else { Wish::Resume };
            self.pause(stream, wish);
        } else if self.rng.u8(..8) == 0 {
            let sequence = Sequence(self.rng.u64(1..20));
            self.decide(stream, sequence)?;
        }
        Ok(())
    }

    fn leaves_parked(&self, stream: &StreamName) -> bool {
        let mut all = self.scenario.streams.iter();
        all.any(|plan| plan.name == *stream && plan.leave_parked)
    }

    fn decide(&mut self, stream: StreamName, sequence: Sequence) -> Step {
        let Some(server) = &mut self.server else {
            return Ok(());
        };
        let request = server.open(None);
        // What identifies it is looked up before, as the API does.
        let head = server.views.find(&stream).and_then(|id| {
            let found = server.views.messages(id, sequence..=sequence, usize::MAX).ok()?;
            let (_, accepted_at, message) = found.into_iter().next()?;
            Some(MessageRef { id: message.id, accepted_at })
        });
        let words = "because".into();
        let payload = beside::payload(format!("resolved {stream} {sequence}").into());
        let (decision, outcome) = match self.rng.u8(..3) {
            0 => (
                Decision::Resolve { payload: payload.clone(), reason: words },
                Some(Outcome::Resolved),
            ),
            1 => (Decision::Skip { reason: words }, Some(Outcome::Skipped)),
            _ => (Decision::Retry { reason: words }, None),
        };
        // It may take effect although its answer gets lost.
        self.see(Seen::Decided {
            place: (Arc::from(stream.as_str()), sequence.0),
            outcome,
            body: beside::of_payload(&payload),
        })?;
        self.note(match outcome {
            Some(Outcome::Skipped) => Something::SkippedByPerson,
            Some(_) => Something::Resolved,
            None => Something::Retried,
        });
        let by = "somebody".into();
        let event = Event::Decided { request, stream, sequence, head, by, decision };
        self.hear(self.incarnation, event);
        Ok(())
    }

    fn pause(&mut self, stream: StreamName, wish: Wish) {
        let Some(server) = &mut self.server else {
            return;
        };
        let request = server.open(None);
        if wish == Wish::Pause {
            self.note(Something::Paused);
        }
        let (by, reason) = ("somebody".into(), "because".into());
        self.hear(self.incarnation, Event::StreamCommand { request, stream, by, reason, wish });
    }

    /// People pause, resume and rewind subscriptions.
    fn mind_subscriptions(&mut self) {
        let Some(server) = &self.server else {
            return;
        };
        let dispatcher = server.engine.dispatcher();
        let head = dispatcher.state().head().0;
        let names: Vec<Box<str>> =
            dispatcher.state().subscription_names().map(|(_, name)| name.into()).collect();
        for name in names {
            let order = match self.rng.u8(..12) {
                _ if self.healed => Order::Resume,
                0 => Order::Pause,
                1 | 2 => Order::Resume,
                // One beyond the head is refused.
                3 => Order::Rewind(Position(self.rng.u64(..head + 2))),
                4 => Order::Rewind(Position(self.rng.u64(..head / 4 + 1))),
                5 | 6 => match self.failing_result(&name) {
                    Some(order) => order,
                    None => continue,
                },
                _ => continue,
            };
            match order {
                Order::Pause => self.note(Something::SubscriptionPaused),
                Order::Rewind(_) => self.note(Something::Rewound),
                Order::Checkpoint(_) | Order::Resume | Order::Skip { .. } => {}
            }
            self.say(name, order);
        }
    }

    /// A result that a destination does not take, or one behind it, to be passed over.
    fn failing_result(&mut self, name: &str) -> Option<Order> {
        let server = self.server.as_ref()?;
        let dispatcher = server.engine.dispatcher();
        let id = dispatcher.state().find_subscription(name)?;
        let failing = dispatcher.subscription_status(id)?.failing;
        let one = failing.get(self.rng.usize(..failing.len().max(1)))?;
        let sequence = Sequence(one.sequence.0 + self.rng.u64(..3));
        Some(Order::Skip { stream: one.stream.clone(), sequence, reason: "broken".into() })
    }

    /// Somebody wants something of a subscription.
    pub(super) fn say(&mut self, name: Box<str>, order: Order) -> Option<RequestId> {
        let request = self.server.as_mut()?.open(None);
        self.hear(
            self.incarnation,
            Event::SubscriptionCommand { request, name, by: "somebody".into(), order },
        );
        Some(request)
    }

    pub(super) fn answer_person(&mut self, request: RequestId, reply: &Reply) {
        if *reply == Reply::NotParked {
            self.note(Something::NotParked);
        } else if *reply == Reply::Subscription(SubscriptionReply::Created) {
            self.note(Something::SubscriptionMade);
        } else if *reply == Reply::Subscription(SubscriptionReply::Done) {
            self.checkpoint_kept(request);
        }
    }

    /// One stream is treated otherwise from now on.
    pub(super) fn change_settings(&mut self) -> Step {
        if self.healed {
            return Ok(());
        }
        let index = self.rng.usize(..self.scenario.streams.len());
        let pools = self.scenario.settings.pools.clone();
        let old = self.scenario.treatment[index].clone();
        let mut new = StreamSettings {
            window: [1, 3, 20][self.rng.usize(..3)],
            max_in_flight: [1, 4, 64][self.rng.usize(..3)],
            ..old.clone()
        };
        match self.rng.u8(..4) {
            0 => new.on_exhausted = OnExhausted::Skip,
            1 => new.pool = None,
            2 => new.pool = Some(pools[self.rng.usize(..pools.len())].0.clone()),
            _ => {}
        }
        if new.pool.is_none() && old.pool.is_some() {
            self.note(Something::BecamePassing);
        }
        if new.on_exhausted == OnExhausted::Skip {
            let name = self.scenario.streams[index].name.as_str();
            self.skipping.insert(name.into());
        }
        self.scenario.treatment[index] = new;
        self.scenario.lay_out();
        self.note(Something::SettingsChanged);
        if self.rng.bool() {
            self.edit_subscriptions();
        }
        let next = self.within(Duration::from_secs(20));
        self.after(next, What::Settings);
        self.reload();
        self.turn(self.incarnation)
    }

    pub(super) fn change_space(&mut self, full: bool) {
        if self.healed {
            return;
        }
        let used = self.disk_bytes();
        let room = self.rng.u64(..12_000);
        self.disk.set_capacity(full.then_some(used + room));
        let next = self.within(Duration::from_secs(10));
        self.after(next, What::Space { full: !full });
    }

    /// What has not come to its end.
    pub(super) fn open_business(&self) -> Option<String> {
        let Some(server) = &self.server else {
            return Some("the supervisor is down".to_owned());
        };
        if self.records_seen.is_behind() {
            return Some("the journal is behind".to_owned());
        }
        if let Some(open) = self.requests.iter().position(|request| request.open) {
            return Some(format!("request {open} has no answer"));
        }
        let dispatcher = server.engine.dispatcher();
        let parked = self.end().standing;
        for id in (0_u32..).map(StreamId).take(dispatcher.state().stream_count()) {
            let name = dispatcher.state().stream_name(id)?;
            if !parked.contains_key(name.as_str())
                && let Some(standing) = self.standing(id)
            {
                return Some(standing);
            }
        }
        self.lagging().or_else(|| self.untold())
    }

    /// What is left to be seen.
    fn end(&self) -> End {
        let mut end = End { may_skip: self.may_skip.clone(), ..End::default() };
        let skipping = |name: &str| self.skipping.contains(name);
        let parked = self.records_seen.parked.iter();
        end.may_skip.extend(parked.filter(|(stream, _)| skipping(stream)).cloned());
        let Some(server) = &self.server else {
            return end;
        };
        let dispatcher = server.engine.dispatcher();
        for (stream, sequence, ..) in dispatcher.parked() {
            let Some(name) = dispatcher.state().stream_name(stream) else {
                continue;
            };
            let status = dispatcher.stream_status(stream);
            let name: Arc<str> = name.as_str().into();
            end.parked.insert((name.clone(), sequence.0));
            if status.released.next() == sequence {
                end.standing.insert(name, status.next.0 - 1);
            }
        }
        end
    }

    /// Everything has settled: nothing may be missing.
    pub(super) fn check_end(&mut self) -> Step {
        self.read_all_results()?;
        self.check_alerts()?;
        let end = self.end();
        let Some(server) = &self.server else {
            return Ok(());
        };
        let dispatcher = server.engine.dispatcher();
        for (stream, last) in &end.standing {
            let found = stream.parse().ok().and_then(|name| server.views.find(&name));
            let Some(id) = found else { continue };
            let released = dispatcher.stream_status(id).released.0;
            let hidden = (released + 1..=*last)
                .find(|sequence| dispatcher.message_state(id, Sequence(*sequence)).is_none());
            if let Some(hidden) = hidden {
                return Err(Violation {
                    invariant: Invariant::I10,
                    detail: format!("{stream} {hidden} is not to be seen"),
                }
                .into());
            }
        }
        if !end.standing.is_empty() {
            self.note(Something::StandingParked);
        }
        self.checker.finish(&end)?;
        Ok(())
    }
}
