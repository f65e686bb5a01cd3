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
    fixture::{Fixture, name, secs},
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
    let notice = next(fixture);
    answer(fixture, &notice, Ok(()));
    notice
}

fn next(fixture: &mut Fixture) -> Notice {
    assert!(!fixture.notices.is_empty(), "somebody is told");
    fixture.notices.remove(0)
}

fn answer(fixture: &mut Fixture, notice: &Notice, outcome: Result<(), TellFailure>) {
    let (alert, target) = (notice.alert.id, Arc::clone(&notice.target));
    fixture.tell(Event::Notified { alert, target, outcome });
}

fn live(fixture: &Fixture) -> Vec<AlertStatus> {
    fixture.dispatcher.alerts().filter(|alert| alert.stage != AlertStage::Resolved).collect()
}

/// Lets all attempts of the next message fail.
fn fail(fixture: &mut Fixture, attempts: usize) {
    for _ in 0..attempts {
        let dispatch = fixture.wait_for_dispatch();
        fixture.answer(dispatch.attempt, 500);
    }
}

#[test]
fn five_failures_at_the_head_call_a_person_once_and_201_results_leave() {
    let mut fixture = fixture(parks_at(5), vec![target("t")], 3);
    fixture.fill("a", 201);
    let mut head = fixture.wait_for_dispatch();
    for dispatch in std::mem::take(&mut fixture.dispatches) {
        fixture.answer(dispatch.attempt, 200);
    }
    for _ in 0..5 {
        fixture.answer(head.attempt, 500);
        if fixture.notices.is_empty() {
            head = fixture.wait_for_dispatch();
        }
    }
    let notice = hear(&mut fixture);
    let alert = &notice.alert;
    assert_eq!((notice.kind, alert.kind), (NoticeKind::Firing, "message_parked"));
    assert_eq!((alert.stream.clone(), alert.severity), (Some(name("a")), Severity::Error));
    assert!(alert.detail.contains("5 failures") && alert.detail.contains("200 wait behind it"));
    fixture.wait(secs(60));
    assert!(fixture.notices.is_empty() && fixture.released.is_empty());
    let before = fixture.now;
    let decision = Decision::Resolve { payload: Default::default(), reason: "by hand".into() };
    assert_eq!(fixture.decide("a", 1, decision), Reply::Done);
    assert_eq!(fixture.order(), (1..=201).collect::<Vec<_>>());
    assert_eq!(hear(&mut fixture).kind, NoticeKind::Resolved);
    assert_eq!((fixture.now, live(&fixture).len()), (before, 0));
    let audit = fixture.dispatcher.audited().next().unwrap();
    assert_eq!((&*audit.by, &*audit.act, &*audit.on), ("ann", "resolve", "a/1"));
    assert_eq!(&*audit.reason, "by hand");
}

#[test]
fn an_alert_is_repeated_until_somebody_has_seen_it() {
    let mut fixture = fixture(parks_at(1), vec![target("t")], 1);
    fixture.fill("a", 1);
    fail(&mut fixture, 1);
    let id = hear(&mut fixture).alert.id;
    fixture.wait(secs(3_599));
    let others = fixture.notices.drain(..).filter(|notice| notice.alert.id == id).count();
    assert_eq!(others, 0);
    fixture.wait(secs(2));
    assert_eq!(hear(&mut fixture).kind, NoticeKind::Repeated);
    let (request, by, reason) = (RequestId(9), "ann".into(), "on it".into());
    fixture.tell(Event::Acknowledged { request, alert: id, by, reason });
    assert_eq!(fixture.replies.pop(), Some(Reply::Done));
    fixture.notices.clear();
    fixture.wait(secs(100_000));
    assert!(fixture.notices.iter().all(|notice| notice.alert.id != id));
    assert_eq!(fixture.dispatcher.alert(id).unwrap().acknowledged_by.as_deref(), Some("ann"));
    let (request, by, reason) = (RequestId(9), "ann".into(), "".into());
    fixture.tell(Event::Acknowledged { request, alert: AlertId(999), by, reason });
    assert_eq!(fixture.replies.pop(), Some(Reply::UnknownAlert));
}

#[test]
fn a_ladder_has_rungs_by_failures_and_by_age() {
    let early = AlertTarget { after_failures: Some(2), ..target("chat") };
    let late = AlertTarget { after: secs(900), ..target("manager") };
    let mut fixture = fixture(parks_at(5), vec![early, target("pager"), late], 3);
    fixture.fill("a", 1);
    fail(&mut fixture, 1);
    assert!(fixture.notices.is_empty());
    fail(&mut fixture, 1);
    let failing = hear(&mut fixture);
    assert_eq!((&*failing.target, failing.alert.kind), ("chat", "message_failing"));
    fail(&mut fixture, 3);
    let told: Vec<_> = (0..3).map(|_| hear(&mut fixture)).collect();
    let told: Vec<_> = told.iter().map(|n| (&*n.target, n.kind, n.alert.kind)).collect();
    assert_eq!(
        told,
        [
            ("chat", NoticeKind::Resolved, "message_failing"),
            ("chat", NoticeKind::Firing, "message_parked"),
            ("pager", NoticeKind::Firing, "message_parked")
        ]
    );
    fixture.wait(secs(899));
    assert!(fixture.notices.iter().all(|notice| &*notice.target != "manager"));
    fixture.wait(secs(2));
    assert!(fixture.notices.iter().any(|notice| &*notice.target == "manager"));
}

#[test]
fn a_target_that_is_away_is_asked_again_and_alone_suffers() {
    let mut fixture = fixture(parks_at(1), vec![target("away"), target("here")], 1);
    fixture.fill("a", 1);
    fail(&mut fixture, 1);
    let (away, here) = (next(&mut fixture), next(&mut fixture));
    answer(&mut fixture, &here, Ok(()));
    let mut away = away;
    for tries in 1..=8 {
        assert_eq!((&*away.target, away.attempt), ("away", tries));
        let before = fixture.now;
        answer(&mut fixture, &away, Err(TellFailure { retry_after: None }));
        assert!(fixture.notices.is_empty(), "not at once");
        while fixture.notices.is_empty() {
            let at = fixture.dispatcher.poll_timeout().unwrap();
            fixture.wait(at.since(fixture.now));
        }
        assert!(fixture.now.since(before) <= secs(300));
        fixture.notices.retain(|notice| &*notice.target == "away");
        away = next(&mut fixture);
    }
    answer(&mut fixture, &away, Err(TellFailure { retry_after: Some(secs(200)) }));
    fixture.wait(secs(199));
    assert!(fixture.notices.iter().all(|notice| &*notice.target != "away"));
}

#[test]
fn what_was_told_survives_a_restart() {
    let mut fixture = fixture(parks_at(1), vec![target("t"), target("u")], 1);
    fixture.fill("a", 1);
    fail(&mut fixture, 1);
    let told = next(&mut fixture);
    answer(&mut fixture, &told, Ok(()));
    fixture.notices.clear();
    fixture.restart();
    // The other one's notice may have been lost.
    assert_eq!((&*next(&mut fixture).target, fixture.notices.len()), ("u", 0));
    let reason = "".into();
    assert_eq!(fixture.decide("a", 1, Decision::Skip { reason }), Reply::Done);
    // The other one may have heard that it fires, so it has to hear that it is over.
    assert_eq!((&*told.target, next(&mut fixture).kind), ("t", NoticeKind::Resolved));
    fixture.notices.clear();
    fixture.restart();
    let told: Vec<_> = fixture.notices.iter().map(|n| (&*n.target, n.kind)).collect();
    assert_eq!(told, [("t", NoticeKind::Resolved), ("u", NoticeKind::Resolved)]);
}

#[test]
fn targets_hear_of_their_streams_and_of_what_is_bad_enough() {
    let critical = AlertTarget { min_severity: Severity::Critical, ..target("critical") };
    let other = AlertTarget { streams: vec![Pattern::new("b.*")], ..target("other") };
    let mut fixture = fixture(parks_at(1), vec![critical, other], 1);
    fixture.fill("a.1", 1);
    fail(&mut fixture, 1);
    assert!(fixture.notices.is_empty());
    fixture.fill("b.1", 1);
    fail(&mut fixture, 1);
    assert_eq!(&*next(&mut fixture).target, "other");
    fixture.tell(Event::Space { low: true });
    let disk: Vec<_> = fixture.notices.iter().map(|n| (&*n.target, n.alert.kind)).collect();
    assert_eq!(disk, [("critical", "disk_low"), ("other", "disk_low")]);
    fixture.tell(Event::Space { low: false });
    assert!(live(&fixture).iter().all(|alert| alert.kind != "disk_low"));
}

#[test]
fn a_head_that_stands_still_is_told_and_gets_worse() {
    let settings = StreamSettings { hold_alert_after: secs(60), ..parks_at(5) };
    let mut fixture = fixture(settings, vec![target("t")], 1);
    fixture.fill("a", 3);
    for _ in 0..2 {
        let dispatch = fixture.wait_for_dispatch();
        fixture.answer(dispatch.attempt, 200);
    }
    fixture.pause("a");
    fixture.wait(secs(59));
    assert!(fixture.notices.is_empty());
    fixture.wait(secs(2));
    let held = hear(&mut fixture);
    assert_eq!((held.alert.kind, held.alert.severity), ("stream_held", Severity::Warning));
    assert!(held.alert.detail.contains("paused"), "{}", held.alert.detail);
    fixture.wait(secs(180));
    assert_eq!(hear(&mut fixture).kind, NoticeKind::Worse);
    fixture.resume("a");
    let last = fixture.wait_for_dispatch();
    fixture.answer(last.attempt, 200);
    assert_eq!(hear(&mut fixture).kind, NoticeKind::Resolved);
    assert_eq!(fixture.order(), [1, 2, 3]);
}

#[test]
fn a_stream_that_moves_is_not_held() {
    let settings = StreamSettings { hold_alert_after: secs(10), ..parks_at(5) };
    let mut fixture = fixture(settings, vec![target("t")], 1);
    fixture.fill("a", 100);
    for _ in 0..100 {
        fixture.wait(Duration::from_millis(500));
        let dispatch = fixture.wait_for_dispatch();
        fixture.answer(dispatch.attempt, 200);
    }
    assert!(fixture.notices.is_empty());
}

#[test]
fn a_pool_without_workers_is_told_once_there_is_work() {
    let mut fixture = fixture(parks_at(5), vec![target("t")], 0);
    fixture.wait(secs(100));
    assert!(fixture.notices.is_empty());
    fixture.fill("a", 1);
    fixture.wait(secs(7));
    let alert = hear(&mut fixture).alert;
    assert_eq!((alert.kind, alert.severity), ("no_worker", Severity::Critical));
    fixture.join("w");
    fixture.wait(secs(2));
    assert_eq!(hear(&mut fixture).kind, NoticeKind::Resolved);
}

#[test]
fn an_ejected_worker_is_told_until_it_does_well_again() {
    let mut fixture = fixture(parks_at(1), vec![], 2);
    let skip = StreamSettings { on_exhausted: OnExhausted::Skip, ..parks_at(1) };
    let settings = Settings {
        default_stream: Arc::new(skip),
        alert_targets: vec![target("t")],
        ..Settings::default()
    };
    fixture.tell(Event::Settings(Arc::new(settings)));
    fixture.fill("a", 60);
    while fixture.notices.is_empty() {
        let dispatch = fixture.wait_for_dispatch();
        let status = if &*dispatch.worker == "w0" { 500 } else { 200 };
        fixture.answer(dispatch.attempt, status);
    }
    let alert = hear(&mut fixture).alert;
    assert_eq!((alert.kind, alert.worker.as_deref()), ("worker_ejected", Some("w0")));
    fixture.wait(secs(40));
    assert!(
        fixture.notices.is_empty(),
        "its time is over, but nobody knows yet whether it is well"
    );
    while fixture.notices.is_empty() {
        if fixture.dispatches.is_empty() {
            let at = fixture.dispatcher.poll_timeout().unwrap();
            fixture.wait(at.since(fixture.now));
            continue;
        }
        let dispatch = fixture.wait_for_dispatch();
        fixture.answer(dispatch.attempt, 200);
    }
    assert_eq!(hear(&mut fixture).kind, NoticeKind::Resolved);
}

#[test]
fn answers_that_differ_are_told() {
    let mut fixture = fixture(parks_at(5), vec![target("t")], 2);
    fixture.fill("a", 1);
    let (first, second) = (fixture.wait_for_dispatch(), fixture.wait_for_dispatch());
    fixture.answer_with(second.attempt, 200, "second");
    fixture.answer_with(first.attempt, 200, "first");
    let alert = hear(&mut fixture).alert;
    assert_eq!((alert.kind, alert.severity), ("answers_diverge", Severity::Warning));
    fixture.wait(secs(3_700));
    assert!(fixture.notices.iter().any(|notice| notice.kind == NoticeKind::Resolved));
}

/// Lets the next messages be parked.
fn park(fixture: &mut Fixture, count: usize) {
    for _ in 0..count {
        if fixture.dispatches.is_empty() {
            fixture.fetch_all();
        }
        let dispatch = fixture.wait_for_dispatch();
        let reply = WorkerReply::Answer {
            status: 200,
            outcome: Some(rollcall_common::protocol::Outcome::Park),
            reason: "look at it".into(),
            retry_after: None,
            payload: Default::default(),
        };
        fixture.tell(Event::AttemptEnded { attempt: dispatch.attempt, reply });
    }
}

/// Decides the same of the first parked messages.
fn skip_first(fixture: &mut Fixture, count: usize) {
    let places: Vec<_> = fixture.dispatcher.parked().map(|(stream, at, ..)| (stream, at)).collect();
    let decision = Decision::Skip { reason: "old".into() };
    let bulk = Bulk { places: places[..count].to_vec(), decision, by: "ann".into() };
    fixture.tell(Event::DecidedMany { request: RequestId(5), bulk });
    let count = u64::try_from(count).unwrap();
    assert_eq!(fixture.replies.pop().unwrap(), Reply::DecidedMany { count });
}

#[test]
fn parked_messages_of_one_stream_are_one_alert() {
    let mut fixture = fixture(parks_at(1), vec![target("t")], 1);
    fixture.fill("a", 300);
    park(&mut fixture, 300);
    let alerts = live(&fixture);
    assert_eq!((alerts.len(), alerts[0].count), (1, 300));
    let span = alerts[0].span.map(|(first, last)| (first.0, last.0));
    assert_eq!((span, alerts[0].sequence.unwrap().0), (Some((1, 300)), 1));
    assert!(alerts[0].title.contains("300 messages of a"), "{}", alerts[0].title);
    assert_eq!(hear(&mut fixture).kind, NoticeKind::Firing);
    assert!(fixture.notices.is_empty(), "it is told once");
    let places: Vec<_> = fixture.dispatcher.parked().map(|(stream, at, ..)| (stream, at)).collect();
    for (number, place) in places.iter().enumerate() {
        let after = fixture.dispatcher.parked_after(*place).map(|(stream, at, ..)| (stream, at));
        assert!(after.eq(places[number + 1..].iter().copied()));
    }
    let decision = Decision::Retry { reason: "fixed".into() };
    let bulk =
        || Bulk { places: places[..200].to_vec(), decision: decision.clone(), by: "ann".into() };
    for count in [200, 0] {
        fixture.tell(Event::DecidedMany { request: RequestId(5), bulk: bulk() });
        let reply = fixture.replies.pop().unwrap();
        assert_eq!(reply, Reply::DecidedMany { count }, "what is parked no more is left alone");
    }
    let audited = fixture.dispatcher.audited().filter(|audit| &*audit.act == "retry").count();
    assert_eq!(audited, 200);
    let alerts = live(&fixture);
    assert_eq!((alerts.len(), alerts[0].count, alerts[0].sequence.unwrap().0), (1, 100, 201));
    skip_first(&mut fixture, 100);
    assert!(live(&fixture).is_empty());
    assert_eq!(hear(&mut fixture).kind, NoticeKind::Resolved);
}

#[test]
fn a_flood_of_parked_streams_has_one_alert_for_the_rest_until_each_has_its_own() {
    let mut fixture = fixture(parks_at(1), vec![], 1);
    for number in 0..1_200 {
        fixture.fill(&format!("s{number}"), 1);
    }
    park(&mut fixture, 1_200);
    let rest = |fixture: &Fixture| {
        let alerts = live(fixture);
        let rest = alerts.iter().find(|alert| alert.stream.is_none());
        (alerts.len(), rest.map(|alert| alert.title.clone()))
    };
    let (count, title) = rest(&fixture);
    assert_eq!(count, 1_001);
    assert!(title.unwrap().contains("200 more streams"));
    skip_first(&mut fixture, 100);
    assert_eq!(rest(&fixture).0, 901);
    skip_first(&mut fixture, 150);
    assert_eq!(rest(&fixture), (950, None), "those that had none have theirs");
    skip_first(&mut fixture, 950);
    assert!(live(&fixture).is_empty());
    fixture.dispatcher.verify(fixture.now).unwrap();
}

#[test]
fn a_storm_of_alerts_is_told_as_one_and_then_one_after_the_other() {
    let mut fixture = fixture(parks_at(1), vec![target("t")], 1);
    for number in 0..200 {
        fixture.fill(&format!("s{number}"), 1);
    }
    park(&mut fixture, 200);
    let mut told = Vec::new();
    let mut hear_all = |fixture: &mut Fixture| {
        let before = told.len();
        while !fixture.notices.is_empty() {
            let notice = hear(fixture);
            told.push((notice.alert.kind, notice.kind));
        }
        told.len() - before
    };
    assert_eq!(hear_all(&mut fixture), 41);
    assert_eq!(live(&fixture).len(), 201, "all of them are in the list");
    fixture.wait(secs(1));
    assert_eq!(hear_all(&mut fixture), 0);
    for _ in 0..3 {
        fixture.wait(secs(30));
        assert_eq!(hear_all(&mut fixture), 1, "one more every half a minute");
    }
    skip_first(&mut fixture, 200);
    for _ in 0..2 {
        hear_all(&mut fixture);
        fixture.wait(secs(2));
    }
    let of = |kind, what| told.iter().filter(|one| **one == (kind, what)).count();
    assert_eq!(of("alert_storm", NoticeKind::Firing), 1);
    assert_eq!(of("alert_storm", NoticeKind::Resolved), 1);
    assert_eq!(of("message_parked", NoticeKind::Firing), 43);
    assert_eq!(of("message_parked", NoticeKind::Resolved), 43, "whoever heard of it hears its end");
    assert!(live(&fixture).is_empty());
    fixture.wait(secs(10_000));
    assert!(fixture.notices.is_empty());
    fixture.dispatcher.verify(fixture.now).unwrap();
}

#[test]
fn a_skipping_stream_calls_nobody_until_it_holds() {
    let skip = StreamSettings { on_exhausted: OnExhausted::Skip, ..parks_at(1) };
    let mut fixture = fixture(skip, vec![target("t")], 1);
    fixture.fill("a", 2);
    let (first, second) = (fixture.wait_for_dispatch(), fixture.wait_for_dispatch());
    fixture.answer(second.attempt, 500);
    assert!(live(&fixture).is_empty());
    let settings = Settings {
        default_stream: Arc::new(parks_at(1)),
        alert_targets: vec![target("t")],
        ..Settings::default()
    };
    fixture.tell(Event::Settings(Arc::new(settings)));
    fixture.wait(Duration::ZERO);
    let alert = hear(&mut fixture).alert;
    assert_eq!((alert.kind, alert.sequence.unwrap().0), ("message_parked", 2));
    fixture.answer(first.attempt, 200);
    assert_eq!(fixture.order(), [1]);
}

#[test]
fn nothing_of_alerts_is_in_the_way_of_deliveries() {
    let mut fixture = fixture(parks_at(1), vec![target("t")], 1);
    fixture.subscribe("s");
    fixture.fill("a", 1);
    fail(&mut fixture, 1);
    fixture.decide("a", 1, Decision::Resolve { payload: Default::default(), reason: "".into() });
    // Nobody has answered the notice, and the result is on its way.
    let delivery = fixture.deliveries.remove(0);
    fixture.refuse(&delivery, Refusal::Rejected);
    assert_eq!(fixture.notices.len(), 1);
    let taken = |r: &&Record| matches!(r, Record::Alert(AlertRecord::Told { taken: true, .. }));
    assert_eq!(fixture.records.iter().filter(taken).count(), 0);
}

#[test]
fn a_destination_that_takes_nothing_is_told_until_it_takes_again() {
    let mut fixture = fixture(parks_at(1), vec![target("t")], 1);
    fixture.subscribe("s");
    fixture.fill("a", 1);
    let dispatch = fixture.wait_for_dispatch();
    fixture.answer(dispatch.attempt, 200);
    while fixture.notices.is_empty() {
        if fixture.deliveries.is_empty() {
            let at = fixture.dispatcher.poll_timeout().unwrap();
            fixture.wait(at.since(fixture.now));
            continue;
        }
        let delivery = fixture.deliveries.remove(0);
        fixture.refuse(&delivery, Refusal::Failed);
    }
    let alert = hear(&mut fixture).alert;
    assert_eq!((alert.kind, alert.severity), ("destination_failing", Severity::Warning));
    assert_eq!(alert.subscription.as_deref(), Some("s"));
    while fixture.deliveries.is_empty() {
        let at = fixture.dispatcher.poll_timeout().unwrap();
        fixture.wait(at.since(fixture.now));
    }
    let delivery = fixture.deliveries.remove(0);
    fixture.take(&delivery, 1);
    fixture.wait(secs(2));
    assert_eq!(hear(&mut fixture).kind, NoticeKind::Resolved);
}

#[test]
fn a_destination_that_is_gone_or_refuses_for_good_is_told_at_once() {
    for (refusal, times) in [(Refusal::Gone, 1), (Refusal::Rejected, 5), (Refusal::Unfit, 1)] {
        let mut fixture = fixture(parks_at(1), vec![target("t")], 1);
        fixture.subscribe("s");
        fixture.fill("a", 1);
        let dispatch = fixture.wait_for_dispatch();
        fixture.answer(dispatch.attempt, 200);
        for _ in 0..times {
            while fixture.deliveries.is_empty() {
                let at = fixture.dispatcher.poll_timeout().unwrap();
                fixture.wait(at.since(fixture.now));
            }
            let delivery = fixture.deliveries.remove(0);
            fixture.refuse(&delivery, refusal);
        }
        fixture.wait(secs(2));
        let alert = hear(&mut fixture).alert;
        assert_eq!((alert.kind, alert.severity), ("destination_failing", Severity::Error));
        fixture.say("s", Order::Resume);
        let delivery = fixture.deliveries.remove(0);
        fixture.take(&delivery, 1);
        fixture.wait(secs(2));
        assert_eq!(hear(&mut fixture).kind, NoticeKind::Resolved, "{refusal:?}");
        let acts: Vec<_> =
            fixture.dispatcher.audited().map(|audit| (&*audit.act, &*audit.on)).collect();
        assert_eq!(acts, [("resume", "subscription s")]);
    }
}

#[test]
fn a_subscription_that_stays_behind_is_told() {
    let mut fixture = fixture(parks_at(1), vec![target("t")], 1);
    fixture.subscribe("s");
    fixture.say("s", Order::Pause);
    fixture.fill("a", 1);
    let dispatch = fixture.wait_for_dispatch();
    fixture.answer(dispatch.attempt, 200);
    fixture.wait(secs(590));
    assert!(fixture.notices.is_empty());
    fixture.wait(secs(20));
    let alert = hear(&mut fixture).alert;
    assert_eq!((alert.kind, alert.severity), ("subscription_lagging", Severity::Warning));
    fixture.say("s", Order::Resume);
    let delivery = fixture.deliveries.remove(0);
    fixture.take(&delivery, 1);
    fixture.wait(secs(2));
    assert_eq!(hear(&mut fixture).kind, NoticeKind::Resolved);
}
