//! What was seen of the traffic, and what is to be said of it in the end.

use std::{
    collections::BTreeMap,
    io::{self, Write as _},
    process::ExitCode,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use rollcall_common::time::{Clock, Time};

use super::{Failure, STREAM};

/// What the destination got.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Delivery {
    pub(super) stream: String,
    pub(super) sequence: u64,
    /// The one before it, in its stream.
    pub(super) previous: u64,
    /// Whether a subscription that was rewound sends it again.
    pub(super) replay: bool,
}

pub(super) fn lock(watch: &Mutex<Watch>) -> MutexGuard<'_, Watch> {
    watch.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What was seen.
pub(super) struct Watch {
    clock: Clock,
    started: Time,
    accepted: BTreeMap<u64, Time>,
    pub(super) delivered: u64,
    /// The last one of each stream.
    last: BTreeMap<String, u64>,
    disorder: u64,
    latencies: Vec<Duration>,
}

/// How the traffic was set up.
#[derive(Clone, Copy, Debug)]
pub(super) struct Setup {
    /// How long a message takes to process.
    pub(super) work: Duration,
    /// How often one is sent.
    pub(super) every: Duration,
}

impl Watch {
    pub(super) fn new() -> Self {
        let clock = Clock::start(Time::default());
        Self {
            clock,
            started: clock.now(),
            accepted: BTreeMap::new(),
            delivered: 0,
            last: BTreeMap::new(),
            disorder: 0,
            latencies: Vec::new(),
        }
    }

    pub(super) fn accepted(&mut self, sequence: u64) {
        if sequence > self.last.get(STREAM).copied().unwrap_or_default() {
            self.accepted.insert(sequence, self.clock.now());
        }
    }

    pub(super) fn is_done(&self) -> bool {
        self.accepted.is_empty()
    }

    /// Takes note of a delivery, and says it in a line.
    pub(super) fn delivered(&mut self, delivery: &Delivery) -> String {
        let now = self.clock.now();
        let Delivery { stream, sequence, previous, replay } = delivery;
        let last = self.last.get(stream).copied().unwrap_or_default();
        // Each stream has its own order; a subscription that was rewound begins again, and what
        // is not answered in time comes twice.
        let in_order = *previous == last || *replay && *previous < last || *sequence == last;
        self.disorder += u64::from(!in_order);
        self.last.insert(stream.clone(), *sequence);
        self.delivered += 1;
        let sent = if stream == STREAM { self.accepted.remove(sequence) } else { None };
        let took = sent.map(|at| now.since(at));
        self.latencies.extend(took);
        let note = match took {
            Some(took) => format!("{:>7.3} s after it came", took.as_secs_f64()),
            None if *replay => format!("again, of stream {stream:?}"),
            None => format!("of stream {stream:?}"),
        };
        let verdict = if in_order { "released in order" } else { "NOT IN ORDER" };
        let at = now.since(self.started).as_secs_f64();
        format!("{at:>8.2} s   #{sequence:<6} {verdict:<17}   {note}")
    }

    /// What is to be said in the end.
    fn verdict(&self, setup: Setup) -> String {
        let ran = self.clock.now().since(self.started).as_secs_f64();
        let count = u32::try_from(self.delivered).unwrap_or(u32::MAX);
        let messages = match count {
            0 => return format!("No message was delivered in {ran:.1} s."),
            1 => "1 message".to_owned(),
            _ => format!("{count} messages"),
        };
        let order = match (self.disorder, self.last.len()) {
            (0, 0 | 1) => "all in arrival order",
            (0, _) => "each stream in arrival order",
            _ => "NOT in arrival order",
        };
        let mut latencies = self.latencies.clone();
        latencies.sort_unstable();
        let share = |percent: usize| {
            let index = latencies.len().saturating_sub(1) * percent / 100;
            latencies.get(index).copied().unwrap_or_default().as_secs_f64()
        };
        let alone = setup.work.saturating_mul(count);
        let waited = alone.saturating_sub(setup.every.saturating_mul(count.saturating_sub(1)));
        format!(
            "{messages} delivered in {ran:.1} s, {order}.\n\
             From arrival to delivery: median {:.3} s, 95 % within {:.3} s,\n\
             all within {:.3} s. One worker after another would have needed {:.1} s,\n\
             and the last message would have waited {:.1} s.",
            share(50),
            share(95),
            share(100),
            alone.as_secs_f64(),
            waited.as_secs_f64(),
        )
    }

    pub(super) fn summary(&self, setup: Setup) -> Result<ExitCode, Failure> {
        // Err: whoever read along has gone.
        let _ = writeln!(io::stdout(), "\n{}", self.verdict(setup));
        Ok(if self.disorder == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn delivery(stream: &str, sequence: u64, previous: u64) -> Delivery {
        Delivery { stream: stream.to_owned(), sequence, previous, replay: false }
    }

    fn said(deliveries: &[Delivery]) -> (u64, String) {
        let mut watch = Watch::new();
        for delivery in deliveries {
            watch.delivered(delivery);
        }
        let setup = Setup { work: Duration::from_millis(750), every: Duration::from_millis(250) };
        (watch.disorder, watch.verdict(setup))
    }

    #[test]
    fn each_stream_has_its_own_order() {
        let (disorder, text) = said(&[
            delivery(STREAM, 1, 0),
            delivery(STREAM, 2, 1),
            delivery("mine", 1, 0),
            delivery("mine", 2, 1),
        ]);
        assert_eq!(disorder, 0);
        assert!(text.starts_with("4 messages delivered"), "{text}");
        assert!(text.contains("each stream in arrival order"), "{text}");
    }

    #[test]
    fn disorder_is_told() {
        for wrong in [
            [delivery("mine", 1, 0), delivery("mine", 3, 2)],
            [delivery(STREAM, 1, 0), delivery("mine", 2, 1)],
        ] {
            let (disorder, text) = said(&wrong);
            assert_eq!(disorder, 1);
            assert!(text.contains("NOT in arrival order"), "{text}");
        }
        assert!(said(&[]).1.starts_with("No message was delivered"));
    }

    #[test]
    fn what_is_skipped_repeated_or_replayed_is_no_disorder() {
        let again = Delivery { replay: true, ..delivery(STREAM, 2, 1) };
        let (disorder, _) = said(&[
            delivery(STREAM, 1, 0),
            delivery(STREAM, 2, 1),
            delivery(STREAM, 2, 1),
            // 3 was skipped.
            delivery(STREAM, 4, 2),
            again,
            Delivery { replay: true, ..delivery(STREAM, 4, 2) },
        ]);
        assert_eq!(disorder, 0);
    }

    #[test]
    fn lines_fit_a_terminal_of_80_columns() {
        let mut watch = Watch::new();
        watch.accepted(999_999);
        let line = watch.delivered(&delivery(STREAM, 999_999, 0));
        let (_, verdict) = said(&[delivery(STREAM, 1, 0)]);
        for line in line.lines().chain(verdict.lines()) {
            assert!(line.len() <= 80, "{line}");
        }
    }
}
