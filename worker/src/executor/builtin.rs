//! Handlers for trials: `echo`, `upper`, `sleep=750ms+upper`, `fail=10+echo`, ….

use std::{ops::RangeInclusive, str::FromStr, time::Duration};

use bytes::Bytes;
use http::StatusCode;
use rollcall_common::units::HumanDuration;
use tokio::time::sleep;

use crate::handler::{Handler, Reply, Request};

/// Steps that a message goes through, one after the other, until one of them answers.
#[derive(Clone, Debug, PartialEq)]
pub struct Builtin(Vec<Step>);

#[derive(Clone, Debug, PartialEq)]
enum Step {
    Echo,
    Upper,
    Reverse,
    Sleep(RangeInclusive<Duration>),
    Status(StatusCode),
    Sometimes(Mishap, f64),
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Mishap {
    Fail,
    Park,
    Skip,
    Hang,
}

/// Text that names no builtin.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error(
    "{0:?} is no builtin: {1}; there are echo, upper, reverse, sleep=DUR, sleep=DUR..DUR, \
     status=CODE, fail[=PERCENT], park[=PERCENT], skip[=PERCENT], hang[=PERCENT], joined by \"+\""
)]
pub struct BadBuiltin(String, String);

impl FromStr for Builtin {
    type Err = BadBuiltin;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        text.split('+').map(step).collect::<Result<_, _>>().map(Self)
    }
}

fn step(text: &str) -> Result<Step, BadBuiltin> {
    let bad = |why: &str| BadBuiltin(text.to_owned(), why.to_owned());
    let (name, value) = match text.split_once('=') {
        Some((name, value)) => (name, Some(value)),
        None => (text, None),
    };
    let mishap = |mishap| {
        let percent = value.map_or(Ok(100.0), |value| value.trim_end_matches('%').parse());
        match percent {
            Ok(percent) if (0.0..=100.0).contains(&percent) => Ok(Step::Sometimes(mishap, percent)),
            _ => Err(bad("a percentage is a number from 0 to 100")),
        }
    };
    match (name, value) {
        ("echo", None) => Ok(Step::Echo),
        ("upper", None) => Ok(Step::Upper),
        ("reverse", None) => Ok(Step::Reverse),
        ("sleep", Some(value)) => span(value).map(Step::Sleep).map_err(|why| bad(&why)),
        ("status", Some(value)) => value
            .parse()
            .ok()
            .filter(|code| (200..600).contains(code))
            .and_then(|code| StatusCode::from_u16(code).ok())
            .map(Step::Status)
            .ok_or_else(|| bad("a status is a number from 200 to 599")),
        ("fail", _) => mishap(Mishap::Fail),
        ("park", _) => mishap(Mishap::Park),
        ("skip", _) => mishap(Mishap::Skip),
        ("hang", _) => mishap(Mishap::Hang),
        _ => Err(bad("unknown, or its value is missing or not allowed")),
    }
}

fn span(text: &str) -> Result<RangeInclusive<Duration>, String> {
    let (low, high) = text.split_once("..").unwrap_or((text, text));
    let (low, high): (HumanDuration, HumanDuration) = (low.parse()?, high.parse()?);
    if low > high {
        return Err("the range is empty".to_owned());
    }
    Ok(low.0..=high.0)
}

impl Handler for Builtin {
    async fn handle(&self, request: Request) -> Reply {
        let mut body = request.body;
        for step in &self.0 {
            match step {
                Step::Echo => {}
                Step::Upper => body = upper(&body),
                Step::Reverse => body = reverse(&body),
                Step::Sleep(range) => sleep(draw(range)).await,
                Step::Status(status) if status.is_success() => {
                    return Reply { status: *status, ..Reply::ok(body) };
                }
                Step::Status(status) => return Reply::of_status(*status, "as asked for"),
                Step::Sometimes(mishap, percent) => {
                    if fastrand::f64() * 100.0 < *percent {
                        return mishap.happen().await;
                    }
                }
            }
        }
        Reply::ok(body)
    }
}

impl Mishap {
    async fn happen(self) -> Reply {
        match self {
            Self::Fail => Reply::retry("failed, as asked for"),
            Self::Park => Reply::park("parked, as asked for"),
            Self::Skip => Reply::skip("skipped, as asked for"),
            Self::Hang => std::future::pending().await,
        }
    }
}

fn draw(range: &RangeInclusive<Duration>) -> Duration {
    let micros = |span: &Duration| u64::try_from(span.as_micros()).unwrap_or(u64::MAX);
    Duration::from_micros(fastrand::u64(micros(range.start())..=micros(range.end())))
}

fn upper(body: &[u8]) -> Bytes {
    match str::from_utf8(body) {
        Ok(text) => text.to_uppercase().into(),
        Err(_) => body.to_ascii_uppercase().into(),
    }
}

fn reverse(body: &[u8]) -> Bytes {
    match str::from_utf8(body) {
        Ok(text) => text.chars().rev().collect::<String>().into(),
        Err(_) => body.iter().rev().copied().collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_are_read() {
        let builtin: Builtin = "sleep=5ms..50ms+fail=2.5+upper".parse().unwrap();
        let range = Duration::from_millis(5)..=Duration::from_millis(50);
        let steps = vec![Step::Sleep(range), Step::Sometimes(Mishap::Fail, 2.5), Step::Upper];
        assert_eq!(builtin, Builtin(steps));
        for bad in [
            "",
            "sleep",
            "sleep=2",
            "sleep=2s..1s",
            "fail=101",
            "fail=x",
            "status=99",
            "echo=1",
            "up",
        ] {
            assert!(bad.parse::<Builtin>().is_err(), "{bad}");
        }
    }
}
