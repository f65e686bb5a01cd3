//! The stories of a night: from the command line alone somebody finds out what holds a stream, sees
//! the message, decides, and sees it leave. What they read is kept as text beside this file.

use serde_json::json;
use tests::{
    harness::{Setup, Supervisor, until},
    peers::{Act, Call, Delivered, Destination, FakeWorker},
};

use crate::urls;

/// Refuses "bad…", and answers the rest.
fn by_body(call: &Call) -> Act {
    if call.body.starts_with(b"bad") {
        Act::Answer(tests::peers::Reply::new(422, "").with("rollcall-reason", "no such article"))
    } else {
        Act::ok(call.body.clone())
    }
}

/// What somebody has typed, and read.
struct Night<'a> {
    setup: &'a Setup,
    supervisor: &'a Supervisor,
    names: Vec<(String, &'static str)>,
    read: String,
}

impl<'a> Night<'a> {
    fn new(setup: &'a Setup, supervisor: &'a Supervisor, names: &[(String, &'static str)]) -> Self {
        let url = (supervisor.url().to_owned(), "http://supervisor:7400");
        let names = names.iter().cloned().chain([url]).collect();
        Self { setup, supervisor, names, read: String::new() }
    }

    /// Types a command, and reads what it says.
    async fn types(&mut self, command: &str) -> String {
        let words: Vec<String> = command.split(' ').map(|word| word.replace('_', " ")).collect();
        let mut words: Vec<&str> = words.iter().map(String::as_str).collect();
        words.extend(["--url", self.supervisor.url()]);
        let ended = self.setup.run(&words).await;
        let code = ended.code.filter(|code| *code != 0).map(|code| format!("[exit code {code}]\n"));
        let said = [&*ended.stdout, &*ended.stderr, &code.unwrap_or_default()].concat();
        for line in said.lines() {
            assert!(line.starts_with("  supervisor ") || line.chars().count() <= 80, "{line:?}");
            assert!(!line.chars().any(|c| c.is_control() && c != '\t'), "{line:?}");
        }
        let said = self.plain(&said);
        let typed = self.named(&command.replace('_', " "));
        self.read.push_str(&format!("$ supervisor {typed}\n{said}\n"));
        said
    }

    /// Types a command whose answer depends on how soon it is looked at.
    async fn does(&mut self, command: &str) {
        let read = std::mem::take(&mut self.read);
        self.types(command).await;
        self.read = format!("{read}$ supervisor {}\n…\n\n", command.replace('_', " "));
    }

    /// Text without what differs from run to run.
    fn plain(&self, said: &str) -> String {
        let said = said.replace(&format!(" --url {}", self.supervisor.url()), "");
        let said = self.named(&said);
        let lines = said.lines().map(|line| {
            let mut words: Vec<String> = Vec::new();
            for word in line.split("  ").filter(|word| !word.trim().is_empty()) {
                let parts = word.trim().split(' ').map(|part| self.plain_word(part));
                words.push(parts.collect::<Vec<_>>().join(" "));
            }
            // How far a column is indented depends on the widest of its ages.
            let indent = if line.starts_with("  supervisor ") { "  " } else { "" };
            format!("{indent}{}\n", words.join("  "))
        });
        lines.collect()
    }

    /// Text with the names that peers have in a story.
    fn named(&self, text: &str) -> String {
        let named = |text: String, (name, plain): &(String, &str)| text.replace(name, plain);
        self.names.iter().fold(text.to_owned(), named)
    }

    fn plain_word(&self, word: &str) -> String {
        let bare = word.trim_end_matches([',', ':', ';']);
        let rest = &word[bare.len()..];
        let number = bare.trim_end_matches(|c: char| c.is_ascii_lowercase());
        let unit = &bare[number.len()..];
        let digits = !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit());
        let id = bare.len() == 36 && bare.bytes().all(|b| b.is_ascii_hexdigit() || b == b'-');
        if digits && ["ms", "s", "m"].contains(&unit) {
            format!("AGE{rest}")
        } else if id {
            format!("ID{rest}")
        } else if std::env::var("USER").is_ok_and(|user| user == bare) || bare == "command-line" {
            format!("SOMEBODY{rest}")
        } else {
            word.to_owned()
        }
    }
}

fn setup(worker: &FakeWorker, more: &str) -> Setup {
    Setup::new(format!(
        "[streams.\"*\"]\njitter = \"1ms\"\nmax_attempts = 2\nhedge = \"off\"\n{more}\n\
         [pools.default]\nworkers = {}\neject_after = 1000\n",
        urls([worker])
    ))
}

#[tokio::test]
async fn poison() {
    let worker = FakeWorker::start(by_body).await;
    let setup = setup(&worker, "");
    let supervisor = setup.start().await;
    for body in ["bad \u{1b}[2J article", "2", "3"] {
        supervisor.send("orders", body).await;
    }
    supervisor.until_state("orders", 1, "parked").await;
    supervisor.until_state("orders", 3, "completed").await;
    let mut night = Night::new(&setup, &supervisor, &[(worker.url(), "http://worker")]);
    assert!(night.types("streams").await.contains("parked"));
    night.types("parked").await;
    night.types("why orders").await;
    assert!(night.types("message orders 1").await.contains("no such article"));
    night.does("skip orders 1 --reason no_such_article").await;
    supervisor.until_released("orders", 3).await;
    assert!(night.types("why orders").await.starts_with("nothing waits"));
    night.types("results orders").await;
    night.types("audit").await;
    insta::assert_snapshot!("night_poison", night.read);
}

#[tokio::test]
async fn destination_that_refuses() {
    let worker = FakeWorker::start(by_body).await;
    let setup = setup(&worker, "");
    let supervisor = setup.start().await;
    let destination = Destination::start().await;
    destination.set(
        |delivered: &Delivered| {
            if delivered.stream == "orders" { Act::status(404) } else { Act::status(200) }
        },
    );
    let wanted = json!({ "url": destination.url(), "start": "beginning" });
    supervisor.put("/v1/subscriptions/shop", &wanted).await;
    supervisor.send("orders", "1").await;
    supervisor.send("others", "1").await;
    let held = async || {
        let shop = supervisor.json("/v1/subscriptions/shop").await;
        shop["held_streams"].as_array().is_some_and(|held| !held.is_empty())
    };
    until("the stream is held", held).await;
    let mut night = Night::new(&setup, &supervisor, &[(destination.url(), "http://shop")]);
    night.types("subscriptions").await;
    assert!(night.types("why orders").await.contains("the destination of shop refuses"));
    night.types("subscription shop show").await;
    night.types("message orders 1 --result").await;
    destination.set(|_| Act::status(200));
    night.does("subscription shop resume").await;
    until("it is delivered", async || !held().await && destination.taken("orders") == [1]).await;
    assert!(night.types("subscriptions").await.contains("live"));
    insta::assert_snapshot!("night_destination", night.read);
}

#[tokio::test]
async fn paused_stream() {
    let worker = FakeWorker::start(by_body).await;
    let setup = setup(&worker, "");
    let supervisor = setup.start().await;
    supervisor.send("orders", "1").await;
    supervisor.until_released("orders", 1).await;
    let mut night = Night::new(&setup, &supervisor, &[]);
    night.types("pause orders --reason stocktaking").await;
    supervisor.send("orders", "2").await;
    night.types("streams --busy").await;
    assert!(night.types("why orders").await.contains("stocktaking"));
    night.does("resume orders").await;
    supervisor.until_released("orders", 2).await;
    assert!(night.types("why orders").await.starts_with("nothing waits"));
    insta::assert_snapshot!("night_paused", night.read);
}

#[tokio::test]
async fn no_worker() {
    let worker = FakeWorker::start(by_body).await;
    let setup = setup(&worker, "[streams.\"nobody.*\"]\npool = \"empty\"");
    let supervisor = setup.start().await;
    supervisor.send("nobody.1", "1").await;
    let cause =
        async || supervisor.json("/v1/streams/nobody.1").await["head"]["cause"] == "no_worker";
    until("it has no worker", cause).await;
    let mut night = Night::new(&setup, &supervisor, &[(worker.url(), "http://worker")]);
    assert!(night.types("why nobody.1").await.contains("none is known"));
    night.types("workers").await;
    let registered = json!({ "url": worker.url(), "pool": "empty" });
    assert_eq!(supervisor.put("/v1/workers/late", &registered).await.status, 200);
    supervisor.until_released("nobody.1", 1).await;
    night.types("worker late show").await;
    assert!(night.types("why nobody.1").await.starts_with("nothing waits"));
    insta::assert_snapshot!("night_no_worker", night.read);
}

#[tokio::test]
async fn outage() {
    let failing = |_: &Call| Act::Answer(tests::peers::Reply::new(500, "the database is away"));
    let workers = [FakeWorker::start(failing).await, FakeWorker::start(failing).await];
    let setup = Setup::new(format!(
        "[streams.\"*\"]\njitter = \"1ms\"\nhedge = \"off\"\n\
         [pools.default]\nworkers = {}\neject_after = 1000\noutage_after = 4\n",
        urls([&workers[0], &workers[1]])
    ));
    let supervisor = setup.start().await;
    for body in ["1", "2", "3"] {
        supervisor.send("orders", body).await;
    }
    let cause =
        async || supervisor.json("/v1/streams/orders").await["head"]["cause"] == "pool_outage";
    until("its pool is in an outage", cause).await;
    let names: Vec<_> = workers.iter().map(|one| (one.url(), "http://worker")).collect();
    let mut night = Night::new(&setup, &supervisor, &names);
    assert!(night.types("why orders").await.contains("probed"));
    assert!(night.types("alerts").await.contains("pool_outage"));
    assert!(night.types("parked").await.contains("nothing"));
    workers.iter().for_each(|worker| worker.set(by_body));
    supervisor.until_released("orders", 3).await;
    assert!(night.types("why orders").await.starts_with("nothing waits"));
    // How many attempts each message had before is chance, and so is who is just being probed.
    let later = |line: &&str| {
        let attempt = line.starts_with(|c: char| ('2'..='9').contains(&c));
        !attempt && !line.starts_with("backlog") && *line != "parked"
    };
    // A wide age leaves less room for the rest of its row.
    let whole = |line: &str| match line.split_once("  pool default fails") {
        Some((row, _)) if line.starts_with("1  firing") => row.to_owned(),
        Some(_) | None => line.to_owned(),
    };
    let read: Vec<String> = night.read.lines().filter(later).map(whole).collect();
    insta::assert_snapshot!("night_outage", read.join("\n"));
}

#[tokio::test]
async fn dead_worker() {
    let dead = FakeWorker::start(by_body).await;
    let alive = FakeWorker::start(by_body).await;
    let url = dead.url().to_owned();
    drop(dead);
    let setup = Setup::new(format!(
        "[streams.\"*\"]\njitter = \"1ms\"\n[pools.default]\nworkers = [\"{url}\"]\n"
    ));
    let supervisor = setup.start().await;
    supervisor.send("orders", "1").await;
    let cause =
        async || supervisor.json("/v1/streams/orders").await["head"]["cause"] == "no_worker";
    until("it has no worker", cause).await;
    let names = [(url.clone(), "http://dead"), (alive.url(), "http://alive")];
    let mut night = Night::new(&setup, &supervisor, &names);
    assert!(night.types("why orders").await.contains("unreachable"));
    night.types("workers").await;
    night.types(&format!("worker {url} show")).await;
    let registered = json!({ "url": alive.url(), "pool": "default" });
    assert_eq!(supervisor.put("/v1/workers/spare", &registered).await.status, 200);
    supervisor.until_released("orders", 1).await;
    assert!(night.types("why orders").await.starts_with("nothing waits"));
    insta::assert_snapshot!("night_dead_worker", night.read);
}

#[tokio::test]
async fn full_backlog() {
    let worker = FakeWorker::start(|_| Act::Hang).await;
    let setup = setup(&worker, "max_backlog = 3\nmax_in_flight = 1\ntimeout = \"60s\"");
    let supervisor = setup.start().await;
    for body in ["1", "2", "3"] {
        supervisor.send("orders", body).await;
    }
    supervisor.until_state("orders", 1, "dispatched").await;
    let mut night = Night::new(&setup, &supervisor, &[(worker.url(), "http://worker")]);
    assert!(night.types("send orders no-such-file").await.contains("[exit code 1]"));
    assert!(night.types("status").await.contains("full (429): orders;"));
    assert!(night.types("doctor").await.contains("!! backlogs"));
    assert!(night.types("streams --busy").await.contains("waiting, full"));
    assert!(night.types("why orders").await.contains("that is the bound"));
    worker.set(by_body);
    night.does("skip orders 1 --reason it_hangs").await;
    supervisor.until_released("orders", 3).await;
    assert!(night.types("why orders").await.starts_with("nothing waits"));
    night.types("message orders 1").await;
    insta::assert_snapshot!("night_backlog", night.read);
}

#[tokio::test]
async fn nobody_there() {
    let worker = FakeWorker::start(by_body).await;
    let setup = setup(&worker, "");
    let supervisor = setup.start().await;
    let mut night = Night::new(&setup, &supervisor, &[]);
    night.types("doctor").await;
    night.types("healthcheck").await;
    night.types("why nothing").await;
    let run = async |words: &[&str]| setup.run(words).await;
    let away = run(&["status", "--url", "http://127.0.0.1:1"]).await;
    assert_eq!(away.code, Some(1));
    assert!(away.stderr.contains("nobody listens there"), "{}", away.stderr);
    let wrong = run(&["status", "--url", "127.0.0.1:7400"]).await;
    assert_eq!(wrong.code, Some(2));
    assert!(wrong.stderr.contains("is no address of a supervisor"), "{}", wrong.stderr);
    assert_eq!(run(&["healthcheck", "--url", "http://127.0.0.1:1"]).await.code, Some(1));
    let folder = tempfile::tempdir().unwrap();
    let pages = folder.path().to_str().unwrap();
    assert_eq!(run(&["man", pages]).await.code, Some(0));
    let page = std::fs::read_to_string(folder.path().join("supervisor-why.1")).unwrap();
    assert!(page.contains("what holds a stream"), "{page}");
    insta::assert_snapshot!("night_well", night.read);
}
