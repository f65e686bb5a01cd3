//! `send`: messages in.

use std::{
    io::{self, Read as _},
    path::{Path, PathBuf},
    process::ExitCode,
    time::Duration,
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use clap::Args;
use reqwest::{
    Method, Response,
    header::{self, HeaderName},
};
use rollcall_common::{
    client::{Client, body, checked, json, patient},
    limits::BATCH_MESSAGES,
    protocol,
};
use serde::Serialize;
use serde_json::{Value, value::RawValue};

use super::{
    Failure, Output, Server, messages,
    screen::{Piece, Screen, print_bytes, print_json, text},
    segment, span,
};

/// Bytes of lines after which `send --lines` sends what it has.
const LINES_BYTES: usize = 1 << 20;

/// What `send` is told.
#[derive(Args, Debug)]
pub(super) struct Options {
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

pub(super) async fn run(options: &Options) -> Result<ExitCode, Failure> {
    let client = options.server.client()?;
    if options.lines {
        return send_lines(&client, options).await;
    }
    let path = format!("/v1/streams/{}/messages", segment(&options.stream));
    let mut request = client.call(Method::POST, &path);
    request = request.header(header::CONTENT_TYPE, &options.content_type);
    if let Some(key) = &options.key {
        request = request.header("Idempotency-Key", key);
    }
    if let Some(wait) = options.wait {
        request = request.header("Prefer", format!("wait={}", wait.as_secs().max(1)));
    }
    let message = read(&options.file)?;
    request = patient(request, options.wait.unwrap_or_default(), message.len());
    let response = checked(request.body(message).send().await?).await?;
    if response.status() == reqwest::StatusCode::OK {
        return released(&client, options, response).await;
    }
    let value: Value = json(response).await?;
    match options.server.output {
        Output::Json => print_json(&value)?,
        Output::Text => {
            let sequence = text(&value, "sequence");
            Screen::here().line(&[Piece::new(format!("{} {sequence}", options.stream))])?;
        }
    }
    // With --wait, what was asked for is the result.
    Ok(if options.wait.is_some() { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// Prints the result that was waited for.
async fn released(
    client: &Client,
    options: &Options,
    response: Response,
) -> Result<ExitCode, Failure> {
    let said = |name: &HeaderName| {
        let value = response.headers().get(name).and_then(|value| value.to_str().ok());
        value.map(ToOwned::to_owned)
    };
    let number = |name| said(name).and_then(|text| text.parse::<u64>().ok());
    let (sequence, position) = (number(&protocol::SEQUENCE), number(&protocol::POSITION));
    let outcome = said(&protocol::OUTCOME).unwrap_or_else(|| "completed".to_owned());
    let kind = said(&header::CONTENT_TYPE);
    let place = (&*options.stream, sequence.unwrap_or_default());
    let is_skipped = messages::is_skipped(&response);
    let body = body(response).await?;
    match options.server.output {
        Output::Text if is_skipped => return Err(messages::skipped(client, place).await),
        Output::Text => print_bytes(&body)?,
        Output::Json => {
            let reason = match &*outcome {
                "completed" => None,
                _ => messages::reason(client, place).await,
            };
            let (data, data_base64) = data(kind.as_deref(), &body);
            let shown = Released {
                stream: &options.stream,
                sequence,
                position,
                outcome,
                reason,
                datacontenttype: kind,
                data: data.filter(|_| !is_skipped),
                data_base64,
            };
            print_json(&serde_json::to_string(&shown)?)?;
        }
    }
    Ok(if is_skipped { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// A result that was waited for, as `-o json` shows it.
#[derive(Debug, Serialize)]
struct Released<'a> {
    stream: &'a str,
    sequence: Option<u64>,
    position: Option<u64>,
    outcome: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    datacontenttype: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    data: Option<Box<RawValue>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    data_base64: Option<String>,
}

/// A body as it stands in JSON: as JSON or as a text, or else as base64.
fn data(kind: Option<&str>, body: &[u8]) -> (Option<Box<RawValue>>, Option<String>) {
    let kind = kind.and_then(|kind| kind.split(';').next()).unwrap_or_default().trim();
    let is_json = kind == "application/json" || kind.ends_with("+json");
    if let Some(json) = serde_json::from_slice(body).ok().filter(|_| is_json) {
        return (Some(json), None);
    }
    match std::str::from_utf8(body) {
        Ok(text) => (serde_json::value::to_raw_value(text).ok(), None),
        Err(_) => (None, Some(STANDARD.encode(body))),
    }
}

async fn send_lines(client: &Client, options: &Options) -> Result<ExitCode, Failure> {
    let mut input: Box<dyn io::BufRead> = if options.file == Path::new("-") {
        Box::new(io::stdin().lock())
    } else {
        let file = std::fs::File::open(&options.file);
        Box::new(io::BufReader::new(file.map_err(named(&options.file))?))
    };
    let path = format!("/v1/streams/{}/messages:batch", segment(&options.stream));
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
        let request = patient(request, Duration::ZERO, frames.len());
        let response = checked(request.body(frames).send().await?).await.map_err(|error| {
            Failure { text: format!("{error}, after {sent} lines were taken in"), code: 1 }
        })?;
        let value: Value = json(response).await?;
        sent += count;
        if options.server.output == Output::Json {
            print_json(&value)?;
        }
    }
    if options.server.output == Output::Text {
        let line = format!("{} {sent} messages", options.stream);
        Screen::here().line(&[Piece::new(line)])?;
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

pub(super) fn read(file: &Path) -> io::Result<Vec<u8>> {
    if file != Path::new("-") {
        return std::fs::read(file).map_err(named(file));
    }
    let mut body = Vec::new();
    io::stdin().lock().read_to_end(&mut body)?;
    Ok(body)
}
