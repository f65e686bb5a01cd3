//! A hot stream alone, and beside a crowd of readers whom it does not concern, in turn.

use super::{
    body::now_ns,
    crowd::{LARGE, QUIET},
    load::{Load, To},
    message_modes::LINK,
    modes::{Setup, Workers},
    processes::{Companion, Process, words},
    report::{Figures, Latency},
    rollcall::supervise,
    run::{Plan, Sent, send},
};

/// The stream that is measured.
const HOT: u64 = 2;
/// Times that it is measured alone and beside them.
const PAIRS: usize = 7;
/// Times before that.
const WARM: usize = 3;
/// The crowd.
const FEEDS: u64 = 500;
const POLLS: u64 = 2000;
const SLOW: u64 = 100;
/// Messages of the large stream, and bytes of one.
const LARGE_MESSAGES: u64 = 4096;
const LARGE_BYTES: usize = 4096;

/// Names of the figures that a goal is about.
pub(super) const TIMES_ALONE: &str = "× alone";
pub(super) const MORE_MIB: &str = "MiB more";

/// A message of a stream after the other, as fast as they are taken in.
struct Hot<'a> {
    supervisor: &'a mut Process,
    load: Load,
}

/// What was measured, each time.
#[derive(Debug, Default)]
struct Measured {
    ratios: Vec<f64>,
    alone: Vec<f64>,
    beside: Vec<Sent>,
    /// Its memory at its highest, in MiB.
    most: f64,
    answered: f64,
    /// Of the slow ones, a second.
    kib: Vec<f64>,
}

impl Hot<'_> {
    /// How it went, and the supervisor's memory at its highest meanwhile.
    fn run(&mut self) -> Result<(Sent, f64), String> {
        self.supervisor.forget_peak()?;
        let sent = send(&self.load)?;
        Ok((sent, self.supervisor.peak_mib()))
    }

    fn beside(&mut self, measured: &mut Measured) -> Result<f64, String> {
        let url = self.supervisor.url().trim_start_matches("http://").trim_end_matches('/');
        let crowd = format!("crowd --at {url} --feeds {FEEDS} --polls {POLLS} --slow {SLOW}");
        let mut crowd = Companion::start(&words(&crowd))?;
        crowd.until_there()?;
        let begun = now_ns();
        let (sent, most) = self.run()?;
        let seconds = (now_ns() - begun) as f64 / 1e9;
        let said = crowd.finish()?;
        let number = |name: &str| said[name].as_f64().unwrap_or_default();
        measured.answered += number("answered");
        measured.kib.push(number("bytes") / 1024.0 / seconds / SLOW as f64);
        measured.most = measured.most.max(most);
        let rate = self.load.messages as f64 / sent.seconds;
        measured.beside.push(sent);
        Ok(rate)
    }

    fn alone(&mut self) -> Result<f64, String> {
        Ok(self.load.messages as f64 / self.run()?.0.seconds)
    }
}

/// Runs it in pairs, each in the other order than the one before.
pub(super) fn beside(plan: &Plan, messages: u64) -> Result<Figures, String> {
    let directory = tempfile::tempdir().map_err(|error| error.to_string())?;
    let setup = Setup { workers: Workers::None, ..LINK };
    let mut supervisor = supervise(&setup, directory.path(), &[], None)?;
    let url = supervisor.url().to_owned();
    let load = |messages, bytes| Load::new(&url, To::Intake, messages, bytes);
    send(&Load { first_stream: QUIET, ..load(1, plan.bytes) })?;
    send(&Load { first_stream: LARGE, batch: 256, ..load(LARGE_MESSAGES, LARGE_BYTES) })?;
    let connections = plan.connections;
    let load = Load { first_stream: HOT, connections, ..load(messages, plan.bytes) };
    let mut hot = Hot { supervisor: &mut supervisor, load };
    // What it takes anyway is there before anybody reads.
    let mut before: f64 = 0.0;
    for _ in 0..WARM {
        before = before.max(hot.run()?.1);
    }
    hot.supervisor.begin();
    let mut measured = Measured::default();
    for pair in 0..PAIRS {
        let (alone, beside) = if pair % 2 == 0 {
            let alone = hot.alone()?;
            (alone, hot.beside(&mut measured)?)
        } else {
            let beside = hot.beside(&mut measured)?;
            (hot.alone()?, beside)
        };
        measured.alone.push(alone);
        measured.ratios.push(beside / alone);
    }
    Ok(measured.figures(messages, before, supervisor.cpu_seconds()))
}

impl Measured {
    fn figures(mut self, messages: u64, before: f64, cpu: f64) -> Figures {
        let ratios = sorted(&mut self.ratios);
        let (lowest, highest) = (ratios[0], ratios[PAIRS - 1]);
        self.beside.sort_unstable_by(|a, b| a.seconds.total_cmp(&b.seconds));
        let middle = &self.beside[PAIRS / 2];
        Figures {
            messages,
            seconds: middle.seconds,
            latency: Latency::Request(middle.latencies),
            cpu: vec![("supervisor", cpu / (2 * PAIRS) as f64), ("client", middle.cpu)],
            peak_mib: self.most,
            refused: self.beside.iter().map(|sent| sent.refused).sum(),
            more: vec![
                (TIMES_ALONE, ratios[PAIRS / 2]),
                ("lowest", lowest),
                ("highest", highest),
                ("alone/s", sorted(&mut self.alone)[PAIRS / 2]),
                (MORE_MIB, self.most - before),
                ("polls answered", self.answered),
                ("KiB/s a slow one", sorted(&mut self.kib)[PAIRS / 2]),
            ],
        }
    }
}

fn sorted(values: &mut [f64]) -> &[f64] {
    values.sort_unstable_by(f64::total_cmp);
    values
}
