//! What a receiver's answer means, and what becomes of bad ones.

use std::{
    sync::atomic::{AtomicUsize, Ordering},
    time::Duration,
};

use rollcall_supervisor::{alerts::Failure, dispatcher::NoticeKind};
use tests::{
    harness::soon,
    peers::{Act, Reply},
};

use super::{Receiver, Sender, notice, refused, unavailable};

/// A target of each kind that speaks HTTP, at `url`.
fn targets(url: &str) -> [String; 4] {
    let key = "k".repeat(32);
    [
        format!("kind = 'webhook'\nurl = '{url}'"),
        format!("kind = 'slack'\nurl = '{url}'"),
        format!("kind = 'pagerduty'\nurl = '{url}'\nrouting_key = '{key}'"),
        format!("kind = 'alertmanager'\nurl = '{url}'"),
    ]
    .map(|keys| format!("[[alerts]]\ntimeout = '300ms'\n{keys}"))
}

/// The receiver's `n`th answer is the `n`th of these.
async fn answers(acts: Vec<Act>) -> Receiver {
    let next = AtomicUsize::new(0);
    Receiver::start(move |_| acts[next.fetch_add(1, Ordering::Relaxed)].clone()).await
}

#[tokio::test]
async fn statuses_say_whether_to_try_again() {
    let refusals = [301, 302, 307, 400, 401, 403, 404, 410, 422];
    let passing = [408, 425, 429, 500, 502, 503, 504];
    let statuses: Vec<u16> = refusals.into_iter().chain(passing).collect();
    let elsewhere = Receiver::start(|_| Act::ok("ok")).await;
    let location = elsewhere.url();
    for keys in 0..targets("").len() {
        let acts = statuses.iter().map(|status| {
            Act::Answer(Reply::new(*status, "no_service").with("location", location.clone()))
        });
        let receiver = answers(acts.collect()).await;
        let sender = Sender::new(&targets(&receiver.url())[keys]);
        for status in &statuses {
            let sent = soon(sender.send(&notice(NoticeKind::Firing))).await;
            let detail =
                if refusals.contains(status) { refused(&sent) } else { unavailable(&sent) };
            assert_eq!(detail, format!("status {status}: no_service"), "{}", sender.name);
        }
    }
    assert!(elsewhere.requests().is_empty(), "a redirect was followed");
}

#[tokio::test]
async fn a_receiver_says_when_to_try_again() {
    let acts = ["7", "86400", "soon"]
        .map(|wait| Act::Answer(Reply::new(429, "slow down").with("retry-after", wait)));
    let receiver = answers(acts.into()).await;
    let sender = Sender::new(&targets(&receiver.url())[1]);
    for expected in [Some(7), Some(300), None] {
        let sent = soon(sender.send(&notice(NoticeKind::Firing))).await;
        let Err(Failure::Unavailable { retry_after, .. }) = sent else { panic!("{sent:?}") };
        assert_eq!(retry_after, expected.map(Duration::from_secs));
    }
}

#[tokio::test]
async fn who_does_not_answer_is_tried_again() {
    for keys in 0..targets("").len() {
        let acts = vec![Act::Hang, Act::Close, Act::Reset, Act::Bytes("no HTTP\r\n\r\n".into())];
        let count = acts.len();
        let receiver = answers(acts).await;
        let sender = Sender::new(&targets(&receiver.url())[keys]);
        for _ in 0..count {
            unavailable(&soon(sender.send(&notice(NoticeKind::Firing))).await);
        }
        assert_eq!(receiver.requests().len(), count, "{}", sender.name);
        receiver.server.go_down();
        unavailable(&soon(sender.send(&notice(NoticeKind::Firing))).await);
    }
}

#[tokio::test]
async fn an_answer_without_end_is_not_read_to_its_end() {
    let receiver = answers(vec![Act::Endless, Act::Endless]).await;
    let [webhook, slack, ..] = targets(&receiver.url());
    soon(Sender::new(&webhook).send(&notice(NoticeKind::Firing))).await.unwrap();
    let sent = soon(Sender::new(&slack).send(&notice(NoticeKind::Firing))).await;
    assert!(unavailable(&sent).len() < 1000, "{sent:?}");
}

#[tokio::test]
async fn a_target_that_is_gone_is_told_nothing() {
    let receiver = Receiver::start(|_| Act::status(200)).await;
    let sender = Sender::new(&targets(&receiver.url())[0]);
    refused(&soon(sender.senders.send("other", &notice(NoticeKind::Firing))).await);
    assert!(receiver.requests().is_empty());
}

#[tokio::test]
async fn nothing_is_told_without_tls_where_tls_is_wanted() {
    let receiver = Receiver::start(|_| Act::ok("ok")).await;
    for keys in targets(&receiver.url().replace("http://", "https://")) {
        unavailable(&soon(Sender::new(&keys).send(&notice(NoticeKind::Firing))).await);
    }
    assert!(receiver.requests().is_empty());
}
