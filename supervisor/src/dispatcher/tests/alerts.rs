//! Alerts: one per cause, told to whom they concern, again and again until somebody has seen
//! them, and taken back when the cause is gone.

use std::{sync::Arc, time::Duration};

use super::{
    super::{
        AlertStatus, Event, Notice, NoticeKind, Reply, RequestId, Settings, TellFailure,
        WorkerReply,
        event::{Bulk, Decision, Order, Refusal},
        settings::{AlertTarget, OnExhausted, OnceSeen, Pattern, StreamSettings},
    },
    desk::{Desk, name, secs},
};
use crate::record::{AlertId, AlertRecord, AlertStage, Record, Severity};

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

fn desk(stream: StreamSettings, targets: Vec<AlertTarget>, workers: usize) -> Desk {
    let default_stream = Arc::new(stream);
    let settings = Settings { default_stream, alert_targets: targets, ..Settings::default() };
    Desk::with(settings, workers)
}

fn parks_at(max_attempts: u32) -> StreamSettings {
    let mut settings = StreamSettings::default();
    settings.ladder.max_attempts = max_attempts;
    settings.ladder.jitter = Duration::ZERO;
    settings
}

/// The next notice, which its target takes.
fn hear(desk: &mut Desk) -> Notice {
    let notice = next(desk);
    answer(desk, &notice, Ok(()));
    notice
}

fn next(desk: &mut Desk) -> Notice {
    assert!(!desk.notices.is_empty(), "somebody is told");
    desk.notices.remove(0)
}

fn answer(desk: &mut Desk, notice: &Notice, outcome: Result<(), TellFailure>) {
    let (alert, target) = (notice.alert.id, Arc::clone(&notice.target));
    desk.tell(Event::Notified { alert, target, outcome });
}

fn live(desk: &Desk) -> Vec<AlertStatus> {
    desk.dispatcher.alerts().filter(|alert| alert.stage != AlertStage::Resolved).collect()
}

/// Lets all attempts of the next message fail.
fn fail(desk: &mut Desk, attempts: usize) {
    for _ in 0..attempts {
        let dispatch = desk.wait_for_dispatch();
        desk.answer(dispatch.attempt, 500);
    }
}

#[test]
fn five_failures_at_the_head_call_a_person_once_and_201_results_leave() {
    let mut desk = desk(parks_at(5), vec![target("t")], 3);
    desk.fill("a", 201);
    let mut head = desk.wait_for_dispatch();
    for dispatch in std::mem::take(&mut desk.dispatches) {
        desk.answer(dispatch.attempt, 200);
    }
    for _ in 0..5 {
        desk.answer(head.attempt, 500);
        if desk.notices.is_empty() {
            head = desk.wait_for_dispatch();
        }
    }
    let notice = hear(&mut desk);
    let alert = &notice.alert;
    assert_eq!((notice.kind, alert.kind), (NoticeKind::Firing, "message_parked"));
    assert_eq!((alert.stream.clone(), alert.severity), (Some(name("a")), Severity::Error));
    assert!(alert.detail.contains("5 failures") && alert.detail.contains("200 wait behind it"));
    desk.wait(secs(60));
    assert!(desk.notices.is_empty() && desk.released.is_empty());
    let before = desk.now;
    let decision = Decision::Resolve { payload: Default::default(), reason: "by hand".into() };
    assert_eq!(desk.decide("a", 1, decision), Reply::Done);
    assert_eq!(desk.order(), (1..=201).collect::<Vec<_>>());
    assert_eq!(hear(&mut desk).kind, NoticeKind::Resolved);
    assert_eq!((desk.now, live(&desk).len()), (before, 0));
    let audit = desk.dispatcher.audited().next().unwrap();
    assert_eq!((&*audit.by, &*audit.act, &*audit.on), ("ann", "resolve", "a/1"));
    assert_eq!(&*audit.reason, "by hand");
}

#[test]
fn an_alert_is_repeated_until_somebody_has_seen_it() {
    let mut desk = desk(parks_at(1), vec![target("t")], 1);
    desk.fill("a", 1);
    fail(&mut desk, 1);
    let id = hear(&mut desk).alert.id;
    desk.wait(secs(3_599));
    let others = desk.notices.drain(..).filter(|notice| notice.alert.id == id).count();
    assert_eq!(others, 0);
    desk.wait(secs(2));
    assert_eq!(hear(&mut desk).kind, NoticeKind::Repeated);
    let (request, by, reason) = (RequestId(9), "ann".into(), "on it".into());
    desk.tell(Event::Acknowledged { request, alert: id, by, reason });
    assert_eq!(desk.replies.pop(), Some(Reply::Done));
    desk.notices.clear();
    desk.wait(secs(100_000));
    assert!(desk.notices.iter().all(|notice| notice.alert.id != id));
    assert_eq!(desk.dispatcher.alert(id).unwrap().acknowledged_by.as_deref(), Some("ann"));
    let (request, by, reason) = (RequestId(9), "ann".into(), "".into());
    desk.tell(Event::Acknowledged { request, alert: AlertId(999), by, reason });
    assert_eq!(desk.replies.pop(), Some(Reply::UnknownAlert));
}

#[test]
fn a_ladder_has_rungs_by_failures_and_by_age() {
    let early = AlertTarget { after_failures: Some(2), ..target("chat") };
    let late = AlertTarget { after: secs(900), ..target("manager") };
    let mut desk = desk(parks_at(5), vec![early, target("pager"), late], 3);
    desk.fill("a", 1);
    fail(&mut desk, 1);
    assert!(desk.notices.is_empty());
    fail(&mut desk, 1);
    let failing = hear(&mut desk);
    assert_eq!((&*failing.target, failing.alert.kind), ("chat", "message_failing"));
    fail(&mut desk, 3);
    let told: Vec<_> = (0..3).map(|_| hear(&mut desk)).collect();
    let told: Vec<_> = told.iter().map(|n| (&*n.target, n.kind, n.alert.kind)).collect();
    assert_eq!(
        told,
        [
            ("chat", NoticeKind::Resolved, "message_failing"),
            ("chat", NoticeKind::Firing, "message_parked"),
            ("pager", NoticeKind::Firing, "message_parked")
        ]
    );
    desk.wait(secs(899));
    assert!(desk.notices.iter().all(|notice| &*notice.target != "manager"));
    desk.wait(secs(2));
    assert!(desk.notices.iter().any(|notice| &*notice.target == "manager"));
}

#[test]
fn a_target_that_is_away_is_asked_again_and_alone_suffers() {
    let mut desk = desk(parks_at(1), vec![target("away"), target("here")], 1);
    desk.fill("a", 1);
    fail(&mut desk, 1);
    let (away, here) = (next(&mut desk), next(&mut desk));
    answer(&mut desk, &here, Ok(()));
    let mut away = away;
    for tries in 1..=8 {
        assert_eq!((&*away.target, away.attempt), ("away", tries));
        let before = desk.now;
        answer(&mut desk, &away, Err(TellFailure { retry_after: None }));
        assert!(desk.notices.is_empty(), "not at once");
        while desk.notices.is_empty() {
            let at = desk.dispatcher.poll_timeout().unwrap();
            desk.wait(at.since(desk.now));
        }
        assert!(desk.now.since(before) <= secs(300));
        desk.notices.retain(|notice| &*notice.target == "away");
        away = next(&mut desk);
    }
    answer(&mut desk, &away, Err(TellFailure { retry_after: Some(secs(200)) }));
    desk.wait(secs(199));
    assert!(desk.notices.iter().all(|notice| &*notice.target != "away"));
}

#[test]
fn what_was_told_survives_a_restart() {
    let mut desk = desk(parks_at(1), vec![target("t"), target("u")], 1);
    desk.fill("a", 1);
    fail(&mut desk, 1);
    let told = next(&mut desk);
    answer(&mut desk, &told, Ok(()));
    desk.notices.clear();
    desk.restart();
    // The other one's notice may have been lost.
    assert_eq!((&*next(&mut desk).target, desk.notices.len()), ("u", 0));
    let reason = "".into();
    assert_eq!(desk.decide("a", 1, Decision::Skip { reason }), Reply::Done);
    // The other one may have heard that it fires, so it has to hear that it is over.
    assert_eq!((&*told.target, next(&mut desk).kind), ("t", NoticeKind::Resolved));
    desk.notices.clear();
    desk.restart();
    let told: Vec<_> = desk.notices.iter().map(|n| (&*n.target, n.kind)).collect();
    assert_eq!(told, [("t", NoticeKind::Resolved), ("u", NoticeKind::Resolved)]);
}

#[test]
fn targets_hear_of_their_streams_and_of_what_is_bad_enough() {
    let critical = AlertTarget { min_severity: Severity::Critical, ..target("critical") };
    let other = AlertTarget { streams: vec![Pattern::new("b.*")], ..target("other") };
    let mut desk = desk(parks_at(1), vec![critical, other], 1);
    desk.fill("a.1", 1);
    fail(&mut desk, 1);
    assert!(desk.notices.is_empty());
    desk.fill("b.1", 1);
    fail(&mut desk, 1);
    assert_eq!(&*next(&mut desk).target, "other");
    desk.tell(Event::Space { low: true });
    let disk: Vec<_> = desk.notices.iter().map(|n| (&*n.target, n.alert.kind)).collect();
    assert_eq!(disk, [("critical", "disk_low"), ("other", "disk_low")]);
    desk.tell(Event::Space { low: false });
    assert!(live(&desk).iter().all(|alert| alert.kind != "disk_low"));
}

#[test]
fn a_head_that_stands_still_is_told_and_gets_worse() {
    let settings = StreamSettings { hold_alert_after: secs(60), ..parks_at(5) };
    let mut desk = desk(settings, vec![target("t")], 1);
    desk.fill("a", 3);
    for _ in 0..2 {
        let dispatch = desk.wait_for_dispatch();
        desk.answer(dispatch.attempt, 200);
    }
    desk.pause("a");
    desk.wait(secs(59));
    assert!(desk.notices.is_empty());
    desk.wait(secs(2));
    let held = hear(&mut desk);
    assert_eq!((held.alert.kind, held.alert.severity), ("stream_held", Severity::Warning));
    assert!(held.alert.detail.contains("paused"), "{}", held.alert.detail);
    desk.wait(secs(180));
    assert_eq!(hear(&mut desk).kind, NoticeKind::Worse);
    desk.resume("a");
    let last = desk.wait_for_dispatch();
    desk.answer(last.attempt, 200);
    assert_eq!(hear(&mut desk).kind, NoticeKind::Resolved);
    assert_eq!(desk.order(), [1, 2, 3]);
}

#[test]
fn a_stream_that_moves_is_not_held() {
    let settings = StreamSettings { hold_alert_after: secs(10), ..parks_at(5) };
    let mut desk = desk(settings, vec![target("t")], 1);
    desk.fill("a", 100);
    for _ in 0..100 {
        desk.wait(Duration::from_millis(500));
        let dispatch = desk.wait_for_dispatch();
        desk.answer(dispatch.attempt, 200);
    }
    assert!(desk.notices.is_empty());
}

#[test]
fn a_pool_without_workers_is_told_once_there_is_work() {
    let mut desk = desk(parks_at(5), vec![target("t")], 0);
    desk.wait(secs(100));
    assert!(desk.notices.is_empty());
    desk.fill("a", 1);
    desk.wait(secs(7));
    let alert = hear(&mut desk).alert;
    assert_eq!((alert.kind, alert.severity), ("no_worker", Severity::Critical));
    desk.join("w");
    desk.wait(secs(2));
    assert_eq!(hear(&mut desk).kind, NoticeKind::Resolved);
}

#[test]
fn an_ejected_worker_is_told_until_it_does_well_again() {
    let mut desk = desk(parks_at(1), vec![], 2);
    let skip = StreamSettings { on_exhausted: OnExhausted::Skip, ..parks_at(1) };
    let settings = Settings {
        default_stream: Arc::new(skip),
        alert_targets: vec![target("t")],
        ..Settings::default()
    };
    desk.tell(Event::Settings(Arc::new(settings)));
    desk.fill("a", 60);
    while desk.notices.is_empty() {
        let dispatch = desk.wait_for_dispatch();
        let status = if &*dispatch.worker == "w0" { 500 } else { 200 };
        desk.answer(dispatch.attempt, status);
    }
    let alert = hear(&mut desk).alert;
    assert_eq!((alert.kind, alert.worker.as_deref()), ("worker_ejected", Some("w0")));
    desk.wait(secs(40));
    assert!(desk.notices.is_empty(), "its time is over, but nobody knows yet whether it is well");
    while desk.notices.is_empty() {
        if desk.dispatches.is_empty() {
            let at = desk.dispatcher.poll_timeout().unwrap();
            desk.wait(at.since(desk.now));
            continue;
        }
        let dispatch = desk.wait_for_dispatch();
        desk.answer(dispatch.attempt, 200);
    }
    assert_eq!(hear(&mut desk).kind, NoticeKind::Resolved);
}

#[test]
fn answers_that_differ_are_told() {
    let mut desk = desk(parks_at(5), vec![target("t")], 2);
    desk.fill("a", 1);
    let (first, second) = (desk.wait_for_dispatch(), desk.wait_for_dispatch());
    desk.answer_with(second.attempt, 200, "second");
    desk.answer_with(first.attempt, 200, "first");
    let alert = hear(&mut desk).alert;
    assert_eq!((alert.kind, alert.severity), ("answers_diverge", Severity::Warning));
    desk.wait(secs(3_700));
    assert!(desk.notices.iter().any(|notice| notice.kind == NoticeKind::Resolved));
}

/// Lets the next messages be parked.
fn park(desk: &mut Desk, count: usize) {
    for _ in 0..count {
        if desk.dispatches.is_empty() {
            desk.fetch_all();
        }
        let dispatch = desk.wait_for_dispatch();
        let reply = WorkerReply::Answer {
            status: 200,
            outcome: Some(rollcall_common::protocol::Outcome::Park),
            reason: "look at it".into(),
            retry_after: None,
            payload: Default::default(),
        };
        desk.tell(Event::AttemptEnded { attempt: dispatch.attempt, reply });
    }
}

/// Decides the same of the first parked messages.
fn skip_first(desk: &mut Desk, count: usize) {
    let places: Vec<_> = desk.dispatcher.parked().map(|(stream, at, ..)| (stream, at)).collect();
    let decision = Decision::Skip { reason: "old".into() };
    let bulk = Bulk { places: places[..count].to_vec(), decision, by: "ann".into() };
    desk.tell(Event::DecidedMany { request: RequestId(5), bulk });
    let count = u64::try_from(count).unwrap();
    assert_eq!(desk.replies.pop().unwrap(), Reply::DecidedMany { count });
}

#[test]
fn parked_messages_of_one_stream_are_one_alert() {
    let mut desk = desk(parks_at(1), vec![target("t")], 1);
    desk.fill("a", 300);
    park(&mut desk, 300);
    let alerts = live(&desk);
    assert_eq!((alerts.len(), alerts[0].count), (1, 300));
    let span = alerts[0].span.map(|(first, last)| (first.0, last.0));
    assert_eq!((span, alerts[0].sequence.unwrap().0), (Some((1, 300)), 1));
    assert!(alerts[0].title.contains("300 messages of a"), "{}", alerts[0].title);
    assert_eq!(hear(&mut desk).kind, NoticeKind::Firing);
    assert!(desk.notices.is_empty(), "it is told once");
    let places: Vec<_> = desk.dispatcher.parked().map(|(stream, at, ..)| (stream, at)).collect();
    for (number, place) in places.iter().enumerate() {
        let after = desk.dispatcher.parked_after(*place).map(|(stream, at, ..)| (stream, at));
        assert!(after.eq(places[number + 1..].iter().copied()));
    }
    let decision = Decision::Retry { reason: "fixed".into() };
    let bulk =
        || Bulk { places: places[..200].to_vec(), decision: decision.clone(), by: "ann".into() };
    for count in [200, 0] {
        desk.tell(Event::DecidedMany { request: RequestId(5), bulk: bulk() });
        let reply = desk.replies.pop().unwrap();
        assert_eq!(reply, Reply::DecidedMany { count }, "what is parked no more is left alone");
    }
    let audited = desk.dispatcher.audited().filter(|audit| &*audit.act == "retry").count();
    assert_eq!(audited, 200);
    let alerts = live(&desk);
    assert_eq!((alerts.len(), alerts[0].count, alerts[0].sequence.unwrap().0), (1, 100, 201));
    skip_first(&mut desk, 100);
    assert!(live(&desk).is_empty());
    assert_eq!(hear(&mut desk).kind, NoticeKind::Resolved);
}

#[test]
fn a_flood_of_parked_streams_has_one_alert_for_the_rest_until_each_has_its_own() {
    let mut desk = desk(parks_at(1), vec![], 1);
    for number in 0..1_200 {
        desk.fill(&format!("s{number}"), 1);
    }
    park(&mut desk, 1_200);
    let rest = |desk: &Desk| {
        let alerts = live(desk);
        let rest = alerts.iter().find(|alert| alert.stream.is_none());
        (alerts.len(), rest.map(|alert| alert.title.clone()))
    };
    let (count, title) = rest(&desk);
    assert_eq!(count, 1_001);
    assert!(title.unwrap().contains("200 more streams"));
    skip_first(&mut desk, 100);
    assert_eq!(rest(&desk).0, 901);
    skip_first(&mut desk, 150);
    assert_eq!(rest(&desk), (950, None), "those that had none have theirs");
    skip_first(&mut desk, 950);
    assert!(live(&desk).is_empty());
    desk.dispatcher.verify(desk.now).unwrap();
}

#[test]
fn a_storm_of_alerts_is_told_as_one_and_then_one_after_the_other() {
    let mut desk = desk(parks_at(1), vec![target("t")], 1);
    for number in 0..200 {
        desk.fill(&format!("s{number}"), 1);
    }
    park(&mut desk, 200);
    let mut told = Vec::new();
    let mut hear_all = |desk: &mut Desk| {
        let before = told.len();
        while !desk.notices.is_empty() {
            let notice = hear(desk);
            told.push((notice.alert.kind, notice.kind));
        }
        told.len() - before
    };
    assert_eq!(hear_all(&mut desk), 41);
    assert_eq!(live(&desk).len(), 201, "all of them are in the list");
    desk.wait(secs(1));
    assert_eq!(hear_all(&mut desk), 0);
    for _ in 0..3 {
        desk.wait(secs(30));
        assert_eq!(hear_all(&mut desk), 1, "one more every half a minute");
    }
    skip_first(&mut desk, 200);
    for _ in 0..2 {
        hear_all(&mut desk);
        desk.wait(secs(2));
    }
    let of = |kind, what| told.iter().filter(|one| **one == (kind, what)).count();
    assert_eq!(of("alert_storm", NoticeKind::Firing), 1);
    assert_eq!(of("alert_storm", NoticeKind::Resolved), 1);
    assert_eq!(of("message_parked", NoticeKind::Firing), 43);
    assert_eq!(of("message_parked", NoticeKind::Resolved), 43, "whoever heard of it hears its end");
    assert!(live(&desk).is_empty());
    desk.wait(secs(10_000));
    assert!(desk.notices.is_empty());
    desk.dispatcher.verify(desk.now).unwrap();
}

#[test]
fn a_skipping_stream_calls_nobody_until_it_holds() {
    let skip = StreamSettings { on_exhausted: OnExhausted::Skip, ..parks_at(1) };
    let mut desk = desk(skip, vec![target("t")], 1);
    desk.fill("a", 2);
    let (first, second) = (desk.wait_for_dispatch(), desk.wait_for_dispatch());
    desk.answer(second.attempt, 500);
    assert!(live(&desk).is_empty());
    let settings = Settings {
        default_stream: Arc::new(parks_at(1)),
        alert_targets: vec![target("t")],
        ..Settings::default()
    };
    desk.tell(Event::Settings(Arc::new(settings)));
    desk.wait(Duration::ZERO);
    let alert = hear(&mut desk).alert;
    assert_eq!((alert.kind, alert.sequence.unwrap().0), ("message_parked", 2));
    desk.answer(first.attempt, 200);
    assert_eq!(desk.order(), [1]);
}

#[test]
fn nothing_of_alerts_is_in_the_way_of_deliveries() {
    let mut desk = desk(parks_at(1), vec![target("t")], 1);
    desk.subscribe("s");
    desk.fill("a", 1);
    fail(&mut desk, 1);
    desk.decide("a", 1, Decision::Resolve { payload: Default::default(), reason: "".into() });
    // Nobody has answered the notice, and the result is on its way.
    let delivery = desk.deliveries.remove(0);
    desk.refuse(&delivery, Refusal::Rejected);
    assert_eq!(desk.notices.len(), 1);
    let taken = |r: &&Record| matches!(r, Record::Alert(AlertRecord::Told { taken: true, .. }));
    assert_eq!(desk.records.iter().filter(taken).count(), 0);
}

#[test]
fn a_destination_that_takes_nothing_is_told_until_it_takes_again() {
    let mut desk = desk(parks_at(1), vec![target("t")], 1);
    desk.subscribe("s");
    desk.fill("a", 1);
    let dispatch = desk.wait_for_dispatch();
    desk.answer(dispatch.attempt, 200);
    while desk.notices.is_empty() {
        if desk.deliveries.is_empty() {
            let at = desk.dispatcher.poll_timeout().unwrap();
            desk.wait(at.since(desk.now));
            continue;
        }
        let delivery = desk.deliveries.remove(0);
        desk.refuse(&delivery, Refusal::Failed);
    }
    let alert = hear(&mut desk).alert;
    assert_eq!((alert.kind, alert.severity), ("destination_failing", Severity::Warning));
    assert_eq!(alert.subscription.as_deref(), Some("s"));
    while desk.deliveries.is_empty() {
        let at = desk.dispatcher.poll_timeout().unwrap();
        desk.wait(at.since(desk.now));
    }
    let delivery = desk.deliveries.remove(0);
    desk.take(&delivery, 1);
    desk.wait(secs(2));
    assert_eq!(hear(&mut desk).kind, NoticeKind::Resolved);
}

#[test]
fn a_destination_that_is_gone_or_refuses_for_good_is_told_at_once() {
    for (refusal, times) in [(Refusal::Gone, 1), (Refusal::Rejected, 5), (Refusal::Unfit, 1)] {
        let mut desk = desk(parks_at(1), vec![target("t")], 1);
        desk.subscribe("s");
        desk.fill("a", 1);
        let dispatch = desk.wait_for_dispatch();
        desk.answer(dispatch.attempt, 200);
        for _ in 0..times {
            while desk.deliveries.is_empty() {
                let at = desk.dispatcher.poll_timeout().unwrap();
                desk.wait(at.since(desk.now));
            }
            let delivery = desk.deliveries.remove(0);
            desk.refuse(&delivery, refusal);
        }
        desk.wait(secs(2));
        let alert = hear(&mut desk).alert;
        assert_eq!((alert.kind, alert.severity), ("destination_failing", Severity::Error));
        desk.say("s", Order::Resume);
        let delivery = desk.deliveries.remove(0);
        desk.take(&delivery, 1);
        desk.wait(secs(2));
        assert_eq!(hear(&mut desk).kind, NoticeKind::Resolved, "{refusal:?}");
        let acts: Vec<_> =
            desk.dispatcher.audited().map(|audit| (&*audit.act, &*audit.on)).collect();
        assert_eq!(acts, [("resume", "subscription s")]);
    }
}

#[test]
fn a_subscription_that_stays_behind_is_told() {
    let mut desk = desk(parks_at(1), vec![target("t")], 1);
    desk.subscribe("s");
    desk.say("s", Order::Pause);
    desk.fill("a", 1);
    let dispatch = desk.wait_for_dispatch();
    desk.answer(dispatch.attempt, 200);
    desk.wait(secs(590));
    assert!(desk.notices.is_empty());
    desk.wait(secs(20));
    let alert = hear(&mut desk).alert;
    assert_eq!((alert.kind, alert.severity), ("subscription_lagging", Severity::Warning));
    desk.say("s", Order::Resume);
    let delivery = desk.deliveries.remove(0);
    desk.take(&delivery, 1);
    desk.wait(secs(2));
    assert_eq!(hear(&mut desk).kind, NoticeKind::Resolved);
}
