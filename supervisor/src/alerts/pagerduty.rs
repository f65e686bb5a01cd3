//! `PagerDuty`'s Events API version 2. All that is told of an alert has one `dedup_key`, a hash, so
//! that it is one incident there; the answer to a good event is 202.

use rollcall_common::{
    limits::{ALERT_DETAIL_CHARS, PAGERDUTY_SUMMARY_CHARS},
    secret::Redacted,
};
use serde_json::{Map, Value, json};

use super::{
    Failure, Notice,
    http::{Http, post_json},
    text::{cut, one_line},
};
use crate::dispatcher::NoticeKind;

pub(super) async fn send(http: &Http, url: &Redacted, body: &Value) -> Result<(), Failure> {
    post_json(http, url, body).await.map(|_| ())
}

pub(super) fn body(notice: &Notice, routing_key: &Redacted) -> Value {
    let alert = &notice.alert;
    let action = match notice.what {
        NoticeKind::Acknowledged => "acknowledge",
        NoticeKind::Resolved => "resolve",
        NoticeKind::Firing | NoticeKind::Repeated | NoticeKind::Worse => "trigger",
    };
    let mut event = json!({
        "routing_key": routing_key.reveal(),
        "event_action": action,
        "dedup_key": format!("rollcall-{}", alert.key()),
    });
    if action != "trigger" {
        // The other two need no more, and are taken only for an incident that is open.
        return event;
    }
    let mut details: Map<_, _> = alert
        .facts()
        .into_iter()
        .map(|(name, value)| (name.to_owned(), Value::String(value)))
        .collect();
    details.insert("detail".to_owned(), cut(&alert.detail, ALERT_DETAIL_CHARS).into());
    details.insert("id".to_owned(), alert.id.clone().into());
    let parts = [&alert.stream, &alert.subscription, &alert.worker];
    let mut payload = json!({
        "summary": cut(&one_line(&alert.title), PAGERDUTY_SUMMARY_CHARS),
        "source": format!("rollcall/{}", alert.journal),
        "severity": alert.severity.as_str(),
        "timestamp": alert.since,
        "class": alert.kind,
        "group": "rollcall",
        "custom_details": details,
    });
    if let Some(component) = parts.into_iter().flatten().next()
        && let Some(payload) = payload.as_object_mut()
    {
        payload.insert("component".to_owned(), component.clone().into());
    }
    if let Some(event) = event.as_object_mut() {
        event.insert("client".to_owned(), "Rollcall".into());
        event.insert("payload".to_owned(), payload);
    }
    event
}
