//! Those who are told of alerts: they are away at times, and remember what they were told.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use rollcall_supervisor::{
    dispatcher::{
        AlertStatus, Event, MessageState, Notice, NoticeKind, TellFailure,
        settings::{AlertTarget, OnExhausted, OnceSeen, Pattern},
    },
    record::{AlertId, AlertStage, Severity},
};

use super::{
    coverage::Something,
    world::{Step, What, World},
};
use crate::oracle::{Invariant, Violation};

/// What a target was last told of an alert.
pub(super) type Heard = BTreeMap<(Arc<str>, AlertId), (NoticeKind, Severity)>;

/// Targets of a scenario.
pub(super) fn targets(rng: &mut fastrand::Rng) -> Vec<AlertTarget> {
    let severities = [Severity::Info, Severity::Warning, Severity::Error, Severity::Critical];
    (0..rng.usize(0..=3))
        .map(|index| AlertTarget {
            name: format!("t{index}").into(),
            min_severity: severities[rng.usize(..4)],
            after: Duration::from_secs([0, 0, 1, 30][rng.usize(..4)]),
            after_failures: [None, Some(1), Some(2)][rng.usize(..3)],
            repeat: [None, Some(Duration::from_secs(rng.u64(5..100)))][rng.usize(..2)],
            once_seen: [OnceSeen::Repeat, OnceSeen::Silence, OnceSeen::Tell][rng.usize(..3)],
            streams: if rng.bool() { Vec::new() } else { vec![Pattern::new("a.*")] },
        })
        .collect()
}

fn wrong(detail: String) -> Violation {
    Violation { invariant: Invariant::I10, detail }
}

impl World {
    /// A notice is on its way.
    pub(super) fn cry(&mut self, notice: Notice) {
        let hop = self.hop();
        self.after(hop, What::AtTarget(self.incarnation, Box::new(notice)));
    }

    /// A notice reaches its target, or nobody is there.
    pub(super) fn at_target(&mut self, process: u32, notice: Notice) -> Step {
        let Notice { alert, target, kind, .. } = notice;
        if alert.kind == "stream_held" && alert.stream.is_none() {
            self.note(Something::HeldBeyond);
        }
        let away = self.scenario.faults.target;
        if self.happens(away) {
            self.note(Something::TargetAway);
            let retry_after = self.rng.bool().then_some(Duration::from_secs(3));
            self.told(process, &alert, target, Err(TellFailure { retry_after }));
            return Ok(());
        }
        let place = (Arc::clone(&target), alert.id);
        let before = self.heard.get(&place).copied();
        match (kind, before) {
            // One that was away when it fired, or whose supervisor died, may have heard of it.
            (NoticeKind::Firing, None) | (NoticeKind::Resolved, _) => {}
            // It was told before a crash, and that was not written down.
            (kind, Some((before, _))) if kind == before => {}
            (
                NoticeKind::Acknowledged | NoticeKind::Worse | NoticeKind::Repeated,
                Some((before, _)),
            ) if before != NoticeKind::Resolved => {}
            (NoticeKind::Firing, Some((before, _))) if before != NoticeKind::Resolved => {}
            _ => {
                let text = format!("{target} is told {kind:?} of {:?} after {before:?}", alert.id);
                return Err(wrong(text).into());
            }
        }
        self.note(match kind {
            NoticeKind::Acknowledged => Something::AlertSeen,
            NoticeKind::Firing => Something::AlertFired,
            NoticeKind::Repeated => Something::AlertRepeated,
            NoticeKind::Resolved => Something::AlertResolved,
            NoticeKind::Worse => Something::AlertWorse,
        });
        if alert.kind == "alert_storm" {
            self.note(Something::AlertStorm);
        }
        self.heard.insert(place, (kind, alert.severity));
        self.told(process, &alert, target, Ok(()));
        Ok(())
    }

    fn told(
        &mut self,
        process: u32,
        alert: &AlertStatus,
        target: Arc<str>,
        outcome: Result<(), TellFailure>,
    ) {
        let hop = self.hop();
        let event = Event::Notified { alert: alert.id, target, outcome };
        self.after(hop, What::Tell(process, Box::new(event)));
    }

    /// Somebody says that they have seen an alert; sometimes one that there is not.
    pub(super) fn see_alert(&mut self) {
        let Some(server) = &mut self.server else {
            return;
        };
        let last = server.engine.dispatcher().alerts().map(|alert| alert.id.0).max();
        let alert = AlertId(self.rng.u64(1..=last.unwrap_or(0) + 1));
        let request = server.open(None);
        let (by, reason) = ("somebody".into(), "seen".into());
        self.hear(self.incarnation, Event::Acknowledged { request, alert, by, reason });
    }

    /// What is still to be told.
    pub(super) fn untold(&self) -> Option<String> {
        let dispatcher = self.server.as_ref()?.engine.dispatcher();
        let targets = &self.scenario.settings.alert_targets;
        dispatcher.alerts().find_map(|alert| {
            let untold = |target: &&AlertTarget| {
                let heard = self.heard.get(&(Arc::clone(&target.name), alert.id));
                match (alert.stage, heard) {
                    (AlertStage::Resolved, Some((kind, _))) => *kind != NoticeKind::Resolved,
                    (AlertStage::Firing, Some((_, severity))) => *severity < alert.severity,
                    (AlertStage::Firing, None) => concerns(target, &alert),
                    (AlertStage::Acknowledged | AlertStage::Resolved, _) => false,
                }
            };
            let target = targets.iter().find(untold)?;
            Some(format!("{} has yet to hear of {alert:?}", target.name))
        })
    }

    /// Everything that waits for a person has its alert, and what waits for none has none.
    pub(super) fn check_alerts(&self) -> Result<(), Violation> {
        let Some(server) = &self.server else {
            return Ok(());
        };
        let dispatcher = server.engine.dispatcher();
        let live = || dispatcher.alerts().filter(|alert| alert.stage != AlertStage::Resolved);
        for (stream, sequence, ..) in dispatcher.parked() {
            let name = dispatcher.state().stream_name(stream);
            let holds = name.is_some_and(|name| {
                self.scenario.settings.stream(name).on_exhausted == OnExhausted::Hold
            });
            let known = live().any(|alert| {
                alert.kind == "message_parked"
                    && alert.stream.as_ref() == name
                    && alert.span.is_some_and(|(first, last)| first <= sequence && sequence <= last)
            });
            if holds && !known {
                return Err(wrong(format!("{name:?} {sequence} is parked, and nobody is told")));
            }
        }
        for alert in live() {
            let (Some(stream), Some(sequence)) = (&alert.stream, alert.sequence) else {
                continue;
            };
            let state = dispatcher.state().find_stream(stream.as_str());
            let state = state.and_then(|stream| dispatcher.message_state(stream, sequence));
            let cause = match state.map(|(state, _)| state) {
                Some(MessageState::Parked(_)) => true,
                // Behind a head that is left to stand it may be at its next attempt.
                Some(
                    MessageState::Accepted | MessageState::Dispatched | MessageState::Retrying,
                ) => alert.kind == "message_failing",
                Some(MessageState::Completed) | None => false,
            };
            if !cause {
                return Err(wrong(format!("there is no cause for {alert:?}")));
            }
        }
        Ok(())
    }
}

/// Whether a target is to be told of an alert that fires, sooner or later.
fn concerns(target: &AlertTarget, alert: &AlertStatus) -> bool {
    let of_stream = alert.stream.as_ref().is_none_or(|name| {
        target.streams.is_empty() || target.streams.iter().any(|p| p.matches(name.as_str()))
    });
    of_stream && alert.severity >= target.min_severity && alert.kind != "message_failing"
}
