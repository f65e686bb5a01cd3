//! Prometheus Alertmanager, API version 2. It wants to hear again and again of an alert that goes
//! on, and takes it for resolved when it hears nothing until `endsAt`.

use std::time::Duration;

use futures_util::future::join_all;
use rollcall_common::{
    limits::{ALERTMANAGER_MISSED, ALERTMANAGER_REPEAT},
    secret::Redacted,
    time::Time,
};
use serde_json::{Map, Value, json};

use super::{
    Failure, Notice,
    http::{Http, post_json},
};
use crate::dispatcher::NoticeKind;

/// Tells all of them: they find out among themselves who tells people. One that took it is enough,
/// as with Prometheus: the others hear of it with the next repeat.
pub(super) async fn send(http: &Http, urls: &[Redacted], body: &Value) -> Result<(), Failure> {
    let posts = urls.iter().map(|url| async move {
        let whole = Redacted::new(&format!("{}/api/v2/alerts", url.reveal().trim_end_matches('/')));
        post_json(http, &whole, body).await
    });
    let mut worst = Failure::unavailable("there is none");
    let mut taken = 0;
    for answer in join_all(posts).await {
        match answer {
            Ok(_) => taken += 1,
            Err(failure) => worst = graver(worst, failure),
        }
    }
    if taken == 0 {
        return Err(worst);
    }
    if taken < urls.len() {
        // The words of an answer are not shown: they may repeat what is secret.
        tracing::warn!(taken, of = urls.len(), "not all Alertmanagers took an alert");
    }
    Ok(())
}

/// Of two failures the one that leaves more hope, and of two such the later.
fn graver(one: Failure, other: Failure) -> Failure {
    match (&one, &other) {
        (Failure::Unavailable { detail, .. }, Failure::Refused(_)) if detail != "there is none" => {
            one
        }
        _ => other,
    }
}

pub(super) fn body(notice: &Notice, now: Time, repeat: Duration) -> Value {
    let alert = &notice.alert;
    let repeat = if repeat.is_zero() { ALERTMANAGER_REPEAT } else { repeat };
    let ends = match notice.what {
        NoticeKind::Resolved => alert.until.unwrap_or(now).min(now),
        NoticeKind::Acknowledged
        | NoticeKind::Firing
        | NoticeKind::Repeated
        | NoticeKind::Worse => now + repeat.saturating_mul(ALERTMANAGER_MISSED),
    };
    json!([{
        "labels": labels(notice),
        "annotations": annotations(notice),
        "startsAt": alert.since.min(ends),
        "endsAt": ends,
    }])
}

/// What tells one alert from another there. Its severity is routed by, so it is among them; what
/// was told with another severity runs out by itself.
fn labels(notice: &Notice) -> Map<String, Value> {
    let alert = &notice.alert;
    let mut labels = Map::new();
    let mut label = |name: &str, value: &str| {
        labels.insert(name.to_owned(), Value::from(value));
    };
    label("alertname", &camel_case(alert.kind));
    label("severity", alert.severity.as_str());
    label("service", "rollcall");
    label("alert_id", &alert.id);
    label("journal", &alert.journal);
    let parts = [
        ("stream", &alert.stream),
        ("subscription", &alert.subscription),
        ("worker", &alert.worker),
    ];
    for (name, value) in parts {
        if let Some(value) = value {
            label(name, value);
        }
    }
    labels
}

fn annotations(notice: &Notice) -> Map<String, Value> {
    let alert = &notice.alert;
    let mut annotations = Map::new();
    annotations.insert("summary".to_owned(), alert.title.clone().into());
    annotations.insert("description".to_owned(), alert.detail.clone().into());
    annotations.insert("state".to_owned(), alert.state.into());
    if let Some(sequence) = alert.sequence {
        annotations.insert("sequence".to_owned(), sequence.to_string().into());
    }
    annotations
}

/// `message_parked` as `MessageParked`.
fn camel_case(kind: &str) -> String {
    let word = |word: &str| {
        let mut letters = word.chars();
        let first = letters.next().map(|first| first.to_ascii_uppercase());
        first.into_iter().chain(letters).collect::<String>()
    };
    kind.split('_').map(word).collect()
}
