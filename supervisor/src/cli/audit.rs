//! `audit`: who did what.

use std::process::ExitCode;

use clap::Args;
use serde_json::Value;

use super::{
    Failure, Output, Server,
    screen::{Piece, Screen, print_json, text},
    table::{Kind, Table},
};

/// What `audit` is told.
#[derive(Args, Debug)]
pub(super) struct Options {
    /// At most so many, the newest
    #[arg(long, default_value_t = 50)]
    limit: usize,
    #[command(flatten)]
    server: Server,
}

pub(super) async fn run(options: &Options) -> Result<ExitCode, Failure> {
    let Options { limit, server } = options;
    let value = server.client()?.get(&format!("/v1/audit?limit={}", limit.max(&1))).await?;
    if server.output == Output::Json {
        print_json(&value)?;
        return Ok(ExitCode::SUCCESS);
    }
    let screen = Screen::here();
    let mut table = Table::new(&[
        ("age", Kind::Number),
        ("who", Kind::Name),
        ("did", Kind::Name),
        ("on", Kind::Name),
        ("why", Kind::Words),
    ]);
    let all = value.get("audit").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    for one in all {
        table.row(vec![
            Piece::new(screen.age(one.get("at"))),
            Piece::new(text(one, "by")),
            Piece::new(text(one, "act")),
            Piece::new(text(one, "on")),
            Piece::new(text(one, "reason")),
        ]);
    }
    table.print(&screen, "nobody has done anything")?;
    Ok(ExitCode::SUCCESS)
}
