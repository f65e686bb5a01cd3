//! Commands that speak to a running supervisor over its HTTP API.

use std::{
    io::{self, Read as _, Write as _},
    path::{Path, PathBuf},
    process::ExitCode,
    time::Duration,
};

use clap::Args;
use reqwest::{Method, header};
use rollcall_common::{
    client::{Client, checked},
    limits::BATCH_MESSAGES,
    protocol,
};
use serde_json::{Value, json};

use super::{Command, Failure, Output, Server, span, table};

/// Bytes of lines after which `send --lines` sends what it has.
const LINES_BYTES: usize = 1 << 20;

/// What is shown of each subscription.
const SUBSCRIPTIONS: &[&str] =
    &["name", "kind", "mode", "checkpoint", "head", "lag", "paused_reason", "last_error"];

/// What `send` is told.
#[derive(Args, Debug)]
pub(super) struct SendOptions {
    /// The stream
    stream: String,
    /// The message's file; - is standard input
    #[arg(default_value = "-")]
    file: PathBuf,
    /// Each line is a message
    #[arg(long)]
    lines: bool,
    /// Wait for the result, at most so long
    #[arg(long, value_parser = span, conflicts_with = "lines")]
    wait: Option<Duration>,
    /// The messages' type
    #[arg(long, default_value = "application/octet-stream")]
    content_type: String,
    /// A key by which a repeated message is known
    #[arg(long, conflicts_with = "lines")]
    key: Option<String>,
    #[command(flatten)]
    server: Server,
}

/// What `retry` is told.
#[derive(Args, Debug)]
pub(super) struct RetryOptions {
    /// The stream
    stream: String,
    /// The message's sequence, or `all` for all of the stream's parked messages
    #[arg(value_parser = which)]
    sequence: Which,
    /// With `all`: only those whose reason holds this text
    #[arg(long, value_name = "TEXT")]
    matching: Option<String>,
    /// With `all`: only say how many there are
    #[arg(long)]
    dry_run: bool,
    /// Why, for the audit
    #[arg(long)]
    reason: Option<String>,
    #[command(flatten)]
    server: Server,
}

/// Which parked messages.
#[derive(Clone, Copy, Debug)]
enum Which {
    All,
    One(u64),
}

fn which(text: &str) -> Result<Which, String> {
    if text == "all" {
        return Ok(Which::All);
    }
    text.parse().map(Which::One).map_err(|_| "expected a sequence, or `all`".to_owned())
}

pub(super) async fn run(command: Command) -> Result<ExitCode, Failure> {
    match command {
        Command::Parked { stream, server } => {
            let query = stream.map(|stream| format!("?stream={stream}")).unwrap_or_default();
            let columns =
                ["stream", "sequence", "attempts", "waiting_behind", "parked_at", "reason"];
            list(&server, &format!("/v1/parked{query}"), "parked", &columns).await
        }
        Command::Resolve { stream, sequence, file, content_type, reason, server } => {
            let path = format!("/v1/streams/{stream}/messages/{sequence}/resolve");
            let call = server.client()?.call(Method::POST, &path);
            let call = call.header(header::CONTENT_TYPE, &content_type);
            let call = call.header(protocol::REASON, reason.unwrap_or_default());
            done(&server, checked(call.body(read(&file)?).send().await?).await?).await
        }
        Command::Retry(options) => retry(&options).await,
        Command::Skip { stream, sequence, reason, server } => {
            let body = json!({ "reason": reason }).to_string();
            let path = format!("/v1/streams/{stream}/messages/{sequence}/skip");
            done(&server, server.client()?.post(&path, "application/json", body).await?).await
        }
        Command::Status(server) => status(&server).await,
        Command::Streams(server) => {
            let columns = [
                "stream",
                "next_sequence",
                "released",
                "in_flight",
                "waiting",
                "parked",
                "head.cause",
                "head.age_ms",
            ];
            list(&server, "/v1/streams", "streams", &columns).await
        }
        Command::Subscriptions(server) => {
            list(&server, "/v1/subscriptions", "subscriptions", SUBSCRIPTIONS).await
        }
        Command::Workers(server) => {
            let columns = ["id", "pool", "state", "in_flight", "concurrency", "url"];
            list(&server, "/v1/workers", "workers", &columns).await
        }
        Command::Alerts(_)
        | Command::CheckConfig { .. }
        | Command::Completions { .. }
        | Command::Dev(_)
        | Command::Pipe(_)
        | Command::Results(_)
        | Command::Rewind(_)
        | Command::Send(_)
        | Command::Serve(_)
        | Command::Tail(_) => Err(Failure::usage("not a client's command")),
    }
}

async fn list(
    server: &Server,
    path: &str,
    name: &str,
    columns: &[&str],
) -> Result<ExitCode, Failure> {
    let value = server.client()?.get(path).await?;
    match server.output {
        Output::Json => writeln!(io::stdout(), "{value:#}")?,
        Output::Text => {
            let items = value.get(name).cloned().unwrap_or_default();
            table::print(columns, &table::rows(&items, columns))?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

async fn retry(options: &RetryOptions) -> Result<ExitCode, Failure> {
    let RetryOptions { stream, sequence, server, .. } = options;
    let reason = options.reason.as_deref().unwrap_or_default();
    let (path, body) = match sequence {
        Which::One(_) if options.dry_run || options.matching.is_some() => {
            return Err(Failure::usage("--dry-run and --matching go with `all`"));
        }
        Which::One(sequence) => {
            (format!("/v1/streams/{stream}/messages/{sequence}/retry"), json!({ "reason": reason }))
        }
        Which::All => {
            let matching = options.matching.as_deref().unwrap_or_default();
            let (reason, dry_run) = (reason, options.dry_run);
            let wanted = json!({
                "stream": stream,
                "matching": matching,
                "reason": reason,
                "dry_run": dry_run,
            });
            ("/v1/parked/retry".to_owned(), wanted)
        }
    };
    let body = body.to_string();
    let response = server.client()?.post(&path, "application/json", body).await?;
    let value: Value = response.json().await?;
    match (server.output, value.get("count")) {
        (Output::Json, _) => writeln!(io::stdout(), "{value}")?,
        (Output::Text, Some(count)) if options.dry_run => {
            writeln!(io::stdout(), "{count} would be sent back")?;
        }
        (Output::Text, Some(count)) => writeln!(io::stdout(), "{count} sent back")?,
        (Output::Text, None) => writeln!(io::stdout(), "done")?,
    }
    Ok(ExitCode::SUCCESS)
}

async fn done(server: &Server, response: reqwest::Response) -> Result<ExitCode, Failure> {
    let value: Value = response.json().await?;
    match server.output {
        Output::Json => writeln!(io::stdout(), "{value}")?,
        Output::Text => writeln!(io::stdout(), "done")?,
    }
    Ok(ExitCode::SUCCESS)
}

/// Five lines that say what needs a person.
async fn status(server: &Server) -> Result<ExitCode, Failure> {
    let value = server.client()?.get("/v1/status").await?;
    if server.output == Output::Json {
        writeln!(io::stdout(), "{value:#}")?;
        return Ok(ExitCode::SUCCESS);
    }
    let show = |name: &str| value.get(name).map_or_else(|| "-".to_owned(), table::cell);
    let stuck: Vec<String> =
        table::rows(value.get("stuck").unwrap_or(&Value::Null), &["stream", "sequence", "cause"])
            .into_iter()
            .map(|row| row.join(" "))
            .collect();
    let stuck = if stuck.is_empty() { "none".to_owned() } else { stuck.join(", ") };
    let mut out = io::stdout().lock();
    writeln!(
        out,
        "supervisor  {} {}, {} streams",
        show("version"),
        show("phase"),
        show("streams")
    )?;
    writeln!(
        out,
        "messages    {} accepted, {} released, {} delivered since the start",
        show("accepted"),
        show("released"),
        show("delivered")
    )?;
    writeln!(out, "workers     {} of {} active", show("workers_active"), show("workers"))?;
    writeln!(out, "journal     {} bytes, space {}", show("journal_bytes"), show("journal_space"))?;
    let alerts = match value.pointer("/alerts/worst") {
        Some(Value::Object(worst)) => {
            let text = |name: &str| worst.get(name).map_or_else(String::new, table::cell);
            let firing = value.pointer("/alerts/firing").map_or_else(String::new, table::cell);
            format!("{firing} firing, the worst: {} ({})", text("title"), text("severity"))
        }
        _ => "no alert".to_owned(),
    };
    writeln!(out, "attention   {alerts}; {} parked; stuck: {stuck}", show("parked"))?;
    Ok(ExitCode::SUCCESS)
}

pub(super) async fn send(options: &SendOptions) -> Result<ExitCode, Failure> {
    let client = options.server.client()?;
    if options.lines {
        return send_lines(&client, options).await;
    }
    let path = format!("/v1/streams/{}/messages", options.stream);
    let mut request = client.call(Method::POST, &path);
    request = request.header(header::CONTENT_TYPE, &options.content_type);
    if let Some(key) = &options.key {
        request = request.header("Idempotency-Key", key);
    }
    if let Some(wait) = options.wait {
        request = request.header("Prefer", format!("wait={}", wait.as_secs().max(1)));
    }
    let response = checked(request.body(read(&options.file)?).send().await?).await?;
    let released = response.status() == reqwest::StatusCode::OK;
    let body = response.bytes().await?;
    let mut out = io::stdout().lock();
    if released {
        out.write_all(&body)?;
        return Ok(ExitCode::SUCCESS);
    }
    let value: Value = serde_json::from_slice(&body)?;
    match options.server.output {
        Output::Json => writeln!(out, "{value}")?,
        Output::Text => {
            let sequence = value.get("sequence").unwrap_or(&Value::Null);
            writeln!(out, "{} {sequence}", options.stream)?;
        }
    }
    // With --wait, what was asked for is the result.
    Ok(if options.wait.is_some() { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

async fn send_lines(client: &Client, options: &SendOptions) -> Result<ExitCode, Failure> {
    let mut input: Box<dyn io::BufRead> = if options.file == Path::new("-") {
        Box::new(io::stdin().lock())
    } else {
        let file = std::fs::File::open(&options.file);
        Box::new(io::BufReader::new(file.map_err(named(&options.file))?))
    };
    let path = format!("/v1/streams/{}/messages:batch", options.stream);
    let mut sent = 0_u64;
    loop {
        let (frames, count) = read_frames(&mut *input)?;
        if count == 0 {
            break;
        }
        let request = client
            .call(Method::POST, &path)
            .header(header::CONTENT_TYPE, protocol::FRAMES)
            .header(protocol::CONTENT_TYPE_OF_FRAMES, &options.content_type);
        let response = checked(request.body(frames).send().await?).await.map_err(|error| {
            Failure { text: format!("{error}, after {sent} lines were taken in"), code: 1 }
        })?;
        let value: Value = response.json().await?;
        sent += count;
        if options.server.output == Output::Json {
            writeln!(io::stdout(), "{value}")?;
        }
    }
    if options.server.output == Output::Text {
        writeln!(io::stdout(), "{} {sent} messages", options.stream)?;
    }
    Ok(ExitCode::SUCCESS)
}

/// The next lines as frames: lines may hold anything.
fn read_frames(input: &mut dyn io::BufRead) -> io::Result<(Vec<u8>, u64)> {
    let mut frames = bytes::BytesMut::new();
    let mut count = 0;
    let mut line = Vec::new();
    while frames.len() < LINES_BYTES && count < u64::try_from(BATCH_MESSAGES).unwrap_or(u64::MAX) {
        line.clear();
        if input.read_until(b'\n', &mut line)? == 0 {
            break;
        }
        let line = line.strip_suffix(b"\n").unwrap_or(&line);
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        rollcall_common::frame::put(&mut frames, line);
        count += 1;
    }
    Ok((frames.to_vec(), count))
}

/// Errors say which file it was.
fn named(file: &Path) -> impl Fn(io::Error) -> io::Error {
    move |error| io::Error::new(error.kind(), format!("{}: {error}", file.display()))
}

fn read(file: &Path) -> io::Result<Vec<u8>> {
    if file != Path::new("-") {
        return std::fs::read(file).map_err(named(file));
    }
    let mut body = Vec::new();
    io::stdin().lock().read_to_end(&mut body)?;
    Ok(body)
}
