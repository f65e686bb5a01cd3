//! What can be measured, by name, each with its settings and what it is to be compared with.

use super::{endpoints::Work, message_modes::MESSAGES, reader::Form, reading_modes::READING};

/// One thing that is measured.
#[derive(Clone, Copy, Debug)]
pub(super) struct Mode {
    pub(super) name: &'static str,
    pub(super) what: &'static str,
    /// What it does not do of the whole job; empty: nothing.
    pub(super) lacks: &'static str,
    pub(super) goal: Goal,
    /// Messages, as a multiple of the plan's.
    pub(super) times: f64,
    pub(super) job: Job,
}

/// What the figures should be, by issue 5.
#[derive(Clone, Copy, Debug)]
pub(super) enum Goal {
    None,
    /// So many messages a second.
    Rate(f64),
    /// So many times the rate of another mode.
    Times(f64, &'static str),
    /// At least so many times the rate without others beside it, and at most so many MiB more.
    Beside(f64, f64),
    /// At most so many times the 99th percentile of another mode.
    Slower(f64, &'static str),
}

/// How it is measured.
#[derive(Clone, Copy, Debug)]
pub(super) enum Job {
    /// A client alone, with workers that work like this.
    Buffered(Work),
    Direct,
    Fdatasync,
    Lines(Lines),
    Nats(Kept, Batched),
    Proxy(Proxy),
    Rabbitmq(Queue, Batched),
    Reading(Reading),
    Redis(Batched),
    Rollcall(Setup),
}

/// Readers of what is there.
#[derive(Clone, Copy, Debug)]
pub(super) enum Reading {
    /// A hot stream alone and beside a crowd of readers, in turn.
    Beside,
    /// The journal's files, read as files.
    Files,
    /// Intake as fast as it goes, without workers, in this company.
    Intake(Company),
    /// Messages at a fixed rate, from sending to delivery, in this company.
    Live(Company),
    /// All results, from here.
    Replay(&'static str, Form),
    /// A stream for each message.
    Streams,
}

/// Who else is busy with the supervisor.
#[derive(Clone, Copy, Debug)]
pub(super) enum Company {
    /// 10,000 requests a second, for these in turn, so many together on a connection.
    Asking(&'static [&'static str], usize),
    Nobody,
    /// Somebody who reads all results, again and again.
    Reading,
}

/// Whether the client sends many at a time.
#[derive(Clone, Copy, Debug)]
pub(super) enum Batched {
    No,
    Yes,
}

/// When a broker writes to the disk.
#[derive(Clone, Copy, Debug)]
pub(super) enum Kept {
    /// Before it acknowledges.
    Always,
    Later,
}

/// What RabbitMQ keeps messages in.
#[derive(Clone, Copy, Debug)]
pub(super) enum Queue {
    Classic,
    /// Replicated, here to one node.
    Quorum,
}

/// Lines through processes.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Lines {
    Parallel,
    Pipe,
    PipeStream,
    Xargs,
}

/// A plain proxy.
#[derive(Clone, Copy, Debug)]
pub(super) enum Proxy {
    Haproxy,
    Nginx,
}

/// A run of Rollcall.
#[derive(Clone, Copy, Debug)]
pub(super) struct Setup {
    pub(super) streams: u64,
    /// Messages in a request of the client.
    pub(super) batch: u64,
    /// Results in a request to the destination.
    pub(super) delivery: u32,
    /// Bytes of a message; 0: the plan's.
    pub(super) bytes: usize,
    /// The client's connections; 0: the plan's.
    pub(super) connections: usize,
    pub(super) workers: Workers,
    pub(super) work: Work,
    pub(super) pace: Pace,
    pub(super) max_in_flight: u32,
    pub(super) window: u32,
}

/// Who works.
#[derive(Clone, Copy, Debug)]
pub(super) enum Workers {
    /// The `worker` binary, registered.
    Linked,
    /// Nobody: what comes in is released as it is.
    None,
    /// Plain HTTP workers, each process listening at so many ports.
    Plain,
}

/// When the client sends.
#[derive(Clone, Copy, Debug)]
pub(super) enum Pace {
    /// As soon as there is an answer.
    Closed,
    /// So many microseconds after the answer.
    Pause(u64),
    /// At fixed times, so many percent of what another mode did in this round.
    Share(u32, &'static str),
}

/// Something else than Rollcall, which does not do all of the job.
pub(super) const fn peer(name: &'static str, what: &'static str, lacks: &'static str) -> Mode {
    Mode { name, what, lacks, goal: Goal::None, times: 1.0, job: Job::Direct }
}

pub(super) const fn mode(
    name: &'static str,
    what: &'static str,
    goal: Goal,
    times: f64,
    setup: Setup,
) -> Mode {
    Mode { name, what, lacks: "", goal, times, job: Job::Rollcall(setup) }
}

/// Everything.
pub(super) fn all() -> impl Iterator<Item = &'static Mode> {
    MESSAGES.iter().chain(READING)
}

/// The modes with these names, and those on whose rates they rest; all, if there are none.
pub(super) fn chosen(names: &[String]) -> Result<Vec<&'static Mode>, String> {
    let mut wanted: Vec<&str> = names.iter().map(String::as_str).collect();
    for name in names {
        let mode = all().find(|mode| mode.name == name);
        let mode = mode.ok_or_else(|| format!("there is no mode {name:?}; see --list"))?;
        wanted.extend(mode.rests_on());
    }
    let every = wanted.is_empty();
    Ok(all().filter(|mode| every || wanted.contains(&mode.name)).collect())
}

impl Mode {
    /// The mode whose rate it needs.
    pub(super) fn rests_on(&self) -> Option<&'static str> {
        match self.job {
            Job::Rollcall(Setup { pace: Pace::Share(_, of), .. }) => Some(of),
            Job::Buffered(_)
            | Job::Direct
            | Job::Fdatasync
            | Job::Lines(_)
            | Job::Nats(..)
            | Job::Proxy(_)
            | Job::Rabbitmq(..)
            | Job::Reading(_)
            | Job::Redis(_)
            | Job::Rollcall(_) => None,
        }
    }

    /// One line for `--list`.
    pub(super) fn describe(&self) -> String {
        let Job::Rollcall(setup) = self.job else {
            let not = if self.lacks.is_empty() {
                String::new()
            } else {
                format!(" (not: {})", self.lacks)
            };
            return format!("{:<15} {}{not}", self.name, self.what);
        };
        format!(
            "{:<15} {} (streams {}, intake by {}, delivery by {}, max_in_flight {}, window {})",
            self.name,
            self.what,
            setup.streams,
            setup.batch,
            setup.delivery,
            setup.max_in_flight,
            setup.window,
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_and_goals_name_modes() {
        for (index, mode) in all().enumerate() {
            assert!(all().skip(index + 1).all(|other| other.name != mode.name));
            if let Goal::Times(_, other) | Goal::Slower(_, other) = mode.goal {
                assert!(all().any(|mode| mode.name == other), "{other}");
            }
        }
    }

    #[test]
    fn a_mode_brings_the_one_that_it_rests_on() {
        let names = |chosen: Vec<&Mode>| chosen.iter().map(|mode| mode.name).collect::<Vec<_>>();
        let latency = chosen(&["latency-link".to_owned()]).unwrap();
        assert_eq!(names(latency), ["link", "latency-link"]);
        assert_eq!(chosen(&[]).unwrap().len(), all().count());
        assert!(chosen(&["nothing".to_owned()]).is_err());
    }
}
