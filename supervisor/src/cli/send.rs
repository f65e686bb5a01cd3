//! `send`: messages in.

use std::{
    io::{self, Read as _},
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
use serde_json::Value;

use super::{
    Failure, Output, Server,
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
    let response = checked(request.body(read(&options.file)?).send().await?).await?;
    let released = response.status() == reqwest::StatusCode::OK;
    let body = response.bytes().await?;
    if released {
        print_bytes(&body)?;
        return Ok(ExitCode::SUCCESS);
    }
    let value: Value = serde_json::from_slice(&body)?;
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
        let response = checked(request.body(frames).send().await?).await.map_err(|error| {
            Failure { text: format!("{error}, after {sent} lines were taken in"), code: 1 }
        })?;
        let value: Value = response.json().await?;
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
