//! `alerts`: what asks for a person.

use std::process::ExitCode;

use clap::Args;
use rollcall_common::client::json as json_of;
use serde_json::{Value, json};

use super::{
    Failure, Output, Server,
    screen::{Piece, Screen, print_done, print_json, text},
    segment,
    table::{Kind, Table},
};

/// What `alerts` is told.
#[derive(Args, Debug)]
pub(super) struct Options {
    /// Also those that are resolved
    #[arg(long)]
    all: bool,
    /// Say that you have seen this one: it is not repeated
    #[arg(long, value_name = "ID")]
    acknowledge: Option<String>,
    /// Why, for the audit
    #[arg(long, requires = "acknowledge")]
    reason: Option<String>,
    #[command(flatten)]
    server: Server,
}

pub(super) async fn run(options: &Options) -> Result<ExitCode, Failure> {
    let client = options.server.client()?;
    if let Some(id) = &options.acknowledge {
        let body = json!({ "reason": options.reason.as_deref().unwrap_or_default() }).to_string();
        let path = format!("/v1/alerts/{}/acknowledge", segment(id));
        let alert: Value = json_of(client.post(&path, "application/json", body).await?).await?;
        let title = text(&alert, "title");
        print_done(options.server.output, &alert, &format!("alert {id} is yours: {title}"))?;
        return Ok(ExitCode::SUCCESS);
    }
    let mut value = client.get("/v1/alerts").await?;
    let live = |alert: &Value| options.all || alert["state"] != "resolved";
    if let Some(alerts) = value.get_mut("alerts").and_then(Value::as_array_mut) {
        alerts.retain(live);
    }
    match options.server.output {
        Output::Json => print_json(&value)?,
        Output::Text => show(&options.server, &value)?,
    }
    Ok(ExitCode::SUCCESS)
}

fn show(server: &Server, value: &Value) -> Result<(), Failure> {
    let screen = Screen::here();
    let mut table = Table::new(&[
        ("id", Kind::Number),
        ("state", Kind::Name),
        ("severity", Kind::Name),
        ("kind", Kind::Name),
        ("age", Kind::Number),
        ("what", Kind::Words),
    ]);
    let all = value.get("alerts").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    for one in all {
        table.row(vec![
            Piece::new(text(one, "id")),
            Piece::state(text(one, "state")),
            Piece::state(text(one, "severity")),
            Piece::new(text(one, "kind")),
            Piece::new(screen.age(one.get("since"))),
            Piece::new(format!("{}: {}", text(one, "title"), text(one, "detail"))),
        ]);
    }
    table.print(&screen, "no alert")?;
    let firing = all.iter().find(|one| text(one, "state") == "firing");
    let next = firing.map(|one| {
        let about = |name: &str| one.get(name).and_then(Value::as_str);
        let look = match (about("stream"), about("subscription"), about("worker")) {
            (Some(stream), _, _) => format!("why {stream}"),
            (None, Some(name), _) => format!("subscription {name} show"),
            (None, None, Some(worker)) => format!("worker {worker} show"),
            (None, None, None) => "status".to_owned(),
        };
        vec![look, format!("alerts --acknowledge {}", text(one, "id"))]
    });
    Ok(screen.next(server, &next.unwrap_or_default())?)
}
