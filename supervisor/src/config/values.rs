//! Checking values: each function takes a value and says what it has to be.

use std::{fmt, ops::RangeInclusive, str::FromStr, time::Duration};

use rollcall_common::{
    http::{Address, BadTarget, Target},
    ids::is_dots,
    limits::STREAM_NAME_BYTES,
    units::{HumanDuration, Size},
};

use super::node::{Node, Value, Wrong};

/// A value, or why it is none.
pub(super) type Checked<T> = Result<T, Wrong>;

/// Most items of a list.
const ITEMS: usize = 1024;

/// The shortest time that can be given to anything: what headers and timers can tell apart.
pub(super) const SHORTEST: Duration = Duration::from_millis(1);
/// A day: the longest time for one try of something.
pub(super) const DAY: Duration = Duration::from_secs(86_400);

/// Text.
pub(super) fn text(node: &Node) -> Checked<&str> {
    node.text().filter(|text| !text.is_empty()).ok_or_else(|| node.unfit("a string, not empty"))
}

/// `true` or `false`.
pub(super) fn boolean(node: &Node) -> Checked<bool> {
    if let Value::Boolean(value) = node.value {
        Ok(value)
    } else {
        Err(node.unfit("true or false"))
    }
}

/// One of a few words, each with what it means.
pub(super) fn word<T: Copy>(node: &Node, words: &[(&str, T)]) -> Checked<T> {
    let found = words.iter().find(|(word, _)| Some(*word) == node.text());
    found.map(|(_, meaning)| *meaning).ok_or_else(|| {
        let words: Vec<_> = words.iter().map(|(word, _)| format!("{word:?}")).collect();
        node.unfit(&words.join(" or "))
    })
}

/// A whole number.
pub(super) fn whole<T>(node: &Node, range: RangeInclusive<T>) -> Checked<T>
where
    T: Copy + fmt::Display + PartialOrd + TryFrom<i128>,
{
    let value = if let Value::Whole(value) = node.value { T::try_from(value).ok() } else { None };
    value.filter(|value| range.contains(value)).ok_or_else(|| {
        let (least, most) = range.into_inner();
        node.unfit(&format!("a whole number from {least} to {most}"))
    })
}

/// A number in thousandths.
pub(super) fn permille(node: &Node, range: RangeInclusive<u32>) -> Checked<u32> {
    let thousandths = match node.value {
        Value::Float(value) => format!("{:.0}", value * 1000.0).parse().ok(),
        Value::Whole(value) => value.checked_mul(1000).and_then(|value| u32::try_from(value).ok()),
        Value::Boolean(_) | Value::Date | Value::List(_) | Value::Table(_) | Value::Text(_) => None,
    };
    let fits = thousandths.filter(|value| range.contains(value));
    fits.ok_or_else(|| {
        let (least, most) = (range.start() / 1000, range.end() / 1000);
        node.unfit(&format!("a number from {least}.0 to {most}.0"))
    })
}

/// A duration with a unit.
pub(super) fn duration(node: &Node, range: RangeInclusive<Duration>) -> Checked<Duration> {
    let value = node.text().and_then(|text| text.parse::<HumanDuration>().ok());
    let fits = value.filter(|HumanDuration(value)| range.contains(value));
    fits.map(|HumanDuration(value)| value).ok_or_else(|| {
        let (least, most) = (HumanDuration(*range.start()), HumanDuration(*range.end()));
        let range = format!("from {least} to {most}");
        node.unfit(&format!("a duration with a unit, as \"2s\", {range}"))
    })
}

/// A number of bytes, or a size with a unit.
pub(super) fn size(node: &Node, range: RangeInclusive<u64>) -> Checked<u64> {
    let value = match &node.value {
        Value::Text(text) => text.parse::<Size>().ok().map(|Size(bytes)| bytes),
        Value::Whole(value) => u64::try_from(*value).ok(),
        Value::Boolean(_) | Value::Date | Value::Float(_) | Value::List(_) | Value::Table(_) => {
            None
        }
    };
    value.filter(|value| range.contains(value)).ok_or_else(|| {
        let (least, most) = (Size(*range.start()), Size(*range.end()));
        let range = format!("from {least} to {most}");
        node.unfit(&format!("a number of bytes or a size as \"64 MiB\", {range}"))
    })
}

/// An `http://` or `https://` URL.
pub(super) fn url(node: &Node) -> Checked<Target> {
    parsed_url(node, "an http:// or https:// URL, as \"http://10.0.0.5:9000\"")
}

/// An `http://`, `https://` or `tcp://` URL.
pub(super) fn address(node: &Node) -> Checked<Address> {
    parsed_url(node, "an http://, https:// or tcp:// URL, as \"http://10.0.0.5:9000\"")
}

fn parsed_url<T: FromStr<Err = BadTarget>>(node: &Node, expected: &str) -> Checked<T> {
    let text = text(node).map_err(|_| node.unfit(expected))?;
    if text.contains('@') {
        // Not shown: it holds a password.
        let text = format!("a URL must not hold credentials; expected {expected}");
        return Err(node.wrong(text));
    }
    let after_host = text
        .split_once("://")
        .and_then(|(_, rest)| rest.split(['/', '?', '#']).next())
        .and_then(|authority| authority.rsplit_once(':'))
        .filter(|(host, _)| !host.starts_with('[') || host.ends_with(']'));
    if after_host.is_some_and(|(_, port)| !port.parse::<u16>().is_ok_and(|port| port > 0)) {
        let text = format!("{text:?} has a bad port; expected 1 to 65535");
        return Err(node.wrong(text));
    }
    text.parse().map_err(|error| node.wrong(format!("{error}; expected {expected}")))
}

/// A list of at least one, none of them twice; or one alone.
pub(super) fn one_or_more<T: PartialEq>(
    node: &Node,
    check: impl Fn(&Node) -> Checked<T>,
) -> Checked<Vec<T>> {
    let Some(items) = node.list() else {
        return Ok(vec![check(node)?]);
    };
    if items.len() > ITEMS {
        let text = format!("has {} items; expected at most {ITEMS}", items.len());
        return Err(node.wrong(text));
    }
    let mut all = Vec::new();
    for item in items {
        let value = check(item)?;
        if all.contains(&value) {
            return Err(item.wrong("stands twice in the list; expected each item once"));
        }
        all.push(value);
    }
    if all.is_empty() {
        return Err(node.wrong("the list is empty; expected at least one item"));
    }
    Ok(all)
}

/// A list, or one alone where `node` is a list.
pub(super) fn list<T: PartialEq>(
    node: &Node,
    check: impl Fn(&Node) -> Checked<T>,
) -> Checked<Vec<T>> {
    match node.list() {
        None => Err(node.unfit("a list")),
        Some([]) => Ok(Vec::new()),
        Some(_) => one_or_more(node, check),
    }
}

/// The name of a pool or a subscription.
pub(super) fn name(text: &str) -> Result<(), String> {
    reachable(text)?;
    spelled(text, ".-_").ok_or_else(|| bad_name("'.', '_' and '-'"))
}

/// A stream's name, with `*` for any run of characters.
pub(super) fn pattern(text: &str) -> Result<(), String> {
    reachable(text)?;
    spelled(text, ".-_*").ok_or_else(|| bad_name("'.', '_', '-' and '*' (any run of characters)"))
}

/// Clients take `.` and `..` out of a path.
fn reachable(text: &str) -> Result<(), String> {
    if is_dots(text) { Err(format!("bad name; {text:?} is none")) } else { Ok(()) }
}

fn spelled(text: &str, marks: &str) -> Option<()> {
    let good = |c: char| c.is_ascii_alphanumeric() || marks.contains(c);
    let fits = (1..=STREAM_NAME_BYTES).contains(&text.len()) && text.chars().all(good);
    fits.then_some(())
}

fn bad_name(marks: &str) -> String {
    format!("bad name; expected 1 to {STREAM_NAME_BYTES} characters of A-Z, a-z, 0-9, {marks}")
}
