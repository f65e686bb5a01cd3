//! `[[alerts]]`: what is read, and what is wrong.

use super::*;
use crate::{
    alerts::{Kind, Security},
    dispatcher::settings::{AlertTarget, OnceSeen, Pattern},
    record::Severity,
};

const KEY: &str = "0123456789abcdef0123456789ABCDEF";

fn alerts(keys: &str) -> Vec<Alerting> {
    of_text(&format!("[[alerts]]\n{keys}")).unwrap_or_else(|error| panic!("{error}")).alerts
}

#[test]
fn the_log_is_told_if_nobody_else_is() {
    let config = of_text("").unwrap();
    assert_eq!(config.alerts, [Alerting::log()]);
    assert_eq!(&*config.alerts[0].target.name, "log");
    assert_eq!(config.settings().alert_targets, [config.alerts[0].told.clone()]);
    assert_eq!(of_text("alerts = []").unwrap().alerts, []);
}

#[test]
fn a_target_has_defaults() {
    let [alerting] = &alerts("kind = 'webhook'\nurl = 'http://a/x'")[..] else { panic!() };
    let hours = Duration::from_secs(4 * 3600);
    assert_eq!(alerting.target.timeout, Duration::from_secs(10));
    let told = AlertTarget {
        once_seen: OnceSeen::Silence,
        name: Arc::clone(&alerting.target.name),
        min_severity: Severity::Warning,
        after: Duration::ZERO,
        after_failures: None,
        repeat: Some(hours),
        streams: Vec::new(),
    };
    assert_eq!((&alerting.told, alerting.target.repeat), (&told, Some(hours)));
    let again = alerts("kind = 'alertmanager'\nurl = 'http://a'");
    assert_eq!(again[0].told.repeat, Some(Duration::from_secs(60)));
}

#[test]
fn all_keys_are_read() {
    let common = "name = 'a.b'\nmin_severity = 'critical'\nafter = '15m'\nafter_failures = 3\n\
                  repeat = '1h'\nstreams = ['orders.*', 'x']\ntimeout = '3s'";
    let [alerting] = &alerts(&format!("kind = 'log'\n{common}"))[..] else { panic!() };
    let told = AlertTarget {
        once_seen: OnceSeen::Silence,
        name: "a.b".into(),
        min_severity: Severity::Critical,
        after: Duration::from_secs(900),
        after_failures: Some(3),
        repeat: Some(Duration::from_secs(3600)),
        streams: vec![Pattern::new("orders.*"), Pattern::new("x")],
    };
    assert_eq!(alerting.told, told);
    assert_eq!((&*alerting.target.name, alerting.target.timeout), ("a.b", Duration::from_secs(3)));
    for never in ["0", "'never'", "'0s'"] {
        let alerting = alerts(&format!("kind = 'log'\nrepeat = {never}"));
        assert_eq!((alerting[0].told.repeat, alerting[0].target.repeat), (None, None), "{never}");
    }
}

#[test]
fn kinds_have_keys_of_their_own() {
    let kind = |keys: &str| alerts(keys).remove(0).target.kind;
    let both = "kind = 'webhook'\nurl = 'https://a'\nsecret = ['whsec_AQ', 'whsec_Ag']";
    let Kind::Webhook { secrets, .. } = kind(both) else { panic!() };
    assert_eq!(secrets.len(), 2);
    assert!(matches!(kind("kind = 'slack'\nurl = 'https://a/b'"), Kind::Slack { .. }));
    let eu = format!("kind = 'pagerduty'\nrouting_key = '{KEY}'\nurl = 'https://eu.example'");
    let us = format!("kind = 'pagerduty'\nrouting_key = '{KEY}'");
    assert_ne!(kind(&eu), kind(&us));
    let Kind::Alertmanager { urls } =
        kind("kind = 'alertmanager'\nurls = ['http://a', 'http://b']")
    else {
        panic!()
    };
    assert_eq!(urls.len(), 2);
    let command = kind("kind = 'command'\ncommand = ['tell', '', '$HOME']");
    assert_eq!(command, Kind::Command { command: ["tell", "", "$HOME"].map(str::to_owned).into() });
    let mail = "kind = 'email'\nto = ['A <a@example.org>', 'b@example.org']\n\
                from = 'c@example.org'\nsmtp = 'starttls://mail'\nusername = 'u'\npassword = 'p'";
    let Kind::Email(email) = kind(mail) else { panic!() };
    assert_eq!((email.to.len(), &*email.smtp.host, email.smtp.port), (2, "mail", 587));
    assert_eq!(email.smtp.security, Security::StartTls);
    assert_eq!(email.login.unwrap().0, "u");
}

#[test]
fn names_come_from_what_a_target_is_and_hide_it() {
    let name = |url: &str| {
        let keys = format!("kind = 'slack'\nurl = '{url}'\nmin_severity = 'error'");
        alerts(&keys).remove(0).told.name
    };
    let (one, two) = (name("https://hooks/secret1"), name("https://hooks/secret2"));
    assert_ne!(one, two);
    assert_eq!(one, name("https://hooks/secret1"));
    let digits = one.strip_prefix("slack-").unwrap();
    assert!(digits.len() == 8 && digits.bytes().all(|b| b.is_ascii_hexdigit()), "{one}");
}

/// Keys of one target, and what is said of them.
const WRONG: &[(&str, &str)] = &[
    (
        "",
        "c.toml:1: alerts.kind: absent; expected \"alertmanager\" or \"command\" or \"email\" or \
         \"log\" or \"pagerduty\" or \"slack\" or \"webhook\"",
    ),
    (
        "kind = 'smoke'\nurl = 1",
        "c.toml:2: alerts.kind: \"smoke\" does not fit; expected \"alertmanager\" or \
         \"command\" or \"email\" or \"log\" or \"pagerduty\" or \"slack\" or \"webhook\"",
    ),
    (
        "kind = 'log'\nmin_sevrity = 'info'",
        "c.toml:3: unknown key \"min_sevrity\" in [[alerts]]; did you mean \"min_severity\"?",
    ),
    (
        "kind = 'slack'\nurl = 'http://a'\nrouting_key = 'x'",
        "c.toml:4: unknown key \"routing_key\" in [[alerts]]; known keys: after, after_failures, \
         kind, min_severity, name, repeat, streams, timeout, url",
    ),
    ("kind = 'webhook'", "c.toml:1: alerts.url: absent; this kind needs it"),
    (
        "kind = 'slack'\nurl = 'hooks'",
        "c.toml:3: alerts.url: is no URL (not shown); expected http:// or https://, without \
         credentials",
    ),
    (
        "kind = 'pagerduty'\nrouting_key = 'short'",
        "c.toml:3: alerts.routing_key: is no routing key (not shown); expected 32 letters and \
         digits",
    ),
    ("kind = 'alertmanager'", "c.toml:1: alerts.url: absent; this kind needs it"),
    (
        "kind = 'alertmanager'\nurl = 'http://a'\nurls = ['http://b']",
        "c.toml:1: alerts.urls: stands beside url; expected one of them",
    ),
    (
        "kind = 'alertmanager'\nurl = 'http://a'\nrepeat = 'never'",
        "c.toml:4: alerts.repeat: \"never\" does not fit; expected a duration with a unit, as \
         \"2s\", from 1s to 1h",
    ),
    (
        "kind = 'log'\nrepeat = 'often'",
        "c.toml:3: alerts.repeat: \"often\" does not fit; expected a duration with a unit, as \
         \"2s\", from 1s to 30days, or \"never\"",
    ),
    (
        "kind = 'log'\nmin_severity = 'bad'",
        "c.toml:3: alerts.min_severity: \"bad\" does not fit; expected \"info\" or \"warning\" or \
         \"error\" or \"critical\"",
    ),
    (
        "kind = 'log'\nafter_failures = 0",
        "c.toml:3: alerts.after_failures: 0 does not fit; expected a whole number from 1 to 1000",
    ),
    (
        "kind = 'log'\nstreams = ['a b']",
        "c.toml:3: alerts.streams: \"a b\": bad name; expected 1 to 128 characters of A-Z, a-z, \
         0-9, '.', '_', '-' and '*' (any run of characters)",
    ),
    (
        "kind = 'command'\ncommand = 'tell ops'",
        "c.toml:3: alerts.command: \"tell ops\" does not fit; expected a list: a program and its \
         arguments, as [\"/usr/bin/tell\", \"ops\"]",
    ),
    (
        "kind = 'command'\ncommand = ['']",
        "c.toml:3: alerts.command: \"\" does not fit; expected a program",
    ),
    (
        "kind = 'email'\nto = 'ops'\nfrom = 'a@b'\nsmtp = 'smtp://localhost'",
        "c.toml:3: alerts.to: \"ops\" does not fit; expected a mail address, as \
         \"ops@example.org\" or \"Operations <ops@example.org>\"",
    ),
    (
        "kind = 'email'\nto = 'a@b'\nfrom = 'a@b'\nsmtp = 'mail:25'",
        "c.toml:5: alerts.smtp: is no mail server (not shown): expected smtp://, smtps:// or \
         starttls://, a host, and maybe a port",
    ),
    (
        "kind = 'email'\nto = 'a@b'\nfrom = 'a@b'\nsmtp = 'smtp://mail'\nusername = 'u'\n\
         password = 'p'",
        "c.toml:6: alerts.username: a password would travel readable; expected smtps:// or \
         starttls:// in smtp",
    ),
    (
        "kind = 'email'\nto = 'a@b'\nfrom = 'a@b'\nsmtp = 'smtps://mail'\nusername = 'u'",
        "c.toml:6: alerts.username: a name and a password go together; expected both, or neither",
    ),
    (
        "kind = 'email'\nto = 'a@b'\nfrom = 'a@b'\nsmtp = 'smtps://mail'\nusername = 'u'\n\
         password_file = '/no/such/file'",
        "c.toml:7: alerts.password_file: \"/no/such/file\" can't be read: No such file or \
         directory (os error 2)",
    ),
    (
        "kind = 'log'\n[[alerts]]\nkind = 'log'",
        "c.toml:3: alerts.name: another target is the same (log); expected each once, or a name \
         for each",
    ),
    (
        "kind = 'log'\nname = 'a'\n[[alerts]]\nkind = 'log'\nname = 'a'",
        "c.toml:6: alerts.name: \"a\" is another target's name; expected a name of its own",
    ),
];

#[test]
fn mistakes_are_said_with_line_and_key() {
    for (keys, said) in WRONG {
        let error = of_text(&format!("[[alerts]]\n{keys}")).unwrap_err();
        assert_eq!(error.to_string(), *said, "{keys}");
    }
    for (text, said) in [
        (
            "[alerts]",
            "c.toml:1: alerts: a table does not fit; expected tables, each beginning with \
             [[alerts]]",
        ),
        ("alerts = [1]", "c.toml:1: alerts: 1 does not fit; expected a table, [[alerts]]"),
    ] {
        assert_eq!(of_text(text).unwrap_err().to_string(), said);
    }
    let error = of_env(&[("ROLLCALL_ALERTS__KIND", "log")]).unwrap_err();
    let said = "ROLLCALL_ALERTS__KIND: alerts: a table does not fit; expected tables, each \
                beginning with [[alerts]]";
    assert_eq!(error.to_string(), said);
}

#[test]
fn a_stream_says_when_it_has_stood_still_for_too_long() {
    let config = of_text("[streams.'orders.*']\nhold_alert_after = '90s'").unwrap();
    assert_eq!(stream(&config, "orders.eu").hold_alert_after, Duration::from_secs(90));
    assert_eq!(stream(&config, "other").hold_alert_after, Duration::from_secs(300));
    let error = of_text("[streams.a]\nhold_alert_after = 5").unwrap_err().to_string();
    assert!(error.starts_with("c.toml:2: streams.a.hold_alert_after: 5 does not fit"), "{error}");
}
