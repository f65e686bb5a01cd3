//! RabbitMQ doing as much of this job as it can: a durable queue of messages, workers that consume
//! from it, a durable queue of results, and a confirm for all that goes in. It tells nobody a
//! place, and puts nothing back in order after parallel work: so the client's numbers are the
//! places, and the destination puts the results in order itself, in its memory.

use std::{
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use rollcall_common::task;

use super::{
    amqp::Amqp,
    body::{Checker, work_on},
    endpoints::{asked, serve_text},
    load::To,
    modes::{Batched, Queue},
    peers::{Broker, finish},
    processes::{Process, free_port, on_path, part, wait_listening, words},
    report::Figures,
    run::Plan,
    sink_checker::Seen,
    sorter::Sorter,
};

/// Where Debian has the script itself; on the search path is one that changes the user.
const SCRIPT: &str = "/usr/lib/rabbitmq/bin/rabbitmq-server";
/// Messages that a worker or a destination takes at a time.
const TAKEN: usize = 256;
/// Messages that a worker or a destination may have at once, so that the next are there already.
const AHEAD: u16 = 512;

/// One connection, as suits it best: eight with 500 on their way each make a sixth less.
const MANY: (usize, u64) = (1, 256);

/// Runs it once; none where it is not installed.
pub(super) async fn rabbitmq(
    plan: &Plan,
    queue: Queue,
    batched: Batched,
    messages: u64,
) -> Result<Option<Figures>, String> {
    let script = Some(PathBuf::from(SCRIPT)).filter(|script| script.exists());
    let script = script.or_else(|| on_path("rabbitmq-server"));
    let Some((script, names)) = script.zip(on_path("epmd")) else { return Ok(None) };
    let directory = tempfile::tempdir().map_err(|error| error.to_string())?;
    let (port, names_port) = (free_port()?, free_port()?);
    let address = format!("127.0.0.1:{port}");
    let environment = environment(directory.path(), port, names_port)?;
    // Erlang's register of names, which it would start, and leave running, by itself.
    let names = Process::start_apart(&names, &environment, format!("127.0.0.1:{names_port}"))?;
    wait_listening(names_port).await?;
    let server = Process::start_apart(&script, &environment, address.clone())?;
    prepare(&address, queue).await?;
    let bytes = plan.bytes;
    let sink = part(&words(&format!("rabbitmq-sink --address {address} --bytes {bytes}")))?;
    let worker = words(&format!("rabbitmq-worker --address {address}"));
    let workers: Result<Vec<Process>, String> = (0..plan.workers).map(|_| part(&worker)).collect();
    let all =
        Broker { name: "rabbitmq", to: To::Rabbitmq, many: MANY, server, sink, workers: workers? };
    let figures = finish(plan, all, batched, messages).await;
    drop(names);
    figures.map(Some)
}

/// A node of its own: its files in `directory`, its ports on this machine only, and nothing of
/// what is set for other nodes.
fn environment(
    directory: &Path,
    port: u16,
    names_port: u16,
) -> Result<Vec<(&'static str, String)>, String> {
    let place = directory.display();
    for (file, text) in [("env.conf", ""), ("rabbitmq.conf", ""), ("plugins", "[].\n")] {
        std::fs::write(directory.join(file), text).map_err(|error| error.to_string())?;
    }
    let here = "127.0.0.1".to_owned();
    Ok(vec![
        ("HOME", place.to_string()),
        ("LANG", "C.UTF-8".to_owned()),
        // The script becomes the server, instead of waiting for it.
        ("RUNNING_UNDER_SYSTEMD", "true".to_owned()),
        ("ERL_EPMD_ADDRESS", here.clone()),
        ("ERL_EPMD_PORT", names_port.to_string()),
        ("RABBITMQ_NODENAME", "bench@localhost".to_owned()),
        ("RABBITMQ_NODE_IP_ADDRESS", here),
        ("RABBITMQ_NODE_PORT", port.to_string()),
        ("RABBITMQ_DIST_PORT", free_port()?.to_string()),
        ("RABBITMQ_MNESIA_BASE", format!("{place}/data")),
        ("RABBITMQ_LOG_BASE", format!("{place}/log")),
        ("RABBITMQ_CONF_ENV_FILE", format!("{place}/env.conf")),
        ("RABBITMQ_CONFIG_FILE", format!("{place}/rabbitmq.conf")),
        ("RABBITMQ_ENABLED_PLUGINS_FILE", format!("{place}/plugins")),
        (
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS",
            "-kernel inet_dist_use_interface {127,0,0,1}".to_owned(),
        ),
    ])
}

/// Waits until it answers, and makes the queues.
async fn prepare(address: &str, queue: Queue) -> Result<(), String> {
    let kind = match queue {
        Queue::Classic => "classic",
        Queue::Quorum => "quorum",
    };
    let mut last = String::new();
    for _ in 0..1200 {
        match Amqp::connect(address).await {
            Ok(mut amqp) => {
                for queue in ["in", "out"] {
                    amqp.declare(queue, &[("x-queue-type", kind)]).await?;
                }
                return Ok(());
            }
            Err(error) => last = error,
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    Err(format!("RabbitMQ does not answer: {last}"))
}

/// A worker: takes what there is, works, and has the results kept before it is done with it.
///
/// # Errors
/// When the server is gone.
pub async fn rabbitmq_worker(address: &str) -> Result<(), String> {
    let mut amqp = Amqp::connect(address).await?;
    amqp.consume("in", AHEAD).await?;
    println!("worker of http://{address}");
    loop {
        let taken = amqp.take(TAKEN).await?;
        let results: Vec<Vec<u8>> = taken.iter().map(|came| work_on(&came.body)).collect();
        amqp.store("out", &results).await?;
        if let Some(last) = taken.last() {
            amqp.acknowledge(last.tag);
        }
    }
}

/// A destination that puts results in order, by the numbers in them.
///
/// # Errors
/// When the server is gone.
pub async fn rabbitmq_sink(address: &str, bytes: usize) -> Result<(), String> {
    let mut amqp = Amqp::connect(address).await?;
    amqp.consume("out", AHEAD).await?;
    let seen = Arc::new(Mutex::new(Seen::new(bytes)));
    let shown = Arc::clone(&seen);
    let showing = task::spawn("asked", serve_text(move |path| asked(&shown, path)));
    let (checker, mut sorter) = (Checker::new(bytes), Sorter::new());
    while !showing.is_finished() {
        let results = amqp.take(TAKEN).await?;
        if let Some(last) = results.last() {
            amqp.acknowledge(last.tag);
        }
        let mut seen = seen.lock().unwrap_or_else(PoisonError::into_inner);
        for came in results {
            match checker.read(&came.body) {
                Some((number, _)) => sorter.put(number + 1, came.body),
                None => seen.note(format!("{} is no result", came.tag)),
            }
        }
        sorter.pass(&mut seen, 0);
    }
    Err("nobody can ask".to_owned())
}
