//! What a `PUT` of a subscription says: read key by key, so that a refusal names the one that is
//! wrong.

use std::{fmt::Display, ops::RangeInclusive};

use rollcall_common::{
    http::{Address, OwnHeader},
    ids::{Position, Sequence, StreamName, is_dots},
    limits::{
        OWN_HEADERS, REASON_BYTES, REPLAY_RATE, RESULTS_AT_ONCE, STREAM_NAME_BYTES,
        SUBSCRIPTION_ITEMS,
    },
    problem::Problem,
    time::Time,
    units::HumanDuration,
};
use serde_json::{Map, Value};

use crate::{
    dispatcher::event::Order,
    record::{DeliveryMode, Origin, Start, SubscriptionSpec},
    secrets::Kept,
    web::{respond::bad_request, without_mark},
};

/// What is wanted.
#[derive(Debug)]
pub(super) struct SubscriptionRequest {
    pub(super) plan: SubscriptionSpec,
    pub(super) addresses: Vec<Address>,
    pub(super) kept: Kept,
}

/// A key has a value that it can't have.
pub(super) fn wrong(field: &str, text: &str) -> Box<Problem> {
    bad_request(format!("{field}: {text}")).with("field", field).into()
}

impl SubscriptionRequest {
    /// What a body says.
    pub(super) fn read(body: &[u8]) -> Result<Self, Box<Problem>> {
        let mut said = object(body)?;
        let addresses = match said.remove("url") {
            None | Some(Value::Null) => Vec::new(),
            Some(value) => all("url", value, |text| {
                let parsed: Result<Address, _> = text.parse();
                // What is no URL may hold a password; it is not repeated.
                parsed.map_err(|error| shown(text, &error))
            })?,
        };
        let way = if addresses.is_empty() { DeliveryMode::Pull } else { DeliveryMode::Push };
        let mut plan = SubscriptionSpec::new(Origin::Api, way);
        plan.urls = addresses.iter().map(|address| address.to_string().into()).collect();
        if let Some(value) = said.remove("streams") {
            plan.streams = all("streams", value, pattern)?.into();
        }
        let secrets = match said.remove("secret") {
            None | Some(Value::Null) => Vec::new(),
            Some(value) => all("secret", value, |text| {
                text.parse().map_err(|error: crate::secrets::BadSecret| error.to_string())
            })?,
        };
        let headers = match said.remove("headers") {
            None | Some(Value::Null) => Vec::new(),
            Some(value) => headers(&value)?,
        };
        plan.headers = headers.iter().map(|header| header.name.as_str().into()).collect();
        if let Some(value) = said.remove("start") {
            plan.start = start(&value)?;
        }
        if let Some(value) = said.remove("batch") {
            plan.batch = whole("batch", &value, 1..=RESULTS_AT_ONCE)?;
        }
        if let Some(value) = said.remove("replay_rate") {
            plan.replay_rate = whole("replay_rate", &value, 0..=REPLAY_RATE)?;
        }
        if let Some(value) = said.remove("timeout") {
            plan.timeout = timeout(&value)?;
        }
        nothing_left(&said, KEYS)?;
        Ok(Self { plan, addresses, kept: Kept { secrets, headers } })
    }
}

/// All keys of a subscription.
const KEYS: &[&str] =
    &["batch", "headers", "replay_rate", "secret", "start", "streams", "timeout", "url"];

/// Where a subscription is to begin again.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Target {
    /// With the first result that was released at this moment or later.
    At(Time),
    /// After this position.
    Position(Position),
}

/// What a body says of where to begin again, `{"position": N}` or `{"at": TIME}`.
pub(super) fn target(body: &[u8]) -> Result<Target, Box<Problem>> {
    let Some(at) = object(body)?.remove("at") else {
        return position(body).map(Target::Position);
    };
    let said = object(body)?;
    if said.contains_key("position") {
        return Err(wrong("at", "stands beside position; expected one of them"));
    }
    nothing_left(&said.into_iter().filter(|(key, _)| key != "at").collect(), &["at", "position"])?;
    let time = at.as_str().and_then(|text| text.parse().ok());
    let expected = "expected a time with its zone, as \"2026-01-31T23:00:00Z\"";
    time.map(Target::At).ok_or_else(|| wrong("at", expected))
}

/// The result to be passed over that a body says, `{"stream", "sequence", "reason"}`.
pub(super) fn skip(body: &[u8]) -> Result<Order, Box<Problem>> {
    let mut said = object(body)?;
    let stream = said.remove("stream").ok_or_else(|| wrong("stream", "is missing"))?;
    let stream: Option<StreamName> = stream.as_str().and_then(|text| text.parse().ok());
    let sequence = said.remove("sequence").ok_or_else(|| wrong("sequence", "is missing"))?;
    let sequence = sequence.as_u64().filter(|sequence| *sequence > 0).map(Sequence);
    let reason = said.remove("reason").ok_or_else(|| wrong("reason", "is missing"))?;
    let reason = reason.as_str().filter(|text| (1..=REASON_BYTES).contains(&text.len()));
    nothing_left(&said, &["reason", "sequence", "stream"])?;
    Ok(Order::Skip {
        stream: stream.ok_or_else(|| wrong("stream", "expected a stream's name"))?,
        sequence: sequence.ok_or_else(|| wrong("sequence", "expected a whole number from 1"))?,
        reason: reason
            .ok_or_else(|| wrong("reason", &format!("expected 1 to {REASON_BYTES} bytes")))?
            .into(),
    })
}

/// Headers with their values, which are never shown.
fn headers(value: &Value) -> Result<Vec<OwnHeader>, Box<Problem>> {
    let all = value.as_object().filter(|all| all.len() <= OWN_HEADERS);
    let all = all.ok_or_else(|| {
        wrong("headers", &format!("expected an object of at most {OWN_HEADERS} values"))
    })?;
    let mut headers: Vec<OwnHeader> = Vec::new();
    for (name, value) in all {
        let value = value.as_str().unwrap_or_default();
        let header = OwnHeader::new(name, value)
            .map_err(|error| wrong("headers", &format!("{name:?} {error}")))?;
        if headers.iter().any(|other| other.name == header.name) {
            return Err(wrong("headers", &format!("{name:?} stands there twice")));
        }
        headers.push(header);
    }
    Ok(headers)
}

/// The position that a body says, `{"position": N}`.
pub(super) fn position(body: &[u8]) -> Result<Position, Box<Problem>> {
    let mut said = object(body)?;
    let value = said.remove("position").ok_or_else(|| wrong("position", "is missing"))?;
    nothing_left(&said, &["position"])?;
    let number = value.as_u64().ok_or_else(|| wrong("position", "expected a whole number from 0"));
    number.map(Position)
}

fn object(body: &[u8]) -> Result<Map<String, Value>, Box<Problem>> {
    let value: Value = serde_json::from_slice(without_mark(body))
        .map_err(|error| bad_request(format!("the body is no JSON: {error}")))?;
    if let Value::Object(object) = value {
        return Ok(object);
    }
    Err(bad_request("the body is no JSON object").into())
}

fn nothing_left(left: &Map<String, Value>, known: &[&str]) -> Result<(), Box<Problem>> {
    let Some(key) = left.keys().next() else {
        return Ok(());
    };
    let text = format!("is not known; known keys: {}", known.join(", "));
    Err(wrong(key, &text))
}

/// A text, or a list of at least one, none of them twice.
fn all<T: PartialEq>(
    field: &str,
    value: Value,
    check: impl Fn(&str) -> Result<T, String>,
) -> Result<Vec<T>, Box<Problem>> {
    let items = if let Value::Array(items) = value { items } else { vec![value] };
    if items.is_empty() || items.len() > SUBSCRIPTION_ITEMS {
        return Err(wrong(field, &format!("expected 1 to {SUBSCRIPTION_ITEMS} items")));
    }
    let mut checked = Vec::new();
    for item in &items {
        let text = item.as_str().ok_or_else(|| wrong(field, "expected a string, or a list"))?;
        let value = check(text).map_err(|text| wrong(field, &text))?;
        if checked.contains(&value) {
            return Err(wrong(field, "an item stands twice in the list"));
        }
        checked.push(value);
    }
    Ok(checked)
}

/// What is no URL may hold a password; then it is not repeated.
fn shown(text: &str, error: &impl Display) -> String {
    if text.contains('@') {
        "a URL must not hold credentials".to_owned()
    } else {
        error.to_string()
    }
}

fn pattern(text: &str) -> Result<Box<str>, String> {
    let good = |c: char| c.is_ascii_alphanumeric() || ".-_*".contains(c);
    let fits = (1..=STREAM_NAME_BYTES).contains(&text.len()) && text.chars().all(good);
    if fits && !is_dots(text) {
        return Ok(text.into());
    }
    Err(format!("{text:?} is neither a stream's name nor a pattern with '*'"))
}

fn start(value: &Value) -> Result<Start, Box<Problem>> {
    match (value.as_str(), value.as_u64()) {
        (Some("live"), _) => Ok(Start::Live),
        (Some("beginning"), _) => Ok(Start::After(Position(0))),
        (None, Some(position)) => Ok(Start::After(Position(position))),
        _ => Err(wrong("start", "expected \"live\", \"beginning\" or a position from 0")),
    }
}

fn whole(field: &str, value: &Value, range: RangeInclusive<u32>) -> Result<u32, Box<Problem>> {
    let number = value.as_u64().and_then(|number| u32::try_from(number).ok());
    number.filter(|number| range.contains(number)).ok_or_else(|| {
        let (least, most) = range.into_inner();
        wrong(field, &format!("expected a whole number from {least} to {most}"))
    })
}

fn timeout(value: &Value) -> Result<std::time::Duration, Box<Problem>> {
    let span = value.as_str().and_then(|text| text.parse::<HumanDuration>().ok());
    let day = std::time::Duration::from_secs(86_400);
    let fits = span.filter(|HumanDuration(span)| (1..=day.as_millis()).contains(&span.as_millis()));
    fits.map(|HumanDuration(span)| span).ok_or_else(|| {
        wrong("timeout", "expected a duration with a unit, as \"2s\", from 1ms to 1day")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn field(body: &str) -> String {
        let problem = SubscriptionRequest::read(body.as_bytes()).unwrap_err();
        assert_eq!(problem.status, 400);
        problem.members["field"].as_str().unwrap().to_owned()
    }

    #[test]
    fn a_whole_subscription_is_read() {
        let wanted = SubscriptionRequest::read(
            br#"{"streams":["orders","customer.*"],"url":["http://a/x","tcp://b:7"],"start":7,
                "headers":{"X-Key":"hunter2"},
                "secret":["whsec_YQ==","whsec_Yg=="],"batch":3,"timeout":"2s","replay_rate":9}"#,
        );
        let wanted = wanted.unwrap();
        assert_eq!((wanted.addresses.len(), wanted.kept.secrets.len()), (2, 2));
        assert_eq!(wanted.kept.headers, [OwnHeader::new("x-key", "hunter2").unwrap()]);
        let plan = wanted.plan;
        assert_eq!((plan.way, plan.start), (DeliveryMode::Push, Start::After(Position(7))));
        assert_eq!(&*plan.headers, [Box::from("x-key")], "their names, and not what they say");
        assert_eq!((plan.batch, plan.replay_rate, plan.timeout.as_secs()), (3, 9, 2));
        assert_eq!(&*plan.urls[1], "tcp://b:7?framing=lines&ack=line");
        let plan = SubscriptionRequest::read(b"{}").unwrap().plan;
        assert_eq!(
            (plan.way, plan.start, &*plan.streams[0]),
            (DeliveryMode::Pull, Start::Live, "*")
        );
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (body, expected) in [
            (r#"{"stream":["a"]}"#, "stream"),
            (r#"{"streams":[]}"#, "streams"),
            (r#"{"streams":["a/b"]}"#, "streams"),
            (r#"{"streams":["a","a"]}"#, "streams"),
            (r#"{"url":7}"#, "url"),
            (r#"{"url":"ftp://x"}"#, "url"),
            (r#"{"url":"tcp://x:7?framing=x"}"#, "url"),
            (r#"{"secret":"hunter2"}"#, "secret"),
            (r#"{"start":"now"}"#, "start"),
            (r#"{"start":-1}"#, "start"),
            (r#"{"batch":0}"#, "batch"),
            (r#"{"batch":1.5}"#, "batch"),
            (r#"{"timeout":5}"#, "timeout"),
            (r#"{"timeout":"0s"}"#, "timeout"),
            (r#"{"replay_rate":-1}"#, "replay_rate"),
            (r#"{"headers":["a"]}"#, "headers"),
            (r#"{"headers":{"host":"a"}}"#, "headers"),
            (r#"{"headers":{"x":1}}"#, "headers"),
            (r#"{"headers":{"X":"a","x":"b"}}"#, "headers"),
        ] {
            assert_eq!(field(body), expected, "{body}");
        }
        let problem = SubscriptionRequest::read(br#"{"url":"http://u:hunter2@x"}"#).unwrap_err();
        assert!(!problem.detail.contains("hunter2"), "{}", problem.detail);
        let problem = SubscriptionRequest::read(br#"{"secret":"hunter2"}"#).unwrap_err();
        assert!(!problem.detail.contains("hunter2"), "{}", problem.detail);
        for bad in ["", "[]", "{"] {
            assert_eq!(SubscriptionRequest::read(bad.as_bytes()).unwrap_err().status, 400);
        }
    }

    #[test]
    fn a_rewind_says_a_position_or_a_time() {
        assert_eq!(target(br#"{"position":3}"#), Ok(Target::Position(Position(3))));
        let at = Time::from_micros(1_500_000);
        assert_eq!(target(br#"{"at":"1970-01-01T01:00:01.5+01:00"}"#), Ok(Target::At(at)));
        for bad in [r#"{"at":"yesterday"}"#, r#"{"at":7}"#, r#"{"at":"1970-01-01T00:00:00"}"#, "{}"]
        {
            assert!(target(bad.as_bytes()).is_err(), "{bad}");
        }
        let both = target(br#"{"at":"1970-01-01T00:00:00Z","position":1}"#).unwrap_err();
        assert_eq!(both.members["field"], "at");
    }

    #[test]
    fn a_skip_says_what_and_why() {
        let said = skip(br#"{"stream":"a","sequence":3,"reason":"broken"}"#).unwrap();
        let expected = Order::Skip {
            stream: "a".parse().unwrap(),
            sequence: Sequence(3),
            reason: "broken".into(),
        };
        assert_eq!(said, expected);
        for (bad, field) in [
            (r#"{"sequence":3,"reason":"x"}"#, "stream"),
            (r#"{"stream":"a/b","sequence":3,"reason":"x"}"#, "stream"),
            (r#"{"stream":"a","sequence":0,"reason":"x"}"#, "sequence"),
            (r#"{"stream":"a","sequence":3}"#, "reason"),
            (r#"{"stream":"a","sequence":3,"reason":""}"#, "reason"),
            (r#"{"stream":"a","sequence":3,"reason":"x","y":1}"#, "y"),
        ] {
            assert_eq!(skip(bad.as_bytes()).unwrap_err().members["field"], *field, "{bad}");
        }
    }

    #[test]
    fn a_position_is_a_whole_number() {
        assert_eq!(position(br#"{"position":0}"#), Ok(Position(0)));
        for bad in [r#"{"position":-1}"#, r#"{"position":"1"}"#, "{}", r#"{"position":1,"x":2}"#] {
            assert!(position(bad.as_bytes()).is_err(), "{bad}");
        }
    }
}
