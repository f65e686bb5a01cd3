//! `streams`, `pause`, `resume`: how the streams stand, and to make one stand still.

use std::process::ExitCode;

use clap::Args;
use rollcall_common::client::json as json_of;
use serde_json::{Value, json};

use super::{
    Failure, Output, Server,
    screen::{Piece, Screen, Style, age, number, print_done, print_json, text},
    segment,
    table::{Kind, Table},
};

/// What `streams` is told.
#[derive(Args, Debug)]
pub(super) struct Options {
    /// Only those in which something waits
    #[arg(long)]
    busy: bool,
    /// At most so many
    #[arg(long, default_value_t = 1000)]
    limit: usize,
    /// Those after this name
    #[arg(long, value_name = "STREAM")]
    after: Option<String>,
    #[command(flatten)]
    server: Server,
}

/// What `pause` and `resume` are told.
#[derive(Args, Debug)]
pub(super) struct Standing {
    /// The stream
    stream: String,
    /// Why, for the audit
    #[arg(long)]
    reason: Option<String>,
    #[command(flatten)]
    server: Server,
}

const COLUMNS: &[(&str, Kind)] = &[
    ("stream", Kind::Name),
    ("queued", Kind::Number),
    ("working", Kind::Number),
    ("answered", Kind::Number),
    ("parked", Kind::Number),
    ("released", Kind::Number),
    ("head", Kind::Number),
    ("age", Kind::Number),
    ("stands", Kind::Words),
];

/// Messages of a stream that nobody works on, and that have neither a result nor a person to wait
/// for.
pub(super) fn queued(stream: &Value) -> u64 {
    let others = ["in_flight", "waiting", "parked"].map(|name| number(stream, name));
    number(stream, "backlog").saturating_sub(others.iter().sum())
}

fn row(stream: &Value) -> Vec<Piece> {
    let count = |name: &str| Piece::new(text(stream, name));
    let head = stream.get("head");
    let since = head.map_or_else(|| "-".to_owned(), |head| age(number(head, "age_ms")));
    vec![
        count("stream"),
        Piece::new(queued(stream).to_string()),
        count("in_flight"),
        count("waiting"),
        count("parked"),
        count("released"),
        count("head.sequence"),
        Piece::new(since),
        stands(stream),
    ]
}

/// Why it stands, and whether it takes nothing more.
fn stands(stream: &Value) -> Piece {
    let cause = text(stream, "head.cause");
    if is_full(stream) {
        return Piece::styled(format!("{cause}, full"), Style::Bad);
    }
    Piece::state(cause)
}

/// Whether it refuses new messages, having as many as it may have.
fn is_full(stream: &Value) -> bool {
    stream.get("full") == Some(&Value::Bool(true))
}

pub(super) async fn run(options: &Options) -> Result<ExitCode, Failure> {
    let client = options.server.client()?;
    let (mut found, mut after) = (Vec::new(), options.after.clone());
    while found.len() < options.limit {
        let from = after.as_deref().map(|name| format!("&after={}", segment(name)));
        let page = format!("/v1/streams?limit=1000{}", from.unwrap_or_default());
        let page = client.get(&page).await?;
        let streams = page.get("streams").and_then(Value::as_array).cloned().unwrap_or_default();
        found.extend(streams.into_iter().filter(|one| !options.busy || one.get("head").is_some()));
        after = page.get("next").and_then(Value::as_str).map(ToOwned::to_owned);
        if after.is_none() {
            break;
        }
    }
    let more = after.is_some() || found.len() > options.limit;
    found.truncate(options.limit);
    if options.server.output == Output::Json {
        let last = found.last().filter(|_| more).and_then(|one| one.get("stream")).cloned();
        print_json(&json!({ "streams": found, "next": last }))?;
        return Ok(ExitCode::SUCCESS);
    }
    let screen = Screen::here();
    let mut table = Table::new(COLUMNS);
    found.iter().for_each(|stream| table.row(row(stream)));
    table.print(&screen, if options.busy { "nothing waits" } else { "there is no stream" })?;
    let mut next = Vec::new();
    if let Some(last) = found.last().filter(|_| more) {
        next.push(format!("streams --after {}", text(last, "stream")));
    }
    // The one that waits longest for somebody.
    let stuck = found.iter().filter(|one| {
        is_full(one) || !matches!(&*text(one, "head.cause"), "-" | "waiting" | "retrying")
    });
    if let Some(stuck) = stuck.max_by_key(|one| number(one, "head.age_ms")) {
        next.push(format!("why {}", text(stuck, "stream")));
    }
    screen.next(&options.server, &next)?;
    Ok(ExitCode::SUCCESS)
}

pub(super) async fn pause(options: &Standing) -> Result<ExitCode, Failure> {
    let Standing { stream, server, .. } = options;
    let value = stand(options, "pause").await?;
    print_done(server.output, &value, &format!("{stream} is paused; it takes messages in"))?;
    if server.output == Output::Text {
        Screen::here().next(server, &[format!("resume {stream}")])?;
    }
    Ok(ExitCode::SUCCESS)
}

pub(super) async fn resume(options: &Standing) -> Result<ExitCode, Failure> {
    let Standing { stream, server, .. } = options;
    let value = stand(options, "resume").await?;
    print_done(server.output, &value, &format!("{stream} goes on"))?;
    if server.output == Output::Text && value.get("head").is_some() {
        Screen::here().next(server, &[format!("why {stream}")])?;
    }
    Ok(ExitCode::SUCCESS)
}

async fn stand(options: &Standing, act: &str) -> Result<Value, Failure> {
    let body = json!({ "reason": options.reason.as_deref().unwrap_or_default() }).to_string();
    let path = format!("/v1/streams/{}/{act}", segment(&options.stream));
    let client = options.server.client()?;
    Ok(json_of(client.post(&path, "application/json", body).await?).await?)
}
