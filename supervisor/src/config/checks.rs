//! What holds for any text. Asked by random tests, and by `tests/fuzz`.

use std::sync::Arc;

use bytes::Bytes;
use rollcall_common::{
    http::Address, ids::MessageId, message::Message, protocol::DEFAULT_POOL, time::Time,
};
use uuid::Uuid;

use super::{Config, ConfigError, Overrides, error::Problems};
use crate::dispatcher::{
    Arrival, Dispatcher, Effect, Event, RequestId, Settings, State, WorkerReply,
};

/// A text is a configuration, or each complaint is one line that begins with the file and, where
/// it is about a line of it, with the number of one that is there.
///
/// # Panics
/// When that is not so.
pub fn text(text: &str) {
    // Files that keys name are opened, and not everything there has an end.
    if ["/dev", "/proc", "/sys"].iter().any(|folder| text.contains(folder)) {
        return;
    }
    let Err(error) = read(text) else { return };
    let last = text.split('\n').count();
    assert!(!error.lines().is_empty());
    for line in error.lines() {
        assert!(!line.contains('\n'), "{line:?}");
        let Some(rest) = line.strip_prefix("c.toml:") else { unreachable!("{line:?}") };
        let number = rest.split_once(": ").and_then(|(number, _)| number.parse().ok());
        let is_there = number.is_some_and(|number| (1..=last).contains(&number));
        // What is said of the file as a whole has no line.
        assert!(rest.starts_with(' ') || is_there, "{line:?}");
    }
}

/// What stands before a number, and behind it, in a file. One that is missing here is found by a
/// test.
pub(super) const NUMBERS: &[(&str, &str)] = &[
    ("[limits]\nmessage_bytes = ", ""),
    ("[limits]\nmessage_bytes = 1\nbatch_bytes = ", ""),
    ("[limits]\nintake_bytes = ", ""),
    ("[limits]\nconnections_per_address = ", ""),
    ("[server]\ndrain_timeout = ", ""),
    ("[server]\nlisten = \"127.0.0.1:", "\""),
    ("[journal]\nsegment_bytes = ", ""),
    ("[journal]\nreserve_bytes = ", ""),
    ("[journal]\nretention_bytes = ", ""),
    ("[streams.a]\ntimeout = ", ""),
    ("[streams.a]\nmultiplier = ", ""),
    ("[streams.a]\njitter = ", ""),
    ("[streams.a]\nmax_attempts = ", ""),
    ("[streams.a]\nmax_delay = ", ""),
    ("[streams.a]\nretry_for = ", ""),
    ("[streams.a]\nmax_in_flight = ", ""),
    ("[streams.a]\nwindow = ", ""),
    ("[streams.a]\nmax_backlog = ", ""),
    ("[streams.a]\nretention = ", ""),
    ("[streams.a]\nhold_alert_after = ", ""),
    ("[pools.default]\nconcurrency = ", ""),
    ("[pools.default]\neject_after = ", ""),
    ("[pools.default]\neject_for = ", ""),
    ("[pools.default]\nretry_percent = ", ""),
    ("[pools.default]\nretries_per_second = ", ""),
    ("[pools.default]\ndns_refresh = ", ""),
    ("[pools.default]\noutage_after = ", ""),
    ("[pools.default]\nforget_after = ", ""),
    ("[pools.default]\nworkers = [\"http://10.0.0.5:", "\"]"),
    ("[subscriptions.p]\nstart = ", ""),
    ("[subscriptions.p]\nbatch = ", ""),
    ("[subscriptions.p]\ntimeout = ", ""),
    ("[subscriptions.p]\nreplay_rate = ", ""),
    ("[[alerts]]\nkind = \"log\"\nafter = ", ""),
    ("[[alerts]]\nkind = \"log\"\nafter_failures = ", ""),
    ("[[alerts]]\nkind = \"log\"\nrepeat = ", ""),
    ("[[alerts]]\nkind = \"log\"\ntimeout = ", ""),
    ("[[tcp]]\nstream = \"a\"\nframing = \"lines\"\nlisten = \"127.0.0.1:", "\""),
];

/// A text where a file has a number, a duration or a size is refused, or makes settings with
/// which work can be done at any time; and the ends of the range that a refusal names are taken.
///
/// # Panics
/// When that is not so.
pub fn number(place: u8, value: &str) {
    let Some((before, behind)) = NUMBERS.get(usize::from(place) % NUMBERS.len()) else { return };
    let set = |value: &str| read(&format!("{before}{value}{behind}\n"));
    match set(value) {
        Ok(config) => work(Arc::new(config.settings())),
        Err(error) => {
            let Some((least, most)) = error.lines().iter().find_map(|line| range(line)) else {
                return;
            };
            for end in [least, most] {
                // What another key asks of it is another matter.
                let is_number = end.parse::<f64>().is_ok();
                let again = set(&if is_number { end.clone() } else { format!("{end:?}") });
                let said = again.err().map(|error| error.to_string());
                let taken = said.is_none_or(|said| !said.contains(" does not fit; "));
                assert!(taken, "{before}{end} is not taken, and {value} was refused: {error}");
            }
        }
    }
}

/// A text is an address or refused; an address is the same after it was written down.
///
/// # Panics
/// When that is not so.
pub fn address(text: &str) {
    let Ok(address) = text.parse::<Address>() else { return };
    assert!(address.port() > 0 && !address.host().is_empty(), "{text:?}");
    assert_eq!(address.to_string().parse().ok(), Some(address), "{text:?}");
}

/// The range that a complaint names.
fn range(line: &str) -> Option<(String, String)> {
    let (_, range) = line.rsplit_once(" from ")?;
    let (least, most) = range.split_once(" to ")?;
    let most = most.split(", ").next().unwrap_or(most);
    Some((least.to_owned(), most.to_owned()))
}

/// A message fails as often as it may, its heads stand still, and everything falls due.
fn work(settings: Arc<Settings>) {
    const STEPS: usize = 40;
    let mut now = Time::from_micros(1_700_000_000_000_000);
    let mut dispatcher = Dispatcher::new(settings, State::default(), 7, now);
    let joined = |id: &str| Event::WorkerSeen {
        id: id.into(),
        pool: DEFAULT_POOL.into(),
        concurrency: Some(u32::MAX),
        beats: true,
    };
    ["w1", "w2"].into_iter().for_each(|id| dispatcher.handle(joined(id), now));
    let Ok(stream) = "a".parse() else { unreachable!("it is a name") };
    let message = Message {
        id: MessageId(Uuid::from_u128(7)),
        key: None,
        content_type: "".into(),
        headers: Arc::default(),
        body: Bytes::new(),
    };
    let messages = vec![Arc::new(message)];
    let arrival = Arrival { request: RequestId(1), stream, messages };
    dispatcher.handle(Event::Arrived(arrival), now);
    for step in 0..STEPS {
        let mut under_way = Vec::new();
        while let Some(effect) = dispatcher.poll_effect() {
            if let Effect::Dispatch(dispatch) = effect {
                under_way.push(dispatch.attempt);
            }
        }
        for attempt in under_way.into_iter().filter(|_| step % 3 > 0) {
            let reply = WorkerReply::Broken("no".into());
            dispatcher.handle(Event::AttemptEnded { attempt, reply }, now);
        }
        now = dispatcher.poll_timeout().unwrap_or(now).max(now);
        dispatcher.handle_timeout(now);
        let order = dispatcher.verify(now);
        assert!(order.is_ok(), "{order:?}");
    }
}

/// The configuration that a text is.
///
/// # Errors
/// Everything that is wrong with it.
pub(crate) fn read(text: &str) -> Result<Config, ConfigError> {
    let problems = Problems::new("c.toml".to_owned());
    Config::read(text, [], Overrides::default(), problems)
}
