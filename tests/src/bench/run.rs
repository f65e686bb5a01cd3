//! The runs, in turn, so that a machine whose speed drifts does not favour one of them.

use std::{
    io::Read as _,
    net::TcpListener,
    path::Path,
    process::{Command, Stdio},
    time::Duration,
};

use rollcall_common::{
    client::Client,
    time::{Clock, Time},
};
use serde_json::Value;

use super::{
    Format,
    processes::{Process, beside, on_path},
    report::{self, Figures},
};

/// How long a run may take until all is delivered.
const PATIENCE: Duration = Duration::from_secs(300);

/// What is measured.
#[derive(Clone, Debug)]
pub struct Plan {
    /// How many messages in a run.
    pub messages: u64,
    /// Of how many bytes.
    pub bytes: usize,
    /// The client's connections.
    pub connections: usize,
    /// Worker processes.
    pub workers: usize,
    /// Runs of each thing.
    pub rounds: usize,
    /// How the figures are printed.
    pub format: Format,
}

/// Runs everything; prints the table.
///
/// # Errors
/// When something does not work, or what was delivered is not whole and in order.
pub async fn run(plan: &Plan) -> Result<(), String> {
    let mut rounds = Vec::new();
    for _ in 0..plan.rounds {
        let workers: Vec<Process> =
            (0..plan.workers).map(|_| peer("worker")).collect::<Result<_, _>>()?;
        let mut round = Vec::new();
        match on_path("nginx") {
            Some(nginx) => round.push(proxy(plan, &nginx, &workers).await?),
            None => eprintln!("nginx is not installed, so there is nothing to compare with"),
        }
        for streams in [64, 1] {
            round.push(rollcall(plan, &workers, streams).await?);
        }
        rounds.push(round);
    }
    report::print(&rounds, plan.format);
    Ok(())
}

/// This program in another part.
fn peer(part: &str) -> Result<Process, String> {
    let me = std::env::current_exe().map_err(|error| error.to_string())?;
    Process::start(&me, &[part])
}

async fn rollcall(plan: &Plan, workers: &[Process], streams: u64) -> Result<Figures, String> {
    let sink = peer("sink")?;
    let directory = tempfile::tempdir().map_err(|error| error.to_string())?;
    let config = directory.path().join("rollcall.toml");
    let urls: Vec<String> = workers.iter().map(|worker| format!("{:?}", worker.url)).collect();
    let text = format!(
        "[pools.default]\nworkers = [{}]\n[subscriptions.sink]\nurl = {:?}\n\
         [streams.\"*\"]\nmax_in_flight = 512\n",
        urls.join(", "),
        sink.url
    );
    std::fs::write(&config, text).map_err(|error| error.to_string())?;
    let (config, data) = (config.display().to_string(), directory.path().join("data"));
    let data = data.display().to_string();
    let arguments = ["serve", "--config", &config, "--data", &data, "--listen", "127.0.0.1:0"];
    let supervisor = Process::start(&beside("supervisor")?, &arguments)?;
    let before: Vec<f64> = workers.iter().map(Process::cpu_seconds).collect();
    let clock = Clock::start(Time::default());
    let started = clock.now();
    let client = send(plan, &supervisor.url, streams)?;
    wait_delivered(&sink, plan.messages, &clock).await?;
    let seconds = clock.now().since(started).as_secs_f64();
    Ok(Figures {
        what: format!("rollcall, {streams} stream{}", if streams == 1 { "" } else { "s" }),
        messages: plan.messages,
        seconds,
        p50_ms: client.number("p50_ms"),
        p99_ms: client.number("p99_ms"),
        cpu: vec![
            ("supervisor", supervisor.cpu_seconds()),
            ("client", client.cpu),
            ("workers", workers_cpu(workers, &before)),
            ("destination", sink.cpu_seconds()),
        ],
        peak_mib: supervisor.peak_mib(),
    })
}

async fn proxy(plan: &Plan, nginx: &Path, workers: &[Process]) -> Result<Figures, String> {
    let directory = tempfile::tempdir().map_err(|error| error.to_string())?;
    let port = TcpListener::bind(("127.0.0.1", 0))
        .and_then(|listener| listener.local_addr())
        .map_err(|error| error.to_string())?
        .port();
    let config = directory.path().join("nginx.conf");
    std::fs::write(&config, nginx_config(directory.path(), port, workers))
        .map_err(|error| error.to_string())?;
    let url = format!("http://127.0.0.1:{port}");
    let config = config.display().to_string();
    let process = Process::start_silent(nginx, &["-c", &config], url)?;
    wait_listening(port).await?;
    let before: Vec<f64> = workers.iter().map(Process::cpu_seconds).collect();
    let client = send(plan, &process.url, 0)?;
    Ok(Figures {
        what: "nginx, one hop, no order, no disk".to_owned(),
        messages: plan.messages,
        seconds: client.number("seconds"),
        p50_ms: client.number("p50_ms"),
        p99_ms: client.number("p99_ms"),
        cpu: vec![
            ("nginx", process.cpu_seconds()),
            ("client", client.cpu),
            ("workers", workers_cpu(workers, &before)),
        ],
        peak_mib: process.peak_mib(),
    })
}

fn nginx_config(directory: &Path, port: u16, workers: &[Process]) -> String {
    let place = directory.display();
    let servers: String = workers
        .iter()
        .map(|worker| format!("server {};", worker.url.trim_start_matches("http://")))
        .collect();
    format!(
        "daemon off; user root; worker_processes 2; pid {place}/pid; error_log /dev/null;\n\
         events {{ worker_connections 4096; }}\n\
         http {{ access_log off; client_body_temp_path {place}/body; proxy_temp_path {place}/p;\n\
         fastcgi_temp_path {place}/f; uwsgi_temp_path {place}/u; scgi_temp_path {place}/s;\n\
         keepalive_requests 100000000;\n\
         upstream workers {{ {servers} keepalive 512; keepalive_requests 100000000; }}\n\
         server {{ listen 127.0.0.1:{port}; location / {{ proxy_pass http://workers;\n\
         proxy_http_version 1.1; proxy_set_header Connection \"\"; }} }} }}\n"
    )
}

/// What the client process says.
struct Sent {
    said: Value,
    cpu: f64,
}

impl Sent {
    fn number(&self, name: &str) -> f64 {
        self.said.get(name).and_then(Value::as_f64).unwrap_or_default()
    }
}

/// Runs a client process to its end.
fn send(plan: &Plan, url: &str, streams: u64) -> Result<Sent, String> {
    let me = std::env::current_exe().map_err(|error| error.to_string())?;
    let mut child = Command::new(me)
        .args(["load", "--url", url, "--streams", &streams.to_string()])
        .args(["--messages", &plan.messages.to_string(), "--bytes", &plan.bytes.to_string()])
        .args(["--connections", &plan.connections.to_string()])
        .stdout(Stdio::piped())
        .spawn()
        .map_err(|error| error.to_string())?;
    let before = children_cpu();
    let mut text = String::new();
    let mut out = child.stdout.take().ok_or("no output")?;
    out.read_to_string(&mut text).map_err(|error| error.to_string())?;
    let status = child.wait().map_err(|error| error.to_string())?;
    if !status.success() {
        return Err(format!("the client failed: {text}"));
    }
    let said = serde_json::from_str(&text).map_err(|error| error.to_string())?;
    Ok(Sent { said, cpu: children_cpu() - before })
}

/// CPU seconds of children that have been waited for: fields 16 and 17 of our own `stat`.
fn children_cpu() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let after_name = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
    let ticks = after_name.split_whitespace().skip(13).take(2);
    ticks.filter_map(|field| field.parse::<f64>().ok()).sum::<f64>() / 100.0
}

fn workers_cpu(workers: &[Process], before: &[f64]) -> f64 {
    workers.iter().zip(before).map(|(worker, before)| worker.cpu_seconds() - before).sum()
}

async fn wait_delivered(sink: &Process, messages: u64, clock: &Clock) -> Result<(), String> {
    let client = Client::new(&sink.url, None).map_err(|error| error.to_string())?;
    let deadline = clock.now() + PATIENCE;
    loop {
        let answer = client.call(reqwest::Method::GET, "/").send().await;
        let text = answer.map_err(|error| error.to_string())?.text().await.unwrap_or_default();
        let (count, wrong) = text.split_once(' ').unwrap_or_default();
        if wrong != "0" {
            return Err(format!("{wrong} results were not in order"));
        }
        if count == messages.to_string() {
            return Ok(());
        }
        if clock.now() > deadline {
            return Err(format!("{count} of {messages} results were delivered"));
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

async fn wait_listening(port: u16) -> Result<(), String> {
    for _ in 0..500 {
        if tokio::net::TcpStream::connect(("127.0.0.1", port)).await.is_ok() {
            return Ok(());
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    Err("nginx does not listen".to_owned())
}
