//! Plain proxies before the same workers, with the same client: one hop, unordered, nothing kept.

use std::{fmt::Write as _, path::Path};

use super::{
    load::{Load, To},
    modes::Proxy,
    processes::{Process, all_cpu_seconds, free_port, on_path, wait_listening},
    report::{Figures, Latency},
    run::{Plan, send, start_workers},
};

/// Runs it once; none where it is not installed.
pub(super) async fn proxy(
    plan: &Plan,
    kind: Proxy,
    messages: u64,
) -> Result<Option<Figures>, String> {
    let name = match kind {
        Proxy::Haproxy => "haproxy",
        Proxy::Nginx => "nginx",
    };
    let Some(program) = on_path(name) else { return Ok(None) };
    let mut workers = start_workers(plan, super::endpoints::Work::default())?;
    let directory = tempfile::tempdir().map_err(|error| error.to_string())?;
    let port = free_port()?;
    let (text, flag) = match kind {
        Proxy::Haproxy => (haproxy(port, &workers), "-f"),
        Proxy::Nginx => (nginx(directory.path(), port, &workers), "-c"),
    };
    let config = directory.path().join("proxy.conf");
    std::fs::write(&config, text).map_err(|error| error.to_string())?;
    let config = config.display().to_string();
    let url = format!("http://127.0.0.1:{port}");
    let mut process = Process::start_silent(&program, &[flag, &config], url)?;
    wait_listening(port).await?;
    process.begin();
    workers.iter_mut().for_each(Process::begin);
    let client = send(&Load {
        connections: plan.connections,
        ..Load::new(process.url(), To::Proxy, messages, plan.bytes)
    })?;
    Ok(Some(Figures {
        messages,
        seconds: client.seconds,
        latency: Latency::Request(client.latencies),
        cpu: vec![
            (name, process.cpu_seconds()),
            ("client", client.cpu),
            ("workers", all_cpu_seconds(&workers)),
        ],
        peak_mib: process.peak_mib(),
        refused: 0,
        more: Vec::new(),
    }))
}

/// The addresses of workers, as `host:port`.
fn addresses(workers: &[Process]) -> impl Iterator<Item = &str> {
    workers.iter().flat_map(|worker| &worker.urls).map(|url| url.trim_start_matches("http://"))
}

fn haproxy(port: u16, workers: &[Process]) -> String {
    let mut text = format!(
        "global\n maxconn 8192\n nbthread 2\n\
         defaults\n mode http\n timeout connect 5s\n timeout client 60s\n timeout server 60s\n\
         frontend f\n bind 127.0.0.1:{port}\n default_backend b\n\
         backend b\n balance random\n http-reuse always\n"
    );
    for (number, address) in addresses(workers).enumerate() {
        let _ = writeln!(text, " server w{number} {address}");
    }
    text
}

fn nginx(directory: &Path, port: u16, workers: &[Process]) -> String {
    let place = directory.display();
    let servers: String = addresses(workers).map(|address| format!("server {address};")).collect();
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
