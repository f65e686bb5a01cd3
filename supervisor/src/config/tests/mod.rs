//! The configuration from outside.

use std::time::Duration;

use rollcall_common::ids::{Position, StreamName};

use super::*;
use crate::{
    dispatcher::settings::{
        AlertTarget, BudgetSettings, Hedging, OnExhausted, OutageDetection, PoolSettings,
        StreamSettings,
    },
    record::{DeliveryMode, Start},
};

mod alerts;
mod env;
mod file;
mod security;
mod wrong;

const EXAMPLE: &str = include_str!("../../../../docs/rollcall.example.toml");

type Loaded = Result<Config, ConfigError>;

fn from(text: &str, env: &[(&str, &str)], overrides: Overrides) -> Loaded {
    let env = env.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned()));
    Config::read(text, env, overrides, Problems::new("c.toml".to_owned()))
}

fn of_text(text: &str) -> Loaded {
    from(text, &[], Overrides::default())
}

fn of_env(env: &[(&str, &str)]) -> Loaded {
    from("", env, Overrides::default())
}

fn stream(config: &Config, name: &str) -> Arc<StreamSettings> {
    config.settings().stream(&name.parse::<StreamName>().unwrap())
}

#[test]
fn nothing_said_is_the_default() {
    let config = Config::load(None, [], Overrides::default());
    assert_eq!(config, Ok(Config::default()));
    assert_eq!(of_text(EXAMPLE), Ok(Config::default()));
    assert_eq!(*stream(&Config::default(), "a"), StreamSettings::default());
}

#[test]
fn the_example_says_the_defaults() {
    let uncommented: Vec<&str> = EXAMPLE
        .lines()
        .map(|line| match line.strip_prefix('#') {
            Some(setting) if !setting.starts_with(' ') => setting,
            _ => line,
        })
        .collect();
    let config = of_text(&uncommented.join("\n")).unwrap();
    let default = Config::default();
    let server = Server {
        ca_file: Some("ca.pem".into()),
        admin_listen: Some("127.0.0.1:7401".parse().unwrap()),
        ..default.server
    };
    assert_eq!(config.server, server);
    assert_eq!(config.journal, default.journal);
    let limits = Limits { connections_per_address: Some(4096), ..default.limits };
    assert_eq!(config.limits, limits);
    assert_eq!((config.tokens.len(), config.tcp.len()), (2, 1));
    assert!(config.streams.create);
    let said = StreamSettings { retry_for: Some(Duration::from_hours(1)), ..Default::default() };
    assert_eq!(*stream(&config, "a"), said);
    let pool = Pool { concurrency: Some(16), ..Pool::new("default") };
    assert_eq!(config.pools, [pool]);
    assert_eq!(config.settings().pool("default"), PoolSettings::default());
    let said = &config.subscriptions[0];
    let subscription = Subscription {
        secrets: said.secrets.clone(),
        headers: said.headers.clone(),
        ..Subscription::new("warehouse", said.urls.clone())
    };
    assert_eq!(*said, subscription);
    assert_eq!(said.secrets[0], "whsec_c2lnbmVkIHdpdGggdGhpcyBrZXkh".parse().unwrap());
    assert_eq!(format!("{:?}", said.secrets), "[Secret(…)]");
    assert_eq!(said.headers[0].name, "authorization");
    let kinds: Vec<&str> = config.alerts.iter().map(|one| one.target.kind.as_str()).collect();
    let all = ["log", "webhook", "slack", "pagerduty", "alertmanager", "email", "command"];
    assert_eq!(kinds, all);
    let (log, told) = (Alerting::log(), &config.alerts[0].told);
    assert_eq!(config.alerts[0].target, log.target);
    let differs =
        AlertTarget { after_failures: Some(3), streams: told.streams.clone(), ..log.told };
    assert_eq!((told, told.streams[0].as_str()), (&differs, "*"));
}

/// Everything, and nothing at its default.
const ALL: &str = r#"
[server]
listen = "[::]:1"
insecure = true
drain_timeout = "0s"
allow_destinations = ["10.0.0.0/8", "hooks.internal"]
ca_file = "ca.pem"
[journal]
kind = "memory"
segment_bytes = 65536
reserve_bytes = 0
[limits]
message_bytes = "20 MiB"
[streams]
create = "never"
[streams."*"]
pool = "none"
multiplier = 1.5
max_attempts = 1000
[streams."orders.*"]
pool = "fast"
timeout = "750ms"
jitter = "0s"
on_exhausted = "skip"
[streams."orders.eu"]
max_delay = "1m"
retry_for = "2h"
max_in_flight = 65_536
window = 1_048_576
max_backlog = 1
hedge = "off"
retention = "90min"
[pools.fast]
workers = ["http://a:9000", "http://[::1]:9000/x"]
concurrency = 3
eject_after = 1
eject_for = "5m"
outage = "off"
outage_after = 7
forget_after = "1h"
retry_percent = 0
retries_per_second = 1000
dns_refresh = "1s"
[subscriptions.out]
streams = ["orders.*", "a"]
url = ["https://a/x", "tcp://b:7?ack=none"]
start = 7
secret = ["whsec_AQ==", "whsec_Ag"]
batch = 10_000
timeout = "1m 30s"
replay_rate = 5
[subscriptions.pulled]
"#;

#[test]
fn all_is_read() {
    let config = of_text(ALL).unwrap();
    assert_eq!(config.server.listen.to_string(), "[::]:1");
    assert_eq!(config.server.drain_timeout, Duration::ZERO);
    assert_eq!(config.journal.kind, JournalKind::Memory);
    assert_eq!(config.journal.segment_bytes, 65_536);
    assert_eq!((config.limits.message_bytes, config.limits.batch_bytes), (20 << 20, 20 << 20));
    assert!(!config.settings().create_streams);
    let eu = stream(&config, "orders.eu");
    assert_eq!(eu.pool.as_deref(), Some("fast"));
    assert_eq!(eu.ladder.timeout, Duration::from_millis(750));
    assert_eq!(eu.ladder.jitter, Duration::ZERO);
    assert_eq!((eu.ladder.multiplier_permille, eu.ladder.max_attempts), (1500, 1000));
    let (delay, least) = (Duration::from_mins(1), Duration::from_hours(2));
    assert_eq!((eu.ladder.max_delay, eu.retry_for), (delay, Some(least)));
    assert_eq!(eu.on_exhausted, OnExhausted::Skip);
    assert_eq!((eu.max_in_flight, eu.window, eu.max_backlog), (65_536, 1_048_576, 1));
    assert_eq!(eu.retention, Duration::from_mins(90));
    assert_eq!(config.rules().age, Duration::from_hours(24), "other streams keep theirs");
    assert_eq!((stream(&config, "orders.us").window, &stream(&config, "x").pool), (4096, &None));
    let pool = &config.pools[0];
    assert_eq!(pool.workers[1].to_string(), "http://[::1]:9000/x");
    assert_eq!((pool.concurrency, pool.dns_refresh), (Some(3), Duration::from_secs(1)));
    assert_eq!(eu.hedge, Hedging::Off);
    let fast = config.settings().pool("fast");
    assert_eq!(fast.eject_after, 1);
    assert_eq!((fast.outage, fast.outage_after), (OutageDetection::Off, 7));
    assert_eq!(fast.forget_after, Duration::from_hours(1));
    assert_eq!(fast.budget, BudgetSettings { percent: 0, per_second: 1000 });
    let out = &config.subscriptions[0];
    assert_eq!(*out.streams, ["orders.*".into(), "a".into()]);
    assert_eq!((out.urls.len(), out.start), (2, Start::After(Position(7))));
    assert_eq!((&out.secrets[1], out.batch), (&"whsec_Ag==".parse().unwrap(), 10_000));
    assert_eq!((out.timeout, out.replay_rate), (Duration::from_secs(90), 5));
    assert_eq!(config.subscriptions[1].plan().way, DeliveryMode::Pull);
    assert_eq!(config.server.allow_destinations.len(), 2);
    assert_eq!(config.server.ca_file.as_deref(), Some(Path::new("ca.pem")));
}

#[test]
fn names_of_dots_alone_are_none() {
    for dots in [".", ".."] {
        assert!(dots.parse::<StreamName>().is_err(), "{dots}");
        let refused = of_text(&format!("[pools.\"{dots}\"]")).unwrap_err().to_string();
        assert!(refused.contains("bad name"), "{refused}");
    }
}

#[test]
fn localhost_is_a_place_to_listen_at() {
    for (text, expected) in [("localhost:7", "127.0.0.1:7"), ("[::1]:8", "[::1]:8")] {
        let flags = Overrides { listen: Some(text.to_owned()), ..Overrides::default() };
        assert_eq!(from("", &[], flags).unwrap().server.listen.to_string(), expected);
    }
    for text in ["localhost", "localhost:", "localhost:x", "localhost.example:1"] {
        assert!(of_text(&format!("server.listen = {text:?}")).is_err(), "{text}");
    }
}

#[test]
fn flags_win_over_the_environment_and_that_over_the_file() {
    let text = "server.listen = '127.0.0.1:1'\njournal.path = 'file'";
    let env = [("ROLLCALL_SERVER_LISTEN", "127.0.0.1:2"), ("ROLLCALL_JOURNAL_PATH", "env")];
    let flags = Overrides { listen: Some("127.0.0.1:3".to_owned()), data: Some("flag".into()) };
    for (env, flags, port, path) in [
        ([].as_slice(), Overrides::default(), 1, "file"),
        (&env, Overrides::default(), 2, "env"),
        (&env, flags.clone(), 3, "flag"),
    ] {
        let config = from(text, env, flags).unwrap();
        assert_eq!(config.server.listen.port(), port);
        assert_eq!(config.journal.path, Path::new(path));
    }
    let bad = Overrides { listen: Some("0.0.0.0:1".to_owned()), ..flags };
    let error = from("journal.kind = 'memory'", &[], bad).unwrap_err();
    let [listen, data] = error.lines() else { panic!("{error}") };
    assert!(data.starts_with("--listen: server.listen: 0.0.0.0:1 is not loopback"), "{data}");
    assert!(listen.starts_with("--data: journal.path: nothing is kept there"), "{listen}");
}

#[test]
fn what_needs_a_restart_is_known() {
    let old = of_text("").unwrap();
    let new = of_text("server.listen = '127.0.0.1:1'\nlimits.message_bytes = 1").unwrap();
    assert_eq!(old.needs_restart(&new), ["server"]);
    let tcp = of_text("[[tcp]]\nlisten = '127.0.0.1:1'\nstream = 'a'").unwrap();
    assert_eq!(old.needs_restart(&tcp), ["tcp"]);
    let token = "[[tokens]]\nname = 'a'\nsecret = 'x'\nscopes = 'read'";
    assert_eq!(old.needs_restart(&of_text(token).unwrap()), [""; 0]);
}
