//! Redis doing this very job: messages and results in streams, consumers that work, a script that
//! releases in order, and `appendfsync always`. Workers and the destination take many at a time.

use std::sync::{Arc, Mutex, PoisonError};

use rollcall_common::task;

use super::{
    body::work_on,
    endpoints::{asked, serve_text},
    load::To,
    modes::Batched,
    peers::{Broker, MANY, finish},
    processes::{Process, free_port, on_path, part, wait_listening, words},
    report::Figures,
    resp::{RELEASE, Resp, TAKE_IN},
    run::Plan,
    sink_checker::Seen,
};

/// Runs it once; none where it is not installed.
pub(super) async fn redis(
    plan: &Plan,
    batched: Batched,
    messages: u64,
) -> Result<Option<Figures>, String> {
    let Some(program) = on_path("redis-server") else { return Ok(None) };
    let directory = tempfile::tempdir().map_err(|error| error.to_string())?;
    let (port, place) = (free_port()?, directory.path().display());
    let line = format!(
        "--port {port} --bind 127.0.0.1 --dir {place} --save  --appendonly yes \
         --appendfsync always --stop-writes-on-bgsave-error no --auto-aof-rewrite-percentage 0"
    );
    // `--save` takes an empty word.
    let arguments: Vec<&str> = line.split(' ').collect();
    let address = format!("127.0.0.1:{port}");
    let server = Process::start_silent(&program, &arguments, address.clone())?;
    wait_listening(port).await?;
    let mut redis = Resp::connect(&address).await?;
    redis.ask_line("XGROUP CREATE in pool 0 MKSTREAM").await?;
    redis.know(TAKE_IN).await?;
    let bytes = plan.bytes;
    let sink = part(&words(&format!("redis-sink --address {address} --bytes {bytes}")))?;
    let worker = words(&format!("redis-worker --address {address}"));
    let workers: Result<Vec<Process>, String> = (0..plan.workers).map(|_| part(&worker)).collect();
    let all = Broker { name: "redis", to: To::Redis, many: MANY, server, sink, workers: workers? };
    finish(plan, all, batched, messages).await.map(Some)
}

/// A worker: takes what there is, works, and hands the results to the script.
///
/// # Errors
/// When the server is gone.
pub async fn redis_worker(address: &str) -> Result<(), String> {
    let mut redis = Resp::connect(address).await?;
    let release = redis.know(RELEASE).await?;
    let read =
        format!("XREADGROUP GROUP pool w{} COUNT 256 BLOCK 1000 STREAMS in >", std::process::id());
    println!("worker of http://{address}");
    loop {
        let taken = redis.ask_line(&read).await?;
        let done: Vec<Vec<u8>> = taken
            .entries()
            .flat_map(|(place, body)| [place.to_string().into_bytes(), work_on(body)])
            .collect();
        if !done.is_empty() {
            redis.run(&release, &done).await?;
        }
    }
}

/// A destination: reads what is released, and trims it away.
///
/// # Errors
/// When the server is gone.
pub async fn redis_sink(address: &str, bytes: usize) -> Result<(), String> {
    let mut redis = Resp::connect(address).await?;
    let seen = Arc::new(Mutex::new(Seen::new(bytes)));
    let shown = Arc::clone(&seen);
    let showing = serve_text(move |path| asked(&shown, path));
    let showing = task::spawn("asked", showing);
    let mut last = 0;
    while !showing.is_finished() {
        let read = format!("XREAD COUNT 256 BLOCK 1000 STREAMS out {last}-0");
        let released = redis.ask_line(&read).await?;
        let before = last;
        for (place, result) in released.entries() {
            seen.lock().unwrap_or_else(PoisonError::into_inner).take(0, place, result);
            last = place;
        }
        if last > before {
            redis.ask_line(&format!("XTRIM out MINID {}", last + 1)).await?;
        }
    }
    Err("nobody can ask".to_owned())
}
