//! `workers`, `worker`: who works, and to let one finish and go.

use std::process::ExitCode;

use clap::{Args, Subcommand};
use jiff::Timestamp;
use rollcall_common::client::json;
use serde_json::Value;

use super::{
    Failure, Output, Server,
    screen::{Piece, Screen, Style, age, print_done, print_json, text},
    segment,
    table::{Kind, Table},
};

/// What `worker` is told.
#[derive(Args, Debug)]
pub(super) struct Options {
    /// Its id, as `workers` shows it
    id: String,
    #[command(subcommand)]
    act: Act,
}

/// What is wanted of a worker.
#[derive(Debug, Subcommand)]
enum Act {
    /// Show how it stands
    Show(Server),
    /// Let it finish what it has, and give it nothing more
    Drain(Server),
    /// Give it work again: after a drain, or before a pause is over that it asked for
    Resume(Server),
}

async fn all(server: &Server) -> Result<Vec<Value>, Failure> {
    let value = server.client()?.get("/v1/workers").await?;
    Ok(value.get("workers").and_then(Value::as_array).cloned().unwrap_or_default())
}

pub(super) async fn list(server: &Server) -> Result<ExitCode, Failure> {
    let all = all(server).await?;
    if server.output == Output::Json {
        print_json(&serde_json::json!({ "workers": all }))?;
        return Ok(ExitCode::SUCCESS);
    }
    let screen = Screen::here();
    let mut table = Table::new(&[
        ("worker", Kind::Name),
        ("pool", Kind::Name),
        ("state", Kind::Words),
        ("calls", Kind::Number),
        ("of", Kind::Number),
        ("strikes", Kind::Number),
        ("version", Kind::Words),
    ]);
    for one in &all {
        table.row(vec![
            Piece::new(text(one, "id")),
            Piece::new(text(one, "pool")),
            condition_piece(one),
            Piece::new(text(one, "in_flight")),
            Piece::new(text(one, "concurrency")),
            Piece::new(text(one, "strikes")),
            Piece::new(text(one, "version")),
        ]);
    }
    table
        .print(&screen, "there is no worker: let one register, or name it in the configuration")?;
    let bad = all.iter().find(|one| !is_well(one));
    let next = bad.map(|one| format!("worker {} show", text(one, "id")));
    screen.next(server, &next.into_iter().collect::<Vec<_>>())?;
    Ok(ExitCode::SUCCESS)
}

pub(super) async fn run(options: &Options) -> Result<ExitCode, Failure> {
    let Options { id, act } = options;
    match act {
        Act::Show(server) => show(id, server).await,
        Act::Drain(server) => {
            order(id, server, ("drain", "finishes what it has and is given nothing more")).await
        }
        Act::Resume(server) => order(id, server, ("resume", "is given work again")).await,
    }
}

async fn order(id: &str, server: &Server, (act, done): (&str, &str)) -> Result<ExitCode, Failure> {
    let path = format!("/v1/workers/{}/{act}", segment(id));
    let answer = server.client()?.post(&path, "application/json", "").await?;
    let value: Value = json(answer).await?;
    print_done(server.output, &value, &format!("{id} {done}"))?;
    Ok(ExitCode::SUCCESS)
}

/// How it stands: its state, what keeps it from being of use, and for how long yet.
pub(super) fn condition(one: &Value) -> String {
    let (state, impediment) = (text(one, "state"), text(one, "impediment"));
    let until = one.get(format!("{state}_until")).and_then(Value::as_str);
    let until = until.and_then(|text| text.parse::<Timestamp>().ok());
    let left = until.map_or_else(String::new, |until| {
        let left = until.duration_since(Timestamp::now()).as_millis();
        format!(" for {} more", age(u64::try_from(left).unwrap_or(0)))
    });
    match &*impediment {
        "-" => format!("{state}{left}"),
        // Nothing but its last calls keeps it from work.
        _ if state == "active" => impediment,
        _ if state == impediment => format!("{state}{left}"),
        _ => format!("{state}{left}, {impediment}"),
    }
}

/// Whether all is as it should be.
fn is_well(one: &Value) -> bool {
    text(one, "state") == "active" && text(one, "impediment") == "-"
}

fn condition_piece(one: &Value) -> Piece {
    let condition = condition(one);
    match &*text(one, "state") {
        "active" if !is_well(one) => Piece::styled(condition, Style::Worrying),
        state => Piece::styled(condition, Style::of(state)),
    }
}

/// Whether the condition says it already.
fn is_until(name: &str) -> bool {
    name.ends_with("_until")
}

async fn show(id: &str, server: &Server) -> Result<ExitCode, Failure> {
    let all = all(server).await?;
    let Some(one) = all.iter().find(|one| text(one, "id") == id) else {
        return Err(Failure::failed(format!("there is no worker {id:?}; `workers` shows them")));
    };
    if server.output == Output::Json {
        print_json(one)?;
        return Ok(ExitCode::SUCCESS);
    }
    let screen = Screen::here();
    let state = text(one, "state");
    screen.line(&[Piece::new(format!("{id} is ")), condition_piece(one)])?;
    let said = |name: &str| !matches!(name, "id" | "impediment" | "state") && !is_until(name);
    if let Value::Object(members) = one {
        for (name, value) in members.iter().filter(|(name, _)| said(name)) {
            screen.fact(name, &super::screen::word(value))?;
        }
    }
    let act = if matches!(&*state, "draining" | "paused") { "resume" } else { "drain" };
    let mut next = vec![format!("worker {id} {act}")];
    if !is_well(one) {
        next.insert(0, "alerts".to_owned());
    }
    screen.next(server, &next)?;
    Ok(ExitCode::SUCCESS)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_worker_is_said_to_be_what_keeps_it_from_work() {
        let until = Timestamp::now() + std::time::Duration::from_millis(30_900);
        let until = until.to_string();
        for (worker, said) in [
            (json!({ "state": "active", "impediment": null }), "active"),
            (json!({ "state": "active", "impediment": "hanging" }), "hanging"),
            (json!({ "state": "unreachable", "impediment": "unreachable" }), "unreachable"),
            (json!({ "state": "draining", "impediment": "busy" }), "draining, busy"),
            (
                json!({ "state": "paused", "impediment": "busy", "paused_until": until }),
                "paused for 30s more, busy",
            ),
        ] {
            let worker: Value = worker;
            assert_eq!(condition(&worker), said);
        }
    }
}
