//! `parked`: what waits for a person's decision, and what went wrong with it.

use std::process::ExitCode;

use clap::Args;
use serde_json::Value;

use super::{
    Failure, Output, Server,
    screen::{Piece, Screen, print_json, text},
    segment,
    table::{Kind, Table},
};

/// What `parked` is told.
#[derive(Args, Debug)]
pub(super) struct Options {
    /// Only of this stream
    #[arg(long)]
    stream: Option<String>,
    /// Count them by what went wrong
    #[arg(long)]
    groups: bool,
    /// At most so many
    #[arg(long, default_value_t = 100, conflicts_with = "groups")]
    limit: usize,
    /// Those after this place, as `next` of a page says it
    #[arg(long, value_name = "PLACE", conflicts_with = "groups")]
    after: Option<String>,
    #[command(flatten)]
    server: Server,
}

pub(super) async fn run(options: &Options) -> Result<ExitCode, Failure> {
    let Options { stream, limit, after, server, .. } = options;
    let client = server.client()?;
    let mut query = format!("?limit={limit}");
    if options.groups {
        "?".clone_into(&mut query);
    }
    if let Some(stream) = stream {
        query = format!("{query}&stream={}", segment(stream));
    }
    if let Some(after) = after {
        query = format!("{query}&after={}", segment(after));
    }
    let path = if options.groups { "/v1/parked/groups" } else { "/v1/parked" };
    let query = query.replace("?&", "?");
    let value = client.get(&format!("{path}{}", query.trim_end_matches('?'))).await?;
    if server.output == Output::Json {
        print_json(&value)?;
        return Ok(ExitCode::SUCCESS);
    }
    let print = if options.groups { groups } else { page };
    print(server, &value)?;
    Ok(ExitCode::SUCCESS)
}

fn page(server: &Server, value: &Value) -> Result<(), Failure> {
    let screen = Screen::here();
    let mut table = Table::new(&[
        ("stream", Kind::Name),
        ("message", Kind::Number),
        ("tried", Kind::Number),
        ("behind", Kind::Number),
        ("age", Kind::Number),
        ("reason", Kind::Words),
    ]);
    let all = value.get("parked").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    for one in all {
        table.row(vec![
            Piece::new(text(one, "stream")),
            Piece::new(text(one, "sequence")),
            Piece::new(text(one, "attempts")),
            Piece::new(text(one, "waiting_behind")),
            Piece::new(screen.age(one.get("parked_at"))),
            Piece::new(text(one, "reason")),
        ]);
    }
    table.print(&screen, "nothing is parked")?;
    let mut next = Vec::new();
    if let Some(first) = all.first() {
        let place = format!("{} {}", text(first, "stream"), text(first, "sequence"));
        next.push(format!("message {place}"));
        next.push(format!("retry {place}"));
    }
    if all.len() > 1 {
        next.push("parked --groups".to_owned());
    }
    if let Some(more) = value.get("next").and_then(Value::as_str) {
        next.push(format!("parked --after {more}"));
    }
    Ok(screen.next(server, &next)?)
}

fn groups(server: &Server, value: &Value) -> Result<(), Failure> {
    let screen = Screen::here();
    let mut table = Table::new(&[
        ("count", Kind::Number),
        ("streams", Kind::Number),
        ("oldest", Kind::Number),
        ("first", Kind::Name),
        ("what went wrong", Kind::Words),
    ]);
    let all = value.get("groups").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    let place =
        |one: &Value| format!("{} {}", text(one, "first.stream"), text(one, "first.sequence"));
    for one in all {
        table.row(vec![
            Piece::new(text(one, "count")),
            Piece::new(text(one, "streams")),
            Piece::new(screen.age(one.get("oldest"))),
            Piece::new(place(one)),
            Piece::new(text(one, "signature")),
        ]);
    }
    table.print(&screen, "nothing is parked")?;
    let first = all.first().map(|one| format!("message {}", place(one)));
    Ok(screen.next(server, &first.into_iter().collect::<Vec<_>>())?)
}
