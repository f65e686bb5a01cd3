//! Too little memory, too little time (F-06, F-07), by control groups of version 1.

use serde_json::json;
use tests::{
    harness::{Setup, Supervisor, WorkerProcess, scale, until},
    peers::FakeWorker,
};

use crate::{system, tidy};

/// A control group.
struct Group {
    folder: String,
}

impl Group {
    fn new(kind: &str, name: &str) -> Self {
        let folder = format!("/sys/fs/cgroup/{kind}/rollcall-{name}-{}", std::process::id());
        system(&format!("mkdir {folder}"));
        Self { folder }
    }

    fn set(&self, name: &str, value: u64) {
        system(&format!("echo {value} > {}/{name}", self.folder));
    }

    async fn start(&self, setup: &Setup) -> Supervisor {
        let join = format!("echo $$ > {}/cgroup.procs && exec \"$0\" \"$@\"", self.folder);
        setup.start_under(&["sh", "-c", &join]).await
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        // Its processes are gone a moment after they were killed.
        tidy(&format!("for i in 1 2 3 4 5; do rmdir {} && break; sleep 0.2; done", self.folder));
    }
}

/// F-06: a backlog that is larger than the memory that there is.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs root and control groups of version 1"]
async fn a_backlog_fits_into_little_memory() {
    let group = Group::new("memory", "small");
    group.set("memory.limit_in_bytes", 96 << 20);
    let setup = Setup::new("[streams.\"*\"]\nmax_backlog = 10000000\n");
    let supervisor = group.start(&setup).await;
    let body = "x".repeat(1_000);
    for batch in 0..200 * scale() {
        let lines = (0..1_000).map(|number| json!(format!("{batch} {number} {body}")));
        assert_eq!(supervisor.lines("orders", lines).await.status, 202, "batch {batch}");
    }
    println!("{} MiB for 200 MB of backlog", supervisor.process().resident_bytes() >> 20);
    let worker = WorkerProcess::start(&["--builtin", "echo"]).await;
    setup.configure(format!(
        "[streams.\"*\"]\nmax_backlog = 10000000\n[pools.default]\nworkers = [{:?}]\n",
        worker.url()
    ));
    supervisor.process().signal(tests::harness::Signal::HUP);
    supervisor.until_released("orders", 10_000).await;
    println!("{} MiB while it is worked off", supervisor.process().resident_bytes() >> 20);
}

/// F-07: a tenth of a processor.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs root and control groups of version 1"]
async fn a_starved_process_is_slow_and_takes_nobody_out() {
    let worker = [FakeWorker::upper().await, FakeWorker::upper().await];
    let group = Group::new("cpu", "starved");
    group.set("cpu.cfs_period_us", 100_000);
    group.set("cpu.cfs_quota_us", 10_000);
    let workers = crate::network::urls(&worker);
    let setup = Setup::new(format!("[pools.default]\nworkers = {workers}\n"));
    let supervisor = group.start(&setup).await;
    for number in 0..200 {
        supervisor.send("orders", format!("m{number}")).await;
    }
    supervisor.until_released("orders", 200).await;
    for (at, result) in supervisor.results("orders").await.iter().enumerate() {
        assert_eq!(result["data"], format!("M{at}"));
    }
    until("nobody is out", || async {
        let workers = supervisor.json("/v1/workers").await;
        let all = workers["workers"].as_array().cloned().unwrap_or_default();
        all.len() == 2 && all.iter().all(|one| one["state"] == "active")
    })
    .await;
}
