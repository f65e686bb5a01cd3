//! `tail`: shows results as they are released, of one stream or of all.

use std::process::ExitCode;

use clap::Args;
use serde_json::Value;

use super::{
    Failure, Server,
    follow::Follower,
    results::{Shown, show},
    segment,
};

/// How long one look waits for more, in seconds.
const WAIT: u64 = 30;

/// What `tail` is told.
#[derive(Args, Debug)]
pub(super) struct Options {
    /// The stream; without it, all streams
    stream: Option<String>,
    /// After this sequence, or position for all streams; without it, from now on
    #[arg(long, value_name = "N")]
    after: Option<u64>,
    #[command(flatten)]
    server: Server,
}

pub(super) async fn run(options: &Options) -> Result<ExitCode, Failure> {
    let client = options.server.client()?;
    let path = match &options.stream {
        Some(stream) => format!("/v1/streams/{}/results", segment(stream)),
        None => "/v1/results".to_owned(),
    };
    let shown = if options.stream.is_some() { Shown::OneStream } else { Shown::AllStreams };
    let after = match options.after {
        Some(after) => after,
        None => now(options).await?,
    };
    let mut reader = Follower::new(client, path, after, WAIT);
    loop {
        for result in &reader.patient().await?.results {
            show(result, options.server.output, shown)?;
        }
    }
}

/// The cursor of what was released last.
async fn now(options: &Options) -> Result<u64, Failure> {
    let client = options.server.client()?;
    let (path, name) = match &options.stream {
        Some(stream) => (format!("/v1/streams/{}", segment(stream)), "released"),
        None => ("/v1/status".to_owned(), "head"),
    };
    let value = client.get(&path).await?;
    value
        .get(name)
        .and_then(Value::as_u64)
        .ok_or_else(|| Failure::failed(format!("{path} does not say how far it is")))
}
