//! `workers`, `worker`: who works, and to let one finish and go.

use std::process::ExitCode;

use clap::{Args, Subcommand};
use rollcall_common::client::json;
use serde_json::Value;

use super::{
    Failure, Output, Server,
    screen::{Piece, Screen, print_done, print_json, text},
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
            Piece::state(text(one, "state")),
            Piece::new(text(one, "in_flight")),
            Piece::new(text(one, "concurrency")),
            Piece::new(text(one, "strikes")),
            Piece::new(text(one, "version")),
        ]);
    }
    table
        .print(&screen, "there is no worker: let one register, or name it in the configuration")?;
    let bad = all.iter().find(|one| text(one, "state") != "active");
    let next = bad.map(|one| format!("worker {} show", text(one, "id")));
    screen.next(server, &next.into_iter().collect::<Vec<_>>())?;
    Ok(ExitCode::SUCCESS)
}

pub(super) async fn run(options: &Options) -> Result<ExitCode, Failure> {
    let Options { id, act } = options;
    match act {
        Act::Show(server) => show(id, server).await,
        Act::Drain(server) => {
            let path = format!("/v1/workers/{}/drain", segment(id));
            let client = server.client()?;
            let answer = client.post(&path, "application/json", "").await?;
            let value: Value = json(answer).await?;
            let done = format!("{id} finishes what it has and is given nothing more");
            print_done(server.output, &value, &done)?;
            Ok(ExitCode::SUCCESS)
        }
    }
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
    screen.line(&[Piece::new(format!("{id} is ")), Piece::state(&state)])?;
    if let Value::Object(members) = one {
        for (name, value) in members.iter().filter(|(name, _)| !matches!(&***name, "id" | "state"))
        {
            screen.fact(name, &super::screen::word(value))?;
        }
    }
    let mut next = vec![format!("worker {id} drain")];
    if state != "active" {
        next.insert(0, "alerts".to_owned());
    }
    screen.next(server, &next)?;
    Ok(ExitCode::SUCCESS)
}
