//! The table.

use serde_json::{Value, json};

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
    pub(super) what: String,
    pub(super) messages: u64,
    /// Until the last message was delivered (or answered, where nothing is delivered).
    pub(super) seconds: f64,
    /// Of the client's requests.
    pub(super) p50_ms: f64,
    pub(super) p99_ms: f64,
    /// CPU seconds by process.
    pub(super) cpu: Vec<(&'static str, f64)>,
    pub(super) peak_mib: f64,
}

impl Figures {
    pub(super) fn rate(&self) -> f64 {
        self.messages as f64 / self.seconds
    }

    fn cpu_us(&self, seconds: f64) -> f64 {
        seconds * 1e6 / self.messages as f64
    }

    pub(super) fn to_json(&self) -> Value {
        let cpu: serde_json::Map<String, Value> = self
            .cpu
            .iter()
            .map(|(name, seconds)| ((*name).to_owned(), self.cpu_us(*seconds).into()))
            .collect();
        json!({
            "what": self.what,
            "messages": self.messages,
            "per_second": self.rate(),
            "request_p50_ms": self.p50_ms,
            "request_p99_ms": self.p99_ms,
            "cpu_us_per_message": cpu,
            "peak_mib": self.peak_mib,
        })
    }
}

/// Prints the rounds of each thing: medians, with the lowest and the highest rate.
pub(super) fn print(rounds: &[Vec<Figures>], format: Format) {
    if format == Format::Json {
        rounds.iter().flatten().for_each(|figures| println!("{}", figures.to_json()));
        return;
    }
    println!(
        "{:<34} {:>9} {:>17} {:>8} {:>8} {:>8}  CPU µs a message",
        "", "msg/s", "(lowest–highest)", "p50 ms", "p99 ms", "peak MiB"
    );
    for index in 0..rounds.first().map_or(0, Vec::len) {
        let all: Vec<&Figures> = rounds.iter().filter_map(|round| round.get(index)).collect();
        let mut rates: Vec<f64> = all.iter().map(|figures| figures.rate()).collect();
        rates.sort_unstable_by(f64::total_cmp);
        let median = |of: &dyn Fn(&Figures) -> f64| {
            let mut values: Vec<f64> = all.iter().map(|figures| of(figures)).collect();
            values.sort_unstable_by(f64::total_cmp);
            values[values.len() / 2]
        };
        let cpu: Vec<String> = (0..all[0].cpu.len())
            .map(|at| {
                let us = median(&|figures| figures.cpu_us(figures.cpu[at].1));
                format!("{} {us:.1}", all[0].cpu[at].0)
            })
            .collect();
        println!(
            "{:<34} {:>9.0} {:>17} {:>8.2} {:>8.2} {:>8.0}  {}",
            all[0].what,
            median(&Figures::rate),
            format!("({:.0}–{:.0})", rates[0], rates[rates.len() - 1]),
            median(&|figures| figures.p50_ms),
            median(&|figures| figures.p99_ms),
            median(&|figures| figures.peak_mib),
            cpu.join(", "),
        );
    }
}
