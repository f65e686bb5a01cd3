//! `alerts`: what asks for a person.

use std::{
    io::{self, Write as _},
    process::ExitCode,
};

use clap::Args;
use serde_json::{Value, json};

use super::{Failure, Output, Server, table};

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
        let path = format!("/v1/alerts/{id}/acknowledge");
        let alert: Value = client.post(&path, "application/json", body).await?.json().await?;
        match options.server.output {
            Output::Json => writeln!(io::stdout(), "{alert:#}")?,
            Output::Text => writeln!(io::stdout(), "done")?,
        }
        return Ok(ExitCode::SUCCESS);
    }
    let mut value = client.get("/v1/alerts").await?;
    let live = |alert: &Value| options.all || alert["state"] != "resolved";
    if let Some(alerts) = value.get_mut("alerts").and_then(Value::as_array_mut) {
        alerts.retain(live);
    }
    match options.server.output {
        Output::Json => writeln!(io::stdout(), "{value:#}")?,
        Output::Text => {
            let columns = ["id", "state", "severity", "kind", "since", "title", "detail"];
            let alerts = value.get("alerts").cloned().unwrap_or_default();
            table::print(&columns, &table::rows(&alerts, &columns))?;
        }
    }
    Ok(ExitCode::SUCCESS)
}
