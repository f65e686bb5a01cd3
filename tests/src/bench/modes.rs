//! What can be measured, by name, each with its settings and what it is to be compared with.

use super::{ends::Work, reader::Form, reading_modes::READING};

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

/// No work at all, by one port.
const IDLE: Work = Work { ports: 1, work_us: 0, slow_percent: 0 };
/// One message per request on every hop, with plain HTTP workers.
pub(super) const PLAIN: Setup = Setup {
    streams: 64,
    batch: 1,
    delivery: 1,
    bytes: 0,
    connections: 0,
    workers: Workers::Plain,
    work: IDLE,
    pace: Pace::Closed,
    max_in_flight: 512,
    window: 4096,
};
pub(super) const LINK: Setup = Setup {
    streams: 1,
    delivery: 256,
    workers: Workers::Linked,
    max_in_flight: 4096,
    window: 65_536,
    ..PLAIN
};
const BATCH: Setup = Setup { batch: 500, connections: 8, bytes: 256, ..LINK };
const STEADY: Setup = Setup {
    streams: 1,
    delivery: 256,
    work: Work { work_us: 2000, ..IDLE },
    window: 65_536,
    ..PLAIN
};

const SLOW: Setup = Setup { work: Work { slow_percent: 1, ..STEADY.work }, ..STEADY };

/// The message path, in the order of the table.
const MESSAGES: &[Mode] = &[
    Mode { job: Job::Proxy(Proxy::Haproxy), ..peer("haproxy", "HAProxy, one hop", UNKEPT) },
    Mode { job: Job::Proxy(Proxy::Nginx), ..peer("nginx", "nginx, one hop", UNKEPT) },
    Mode { times: 0.4, ..peer("direct", "POSTs to the destination, one by one", "disk, workers") },
    mode("http-64", "64 streams, plain workers", Goal::Times(0.7, "haproxy"), 1.0, PLAIN),
    mode(
        "http-1",
        "1 stream, plain workers",
        Goal::Times(0.9, "direct"),
        0.6,
        Setup { streams: 1, ..PLAIN },
    ),
    mode(
        "http-10k",
        "10,000 streams, plain workers",
        Goal::Times(0.83, "http-64"),
        1.0,
        Setup { streams: 10_000, ..PLAIN },
    ),
    mode(
        "http-300w",
        "64 streams, 300 plain workers in 3 processes",
        Goal::Times(0.83, "http-64"),
        1.0,
        Setup { work: Work { ports: 100, ..IDLE }, ..PLAIN },
    ),
    mode(
        "link",
        "1 stream, worker binary, delivery by 256",
        Goal::Times(1.5, "haproxy"),
        1.0,
        LINK,
    ),
    mode("batch-256", "the same, intake by 500, 256 bytes", Goal::Rate(200_000.0), 8.0, BATCH),
    mode(
        "batch-1k",
        "the same, intake by 500, 1 KiB",
        Goal::Rate(100_000.0),
        5.0,
        Setup { bytes: 1024, ..BATCH },
    ),
    mode("work", "1 stream, 2 ms of work, delivery by 256", Goal::None, 0.6, STEADY),
    mode(
        "stragglers",
        "the same, 1 % of the executions 200 ms",
        Goal::Times(0.8, "work"),
        0.6,
        SLOW,
    ),
    mode(
        "latency-http",
        "http-64 at 30 % of its rate, open loop",
        Goal::None,
        0.5,
        Setup { pace: Pace::Share(30, "http-64"), ..PLAIN },
    ),
    mode(
        "latency-link",
        "link at 30 % of its rate, open loop",
        Goal::None,
        0.5,
        Setup { pace: Pace::Share(30, "link"), ..LINK },
    ),
    Mode {
        job: Job::Fdatasync,
        times: 0.008,
        ..peer("fdatasync", "write and fdatasync, one every 5 ms", "all but the disk")
    },
    mode(
        "idle",
        "one message every 5 ms, until its 202",
        Goal::None,
        0.008,
        Setup { connections: 1, pace: Pace::Pause(5000), ..LINK },
    ),
    Mode {
        job: Job::Redis(Batched::No),
        ..peer("redis", "Redis, fsync always, released by a script", "retries")
    },
    Mode {
        job: Job::Redis(Batched::Yes),
        times: 2.0,
        ..peer("redis-batch", "the same, 500 in a request", "retries")
    },
    Mode {
        job: Job::Nats(Kept::Always, Batched::No),
        times: 0.1,
        ..peer("nats", "NATS JetStream, sync always", UNORDERED)
    },
    Mode {
        job: Job::Nats(Kept::Always, Batched::Yes),
        times: 0.1,
        ..peer("nats-batch", "the same, 500 on their way", UNORDERED)
    },
    Mode {
        job: Job::Nats(Kept::Later, Batched::No),
        ..peer("nats-later", "NATS JetStream, sync every 2 minutes", "disk before ack, order")
    },
    Mode {
        job: Job::Rabbitmq(Queue::Classic, Batched::No),
        ..peer("rabbitmq", "RabbitMQ, confirms, classic durable queues", UNPLACED)
    },
    Mode {
        job: Job::Rabbitmq(Queue::Classic, Batched::Yes),
        ..peer("rabbitmq-batch", "the same, 256 on their way on one connection", UNPLACED)
    },
    Mode {
        job: Job::Rabbitmq(Queue::Quorum, Batched::No),
        ..peer("rabbitmq-quorum", "rabbitmq with quorum queues", UNPLACED)
    },
    Mode {
        job: Job::Buffered(IDLE),
        ..peer("buffered", "a client with buffered(512)", UNKEPT_ORDERED)
    },
    Mode {
        job: Job::Buffered(STEADY.work),
        times: 0.6,
        ..peer("buffered-work", "the same, 2 ms of work", UNKEPT_ORDERED)
    },
    Mode {
        job: Job::Buffered(SLOW.work),
        times: 0.2,
        ..peer("buffered-slow", "the same, 1 % of them 200 ms", UNKEPT_ORDERED)
    },
    Mode {
        job: Job::Lines(Lines::Xargs),
        times: 0.04,
        ..peer("xargs", "xargs -P4 -n1 echo", "order, retries")
    },
    Mode {
        job: Job::Lines(Lines::Parallel),
        times: 0.01,
        ..peer("parallel", "parallel -k -j4 echo", "retries")
    },
    Mode {
        job: Job::Lines(Lines::Pipe),
        times: 0.04,
        goal: Goal::Times(1.0, "xargs"),
        ..peer("pipe", "pipe --jobs 4 -- cat", "")
    },
    Mode {
        job: Job::Lines(Lines::PipeStream),
        times: 4.0,
        goal: Goal::Times(100.0, "parallel"),
        ..peer("pipe-stream", "pipe --jobs 4 --exec-stream -- cat", "")
    },
];

const UNKEPT: &str = "order, disk, retries";
const UNKEPT_ORDERED: &str = "disk, retries, a destination";
const UNORDERED: &str = "order (the destination sorts), retries";
const UNPLACED: &str = "places (the client numbers), order (the destination sorts), retries";

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
