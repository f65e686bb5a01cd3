//! Readers beside writers: replay, status and lists, with real processes. What is read was taken
//! in before.

use std::{fs::File, io::Read as _, path::Path, time::Duration};

use rollcall_common::client::Client;
use serde_json::Value;

use super::{
    beside::beside,
    body::now_ns,
    load::{Load, To},
    message_modes::{LINK, PLAIN},
    modes::{Company, Reading, Setup, Workers},
    prefilled,
    processes::{Companion, Process, all_cpu_seconds, part, words},
    reader::Form,
    report::{Figures, Latency},
    rollcall::{ask, delivered, latencies, register, supervise},
    run::{Plan, send},
    sink_checker::shares,
    wire::Wire,
};

/// Live messages a second.
const LIVE_RATE: u64 = 4000;
/// Requests a second of those who ask.
const ASKED: u64 = 10_000;
/// After a start, memory is as it stays: threads that nothing was left to do for have ended.
const SETTLED: Duration = Duration::from_secs(14);
/// Bytes that a file is read by.
const PIECE: usize = 1 << 20;

/// Runs it once.
pub(super) async fn reading(plan: &Plan, what: Reading, messages: u64) -> Result<Figures, String> {
    match what {
        Reading::Beside => beside(plan, messages),
        Reading::Files => {
            let folder = prefilled::results(plan, messages).await?;
            files(&folder, messages).map_err(|error| error.to_string())
        }
        Reading::Intake(company) => intake(plan, company, messages).await,
        Reading::Live(company) => live(plan, company, messages).await,
        Reading::Replay(path, form) => replay(plan, (path, form), messages).await,
        Reading::Streams => streams(plan, messages).await,
    }
}

type Said = (f64, Vec<(&'static str, f64)>);

fn figures(messages: u64, seconds: f64) -> Figures {
    Figures {
        messages,
        seconds,
        latency: Latency::Unknown,
        cpu: Vec::new(),
        peak_mib: 0.0,
        refused: 0,
        more: Vec::new(),
    }
}

/// The second time, so that they are in memory.
fn files(folder: &Path, messages: u64) -> std::io::Result<Figures> {
    let mut piece = vec![0; PIECE];
    let (mut took, mut bytes) = (0, 0);
    for _ in 0..2 {
        let started = now_ns();
        bytes = 0;
        for path in prefilled::journal(folder)? {
            let mut file = File::open(path)?;
            loop {
                match file.read(&mut piece)? {
                    0 => break,
                    count => bytes += count,
                }
            }
        }
        took = now_ns() - started;
    }
    let more = vec![("MiB", bytes as f64 / 1_048_576.0)];
    Ok(Figures { more, ..figures(messages, took as f64 / 1e9) })
}

fn reader(url: &str, (path, form): (&str, Form), results: u64) -> Vec<String> {
    let form = form.as_str();
    words(&format!("read --url {url} --path {path} --form {form} --results {results}"))
}

/// All results, as fast as they come.
async fn replay(plan: &Plan, (path, form): (&str, Form), messages: u64) -> Result<Figures, String> {
    let folder = prefilled::results(plan, messages).await?;
    let before = now_ns();
    let mut supervisor = supervise(&LINK, &folder, &[], None)?;
    let start = (now_ns() - before) as f64 / 1e9;
    let all = path == "/v1/results";
    let client = Client::new(supervisor.url(), None).map_err(|error| error.to_string())?;
    let stream = ask(&client, "/v1/streams/s0").await?;
    let results = if all { messages } else { stream["released"].as_u64().unwrap_or_default() };
    let resident = supervisor.resident_mib();
    supervisor.begin();
    let said = Companion::start(&reader(supervisor.url(), (path, form), results))?.finish()?;
    let number = |name: &str| said[name].as_f64().unwrap_or_default();
    Ok(Figures {
        cpu: vec![("supervisor", supervisor.cpu_seconds()), ("reader", number("cpu"))],
        peak_mib: supervisor.peak_mib(),
        more: vec![
            ("MB/s", number("bytes") / number("seconds") / 1e6),
            ("start s", start),
            ("MiB before", resident),
            ("MiB after", supervisor.resident_mib()),
        ],
        ..figures(results, number("seconds"))
    })
}

fn company(company: Company, url: &str, results: u64) -> Result<Option<Companion>, String> {
    let arguments = match company {
        Company::Asking(paths, together) => {
            let paths = paths.join(" ");
            let what = format!("--together {together} --paths {paths}");
            words(&format!("ask --url {url} --rate {ASKED} {what}"))
        }
        Company::Nobody => return Ok(None),
        Company::Reading => {
            let mut arguments = reader(url, ("/v1/results", Form::Lines), results);
            arguments.push("--forever".to_owned());
            arguments
        }
    };
    Companion::start(&arguments).map(Some)
}

/// What the company has to say: its CPU seconds, and figures by name.
fn said(company: Option<Companion>) -> Result<Said, String> {
    let Some(company) = company else {
        return Ok((0.0, Vec::new()));
    };
    let said: Value = company.finish()?;
    let number = |value: &Value| value.as_f64().unwrap_or_default();
    let mut more = vec![("company/s", number(&said["results"]) / number(&said["seconds"]))];
    if said["latencies_ms"].is_array() {
        more.push(("its p50", number(&said["latencies_ms"][0])));
        more.push(("its p99", number(&said["latencies_ms"][1])));
    }
    Ok((number(&said["cpu"]), more))
}

/// Messages through workers to a destination, at a fixed rate.
async fn live(plan: &Plan, with: Company, messages: u64) -> Result<Figures, String> {
    let read = messages * 25;
    let folder = prefilled::results(plan, read).await?;
    let mut sink = part(&words(&format!("sink --bytes {}", plan.bytes)))?;
    let mut supervisor = supervise(&LINK, &folder, &[], Some(sink.url()))?;
    let mut workers = register(plan, supervisor.url()).await?;
    let client = Client::new(supervisor.url(), None).map_err(|error| error.to_string())?;
    let status = ask(&client, "/v1/status").await?;
    let company = company(with, supervisor.url(), read)?;
    [&mut sink, &mut supervisor].into_iter().chain(&mut workers).for_each(Process::begin);
    let started = now_ns();
    let sent = send(&Load {
        connections: plan.connections,
        streams: PLAIN.streams,
        rate: LIVE_RATE,
        // The destination knows streams from their beginning.
        first_stream: status["streams"].as_u64().unwrap_or_default(),
        ..Load::new(supervisor.url(), To::Intake, messages, plan.bytes)
    })?;
    delivered(&sink, &sent, messages).await?;
    let seconds = (now_ns() - started) as f64 / 1e9;
    let (cpu, more) = said(company)?;
    Ok(Figures {
        latency: Latency::Delivery(latencies(&sink).await?),
        cpu: vec![
            ("supervisor", supervisor.cpu_seconds()),
            ("client", sent.cpu),
            ("workers", all_cpu_seconds(&workers)),
            ("destination", sink.cpu_seconds()),
            ("company", cpu),
        ],
        peak_mib: supervisor.peak_mib(),
        refused: sent.refused,
        more,
        ..figures(messages, seconds)
    })
}

/// Messages that need no work, as fast as they are taken in.
async fn intake(plan: &Plan, with: Company, messages: u64) -> Result<Figures, String> {
    let directory = tempfile::tempdir().map_err(|error| error.to_string())?;
    let setup = Setup { workers: Workers::None, ..PLAIN };
    let mut supervisor = supervise(&setup, directory.path(), &[], None)?;
    let load = Load {
        connections: plan.connections,
        streams: setup.streams,
        ..Load::new(supervisor.url(), To::Intake, setup.streams, plan.bytes)
    };
    // So that there is a stream to be asked for.
    send(&load)?;
    let company = company(with, supervisor.url(), 0)?;
    supervisor.begin();
    let sent = send(&Load { messages, ..load })?;
    let (cpu, more) = said(company)?;
    Ok(Figures {
        latency: Latency::Request(sent.latencies),
        cpu: vec![("supervisor", supervisor.cpu_seconds()), ("client", sent.cpu), ("company", cpu)],
        peak_mib: supervisor.peak_mib(),
        refused: sent.refused,
        more,
        ..figures(messages, sent.seconds)
    })
}

/// A start with many streams, and a list of them.
async fn streams(plan: &Plan, messages: u64) -> Result<Figures, String> {
    let folder = prefilled::streams(plan, messages).await?;
    let setup = Setup { workers: Workers::None, ..LINK };
    let empty = tempfile::tempdir().map_err(|error| error.to_string())?;
    let idle = supervise(&setup, empty.path(), &[], None)?.resident_mib();
    let before = now_ns();
    let mut supervisor = supervise(&setup, &folder, &[], None)?;
    let seconds = (now_ns() - before) as f64 / 1e9;
    let peak = supervisor.peak_mib();
    // What the start made is free by then, and a first snapshot is written.
    tokio::time::sleep(SETTLED).await;
    let resident = supervisor.resident_mib();
    supervisor.begin();
    let listing = now_ns();
    let (listed, took) = list(supervisor.url()).await?;
    if listed < messages {
        return Err(format!("{listed} of {messages} streams are in the list"));
    }
    let listing = (now_ns() - listing) as f64 / 1e9;
    Ok(Figures {
        latency: Latency::Request(shares(&took)),
        cpu: vec![("supervisor", supervisor.cpu_seconds())],
        peak_mib: peak,
        more: vec![
            ("B a stream", (resident - idle) * 1_048_576.0 / messages as f64),
            ("listed/s", listed as f64 / listing),
        ],
        ..figures(messages, seconds)
    })
}

/// All streams, page by page: how many, and how long each page took.
async fn list(url: &str) -> Result<(u64, Vec<u64>), String> {
    let mut wire = Wire::connect(url).await?;
    let (mut count, mut took, mut path) = (0, Vec::new(), "/v1/streams?limit=1000".to_owned());
    loop {
        let asked = now_ns();
        let page = wire.get(&path).await?;
        took.push(now_ns() - asked);
        let page: Value = serde_json::from_slice(&page.body).map_err(|error| error.to_string())?;
        count += page["streams"].as_array().map_or(0, Vec::len) as u64;
        let Some(next) = page["next"].as_str() else { break };
        path = format!("/v1/streams?limit=1000&after={next}");
    }
    took.sort_unstable();
    Ok((count, took))
}
