//! Alert senders, set up by a configuration, against receivers that check what they are sent.

mod canary;
mod command;
mod http;
mod mail;
mod shapes;

use std::{
    fs,
    sync::{Arc, Mutex, PoisonError},
};

use rollcall_common::time::{Clock, Time};
use rollcall_supervisor::{
    alerts::{AlertView, Failure, Notice, Senders},
    config::{Config, ConfigError, Overrides},
    dispatcher::NoticeKind,
    record::Severity,
};
use serde_json::Value;
use tests::peers::{Act, Request, Server};

/// The configuration that `text` is.
fn load(text: &str) -> Result<Config, ConfigError> {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("c.toml");
    fs::write(&path, text).expect("a file");
    Config::load(Some(&path), [], Overrides::default())
}

/// A sender to the only target of a configuration.
struct Sender {
    senders: Senders,
    name: String,
}

impl Sender {
    fn new(text: &str) -> Self {
        let config = load(text).unwrap_or_else(|error| panic!("{error}"));
        let targets = config.alerts.into_iter().map(|alerting| alerting.target);
        let senders = Senders::new(targets, Clock::start(Time::default())).expect("senders");
        let name = senders.names().next().expect("a target").to_string();
        Self { senders, name }
    }

    async fn send(&self, notice: &Notice) -> Result<(), Failure> {
        self.senders.send(&self.name, notice).await
    }
}

/// A notice of an alert with all that an alert can have.
fn notice(what: NoticeKind) -> Notice {
    let state = match what {
        NoticeKind::Acknowledged => "acknowledged",
        NoticeKind::Firing | NoticeKind::Repeated | NoticeKind::Worse => "firing",
        NoticeKind::Resolved => "resolved",
    };
    let number = match what {
        NoticeKind::Firing => 0,
        NoticeKind::Repeated => 1,
        NoticeKind::Worse => 2,
        NoticeKind::Acknowledged => 3,
        NoticeKind::Resolved => 4,
    };
    let since = Time::from_micros(1_700_000_000_000_000);
    let alert = AlertView {
        id: "17".to_owned(),
        journal: "0191d7a0-0000-7000-8000-000000000001".to_owned(),
        state,
        severity: Severity::Error,
        kind: "message_parked",
        stream: Some("orders.eu".to_owned()),
        sequence: Some(42),
        subscription: None,
        worker: None,
        count: 1,
        span: None,
        title: "orders.eu/42 is parked".to_owned(),
        detail: "attempts are used up: status 500".to_owned(),
        since,
        until: (what == NoticeKind::Resolved).then_some(Time::from_micros(1_700_000_060_000_000)),
    };
    Notice { alert, what, number, attempt: 1 }
}

const ALL: [NoticeKind; 5] = [
    NoticeKind::Firing,
    NoticeKind::Repeated,
    NoticeKind::Worse,
    NoticeKind::Acknowledged,
    NoticeKind::Resolved,
];

/// A receiver that keeps what it is sent.
struct Receiver {
    server: Server,
    requests: Arc<Mutex<Vec<Request>>>,
}

impl Receiver {
    async fn start(answer: impl Fn(&Request) -> Act + Send + Sync + 'static) -> Self {
        let requests: Arc<Mutex<Vec<Request>>> = Arc::default();
        let shared = Arc::clone(&requests);
        let server = Server::start(None, move |request| {
            let act = answer(&request);
            shared.lock().unwrap_or_else(PoisonError::into_inner).push(request);
            act
        });
        Self { server: server.await, requests }
    }

    fn url(&self) -> String {
        self.server.url()
    }

    fn requests(&self) -> Vec<Request> {
        self.requests.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn bodies(&self) -> Vec<Value> {
        self.requests().iter().map(json).collect()
    }
}

fn json(request: &Request) -> Value {
    serde_json::from_slice(&request.body).unwrap_or_default()
}

/// What is wrong with a request, if anything is: a receiver says so, and the test fails there.
type Checked = Result<(), String>;

fn ensure(holds: bool, what: &str) -> Checked {
    if holds { Ok(()) } else { Err(what.to_owned()) }
}

fn refused(result: &Result<(), Failure>) -> &str {
    match result {
        Err(Failure::Refused(detail)) => detail,
        other => panic!("not refused: {other:?}"),
    }
}

fn unavailable(result: &Result<(), Failure>) -> &str {
    match result {
        Err(Failure::Unavailable { detail, .. }) => detail,
        other => panic!("not unavailable: {other:?}"),
    }
}
