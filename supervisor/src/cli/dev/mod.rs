//! `dev`: everything in one process, with throw-away data and traffic that one can watch.

use std::{
    io::{self, Write as _},
    path::PathBuf,
    process::ExitCode,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use axum::{Router, extract::State, routing::post};
use clap::Args;
use http::{HeaderMap, HeaderName, StatusCode};
use rollcall_common::{
    client::Client,
    files,
    net::Network,
    protocol, seed,
    shutdown::{Phase, Shutdown},
    task,
    telemetry::{self, LogFormat},
};
use rollcall_worker::{Reply, Request, Running as RunningWorker, Worker, from_fn};
use serde_json::Value;
use tokio::sync::mpsc;

use self::{
    screen::Screen,
    watch::{Delivery, Setup, Watch, lock},
};
use super::{Failure, span};
use crate::{
    app,
    config::{Config, Overrides, Subscription},
    ingress::listener::{self, Front},
};

mod screen;
mod watch;

/// The stream that the traffic goes to.
const STREAM: &str = "demo";
/// One message in so many takes four times as long.
const STRAGGLERS: u32 = 20;
/// One attempt in so many fails.
const FAILURES: u32 = 25;

/// What `dev` is told.
#[derive(Args, Debug)]
pub(super) struct Options {
    /// How many workers
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u16).range(1..=1000))]
    workers: u16,
    /// How often a message is sent
    #[arg(long, default_value = "250ms", value_parser = interval)]
    every: Duration,
    /// How long a message takes to process
    #[arg(long, default_value = "750ms", value_parser = span)]
    work: Duration,
    /// Stop after so many messages; until then, Ctrl-C stops it
    #[arg(long)]
    messages: Option<u64>,
    /// Where to listen
    #[arg(long, default_value = "127.0.0.1:7400")]
    listen: String,
}

fn interval(text: &str) -> Result<Duration, String> {
    let every = span(text)?;
    if every.is_zero() { Err("has to be longer than nothing".to_owned()) } else { Ok(every) }
}

pub(super) async fn run(options: &Options) -> Result<ExitCode, Failure> {
    telemetry::init(LogFormat::Text, "warn");
    let (trigger, shutdown) = Shutdown::new();
    trigger.clone().on_signals()?;
    let data = Scratch::new()?;
    let (delivered, mut arrivals) = mpsc::channel(1024);
    let destination = start_destination(delivered, shutdown.clone()).await?;
    let config = configure(options, &data.0, &destination)?;
    let running = app::start(config, shutdown.clone(), trigger.clone()).await?;
    let supervisor = format!("http://{}", running.address());
    let workers = start_workers(options, &supervisor).await?;
    announce(options, &supervisor, &destination, &workers, &data.0)?;
    let client = Client::new(&supervisor, None)?;
    let watch = Arc::new(Mutex::new(Watch::new()));
    let traffic = task::spawn(
        "traffic",
        send_traffic(client.clone(), options.clone_pace(), Arc::clone(&watch), shutdown.clone()),
    );
    let screen = Screen::new();
    let mut ending = shutdown.clone();
    let mut tick = tokio::time::interval(Duration::from_millis(100));
    loop {
        tokio::select! {
            Some(delivery) = arrivals.recv() => {
                let line = lock(&watch).delivered(&delivery);
                if screen.line(&line).is_err() {
                    // Whoever read along has gone.
                    trigger.advance(Phase::Draining);
                }
            }
            _ = tick.tick() => screen.status(&client, &watch).await?,
            () = ending.reached(Phase::Draining) => break,
        }
        if traffic.is_finished() && lock(&watch).is_done() {
            trigger.advance(Phase::Draining);
        }
    }
    screen.clear();
    // The workers first: what they have in hand is still taken in.
    for worker in workers {
        worker.drain().await;
    }
    running.finished().await?;
    while let Ok(delivery) = arrivals.try_recv() {
        let line = lock(&watch).delivered(&delivery);
        // Err: as above.
        let _ = screen.line(&line);
    }
    lock(&watch).summary(Setup { work: options.work, every: options.every })
}

#[derive(Clone, Copy, Debug)]
struct Pace {
    every: Duration,
    messages: Option<u64>,
}

impl Options {
    fn clone_pace(&self) -> Pace {
        Pace { every: self.every, messages: self.messages }
    }
}

/// A directory that goes when the process does.
struct Scratch(PathBuf);

impl Scratch {
    fn new() -> io::Result<Self> {
        let name = format!("rollcall-dev-{}-{:08x}", std::process::id(), seed::seed());
        let path = std::env::temp_dir().join(name);
        files::create_folder(&path)?;
        Ok(Self(path))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // What can't be removed stays in the system's temporary directory.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn configure(
    options: &Options,
    data: &std::path::Path,
    destination: &str,
) -> Result<Config, Failure> {
    let overrides =
        Overrides { listen: Some(options.listen.clone()), data: Some(data.join("journal")) };
    let mut config =
        Config::load(None, [], overrides).map_err(|error| Failure::usage(error.to_string()))?;
    let target = destination.parse().map_err(|error| Failure::usage(format!("{error}")))?;
    config.subscriptions.push(Subscription::new("destination", vec![target]));
    Ok(config)
}

async fn start_destination(
    delivered: mpsc::Sender<Delivery>,
    shutdown: Shutdown,
) -> Result<String, Failure> {
    let any = std::net::SocketAddr::from(([127, 0, 0, 1], 0));
    let listener = Network::default().listen(any).await?;
    let address = listener.local_addr()?;
    let router = Router::new().route("/", post(receive)).with_state(delivered);
    task::spawn("destination", listener::serve(listener, Front::open(router), shutdown));
    Ok(format!("http://{address}/"))
}

async fn receive(
    State(delivered): State<mpsc::Sender<Delivery>>,
    headers: HeaderMap,
) -> StatusCode {
    let text = |name: HeaderName| {
        headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    };
    let delivery = Delivery {
        stream: text(protocol::STREAM).to_owned(),
        sequence: text(protocol::SEQUENCE).parse().unwrap_or_default(),
        previous: text(protocol::PREVIOUS_SEQUENCE).parse().unwrap_or_default(),
        replay: text(protocol::REPLAY) == "true",
    };
    // Err: nobody watches any more.
    let _ = delivered.send(delivery).await;
    StatusCode::NO_CONTENT
}

async fn start_workers(options: &Options, supervisor: &str) -> Result<Vec<RunningWorker>, Failure> {
    let mut workers = Vec::new();
    for number in 1..=options.workers {
        let work = options.work;
        let rng = Arc::new(Mutex::new(fastrand::Rng::with_seed(seed::seed())));
        let handler = from_fn(move |request: Request| {
            let rng = Arc::clone(&rng);
            async move {
                let (straggles, fails) = {
                    let mut rng = rng.lock().unwrap_or_else(PoisonError::into_inner);
                    (rng.u32(0..STRAGGLERS) == 0, rng.u32(0..FAILURES) == 0)
                };
                tokio::time::sleep(if straggles { work * 4 } else { work }).await;
                if fails { Reply::retry("made up for the trial") } else { Reply::ok(request.body) }
            }
        });
        let worker = Worker::new(handler).id(format!("worker-{number}")).supervisor(supervisor);
        workers.push(worker.start().await?);
    }
    Ok(workers)
}

fn announce(
    options: &Options,
    supervisor: &str,
    destination: &str,
    workers: &[RunningWorker],
    data: &std::path::Path,
) -> io::Result<()> {
    let mut out = io::stdout().lock();
    writeln!(out, "Rollcall dev: throw-away data, not for production\n")?;
    writeln!(out, "  supervisor   {supervisor}")?;
    for worker in workers {
        writeln!(out, "  {:<12} {}", worker.id(), worker.url())?;
    }
    writeln!(out, "  destination  {destination}")?;
    writeln!(out, "  data         {}\n", data.display())?;
    writeln!(
        out,
        "One message every {:?} to the stream {STREAM:?}; each takes {:?}, one in\n\
         {STRAGGLERS} four times as long; one attempt in {FAILURES} fails. Ctrl-C ends it. \
         Try meanwhile:\n\n  \
         supervisor streams --url {supervisor}\n  \
         curl -d hello -H 'Prefer: wait=5' {supervisor}/v1/streams/mine/messages\n",
        options.every, options.work
    )
}

async fn send_traffic(
    client: Client,
    pace: Pace,
    watch: Arc<Mutex<Watch>>,
    mut shutdown: Shutdown,
) {
    let mut tick = tokio::time::interval(pace.every);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let path = format!("/v1/streams/{STREAM}/messages");
    let mut number = 0;
    while pace.messages.is_none_or(|most| number < most) {
        tokio::select! {
            _ = tick.tick() => {}
            () = shutdown.reached(Phase::Draining) => return,
        }
        number += 1;
        let sent = client.post(&path, "text/plain", format!("message {number}")).await;
        let answer = match sent {
            Ok(response) => response.json::<Value>().await.unwrap_or_default(),
            Err(error) => {
                tracing::warn!(%error, "a message was not taken in");
                continue;
            }
        };
        if let Some(sequence) = answer.get("sequence").and_then(Value::as_u64) {
            lock(&watch).accepted(sequence);
        }
    }
}
