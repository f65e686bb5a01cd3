//! Pools in trouble: nobody for what waits, workers that are away, calls that hang, outages.

use std::{sync::Arc, time::Duration};

use super::{
    super::{
        Cause, Event, Notice, NoticeKind, Settings, WorkerReply,
        event::Presence,
        settings::{AlertTarget, Hedging, OnceSeen, StreamSettings},
    },
    fixture::{Fixture, secs},
};
use crate::record::Severity;

fn target(name: &str) -> AlertTarget {
    AlertTarget {
        name: name.into(),
        min_severity: Severity::Warning,
        after: Duration::ZERO,
        after_failures: None,
        repeat: Some(secs(3_600)),
        once_seen: OnceSeen::Silence,
        streams: Vec::new(),
    }
}

fn fixture(stream: StreamSettings, targets: Vec<AlertTarget>, workers: usize) -> Fixture {
    let default_stream = Arc::new(stream);
    let settings = Settings { default_stream, alert_targets: targets, ..Settings::default() };
    Fixture::with(settings, workers)
}

fn parks_at(max_attempts: u32) -> StreamSettings {
    let mut settings = StreamSettings::default();
    settings.ladder.max_attempts = max_attempts;
    settings.ladder.jitter = Duration::ZERO;
    settings
}

/// The next notice, which its target takes.
fn hear(fixture: &mut Fixture) -> Notice {
    assert!(!fixture.notices.is_empty(), "somebody is told");
    let notice = fixture.notices.remove(0);
    let (alert, target) = (notice.alert.id, Arc::clone(&notice.target));
    fixture.tell(Event::Notified { alert, target, outcome: Ok(()) });
    notice
}

/// One message waits, and its pool's only worker is of no use; what the worker says each time.
fn useless(reply: Option<&WorkerReply>) -> Fixture {
    let mut fixture =
        fixture(StreamSettings { hedge: Hedging::Off, ..parks_at(1_000) }, vec![target("t")], 1);
    fixture.fill("a", 1);
    let begun = fixture.now;
    while fixture.now < begun + secs(60) && fixture.notices.is_empty() {
        for dispatch in std::mem::take(&mut fixture.dispatches) {
            if let Some(reply) = reply.cloned() {
                fixture.tell(Event::AttemptEnded { attempt: dispatch.attempt, reply });
            }
        }
        fixture.wait(Duration::from_millis(100));
    }
    fixture
}

#[test]
fn whatever_keeps_the_workers_of_a_pool_from_work_is_told() {
    let status = |status| WorkerReply::Answer {
        status,
        outcome: None,
        reason: "".into(),
        retry_after: None,
        payload: Default::default(),
    };
    for (replies, why) in [
        (Some(status(503)), "busy"),
        (Some(status(401)), "misconfigured"),
        (Some(status(404)), "misconfigured"),
        (None, "hanging"),
        (Some(WorkerReply::Unreachable("refused".into())), "unreachable"),
    ] {
        let mut fixture = useless(replies.as_ref());
        let stream = fixture.dispatcher.state().find_stream("a").unwrap();
        let alert = hear(&mut fixture).alert;
        assert_eq!((alert.kind, alert.severity), ("no_worker", Severity::Critical), "{why}");
        assert!(alert.detail.contains(why), "{why}: {}", alert.detail);
        assert_eq!(fixture.dispatcher.stream_status(stream).cause, Some(Cause::NoWorker), "{why}");
        while fixture.dispatches.is_empty() {
            while let Some(worker) = fixture.probes.pop() {
                fixture.tell(Event::Probed { worker, presence: Presence::Present });
            }
            fixture.wait(Duration::from_millis(100));
        }
        let dispatch = fixture.wait_for_dispatch();
        fixture.answer(dispatch.attempt, 200);
        assert_eq!(fixture.dispatcher.stream_status(stream).cause, None, "{why}");
        fixture.wait(secs(2));
        assert_eq!(hear(&mut fixture).kind, NoticeKind::Resolved, "{why}");
    }
}

#[test]
fn a_worker_that_answers_now_and_then_is_no_lack_of_workers() {
    let mut fixture = fixture(parks_at(1_000), vec![target("t")], 1);
    for turn in 0..100 {
        fixture.fill("a", 1);
        fixture.wait(Duration::from_millis(500));
        for dispatch in std::mem::take(&mut fixture.dispatches) {
            fixture.answer(dispatch.attempt, if turn % 2 == 0 { 200 } else { 503 });
        }
    }
    assert!(fixture.notices.is_empty(), "{:?}", fixture.notices);
}

#[test]
fn a_worker_that_is_not_there_is_looked_at_until_it_is() {
    let mut fixture =
        fixture(parks_at(5), vec![AlertTarget { min_severity: Severity::Info, ..target("t") }], 2);
    fixture.tell(Event::Probed { worker: "w0".into(), presence: Presence::Absent });
    let state = |fixture: &Fixture| {
        let mut all = fixture.dispatcher.workers();
        all.find(|(_, worker)| &*worker.id == "w0").unwrap().1.state(fixture.now)
    };
    let mut looks = 0;
    for _ in 0..35 {
        fixture.wait(secs(1));
        assert_eq!(state(&fixture), "unreachable");
        looks += std::mem::take(&mut fixture.probes).len();
        fixture.fill("a", 1);
        let dispatch = fixture.wait_for_dispatch();
        assert_eq!(&*dispatch.worker, "w1", "nobody is there");
        fixture.answer(dispatch.attempt, 200);
    }
    assert!((7..=20).contains(&looks), "every few seconds: {looks}");
    let told: Vec<_> = fixture.notices.drain(..).map(|notice| notice.alert).collect();
    let first = told.first().unwrap();
    assert_eq!((first.kind, first.worker.as_deref()), ("worker_unreachable", Some("w0")));
    assert_eq!(first.severity, Severity::Info);
    let alert = fixture.dispatcher.alerts().next().unwrap();
    assert_eq!((alert.kind, alert.severity), ("worker_unreachable", Severity::Warning));
    while fixture.probes.is_empty() {
        fixture.wait(secs(1));
    }
    fixture.tell(Event::Probed { worker: "w0".into(), presence: Presence::Present });
    assert_eq!(state(&fixture), "active");
    fixture.wait(secs(2));
    assert!(fixture.dispatcher.alerts().all(|alert| alert.until.is_some()));
}

#[test]
fn who_is_silent_or_gone_for_long_is_forgotten() {
    let mut fixture = fixture(parks_at(5), vec![], 1);
    let seen = |id: String| Event::WorkerSeen {
        id: id.into(),
        pool: "default".into(),
        concurrency: None,
        beats: true,
    };
    let count = |fixture: &Fixture| fixture.dispatcher.workers().count();
    for number in 0..100 {
        fixture.tell(seen(format!("pod-{number}")));
    }
    fixture.join("leaves");
    fixture.tell(Event::WorkerLeft { id: "leaves".into() });
    let begun = fixture.now;
    while fixture.now < begun + secs(23 * 3_600) {
        fixture.tell(seen("stays".into()));
        fixture.wait(secs(5));
    }
    assert_eq!((count(&fixture), fixture.forgotten.len()), (103, 0));
    while fixture.now < begun + secs(25 * 3_600) {
        fixture.tell(seen("stays".into()));
        fixture.wait(secs(5));
    }
    assert_eq!((count(&fixture), fixture.forgotten.len()), (2, 101));
    // What comes then has their places, and nothing that was held against them.
    for number in 0..100 {
        fixture.tell(seen(format!("new-{number}")));
    }
    fixture.fill("a", 200);
    let busy: std::collections::BTreeSet<_> =
        fixture.dispatches.iter().map(|dispatch| dispatch.worker.clone()).collect();
    assert!(busy.len() > 50 && busy.iter().all(|id| !id.starts_with("pod")), "{busy:?}");
}
