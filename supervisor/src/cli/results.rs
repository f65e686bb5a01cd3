//! `results`: prints released results, as they came, so that numbers keep their digits.

use std::{
    borrow::Cow,
    io::{self, Write as _},
    process::ExitCode,
};

use clap::Args;
use rollcall_common::shown::{BASE64, visible, visible_data, visible_json};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

use super::{
    Failure, Output, Server,
    follow::{Follower, beginning},
    segment,
};

/// How long one look of `results --follow` waits for more.
const FOLLOW_WAIT: u64 = 30;

/// What `results` is told.
#[derive(Args, Debug)]
pub(super) struct ResultsOptions {
    /// The stream
    stream: String,
    /// After this sequence; without it, from the first result that is kept
    #[arg(long)]
    after: Option<u64>,
    /// Go on as results come
    #[arg(long)]
    follow: bool,
    #[command(flatten)]
    server: Server,
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
    #[serde(borrow)]
    stream: Cow<'a, str>,
    sequence: u64,
    #[serde(borrow)]
    outcome: Cow<'a, str>,
    #[serde(borrow, default, deserialize_with = "there")]
    data: Option<&'a RawValue>,
    #[serde(borrow)]
    data_base64: Option<Cow<'a, str>>,
}

/// What is there, though it be `null`.
fn there<'a, D: Deserializer<'a>>(value: D) -> Result<Option<&'a RawValue>, D::Error> {
    Deserialize::deserialize(value).map(Some)
}

pub(super) async fn results(options: &ResultsOptions) -> Result<ExitCode, Failure> {
    let client = options.server.client()?;
    let path = format!("/v1/streams/{}/results", segment(&options.stream));
    let wait = if options.follow { FOLLOW_WAIT } else { 0 };
    let after = match options.after {
        Some(after) => after,
        None => beginning(&client, &path).await?,
    };
    let mut reader = Follower::new(client, path, after, wait);
    loop {
        let page = if options.follow { reader.patient().await? } else { reader.next().await? };
        for result in &page.results {
            show(result, options.server.output, Shown::OneStream)?;
        }
        if page.caught_up && !options.follow {
            return Ok(ExitCode::SUCCESS);
        }
    }
}

/// Prints a result as a line; as text, its stream is said when there are several.
pub(super) fn show(result: &RawValue, output: Output, shown: Shown) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    if output == Output::Json {
        return Ok(writeln!(out, "{}", visible_json(result.get()))?);
    }
    let Fields { stream, sequence, outcome, data, data_base64 } =
        serde_json::from_str(result.get())?;
    if shown == Shown::AllStreams {
        write!(out, "{}\t", visible(&stream))?;
    }
    let outcome = visible(&outcome);
    let data = match (data.map(RawValue::get), data_base64) {
        // A string is shown as its text, if it is one.
        (Some(json), _) => match serde_json::from_str::<String>(json) {
            Ok(text) => visible_data(&text).into_owned(),
            Err(_) => visible_json(json).into_owned(),
        },
        (None, Some(base64)) => format!("{BASE64}{}", visible(&base64)),
        (None, None) => String::new(),
    };
    Ok(writeln!(out, "{sequence}\t{outcome}\t{data}")?)
}
