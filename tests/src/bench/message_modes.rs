//! Ways of sending messages through, Rollcall's and what stands beside it, by name.

use super::{
    endpoints::Work,
    modes::{
        Batched, Goal, Job, Kept, Lines, Mode, Pace, Proxy, Queue, Setup, Workers, mode, peer,
    },
};

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
pub(super) const MESSAGES: &[Mode] = &[
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
