//! This program's log: where alerts go when nobody says otherwise.

use super::Notice;
use crate::dispatcher::NoticeKind;
use crate::record::Severity;

/// What is over or taken on is told as news; all else by how bad it is.
pub(super) fn send(notice: &Notice) {
    let alert = &notice.alert;
    let (id, event, kind) = (&*alert.id, notice.what.as_str(), alert.kind);
    let severity = alert.severity.as_str();
    let (stream, sequence) = (alert.stream.as_deref(), alert.sequence);
    let (subscription, worker) = (alert.subscription.as_deref(), alert.worker.as_deref());
    let (detail, since) = (&*alert.detail, alert.since.to_string());
    macro_rules! say {
        ($level:ident) => {
            tracing::$level!(
                target: "rollcall::alert",
                id,
                event,
                kind,
                severity,
                stream,
                sequence,
                subscription,
                worker,
                detail,
                since,
                "{}",
                alert.title
            )
        };
    }
    match (notice.what, alert.severity) {
        (NoticeKind::Acknowledged | NoticeKind::Resolved, _) | (_, Severity::Info) => say!(info),
        (_, Severity::Warning) => say!(warn),
        (_, Severity::Error | Severity::Critical) => say!(error),
    }
}

#[cfg(test)]
mod tests {
    use std::{
        io::{self, Write},
        sync::{Arc, Mutex},
    };

    use rollcall_common::time::Time;

    use super::*;
    use crate::alerts::AlertView;

    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<u8>>>);

    impl Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let mut all = self.0.lock().map_err(|_| io::ErrorKind::Other)?;
            all.extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn every_part_of_an_alert_is_a_field_of_one_line() {
        let alert = AlertView {
            id: "17".to_owned(),
            journal: "j".to_owned(),
            state: "firing",
            severity: Severity::Critical,
            kind: "stream_held",
            stream: Some("orders".to_owned()),
            sequence: Some(3),
            subscription: None,
            worker: None,
            count: 1,
            span: None,
            title: "orders stands still".to_owned(),
            detail: "a\nb".to_owned(),
            since: Time::default(),
            until: None,
        };
        let lines = Lines::default();
        let shared = lines.clone();
        let subscriber =
            tracing_subscriber::fmt().json().with_writer(move || shared.clone()).finish();
        tracing::subscriber::with_default(subscriber, || {
            for what in [NoticeKind::Firing, NoticeKind::Resolved] {
                send(&Notice { alert: alert.clone(), what, number: 0, attempt: 1 });
            }
        });
        let text = String::from_utf8(lines.0.lock().unwrap().clone()).unwrap();
        let said: Vec<serde_json::Value> =
            text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        let levels: Vec<_> = said.iter().map(|line| line["level"].as_str().unwrap()).collect();
        assert_eq!(levels, ["ERROR", "INFO"]);
        let fields = &said[0]["fields"];
        assert_eq!(fields["message"], "orders stands still");
        for (name, value) in
            [("id", "17"), ("event", "firing"), ("kind", "stream_held"), ("stream", "orders")]
        {
            assert_eq!(fields[name], value, "{fields}");
        }
        assert_eq!((&fields["sequence"], &fields["detail"]), (&3.into(), &"a\nb".into()));
        assert!(fields.get("worker").is_none(), "{fields}");
    }
}
