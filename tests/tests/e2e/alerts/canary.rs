//! No secret shows, whatever is printed and whatever a receiver answers.

use std::sync::atomic::{AtomicUsize, Ordering};

use rollcall_common::time::{Clock, Time};
use rollcall_supervisor::{alerts::Senders, dispatcher::NoticeKind};
use tests::{
    harness::soon,
    peers::{Act, Reply},
};

use super::{Receiver, load, notice};

/// What must not be seen: 32 characters, as a routing key has.
const CANARY: &str = "canary0canary0canary0canary0cana";

/// Each kind that has a secret, with the canary as all of them.
fn targets(url: &str) -> [String; 5] {
    let secret = format!("whsec_{CANARY}");
    [
        format!("kind = 'webhook'\nurl = '{url}/{CANARY}'\nsecret = '{secret}'"),
        format!("kind = 'slack'\nurl = '{url}/services/{CANARY}'"),
        format!("kind = 'pagerduty'\nurl = '{url}/{CANARY}'\nrouting_key = '{CANARY}'"),
        format!("kind = 'alertmanager'\nurls = ['{url}/{CANARY}', '{url}/b/{CANARY}']"),
        format!(
            "kind = 'email'\nto = 'a@example.org'\nfrom = 'b@example.org'\nusername = 'u'\n\
             smtp = 'smtp://{}'\npassword = '{CANARY}'",
            url.trim_start_matches("http://")
        ),
    ]
    .map(|keys| format!("[[alerts]]\ntimeout = '1s'\n{keys}\n"))
}

#[tokio::test]
async fn secrets_are_in_nothing_that_is_printed() {
    // It says all that it was told, at another place each time: an answer is cut somewhere.
    let padding = AtomicUsize::new(0);
    let receiver = Receiver::start(move |request| {
        let padding = "x".repeat(padding.fetch_add(1, Ordering::Relaxed) % 256);
        let said = format!("{padding} ");
        let said = said + &format!("{} {}", request.line, String::from_utf8_lossy(&request.body));
        Act::Answer(Reply::new(if said.contains("/b/") { 400 } else { 500 }, said))
    })
    .await;
    let config = load(&targets(&receiver.url()).concat()).unwrap();
    let mut printed = format!("{config:?} {:#?} {:?}", config.alerts, config.settings());
    let targets = config.alerts.iter().map(|alerting| alerting.target.clone());
    let senders = Senders::new(targets, Clock::start(Time::default())).unwrap();
    printed.push_str(&format!("{senders:?}"));
    for round in 0..=64 {
        if round == 64 {
            receiver.server.go_down();
        }
        // A mail server that speaks HTTP only takes time; twice will do.
        let slow = |name: &str| name.starts_with("email-") && (1..64).contains(&round);
        for name in senders.names().filter(|name| !slow(name)) {
            let failure = soon(senders.send(name, &notice(NoticeKind::Firing))).await.unwrap_err();
            printed.push_str(&format!("{name} {failure:?} {failure}\n"));
        }
    }
    let seen: String =
        receiver.requests().iter().map(|one| format!("{} {:?}", one.line, one.body)).collect();
    assert!(seen.contains(CANARY), "the receivers are told, so this test can fail");
    assert!(!printed.to_lowercase().contains("canary"), "{printed}");
}

#[test]
fn secrets_are_in_no_complaint() {
    for keys in [
        format!("kind = 'webhook'\nurl = 'ftp://a/{CANARY}'"),
        format!("kind = 'webhook'\nurl = 'http://u:{CANARY}@a/'"),
        format!("kind = 'webhook'\nurl = 'http://a'\nsecret = '{CANARY}'"),
        format!("kind = 'webhook'\nurl = ['http://a/{CANARY}']"),
        format!("kind = 'slack'\nurl = '{CANARY}'"),
        format!("kind = 'pagerduty'\nrouting_key = '{CANARY}x'"),
        format!("kind = 'alertmanager'\nurls = ['http://a?{CANARY}']"),
        format!("kind = 'alertmanager'\nurls = ['http://a/{CANARY}', 'http://a/{CANARY}']"),
        format!(
            "kind = 'email'\nto = 'a@b'\nfrom = 'a@b'\nsmtp = 'smtp://u:{CANARY}@a'\n\
             username = 'u'\npassword = '{CANARY}'"
        ),
    ] {
        let error = load(&format!("[[alerts]]\n{keys}")).unwrap_err();
        assert!(error.to_string().contains("alerts."), "{error}");
        assert!(!format!("{error} {error:?}").contains("canary"), "{error}");
    }
}
