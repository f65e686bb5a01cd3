//! NATS JetStream doing as much of this job as it can: a stream of messages, a consumer shared by
//! the workers, a stream of results. It releases nothing in order, so the destination puts the
//! results in order itself, in its memory.

use std::sync::{Arc, Mutex, PoisonError};

use rollcall_common::task;

use super::{
    body::work_on,
    endpoints::{asked, serve_text},
    load::To,
    modes::{Batched, Kept},
    nats_wire::{Answered, Nats},
    peers::{Broker, MANY, finish},
    processes::{Process, free_port, on_path, part, wait_listening, words},
    report::Figures,
    run::Plan,
    sink_checker::Seen,
    sorter::Sorter,
};

/// Messages that a worker or a destination takes at a time.
const TAKEN: u64 = 256;
/// Digits of the place before a result.
const PLACE: usize = 16;

/// Runs it once; none where it is not installed.
pub(super) async fn nats(
    plan: &Plan,
    kept: Kept,
    batched: Batched,
    messages: u64,
) -> Result<Option<Figures>, String> {
    let Some(program) = on_path("nats-server") else { return Ok(None) };
    let directory = tempfile::tempdir().map_err(|error| error.to_string())?;
    let (port, place) = (free_port()?, directory.path().display());
    let sync = match kept {
        Kept::Always => "always",
        Kept::Later => "2m",
    };
    let config = directory.path().join("nats.conf");
    let text = format!(
        "listen: \"127.0.0.1:{port}\"\njetstream {{ store_dir: \"{place}\", \
         sync_interval: {sync} }}\n"
    );
    std::fs::write(&config, text).map_err(|error| error.to_string())?;
    let address = format!("127.0.0.1:{port}");
    let config = config.display().to_string();
    let server = Process::start_silent(&program, &["-c", &config], address.clone())?;
    wait_listening(port).await?;
    prepare(&address).await?;
    let bytes = plan.bytes;
    let sink = part(&words(&format!("nats-sink --address {address} --bytes {bytes}")))?;
    let worker = words(&format!("nats-worker --address {address}"));
    let workers: Result<Vec<Process>, String> = (0..plan.workers).map(|_| part(&worker)).collect();
    let all = Broker { name: "nats", to: To::Nats, many: MANY, server, sink, workers: workers? };
    finish(plan, all, batched, messages).await.map(Some)
}

async fn prepare(address: &str) -> Result<(), String> {
    let mut nats = Nats::connect(address).await?;
    for (stream, subject) in [("IN", "in"), ("OUT", "out")] {
        let config = format!(
            r#"{{"name":"{stream}","subjects":["{subject}"],"storage":"file","num_replicas":1}}"#
        );
        nats.ask(&format!("$JS.API.STREAM.CREATE.{stream}"), &config).await?;
        let consumer = r#""durable_name":"all","ack_policy":"explicit","max_ack_pending":4096"#;
        let config = format!(r#"{{"stream_name":"{stream}","config":{{{consumer}}}}}"#);
        nats.ask(&format!("$JS.API.CONSUMER.DURABLE.CREATE.{stream}.all"), &config).await?;
    }
    Ok(())
}

/// A worker: takes what there is, works, and keeps the results before it is done with it.
///
/// # Errors
/// When the server is gone.
pub async fn nats_worker(address: &str) -> Result<(), String> {
    let mut nats = Nats::connect(address).await?;
    println!("worker of http://{address}");
    loop {
        let taken = nats.pull("IN.all", TAKEN).await?;
        let results: Vec<Vec<u8>> = taken
            .iter()
            .map(|came| {
                let place = place_of(&came.reply);
                [format!("{place:0PLACE$}").into_bytes(), work_on(&came.body)].concat()
            })
            .collect();
        nats.store("out", &results).await?;
        for came in &taken {
            nats.publish(&came.reply, Answered::No, b"").await?;
        }
        nats.flush().await?;
    }
}

/// A destination that puts results in order.
///
/// # Errors
/// When the server is gone.
pub async fn nats_sink(address: &str, bytes: usize) -> Result<(), String> {
    let mut nats = Nats::connect(address).await?;
    let seen = Arc::new(Mutex::new(Seen::new(bytes)));
    let shown = Arc::clone(&seen);
    let showing = task::spawn("asked", serve_text(move |path| asked(&shown, path)));
    let mut sorter = Sorter::new();
    while !showing.is_finished() {
        let results = nats.pull("OUT.all", TAKEN).await?;
        for came in results {
            nats.publish(&came.reply, Answered::No, b"").await?;
            let place = came.body.get(..PLACE).and_then(|place| str::from_utf8(place).ok());
            let place = place.and_then(|place| place.parse::<u64>().ok()).unwrap_or_default();
            sorter.put(place, came.body);
        }
        nats.flush().await?;
        sorter.pass(&mut seen.lock().unwrap_or_else(PoisonError::into_inner), PLACE);
    }
    Err("nobody can ask".to_owned())
}

/// The place of a message in its stream, from where it is to be acknowledged:
/// `$JS.ACK.STREAM.CONSUMER.tries.place.…`.
fn place_of(reply: &str) -> u64 {
    reply.split('.').nth(5).and_then(|place| place.parse().ok()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_read_from_where_to_acknowledge() {
        assert_eq!(place_of("$JS.ACK.IN.all.1.77.5.1700000000000000000.0"), 77);
    }
}
