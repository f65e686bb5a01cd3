//! Notices from the dispatcher to the senders, and back what became of them.

use std::sync::Arc;

use rollcall_common::{shown::visible, task};

use super::{AlertView, Failure, Notice, Senders};
use crate::{
    dispatcher::{self, AlertStatus, Event, NoticeKind, TellFailure},
    driver::Handle,
};

/// Sends notices. Each is a task of its own; the dispatcher bounds how many there are.
#[derive(Debug)]
pub struct Notifier {
    /// Who sends.
    pub senders: arc_swap::ArcSwap<Senders>,
    /// Where it is told what became of a notice.
    pub handle: Handle,
    /// Which journal the alerts are of.
    pub journal: Box<str>,
}

impl Notifier {
    /// Sends a notice. It does not block; the dispatcher is told.
    pub fn tell(&self, notice: dispatcher::Notice) {
        let (senders, handle) = (self.senders.load_full(), self.handle.clone());
        let dispatcher::Notice { alert, target, kind, number, attempt } = notice;
        let id = alert.id;
        let notice = Notice { alert: view(alert, &self.journal), what: kind, number, attempt };
        task::spawn("notice", async move {
            let outcome = senders.send(&target, &notice).await.map_err(|failure| {
                tracing::warn!(target = &*target, alert = id.0, %failure, "an alert was not taken");
                match failure {
                    Failure::Refused(_) => TellFailure { retry_after: None },
                    Failure::Unavailable { retry_after, .. } => TellFailure { retry_after },
                }
            });
            // Err: the driver has ended; the next start tells it again.
            let _ = handle.send(Event::Notified { alert: id, target, outcome }).await;
        });
    }

    /// Tells everybody that the journal has failed: it can't be written down, so this is tried
    /// once, before the process ends.
    pub async fn notify_fatal(&self, detail: &str) {
        let senders = self.senders.load_full();
        let now = senders.now();
        let view = AlertView {
            id: "journal".to_owned(),
            journal: self.journal.to_string(),
            state: "firing",
            severity: crate::record::Severity::Critical,
            kind: "journal_failing",
            stream: None,
            sequence: None,
            subscription: None,
            worker: None,
            title: "the journal has failed; the supervisor ends".to_owned(),
            detail: shown(detail),
            count: 1,
            span: None,
            since: now,
            until: None,
        };
        let number = now.as_micros();
        let notice = Arc::new(Notice { alert: view, what: NoticeKind::Firing, number, attempt: 1 });
        let mut all = tokio::task::JoinSet::new();
        for target in senders.names().cloned() {
            let (senders, notice) = (Arc::clone(&senders), Arc::clone(&notice));
            all.spawn(async move {
                if let Err(failure) = senders.send(&target, &notice).await {
                    tracing::warn!(target = &*target, %failure, "an alert was not taken");
                }
            });
        }
        all.join_all().await;
    }
}

/// Whoever is told sees nothing that acts: words of alerts come from anywhere.
fn shown(text: &str) -> String {
    visible(text).into_owned()
}

fn view(alert: AlertStatus, journal: &str) -> AlertView {
    AlertView {
        id: alert.id.0.to_string(),
        journal: journal.to_owned(),
        state: alert.stage.as_str(),
        severity: alert.severity,
        kind: alert.kind,
        stream: alert.stream.map(|name| name.to_string()),
        sequence: alert.sequence.map(|sequence| sequence.0),
        subscription: alert.subscription.as_deref().map(shown),
        worker: alert.worker.as_deref().map(shown),
        title: shown(&alert.title),
        detail: shown(&alert.detail),
        count: alert.count,
        span: alert.span.map(|(first, last)| (first.0, last.0)),
        since: alert.since,
        until: alert.until,
    }
}
