//! The table.

use serde_json::{Value, json};

use super::{
    beside::{MORE_MIB, TIMES_ALONE},
    modes::{Goal, Mode},
};

/// How the figures are printed.
#[derive(Clone, Copy, Debug, Eq, PartialEq, clap::ValueEnum)]
pub enum Format {
    /// For programs: one line of JSON for each run.
    Json,
    /// For people.
    Text,
}

/// What one run took.
#[derive(Clone, Debug)]
pub(super) struct Figures {
    pub(super) messages: u64,
    /// Until the last message was delivered (or answered, where nothing is delivered).
    pub(super) seconds: f64,
    pub(super) latency: Latency,
    /// CPU seconds by process.
    pub(super) cpu: Vec<(&'static str, f64)>,
    /// Of the supervisor, or what stands in its place.
    pub(super) peak_mib: f64,
    /// Requests that were refused for overload, and sent again.
    pub(super) refused: u64,
    /// What else there is to say.
    pub(super) more: Vec<(&'static str, f64)>,
}

/// Milliseconds at 50 %, 99 % and 99.9 %.
#[derive(Clone, Copy, Debug)]
pub(super) enum Latency {
    /// From when a message was meant to be sent to its delivery in order.
    Delivery([f64; 3]),
    /// Of the client's requests, or what it does instead.
    Request([f64; 3]),
    /// Nobody looked.
    Unknown,
}

impl Latency {
    fn shares(self) -> [f64; 3] {
        match self {
            Self::Delivery(shares) | Self::Request(shares) => shares,
            Self::Unknown => [0.0; 3],
        }
    }

    fn of(self) -> &'static str {
        match self {
            Self::Delivery(_) => "delivery",
            Self::Request(_) => "request",
            Self::Unknown => "",
        }
    }
}

impl Figures {
    /// Messages a second.
    pub(super) fn rate(&self) -> f64 {
        self.messages as f64 / self.seconds
    }

    fn cpu_us(&self, seconds: f64) -> f64 {
        seconds * 1e6 / self.messages as f64
    }
}

/// A mode, and its rounds.
#[derive(Debug)]
pub(super) struct Row {
    mode: &'static Mode,
    pub(super) rounds: Vec<Figures>,
}

impl Row {
    pub(super) fn new(mode: &'static Mode) -> Self {
        Self { mode, rounds: Vec::new() }
    }

    /// A line for programs.
    pub(super) fn to_json(&self, round: usize, figures: &Figures) -> Value {
        let cpu: serde_json::Map<String, Value> = figures
            .cpu
            .iter()
            .map(|(name, seconds)| ((*name).to_owned(), figures.cpu_us(*seconds).into()))
            .collect();
        let more = figures.more.iter();
        let more: serde_json::Map<String, Value> =
            more.map(|(name, value)| ((*name).to_owned(), (*value).into())).collect();
        let [p50, p99, p999] = figures.latency.shares();
        json!({
            "mode": self.mode.name,
            "what": self.mode.what,
            "lacks": self.mode.lacks,
            "round": round,
            "messages": figures.messages,
            "per_second": figures.rate(),
            "latency_of": figures.latency.of(),
            "p50_ms": p50,
            "p99_ms": p99,
            "p999_ms": p999,
            "cpu_us_per_message": cpu,
            "peak_mib": figures.peak_mib,
            "refused": figures.refused,
            "more": more,
        })
    }

    fn median(&self, of: impl Fn(&Figures) -> f64) -> f64 {
        let mut values: Vec<f64> = self.rounds.iter().map(of).collect();
        values.sort_unstable_by(f64::total_cmp);
        values[values.len() / 2]
    }

    fn rate(&self) -> f64 {
        self.median(Figures::rate)
    }

    /// The median of a figure that was named.
    fn said(&self, name: &str) -> f64 {
        self.median(|figures| {
            let said = figures.more.iter().find(|(said, _)| *said == name);
            said.map_or(f64::NAN, |(_, value)| *value)
        })
    }

    fn to_line(&self) -> String {
        let Some(first) = self.rounds.first() else {
            return format!("{:<15} not installed, or failed: {}", self.mode.name, self.mode.what);
        };
        let rates = || self.rounds.iter().map(Figures::rate);
        let spread = format!(
            "({:.0}–{:.0})",
            rates().fold(f64::INFINITY, f64::min),
            rates().fold(0.0, f64::max)
        );
        let share = |index: usize| self.median(|figures| figures.latency.shares()[index]);
        let cpu = first.cpu.iter().enumerate().map(|(at, (name, _))| {
            format!("{name} {:.1}", self.median(|figures| figures.cpu_us(figures.cpu[at].1)))
        });
        let cpu: Vec<String> = cpu.collect();
        let refused = self.median(|figures| figures.refused as f64);
        let refused = if refused > 0.0 { format!("; {refused:.0} refused") } else { String::new() };
        let more = first.more.iter().enumerate().map(|(at, (name, _))| {
            format!("; {name} {:.2}", self.median(|figures| figures.more[at].1))
        });
        let more: String = more.collect();
        let lacks = if self.mode.lacks.is_empty() {
            String::new()
        } else {
            format!("; not: {}", self.mode.lacks)
        };
        format!(
            "{:<15} {:>8.0} {:>17} {:>9.3} {:>9.3} {:>9.3} {:<3} {:>5.0}  {}; \
             {}{lacks}{refused}{more}",
            self.mode.name,
            self.rate(),
            spread,
            share(0),
            share(1),
            share(2),
            match first.latency {
                Latency::Delivery(_) => "del",
                Latency::Request(_) => "req",
                Latency::Unknown => "",
            },
            self.median(|figures| figures.peak_mib),
            cpu.join(", "),
            self.mode.what,
        )
    }
}

/// Prints the modes: medians, with the lowest and the highest rate; then the goals.
pub(super) fn print(rows: &[Row]) {
    println!(
        "{:<15} {:>8} {:>17} {:>9} {:>9} {:>9} {:<3} {:>5}  CPU µs a message; what",
        "mode", "msg/s", "(lowest–highest)", "p50 ms", "p99 ms", "p99.9 ms", "of", "MiB"
    );
    rows.iter().for_each(|row| println!("{}", row.to_line()));
    println!();
    let measured = |name: &str| {
        rows.iter().find(|row| row.mode.name == name && !row.rounds.is_empty()).map(Row::rate)
    };
    for row in rows {
        let Some(rate) = measured(row.mode.name) else { continue };
        match row.mode.goal {
            Goal::None => {}
            Goal::Beside(times, mib) => {
                let (own, more) = (row.said(TIMES_ALONE), row.said(MORE_MIB));
                println!("{:<12} {own:>8.2} × alone, goal {times} ×", row.mode.name);
                println!("{:<12} {more:>8.0} MiB more, goal {mib} MiB", row.mode.name);
            }
            Goal::Rate(goal) => {
                println!("{:<12} {rate:>8.0}/s, goal {goal:.0}/s", row.mode.name);
            }
            Goal::Slower(goal, other) => {
                let p99 = |name: &str| {
                    let row = rows.iter().find(|row| row.mode.name == name)?;
                    let measured = !row.rounds.is_empty();
                    measured.then(|| row.median(|figures| figures.latency.shares()[1]))
                };
                let Some((own, base)) = p99(row.mode.name).zip(p99(other)) else { continue };
                let times = own / base;
                println!("{:<12} p99 {times:>8.2} × {other}, goal {goal} ×", row.mode.name);
            }
            Goal::Times(goal, other) => {
                let Some(base) = measured(other) else { continue };
                let times = rate / base;
                println!("{:<12} {times:>8.2} × {other}, goal {goal} ×", row.mode.name);
            }
        }
    }
}
