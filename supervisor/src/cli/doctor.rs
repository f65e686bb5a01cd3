//! `doctor`, `healthcheck`: is all as it should be, from here?

use std::{process::ExitCode, time::Duration};

use clap::Args;
use rollcall_common::client::{Client, ClientError};
use serde_json::{Value, json};
use tokio::time::timeout;

use super::{
    Failure, Output, Server,
    screen::{Piece, Screen, Style, number, print_json, text, word},
};

/// How far two clocks may be apart.
const SKEW: Duration = Duration::from_secs(5);

/// What is said where the journal has no room.
const FULL_DISK: &str = "the journal's disk is full: every new message is refused (507)";

/// What `healthcheck` is told.
#[derive(Args, Debug)]
pub(super) struct Health {
    /// Only whether the process lives, not whether it takes messages in
    #[arg(long)]
    live: bool,
    /// How long it may take
    #[arg(long, value_parser = super::span, default_value = "5s")]
    timeout: Duration,
    #[command(flatten)]
    server: Server,
}

/// Whether something is as it should be.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum State {
    Ill,
    Well,
}

impl From<bool> for State {
    fn from(well: bool) -> Self {
        if well { Self::Well } else { Self::Ill }
    }
}

/// One look.
struct Finding {
    what: &'static str,
    well: bool,
    said: String,
    next: Option<String>,
}

impl Finding {
    fn new(
        what: &'static str,
        state: impl Into<State>,
        said: impl Into<String>,
        next: &str,
    ) -> Self {
        let well = state.into() == State::Well;
        let next = Some(next.to_owned()).filter(|next| !well && !next.is_empty());
        Self { what, well, said: said.into(), next }
    }

    fn json(&self) -> Value {
        json!({ "what": self.what, "well": self.well, "said": self.said, "next": self.next })
    }
}

pub(super) async fn healthcheck(options: &Health) -> Result<ExitCode, Failure> {
    let client = options.server.client()?;
    let path = if options.live { "/livez" } else { "/readyz" };
    let answer = timeout(options.timeout, client.get(path)).await;
    let value = answer.map_err(|_| Failure::failed(format!("{path} gave no answer in time")))??;
    match options.server.output {
        Output::Json => print_json(&value)?,
        Output::Text => Screen::here().line(&[Piece::state(text(&value, "status"))])?,
    }
    Ok(ExitCode::SUCCESS)
}

pub(super) async fn doctor(server: &Server) -> Result<ExitCode, Failure> {
    let findings = look(&server.client()?).await;
    let well = findings.iter().all(|finding| finding.well);
    let code = if well { ExitCode::SUCCESS } else { ExitCode::FAILURE };
    if server.output == Output::Json {
        let all: Vec<Value> = findings.iter().map(Finding::json).collect();
        print_json(&json!({ "well": well, "findings": all }))?;
        return Ok(code);
    }
    let screen = Screen::here();
    for finding in &findings {
        let (sign, style) = if finding.well { ("ok ", Style::Good) } else { ("!! ", Style::Bad) };
        screen.line(&[
            Piece::styled(sign, style),
            Piece::styled(format!("{:<14}", finding.what), Style::Dim),
            Piece::new(&finding.said),
        ])?;
    }
    let next: Vec<String> = findings.into_iter().filter_map(|finding| finding.next).collect();
    screen.next(server, &next)?;
    Ok(code)
}

async fn look(client: &Client) -> Vec<Finding> {
    let live = client.get("/livez").await;
    if let Err(error) = &live {
        return vec![Finding::new("reach", false, error.to_string(), "status")];
    }
    let mut all = vec![Finding::new("reach", true, format!("{} answers", client.url()), "")];
    let (ready, status) = (client.get("/readyz").await, client.get("/v1/status").await);
    all.push(of_intake(ready, status.as_ref().ok()));
    match status {
        Ok(status) => all.extend(of_status(&status)),
        Err(error) => all.push(Finding::new("token", false, error.to_string(), "")),
    }
    if let Ok(value) = client.get("/v1/audit?limit=1").await {
        all.extend(of_clock(&value));
    }
    if let Ok(value) = client.get("/v1/workers").await {
        all.push(of_workers(&value));
    }
    if let Ok(value) = client.get("/v1/subscriptions").await {
        all.push(of_subscriptions(&value));
    }
    all
}

/// It is ready also while it has no room.
fn of_intake(ready: Result<Value, ClientError>, status: Option<&Value>) -> Finding {
    let low = status.is_some_and(|status| text(status, "journal_space") == "low");
    match ready {
        Ok(_) if low => Finding::new("intake", false, FULL_DISK, "status"),
        Ok(_) => Finding::new("intake", true, "it takes messages in", ""),
        Err(error) => Finding::new("intake", false, error.to_string(), "status"),
    }
}

fn of_status(status: &Value) -> Vec<Finding> {
    let (theirs, ours) = (text(status, "version"), env!("CARGO_PKG_VERSION"));
    let versions = format!("the supervisor is {theirs}, this command {ours}");
    let parked = number(status, "parked");
    let stuck = status.get("stuck").and_then(Value::as_array).map(Vec::as_slice);
    let stuck = stuck.unwrap_or_default();
    let firing = number(status, "alerts.firing");
    let space = text(status, "journal_space");
    let next = stuck
        .first()
        .map_or_else(|| "parked".to_owned(), |one| format!("why {}", text(one, "stream")));
    vec![
        Finding::new("version", theirs == ours, versions, ""),
        Finding::new(
            "disk",
            space == "enough",
            format!("space for the journal: {space}"),
            "status",
        ),
        Finding::new("alerts", firing == 0, format!("{firing} firing"), "alerts"),
        Finding::new(
            "parked",
            parked == 0,
            format!("{parked} messages wait for a person"),
            "parked",
        ),
        Finding::new(
            "streams",
            stuck.is_empty(),
            format!("{} wait for somebody", stuck.len()),
            &next,
        ),
        of_full(status),
    ]
}

/// Streams that have as many messages as they may have.
fn of_full(status: &Value) -> Finding {
    let Some(first) = status.pointer("/full/0").map(word) else {
        return Finding::new("backlogs", true, "every stream has room", "");
    };
    let said = format!("full, new messages are refused (429): {}", text(status, "full"));
    Finding::new("backlogs", false, said, &format!("why {first}"))
}

/// What was just done is not from tomorrow.
fn of_clock(audit: &Value) -> Option<Finding> {
    let at = audit.pointer("/audit/0/at")?.as_str()?;
    let at: jiff::Timestamp = at.parse().ok()?;
    let ahead = Duration::try_from(at.duration_since(jiff::Timestamp::now())).unwrap_or_default();
    let said = format!("the supervisor's clock is {}s ahead of this one", ahead.as_secs());
    (ahead > SKEW).then(|| Finding::new("clock", false, said, ""))
}

fn of_workers(value: &Value) -> Finding {
    let all = value.get("workers").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    let active = all.iter().filter(|one| text(one, "state") == "active").count();
    let well = active == all.len() && active > 0;
    Finding::new("workers", well, format!("{active} of {} active", all.len()), "workers")
}

fn of_subscriptions(value: &Value) -> Finding {
    let all = value.get("subscriptions").and_then(Value::as_array).map(Vec::as_slice);
    let all = all.unwrap_or_default();
    let trouble: Vec<String> = all.iter().filter_map(super::subscriptions::trouble).collect();
    let said = trouble.first().cloned().unwrap_or_else(|| format!("{} go on", all.len()));
    Finding::new("subscriptions", trouble.is_empty(), said, "subscriptions")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_disk_and_a_full_stream_are_said() {
        let ready = || Ok(json!({ "status": "ok" }));
        let intake = of_intake(ready(), Some(&json!({ "journal_space": "low" })));
        assert!(!intake.well && intake.said.contains("507"), "{}", intake.said);
        assert!(of_intake(ready(), Some(&json!({ "journal_space": "enough" }))).well);
        assert!(of_intake(ready(), None).well, "a token may not be for the status");
        let full = of_full(&json!({ "full": ["orders", "others"] }));
        assert!(!full.well && full.said.contains("orders, others"), "{}", full.said);
        assert_eq!(full.next.as_deref(), Some("why orders"));
        assert!(of_full(&json!({ "full": [] })).well);
    }
}
