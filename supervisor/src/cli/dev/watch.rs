//! What was seen of the traffic, and what is to be said of it in the end.

use std::{
    collections::BTreeMap,
    io::{self, Write as _},
    process::ExitCode,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use rollcall_common::time::{Clock, Time};

use super::{Failure, Options};

/// What the destination got.
#[derive(Debug)]
pub(super) struct Delivery {
    pub(super) sequence: u64,
    pub(super) previous: u64,
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
    last: u64,
    disorder: u64,
    latencies: Vec<Duration>,
}

impl Watch {
    pub(super) fn new() -> Self {
        let clock = Clock::start(Time::default());
        Self {
            clock,
            started: clock.now(),
            accepted: BTreeMap::new(),
            delivered: 0,
            last: 0,
            disorder: 0,
            latencies: Vec::new(),
        }
    }

    pub(super) fn accepted(&mut self, sequence: u64) {
        if sequence > self.last {
            self.accepted.insert(sequence, self.clock.now());
        }
    }

    pub(super) fn is_done(&self) -> bool {
        self.accepted.is_empty()
    }

    pub(super) fn delivered(&mut self, delivery: &Delivery) -> String {
        let now = self.clock.now();
        if delivery.previous != self.last {
            self.disorder += 1;
        }
        self.last = delivery.sequence;
        self.delivered += 1;
        let took = self.accepted.remove(&delivery.sequence).map(|at| now.since(at));
        self.latencies.extend(took);
        let took = took.map_or_else(String::new, |took| {
            format!("{:>7.3} s after it came", took.as_secs_f64())
        });
        let at = now.since(self.started).as_secs_f64();
        format!("{at:>8.2} s   #{:<6} released in order   {took}", delivery.sequence)
    }

    pub(super) fn summary(&self, options: &Options) -> Result<ExitCode, Failure> {
        let ran = self.clock.now().since(self.started);
        let count = u32::try_from(self.delivered).unwrap_or(u32::MAX);
        let alone = options.work.saturating_mul(count);
        let mut latencies = self.latencies.clone();
        latencies.sort_unstable();
        let share = |percent: usize| {
            let index = latencies.len().saturating_sub(1) * percent / 100;
            latencies.get(index).copied().unwrap_or_default().as_secs_f64()
        };
        let mut out = io::stdout().lock();
        writeln!(
            out,
            "\n{count} messages delivered in {:.1} s, {}.\n\
             From arrival to delivery: median {:.3} s, 95 % within {:.3} s, all within {:.3} s.\n\
             One worker after another would have needed {:.1} s, and the last message would have \
             waited {:.1} s.",
            ran.as_secs_f64(),
            if self.disorder == 0 { "all in arrival order" } else { "NOT in arrival order" },
            share(50),
            share(95),
            share(100),
            alone.as_secs_f64(),
            alone
                .saturating_sub(options.every.saturating_mul(count.saturating_sub(1)))
                .as_secs_f64(),
        )?;
        Ok(if self.disorder == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }
}
