//! Alerts on their whole way: from what went wrong to those who are told (contract §6).

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex},
};

use serde_json::{Value, json};
use tests::{
    harness::{Setup, Signal, now, until},
    peers::{Act, FakeWorker, Request, Server},
};

use crate::{ms, urls};

/// Somebody who is told, with what they were told.
struct Receiver {
    server: Server,
    requests: Arc<Mutex<Vec<Request>>>,
}

impl Receiver {
    fn url(&self) -> String {
        self.server.url()
    }

    fn requests(&self) -> Vec<Request> {
        self.requests.lock().unwrap().clone()
    }
}

async fn receiver(act: impl Fn() -> Act + Send + Sync + 'static) -> Receiver {
    let requests: Arc<Mutex<Vec<Request>>> = Arc::default();
    let heard = Arc::clone(&requests);
    let server = Server::start(None, move |request| {
        heard.lock().unwrap().push(request);
        act()
    });
    Receiver { server: server.await, requests }
}

fn told(receiver: &Receiver) -> Vec<Value> {
    let bodies = receiver.requests();
    bodies.iter().map(|request| serde_json::from_slice(&request.body).unwrap()).collect()
}

/// What the receiver was told, without what it was told again under the same id: that happens when
/// a supervisor dies between the receiver's answer and its record.
fn news(receiver: &Receiver) -> Vec<String> {
    let mut seen = BTreeSet::new();
    let requests = receiver.requests();
    let fresh = requests.iter().map(|request| seen.insert(request.header("webhook-id")));
    let fresh: Vec<_> = fresh.collect();
    let events = events(receiver).into_iter().zip(fresh);
    events.filter_map(|(event, fresh)| fresh.then_some(event)).collect()
}

fn events(receiver: &Receiver) -> Vec<String> {
    let text = |told: &Value| told["event"].as_str().unwrap().to_owned();
    told(receiver).iter().map(text).collect()
}

#[tokio::test]
async fn five_failures_call_a_person_once_and_201_results_leave_in_order() {
    let worker = FakeWorker::start(|call| {
        if call.sequence == 1 { Act::status(500) } else { Act::ok(call.body.clone()) }
    })
    .await;
    let pager = receiver(|| Act::status(204)).await;
    let setup = Setup::new(format!(
        "[streams.\"*\"]\njitter = \"1ms\"\n\
         [pools.default]\nworkers = {}\neject_after = 1000\n\
         [[alerts]]\nkind = \"webhook\"\nurl = \"{}\"\n",
        urls([&worker]),
        pager.url()
    ));
    let supervisor = setup.start().await;
    let lines = (1..=201).map(|number| json!(number));
    assert_eq!(supervisor.lines("orders", lines).await.status, 202);
    supervisor.until_state("orders", 1, "parked").await;
    supervisor.until_state("orders", 201, "completed").await;
    until("somebody is told", async || pager.requests().len() == 1).await;
    let alert = told(&pager).remove(0);
    assert_eq!((&alert["kind"], &alert["state"]), (&json!("message_parked"), &json!("firing")));
    assert_eq!((&alert["stream"], &alert["sequence"]), (&json!("orders"), &json!(1)));
    let detail = alert["detail"].as_str().unwrap();
    assert!(detail.contains("5 failures") && detail.contains("200 wait behind it"), "{detail}");
    let timeline = supervisor.timeline("orders", 1).await;
    assert_eq!(timeline["attempts"].as_array().unwrap().len(), 5);
    let started = now();
    let answer = supervisor.post("/v1/streams/orders/messages/1/resolve", &[], "one").await;
    assert_eq!(answer.status, 200);
    supervisor.until_released("orders", 201).await;
    assert!(started.elapsed() < ms(5000));
    let page = supervisor.json("/v1/streams/orders/results?limit=1000").await;
    let sequences = page["results"].as_array().unwrap().iter().map(|result| &result["sequence"]);
    assert!(sequences.eq((1..=201).map(|number| json!(number)).collect::<Vec<_>>().iter()));
    assert_eq!(page["results"][0]["outcome"], "resolved");
    until("it is taken back", async || pager.requests().len() == 2).await;
    assert_eq!(events(&pager), ["alert.firing", "alert.resolved"]);
    assert_eq!(told(&pager)[1]["id"], alert["id"]);
}

#[tokio::test]
async fn an_alert_is_told_although_the_receiver_and_the_supervisor_were_away() {
    let worker = FakeWorker::start(|_| Act::status(422)).await;
    let away = receiver(|| Act::status(503)).await;
    let configured = |url: &str| {
        format!(
            "[streams.\"*\"]\njitter = \"1ms\"\n\
             [pools.default]\nworkers = {}\neject_after = 1000\n\
             [[alerts]]\nkind = \"webhook\"\nname = \"pager\"\nurl = \"{url}\"\n",
            urls([&worker])
        )
    };
    let setup = Setup::new(configured(&away.url()));
    let supervisor = setup.start().await;
    supervisor.send("orders", "1").await;
    until("it was tried twice", async || away.requests().len() >= 2).await;
    let requests = away.requests();
    assert_eq!(requests[0].header("webhook-id"), requests[1].header("webhook-id"));
    supervisor.kill().await;
    let here = receiver(|| Act::status(200)).await;
    setup.configure(configured(&here.url()));
    let supervisor = setup.start().await;
    until("it is told", async || !here.requests().is_empty()).await;
    assert_eq!(news(&here), ["alert.firing"]);
    supervisor.kill().await;
    // What was taken is no news again, and what follows is.
    let supervisor = setup.start().await;
    let skip = "/v1/streams/orders/messages/1/skip";
    assert_eq!(supervisor.post(skip, &[], r#"{"reason":"old"}"#).await.status, 200);
    until("it is taken back", async || news(&here).len() > 1).await;
    assert_eq!(news(&here), ["alert.firing", "alert.resolved"]);
}

#[tokio::test]
async fn those_who_are_told_change_with_a_reload_and_results_never_wait_for_them() {
    let worker = FakeWorker::start(|call| {
        if call.body == "bad" { Act::status(422) } else { Act::ok(call.body.clone()) }
    })
    .await;
    let hangs = receiver(|| Act::Hang).await;
    let late = receiver(|| Act::status(200)).await;
    let configured = |alerts: &str| {
        format!(
            "[streams.\"*\"]\njitter = \"1ms\"\n\
             [pools.default]\nworkers = {}\neject_after = 1000\n{alerts}",
            urls([&worker])
        )
    };
    let first = format!("[[alerts]]\nkind = \"webhook\"\nurl = \"{}\"\n", hangs.url());
    let setup = Setup::new(configured(&first));
    let supervisor = setup.start().await;
    supervisor.send("bad", "bad").await;
    until("somebody is asked", async || !hangs.requests().is_empty()).await;
    for number in 0..50 {
        supervisor.send("good", number.to_string()).await;
    }
    supervisor.until_released("good", 50).await;
    let both = format!("{first}[[alerts]]\nkind = \"webhook\"\nurl = \"{}\"\n", late.url());
    setup.configure(configured(&both));
    supervisor.process().signal(Signal::HUP);
    until("the new one is told", async || late.requests().len() == 1).await;
    assert_eq!(events(&late), ["alert.firing"]);
}
