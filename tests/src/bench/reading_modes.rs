//! What readers do, and what it costs those who write, by name.

use super::{
    modes::{Company, Goal, Job, Mode, Reading, peer},
    reader::Form,
};

const ALL: &str = "/v1/results";
const ONE: &str = "/v1/streams/s0/results";
/// Nothing is looked up for it.
const FRONT: &[&str] = &["/"];
const STATUS: &[&str] = &["/v1/status", "/v1/streams/s0"];

/// In the order of the table.
pub(super) const READING: &[Mode] = &[
    read("files", "the journal of the results below, as files", Goal::None, Reading::Files),
    read(
        "replay",
        "all results, 4 streams, lines, one connection",
        Goal::Rate(200_000.0),
        Reading::Replay(ALL, Form::Lines),
    ),
    read(
        "replay-sse",
        "the same as server-sent events",
        Goal::Rate(200_000.0),
        Reading::Replay(ALL, Form::Events),
    ),
    read(
        "replay-json",
        "the same as pages of JSON",
        Goal::Rate(200_000.0),
        Reading::Replay(ALL, Form::Pages),
    ),
    read(
        "replay-one",
        "one of the streams, lines",
        Goal::Rate(200_000.0),
        Reading::Replay(ONE, Form::Lines),
    ),
    Mode {
        times: 0.8,
        ..read("live", "4,000 a second, beside 1,000,000 results", Goal::None, LIVE)
    },
    Mode {
        times: 0.8,
        ..read(
            "live-replay",
            "the same while they are read",
            Goal::Slower(1.5, "live"),
            Reading::Live(Company::Reading),
        )
    },
    Mode { times: 4.0, ..read("intake", "64 streams, no workers", Goal::None, INTAKE) },
    Mode {
        times: 4.0,
        ..read(
            "intake-front",
            "the same beside 10,000/s for the front page",
            Goal::Times(0.95, "intake"),
            Reading::Intake(Company::Asking(FRONT, 1)),
        )
    },
    Mode {
        times: 4.0,
        ..read(
            "intake-status",
            "the same beside 10,000/s for the status, and a stream's",
            Goal::Times(0.95, "intake"),
            Reading::Intake(Company::Asking(STATUS, 1)),
        )
    },
    Mode {
        times: 4.0,
        ..read(
            "intake-status-20",
            "the same, asked by twenties",
            Goal::Times(0.95, "intake"),
            Reading::Intake(Company::Asking(STATUS, 20)),
        )
    },
    Mode {
        times: 3.0,
        ..read(
            "readers",
            "1 stream, no workers, beside 500 idle feeds, 2,000 polls, 100 slow readers",
            Goal::Beside(0.9, 100.0),
            Reading::Beside,
        )
    },
    read(
        "streams-1m",
        "a start with 1,000,000 streams of one message",
        Goal::Rate(100_000.0),
        Reading::Streams,
    ),
];

const INTAKE: Reading = Reading::Intake(Company::Nobody);
const LIVE: Reading = Reading::Live(Company::Nobody);

/// Twenty times as many as the plan's messages are there to be read.
const fn read(name: &'static str, what: &'static str, goal: Goal, reading: Reading) -> Mode {
    Mode { goal, times: 20.0, job: Job::Reading(reading), ..peer(name, what, "") }
}
