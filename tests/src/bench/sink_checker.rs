//! What a destination has seen, checked as it comes in: order, completeness and content.

use serde_json::{Value, json};

use super::body::{Checker, mix, now_ns};

/// What a destination has seen.
#[derive(Debug)]
pub(super) struct Seen {
    checker: Checker,
    /// The last sequence of each stream, by the number in its name.
    last: Vec<u64>,
    count: u64,
    repeated: u64,
    /// What was wrong first.
    wrong: Option<String>,
    /// The sum over [`mix`].
    sum: u64,
    /// Nanoseconds from when a message was meant to be sent, of those that say so.
    latencies: Vec<u64>,
}

impl Seen {
    /// Of results of so many bytes.
    pub(super) fn new(bytes: usize) -> Self {
        Self {
            checker: Checker::new(bytes),
            last: Vec::new(),
            count: 0,
            repeated: 0,
            wrong: None,
            sum: 0,
            latencies: Vec::new(),
        }
    }

    /// Bytes of a result.
    pub(super) fn bytes(&self) -> usize {
        self.checker.bytes()
    }

    /// A result has come in.
    pub(super) fn take(&mut self, stream: u64, sequence: u64, result: &[u8]) {
        let index = stream as usize;
        if self.last.len() <= index {
            self.last.resize(index + 1, 0);
        }
        let last = self.last[index];
        if sequence <= last && sequence > 0 {
            self.repeated += 1;
            return;
        }
        if sequence != last + 1 {
            return self.note(format!("stream {stream}: {sequence} came after {last}"));
        }
        let Some((number, stamp)) = self.checker.read(result) else {
            let start = String::from_utf8_lossy(&result[..result.len().min(48)]).into_owned();
            return self.note(format!("stream {stream}, {sequence}: no result: {start:?}"));
        };
        self.last[index] = sequence;
        self.count += 1;
        self.sum = self.sum.wrapping_add(mix(stream, sequence, number));
        if stamp != 0 {
            self.latencies.push(now_ns().saturating_sub(stamp));
        }
    }

    /// Something is wrong; the first thing is kept.
    pub(super) fn note(&mut self, what: String) {
        self.wrong.get_or_insert(what);
    }

    /// For whoever waits until everything is there.
    pub(super) fn to_json(&self) -> Value {
        json!({
            "count": self.count,
            "repeated": self.repeated,
            "sum": format!("{:016x}", self.sum),
            "wrong": self.wrong,
        })
    }

    /// Milliseconds at 50 %, 99 % and 99.9 %.
    pub(super) fn latencies(&mut self) -> Value {
        self.latencies.sort_unstable();
        json!(shares(&self.latencies))
    }
}

/// The number in a stream's name, as in `s17`.
pub(super) fn stream_of(name: &str) -> Option<u64> {
    name.strip_prefix('s')?.parse().ok()
}

/// Sorted nanoseconds at 50 %, 99 % and 99.9 %, in milliseconds.
pub(super) fn shares(sorted: &[u64]) -> [f64; 3] {
    [500, 990, 999].map(|permille| {
        let index = sorted.len().saturating_sub(1) * permille / 1000;
        sorted.get(index).copied().unwrap_or_default() as f64 / 1e6
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::body::{message, work_on};

    #[test]
    fn a_hole_and_a_wrong_body_are_seen_and_a_repeat_is_not_counted() {
        let result = |number| work_on(&message(number, 0, 64));
        let mut seen = Seen::new(64);
        seen.take(3, 1, &result(7));
        seen.take(3, 1, &result(7));
        assert_eq!(seen.to_json()["count"], 1);
        assert_eq!(seen.to_json()["repeated"], 1);
        assert!(seen.to_json()["wrong"].is_null());
        seen.take(3, 3, &result(8));
        assert_eq!(seen.to_json()["wrong"], "stream 3: 3 came after 1");
        let mut seen = Seen::new(64);
        seen.take(0, 1, &message(1, 0, 64));
        assert!(seen.to_json()["wrong"].as_str().unwrap().contains("no result"));
    }

    #[test]
    fn shares_of_a_thousand() {
        let sorted: Vec<u64> = (1..=1000).map(|ms| ms * 1_000_000).collect();
        assert_eq!(shares(&sorted), [500.0, 990.0, 999.0]);
        assert_eq!(shares(&[]), [0.0; 3]);
    }
}
