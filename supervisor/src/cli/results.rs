//! `results`: prints released results; and pages of results as they came, so that numbers keep
//! their digits.

use std::{
    io::{self, Write as _},
    process::ExitCode,
};

use clap::Args;
use reqwest::Method;
use rollcall_common::client::{Client, checked};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

use super::{Failure, Output, Server};

/// How long one look of `results --follow` waits for more.
const FOLLOW_WAIT: u64 = 30;

/// What `results` is told.
#[derive(Args, Debug)]
pub(super) struct ResultsOptions {
    /// The stream
    stream: String,
    /// After this sequence
    #[arg(long, default_value_t = 0)]
    after: u64,
    /// Go on as results come
    #[arg(long)]
    follow: bool,
    #[command(flatten)]
    server: Server,
}

/// A page of results.
#[derive(Debug, Deserialize)]
pub(super) struct Page {
    pub(super) results: Vec<Box<RawValue>>,
    pub(super) next: u64,
    caught_up: bool,
}

/// What is shown together.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Shown {
    OneStream,
    AllStreams,
}

/// What is shown of a result.
#[derive(Debug, Deserialize)]
struct Fields<'a> {
    stream: &'a str,
    sequence: u64,
    outcome: &'a str,
    #[serde(borrow, default, deserialize_with = "there")]
    data: Option<&'a RawValue>,
    data_base64: Option<&'a str>,
}

/// What is there, though it be `null`.
fn there<'a, D: Deserializer<'a>>(value: D) -> Result<Option<&'a RawValue>, D::Error> {
    Deserialize::deserialize(value).map(Some)
}

impl Page {
    pub(super) async fn get(client: &Client, path: &str) -> Result<Self, Failure> {
        let answer = checked(client.call(Method::GET, path).send().await?).await?;
        Ok(serde_json::from_slice(&answer.bytes().await?)?)
    }
}

pub(super) async fn results(options: &ResultsOptions) -> Result<ExitCode, Failure> {
    let client = options.server.client()?;
    let mut after = options.after;
    let wait = if options.follow { FOLLOW_WAIT } else { 0 };
    loop {
        let path =
            format!("/v1/streams/{}/results?after={after}&limit=1000&wait={wait}", options.stream);
        let page = Page::get(&client, &path).await?;
        for result in &page.results {
            show(result, options.server.output, Shown::OneStream)?;
        }
        after = page.next;
        if page.caught_up && !options.follow {
            return Ok(ExitCode::SUCCESS);
        }
    }
}

/// Prints a result as a line; as text, its stream is said when there are several.
pub(super) fn show(result: &RawValue, output: Output, shown: Shown) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    if output == Output::Json {
        return Ok(writeln!(out, "{result}")?);
    }
    let Fields { stream, sequence, outcome, data, data_base64 } =
        serde_json::from_str(result.get())?;
    if shown == Shown::AllStreams {
        write!(out, "{stream}\t")?;
    }
    let data = match (data.map(RawValue::get), data_base64) {
        // A string is shown as its text, if it is one.
        (Some(json), _) => serde_json::from_str(json).unwrap_or_else(|_| json.to_owned()),
        (None, base64) => base64.unwrap_or_default().to_owned(),
    };
    Ok(writeln!(out, "{sequence}\t{outcome}\t{data}")?)
}
