//! What brokers that do this job have in common here: a server, workers, a destination that can
//! be asked what it has, and the client.

use super::{
    body::now_ns,
    load::{Load, To},
    modes::Batched,
    processes::{Process, all_cpu_seconds},
    report::{Figures, Latency},
    rollcall::delivered,
    run::{Plan, send_from},
};

/// Connections, and messages on their way on each, where many are sent at a time.
pub(super) const MANY: (usize, u64) = (8, 500);

/// A broker with all its processes, ready.
#[derive(Debug)]
pub(super) struct Broker {
    pub(super) name: &'static str,
    /// How it is spoken to.
    pub(super) to: To,
    /// What [`Batched::Yes`] means for it: connections, and messages on each.
    pub(super) many: (usize, u64),
    pub(super) server: Process,
    pub(super) sink: Process,
    pub(super) workers: Vec<Process>,
}

/// Sends, waits until all is delivered, and counts.
pub(super) async fn finish(
    plan: &Plan,
    mut all: Broker,
    batched: Batched,
    messages: u64,
) -> Result<Figures, String> {
    let (connections, batch) = match batched {
        Batched::No => (plan.connections, 1),
        Batched::Yes => all.many,
    };
    let load = Load::new(all.server.url(), all.to, messages, plan.bytes);
    let load = Load { connections, batch, ..load };
    let mut started = 0;
    let client = send_from(&load, || {
        let processes = [&mut all.server, &mut all.sink].into_iter().chain(&mut all.workers);
        processes.for_each(Process::begin);
        started = now_ns();
    })?;
    delivered(&all.sink, &client, messages).await?;
    Ok(Figures {
        messages,
        seconds: (now_ns() - started) as f64 / 1e9,
        latency: Latency::Request(client.latencies),
        cpu: vec![
            (all.name, all.server.cpu_seconds()),
            ("client", client.cpu),
            ("workers", all_cpu_seconds(&all.workers)),
            ("destination", all.sink.cpu_seconds()),
        ],
        peak_mib: all.server.peak_mib(),
        refused: 0,
        more: Vec::new(),
    })
}
