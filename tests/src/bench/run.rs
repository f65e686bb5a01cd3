//! The runs, in turn, so that a machine whose speed drifts does not favour one of them.

use std::{
    collections::BTreeMap,
    fs::File,
    io::{BufRead as _, BufReader, Read as _},
    os::unix::fs::FileExt as _,
    path::PathBuf,
    process::{Command, Stdio},
    time::Duration,
};

use serde_json::Value;

use super::{
    Format,
    body::now_ns,
    endpoints::Work,
    load::{Load, To},
    local::{buffered, lines},
    modes::{self, Job, Mode},
    nats::nats,
    processes::{Process, part, words},
    proxies::proxy,
    rabbitmq::rabbitmq,
    reading::reading,
    redis::redis,
    report::{self, Figures, Latency, Row},
    rollcall::{delivered, rollcall},
    sink_checker::shares,
};

/// What is measured.
#[derive(clap::Args, Clone, Debug)]
pub struct Plan {
    /// Messages in a run; some modes take a multiple
    #[arg(long, default_value_t = 50_000)]
    messages: u64,
    /// Bytes of a message
    #[arg(long, default_value_t = 1024)]
    pub(super) bytes: usize,
    /// The client's connections
    #[arg(long, default_value_t = 256)]
    pub(super) connections: usize,
    /// Worker processes
    #[arg(long, default_value_t = 3)]
    pub(super) workers: usize,
    /// Runs of each thing
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// Only these modes
    #[arg(long, num_args = 1.., value_name = "NAME")]
    only: Vec<String>,
    /// Say what modes there are, with their settings
    #[arg(long)]
    list: bool,
    /// Where journals that were filled to be read stay, for the next run
    #[arg(long, value_name = "FOLDER")]
    pub(super) keep: Option<PathBuf>,
    /// How to print the figures
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
}

/// Runs everything; prints the table.
///
/// # Errors
/// When something does not work, or what was delivered is not whole and in order.
pub async fn run(plan: &Plan) -> Result<(), String> {
    if plan.list {
        modes::all().for_each(|mode| println!("{}", mode.describe()));
        return Ok(());
    }
    let chosen = modes::chosen(&plan.only)?;
    let own = tempfile::tempdir().map_err(|error| error.to_string())?;
    let keep = plan.keep.clone().unwrap_or_else(|| own.path().to_owned());
    let plan = &Plan { keep: Some(keep), ..plan.clone() };
    let mut failed = Vec::new();
    let mut rows: Vec<Row> = chosen.iter().map(|mode| Row::new(mode)).collect();
    for round in 1..=plan.rounds {
        let mut rates = BTreeMap::new();
        for (mode, row) in chosen.iter().zip(&mut rows) {
            eprintln!("round {round} of {}: {}", plan.rounds, mode.describe());
            let figures = match one(plan, mode, &rates).await {
                Ok(Some(figures)) => figures,
                Ok(None) => continue,
                Err(error) => {
                    eprintln!("error: {}: {error}", mode.name);
                    failed.push(mode.name);
                    continue;
                }
            };
            rates.insert(mode.name, figures.rate());
            if plan.format == Format::Json {
                println!("{}", row.to_json(round, &figures));
            }
            row.rounds.push(figures);
        }
    }
    if plan.format == Format::Text {
        report::print(&rows);
    }
    if failed.is_empty() { Ok(()) } else { Err(format!("failed: {}", failed.join(", "))) }
}

/// Runs a mode once; none where what it needs is not installed.
async fn one(
    plan: &Plan,
    mode: &Mode,
    rates: &BTreeMap<&str, f64>,
) -> Result<Option<Figures>, String> {
    let messages = (plan.messages as f64 * mode.times) as u64;
    match mode.job {
        Job::Buffered(work) => buffered(plan, work, messages).await.map(Some),
        Job::Direct => direct(plan, messages).await.map(Some),
        Job::Fdatasync => fdatasync(plan, messages).map(Some),
        Job::Lines(how) => lines(how, messages),
        Job::Nats(kept, batched) => nats(plan, kept, batched, messages).await,
        Job::Proxy(kind) => proxy(plan, kind, messages).await,
        Job::Rabbitmq(queue, batched) => rabbitmq(plan, queue, batched, messages).await,
        Job::Reading(what) => reading(plan, what, messages).await.map(Some),
        Job::Redis(batched) => redis(plan, batched, messages).await,
        Job::Rollcall(setup) => {
            let rate = mode.rests_on().and_then(|of| rates.get(of)).copied().unwrap_or_default();
            rollcall(plan, &setup, messages, rate).await.map(Some)
        }
    }
}

/// What the client process says.
#[derive(Debug)]
pub(super) struct Sent {
    pub(super) seconds: f64,
    /// Of requests, in milliseconds at 50 %, 99 % and 99.9 %.
    pub(super) latencies: [f64; 3],
    pub(super) cpu: f64,
    /// Requests that were refused and sent again.
    pub(super) refused: u64,
    /// Over which message has which place.
    pub(super) sum: String,
}

/// Runs a client process to its end.
pub(super) fn send(load: &Load) -> Result<Sent, String> {
    send_from(load, || ())
}

/// The same; `connected` is called when all its connections are there, just before it sends.
pub(super) fn send_from(load: &Load, connected: impl FnOnce()) -> Result<Sent, String> {
    let me = std::env::current_exe().map_err(|error| error.to_string())?;
    let mut child = Command::new(me)
        .args(load.arguments())
        .stdout(Stdio::piped())
        .spawn()
        .map_err(|error| error.to_string())?;
    let mut text = String::new();
    let mut out = BufReader::new(child.stdout.take().ok_or("no output")?);
    out.read_line(&mut text).map_err(|error| error.to_string())?;
    connected();
    text.clear();
    out.read_to_string(&mut text).map_err(|error| error.to_string())?;
    let status = child.wait().map_err(|error| error.to_string())?;
    if !status.success() {
        return Err(format!("the client failed: {text}"));
    }
    let said: Value = serde_json::from_str(&text).map_err(|error| error.to_string())?;
    let number = |value: &Value| value.as_f64().unwrap_or_default();
    Ok(Sent {
        seconds: number(&said["seconds"]),
        latencies: [0, 1, 2].map(|index| number(&said["latencies_ms"][index])),
        cpu: number(&said["cpu"]),
        refused: said["refused"].as_u64().unwrap_or_default(),
        sum: said["sum"].as_str().unwrap_or_default().to_owned(),
    })
}

/// The plan's worker processes.
pub(super) fn start_workers(plan: &Plan, work: Work) -> Result<Vec<Process>, String> {
    let line = format!(
        "worker --ports {} --work-us {} --slow-percent {}",
        work.ports.max(1),
        work.work_us,
        work.slow_percent
    );
    (0..plan.workers).map(|_| part(&words(&line))).collect()
}

/// A loop that posts results to the destination, one after the other: what order costs there.
async fn direct(plan: &Plan, messages: u64) -> Result<Figures, String> {
    let mut sink = part(&words(&format!("sink --bytes {}", plan.bytes)))?;
    sink.begin();
    let client = send(&Load::new(sink.url(), To::Sink, messages, plan.bytes))?;
    delivered(&sink, &client, messages).await?;
    Ok(Figures {
        messages,
        seconds: client.seconds,
        latency: Latency::Request(client.latencies),
        cpu: vec![("client", client.cpu), ("destination", sink.cpu_seconds())],
        peak_mib: 0.0,
        refused: 0,
        more: Vec::new(),
    })
}

/// What one message alone costs the disk: written over zeros that are there already.
fn fdatasync(plan: &Plan, messages: u64) -> Result<Figures, String> {
    let directory = tempfile::tempdir().map_err(|error| error.to_string())?;
    let file = File::create(directory.path().join("log")).map_err(|error| error.to_string())?;
    let block = vec![0; plan.bytes.max(1)];
    let place = |number: u64| number * block.len() as u64;
    for number in 0..messages {
        file.write_all_at(&block, place(number)).map_err(|error| error.to_string())?;
    }
    file.sync_all().map_err(|error| error.to_string())?;
    let block = vec![1; block.len()];
    let mut took = Vec::new();
    let started = now_ns();
    for number in 0..messages {
        let before = now_ns();
        file.write_all_at(&block, place(number)).map_err(|error| error.to_string())?;
        file.sync_data().map_err(|error| error.to_string())?;
        took.push(now_ns() - before);
        super::load::sleep(Duration::from_millis(5));
    }
    let seconds = (now_ns() - started) as f64 / 1e9;
    took.sort_unstable();
    let latency = Latency::Request(shares(&took));
    Ok(Figures {
        messages,
        seconds,
        latency,
        cpu: Vec::new(),
        peak_mib: 0.0,
        refused: 0,
        more: Vec::new(),
    })
}
