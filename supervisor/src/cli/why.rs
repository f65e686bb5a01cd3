//! `why`: what holds a stream, since when, what has been tried, and what may be decided.

use std::{
    io::{self, Write as _},
    process::ExitCode,
};

use clap::Args;
use rollcall_common::client::Client;
use serde_json::{Value, json};

use super::{
    Failure, Output, Server, messages,
    screen::{Piece, Screen, Style, age, number, print_json, text},
    segment,
    streams::queued,
    subscriptions, workers,
};

/// What `why` is told.
#[derive(Args, Debug)]
pub(super) struct Options {
    /// The stream
    stream: String,
    #[command(flatten)]
    server: Server,
}

/// What is known of a stream that stands.
struct Known {
    stream: Value,
    /// The oldest unreleased message.
    message: Option<Value>,
    workers: Vec<Value>,
    subscriptions: Vec<Value>,
    alerts: Vec<Value>,
    /// Who paused it.
    paused: Option<Value>,
}

fn list(value: &Value, name: &str) -> Vec<Value> {
    value.get(name).and_then(Value::as_array).cloned().unwrap_or_default()
}

impl Known {
    async fn of(client: &Client, stream: &str) -> Result<Self, Failure> {
        let found = client.get(&format!("/v1/streams/{}", segment(stream))).await?;
        let sequence = found.pointer("/head/sequence").and_then(Value::as_u64);
        let message = match sequence {
            Some(sequence) => client.get(&messages::path(stream, sequence)).await.ok(),
            None => None,
        };
        // A token may be for this stream alone, and not for what is common to all.
        let ask = async |path: &str, name: &str| {
            client.get(path).await.map(|value| list(&value, name)).unwrap_or_default()
        };
        let alerts = ask("/v1/alerts", "alerts").await;
        let audit = ask("/v1/audit", "audit").await;
        Ok(Self {
            message,
            workers: ask("/v1/workers", "workers").await,
            subscriptions: ask("/v1/subscriptions", "subscriptions").await,
            alerts: alerts
                .into_iter()
                .filter(|one| text(one, "state") != "resolved" && concerns(one, &found, stream))
                .collect(),
            paused: audit
                .into_iter()
                .find(|one| text(one, "act") == "pause" && text(one, "on") == stream),
            stream: found,
        })
    }

    fn json(self) -> Value {
        json!({
            "stream": self.stream,
            "message": self.message,
            "paused": self.paused,
            "subscriptions": self.troubled(),
            "alerts": self.alerts,
        })
    }

    /// Subscriptions that hand this stream's results on, or should.
    fn troubled(&self) -> Vec<Value> {
        let name = text(&self.stream, "stream");
        let troubled = self.subscriptions.iter().filter(|one| {
            subscriptions::trouble(one).is_some()
                && list(one, "streams")
                    .iter()
                    .any(|pattern| pattern.as_str().is_some_and(|pattern| fits(pattern, &name)))
        });
        troubled.cloned().collect()
    }

    /// The workers of the stream's pool.
    fn pool(&self) -> Vec<&Value> {
        let pool = text(&self.stream, "settings.pool");
        self.workers.iter().filter(|one| text(one, "pool") == pool).collect()
    }
}

/// Whether an alert is about this stream, or its pool.
fn concerns(alert: &Value, stream: &Value, name: &str) -> bool {
    let pool = text(stream, "settings.pool");
    let of_pool = matches!(&*text(alert, "kind"), "no_worker" | "pool_outage")
        && text(alert, "title").split(' ').any(|word| word == pool);
    text(alert, "stream") == name || of_pool
}

/// Whether a pattern with `*` takes a name.
fn fits(pattern: &str, name: &str) -> bool {
    crate::dispatcher::settings::Pattern::new(pattern).matches(name)
}

pub(super) async fn run(options: &Options) -> Result<ExitCode, Failure> {
    let Options { stream, server } = options;
    let client = server.client()?;
    let known = Known::of(&client, stream).await?;
    if server.output == Output::Json {
        print_json(&known.json())?;
        return Ok(ExitCode::SUCCESS);
    }
    let screen = Screen::here();
    let mut next = Vec::new();
    if known.stream.get("head").is_some() {
        head(&screen, &client, &known, &mut next).await?;
    } else {
        let released = text(&known.stream, "released");
        screen
            .line(&[Piece::new(format!("nothing waits in {stream}; {released} are released"))])?;
    }
    backlog(&screen, &known)?;
    for one in known.troubled() {
        let held = subscriptions::held(&client, &one).await?;
        let held = held.filter(|(of, _)| of == stream);
        screen.fact("delivery", &subscriptions::trouble(&one).unwrap_or_default())?;
        let at = held.as_ref().map(|(stream, sequence)| (&**stream, *sequence));
        next.extend(subscriptions::remedies(&one, at));
    }
    for alert in &known.alerts {
        let told =
            format!("{} ({}), {}", text(alert, "id"), text(alert, "state"), text(alert, "title"));
        screen.fact("alert", &told)?;
    }
    if known.message.as_ref().is_some_and(|one| !list(one, "attempts").is_empty())
        && let Some(message) = &known.message
    {
        writeln!(io::stdout())?;
        messages::attempts(&screen, message)?;
    }
    screen.next(server, &next)?;
    Ok(ExitCode::SUCCESS)
}

/// What the oldest message waits for.
async fn head(
    screen: &Screen,
    client: &Client,
    known: &Known,
    next: &mut Vec<String>,
) -> Result<(), Failure> {
    let name = text(&known.stream, "stream");
    let sequence = number(&known.stream, "head.sequence");
    let cause = text(&known.stream, "head.cause");
    let since = age(number(&known.stream, "head.age_ms"));
    screen.line(&[
        Piece::styled(format!("{name} stands at message {sequence}: "), Style::Strong),
        Piece::state(&cause),
        Piece::new(format!(", {since} old")),
    ])?;
    screen.fact("because", &because(screen, known, &cause))?;
    if let Some(reason) = known.message.as_ref().and_then(|one| one.get("reason")) {
        let parked = known.message.as_ref().and_then(|one| one.get("parked_at"));
        screen.fact("parked", &format!("{} ago", screen.age(parked)))?;
        screen.fact("reason", &super::screen::word(reason))?;
    }
    let body = format!("{}/body", messages::path(&name, sequence));
    if let Some(found) = messages::body(client, &body).await? {
        screen.fact("message", &messages::glance(&found))?;
        next.push(format!("message {name} {sequence} --body"));
    }
    let state = known.message.as_ref().map(|one| text(one, "state")).unwrap_or_default();
    match &*cause {
        "paused" => next.push(format!("resume {name}")),
        "no_worker" | "pool_outage" => next.push("workers".to_owned()),
        _ => {}
    }
    next.extend(messages::decisions(&name, sequence, &state));
    Ok(())
}

/// The cause in words.
fn because(screen: &Screen, known: &Known, cause: &str) -> String {
    let pool = text(&known.stream, "settings.pool");
    match cause {
        "parked" => {
            "its attempts are used up, or it was refused for good; a person decides: try it \
                     again, supply its result, or go on without one"
                .to_owned()
        }
        "paused" => known.paused.as_ref().map_or_else(
            || "somebody paused the stream; it takes messages in".to_owned(),
            |audit| {
                let (by, why) = (text(audit, "by"), text(audit, "reason"));
                let why = if why.is_empty() { "no reason given".to_owned() } else { why };
                format!("{by} paused the stream {} ago: {why}", screen.age(audit.get("at")))
            },
        ),
        "no_worker" => {
            let states: Vec<String> = known
                .pool()
                .iter()
                .map(|one| format!("{} is {}", text(one, "id"), workers::condition(one)))
                .collect();
            let states =
                if states.is_empty() { "none is known".to_owned() } else { states.join(", ") };
            format!("no worker of pool {pool} can take work: {states}")
        }
        "pool_outage" => format!(
            "pool {pool} fails whatever it is given: nothing is charged to messages, the pool is \
             probed, and work goes on by itself when it is back"
        ),
        "retrying" => "it has failed, and is tried again".to_owned(),
        _ => "it is worked on, or waits for a worker that has room".to_owned(),
    }
}

/// What waits behind the head.
fn backlog(screen: &Screen, known: &Known) -> Result<(), Failure> {
    let count = |name: &str| number(&known.stream, name);
    let backlog = count("backlog");
    if backlog == 0 {
        return Ok(());
    }
    let queued = queued(&known.stream);
    let (working, answered, parked) = (count("in_flight"), count("waiting"), count("parked"));
    let most = count("settings.max_backlog");
    let full = if most > 0 && backlog >= most {
        format!(
            "; that is the bound ({most}): new messages are refused (429) until some are released"
        )
    } else {
        String::new()
    };
    let line = format!(
        "{backlog} messages are not released: {queued} queued, {working} worked on, {answered} \
         answered, {parked} parked{full}"
    );
    Ok(screen.fact("backlog", &line)?)
}
