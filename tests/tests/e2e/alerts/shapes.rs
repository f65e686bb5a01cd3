//! What each service that takes JSON is sent, checked as its documentation has it.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use hmac::{Hmac, KeyInit as _, Mac as _};
use rollcall_common::time::{Clock, Time};
use rollcall_supervisor::dispatcher::NoticeKind;
use serde_json::{Value, json};
use sha2::Sha256;
use tests::{
    harness::soon,
    peers::{Act, Reply, Request},
};

use super::{ALL, Checked, Receiver, Sender, ensure, json, notice, unavailable};

/// A key of 32 characters.
const KEY: &str = "0123456789abcdef0123456789ABCDEF";

fn posted_json(request: &Request, path: &str) -> Checked {
    ensure(request.line == format!("POST {path} HTTP/1.1"), &request.line)?;
    let content_type = request.header("content-type");
    ensure(content_type == "application/json", content_type)
}

/// A moment as RFC 3339 has it, in microseconds.
fn moment(value: &Value) -> i64 {
    let text = value.as_str().unwrap_or_else(|| panic!("no time: {value}"));
    text.parse::<jiff::Timestamp>().expect("RFC 3339").as_microsecond()
}

#[tokio::test]
async fn a_webhook_gets_the_alert_as_the_contract_shows_it() {
    let receiver = Receiver::start(|request| match posted_json(request, "/in?x=1") {
        Ok(()) => Act::status(204),
        Err(error) => Act::Answer(Reply::new(400, error)),
    })
    .await;
    let text = format!("[[alerts]]\nkind = 'webhook'\nurl = '{}/in?x=1'", receiver.url());
    let sender = Sender::new(&text);
    soon(sender.send(&notice(NoticeKind::Worse))).await.unwrap();
    let expected = json!({
        "event": "alert.worse",
        "id": "17",
        "state": "firing",
        "severity": "error",
        "kind": "message_parked",
        "stream": "orders.eu",
        "sequence": 42,
        "subscription": null,
        "worker": null,
        "title": "orders.eu/42 is parked",
        "detail": "attempts are used up: status 500",
        "count": 1,
        "first": null,
        "last": null,
        "since": "2023-11-14T22:13:20.000Z",
    });
    assert_eq!(receiver.bodies(), [expected]);
    assert_eq!(receiver.requests()[0].header("webhook-signature"), "");
}

#[tokio::test]
async fn a_webhook_is_signed_and_knows_repeated_tries() {
    let secret = b"a secret of more than 24 bytes";
    let receiver = Receiver::start(|_| Act::status(200)).await;
    let encoded = STANDARD.encode(secret);
    let text = format!(
        "[[alerts]]\nkind = 'webhook'\nurl = '{}'\nsecret = 'whsec_{encoded}'",
        receiver.url()
    );
    let sender = Sender::new(&text);
    let mut again = notice(NoticeKind::Firing);
    again.attempt = 2;
    for notice in [notice(NoticeKind::Firing), again, notice(NoticeKind::Repeated)] {
        soon(sender.send(&notice)).await.unwrap();
    }
    let requests = receiver.requests();
    let ids: Vec<_> = requests.iter().map(|request| request.header("webhook-id")).collect();
    assert!(ids[0] == ids[1] && ids[0] != ids[2], "{ids:?}");
    assert_eq!(requests[1].number("rollcall-attempt"), 2);
    for request in &requests {
        let (id, at) = (request.header("webhook-id"), request.header("webhook-timestamp"));
        assert!(!id.is_empty() && !id.contains('.'), "{id}");
        assert_eq!(request.header("idempotency-key"), format!("\"{id}\""));
        let mut mac = Hmac::<Sha256>::new_from_slice(secret).unwrap();
        mac.update(&[id.as_bytes(), b".", at.as_bytes(), b".", &request.body].concat());
        let signature = format!("v1,{}", STANDARD.encode(mac.finalize().into_bytes()));
        assert_eq!(request.header("webhook-signature"), signature);
    }
}

/// Slack's rules for a message with blocks.
fn slack(request: &Request) -> Checked {
    posted_json(request, "/services/T0/B0/x")?;
    let body = json(request);
    let text = |value: &Value, what: &str| {
        let text = value.as_str().unwrap_or_default();
        ensure((1..=3000).contains(&text.chars().count()), what)?;
        ensure(!text.contains(['<', '>']), "not escaped")?;
        let bare = ["&amp;", "&lt;", "&gt;"].iter().fold(text.to_owned(), |t, e| t.replace(e, ""));
        ensure(!bare.contains('&'), "an escape is cut, or missing")
    };
    text(&body["text"], "text")?;
    let blocks = body["blocks"].as_array().ok_or("no blocks")?;
    ensure((1..=50).contains(&blocks.len()), "50 blocks")?;
    for block in blocks {
        let pieces = match block["type"].as_str() {
            Some("section") => vec![&block["text"]],
            Some("context") => block["elements"].as_array().ok_or("no elements")?.iter().collect(),
            other => return Err(format!("block {other:?}")),
        };
        ensure((1..=10).contains(&pieces.len()), "elements")?;
        for piece in pieces {
            ensure(piece["type"] == "mrkdwn", "type")?;
            text(&piece["text"], "text of a block")?;
        }
    }
    Ok(())
}

#[tokio::test]
async fn slack_gets_text_that_it_takes() {
    let receiver = Receiver::start(|request| match slack(request) {
        Ok(()) => Act::ok("ok"),
        Err(error) => Act::Answer(Reply::new(400, format!("invalid_payload {error}"))),
    })
    .await;
    let text = format!("[[alerts]]\nkind = 'slack'\nurl = '{}/services/T0/B0/x'", receiver.url());
    let sender = Sender::new(&text);
    for what in ALL {
        soon(sender.send(&notice(what))).await.unwrap();
    }
    let mut hostile = notice(NoticeKind::Firing);
    hostile.alert.title = "<!channel> & <http://a|b>\nsecond line".to_owned();
    hostile.alert.detail = "<&>ä".repeat(10_000);
    soon(sender.send(&hostile)).await.unwrap();
    let bodies = receiver.bodies();
    assert_eq!(bodies[0]["text"], "[FIRING] orders.eu/42 is parked");
    assert_eq!(bodies[4]["text"], "[RESOLVED] orders.eu/42 is parked");
    let section = bodies[0]["blocks"][0]["text"]["text"].as_str().unwrap();
    assert!(section.contains("attempts are used up: status 500"), "{section}");
    let said = bodies[5]["text"].as_str().unwrap();
    assert!(said.contains("&lt;!channel&gt; &amp; &lt;http://a|b&gt; second line"), "{said}");
}

#[tokio::test]
async fn what_is_not_ok_is_not_slack() {
    let receiver = Receiver::start(|_| Act::ok("<html>welcome</html>")).await;
    let sender = Sender::new(&format!("[[alerts]]\nkind = 'slack'\nurl = '{}'", receiver.url()));
    let sent = soon(sender.send(&notice(NoticeKind::Firing))).await;
    assert!(unavailable(&sent).contains("welcome"), "{sent:?}");
}

/// The rules of `PagerDuty`'s Events API, version 2.
fn pagerduty(request: &Request) -> Checked {
    posted_json(request, "/v2/enqueue")?;
    ensure(request.body.len() <= 512 << 10, "512 KB")?;
    let body = json(request);
    ensure(body["routing_key"] == KEY, "routing_key")?;
    let dedup = body["dedup_key"].as_str().unwrap_or_default();
    ensure((1..=255).contains(&dedup.len()), "dedup_key")?;
    match body["event_action"].as_str() {
        Some("acknowledge" | "resolve") => return Ok(()),
        Some("trigger") => {}
        other => return Err(format!("event_action {other:?}")),
    }
    let payload = &body["payload"];
    let summary = payload["summary"].as_str().unwrap_or_default();
    ensure((1..=1024).contains(&summary.chars().count()), "summary")?;
    ensure(payload["source"].as_str().is_some_and(|text| !text.is_empty()), "source")?;
    let severity = payload["severity"].as_str().unwrap_or_default();
    ensure(["critical", "error", "warning", "info"].contains(&severity), "severity")?;
    ensure(payload["custom_details"].is_object(), "custom_details")?;
    ensure(moment(&payload["timestamp"]) > 0, "timestamp")
}

#[tokio::test]
async fn pagerduty_gets_one_incident_for_an_alert() {
    let receiver = Receiver::start(|request| match pagerduty(request) {
        Ok(()) => Act::Answer(
            Reply::new(202, r#"{"status":"success","message":"Event processed"}"#)
                .with("content-type", "application/json"),
        ),
        Err(error) => Act::Answer(Reply::new(400, error)),
    })
    .await;
    let sender = Sender::new(&format!(
        "[[alerts]]\nkind = 'pagerduty'\nrouting_key = '{KEY}'\nurl = '{}/v2/enqueue'",
        receiver.url()
    ));
    for what in ALL {
        soon(sender.send(&notice(what))).await.unwrap();
    }
    let (mut other, mut long) = (notice(NoticeKind::Firing), notice(NoticeKind::Firing));
    other.alert.id = "18".to_owned();
    long.alert.title = "ä".repeat(5000);
    long.alert.detail = "x".repeat(1 << 20);
    long.alert.stream = None;
    for notice in [other, long] {
        soon(sender.send(&notice)).await.unwrap();
    }
    let bodies = receiver.bodies();
    let actions: Vec<_> =
        bodies.iter().map(|body| body["event_action"].as_str().unwrap()).collect();
    let expected =
        ["trigger", "trigger", "trigger", "acknowledge", "resolve", "trigger", "trigger"];
    assert_eq!(actions, expected);
    assert!(bodies[..5].iter().all(|body| body["dedup_key"] == bodies[0]["dedup_key"]));
    assert_ne!(bodies[5]["dedup_key"], bodies[0]["dedup_key"]);
    let payload = &bodies[0]["payload"];
    assert_eq!(payload["summary"], "orders.eu/42 is parked");
    assert_eq!(
        (&payload["component"], &payload["class"]),
        (&json!("orders.eu"), &json!("message_parked"))
    );
    assert_eq!(payload["custom_details"]["sequence"], "42");
}

/// The rules of Alertmanager's API, version 2.
fn alertmanager(request: &Request) -> Checked {
    posted_json(request, "/am/api/v2/alerts")?;
    let body = json(request);
    let alerts = body.as_array().ok_or("no list")?;
    ensure(alerts.len() == 1, "one alert")?;
    for alert in alerts {
        let labels = alert["labels"].as_object().ok_or("no labels")?;
        ensure(labels.get("alertname").is_some_and(|name| name != ""), "alertname")?;
        let annotations = alert["annotations"].as_object().ok_or("no annotations")?;
        for (name, value) in labels.iter().chain(annotations) {
            let good = name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
            ensure(good && value.is_string(), name)?;
        }
        ensure(moment(&alert["startsAt"]) <= moment(&alert["endsAt"]), "it ends before it starts")?;
    }
    Ok(())
}

async fn an_alertmanager() -> Receiver {
    Receiver::start(|request| match alertmanager(request) {
        Ok(()) => Act::status(200),
        Err(error) => Act::Answer(Reply::new(400, format!("{error:?}"))),
    })
    .await
}

#[tokio::test]
async fn every_alertmanager_is_told_until_when_an_alert_lasts() {
    let (one, two) = (an_alertmanager().await, an_alertmanager().await);
    let sender = Sender::new(&format!(
        "[[alerts]]\nkind = 'alertmanager'\nurls = ['{}/am', '{}/am/']",
        one.url(),
        two.url()
    ));
    for what in ALL {
        soon(sender.send(&notice(what))).await.unwrap();
    }
    assert_eq!(one.bodies().len(), ALL.len());
    assert_eq!(two.bodies().len(), ALL.len());
    let now = Clock::start(Time::default()).now();
    let now = i64::try_from(now.as_micros()).unwrap();
    let bodies = one.bodies();
    for (body, what) in bodies.iter().zip(ALL) {
        let alert = &body[0];
        assert_eq!(alert["labels"], bodies[0][0]["labels"], "{what:?}");
        assert_eq!(moment(&alert["startsAt"]), 1_700_000_000_000_000);
        let ends = moment(&alert["endsAt"]);
        if what == NoticeKind::Resolved {
            assert_eq!(ends, 1_700_000_060_000_000);
        } else {
            // Four minutes from when it was sent, which was at most a minute ago.
            assert!((now + 180_000_000..=now + 240_000_000).contains(&ends), "{what:?} {alert}");
        }
    }
    let labels = &bodies[0][0]["labels"];
    assert_eq!(labels["alertname"], "MessageParked");
    assert_eq!((&labels["severity"], &labels["stream"]), (&json!("error"), &json!("orders.eu")));
    assert_eq!(bodies[0][0]["annotations"]["summary"], "orders.eu/42 is parked");
}

#[tokio::test]
async fn one_alertmanager_of_two_is_enough() {
    let (one, two) = (an_alertmanager().await, an_alertmanager().await);
    let sender = Sender::new(&format!(
        "[[alerts]]\nkind = 'alertmanager'\nurl = ['{}/am', '{}/am']",
        one.url(),
        two.url()
    ));
    one.server.go_down();
    soon(sender.send(&notice(NoticeKind::Firing))).await.unwrap();
    assert_eq!(two.bodies().len(), 1);
    two.server.go_down();
    unavailable(&soon(sender.send(&notice(NoticeKind::Firing))).await);
}
