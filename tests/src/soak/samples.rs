//! What the process looks like, every ten seconds, and whether anything of it grows.

use std::{fs, path::Path, time::Duration};

use super::{Soak, lock};
use crate::harness::Supervisor;

/// Looks that make one line of the table: a minute.
const MINUTE: usize = 6;
/// Of the first minute, in per cent, the most that the last one may have, and the least of what it
/// must get done.
const MOST: u64 = 200;
const LEAST: u64 = 80;

/// One look.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Sample {
    seconds: u64,
    rss_kib: u64,
    files: u64,
    threads: u64,
    tasks: u64,
    disk_kib: u64,
    sent: u64,
}

impl Sample {
    /// Looks.
    pub(super) async fn take(soak: &Soak, supervisor: &Supervisor, at: Duration) -> Self {
        let process = supervisor.process();
        let entries = |name: &str| {
            let folder = fs::read_dir(format!("/proc/{}/{name}", process.id()));
            folder.map_or(0, |entries| entries.count() as u64)
        };
        Self {
            seconds: at.as_secs(),
            rss_kib: process.resident_bytes() / 1024,
            files: entries("fd"),
            threads: entries("task"),
            tasks: supervisor.metric("rollcall_tasks").await,
            disk_kib: bytes(soak.setup.data()) / 1024,
            sent: soak.producers.iter().map(|producer| lock(producer).next).sum(),
        }
    }
}

/// Bytes of the files in a folder.
fn bytes(folder: &Path) -> u64 {
    let entries = fs::read_dir(folder).into_iter().flatten().filter_map(Result::ok);
    let sizes = entries.filter_map(|entry| {
        let about = entry.metadata().ok()?;
        Some(if about.is_dir() { bytes(&entry.path()) } else { about.len() })
    });
    sizes.sum()
}

/// A minute: the means, and the messages that were acknowledged in it.
fn minute(looks: &[Sample], before: u64) -> Sample {
    let mean = |of: fn(&Sample) -> u64| looks.iter().map(of).sum::<u64>() / looks.len() as u64;
    let last = looks.last().copied().unwrap_or_default();
    Sample {
        seconds: last.seconds,
        rss_kib: mean(|one| one.rss_kib),
        files: mean(|one| one.files),
        threads: mean(|one| one.threads),
        tasks: mean(|one| one.tasks),
        disk_kib: mean(|one| one.disk_kib),
        sent: last.sent - before,
    }
}

/// Prints the minutes; whether the last one is about as the second (in the first one all is new).
pub(super) fn print(samples: &[Sample]) -> bool {
    let mut before = 0;
    let mut minutes = Vec::new();
    for looks in samples.chunks_exact(MINUTE) {
        minutes.push(minute(looks, before));
        before = looks.last().map_or(before, |last| last.sent);
    }
    println!(
        "| until | RSS | files | threads | tasks | disk | messages |\n|---|---|---|---|---|---|---|"
    );
    for one in &minutes {
        let Sample { seconds, rss_kib, files, threads, tasks, disk_kib, sent } = one;
        println!(
            "| {seconds} s | {rss_kib} KiB | {files} | {threads} | {tasks} | {disk_kib} KiB | \
             {sent} |"
        );
    }
    let (Some(first), Some(last)) = (minutes.get(1), minutes.last()) else {
        println!("too short to compare its minutes");
        return true;
    };
    let mut good = true;
    for (what, first, last) in [
        ("RSS", first.rss_kib, last.rss_kib),
        ("files", first.files, last.files),
        ("threads", first.threads, last.threads),
        ("tasks", first.tasks, last.tasks),
        ("disk", first.disk_kib, last.disk_kib),
    ] {
        let percent = last * 100 / first.max(1);
        println!("{what}: the last minute has {percent} % of the second one's");
        good &= percent <= MOST;
    }
    let percent = last.sent * 100 / first.sent.max(1);
    println!("messages: the last minute has {percent} % of the second one's");
    good && percent >= LEAST
}
