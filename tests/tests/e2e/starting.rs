//! Starts and reloads in one step: what is configured is there before anybody is answered, and
//! nothing is lost because a file lacked something for a while.

use tests::{
    harness::{Client, Setup, Signal, Supervisor, until},
    peers::Destination,
};

/// Streams whose messages are their own results.
const AS_IT_IS: &str = "[streams.\"*\"]\npool = \"none\"\n";

fn with_shop(destination: &Destination) -> String {
    format!("{AS_IT_IS}[subscriptions.shop]\nurl = {:?}\n", destination.url())
}

async fn reload(setup: &Setup, supervisor: &Supervisor, config: &str) {
    let told = || supervisor.process().log().matches("configuration reloaded").count();
    let before = told();
    setup.configure(config);
    supervisor.process().signal(Signal::HUP);
    until("it is applied", || async { told() > before }).await;
}

#[tokio::test]
async fn a_message_right_after_the_start_is_for_all_that_is_configured() {
    let subscriptions: String = (0..200).map(|n| format!("[subscriptions.s{n}]\n")).collect();
    let setup = Setup::new(format!("{AS_IT_IS}{subscriptions}"));
    // It listens, and answers when it can: the first answer is to the first message.
    let supervisor = setup.start().await;
    assert_eq!(supervisor.send("a", "x").await, 1);
    let all = supervisor.json("/v1/subscriptions").await;
    let all = all["subscriptions"].as_array().unwrap();
    assert_eq!(all.len(), 200);
    assert!(all.iter().all(|one| one["checkpoint"] == 0), "none has passed over it");
    // They are durable by then, too.
    supervisor.kill().await;
    let supervisor = setup.start().await;
    let all = supervisor.json("/v1/subscriptions").await;
    let all = all["subscriptions"].as_array().unwrap();
    assert!(all.iter().all(|one| one["checkpoint"] == 0 && one["lag"] == 1), "{all:?}");
}

#[tokio::test]
async fn streams_that_are_named_are_there_and_no_others() {
    let tcp = "[[tcp]]\nlisten = \"127.0.0.1:0\"\nstream = \"fed\"\n";
    let named = "[streams]\ncreate = \"never\"\n[streams.known]\nmax_backlog = 100\n";
    let setup = Setup::new(format!("{named}{AS_IT_IS}{tcp}"));
    let supervisor = setup.start().await;
    assert_eq!(supervisor.send("known", "x").await, 1);
    assert_eq!(supervisor.message("unknown", &[], "x").await.status, 404);
    let streams = supervisor.json("/v1/streams").await;
    let streams = streams["streams"].as_array().unwrap();
    let names: Vec<_> = streams.iter().filter_map(|one| one["stream"].as_str()).collect();
    assert_eq!(names, ["fed", "known"]);
    let more = format!("{named}[streams.unknown]\n{AS_IT_IS}{tcp}");
    reload(&setup, &supervisor, &more).await;
    assert_eq!(supervisor.send("unknown", "x").await, 1);
}

#[tokio::test]
async fn a_subscription_that_was_left_out_goes_on_where_it_stood() {
    let destination = Destination::start().await;
    let with_it = with_shop(&destination);
    let setup = Setup::new(&with_it);
    let mut supervisor = setup.start().await;
    for (restart, first) in [(false, 1), (true, 4)] {
        supervisor.send("a", "x").await;
        until("it is taken", || async { destination.taken("a").len() == first }).await;
        until("that is noted", || async {
            let shop = supervisor.json("/v1/subscriptions/shop").await;
            shop["checkpoint"] == first
        })
        .await;
        if restart {
            setup.configure(AS_IT_IS);
            supervisor.terminate().await;
            supervisor = setup.start().await;
        } else {
            reload(&setup, &supervisor, AS_IT_IS).await;
        }
        let log = supervisor.process().log();
        assert!(log.contains("does not name this subscription") && log.contains("shop"), "{log}");
        supervisor.send("a", "x").await;
        supervisor.send("a", "x").await;
        let resumed = supervisor.post("/v1/subscriptions/shop/resume", &[], "").await;
        assert!(resumed.problem(409)["type"].as_str().unwrap().contains("unconfigured"));
        let shop = supervisor.json("/v1/subscriptions/shop").await;
        assert_eq!((&shop["paused_reason"], &shop["lag"]), (&"unconfigured".into(), &2.into()));
        reload(&setup, &supervisor, &with_it).await;
        until("all is taken", || async { destination.taken("a").len() == first + 2 }).await;
    }
    let all: Vec<u64> = (1..=6).collect();
    assert_eq!(destination.taken("a"), all, "nothing is missing, and nothing comes twice");
    reload(&setup, &supervisor, AS_IT_IS).await;
    assert_eq!(supervisor.delete("/v1/subscriptions/shop").await.status, 204);
    let left = supervisor.json("/v1/subscriptions").await;
    assert_eq!(left["subscriptions"].as_array().unwrap().len(), 0);
}

#[tokio::test]
async fn a_reload_takes_no_token_from_what_is_open() {
    let token = "[[tokens]]\nname = \"a\"\nsecret = \"secret-of-a\"\nscopes = [\"admin\"]\n";
    let setup = Setup::new(format!("[server]\nlisten = \"0.0.0.0:0\"\n{token}"));
    let file = setup.config().to_str().unwrap().to_owned();
    let data = setup.data().to_str().unwrap().to_owned();
    let mut process = setup.begin(&["serve", "--config", &file, "--data", &data]);
    let url = process.said("listening on ").await.replace("0.0.0.0", "127.0.0.1");
    let client = Client::new(&url);
    let status = || async { client.get("/v1/status").await.status };
    assert_eq!(status().await, 401);
    // It would be good for a start: on loopback, for the machine itself.
    setup.configure("");
    process.signal(Signal::HUP);
    until("it is refused", || async { process.log().contains("stays as it was") }).await;
    assert_eq!(status().await, 401, "it is as closed as before");
    process.kill().await;
}

/// A disk that does not answer is something to be asked about: so the process does, and says that
/// it is not ready.
#[tokio::test]
async fn a_start_on_a_slow_disk_is_answered_and_is_not_ready() {
    let setup = Setup::new(AS_IT_IS);
    setup.start().await.terminate().await;
    setup.configure(format!("{AS_IT_IS}[subscriptions.late]\n"));
    let trace = "trace=fdatasync";
    let inject = "inject=fdatasync:delay_enter=6000000";
    let wrapper = ["strace", "-D", "-f", "-o", "/dev/null", "-e", trace, "-e", inject];
    let supervisor = setup.start_under(&wrapper).await;
    let ready = supervisor.get("/readyz").await;
    assert!(ready.problem(503)["type"].as_str().unwrap().ends_with(":starting"));
    assert_eq!(supervisor.get("/livez").await.status, 200);
    until("it is ready", || async { supervisor.get("/readyz").await.status == 200 }).await;
    assert_eq!(supervisor.get("/v1/subscriptions/late").await.status, 200);
    supervisor.kill().await;
}
