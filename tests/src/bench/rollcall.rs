//! A run of Rollcall itself: a supervisor, its workers, a destination and a client, each a
//! process of its own.

use std::{path::Path, time::Duration};

use rollcall_common::client::Client;
use serde_json::Value;

use super::{
    body::now_ns,
    load::{Load, To},
    modes::{Pace, Setup, Workers},
    processes::{Process, all_cpu_seconds, beside, part, words},
    report::{Figures, Latency},
    run::{Plan, Sent, send_from, start_workers},
};

/// How long a run may take until all is delivered.
const PATIENCE: Duration = Duration::from_secs(300);

/// Runs it once. `rate`: messages a second of the mode whose share is to be sent.
pub(super) async fn rollcall(
    plan: &Plan,
    setup: &Setup,
    messages: u64,
    rate: f64,
) -> Result<Figures, String> {
    let directory = tempfile::tempdir().map_err(|error| error.to_string())?;
    let bytes = if setup.bytes == 0 { plan.bytes } else { setup.bytes };
    let mut sink = part(&words(&format!("sink --bytes {bytes}")))?;
    let mut workers = match setup.workers {
        Workers::Plain => start_workers(plan, setup.work)?,
        Workers::Linked | Workers::None => Vec::new(),
    };
    let mut supervisor = supervise(setup, directory.path(), &workers, Some(sink.url()))?;
    if matches!(setup.workers, Workers::Linked) {
        workers = register(plan, supervisor.url()).await?;
    }
    let connections = if setup.connections == 0 { plan.connections } else { setup.connections };
    let load = Load {
        connections,
        streams: setup.streams,
        batch: setup.batch,
        pause_us: if let Pace::Pause(us) = setup.pace { us } else { 0 },
        rate: if let Pace::Share(percent, _) = setup.pace {
            (rate * f64::from(percent) / 100.0) as u64
        } else {
            0
        },
        ..Load::new(supervisor.url(), To::Intake, messages, bytes)
    };
    let mut started = 0;
    let client = send_from(&load, || {
        [&mut sink, &mut supervisor].into_iter().chain(&mut workers).for_each(Process::begin);
        started = now_ns();
    })?;
    delivered(&sink, &client, messages).await?;
    let seconds = (now_ns() - started) as f64 / 1e9;
    let latency = match setup.pace {
        Pace::Share(..) => Latency::Delivery(latencies(&sink).await?),
        Pace::Closed | Pace::Pause(_) => Latency::Request(client.latencies),
    };
    Ok(Figures {
        messages,
        seconds,
        latency,
        cpu: vec![
            ("supervisor", supervisor.cpu_seconds()),
            ("client", client.cpu),
            ("workers", all_cpu_seconds(&workers)),
            ("destination", sink.cpu_seconds()),
        ],
        peak_mib: supervisor.peak_mib(),
        refused: client.refused,
        more: Vec::new(),
    })
}

/// A supervisor with its journal in `directory`.
pub(super) fn supervise(
    setup: &Setup,
    directory: &Path,
    workers: &[Process],
    sink: Option<&str>,
) -> Result<Process, String> {
    let urls = workers.iter().flat_map(|worker| &worker.urls);
    let urls: Vec<String> = urls.map(|url| format!("{url:?}")).collect();
    let batch = setup.delivery;
    let sink = sink.map(|url| format!("[subscriptions.sink]\nurl = {url:?}\nbatch = {batch}\n"));
    let pool = if matches!(setup.workers, Workers::None) { "pool = \"none\"\n" } else { "" };
    let text = format!(
        "[pools.default]\nworkers = [{}]\n{}\
         [streams.\"*\"]\n{pool}max_in_flight = {}\nwindow = {}\n",
        urls.join(", "),
        sink.unwrap_or_default(),
        setup.max_in_flight,
        setup.window,
    );
    let config = directory.join("rollcall.toml");
    std::fs::write(&config, text).map_err(|error| error.to_string())?;
    let (config, data) = (config.display().to_string(), directory.join("data"));
    let data = data.display().to_string();
    let arguments = ["serve", "--config", &config, "--data", &data, "--listen", "127.0.0.1:0"];
    Process::start(&beside("supervisor")?, &arguments)
}

/// The `worker` binary, as often as the plan says, once the supervisor knows them all.
pub(super) async fn register(plan: &Plan, supervisor: &str) -> Result<Vec<Process>, String> {
    let program = beside("worker")?;
    let line = format!("serve --listen 127.0.0.1:0 --builtin upper --supervisor {supervisor}");
    let mut workers = Vec::new();
    for number in 0..plan.workers {
        let id = format!("w{number}");
        let arguments = line.split_whitespace().chain(["--id", &id]).collect::<Vec<_>>();
        workers.push(Process::start(&program, &arguments)?);
    }
    let client = Client::new(supervisor, None).map_err(|error| error.to_string())?;
    for _ in 0..1000 {
        let known = ask(&client, "/v1/workers").await?;
        if known["workers"].as_array().is_some_and(|known| known.len() == plan.workers) {
            return Ok(workers);
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    Err("the workers did not register".to_owned())
}

pub(super) async fn ask(client: &Client, path: &str) -> Result<Value, String> {
    let answer = client.call(reqwest::Method::GET, path).send().await;
    answer.map_err(|error| error.to_string())?.json().await.map_err(|error| error.to_string())
}

/// Waits until a destination has everything, and compares what it has with what was sent.
pub(super) async fn delivered(sink: &Process, sent: &Sent, messages: u64) -> Result<(), String> {
    let client = Client::new(sink.url(), None).map_err(|error| error.to_string())?;
    let deadline = now_ns() + PATIENCE.as_nanos() as u64;
    loop {
        let seen = ask(&client, "/").await?;
        if let Some(wrong) = seen["wrong"].as_str() {
            return Err(format!("the destination: {wrong}"));
        }
        if seen["count"] == messages {
            let whole = seen["sum"] == sent.sum;
            return whole.then_some(()).ok_or_else(|| "results are not the right ones".to_owned());
        }
        if now_ns() > deadline {
            return Err(format!("{} of {messages} results were delivered", seen["count"]));
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Milliseconds from when messages were meant to be sent to their delivery.
pub(super) async fn latencies(sink: &Process) -> Result<[f64; 3], String> {
    let client = Client::new(sink.url(), None).map_err(|error| error.to_string())?;
    let all = ask(&client, "/latencies").await?;
    Ok([0, 1, 2].map(|index| all[index].as_f64().unwrap_or_default()))
}
