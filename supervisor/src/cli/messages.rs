//! `message`, `retry`, `resolve`, `skip`: one message, and what becomes of it.

use std::{
    io::{self, Write as _},
    path::PathBuf,
    process::ExitCode,
    time::Duration,
};

use clap::Args;
use reqwest::{Method, Response, header};
use rollcall_common::{
    client::{self, Client, checked, json as json_of, patient},
    protocol,
    shown::visible_bytes,
};
use serde_json::{Value, json};

use super::{
    Failure, Output, Server,
    screen::{Piece, Screen, print_bytes, print_done, print_json, text},
    segment,
    send::read,
    table::{Kind, Table},
};

/// Characters of a body that are shown beside what else there is of a message.
const GLANCE: usize = 300;

/// What `message` is told.
#[derive(Args, Debug)]
pub(super) struct Options {
    /// Its stream
    stream: String,
    /// Its sequence
    sequence: u64,
    /// Print the message itself, and nothing else
    #[arg(long)]
    body: bool,
    #[command(flatten)]
    answered: Answered,
    #[command(flatten)]
    server: Server,
}

/// What `message` is told of the result.
#[derive(Args, Debug)]
struct Answered {
    /// Print its result, and nothing else
    #[arg(long, conflicts_with = "body")]
    result: bool,
}

/// What `resolve` is told.
#[derive(Args, Debug)]
pub(super) struct Resolve {
    /// Its stream
    stream: String,
    /// Its sequence
    sequence: u64,
    /// The result's file; - is standard input
    #[arg(default_value = "-")]
    file: PathBuf,
    /// The result's type
    #[arg(long, default_value = "application/octet-stream")]
    content_type: String,
    /// Why, for the audit
    #[arg(long)]
    reason: Option<String>,
    #[command(flatten)]
    server: Server,
}

/// What `skip` is told.
#[derive(Args, Debug)]
pub(super) struct Skip {
    /// The stream
    stream: String,
    /// The message's sequence, or `all` for all of the stream's parked messages
    #[arg(value_parser = which)]
    sequence: Which,
    /// Why
    #[arg(long)]
    reason: String,
    #[command(flatten)]
    many: Many,
    #[command(flatten)]
    server: Server,
}

/// What `retry` is told.
#[derive(Args, Debug)]
pub(super) struct Retry {
    /// The stream
    stream: String,
    /// The message's sequence, or `all` for all of the stream's parked messages
    #[arg(value_parser = which)]
    sequence: Which,
    /// Why, for the audit
    #[arg(long)]
    reason: Option<String>,
    #[command(flatten)]
    many: Many,
    #[command(flatten)]
    server: Server,
}

/// Which of many parked messages.
#[derive(Args, Debug)]
struct Many {
    /// With `all`: only those whose reason holds this text
    #[arg(long, value_name = "TEXT")]
    matching: Option<String>,
    /// With `all`: do nothing unless there are so many
    #[arg(long, value_name = "N")]
    expect: Option<u64>,
    /// With `all`: only say how many there are
    #[arg(long)]
    dry_run: bool,
}

/// Which messages of a stream.
#[derive(Clone, Copy, Debug)]
enum Which {
    /// All that are parked.
    All,
    /// This one.
    One(u64),
}

fn which(text: &str) -> Result<Which, String> {
    if text == "all" {
        return Ok(Which::All);
    }
    text.parse().map(Which::One).map_err(|_| "expected a sequence, or `all`".to_owned())
}

/// The path of a message.
pub(super) fn path(stream: &str, sequence: u64) -> String {
    format!("/v1/streams/{}/messages/{sequence}", segment(stream))
}

/// A body that may be there: its type, its bytes.
pub(super) async fn body(
    client: &Client,
    path: &str,
) -> Result<Option<(String, bytes::Bytes)>, Failure> {
    let response = client.call(Method::GET, path).send().await?;
    if matches!(response.status().as_u16(), 404 | 410) {
        return Ok(None);
    }
    let response = checked(response).await?;
    let kind = response.headers().get(header::CONTENT_TYPE);
    let kind = kind.and_then(|kind| kind.to_str().ok()).unwrap_or("no type").to_owned();
    Ok(Some((kind, client::body(response).await?)))
}

/// A body in a few words: its type, its length, how it begins.
pub(super) fn glance((kind, body): &(String, bytes::Bytes)) -> String {
    let shown = visible_bytes(body);
    let short: String = shown.chars().take(GLANCE).collect();
    let more = if short.len() < shown.len() { "…" } else { "" };
    format!("{kind}, {} bytes: {short}{more}", body.len())
}

/// The attempts of a message.
pub(super) fn attempts(screen: &Screen, message: &Value) -> io::Result<()> {
    let columns = [
        ("attempt", Kind::Number),
        ("worker", Kind::Name),
        ("why", Kind::Words),
        ("outcome", Kind::Words),
        ("status", Kind::Number),
        ("began", Kind::Number),
        ("said", Kind::Words),
    ];
    let mut table = Table::new(&columns);
    let all = message.get("attempts").and_then(Value::as_array);
    for one in all.map(Vec::as_slice).unwrap_or_default() {
        let outcome = match text(one, "outcome") {
            ended if ended != "-" => ended,
            _ => "under way".to_owned(),
        };
        table.row(vec![
            Piece::new(text(one, "attempt")),
            Piece::new(text(one, "worker")),
            Piece::new(text(one, "reason")),
            Piece::state(outcome),
            Piece::new(text(one, "status")),
            Piece::new(screen.age(one.get("started_at"))),
            Piece::new(text(one, "detail")),
        ]);
    }
    table.print(screen, "it has not been tried")
}

/// What may be decided on a message in this state.
pub(super) fn decisions(stream: &str, sequence: u64, state: &str) -> Vec<String> {
    let place = format!("{stream} {sequence}");
    let settle = [format!("resolve {place} FILE"), format!("skip {place} --reason TEXT")];
    match state {
        "parked" => [vec![format!("retry {place}")], settle.to_vec()].concat(),
        "accepted" | "dispatched" | "retrying" => settle.to_vec(),
        _ => Vec::new(),
    }
}

/// Whether an answer that should hold a result says that there is none.
pub(super) fn is_skipped(answer: &Response) -> bool {
    answer.headers().get(protocol::OUTCOME).is_some_and(|outcome| outcome == "skipped")
}

/// What is said to whoever wants the result of a message that was skipped.
pub(super) async fn skipped(client: &Client, (stream, sequence): (&str, u64)) -> Failure {
    let why = reason(client, (stream, sequence)).await;
    let why = why.map(|why| format!(": {why}")).unwrap_or_default();
    Failure::failed(format!("{stream}/{sequence} was skipped and has no result{why}"))
}

/// Why a message has the result that it has, where that is known, and may be.
pub(super) async fn reason(client: &Client, (stream, sequence): (&str, u64)) -> Option<String> {
    let message = client.get(&path(stream, sequence)).await.ok()?;
    message.get("reason").and_then(Value::as_str).map(ToOwned::to_owned)
}

pub(super) async fn run(options: &Options) -> Result<ExitCode, Failure> {
    let Options { stream, sequence, server, .. } = options;
    let client = server.client()?;
    let path = path(stream, *sequence);
    if options.body || options.answered.result {
        let what = if options.body { "body" } else { "result" };
        let call = client.call(Method::GET, &format!("{path}/{what}"));
        let answer = checked(call.send().await?).await?;
        if options.answered.result && is_skipped(&answer) {
            return Err(skipped(&client, (stream, *sequence)).await);
        }
        print_bytes(&client::body(answer).await?)?;
        return Ok(ExitCode::SUCCESS);
    }
    let message = client.get(&path).await?;
    if server.output == Output::Json {
        print_json(&message)?;
        return Ok(ExitCode::SUCCESS);
    }
    let screen = Screen::here();
    let state = text(&message, "state");
    screen.line(&[Piece::new(format!("{stream}/{sequence} is ")), Piece::state(&state)])?;
    screen.fact("id", &text(&message, "id"))?;
    screen.fact("came", &format!("{} ago", screen.age(message.get("accepted_at"))))?;
    if message.get("parked_at").is_some() {
        screen.fact("parked", &format!("{} ago", screen.age(message.get("parked_at"))))?;
        screen.fact("reason", &text(&message, "reason"))?;
    }
    if state == "released" {
        let released = screen.age(message.get("released_at"));
        let place = text(&message, "position");
        screen.fact("released", &format!("{released} ago, at position {place}"))?;
    }
    if let Some(found) = body(&client, &format!("{path}/body")).await? {
        screen.fact("message", &glance(&found))?;
    }
    let outcome = text(&message, "outcome");
    if state == "released" && outcome != "completed" {
        screen.fact("outcome", &outcome)?;
        screen.fact("reason", &text(&message, "reason"))?;
    }
    if outcome != "skipped"
        && let Some(found) = body(&client, &format!("{path}/result")).await?
    {
        screen.fact("result", &glance(&found))?;
    }
    writeln!(io::stdout())?;
    attempts(&screen, &message)?;
    screen.next(server, &decisions(stream, *sequence, &state))?;
    Ok(ExitCode::SUCCESS)
}

pub(super) async fn resolve(options: &Resolve) -> Result<ExitCode, Failure> {
    let Resolve { stream, sequence, file, content_type, reason, server } = options;
    let client = server.client()?;
    let call = client.call(Method::POST, &format!("{}/resolve", path(stream, *sequence)));
    let call = call.header(header::CONTENT_TYPE, content_type);
    let call = call.header(protocol::REASON, reason.as_deref().unwrap_or_default());
    let result = read(file)?;
    let call = patient(call, Duration::ZERO, result.len()).body(result);
    let answer: Value = json_of(checked(call.send().await?).await?).await?;
    settled(server, &client, (stream, *sequence), &answer, "is resolved").await
}

pub(super) async fn skip(options: &Skip) -> Result<ExitCode, Failure> {
    let Skip { stream, sequence, reason, many, server } = options;
    let client = server.client()?;
    let Which::One(sequence) = sequence else {
        return decide_all(server, ("skip", stream), reason, many).await;
    };
    many.must_be_absent()?;
    let body = json!({ "reason": reason }).to_string();
    let path = format!("{}/skip", path(stream, *sequence));
    let answer: Value = json_of(client.post(&path, "application/json", body).await?).await?;
    settled(server, &client, (stream, *sequence), &answer, "is skipped").await
}

pub(super) async fn retry(options: &Retry) -> Result<ExitCode, Failure> {
    let Retry { stream, sequence, reason, many, server } = options;
    let (client, reason) = (server.client()?, reason.as_deref().unwrap_or_default());
    let Which::One(sequence) = sequence else {
        return decide_all(server, ("retry", stream), reason, many).await;
    };
    many.must_be_absent()?;
    let body = json!({ "reason": reason }).to_string();
    let path = format!("{}/retry", path(stream, *sequence));
    let answer: Value = json_of(client.post(&path, "application/json", body).await?).await?;
    settled(server, &client, (stream, *sequence), &answer, "is back with the workers").await
}

impl Many {
    fn must_be_absent(&self) -> Result<(), Failure> {
        if self.matching.is_some() || self.expect.is_some() || self.dry_run {
            return Err(Failure::usage("--dry-run, --expect and --matching go with `all`"));
        }
        Ok(())
    }
}

/// Says what was done, and how the stream stands now.
async fn settled(
    server: &Server,
    client: &Client,
    (stream, sequence): (&str, u64),
    answer: &Value,
    what: &str,
) -> Result<ExitCode, Failure> {
    if server.output == Output::Json {
        print_json(answer)?;
        return Ok(ExitCode::SUCCESS);
    }
    let screen = Screen::here();
    screen.line(&[Piece::new(format!("{stream}/{sequence} {what}"))])?;
    let now = client.get(&format!("/v1/streams/{}", segment(stream))).await?;
    match now.get("head") {
        Some(head) => {
            let (at, cause) = (text(head, "sequence"), text(head, "cause"));
            screen.line(&[
                Piece::new(format!("{stream} stands at message {at}: ")),
                Piece::state(&cause),
            ])?;
            screen.next(server, &[format!("why {stream}")])?;
        }
        None => screen.line(&[Piece::new(format!("nothing waits in {stream}"))])?,
    }
    Ok(ExitCode::SUCCESS)
}

/// Decides on all parked messages of a stream that are meant.
async fn decide_all(
    server: &Server,
    (act, stream): (&str, &str),
    reason: &str,
    many: &Many,
) -> Result<ExitCode, Failure> {
    let wanted = json!({
        "stream": stream,
        "matching": many.matching.as_deref().unwrap_or_default(),
        "reason": reason,
        "expect": many.expect,
        "dry_run": many.dry_run,
    });
    let path = format!("/v1/parked/{act}");
    let client = server.client()?;
    let answer = client.post(&path, "application/json", wanted.to_string()).await?;
    let value: Value = json_of(answer).await?;
    let count = text(&value, "count");
    let words = match (act, many.dry_run) {
        ("skip", true) => "would be skipped",
        ("skip", false) => "skipped",
        (_, true) => "would be sent back",
        (_, false) => "sent back",
    };
    print_done(server.output, &value, &format!("{count} {words}"))?;
    Ok(ExitCode::SUCCESS)
}
