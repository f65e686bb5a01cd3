//! Incidents of neighbouring systems, played here: their users lost, skipped or repeated
//! something, and ours must not. Their numbers are those of the project's list of such pains.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
};

use http::Method;
use serde_json::{Value, json};
use tests::{
    harness::{Client, Setup, Supervisor, soon, spawn, until},
    peers::{Act, Call, FakeWorker, Reply},
};

use crate::urls;

const JSON: [(&str, &str); 1] = [("content-type", "application/json")];

/// Streams whose messages are their own results.
const AS_IT_IS: &str = "[streams.\"*\"]\npool = \"none\"\n";

fn parks(_: &Call) -> Act {
    Act::Answer(Reply::new(200, "").with("rollcall-outcome", "park"))
}

async fn parked(supervisor: &Client, stream: &str) -> BTreeSet<u64> {
    let list = supervisor.json(&format!("/v1/parked?stream={stream}")).await;
    let list = list["parked"].as_array().unwrap();
    list.iter().map(|one| one["sequence"].as_u64().unwrap()).collect()
}

/// How many were sent back; `None`: somebody else does so at the moment.
async fn send_back(supervisor: &Client, wanted: &Value) -> Option<u64> {
    let answer = supervisor.post("/v1/parked/retry", &JSON, wanted.to_string()).await;
    if answer.status == 409 {
        return None;
    }
    assert_eq!(answer.status, 200, "{}", answer.text());
    answer.json()["count"].as_u64()
}

/// Pain 14: replaying dead letters lost parked messages (`KurrentDB` #2181), sent 380,000 of them
/// again although some were wanted (#3844), and two replays at once sent each twice (#1438). Here
/// it is counted first, filtered and limited, each message goes out once although two people ask
/// at once, what fails again is parked again, and a kill in between loses none.
#[tokio::test]
async fn pain_14_sending_parked_messages_back_sends_those_that_are_wanted_once_and_loses_none() {
    let worker = FakeWorker::start(parks).await;
    let setup = Setup::new(format!("[pools.default]\nworkers = {}\n", urls([&worker])));
    let supervisor = setup.start().await;
    for stream in ["orders", "others"] {
        let answer = supervisor.lines(stream, (1..=60).map(Value::from)).await;
        assert_eq!(answer.status, 202);
        until("all are parked", async || parked(&supervisor, stream).await.len() == 60).await;
    }
    let before = worker.count();
    assert_eq!(send_back(&supervisor, &json!({ "dry_run": true })).await, Some(120));
    assert_eq!(worker.count(), before, "counting sends nothing");
    let wanted = json!({ "stream": "orders", "limit": 5 });
    assert_eq!(send_back(&supervisor, &wanted).await, Some(5));
    until("they fail again", async || worker.count() == before + 5).await;
    until("they are parked again", async || parked(&supervisor, "orders").await.len() == 60).await;

    // Every other one goes well now; and two people send them all back at once.
    worker.set(|call| match call.sequence % 2 {
        0 => Act::ok(call.body.to_vec()),
        _ => parks(call),
    });
    let before = worker.count();
    let orders = json!({ "stream": "orders" });
    let (one, other) =
        tokio::join!(send_back(&supervisor, &orders), send_back(&supervisor, &orders));
    assert!(one.max(other) >= Some(60), "{one:?} and {other:?}");
    let odd: BTreeSet<u64> = (1..60).step_by(2).collect();
    until("half of them are parked", async || parked(&supervisor, "orders").await == odd).await;
    let calls = worker.calls().split_off(before);
    let mut times: BTreeMap<u64, usize> = BTreeMap::new();
    for call in &calls {
        assert_eq!(call.stream, "orders", "what was not asked for stays where it is");
        *times.entry(call.sequence).or_default() += 1;
    }
    assert!((2..=60).step_by(2).all(|even| times[&even] == 1), "{times:?}");

    // All goes well, and the supervisor is killed on the way.
    worker.set(|call| Act::ok(call.body.to_vec()));
    assert_eq!(send_back(&supervisor, &json!({})).await, Some(90));
    supervisor.kill().await;
    let supervisor = setup.start().await;
    for stream in ["orders", "others"] {
        supervisor.until_released(stream, 60).await;
        let results = supervisor.results(stream).await;
        let bodies: Vec<u64> =
            results.iter().map(|one| one["data"].as_str().unwrap().parse().unwrap()).collect();
        assert_eq!(bodies, (1..=60).collect::<Vec<_>>(), "each in its own place");
        assert_eq!(parked(&supervisor, stream).await.len(), 0);
    }
}

/// Sends message after message until it is told to stop, or nobody answers.
fn keep_sending(client: &Client, stream: &str) -> impl AsyncFnOnce() + use<> {
    let stop = Arc::new(AtomicBool::new(false));
    let (stopped, client) = (Arc::clone(&stop), client.clone());
    let path = format!("/v1/streams/{stream}/messages");
    let task = spawn(async move {
        while !stopped.load(Ordering::Relaxed) {
            if client.try_call(Method::POST, &path, &[], "x").await.is_err() {
                return;
            }
        }
    });
    async move || {
        stop.store(true, Ordering::Relaxed);
        soon(task).await.unwrap();
    }
}

/// What the reader of a pull subscription has to do, done as a careful one does it.
#[derive(Default)]
struct Reader {
    /// The last position that it worked on, and kept.
    done: u64,
    /// The last position that it ever worked on.
    worked: u64,
    /// The head when it had been made or rewound, or a little later.
    head: u64,
    /// Whether anything came unmarked since then.
    present: bool,
    /// Positions that came unmarked and were kept.
    live: BTreeSet<u64>,
}

impl Reader {
    async fn order(&mut self, client: &Client, order: &str, position: u64) -> Value {
        let path = format!("/v1/subscriptions/in/{order}");
        let answer = client.post(&path, &JSON, json!({ "position": position }).to_string()).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        self.done = position;
        self.worked = self.worked.max(position);
        answer.json()
    }

    /// Reads a page, works on it, and keeps how far it is; says whether anything live came.
    async fn read(&mut self, client: &Client) -> bool {
        let page = client.json("/v1/subscriptions/in/results?limit=37&wait=1").await;
        let mut next = self.done;
        let mut live = Vec::new();
        for one in page["results"].as_array().unwrap() {
            let position = one["position"].as_u64().unwrap();
            assert_eq!(position, next + 1, "a result is skipped, or comes again");
            next = position;
            let marked = one["replay"].as_bool().unwrap();
            assert!(marked || position > self.worked, "{position} comes unmarked again");
            assert!(!marked || position <= self.head, "{position} is new, and marked");
            assert!(!(marked && self.present), "{position} is from the past again");
            self.present |= !marked;
            if !marked {
                live.push(position);
            }
        }
        assert_eq!(page["next"], next);
        self.order(client, "checkpoint", next).await;
        for position in &live {
            assert!(self.live.insert(*position), "{position} comes unmarked again");
        }
        !live.is_empty()
    }
}

/// Pain 20: the switch from replay to live skipped some 40 million events (`commanded/eventstore`
/// #327), or gave some twice (`KurrentDB` #4089, `Marten` #4952). Here a reader goes over into the
/// present again and again while results keep coming, over rewinds and kills of the supervisor.
#[tokio::test]
async fn pain_20_at_the_switch_from_replay_to_live_nothing_is_skipped_and_nothing_repeated() {
    let setup = Setup::new(AS_IT_IS);
    let mut supervisor = setup.start().await;
    let lines = (1..=200).map(Value::from);
    assert_eq!(supervisor.lines("a", lines).await.status, 202);
    let wanted = json!({ "start": "beginning" });
    let made = supervisor.put("/v1/subscriptions/in", &wanted).await;
    assert_eq!(made.status, 201);
    let mut reader = Reader { head: made.json()["head"].as_u64().unwrap(), ..Reader::default() };
    for round in 0..6_u64 {
        let client = supervisor.client();
        let stop = (keep_sending(&client, "a"), keep_sending(&client, "b"));
        while !reader.read(&client).await {}
        // A little into the present, and back.
        assert!(reader.read(&client).await);
        if round % 2 == 0 {
            let back = reader.done.saturating_sub(50 * round);
            let rewound = reader.order(&client, "rewind", back).await;
            assert_eq!(rewound["mode"], "replaying");
            (reader.head, reader.present) = (rewound["head"].as_u64().unwrap(), false);
        } else {
            supervisor.kill().await;
            supervisor = setup.start().await;
        }
        stop.0().await;
        stop.1().await;
    }
    let client = supervisor.client();
    let head = client.json("/v1/status").await["head"].as_u64().unwrap();
    while reader.done < head {
        reader.read(&client).await;
    }
    assert_eq!(client.json("/v1/subscriptions/in").await["lag"], 0);
}

/// Reads the feed of all results, as one does who follows it for good.
async fn follow(supervisor: &Supervisor, seen: &Mutex<Vec<(u64, String)>>, stop: &AtomicBool) {
    while !stop.load(Ordering::Relaxed) {
        let after = seen.lock().unwrap().len();
        let path = format!("/v1/results?after={after}&limit=50&wait=1");
        let page = supervisor.json(&path).await;
        let mut seen = seen.lock().unwrap();
        for one in page["results"].as_array().unwrap() {
            let position = one["position"].as_u64().unwrap();
            assert_eq!(position, seen.len() as u64 + 1, "a position is stepped over");
            seen.push((position, one["id"].as_str().unwrap().to_owned()));
        }
    }
}

/// Pain 21: read models stepped over numbers whose writer had not committed yet (`Marten` #4977),
/// or waited for ever for numbers that never came (#2245). Here many write at once, a reader is
/// right behind them all the time, and a kill leaves writes in the middle; afterwards every
/// position is there, and is what the reader saw.
#[tokio::test]
async fn pain_21_a_reader_right_behind_many_writers_steps_over_no_number() {
    let setup = Setup::new(AS_IT_IS);
    let seen = Mutex::new(Vec::new());
    for round in 1..=3 {
        let supervisor = setup.start().await;
        let client = supervisor.client();
        let writers: Vec<_> =
            (0..8).map(|index| keep_sending(&client, &format!("s{index}"))).collect();
        let stop = AtomicBool::new(false);
        let enough = async {
            let wanted = seen.lock().unwrap().len() + 300;
            until("it has seen enough", async || seen.lock().unwrap().len() >= wanted).await;
            stop.store(true, Ordering::Relaxed);
        };
        tokio::join!(follow(&supervisor, &seen, &stop), enough);
        if round < 3 {
            // In the middle of their writes.
            supervisor.kill().await;
        }
        for stop in writers {
            stop().await;
        }
    }
    let supervisor = setup.start().await;
    let all = supervisor.all_results("/v1/results").await;
    let seen = seen.into_inner().unwrap();
    assert!(all.len() >= seen.len());
    for (index, one) in all.iter().enumerate() {
        assert_eq!(one["position"], index as u64 + 1, "no number is missing");
        if let Some((position, id)) = seen.get(index) {
            assert_eq!((&one["position"], &one["id"]), (&json!(position), &json!(id)));
        }
    }
}
