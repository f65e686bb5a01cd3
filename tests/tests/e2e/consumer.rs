//! The walk-through of `docs/replay.md` as a program (`common/examples/accounts.rs`): a consumer
//! joins late, is killed, and is rebuilt, while postings keep coming.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use serde_json::{Value, json};
use tests::harness::{Client, Process, Setup, WorkerProcess, soon, spawn, until};

/// Accounts that get postings in turn.
const ACCOUNTS: u64 = 7;

/// The example, while it runs.
struct Consumer {
    process: Process,
    http: Client,
    mails: PathBuf,
}

impl Consumer {
    async fn start(setup: &Setup, supervisor: &Client) -> Self {
        let mails = setup.folder().join("mails");
        let arguments = [supervisor.url(), mails.to_str().unwrap()];
        let mut process = setup.begin_example("accounts", &arguments);
        let http = Client::new(&process.said("listening on ").await);
        Self { process, http, mails }
    }

    async fn position(&self) -> u64 {
        self.http.json("/").await["position"].as_u64().unwrap()
    }

    async fn until_mails(&self, count: usize) {
        until(&format!("{count} mails"), async || mails(&self.mails).len() >= count).await;
    }

    /// What readers see is the truth, to the cent.
    async fn check(&self, postings: &[Value]) {
        let mut truth: BTreeMap<&str, (i64, u64)> = BTreeMap::new();
        for posting in postings {
            let data = &posting["data"];
            let account = truth.entry(data["account"].as_str().unwrap()).or_default();
            account.0 += data["cents"].as_i64().unwrap();
            account.1 += 1;
        }
        for (name, (cents, count)) in truth {
            let seen = self.http.json(&format!("/accounts/{name}")).await;
            assert_eq!(seen, json!({ "cents": cents, "postings": count }), "{name}");
        }
    }
}

/// Positions for which a mail was sent, in the order of the file.
fn mails(file: &Path) -> Vec<u64> {
    let text = fs::read_to_string(file).unwrap_or_default();
    let whole = text.rfind('\n').map_or("", |end| &text[..end]);
    whole.lines().map(|line| line.split(' ').next().unwrap().parse().unwrap()).collect()
}

async fn post(supervisor: &Client, numbers: std::ops::Range<u64>) {
    let posting = |number| json!({ "account": format!("a{}", number % ACCOUNTS), "cents": number });
    let answer = supervisor.lines("postings", numbers.clone().map(posting)).await;
    assert_eq!(answer.status, 202, "{}", answer.text());
    // What others get has its positions between.
    assert_eq!(supervisor.lines("other", numbers.step_by(3).map(Value::from)).await.status, 202);
}

/// Postings that keep coming until they are stopped.
fn keep_posting(supervisor: &Client, first: u64) -> impl AsyncFnOnce() -> u64 {
    let stop = Arc::new(AtomicBool::new(false));
    let (stopped, supervisor) = (Arc::clone(&stop), supervisor.clone());
    let task = spawn(async move {
        let mut next = first;
        while !stopped.load(Ordering::Relaxed) {
            post(&supervisor, next..next + 10).await;
            next += 10;
            supervisor.until_released("postings", next).await;
        }
        next
    });
    async move || {
        stop.store(true, Ordering::Relaxed);
        soon(task).await.unwrap()
    }
}

#[tokio::test]
async fn a_consumer_joins_late_is_killed_and_rebuilt_and_skips_and_repeats_nothing() {
    let worker = WorkerProcess::start(&["--builtin", "echo"]).await;
    let pool = format!("[pools.default]\nworkers = [{:?}]\n", worker.url());
    let setup = Setup::new(pool);
    let supervisor = setup.start().await;
    let client = supervisor.client();
    post(&client, 0..2_000).await;
    supervisor.until_released("postings", 2_000).await;
    supervisor.until_released("other", 667).await;
    let late = supervisor.json("/v1/status").await["head"].as_u64().unwrap();

    let consumer = Consumer::start(&setup, &client).await;
    until("it has caught up", async || {
        supervisor.json("/v1/subscriptions/accounts").await["checkpoint"] == late
    })
    .await;
    assert_eq!(consumer.http.json("/").await["accounts"], ACCOUNTS);
    assert!(mails(&consumer.mails).is_empty(), "no mail for what others were told long ago");

    let stop = keep_posting(&client, 2_000);
    consumer.until_mails(50).await;
    consumer.process.kill().await;
    let so_far = mails(&setup.folder().join("mails")).len();
    let consumer = Consumer::start(&setup, &client).await;
    consumer.until_mails(so_far + 50).await;

    let before = consumer.position().await;
    assert_eq!(consumer.http.post("/rebuild", &[], "").await.status, 200);
    let last = AtomicU64::new(before);
    until("it is rebuilt", async || {
        let seen = consumer.http.json("/").await;
        assert_eq!(seen["accounts"], ACCOUNTS, "readers see the one before, whole");
        let position = seen["position"].as_u64().unwrap();
        let last = last.fetch_max(position, Ordering::Relaxed);
        assert!(last <= position, "readers go back in time");
        seen["rebuilds"] == 1
    })
    .await;
    consumer.until_mails(mails(&consumer.mails).len() + 50).await;
    let count = stop().await;

    let postings = supervisor.results("postings").await;
    assert_eq!(postings.len() as u64, count);
    let position = |posting: &Value| posting["position"].as_u64().unwrap();
    let newest = postings.iter().map(position).max().unwrap();
    until("it is at the end", async || consumer.position().await == newest).await;
    consumer.check(&postings).await;
    let fresh = postings.iter().map(position).filter(|position| *position > late);
    let fresh: BTreeSet<u64> = fresh.collect();
    consumer.until_mails(fresh.len()).await;
    let sent = mails(&consumer.mails);
    assert_eq!(sent.iter().copied().collect::<BTreeSet<_>>(), fresh, "one for each, no other");
    // Only what was done between the last checkpoint and the kill is done twice.
    let twice = sent.len() - fresh.len();
    assert!(twice <= 500, "{twice} of {} mails were sent twice", sent.len());
}

/// Where results are no longer kept, a consumer begins with the first that is.
#[tokio::test]
async fn a_consumer_that_comes_too_late_for_the_first_results_begins_with_those_that_are_kept() {
    let setup = Setup::new(
        "[journal]\nsegment_bytes = \"64 KiB\"\nreserve_bytes = \"16 KiB\"\n\
         [streams.\"*\"]\nretention = \"0s\"\npool = \"none\"\n",
    );
    let supervisor = setup.start().await;
    let next = AtomicU64::new(0);
    until("the first results go", async || {
        let first = next.fetch_add(100, Ordering::Relaxed);
        post(&supervisor.client(), first..first + 100).await;
        supervisor.json("/v1/status").await["first"].as_u64() > Some(1)
    })
    .await;
    let next = next.into_inner();
    supervisor.until_released("postings", next).await;
    let consumer = Consumer::start(&setup, &supervisor.client()).await;
    post(&supervisor.client(), next..next + 10).await;
    consumer.until_mails(10).await;
    assert_eq!(mails(&consumer.mails).len(), 10);
    assert_eq!(consumer.http.json("/").await["accounts"], ACCOUNTS);
}
