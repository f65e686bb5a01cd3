//! A network that loses what is under way, without a word (F-30, F-33, F-41, F-44), between two
//! name spaces.

use std::time::Duration;

use tests::{
    harness::{Setup, WorkerProcess, checker::check_deliveries, until},
    peers::{Destination, FakeWorker},
};

use crate::{system, tidy};

/// A list of URLs as it stands in a configuration.
pub(crate) fn urls(workers: &[FakeWorker]) -> String {
    let all: Vec<String> = workers.iter().map(|worker| worker.url()).collect();
    format!("{all:?}")
}

/// A name space with a cable to it. Ours is 10.77.0.1, its is 10.77.0.2.
struct Space {
    name: String,
}

impl Space {
    fn new() -> Self {
        let name = format!("rollcall-{}", std::process::id());
        let space = Self { name };
        let name = &space.name;
        system(&format!(
            "ip netns add {name} && ip link add rc-ours type veth peer name rc-theirs \
             && ip link set rc-theirs netns {name} && ip addr add 10.77.0.1/24 dev rc-ours \
             && ip link set rc-ours up && ip netns exec {name} ip addr add 10.77.0.2/24 dev \
             rc-theirs && ip netns exec {name} ip link set rc-theirs up \
             && ip netns exec {name} ip link set lo up"
        ));
        space
    }

    async fn worker(&self) -> WorkerProcess {
        let wrapper = ["ip", "netns", "exec", &self.name];
        let arguments = ["--builtin", "upper"];
        WorkerProcess::start_under(&wrapper, "10.77.0.2:0", &arguments).await
    }

    /// Unplugs the cable at the far end, or plugs it in again: what is sent is lost.
    fn cable(&self, state: &str) {
        system(&format!("ip netns exec {} ip link set rc-theirs {state}", self.name));
    }
}

impl Drop for Space {
    fn drop(&mut self) {
        tidy(&format!("ip link del rc-ours; ip netns del {}", self.name));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs root and network name spaces"]
async fn workers_behind_a_cut_cable_are_done_without_and_taken_back() {
    let space = Space::new();
    let far = [space.worker().await, space.worker().await];
    let near = [FakeWorker::upper().await];
    let destination = Destination::start().await;
    let mut workers: Vec<String> = near.iter().map(|worker| worker.url()).collect();
    workers.extend(far.iter().map(|worker| worker.url().to_owned()));
    let setup = Setup::new(format!(
        "[streams.\"*\"]\ntimeout = \"500ms\"\njitter = \"50ms\"\nmax_attempts = 100\n\
         [pools.default]\nworkers = {workers:?}\nconcurrency = 4\neject_for = \"1s\"\n\
         [subscriptions.all]\nurl = {:?}\nstart = \"beginning\"\n",
        destination.url()
    ));
    let supervisor = setup.start().await;
    let mut sent = 0;
    for state in ["up", "down", "up", "down", "up"] {
        space.cable(state);
        for _ in 0..60 {
            supervisor.send(&format!("s{}", sent % 3), format!("m{sent}")).await;
            sent += 1;
            tokio::time::sleep(Duration::from_millis(25)).await;
        }
    }
    until("all delivered", || async { destination.count() >= sent }).await;
    check_deliveries(&destination.deliveries());
    until("the far ones are taken back", || async {
        let workers = supervisor.json("/v1/workers").await;
        let all = workers["workers"].as_array().cloned().unwrap_or_default();
        let send = supervisor.send("s0", "once more");
        let _ = send.await;
        all.len() == 3 && all.iter().all(|one| one["state"] == "active")
    })
    .await;
}
