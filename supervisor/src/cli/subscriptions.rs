//! `subscriptions`, `subscription`: who gets the results, how far each is, and what becomes of it.

use std::process::ExitCode;

use clap::{Args, Subcommand};
use reqwest::{Method, header};
use rollcall_common::client::{Client, checked, json as json_of};
use serde_json::{Value, json};

use super::{
    Failure, Output, Server,
    screen::{Piece, Screen, age, number, print_done, print_json, text},
    segment,
    table::{Kind, Table},
};

/// What `subscription` is told.
#[derive(Args, Debug)]
pub(super) struct Options {
    /// Its name
    name: String,
    #[command(subcommand)]
    act: Act,
}

/// What is wanted of a subscription.
#[derive(Debug, Subcommand)]
enum Act {
    /// Show how it stands, and what holds it
    Show(Server),
    /// Make it, or let it do something else
    Set(Box<Wanted>),
    /// Let it stand still; what it has yet to get is kept
    Pause(Server),
    /// Let it go on; what its destination refused is tried again
    Resume(Server),
    /// Pass over one result that its destination refuses, for this subscription alone
    Skip {
        /// The result's stream
        stream: String,
        /// Its sequence
        sequence: u64,
        /// Why, for the audit
        #[arg(long)]
        reason: String,
        #[command(flatten)]
        server: Server,
    },
    /// Remove it: what it has yet to get is not sent
    Delete(Server),
}

/// What a subscription is to do.
#[derive(Args, Debug)]
struct Wanted {
    /// The URL of its destination; several are tried in order. None: it is read by pulling
    #[arg(long, value_name = "URL")]
    to: Vec<String>,
    /// The streams, as patterns with `*`; all, if none is given
    #[arg(long, value_delimiter = ',')]
    streams: Vec<String>,
    /// Where it starts: live, beginning, or the position that is done
    #[arg(long)]
    start: Option<String>,
    /// Results in one request, at most
    #[arg(long)]
    batch: Option<u32>,
    /// What else the API knows, as JSON: {"replay_rate": 100}
    #[arg(long, value_name = "JSON")]
    more: Option<String>,
    #[command(flatten)]
    server: Server,
}

fn path(name: &str) -> String {
    format!("/v1/subscriptions/{}", segment(name))
}

/// How it stands, in a word.
fn state(one: &Value) -> String {
    let held = one.get("held_streams").and_then(Value::as_array).is_some_and(|all| !all.is_empty());
    if one.get("paused") == Some(&Value::Bool(true)) {
        "paused".to_owned()
    } else if held {
        "held".to_owned()
    } else if one.get("failing_since").is_some_and(|since| !since.is_null()) {
        "failing".to_owned()
    } else {
        text(one, "mode")
    }
}

fn state_piece(one: &Value) -> Piece {
    let state = state(one);
    match &*state {
        "held" | "failing" => Piece::styled(state, super::screen::Style::Bad),
        _ => Piece::state(state),
    }
}

/// What there is to say of it at once.
pub(super) fn trouble(one: &Value) -> Option<String> {
    let name = text(one, "name");
    let error = text(one, "last_error");
    match &*state(one) {
        "paused" if is_unconfigured(one) => Some(format!(
            "{name} is paused: the configuration names it no more (name it again, make it one of \
             the API, or delete it)"
        )),
        "paused" => Some(format!("{name} is paused ({})", text(one, "paused_reason"))),
        "held" => Some(format!(
            "the destination of {name} refuses a result of {}: {error}",
            text(one, "held_streams")
        )),
        "failing" => Some(format!(
            "the destination of {name} takes nothing, {} tries so far: {error}",
            text(one, "failures")
        )),
        _ => None,
    }
}

/// Whether it stands because the configuration names it no more.
fn is_unconfigured(one: &Value) -> bool {
    text(one, "paused_reason") == "unconfigured"
}

/// What may be done about it.
pub(super) fn remedies(one: &Value, stream: Option<(&str, u64)>) -> Vec<String> {
    let name = text(one, "name");
    let mut next = Vec::new();
    if is_unconfigured(one) {
        // It goes on when it is named again, or is the API's from now on; nothing else resumes it.
        next.push(format!("subscription {name} set --to URL"));
        next.push(format!("subscription {name} delete"));
    } else if matches!(&*state(one), "paused" | "held" | "failing") {
        next.push(format!("subscription {name} resume"));
    }
    if let Some((stream, sequence)) = stream.filter(|_| state(one) == "held") {
        next.push(format!("message {stream} {sequence} --result"));
        next.push(format!("subscription {name} skip {stream} {sequence} --reason TEXT"));
    }
    next
}

pub(super) async fn list(server: &Server) -> Result<ExitCode, Failure> {
    let value = server.client()?.get("/v1/subscriptions").await?;
    if server.output == Output::Json {
        print_json(&value)?;
        return Ok(ExitCode::SUCCESS);
    }
    let screen = Screen::here();
    let mut table = Table::new(&[
        ("subscription", Kind::Name),
        ("kind", Kind::Name),
        ("state", Kind::Name),
        ("done", Kind::Number),
        ("of", Kind::Number),
        ("lag", Kind::Number),
        ("held", Kind::Words),
        ("last error", Kind::Words),
    ]);
    let all = value.get("subscriptions").and_then(Value::as_array);
    let all = all.map(Vec::as_slice).unwrap_or_default();
    for one in all {
        let lag = if number(one, "lag") == 0 { "-".to_owned() } else { age(number(one, "lag_ms")) };
        let held = match text(one, "held_streams") {
            none if none.is_empty() => "-".to_owned(),
            some => some,
        };
        table.row(vec![
            Piece::new(text(one, "name")),
            Piece::new(text(one, "kind")),
            state_piece(one),
            Piece::new(text(one, "checkpoint")),
            Piece::new(text(one, "head")),
            Piece::new(lag),
            Piece::new(held),
            Piece::new(text(one, "last_error")),
        ]);
    }
    table.print(&screen, "there is no subscription")?;
    let bad = all.iter().find(|one| trouble(one).is_some());
    let next = bad.map(|one| format!("subscription {} show", text(one, "name")));
    screen.next(server, &next.into_iter().collect::<Vec<_>>())?;
    Ok(ExitCode::SUCCESS)
}

pub(super) async fn run(options: &Options) -> Result<ExitCode, Failure> {
    let name = &options.name;
    match &options.act {
        Act::Show(server) => show(name, server).await,
        Act::Set(wanted) => set(name, wanted).await,
        Act::Pause(server) => order(name, server, "pause", json!({})).await,
        Act::Resume(server) => order(name, server, "resume", json!({})).await,
        Act::Skip { stream, sequence, reason, server } => {
            let body = json!({ "stream": stream, "sequence": sequence, "reason": reason });
            order(name, server, "skip", body).await
        }
        Act::Delete(server) => {
            let client = server.client()?;
            checked(client.call(Method::DELETE, &path(name)).send().await?).await?;
            print_done(server.output, &json!({ "name": name }), &format!("{name} is gone"))?;
            Ok(ExitCode::SUCCESS)
        }
    }
}

async fn order(name: &str, server: &Server, act: &str, body: Value) -> Result<ExitCode, Failure> {
    let path = format!("{}/{act}", path(name));
    let client = server.client()?;
    let answer = client.post(&path, "application/json", body.to_string()).await?;
    let value: Value = json_of(answer).await?;
    let (checkpoint, head) = (text(&value, "checkpoint"), text(&value, "head"));
    let done = format!("{name} is {}, {checkpoint} of {head} done", state(&value));
    print_done(server.output, &value, &done)?;
    Ok(ExitCode::SUCCESS)
}

async fn set(name: &str, wanted: &Wanted) -> Result<ExitCode, Failure> {
    let Wanted { to, streams, start, batch, more, server } = wanted;
    let mut body = json!({});
    if let Some(more) = more {
        body = serde_json::from_str(more)
            .map_err(|error| Failure::usage(format!("--more is no JSON: {error}")))?;
    }
    let Value::Object(members) = &mut body else {
        return Err(Failure::usage("--more is an object: {\"name\": value}"));
    };
    let mut put = |name: &str, value: Value| members.insert(name.to_owned(), value);
    match &to[..] {
        [] => {}
        [one] => drop(put("url", json!(one))),
        all => drop(put("url", json!(all))),
    }
    if !streams.is_empty() {
        put("streams", json!(streams));
    }
    if let Some(start) = start {
        put("start", start.parse::<u64>().map_or_else(|_| json!(start), |number| json!(number)));
    }
    if let Some(batch) = batch {
        put("batch", json!(batch));
    }
    let client = server.client()?;
    let call = client.call(Method::PUT, &path(name));
    let call = call.header(header::CONTENT_TYPE, "application/json").body(body.to_string());
    let value: Value = json_of(checked(call.send().await?).await?).await?;
    print_done(server.output, &value, &format!("{name} is {}", state(&value)))?;
    if server.output == Output::Text {
        Screen::here().next(server, &[format!("subscription {name} show")])?;
    }
    Ok(ExitCode::SUCCESS)
}

async fn show(name: &str, server: &Server) -> Result<ExitCode, Failure> {
    let client = server.client()?;
    let value = client.get(&path(name)).await?;
    if server.output == Output::Json {
        print_json(&value)?;
        return Ok(ExitCode::SUCCESS);
    }
    let screen = Screen::here();
    screen.line(&[Piece::new(format!("{name} is ")), state_piece(&value)])?;
    if let Some(trouble) = trouble(&value) {
        let since = value.get("failing_since").filter(|since| !since.is_null());
        let since = since.map(|since| format!(", since {}", screen.age(Some(since))));
        screen.fact("trouble", &format!("{trouble}{}", since.unwrap_or_default()))?;
    }
    let to = match text(&value, "url") {
        none if none == "-" => "whoever reads it".to_owned(),
        url => url,
    };
    screen.fact("sends to", &to)?;
    screen.fact("streams", &text(&value, "streams"))?;
    let (checkpoint, head) = (text(&value, "checkpoint"), text(&value, "head"));
    let lag = number(&value, "lag");
    let late = if lag == 0 {
        String::new()
    } else {
        format!(", the oldest {} old", age(number(&value, "lag_ms")))
    };
    screen.fact("done", &format!("{checkpoint} of {head}, {lag} to come{late}"))?;
    let held = held(&client, &value).await?;
    let at = held.as_ref().map(|(stream, sequence)| (&**stream, *sequence));
    if let Some((stream, sequence)) = at {
        screen.fact("held at", &format!("{stream}/{sequence}"))?;
    }
    let mut next = remedies(&value, at);
    if next.is_empty() {
        next.push(format!("subscription {name} pause"));
    }
    screen.next(server, &next)?;
    Ok(ExitCode::SUCCESS)
}

/// The first result that the destination refuses: as the supervisor says it, or the first after the
/// checkpoint of the stream that is held.
pub(super) async fn held(client: &Client, one: &Value) -> Result<Option<(String, u64)>, Failure> {
    let first = one.pointer("/held_streams/0").and_then(Value::as_str).map(ToOwned::to_owned);
    let Some(stream) = first else { return Ok(None) };
    let after = number(one, "checkpoint");
    let page = client.get(&format!("/v1/results?after={after}&limit=1000")).await?;
    let results = page.get("results").and_then(Value::as_array).cloned().unwrap_or_default();
    let of_it = results.iter().find(|result| text(result, "stream") == stream);
    Ok(of_it.map(|result| (stream, number(result, "sequence"))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_proposed_works() {
        let paused = |reason: &str| json!({ "name": "s", "paused": true, "paused_reason": reason });
        assert_eq!(remedies(&paused("person"), None), ["subscription s resume"]);
        assert_eq!(remedies(&paused("gone"), None), ["subscription s resume"]);
        let next = remedies(&paused("unconfigured"), None);
        assert_eq!(next, ["subscription s set --to URL", "subscription s delete"]);
    }
}
